//! What an identifier query means here, and whom it matches (draft-ietf-mimi-protocol-06 section 5.8).
//!
//! Only users who said so can be found, and only by what they chose: the others have no row, so a query cannot tell them
//! from users that do not exist.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};

use crate::{
    ident::{IdentityMap, ProviderDomain, UserUri},
    room::seek::Way,
    wire::{IdentifierQueryCode, IdentifierRequest, QueryElement, SearchField, path::encode_segment},
};

/// Shortest part of a name that is searched for, in bytes: a letter or two would list everybody.
const SHORTEST_PART: usize = 3;

/// One of our users who can be found, with what can be searched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Findable {
    /// By what.
    pub(crate) ways: BTreeSet<Way>,
    /// The display name.
    pub(crate) name: Option<String>,
    /// E-mail addresses, in lower case.
    pub(crate) emails: Vec<String>,
    /// Telephone numbers, with `+`.
    pub(crate) phones: Vec<String>,
}

/// One condition, as it is meant here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sought {
    /// This user's handle; `None`: nobody's of ours.
    Handle(Option<OwnedUserId>),
    /// The display name or the user part of the handle.
    Nick(String),
    /// The user part of the handle.
    UserPart(String),
    /// The display name.
    Name(String),
    Email(String),
    Phone(String),
    /// Of the display name, in lower case.
    PartOfName(String),
    /// Of anything, in lower case; and as it was said.
    Part(String, String),
}

impl Sought {
    fn read(element: &QueryElement, has_contacts: bool, map: &IdentityMap) -> Option<Self> {
        let value = element.value.clone();
        let contact = |sought: fn(String) -> Self, value: String| has_contacts.then(|| sought(value));
        match &element.field {
            SearchField::Handle => Some(Self::Handle(of_handle(map, &value))),
            SearchField::Nick => Some(Self::Nick(value)),
            SearchField::Email => contact(Self::Email, value.to_lowercase()),
            SearchField::Phone => contact(Self::Phone, value),
            SearchField::PartialName => Some(Self::PartOfName(value.to_lowercase())),
            SearchField::WholeProfile => Some(Self::Part(value.to_lowercase(), value)),
            // OpenID Connect Core section 5.1. A Matrix profile has one name, which is not taken apart.
            SearchField::OidcStdClaim(claim) => match claim.as_str() {
                "name" | "nickname" => Some(Self::Name(value)),
                "preferred_username" => Some(Self::UserPart(value)),
                "email" => contact(Self::Email, value.to_lowercase()),
                "phone_number" => contact(Self::Phone, value),
                _ => None,
            },
            // RFC 6350: names of properties have no case, a TEL may be a URI.
            SearchField::VcardField(property) => match property.to_ascii_uppercase().as_str() {
                "FN" | "NICKNAME" => Some(Self::Name(value)),
                "IMPP" => Some(Self::Handle(of_handle(map, &value))),
                "EMAIL" => contact(Self::Email, value.to_lowercase()),
                "TEL" => contact(Self::Phone, value.strip_prefix("tel:").unwrap_or(&value).to_owned()),
                _ => None,
            },
        }
    }

    /// Whether this says of nobody in particular who is meant.
    fn is_vague(&self) -> bool {
        match self {
            Self::PartOfName(part) | Self::Part(part, _) => part.trim().len() < SHORTEST_PART,
            _ => false,
        }
    }

    fn is_exact(&self) -> bool {
        !matches!(self, Self::PartOfName(_) | Self::Part(..))
    }

    fn matches(&self, user: &UserId, row: &Findable) -> bool {
        let by = |way| row.ways.contains(&way);
        let name = row.name.as_deref().filter(|_| by(Way::Name));
        match self {
            Self::Handle(sought) => by(Way::Handle) && sought.as_deref() == Some(user),
            Self::UserPart(part) => by(Way::Handle) && part == user.localpart(),
            Self::Name(sought) => name == Some(sought),
            Self::Nick(sought) => by(Way::Handle) && sought == user.localpart() || name == Some(sought),
            Self::Email(sought) => by(Way::Email) && row.emails.contains(sought),
            Self::Phone(sought) => by(Way::Phone) && row.phones.contains(sought),
            Self::PartOfName(part) => name.is_some_and(|name| name.to_lowercase().contains(part)),
            Self::Part(part, whole) => {
                let part_of_handle = by(Way::Handle) && by(Way::Name) && user.localpart().to_lowercase().contains(part);
                // Who can be found by the whole of something only is not found by a part of it.
                part_of_handle
                    || Self::PartOfName(part.clone()).matches(user, row)
                    || Self::Nick(whole.clone()).matches(user, row)
                    || Self::Email(part.clone()).matches(user, row)
                    || Self::Phone(whole.clone()).matches(user, row)
            }
        }
    }
}

/// A query that can be answered: all its conditions have to match.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query(Vec<Sought>);

/// Whom to look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Candidates {
    /// Nobody of ours has that handle.
    Nobody,
    /// This one.
    One(OwnedUserId),
    /// Everybody who can be found.
    All,
}

impl Query {
    /// `has_contacts`: e-mail addresses and telephone numbers are known here. The code answers a query that cannot be
    /// answered otherwise; it depends on nothing but the query.
    pub(super) fn read(
        request: &IdentifierRequest,
        has_contacts: bool,
        map: &IdentityMap,
    ) -> Result<Self, IdentifierQueryCode> {
        let conditions = request.elements.iter().map(|element| Sought::read(element, has_contacts, map));
        let conditions: Option<Vec<Sought>> = conditions.collect();
        let conditions = conditions.ok_or(IdentifierQueryCode::UnsupportedField)?;
        if conditions.iter().any(Sought::is_vague) && !conditions.iter().any(Sought::is_exact) {
            return Err(IdentifierQueryCode::Ambiguous);
        }
        Ok(Self(conditions))
    }

    pub(super) fn candidates(&self) -> Candidates {
        let handle = self.0.iter().find_map(|sought| match sought {
            Sought::Handle(user) => Some(user),
            _ => None,
        });
        match handle {
            None => Candidates::All,
            Some(None) => Candidates::Nobody,
            Some(Some(user)) => Candidates::One(user.clone()),
        }
    }

    pub(super) fn matches(&self, user: &UserId, row: &Findable) -> bool {
        self.0.iter().all(|sought| sought.matches(user, row))
    }
}

/// The user of our own homeserver whose handle this is: `im:alice@provider`, `mimi://provider/u/alice`,
/// `matrix:u/alice:server`, or `@alice:server`.
fn of_handle(map: &IdentityMap, handle: &str) -> Option<OwnedUserId> {
    let own =
        |user: OwnedUserId| (user.server_name() == map.server_name() && map.user_uri(&user).is_ok()).then_some(user);
    if handle.starts_with('@') {
        return own(UserId::parse(handle).ok()?);
    }
    let (scheme, rest) = handle.split_once(':')?;
    match scheme.to_ascii_lowercase().as_str() {
        "mimi" => own(map.matrix_user(&UserUri::parse(handle).ok()?)?),
        "im" => {
            let (name, domain) = rest.rsplit_once('@')?;
            let name = percent_decode_str(name).decode_utf8().ok()?;
            let domain = ProviderDomain::parse(&domain.to_ascii_lowercase()).ok()?;
            own(map.matrix_user(&UserUri::new(&domain, &encode_segment(&name)).ok()?)?)
        }
        "matrix" => {
            let id = percent_decode_str(rest.strip_prefix("u/")?).decode_utf8().ok()?;
            own(UserId::parse(format!("@{id}")).ok()?)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::AppDataDictionary;

    fn map() -> IdentityMap {
        IdentityMap::new(ProviderDomain::parse("a.example").unwrap(), "matrix.a.example".try_into().unwrap())
    }

    fn request(elements: &[(SearchField, &str)]) -> IdentifierRequest {
        let elements =
            elements.iter().map(|(field, value)| QueryElement { field: field.clone(), value: (*value).to_owned() });
        IdentifierRequest { elements: elements.collect(), extensions: AppDataDictionary::default() }
    }

    fn row(ways: &[Way]) -> Findable {
        Findable {
            ways: ways.iter().copied().collect(),
            name: Some("Alice Smith".to_owned()),
            emails: vec!["asmith@mail.example".to_owned()],
            phones: vec!["+12125551212".to_owned()],
        }
    }

    fn finds(ways: &[Way], elements: &[(SearchField, &str)]) -> bool {
        let query = Query::read(&request(elements), true, &map()).unwrap();
        query.matches(ruma::user_id!("@alice.smith:matrix.a.example"), &row(ways))
    }

    fn code(elements: &[(SearchField, &str)], has_contacts: bool) -> Option<IdentifierQueryCode> {
        Query::read(&request(elements), has_contacts, &map()).err()
    }

    fn oidc(claim: &str) -> SearchField {
        SearchField::OidcStdClaim(claim.to_owned())
    }

    fn vcard(property: &str) -> SearchField {
        SearchField::VcardField(property.to_owned())
    }

    #[test]
    fn a_handle_is_one_of_four_spellings_and_whole() {
        for handle in [
            "im:alice.smith@a.example",
            "IM:alice.smith@A.example",
            "im:alice%2Esmith@a.example",
            "mimi://a.example/u/alice.smith",
            "matrix:u/alice.smith:matrix.a.example",
            "@alice.smith:matrix.a.example",
        ] {
            assert!(finds(&[Way::Handle], &[(SearchField::Handle, handle)]), "{handle}");
            assert!(!finds(&[Way::Name, Way::Email], &[(SearchField::Handle, handle)]), "{handle}");
        }
        for handle in [
            "im:alice.smith@b.example",
            "im:alice@a.example",
            "alice.smith@a.example",
            "im:alice.smith%3Amatrix.a.example@a.example",
            "mimi://a.example/u/alice%2Esmith",
            "mimi://a.example/r/alice.smith",
            "matrix:r/alice.smith:matrix.a.example",
            "@alice.smith:a.example",
            "",
        ] {
            assert!(!finds(&Way::ALL, &[(SearchField::Handle, handle)]), "{handle}");
        }
        assert_eq!(of_handle(&map(), "@_mimi_b.example=2fbob:matrix.a.example"), None, "a ghost is nobody of ours");
    }

    #[test]
    fn each_field_matches_what_the_user_chose() {
        let cases: [(SearchField, &str, &[Way]); 18] = [
            (SearchField::Nick, "alice.smith", &[Way::Handle]),
            (SearchField::Nick, "Alice Smith", &[Way::Name]),
            (SearchField::Email, "ASmith@mail.example", &[Way::Email]),
            (SearchField::Phone, "+12125551212", &[Way::Phone]),
            (SearchField::PartialName, "ice sm", &[Way::Name]),
            (SearchField::PartialName, "SMITH", &[Way::Name]),
            (SearchField::WholeProfile, "smith", &[Way::Name]),
            (SearchField::WholeProfile, "alice.smith", &[Way::Handle]),
            (SearchField::WholeProfile, "asmith@mail.example", &[Way::Email]),
            (SearchField::WholeProfile, "+12125551212", &[Way::Phone]),
            (oidc("name"), "Alice Smith", &[Way::Name]),
            (oidc("nickname"), "Alice Smith", &[Way::Name]),
            (oidc("preferred_username"), "alice.smith", &[Way::Handle]),
            (oidc("email"), "asmith@mail.example", &[Way::Email]),
            (oidc("phone_number"), "+12125551212", &[Way::Phone]),
            (vcard("fn"), "Alice Smith", &[Way::Name]),
            (vcard("IMPP"), "im:alice.smith@a.example", &[Way::Handle]),
            (vcard("TEL"), "tel:+12125551212", &[Way::Phone]),
        ];
        for (field, value, ways) in cases {
            let query = [(field, value)];
            assert!(finds(ways, &query), "{query:?} by {ways:?}");
            let others: Vec<Way> = Way::ALL.into_iter().filter(|way| !ways.contains(way)).collect();
            assert!(!finds(&others, &query), "{query:?} by {others:?}");
            assert!(!finds(&[], &query), "{query:?}");
        }
        for (field, value) in [
            (SearchField::Nick, "alice"),
            (SearchField::Nick, "alice smith"),
            (SearchField::Email, "smith@mail.example"),
            (SearchField::Phone, "12125551212"),
            (SearchField::PartialName, "alice.smith"),
            (SearchField::WholeProfile, "555"),
            (SearchField::WholeProfile, "mail.example"),
            (oidc("name"), "Alice"),
            (vcard("FN"), "alice smith"),
        ] {
            assert!(!finds(&Way::ALL, &[(field.clone(), value)]), "{field:?} {value}");
        }
        // By a part of the handle is found who can be found by parts at all.
        assert!(finds(&[Way::Handle, Way::Name], &[(SearchField::WholeProfile, "ice.smi")]));
        assert!(!finds(&[Way::Handle, Way::Email], &[(SearchField::WholeProfile, "ice.smi")]));
    }

    #[test]
    fn all_elements_have_to_match() {
        let (name, handle) = ((SearchField::PartialName, "alice"), (SearchField::Handle, "im:alice.smith@a.example"));
        let both = [Way::Handle, Way::Name];
        assert!(finds(&both, &[name.clone(), handle.clone()]));
        assert!(!finds(&both, &[name.clone(), handle.clone(), (SearchField::Email, "asmith@mail.example")]));
        assert!(!finds(&[Way::Handle], &[name.clone(), handle.clone()]), "each by what was chosen");
        assert!(!finds(&both, &[(SearchField::PartialName, "bob"), handle]));
        assert!(finds(&both, &[name, (SearchField::PartialName, "smith")]));
    }

    #[test]
    fn what_is_not_searched_is_said_whatever_else_is_asked() {
        let unsupported = Some(IdentifierQueryCode::UnsupportedField);
        for field in [oidc("given_name"), oidc("sub"), oidc("Name"), vcard("ORG"), vcard("X-MINE")] {
            assert_eq!(code(&[(field.clone(), "x")], true), unsupported, "{field:?}");
            assert_eq!(code(&[(SearchField::Handle, "im:alice.smith@a.example"), (field, "x")], true), unsupported);
        }
        for field in
            [SearchField::Email, SearchField::Phone, oidc("email"), oidc("phone_number"), vcard("EMAIL"), vcard("TEL")]
        {
            assert_eq!(code(&[(field.clone(), "x")], false), unsupported, "{field:?}");
            assert_eq!(code(&[(field, "x")], true), None);
        }
    }

    #[test]
    fn a_letter_or_two_match_nobody() {
        let ambiguous = Some(IdentifierQueryCode::Ambiguous);
        for (field, value) in [
            (SearchField::PartialName, ""),
            (SearchField::PartialName, "al"),
            (SearchField::PartialName, " a  "),
            (SearchField::WholeProfile, "al"),
        ] {
            assert_eq!(code(&[(field.clone(), value)], true), ambiguous, "{value:?}");
            assert_eq!(code(&[(field.clone(), value), (SearchField::PartialName, "alice")], true), ambiguous);
            assert_eq!(code(&[(field, value), (SearchField::Nick, "alice")], true), None, "with an exact one");
        }
        assert_eq!(code(&[(SearchField::PartialName, "王伟")], true), None);
    }

    #[test]
    fn a_handle_leads_to_one_user() {
        let of = |elements: &[(SearchField, &str)]| Query::read(&request(elements), true, &map()).unwrap().candidates();
        let name = (SearchField::PartialName, "alice");
        let alice = ruma::user_id!("@alice:matrix.a.example").to_owned();
        assert_eq!(of(&[name.clone(), (SearchField::Handle, "im:alice@a.example")]), Candidates::One(alice));
        assert_eq!(of(&[name.clone(), (SearchField::Handle, "im:alice@b.example")]), Candidates::Nobody);
        assert_eq!(of(&[name]), Candidates::All);
    }
}
