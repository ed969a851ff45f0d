//! vCards (RFC 6350) as far as a name and a picture go. What comes from outside is bounded before it is unfolded.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::super::media::picture_type;

/// The largest picture that stands within a card, in bytes: a message holds 64 KiB in all.
pub const MAX_PICTURE: usize = 36 << 10;
/// The largest card.
const MAX_CARD: usize = 64 << 10;
/// Its most lines, as they are folded.
const MAX_LINES: usize = 4096;
/// Octets of a line, without its end (RFC 6350 section 3.2).
const LINE: usize = 75;

/// What somebody is called, and looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vcard {
    /// `FN`, as its owner wrote it. Of others: not to be shown before [`crate::ident::plain_name`] has seen it.
    pub name: Option<String>,
    /// `PHOTO`, where it stands in the card.
    pub picture: Photo,
}

/// What a card says of its owner's picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Photo {
    /// Nothing: it has no `PHOTO`, or one that lies elsewhere. What was said before stands.
    #[default]
    Unsaid,
    /// An empty `PHOTO`: there is none any more.
    Gone,
    /// This one.
    Is(Picture),
}

/// A picture.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// What its bytes say that it is.
    pub media_type: &'static str,
    /// At most [`MAX_PICTURE`].
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", self.media_type, self.bytes.len())
    }
}

impl Picture {
    /// A picture of a kind that clients show, and not too large; else `None`.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        let media_type = picture_type(&bytes)?;
        (bytes.len() <= MAX_PICTURE).then_some(Self { media_type, bytes })
    }
}

/// Why a card cannot be read. Permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VcardError {
    /// Longer than any card that is read.
    #[error("it is too large")]
    TooLarge,
    /// No UTF-8.
    #[error("it is no UTF-8")]
    NotText,
    /// It does not begin and end as a card, or there are several, or one within another.
    #[error("it is not one vCard")]
    NotOne,
    /// It is about a group, a place or a thing.
    #[error("it is about nobody")]
    Nobody,
}

impl Vcard {
    /// The card, RFC 6350, with lines folded.
    #[must_use]
    pub fn write(&self) -> String {
        let mut out = String::from("BEGIN:VCARD\r\nVERSION:4.0\r\n");
        // There has to be one, also for who takes their name back.
        fold(&mut out, &format!("FN:{}", escape(self.name.as_deref().unwrap_or_default())));
        match &self.picture {
            Photo::Unsaid => {}
            Photo::Gone => fold(&mut out, "PHOTO:"),
            Photo::Is(Picture { media_type, bytes }) => {
                fold(&mut out, &format!("PHOTO:data:{media_type};base64,{}", BASE64.encode(bytes)));
            }
        }
        out.push_str("END:VCARD\r\n");
        out
    }

    /// Reads the first name and the first picture of a card.
    pub fn read(card: &[u8]) -> Result<Self, VcardError> {
        if card.len() > MAX_CARD {
            return Err(VcardError::TooLarge);
        }
        let text = std::str::from_utf8(card).map_err(|_| VcardError::NotText)?;
        let lines = unfold(text.trim_start_matches('\u{feff}'))?;
        let mut lines = lines.iter().map(String::as_str).filter(|line| !line.trim().is_empty());
        let is = |line: Option<&str>, wanted: &str| line.is_some_and(|line| line.trim().eq_ignore_ascii_case(wanted));
        if !is(lines.next(), "BEGIN:VCARD") || !is(lines.next_back(), "END:VCARD") {
            return Err(VcardError::NotOne);
        }
        let mut found = Self::default();
        for line in lines {
            let Some((name, value)) = property(line) else { continue };
            match name.as_str() {
                "BEGIN" | "END" => return Err(VcardError::NotOne),
                "KIND" if !value.trim().eq_ignore_ascii_case("individual") => return Err(VcardError::Nobody),
                "FN" if found.name.is_none() => found.name = Some(unescape(value)),
                "PHOTO" if found.picture == Photo::Unsaid => found.picture = photo(value),
                _ => {}
            }
        }
        found.name = found.name.filter(|name| !name.trim().is_empty());
        Ok(found)
    }
}

/// A line's property in capitals, without group and parameters, and its value.
fn property(line: &str) -> Option<(String, &str)> {
    let mut quoted = false;
    let colon = line.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b':' && !quoted
    })?;
    let (head, value) = (line.get(..colon)?, line.get(colon + 1..)?);
    let name = head.split(';').next()?.rsplit('.').next()?;
    Some((name.trim().to_ascii_uppercase(), value))
}

/// A picture that stands in the card itself. What stands elsewhere is not fetched: who asks for it would be known there.
fn photo(value: &str) -> Photo {
    if value.trim().is_empty() { Photo::Gone } else { inline(value).map_or(Photo::Unsaid, Photo::Is) }
}

fn inline(value: &str) -> Option<Picture> {
    let scheme = value.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:"))?;
    let (head, data) = value.get(scheme.len()..)?.split_once(',')?;
    let base64 =
        head.split(';').next_back().is_some_and(|last| last.trim_end_matches('\\').eq_ignore_ascii_case("base64"));
    if !base64 || data.len() > MAX_PICTURE.div_ceil(3) * 4 {
        return None;
    }
    Picture::new(BASE64.decode(data.trim()).ok()?)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\\' | ',' | ';' => out.extend(['\\', c]),
            // Nothing else may stand in a value.
            c if c.is_control() && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

/// Adds a line, with an end and a space before what would be too long for one.
fn fold(out: &mut String, line: &str) {
    let mut rest = line;
    let mut most = LINE;
    while rest.len() > most {
        let (now, later) = rest.split_at(rest.floor_char_boundary(most));
        out.push_str(now);
        out.push_str("\r\n ");
        (rest, most) = (later, LINE - 1);
    }
    out.push_str(rest);
    out.push_str("\r\n");
}

fn unfold(text: &str) -> Result<Vec<String>, VcardError> {
    let mut lines: Vec<String> = Vec::new();
    for (count, raw) in text.split('\n').enumerate() {
        if count == MAX_LINES {
            return Err(VcardError::TooLarge);
        }
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        match (raw.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(more), Some(line)) => line.push_str(more),
            _ => lines.push(raw.to_owned()),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and more";

    fn named(lines: &str) -> Result<Option<String>, VcardError> {
        Vcard::read(format!("BEGIN:VCARD\r\nVERSION:4.0\r\n{lines}\r\nEND:VCARD\r\n").as_bytes()).map(|card| card.name)
    }

    #[test]
    fn the_bytes_are_those_of_rfc_6350() {
        let card = Vcard {
            name: Some("Dr. A, B; C\\D\nE".to_owned()),
            picture: Photo::Is(Picture::new(PNG.to_vec()).unwrap()),
        };
        assert_eq!(
            card.write(),
            "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Dr. A\\, B\\; C\\\\D\\nE\r\n\
             PHOTO:data:image/png;base64,iVBORw0KGgogYW5kIG1vcmU=\r\nEND:VCARD\r\n"
        );
        assert_eq!(Vcard::read(card.write().as_bytes()), Ok(card));
        assert_eq!(Vcard::default().write(), "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:\r\nEND:VCARD\r\n");
    }

    #[test]
    fn long_lines_are_folded_between_letters() {
        let name = "ß".repeat(200);
        let card = Vcard { name: Some(name.clone()), picture: Photo::Unsaid }.write();
        assert!(card.split("\r\n").all(|line| line.len() <= LINE), "{card}");
        assert!(card.split("\r\n").filter(|line| line.starts_with(' ')).count() >= 5);
        assert_eq!(Vcard::read(card.as_bytes()).unwrap().name, Some(name));
    }

    #[test]
    fn cards_of_others_are_read() {
        for (lines, wanted) in [
            ("FN:Alice", "Alice"),
            ("fn;LANGUAGE=en;X=\"a:b;c\":Alice", "Alice"),
            ("item1.FN;PREF=1:Alice\nFN:Second", "Alice"),
            ("N:Liddell;Alice;;;\nFN:Al\n ice\n\t Liddell", "Alice Liddell"),
            ("FN:A\\, B\\; \\\\ \\N\\x\\", "A, B; \\ \nx\\"),
            ("KIND:individual\nFN:Alice", "Alice"),
            ("no property\nFN:Alice", "Alice"),
        ] {
            assert_eq!(named(lines), Ok(Some(wanted.to_owned())), "{lines:?}");
        }
        assert_eq!(named("FN: "), Ok(None));
        assert_eq!(named("NOTE:x"), Ok(None));
    }

    #[test]
    fn hostile_cards_are_refused() {
        let huge = format!("BEGIN:VCARD\nFN:{}\nEND:VCARD", "x".repeat(MAX_CARD));
        assert_eq!(Vcard::read(huge.as_bytes()), Err(VcardError::TooLarge));
        assert_eq!(named(&"\n ".repeat(MAX_LINES)), Err(VcardError::TooLarge));
        assert_eq!(Vcard::read(b"BEGIN:VCARD\nFN:\xff\xfe\nEND:VCARD"), Err(VcardError::NotText));
        for several in ["FN:A\nEND:VCARD\nBEGIN:VCARD\nFN:B", "BEGIN:VCARD\nFN:A\nEND:VCARD", "FN:A\nBEGIN:x"] {
            assert_eq!(named(several), Err(VcardError::NotOne), "{several}");
        }
        for none in ["", "FN:Alice", "BEGIN:VCARD", "BEGIN:VCALENDAR\nFN:A\nEND:VCALENDAR"] {
            assert_eq!(Vcard::read(none.as_bytes()), Err(VcardError::NotOne), "{none}");
        }
        assert_eq!(named("KIND:group\nFN:All"), Err(VcardError::Nobody));
    }

    #[test]
    fn only_pictures_that_stand_in_the_card_are_taken() {
        let picture = |value: &str| {
            let card = format!("BEGIN:VCARD\nFN:A\nPHOTO{value}\nEND:VCARD");
            match Vcard::read(card.as_bytes()).unwrap().picture {
                Photo::Is(picture) => Some(picture.media_type),
                Photo::Gone => Some("gone"),
                Photo::Unsaid => None,
            }
        };
        assert_eq!(picture(": "), Some("gone"));
        let png = BASE64.encode(PNG);
        assert_eq!(picture(&format!(":data:image/png;base64,{png}")), Some("image/png"));
        assert_eq!(picture(&format!(";TYPE=work:DATA:image/gif;base64,{png}")), Some("image/png"), "its bytes say it");
        assert_eq!(picture(":https://tracker.example/a.png"), None);
        assert_eq!(picture(":data:image/svg+xml;base64,PHN2Zz4="), None);
        assert_eq!(picture(":data:image/png;base64,%%%"), None);
        assert_eq!(picture(&format!(":data:image/png,{png}")), None);
        let large = BASE64.encode([PNG, &vec![0; MAX_PICTURE]].concat());
        assert_eq!(picture(&format!(":data:image/png;base64,{large}")), None);
        assert!(Picture::new([PNG, &vec![0; MAX_PICTURE]].concat()).is_none());
    }

    proptest! {
        #[test]
        fn nothing_that_comes_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Vcard::read(&bytes);
            let _ = named(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn every_name_comes_back(name in "[^\\p{Cc}]{0,300}") {
            let name = Some(name).filter(|name| !name.trim().is_empty());
            let card = Vcard { name, picture: Photo::Unsaid };
            prop_assert_eq!(Vcard::read(card.write().as_bytes()), Ok(card));
        }
    }
}
