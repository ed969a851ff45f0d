//! The `From` header (draft-ietf-mimi-protocol-06 section 4.1): exactly one, `mimi@` and the sender's domain.

use http::{HeaderMap, HeaderValue, header::FROM};

use super::refusal::Refusal;
use crate::{engine::ports::VerifiedPeer, ident::ProviderDomain};

/// The peer that both the certificate and `From` name. `proven` are the domains that the connection's certificate
/// speaks for; all of them are configured and allowed peers.
///
/// The domain must be written in its one canonical form (lower case, A-labels, no trailing dot): another spelling is
/// 400, so that nothing behind this has to think about spellings.
pub(super) fn verified_peer(headers: &HeaderMap, proven: &[ProviderDomain]) -> Result<VerifiedPeer, Refusal> {
    let mut all = headers.get_all(FROM).iter();
    let value = all.next().ok_or(Refusal::BadFrom("missing"))?;
    if all.next().is_some() {
        return Err(Refusal::BadFrom("more than one"));
    }
    let text = value.to_str().map_err(|_| Refusal::BadFrom("not ASCII"))?;
    let domain = text.strip_prefix("mimi@").ok_or(Refusal::BadFrom("not of the form mimi@domain"))?;
    // Compared as text first: the good case allocates nothing but the result.
    if let Some(peer) = proven.iter().find(|peer| peer.as_str() == domain) {
        return Ok(VerifiedPeer::assert_verified(peer.clone()));
    }
    match ProviderDomain::parse(domain) {
        Ok(_) => Err(Refusal::FromMismatch),
        Err(_) => Err(Refusal::BadFrom("the domain is not a lower-case DNS name")),
    }
}

/// The provider that `From` and certificate name together, if they do; as [`Server`](super::Server) takes it.
#[must_use]
pub fn named_peer(headers: &HeaderMap, proven: &[ProviderDomain]) -> Option<ProviderDomain> {
    verified_peer(headers, proven).ok().map(|peer| peer.domain().clone())
}

/// The `From` that we send.
pub(super) fn own(domain: &ProviderDomain) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("mimi@{domain}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[&str]) -> Result<String, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FROM, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let proven =
            [ProviderDomain::parse("b.example").unwrap(), ProviderDomain::parse("xn--bcher-kva.example").unwrap()];
        verified_peer(&headers, &proven)
            .map(|peer| peer.domain().to_string())
            .map_err(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn one_addr_spec_of_a_proven_domain() {
        assert_eq!(check(&["mimi@b.example"]).unwrap(), "b.example");
        assert_eq!(check(&["mimi@xn--bcher-kva.example"]).unwrap(), "xn--bcher-kva.example");
    }

    #[test]
    fn other_forms_are_bad_requests() {
        for bad in [
            &[][..],
            &["mimi@b.example", "mimi@b.example"],
            &["MIMI <mimi@b.example>"],
            &["<mimi@b.example>"],
            &["mimi@b.example, mimi@c.example"],
            &["Mimi@b.example"],
            &["admin@b.example"],
            &["mimi@admin@b.example"],
            &["mimi@b.example."],
            &["mimi@B.EXAMPLE"],
            &["mimi@b\u{fc}cher.example"],
            &["mimi@b.example (comment)"],
            &["\"mimi\"@b.example"],
            &["mimi@"],
            &["b.example"],
            &["mimi@b.example:443"],
            &["mimi@[127.0.0.1]"],
        ] {
            assert_eq!(check(bad), Err(400), "{bad:?}");
        }
    }

    #[test]
    fn other_domains_are_forbidden() {
        for other in ["mimi@c.example", "mimi@x.b.example", "mimi@example", "mimi@xn--bcher-kvb.example"] {
            assert_eq!(check(&[other]), Err(403), "{other}");
        }
    }
}
