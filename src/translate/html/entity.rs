//! Character references of HTML (HTML Living Standard, section 13.2.5.72 and following).

use std::borrow::Cow;

use web_atoms::{C1_REPLACEMENTS, NAMED_ENTITIES};

/// Longer names are none.
const NAME_MAX: usize = 32;
/// The longest name that counts without a semicolon.
const LEGACY_MAX: usize = 6;

/// Text with its character references replaced, NUL shown as U+FFFD and every end of line as a line feed.
/// In attributes, names without a semicolon count only where no letter, digit or `=` follows.
pub(super) fn decode(raw: &str, in_attribute: bool) -> Cow<'_, str> {
    if !raw.bytes().any(is_special) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.bytes().position(is_special) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        rest = match after.as_bytes().first() {
            Some(b'&') => reference(after, in_attribute, &mut out),
            Some(b'\r') => {
                out.push('\n');
                after.strip_prefix("\r\n").or(after.strip_prefix('\r')).unwrap_or_default()
            }
            _ => {
                out.push('\u{fffd}');
                after.get(1..).unwrap_or_default()
            }
        };
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'&' | b'\r' | 0)
}

/// Reads the reference that `text` begins with; answers what is left.
fn reference<'a>(text: &'a str, in_attribute: bool, out: &mut String) -> &'a str {
    let body = text.get(1..).unwrap_or_default();
    if let Some(number) = body.strip_prefix('#') {
        if let Some(rest) = numeric(number, out) {
            return rest;
        }
    } else if let Some(rest) = named(body, in_attribute, out) {
        return rest;
    }
    out.push('&');
    body
}

fn numeric<'a>(number: &'a str, out: &mut String) -> Option<&'a str> {
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if digits.is_empty() {
        return None;
    }
    // Too many digits are too large a number.
    let value = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
    let windows = value.checked_sub(0x80).and_then(|at| C1_REPLACEMENTS.get(at as usize).copied().flatten());
    out.push(match value {
        0 => '\u{fffd}',
        0x0d => '\n',
        _ => windows.or(char::from_u32(value)).unwrap_or('\u{fffd}'),
    });
    Some(rest.strip_prefix(';').unwrap_or(rest))
}

fn named<'a>(body: &'a str, in_attribute: bool, out: &mut String) -> Option<&'a str> {
    let end = body.bytes().take(NAME_MAX).take_while(u8::is_ascii_alphanumeric).count();
    let look = |name: &str| NAMED_ENTITIES.get(name).copied().filter(|found| *found != (0, 0));
    let mut push = |(first, second): (u32, u32)| {
        out.extend([first, second].into_iter().filter(|code| *code != 0).filter_map(char::from_u32));
    };
    if let (Some(b';'), Some(name)) = (body.as_bytes().get(end), body.get(..=end))
        && let Some(found) = look(name)
    {
        push(found);
        return body.get(end + 1..);
    }
    for length in (2..=end.min(LEGACY_MAX)).rev() {
        let Some(found) = body.get(..length).and_then(look) else { continue };
        let next = body.as_bytes().get(length).copied();
        if in_attribute && next.is_some_and(|next| next == b'=' || next.is_ascii_alphanumeric()) {
            return None;
        }
        push(found);
        return body.get(length..);
    }
    None
}
