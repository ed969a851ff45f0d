//! How long certificates are good for: our own, and the authorities that we believe peers by.

use rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    prelude::{ASN1Time, FromDer as _},
};

use super::settings::{Settings, SetupError};

/// A certificate with so many seconds left or less ends soon.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 86_400;
/// What our own certificate is called.
pub const OWN: &str = "the certificate";

/// How a certificate stands at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Validity {
    /// Good for a while.
    Good,
    /// It ends in so many whole days.
    EndsIn(i64),
    /// It ended so many whole days ago.
    Over(i64),
    /// It begins later: it was made too early, or the clock is wrong.
    NotYet,
}

/// When a certificate is good.
#[derive(Debug, Clone)]
pub struct Period {
    /// Whose it is, for people: [`OWN`], `the CA for b.example`.
    pub what: String,
    /// The first moment.
    pub from: ASN1Time,
    /// The last moment.
    pub until: ASN1Time,
}

impl Period {
    /// The period of a certificate.
    #[must_use]
    pub fn of(what: impl Into<String>, certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self { what: what.into(), from: validity.not_before, until: validity.not_after }
    }

    /// How it stands at `now`, in seconds since the UNIX epoch.
    #[must_use]
    pub fn at(&self, now: i64) -> Validity {
        let left = self.until.timestamp().saturating_sub(now);
        if self.from.timestamp() > now {
            Validity::NotYet
        } else if left < 0 {
            Validity::Over(left.saturating_neg() / DAY)
        } else if left < SOON {
            Validity::EndsIn(left / DAY)
        } else {
            Validity::Good
        }
    }
}

/// When our own certificate (first) and the peers' authorities are good.
pub(super) fn periods(settings: &Settings) -> Result<Vec<Period>, SetupError> {
    let mut all = Vec::new();
    let own = super::tls::certificates("provider.certificate", &settings.certificate)?;
    all.extend(own.first().and_then(|leaf| period(OWN.to_owned(), leaf)));
    for (domain, peer) in settings.peers.iter().filter(|(_, peer)| peer.allowed) {
        let chain = super::tls::certificates(&format!("peers.\"{domain}\".ca"), &peer.ca)?;
        all.extend(chain.iter().filter_map(|ca| period(format!("the CA for {domain}"), ca)));
    }
    Ok(all)
}

fn period(what: String, der: &CertificateDer<'_>) -> Option<Period> {
    Some(Period::of(what, &X509Certificate::from_der(der).ok()?.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_down_and_then_up() {
        let at = |seconds| ASN1Time::from_timestamp(seconds).unwrap();
        let period = Period { what: "it".into(), from: at(0), until: at(100 * DAY) };
        for (now, wanted) in [
            (-1, Validity::NotYet),
            (0, Validity::Good),
            (86 * DAY, Validity::Good),
            (86 * DAY + 1, Validity::EndsIn(13)),
            (100 * DAY, Validity::EndsIn(0)),
            (100 * DAY + 1, Validity::Over(0)),
            (103 * DAY, Validity::Over(3)),
        ] {
            assert_eq!(period.at(now), wanted, "{now}");
        }
    }
}
