//! Counts what somebody does within a span of time, and says when it is too much.

use std::collections::BTreeMap;

use super::ports::Millis;

/// An hour, in milliseconds.
pub(super) const HOUR: Millis = 60 * 60 * 1000;
/// A minute, in milliseconds.
pub(super) const MINUTE: Millis = 60 * 1000;

/// Who is counted before those of earlier spans are forgotten.
const MANY: usize = 1000;

/// For each one who is counted: in which span, and how often within it.
#[derive(Debug)]
pub(super) struct Meter<K> {
    span: Millis,
    limit: u32,
    counts: BTreeMap<K, (u64, u32)>,
}

impl<K: Ord + Clone> Meter<K> {
    /// At most so many within each span, in milliseconds.
    pub(super) fn new(limit: u32, span: Millis) -> Self {
        Self { span, limit, counts: BTreeMap::new() }
    }

    /// Counts one; otherwise the seconds until the next span.
    pub(super) fn take(&mut self, who: &K, now: Millis) -> Result<(), u32> {
        self.take_of(who, self.limit, now)
    }

    /// The same, for one who may have another number.
    pub(super) fn take_of(&mut self, who: &K, limit: u32, now: Millis) -> Result<(), u32> {
        if self.counts.len() >= MANY && !self.counts.contains_key(who) {
            let present = now / self.span;
            self.counts.retain(|_, (counted, _)| *counted == present);
        }
        let span = now / self.span;
        let (counted, count) = self.counts.entry(who.clone()).or_default();
        if *counted != span {
            (*counted, *count) = (span, 0);
        }
        if *count >= limit {
            return Err(u32::try_from((self.span - now % self.span) / 1000 + 1).unwrap_or(u32::MAX));
        }
        *count += 1;
        Ok(())
    }

    /// What was counted led to nothing: it does not count, if its span lasts.
    pub(super) fn give_back(&mut self, who: &K, now: Millis) {
        if let Some((_, count)) = self.counts.get_mut(who).filter(|(counted, _)| *counted == now / self.span) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_in_a_span() {
        let mut meter = Meter::new(100, HOUR);
        for _ in 0..100 {
            assert_eq!(meter.take(&"b", HOUR * 7 + 1000), Ok(()));
        }
        assert_eq!(meter.take(&"b", HOUR * 8 - 1500), Err(2), "seconds that are left");
        assert_eq!(meter.take(&"c", HOUR * 8 - 1500), Ok(()));
        assert_eq!(meter.take(&"b", HOUR * 8), Ok(()));
        assert_eq!(Meter::new(0, MINUTE).take(&"b", 0), Err(61));
    }

    #[test]
    fn what_is_given_back_is_not_counted_and_only_in_its_span() {
        let mut meter = Meter::new(1, HOUR);
        meter.take(&"b", 0).unwrap();
        meter.give_back(&"c", 0);
        assert!(meter.take(&"b", 0).is_err());
        meter.give_back(&"b", 0);
        assert_eq!(meter.take(&"b", 0), Ok(()));
        meter.take(&"b", HOUR).unwrap();
        meter.give_back(&"b", 0);
        assert!(meter.take(&"b", HOUR).is_err(), "that was of another hour");
    }
}
