//! Where links lead, and who is meant by them (Client-Server API 1.17, `m.room.message` msgtypes and "matrix.to navigation";
//! draft-ietf-mimi-content-08, Mentions, and section "Link and Mention handling").

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ruma::{OwnedUserId, UserId};

use super::Loss;
use crate::ident::{RoomUri, UserUri};

/// Longest address of a link, in bytes; longer ones are dropped.
const HREF_MAX: usize = 4096;
/// Longest address that is shown as text where it may not be a link, in bytes.
const SHOWN_MAX: usize = 300;
/// A message mentions this many people at most; further links to people ring no bells.
const MENTIONS_MAX: usize = 50;
const MATRIX_TO: &str = "https://matrix.to/#/";
/// Kept in a matrix.to link, as clients write them.
const MATRIX_ID: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'@')
    .remove(b':')
    .remove(b'.')
    .remove(b'-')
    .remove(b'_')
    .remove(b'=')
    .remove(b'+')
    .remove(b'~');

/// Who people are on the other side.
pub trait Mentions {
    /// The MIMI user that a Matrix user id stands for; `None` if it has none (the bridge bot).
    fn uri(&self, user: &UserId) -> Option<UserUri>;
    /// The Matrix user that stands for a MIMI user; `None` if nobody does.
    fn matrix_id(&self, user: &UserUri) -> Option<OwnedUserId>;
    /// Whether this user takes part in the room: only then is a link to them a mention.
    fn is_here(&self, user: &UserUri) -> bool;
    /// Whether this user may call everybody's attention in the room.
    fn may_ring_all(&self, user: &UserUri) -> bool {
        let _ = user;
        false
    }
}

/// Nobody is known: links to people stay what they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Mentions for Nobody {
    fn uri(&self, _user: &UserId) -> Option<UserUri> {
        None
    }
    fn matrix_id(&self, _user: &UserUri) -> Option<OwnedUserId> {
        None
    }
    fn is_here(&self, _user: &UserUri) -> bool {
        false
    }
}

/// What becomes of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A link to follow.
    Link(Cow<'a, str>),
    /// A link to a person.
    Person(String),
    /// No link: its address is shown behind its text.
    Shown(String),
    /// Only its text is kept.
    Nothing,
}

/// Judges the links of one message.
pub(super) struct Links<'m> {
    mentions: &'m dyn Mentions,
    to_matrix: bool,
    /// The Matrix users that the message mentions, each once.
    pub(super) matrix: Vec<OwnedUserId>,
    /// The Matrix users whose pills became links to MIMI users, each once.
    pub(super) crossed: Vec<OwnedUserId>,
    /// To MIMI: where a text that mentions everybody leads.
    everybody: Option<&'m RoomUri>,
    /// To Matrix: the room, and who says it.
    here: Option<(&'m RoomUri, &'m UserUri)>,
    /// Pictures that were carried: where they were, and where they are; nothing if they are shown beside the text.
    pictures: BTreeMap<String, String>,
    /// Everybody is mentioned.
    pub(super) rang: bool,
    pub(super) losses: Vec<Loss>,
}

impl<'m> Links<'m> {
    pub(super) fn to_mimi(mentions: &'m dyn Mentions) -> Self {
        Self {
            mentions,
            to_matrix: false,
            matrix: vec![],
            crossed: vec![],
            everybody: None,
            here: None,
            pictures: BTreeMap::new(),
            rang: false,
            losses: vec![],
        }
    }

    /// To MIMI, [`EVERYBODY`] in texts becomes a link to the room, if it rings.
    pub(super) fn ringing(self, room: &'m RoomUri, rings: bool) -> Self {
        Self { everybody: rings.then_some(room), ..self }
    }

    /// To Matrix, a link to the room mentions everybody, if its sender may do that.
    pub(super) fn said_in(self, room: &'m RoomUri, sender: &'m UserUri) -> Self {
        Self { here: Some((room, sender)), ..self }
    }

    /// With pictures that were carried.
    pub(super) fn with_pictures(self, pictures: BTreeMap<String, String>) -> Self {
        Self { pictures, ..self }
    }

    /// Where a picture is now; empty if that is beside the text.
    pub(super) fn picture(&self, src: &str) -> Option<String> {
        self.pictures.get(src).cloned()
    }

    /// Where a text that mentions everybody leads; `None` if this message rings nobody by it.
    pub(super) fn everybody(&self) -> Option<&'m RoomUri> {
        self.everybody
    }

    pub(super) fn to_matrix(mentions: &'m dyn Mentions) -> Self {
        Self { to_matrix: true, ..Self::to_mimi(mentions) }
    }

    /// Whether the messages of the side that reads this show text that lies about its link.
    pub(super) fn unmasks(&self) -> bool {
        self.to_matrix
    }

    pub(super) fn judge<'a>(&mut self, raw: &Cow<'a, str>) -> Target<'a> {
        let Some(href) = tidy(raw) else { return self.dropped() };
        if let Some(target) = self.person(&href) {
            return target;
        }
        // The file that it leads to is shown beside.
        if self.to_matrix && self.pictures.contains_key(href.as_ref()) {
            return Target::Nothing;
        }
        let scheme = scheme(&href);
        match scheme.as_deref() {
            Some("http" | "https" | "ftp" | "mailto" | "magnet") if is_address(&href) => Target::Link(href),
            Some("mimi") if !self.to_matrix && !href.contains(|c: char| c.is_whitespace()) => Target::Link(href),
            None | Some("http" | "https" | "ftp" | "javascript" | "vbscript" | "data" | "blob" | "file" | "about") => {
                self.dropped()
            }
            Some(_) if href.len() > SHOWN_MAX => self.dropped(),
            Some(_) => {
                self.losses.push(Loss::Link);
                Target::Shown(href.into_owned())
            }
        }
    }

    fn dropped(&mut self) -> Target<'static> {
        self.losses.push(Loss::Link);
        Target::Nothing
    }

    /// A link to a person, in the other side's form.
    fn person(&mut self, href: &str) -> Option<Target<'static>> {
        if self.to_matrix {
            if let Some((room, sender)) = self.here
                && href.starts_with("mimi://")
                && RoomUri::parse(href).is_ok_and(|uri| uri == *room)
            {
                self.rang = self.rang || self.mentions.may_ring_all(sender);
                return Some(Target::Nothing);
            }
            let uri = UserUri::parse(href.strip_prefix("mimi://").and(Some(href))?).ok()?;
            let user = self.mentions.matrix_id(&uri)?;
            if self.mentions.is_here(&uri) && !self.matrix.contains(&user) {
                if self.matrix.len() < MENTIONS_MAX {
                    self.matrix.push(user.clone());
                } else {
                    self.losses.push(Loss::Mention);
                }
            }
            let mut link = MATRIX_TO.to_owned();
            let _ = write!(link, "{}", utf8_percent_encode(user.as_str(), MATRIX_ID));
            return Some(Target::Person(link));
        }
        let user = matrix_user(href)?;
        let Some(uri) = self.mentions.uri(&user) else {
            self.losses.push(Loss::Mention);
            return None;
        };
        if self.crossed.len() < MENTIONS_MAX && !self.crossed.contains(&user) {
            self.crossed.push(user);
        }
        Some(Target::Person(uri.as_str().to_owned()))
    }
}

/// The text by which Matrix' clients mention everybody.
pub(super) const EVERYBODY: &str = "@room";

/// Where everybody is mentioned in a text: not within other words, nor in an address.
pub(super) fn find_everybody(text: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut places = text.match_indices(EVERYBODY).map(|(at, _)| at);
    places.find(|at| {
        let (before, behind) =
            (text.get(..*at).unwrap_or_default(), text.get(at + EVERYBODY.len()..).unwrap_or_default());
        let address = behind.strip_prefix(['.', ':', '-']).is_some_and(|rest| rest.starts_with(part));
        !before.ends_with(part) && !behind.starts_with(part) && !address
    })
}

/// The user that a matrix.to link or a `matrix:` URI names.
fn matrix_user(href: &str) -> Option<OwnedUserId> {
    let (sigil, rest) = match href.strip_prefix(MATRIX_TO) {
        Some(rest) => ("", rest),
        None => ("@", href.strip_prefix("matrix:u/")?),
    };
    let id = rest.split(['?', '#']).next().unwrap_or_default();
    let id = percent_decode_str(id).decode_utf8().ok()?;
    if sigil.is_empty() && !id.starts_with('@') {
        return None;
    }
    UserId::parse(format!("{sigil}{id}")).ok()
}

/// An address as browsers read it: no blanks around it, no ends of lines and tabs within. `None` if it has control
/// characters or is too long.
fn tidy<'a>(raw: &Cow<'a, str>) -> Option<Cow<'a, str>> {
    if raw.len() > HREF_MAX {
        return None;
    }
    let blank = |c: char| c <= ' ';
    let href = match raw {
        Cow::Borrowed(raw) => Cow::Borrowed(raw.trim_matches(blank)),
        Cow::Owned(raw) if raw.starts_with(blank) || raw.ends_with(blank) => {
            Cow::Owned(raw.trim_matches(blank).to_owned())
        }
        Cow::Owned(raw) => Cow::Owned(raw.clone()),
    };
    let href = if href.contains(['\t', '\n', '\r']) { Cow::Owned(href.replace(['\t', '\n', '\r'], "")) } else { href };
    (!href.is_empty() && !href.chars().any(char::is_control)).then_some(href)
}

/// The scheme in lower case; `None` for a relative address.
fn scheme(href: &str) -> Option<Cow<'_, str>> {
    let (scheme, _) = href.split_once(':')?;
    let fine = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let lower = scheme.bytes().all(|b| !b.is_ascii_uppercase());
    fine.then(|| if lower { Cow::Borrowed(scheme) } else { Cow::Owned(scheme.to_ascii_lowercase()) })
}

/// Whether this is an address that browsers understand. The usual ones are known by their look.
fn is_address(href: &str) -> bool {
    let plain = href.strip_prefix("https://").is_some_and(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let fine = |label: &str| {
            !label.is_empty()
                && !label.starts_with("xn--")
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        host.len() < 254
            && host.split('.').all(fine)
            && host.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_alphabetic()))
    });
    plain || url::Url::parse(href).is_ok()
}

/// The host that a text claims to lead to, if it looks like an address.
fn claimed_host(text: &str) -> Option<&str> {
    let starts = |text: &str, start: &str| text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start));
    text.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
        let rest = if starts(word, "https://") || starts(word, "http://") {
            word.split_once("://").map(|(_, rest)| rest)
        } else {
            starts(word, "www.").then_some(word)
        }?;
        let authority = rest.split(['/', '?', '#', '\\', '&']).next()?;
        let host = authority.rsplit('@').next()?;
        let host = host.split(':').next().unwrap_or(host);
        Some(host.trim_end_matches(|c: char| !c.is_alphanumeric()))
    })
}

/// HTML without its tags.
fn without_tags(html: &str) -> Cow<'_, str> {
    if !html.contains('<') {
        return Cow::Borrowed(html);
    }
    let pieces = html.split('<').enumerate();
    pieces
        .map(|(number, piece)| if number == 0 { piece } else { piece.split_once('>').map_or("", |(_, text)| text) })
        .collect()
}

/// What to add behind a link whose text looks like another address: the host that it really leads to, in brackets.
/// `text` is text, or HTML of text.
pub(super) fn unmasked(text: &str, href: &str) -> Option<String> {
    let text = without_tags(text);
    let claimed = claimed_host(&text)?;
    let real = url::Url::parse(href).ok()?;
    let host = real.host_str().unwrap_or_else(|| real.scheme());
    let bare = |host: &str| {
        let host = host.to_ascii_lowercase();
        host.strip_prefix("www.").map_or(host.clone(), str::to_owned)
    };
    // An international name may be written either way.
    let claimed = url::Host::parse(claimed).map_or_else(|_| claimed.to_owned(), |host| host.to_string());
    (bare(&claimed) != bare(host)).then(|| format!(" ({host})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_named_by_a_word_of_its_own() {
        for (text, at) in [
            ("@room", Some(0)),
            ("(@room)", Some(1)),
            ("hi @room, come", Some(3)),
            ("@room.", Some(0)),
            ("@rooms and @room", Some(11)),
            ("mail bob@room", None),
            ("@room.example", None),
            ("@room:matrix.example", None),
            ("@room_", None),
            ("ä@room", None),
            ("@Room", None),
            ("", None),
        ] {
            assert_eq!(find_everybody(text), at, "{text:?}");
        }
    }
}
