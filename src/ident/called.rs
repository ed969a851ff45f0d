//! What people call themselves, as others may see it. A name is whatever its owner likes, so it never stands alone: the provider,
//! which the sender has proved, stands behind it in round brackets, and nobody's name has such brackets of its own.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use unicode_security::confusable_detection::skeleton;

use super::{
    mapping::{deceives, shown},
    uri::UserUri,
};

/// Names are cut after so many characters.
pub const MAX_NAME: usize = 80;
/// More marks than these on one letter are left out.
const MAX_MARKS: usize = 3;

/// A name as it may be shown: on one line, of bounded length, without what is invisible or changes the writing direction. `None`:
/// nothing is left that could be seen.
#[must_use]
pub fn plain_name(text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut count, mut marks, mut visible) = (0, 0, false);
    for c in text.chars().take(16 * MAX_NAME) {
        let c = match c {
            // The braille pattern without dots looks like a space.
            c if c.is_whitespace() || c == '\u{2800}' => ' ',
            c if deceives(c) => continue,
            '(' | '\u{ff08}' | '\u{fe59}' | '\u{207d}' | '\u{208d}' | '\u{2768}' | '\u{276a}' => '[',
            ')' | '\u{ff09}' | '\u{fe5a}' | '\u{207e}' | '\u{208e}' | '\u{2769}' | '\u{276b}' => ']',
            c => c,
        };
        if c == ' ' && (out.is_empty() || out.ends_with(' ')) {
            continue;
        }
        marks = if is_mark(c) { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            continue;
        }
        if count == MAX_NAME {
            out.push('…');
            break;
        }
        visible |= c != ' ' && !is_mark(c) && !joins(c);
        out.push(c);
        count += 1;
    }
    out.truncate(out.trim_end().len());
    visible.then_some(out)
}

/// Combining marks of the common blocks.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// What has a meaning only between other characters: joiners and selectors of variants.
fn joins(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

/// The name that is in a user's address, `bob` of `mimi://b.example/u/bob`.
#[must_use]
pub fn address_name(user: &UserUri) -> String {
    let decoded = percent_decode_str(user.tail()).decode_utf8();
    shown(decoded.as_deref().unwrap_or_else(|_| user.tail()), MAX_NAME)
}

/// How others see a user with this [`plain_name`]: `Bob (b.example)`. `address`: somebody else of that provider is called the same,
/// so the address tells them apart: `Bob (bob2, b.example)`. Letters beyond ASCII stand in it as in the URI, since they may look
/// like others.
#[must_use]
pub fn called(name: &str, user: &UserUri, address: bool) -> String {
    if !address {
        return format!("{name} ({})", user.provider());
    }
    let own = Some(address_name(user)).filter(|own| own.is_ascii());
    format!("{name} ({}, {})", own.unwrap_or_else(|| shown(user.tail(), MAX_NAME)), user.provider())
}

/// What a name looks like: digests of its skeleton (Unicode Technical Standard 39 section 4), once of its small letters, and once in
/// small letters itself. `IAN` is `ian` by the one, and `BOB` in Greek letters is `bob` by the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look([[u8; 8]; 2]);

impl Look {
    /// Of this name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let digest = |text: &str| Sha256::digest(text).first_chunk().copied().unwrap_or_default();
        let small: String = skeleton(&name.to_lowercase()).collect();
        let seen: String = skeleton(name).collect();
        Self([digest(&small), digest(&seen.to_lowercase())])
    }

    /// Whether people would take the one for the other.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let (Self([small, seen]), Self([other_small, other_seen])) = (self, other);
        small == other_small || seen == other_seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_can_be_seen_of_it() {
        for (text, wanted) in [
            ("Bob", Some("Bob")),
            ("  Bob\r\n\tof  b \u{a0}", Some("Bob of b")),
            ("مريم", Some("مريم")),
            ("👩\u{200d}💻", Some("👩\u{200d}💻")),
            ("", None),
            (" \u{2800}\u{3164}\u{200b}\u{200d}\u{fe0f}\u{301} ", None),
            ("\u{202e}Bob\u{2066}\0\u{1b}[31m", Some("Bob[31m")),
            ("Carol (c.example)", Some("Carol [c.example]")),
            ("Carol\u{ff08}c.example\u{ff09}", Some("Carol[c.example]")),
            ("e\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}x", Some("e\u{301}\u{302}\u{303}x")),
        ] {
            assert_eq!(plain_name(text).as_deref(), wanted, "{text:?}");
        }
        let long = plain_name(&"é".repeat(5000)).unwrap();
        assert_eq!(long, format!("{}…", "é".repeat(MAX_NAME)));
        assert_eq!(plain_name(&"b ".repeat(5000)).unwrap().chars().count(), MAX_NAME + 1);
        assert_eq!(plain_name(&format!("{}x", "\u{200b}".repeat(1 << 20))), None, "bounded before it is looked at");
    }

    #[test]
    fn names_that_people_take_for_each_other_look_alike() {
        let alike = |one: &str, other: &str| Look::of(one).is_like(&Look::of(other));
        for (one, other) in [
            ("Bob", "bob"),
            ("IAN", "ian"),
            ("Bob", "B\u{43e}b"),
            ("bob", "\u{392}\u{39f}\u{392}"),
            ("Bill", "BiIl"),
            ("Bob", "Bo\u{200d}b\u{fe0f}"),
            ("Ame\u{301}lie", "Am\u{e9}lie"),
            ("Marna", "Mama"),
        ] {
            assert!(alike(one, other), "{one:?}, {other:?}");
        }
        for (one, other) in [("Bob", "Rob"), ("Bob", "Bob 2"), ("\u{645}", "\u{646}"), ("\u{1f600}", "\u{1f601}")] {
            assert!(!alike(one, other), "{one:?}, {other:?}");
        }
    }

    #[test]
    fn the_provider_stands_behind_every_name() {
        let bob = UserUri::parse("mimi://b.example/u/bob%202").unwrap();
        assert_eq!(address_name(&bob), "bob 2");
        assert_eq!(called("Bob", &bob, false), "Bob (b.example)");
        assert_eq!(called("Bob", &bob, true), "Bob (bob 2, b.example)");
        let other = UserUri::parse("mimi://b.example/u/b%D0%BEb").unwrap();
        assert_eq!(called("Bob", &other, true), "Bob (b%D0%BEb, b.example)");
        // Whatever somebody calls themselves, no other provider's name stands last.
        let posing = plain_name("Alice (a.example)").unwrap();
        assert_eq!(called(&posing, &bob, false), "Alice [a.example] (b.example)");
    }
}
