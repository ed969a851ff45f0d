//! Texts of MIMI messages as their media types say (RFC 2046 section 4.1.2): UTF-8, US-ASCII, ISO 8859-1 and Windows-1252.

use std::borrow::Cow;

use super::essence;

/// The text of a part; `None` if it is none that can be shown: of another type, or in letters that nobody here reads. What is not
/// as it says has replacement characters.
pub(super) fn text<'a>(content_type: &str, content: &'a [u8]) -> Option<Cow<'a, str>> {
    if !matches!(essence(content_type).as_str(), "text/plain" | "text/markdown" | "text/html") {
        return None;
    }
    match charset(content_type).as_deref() {
        // The former is part of the latter.
        None | Some("" | "utf-8" | "utf8" | "us-ascii" | "ascii") => Some(String::from_utf8_lossy(content)),
        // Whoever says the former mostly means the latter, which differs in letters that the former does not have.
        Some("iso-8859-1" | "iso_8859-1" | "latin1" | "windows-1252" | "cp1252") => {
            Some(content.iter().map(|byte| windows_1252(*byte)).collect::<String>().into())
        }
        Some(_) => None,
    }
}

/// A letter of Windows-1252: ISO 8859-1 with printed characters in the place of most of its second set of controls.
fn windows_1252(byte: u8) -> char {
    const FROM_0X80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', //
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    let printed = usize::from(byte).checked_sub(0x80).and_then(|at| FROM_0X80.get(at));
    printed.copied().unwrap_or(char::from(byte))
}

/// Whether a part of this type has such a text.
pub(super) fn is_text(content_type: &str) -> bool {
    text(content_type, b"").is_some()
}

fn charset(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_in_its_own_letters() {
        for (content_type, content, wanted) in [
            ("text/plain", "größer".as_bytes(), Some("größer")),
            ("text/html; charset=\"UTF-8\"", "größer".as_bytes(), Some("größer")),
            ("Text/Plain;x=y; Charset=ISO-8859-1", b"gr\xf6\xdfer", Some("größer")),
            ("text/plain;charset=windows-1252", b"\x80 5 \x96 7 \xe9", Some("€ 5 – 7 é")),
            ("text/plain;charset=\"\"", "größer".as_bytes(), Some("größer")),
            ("text/markdown;charset=us-ascii", b"plain", Some("plain")),
            ("text/plain;charset=utf-8", b"gr\xf6\xdfer", Some("gr\u{fffd}\u{fffd}er")),
            ("text/plain;charset=utf-16", b"p\0l\0", None),
            ("text/csv", b"a,b", None),
        ] {
            assert_eq!(text(content_type, content).as_deref(), wanted, "{content_type}");
            assert_eq!(is_text(content_type), wanted.is_some());
        }
    }
}
