//! Names in which `*` stands for any text: of users, servers and providers, in settings.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text in which `*` stands for any text, or none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// From its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it covers this text, whole. Takes time linear in `text` for each `*`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
        let Some(mut part) = parts.next() else { return rest.is_empty() };
        // Each middle part is taken at its first place; the last one has to end the text.
        for next in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = rest.get(at + part.len()..).unwrap_or_default();
            part = next;
        }
        rest.ends_with(part)
    }

    /// How much it says, for what is most specific: whether it is a whole name, and its bytes without `*`.
    #[must_use]
    pub fn weight(&self) -> (bool, usize) {
        let stars = self.0.bytes().filter(|byte| *byte == b'*').count();
        (stars == 0, self.0.len() - stars)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, matches) in [
            ("@*:a.example", "@alice:a.example", true),
            ("@*:a.example", "@alice:a.example.evil", false),
            ("@*:a.example", "@alice:evil.a.example", false),
            ("@alice:a.example", "@alice:a.example", true),
            ("@alice:a.example", "@alice:a.example2", false),
            ("@ops-*:*", "@ops-1:b.example", true),
            ("@ops-*:*", "@dev-1:b.example", false),
            ("@a*a:x", "@a:x", false),
            ("@*a*b*:x", "@zazbz:x", true),
            ("@*a*b*:x", "@zbza:x", false),
            ("*", "anything", true),
            ("*.example", "b.example", true),
            ("*.example", "example", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn whole_names_say_more_than_patterns_and_long_ones_more_than_short_ones() {
        let weight = |text| Pattern::new(text).weight();
        assert!(weight("a.example") > weight("very.long.*"));
        assert!(weight("*.a.example") > weight("*.example") && weight("*.example") > weight("*"));
    }
}
