//! What the draft's security considerations call nonsense (draft-ietf-mimi-content-08 section 8.2), as far as it takes a clock
//! to see it. The rest is refused in decoding: too many parts, too deep, topics too long, unknown semantics, ids of an
//! unknown hash.

use super::types::{Expiration, MimiContent};

/// Seconds of a year, with a leap day.
const YEAR: u64 = 366 * 24 * 60 * 60;

/// Why a well-formed message is not believed. Permanent: to be logged and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Implausible {
    /// It expired more than a year ago.
    #[error("expires: more than a year ago")]
    ExpiredLongAgo,
    /// It expires in more than a year.
    #[error("expires: in more than a year")]
    ExpiresTooLate,
}

impl MimiContent {
    /// Whether the message makes sense at `now`, milliseconds since the UNIX epoch.
    pub fn check_plausible(&self, now: u64) -> Result<(), Implausible> {
        let now = now / 1000;
        match self.expires {
            Some(Expiration::At(time)) if u64::from(time) + YEAR < now => Err(Implausible::ExpiredLongAgo),
            Some(Expiration::At(time)) if u64::from(time) > now + YEAR => Err(Implausible::ExpiresTooLate),
            Some(Expiration::AfterReading(seconds)) if u64::from(seconds) > YEAR => Err(Implausible::ExpiresTooLate),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Body, NestedPart};

    #[test]
    fn more_than_a_year_is_not_believed() {
        let now: u32 = 1_700_000_000;
        let year = u32::try_from(YEAR).unwrap();
        let told = |expires| {
            let content = MimiContent {
                salt: [0; 16],
                replaces: None,
                topic_id: vec![],
                expires,
                in_reply_to: None,
                extensions: std::collections::BTreeMap::new(),
                body: NestedPart::render(Body::Null),
            };
            content.check_plausible(u64::from(now) * 1000 + 999)
        };
        assert_eq!(told(None), Ok(()));
        assert_eq!(told(Some(Expiration::At(now - year))), Ok(()));
        assert_eq!(told(Some(Expiration::At(now - year - 1))), Err(Implausible::ExpiredLongAgo));
        assert_eq!(told(Some(Expiration::At(now + year))), Ok(()));
        assert_eq!(told(Some(Expiration::At(now + year + 1))), Err(Implausible::ExpiresTooLate));
        assert_eq!(told(Some(Expiration::AfterReading(year))), Ok(()));
        assert_eq!(told(Some(Expiration::AfterReading(year + 1))), Err(Implausible::ExpiresTooLate));
    }

    #[test]
    fn a_deadline_counts_from_reading_or_is_a_time() {
        assert_eq!(Expiration::At(5).deadline(7_000_000), 5000);
        assert_eq!(Expiration::AfterReading(5).deadline(7_000_001), 7_005_001);
    }
}
