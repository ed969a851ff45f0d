//! Text of strangers as it may be shown: without characters that steer terminals, and with every change of the writing direction
//! ended where its message ends (Unicode Standard Annex 9, section 2), so that what stands behind it reads as it was written.

use std::borrow::Cow;

/// The text with a replacement for each control character other than line ends and tabs, and with what ends its open changes of
/// direction at the end of each paragraph.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| steers(c) || turns(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut open = Vec::new();
    for c in text.chars() {
        match c {
            '\n' | '\u{2029}' => {
                out.extend(open.drain(..).rev());
                out.push(c);
                continue;
            }
            '\u{202a}' | '\u{202b}' | '\u{202d}' | '\u{202e}' => open.push(POP_EMBEDDING),
            '\u{2066}'..='\u{2068}' => open.push(POP_ISOLATE),
            POP_EMBEDDING if open.last() == Some(&POP_EMBEDDING) => drop(open.pop()),
            // It ends what was opened within it, too.
            POP_ISOLATE if open.contains(&POP_ISOLATE) => while open.pop().is_some_and(|end| end != POP_ISOLATE) {},
            _ => {}
        }
        out.push(if steers(c) { char::REPLACEMENT_CHARACTER } else { c });
    }
    out.extend(open.into_iter().rev());
    Cow::Owned(out)
}

const POP_EMBEDDING: char = '\u{202c}';
const POP_ISOLATE: char = '\u{2069}';

fn steers(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

/// Whether a character changes the writing direction of what follows.
pub(super) fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_turns_letters_around_ends_with_its_paragraph() {
        for (text, wanted) in [
            ("plain, \u{5e9}\u{5dc}\u{5d5}\u{5dd}\ttext\r\n", "plain, \u{5e9}\u{5dc}\u{5d5}\u{5dd}\ttext\r\n"),
            ("\u{202e}exe.txt", "\u{202e}exe.txt\u{202c}"),
            ("\u{202b}a\u{202c} b", "\u{202b}a\u{202c} b"),
            ("\u{2067}a\u{202d}b\u{2069} c", "\u{2067}a\u{202d}b\u{2069} c"),
            ("\u{2067}a\u{202d}b\nc", "\u{2067}a\u{202d}b\u{202c}\u{2069}\nc"),
            ("\u{202c}\u{2069}a", "\u{202c}\u{2069}a"),
            ("a\0b\u{1b}[31mc\u{9b}d", "a\u{fffd}b\u{fffd}[31mc\u{fffd}d"),
        ] {
            assert_eq!(shown(text), wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn it_is_shown_the_same_the_second_time(text in "[a\n\u{0}\u{1b}\u{202a}-\u{202e}\u{2066}-\u{2069}]{0,40}") {
            let once = shown(&text).into_owned();
            prop_assert_eq!(shown(&once), once.as_str());
        }
    }
}
