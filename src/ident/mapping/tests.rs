//! The mapping both ways: a table of spellings, and properties over hostile ones.

use proptest::prelude::*;
use ruma::server_name;

use super::*;

fn map() -> IdentityMap {
    IdentityMap::new(ProviderDomain::parse("a.example").unwrap(), server_name!("matrix.example").to_owned())
}

fn user(text: &str) -> UserUri {
    UserUri::parse(text).unwrap()
}

#[test]
fn matrix_users_and_their_uris() {
    let table = [
        ("@alice:matrix.example", "mimi://a.example/u/alice"),
        ("@carol:other.org", "mimi://a.example/u/carol%3Aother.org"),
        ("@carol:other.org:8448", "mimi://a.example/u/carol%3Aother.org%3A8448"),
        ("@carol:[::1]", "mimi://a.example/u/carol%3A%5B%3A%3A1%5D"),
        ("@a/b=c+d_e-f.g:matrix.example", "mimi://a.example/u/a%2Fb=c+d_e-f.g"),
        ("@Old%3A:matrix.example", "mimi://a.example/u/Old%253A"),
        ("@a:matrix.example:8448", "mimi://a.example/u/a%3Amatrix.example%3A8448"),
    ];
    for (matrix, mimi) in table {
        let id = UserId::parse(matrix).unwrap();
        assert_eq!(map().user_uri(&id).unwrap().as_str(), mimi);
        assert_eq!(map().matrix_user(&user(mimi)), Some(id));
    }
}

#[test]
fn another_spelling_or_provider_names_nobody_here() {
    for uri in [
        "mimi://b.example/u/alice",
        "mimi://a.example/u/%61lice",
        "mimi://a.example/u/carol:other.org",
        "mimi://a.example/u/carol%3aother.org",
        "mimi://a.example/u/alice%3Amatrix.example",
        "mimi://a.example/u/a/b",
        "mimi://a.example/u/%FF",
        "mimi://a.example/u/_mimi_b.example=2fbob",
    ] {
        assert_eq!(map().matrix_user(&user(uri)), None, "{uri}");
    }
}

#[test]
fn ghosts_are_not_users_of_their_own() {
    for id in ["@_mimi_b.example=2fbob:matrix.example", "@_mimi_x:elsewhere.org"] {
        assert_eq!(map().user_uri(&UserId::parse(id).unwrap()), Err(MappingError::Ghost));
    }
    let dots = UserId::parse("@..:matrix.example").unwrap();
    assert!(matches!(map().user_uri(&dots), Err(MappingError::NotExpressible(_))));
    assert_eq!(map().ghost(&user("mimi://a.example/u/alice")), Err(MappingError::Own));
}

#[test]
fn ghosts_of_mimi_users() {
    let table = [
        ("mimi://b.example/u/bob", "@_mimi_b.example=2fbob:matrix.example"),
        ("mimi://b.example/u/Bob", "@_mimi_b.example=2f=42ob:matrix.example"),
        ("mimi://b.example/u/carol%3Aother.org", "@_mimi_b.example=2fcarol=253=41other.org:matrix.example"),
        ("mimi://b.example/u/x/y", "@_mimi_b.example=2fu=2fx=2fy:matrix.example"),
        ("mimi://b.example/u/u/y", "@_mimi_b.example=2fu=2fu=2fy:matrix.example"),
        ("mimi://b.example/u/a=b", "@_mimi_b.example=2fa=3db:matrix.example"),
    ];
    for (mimi, ghost) in table {
        let id = map().ghost(&user(mimi)).unwrap();
        assert_eq!(id.as_str(), ghost);
        assert!(is_ghost_pattern(&id));
        assert_eq!(map().ghost_of(&id), Some(GhostOf::User(user(mimi))));
    }
}

#[test]
fn what_no_ghost_is_called() {
    for id in [
        "@alice:matrix.example",
        "@_mimi_b.example=2fbob:elsewhere.org",
        "@_mimi_b.example=2Fbob:matrix.example",
        "@_mimi_b.example=2f=62ob:matrix.example",
        "@_mimi_b.example=2fu=2fbob:matrix.example",
        "@_mimi_b.example=2fr=2fclub:matrix.example",
        "@_mimi_a.example=2falice:matrix.example",
        "@_mimi_b.example:matrix.example",
        "@_mimi_b.example=2:matrix.example",
        "@_mimi_b.example=+fbob:matrix.example",
        "@_mimi_b.example=ffbob:matrix.example",
        "@_mimi_h=abc:matrix.example",
        "@_mimi_h=2fbob:matrix.example",
    ] {
        assert_eq!(map().ghost_of(&UserId::parse(id).unwrap()), None, "{id}");
    }
}

#[test]
fn a_long_uri_gets_a_short_ghost_whose_uri_is_stored() {
    let long = user(&format!("mimi://b.example/u/{}", "x".repeat(300)));
    let localpart = map().ghost_localpart(&long).unwrap();
    assert!(!localpart.reversible);
    assert_eq!(localpart.text.len(), "_mimi_h=".len() + 52);
    let id = map().ghost(&long).unwrap();
    assert!(id.as_str().len() <= 255);
    assert_eq!(map().ghost_of(&id), Some(GhostOf::Stored));
    // Exactly 255 bytes still fit.
    let fits = 255 - "@_mimi_b.example=2f:matrix.example".len();
    for (len, reversible) in [(fits, true), (fits + 1, false)] {
        let uri = user(&format!("mimi://b.example/u/{}", "x".repeat(len)));
        assert_eq!(map().ghost_localpart(&uri).unwrap().reversible, reversible);
    }
}

#[test]
fn a_provider_called_h_is_not_taken_for_the_short_form() {
    let uri = user("mimi://h/u/bob");
    assert!(!map().ghost_localpart(&uri).unwrap().reversible);
    assert_eq!(map().ghost_of(&map().ghost(&uri).unwrap()), Some(GhostOf::Stored));
}

#[test]
fn portals_of_rooms() {
    let room = RoomUri::parse("mimi://b.example/r/club").unwrap();
    let alias = map().portal_alias(&room).unwrap();
    assert_eq!(alias.as_str(), "#_mimi_b.example=2fr=2fclub:matrix.example");
    assert_eq!(map().portal_room(&alias), Some(room));
    let long = RoomUri::parse(&format!("mimi://b.example/r/{}", "x".repeat(300))).unwrap();
    let alias = map().portal_alias(&long).unwrap();
    assert!(alias.as_str().len() <= 255);
    assert_eq!(map().portal_room(&alias), None);
}

#[test]
fn display_names_do_not_deceive() {
    let table = [
        ("mimi://b.example/u/bob", "bob (b.example)"),
        ("mimi://b.example/u/J%C3%B6rg%20M", "Jörg M (b.example)"),
        ("mimi://b.example/u/a%E2%80%AEb", "a%E2%80%AEb (b.example)"),
        ("mimi://b.example/u/a%E2%80%8Bb", "a%E2%80%8Bb (b.example)"),
        ("mimi://b.example/u/a%C2%9Bb", "a%C2%9Bb (b.example)"),
        ("mimi://b.example/u/a%FFb", "a%FFb (b.example)"),
    ];
    for (uri, name) in table {
        assert_eq!(display_name(&user(uri)), name);
    }
    let long = user(&format!("mimi://b.example/u/{}", "x".repeat(1000)));
    assert_eq!(display_name(&long).chars().count(), NAME_MAX + "… (b.example)".chars().count());
}

#[test]
fn rooms_and_groups_are_named_by_random_bytes() {
    let room = RoomUri::from_random(map().provider(), b"0123456789abcdef").unwrap();
    assert_eq!(room.as_str(), "mimi://a.example/r/gaytemzugu3doobzmfrggzdfmy");
    assert_eq!(room.group(1).unwrap().as_str(), "mimi://a.example/g/gaytemzugu3doobzmfrggzdfmy/1");
}

fn any_user_uri() -> impl Strategy<Value = UserUri> {
    let domain = prop_oneof![Just("b.example"), Just("h"), Just("h.example"), Just("x--y.example")];
    let tail = "([A-Za-z0-9._~=+:@!-]|%[2-9a-fA-F][0-9a-eA-E]){1,40}(/(u|p|d|[a-z=]{1,5})){0,3}";
    (domain, tail)
        .prop_filter_map("dot segments and the like", |(d, t)| UserUri::parse(&format!("mimi://{d}/u/{t}")).ok())
}

fn any_user_id() -> impl Strategy<Value = OwnedUserId> {
    let server = prop_oneof![Just("matrix.example"), Just("other.org"), Just("matrix.example:1"), Just("[::1]:8448")];
    ("[!-9;-~]{1,60}", server).prop_filter_map("no Matrix id", |(l, s)| UserId::parse(format!("@{l}:{s}")).ok())
}

proptest! {
    #[test]
    fn ghosts_are_injective_and_reversible(a in any_user_uri(), b in any_user_uri()) {
        let (ghost_a, ghost_b) = (map().ghost(&a).unwrap(), map().ghost(&b).unwrap());
        prop_assert_eq!(a == b, ghost_a == ghost_b);
        prop_assert!(ghost_a.as_str().len() <= 255);
        prop_assert!(ghost_a.localpart().bytes().all(|b| b"abcdefghijklmnopqrstuvwxyz0123456789._=-/+".contains(&b)));
        let back = map().ghost_of(&ghost_a);
        if map().ghost_localpart(&a).unwrap().reversible {
            prop_assert_eq!(back, Some(GhostOf::User(a)));
        } else {
            prop_assert_eq!(back, Some(GhostOf::Stored));
        }
    }

    #[test]
    fn matrix_users_are_injective_and_reversible(a in any_user_id(), b in any_user_id()) {
        let (uri_a, uri_b) = (map().user_uri(&a), map().user_uri(&b));
        if let (Ok(uri_a), Ok(uri_b)) = (&uri_a, &uri_b) {
            prop_assert_eq!(a == b, uri_a == uri_b);
        }
        if let Ok(uri) = uri_a {
            prop_assert_eq!(map().matrix_user(&uri), Some(a));
        }
    }

    #[test]
    fn any_localpart_maps_to_at_most_one_ghost(rest in "[a-z0-9._=-]{0,40}") {
        let id = UserId::parse(format!("@_mimi_{rest}:matrix.example")).unwrap();
        if let Some(GhostOf::User(uri)) = map().ghost_of(&id) {
            prop_assert_eq!(map().ghost(&uri).unwrap(), id);
        }
    }
}
