//! Looking for people of other providers, and being found by them: the words (draft-ietf-mimi-protocol-06 section 5.8).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    ident::{ProviderDomain, UserUri},
    wire::{SearchField, path::encode_segment},
};

/// By what one of our users lets other providers' users find it. By default: by nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Way {
    /// By the whole handle.
    Handle,
    /// By the display name, or a part of it.
    Name,
    /// By a whole e-mail address of the account.
    Email,
    /// By a whole telephone number of the account.
    Phone,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Handle, Self::Name, Self::Email, Self::Phone];

    /// The word for it in commands.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Handle => "handle",
            Self::Name => "name",
            Self::Email => "email",
            Self::Phone => "phone",
        }
    }
}

/// What `discoverable` wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// To hear how it stands.
    Tell,
    /// To be found in these ways and no other.
    Set(BTreeSet<Way>),
}

/// What to say.
const WAYS: &str = "Say discoverable off, or by what you can be found: handle, name, email, phone. “discoverable on” is “discoverable handle name”.";

/// Reads what follows `discoverable`.
pub(crate) fn wish<'a>(words: impl Iterator<Item = &'a str>) -> Result<Wish, String> {
    let (mut ways, mut off, mut any) = (BTreeSet::new(), false, false);
    for word in words {
        any = true;
        let word = word.trim_end_matches(',').to_ascii_lowercase();
        match word.as_str() {
            "off" => off = true,
            "on" => ways.extend([Way::Handle, Way::Name]),
            "and" => {}
            _ => match Way::ALL.into_iter().find(|way| way.word() == word) {
                Some(way) => _ = ways.insert(way),
                None => return Err(format!("I do not know “{word}”. {WAYS}")),
            },
        }
    }
    match (any, off, ways.is_empty()) {
        (false, ..) => Ok(Wish::Tell),
        (true, true, true) | (true, false, false) => Ok(Wish::Set(ways)),
        (true, ..) => Err(WAYS.to_owned()),
    }
}

/// Whom `start-chat` looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// This user.
    User(UserUri),
    /// Whoever that provider finds.
    Sought {
        /// Who is asked.
        at: ProviderDomain,
        /// What is searched.
        field: SearchField,
        /// For what.
        value: String,
    },
}

/// What to say.
const START_CHAT: &str = "Say start-chat handle:NAME@PROVIDER, or name:, nick:, email:, phone: or profile: in the place of handle:, or a whole address: \
     start-chat mimi://provider.example/u/name. The provider is what follows the last @.";

/// Reads what follows `start-chat`.
pub(crate) fn whom(text: &str) -> Result<Whom, String> {
    let text = text.trim();
    if text.starts_with("mimi://") {
        let user = UserUri::parse(text);
        return user.map(Whom::User).map_err(|error| {
            format!("{text}: {error}. A user looks like mimi://provider.example/u/name. {START_CHAT}")
        });
    }
    let (kind, rest) = text.split_once(':').unwrap_or(("handle", text));
    match kind {
        "handle" => handle(rest),
        "name" => at(SearchField::PartialName, rest),
        "nick" => at(SearchField::Nick, rest),
        // An address of the provider itself, or anybody's address and the provider behind it.
        "email" if rest.matches('@').count() == 1 => {
            let provider = rest.rsplit_once('@').and_then(|(_, provider)| domain(provider));
            let at = provider.ok_or_else(|| START_CHAT.to_owned())?;
            Ok(Whom::Sought { at, field: SearchField::Email, value: rest.to_owned() })
        }
        "email" => at(SearchField::Email, rest),
        "phone" => at(SearchField::Phone, rest),
        "profile" => at(SearchField::WholeProfile, rest),
        "oidc" | "vcard" => {
            let (name, rest) = rest.split_once('=').ok_or_else(|| START_CHAT.to_owned())?;
            let name = name.to_owned();
            at(if kind == "oidc" { SearchField::OidcStdClaim(name) } else { SearchField::VcardField(name) }, rest)
        }
        _ => Err(START_CHAT.to_owned()),
    }
}

/// The one whom a handle means: `NAME@PROVIDER`, or a whole handle URI that ends so.
pub fn handle(text: &str) -> Result<Whom, String> {
    let (value, provider) = split(text)?;
    let value = value.trim_start_matches('@');
    if value.is_empty() {
        return Err(START_CHAT.to_owned());
    }
    let value = if value.contains(':') {
        // A URI of whatever scheme that provider has.
        text.trim().to_owned()
    } else {
        format!("im:{}@{provider}", encode_segment(value))
    };
    Ok(Whom::Sought { at: provider, field: SearchField::Handle, value })
}

fn at(field: SearchField, text: &str) -> Result<Whom, String> {
    let (value, at) = split(text)?;
    if value.is_empty() {
        return Err(START_CHAT.to_owned());
    }
    Ok(Whom::Sought { at, field, value: value.to_owned() })
}

fn split(text: &str) -> Result<(&str, ProviderDomain), String> {
    let (value, provider) = text.trim().rsplit_once('@').ok_or_else(|| START_CHAT.to_owned())?;
    let provider = domain(provider).ok_or_else(|| format!("“{provider}” is no provider's domain. {START_CHAT}"))?;
    Ok((value.trim(), provider))
}

fn domain(text: &str) -> Option<ProviderDomain> {
    ProviderDomain::parse(&text.trim().to_ascii_lowercase()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sought(text: &str) -> (String, SearchField, String) {
        match whom(text) {
            Ok(Whom::Sought { at, field, value }) => (at.to_string(), field, value),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn whom_people_look_for() {
        let b = |field, value: &str| ("b.example".to_owned(), field, value.to_owned());
        assert_eq!(sought("handle:bob@b.example"), b(SearchField::Handle, "im:bob@b.example"));
        assert_eq!(sought("bob@B.Example"), b(SearchField::Handle, "im:bob@b.example"));
        assert_eq!(sought("handle:@bob@b.example"), b(SearchField::Handle, "im:bob@b.example"));
        assert_eq!(sought("handle:bob smith@b.example"), b(SearchField::Handle, "im:bob%20smith@b.example"));
        assert_eq!(sought("handle:xmpp:bob@b.example"), b(SearchField::Handle, "xmpp:bob@b.example"));
        assert_eq!(sought("name:Bob Smith@b.example"), b(SearchField::PartialName, "Bob Smith"));
        assert_eq!(sought("nick:bob @ b.example"), b(SearchField::Nick, "bob"));
        assert_eq!(sought("email:bob@b.example"), b(SearchField::Email, "bob@b.example"));
        assert_eq!(sought("email:bob@mail.example@b.example"), b(SearchField::Email, "bob@mail.example"));
        assert_eq!(sought("phone:+12125551212@b.example"), b(SearchField::Phone, "+12125551212"));
        assert_eq!(sought("profile:smith@b.example"), b(SearchField::WholeProfile, "smith"));
        let given = SearchField::OidcStdClaim("given_name".to_owned());
        assert_eq!(sought("oidc:given_name=Bob@b.example"), b(given, "Bob"));
        assert_eq!(sought("vcard:ORG=Acme@b.example"), b(SearchField::VcardField("ORG".to_owned()), "Acme"));
        let user = UserUri::parse("mimi://b.example/u/bob").unwrap();
        assert_eq!(whom("mimi://b.example/u/bob"), Ok(Whom::User(user)));
        for none in [
            "",
            "bob",
            "handle:@b.example",
            "name:@b.example",
            "handle:bob@",
            "dance:bob@b.example",
            "oidc:x@b.example",
        ] {
            assert!(whom(none).is_err(), "{none}");
        }
        assert!(whom("mimi://b.example/r/bob").unwrap_err().contains("A user looks like"));
    }

    #[test]
    fn by_what_one_is_found() {
        let read = |text: &str| wish(text.split_whitespace());
        let set = |ways: &[Way]| Ok(Wish::Set(ways.iter().copied().collect()));
        assert_eq!(read(""), Ok(Wish::Tell));
        assert_eq!(read("off"), set(&[]));
        assert_eq!(read("on"), set(&[Way::Handle, Way::Name]));
        assert_eq!(read("handle"), set(&[Way::Handle]));
        assert_eq!(read("Handle, email and phone"), set(&[Way::Handle, Way::Email, Way::Phone]));
        for none in ["off handle", "handle off", "everything", "and"] {
            assert!(read(none).is_err(), "{none}");
        }
    }
}
