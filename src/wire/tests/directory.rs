//! The directory document, its templates, and targets in paths.

use super::super::{
    directory::{Directory, DirectoryEntry, DirectoryError, Target},
    path,
};
use crate::ident::{MimiUri, ProviderDomain};

fn uri(text: &str) -> MimiUri {
    MimiUri::parse(text).unwrap()
}

#[test]
fn our_own_document() {
    let entries = [DirectoryEntry::Update, DirectoryEntry::KeyMaterial, DirectoryEntry::RequestConsent];
    let own = Directory::own("https://mimi.example.com/v1", &entries).unwrap();
    let expected = serde_json::json!({
        "keyMaterial": "https://mimi.example.com/v1/keyMaterial/{targetUser}",
        "update": "https://mimi.example.com/v1/update/{roomId}",
        "requestConsent": "https://mimi.example.com/v1/requestConsent/{targetDomain}",
        "draft": "06",
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(&own.to_json()).unwrap(), expected);
    assert_eq!(Directory::from_json(own.to_json().as_bytes()), Ok(own));
    let all = Directory::own("https://mimi.example.com:8443", &DirectoryEntry::ALL).unwrap();
    assert_eq!(Directory::from_json(all.to_json().as_bytes()), Ok(all.clone()));
    let gateway = all.url(DirectoryEntry::OhttpGateway, Target::Nothing).unwrap();
    assert_eq!(gateway, "https://mimi.example.com:8443/ohttpGateway");
    assert_eq!(all.template(DirectoryEntry::OhttpKeys), Some("https://mimi.example.com:8443/ohttpKeys"));
    // An entry that is no template has to be a plain URL, and rooms do without it.
    let odd = br#"{"ohttpKeys": "https://b.example/{x}", "ohttpGateway": "https://b.example/o"}"#;
    let odd = Directory::from_json(odd).unwrap();
    assert_eq!(odd.template(DirectoryEntry::OhttpKeys), None);
    assert_eq!(odd.template(DirectoryEntry::OhttpGateway), Some("https://b.example/o"));
    assert!(Directory::own("http://mimi.example.com", &entries).is_err());
}

#[test]
fn the_drafts_document_works_verbatim() {
    let document = br#"{
        "update": "https://mimi.example.com/v1/update{roomId}",
        "requestConsent": "https://mimi.example.com/v1/requestConsent/{targetUser}",
        "updateConsent": "https://mimi.example.com/v1/updateConsent/{requesterDomain}",
        "unknown": {"member": 1}
    }"#;
    let directory = Directory::from_json(document).unwrap();
    let room = uri("mimi://a.example/r/club%20house");
    let bob = uri("mimi://b.example/u/bob");
    let domain = ProviderDomain::parse("b.example").unwrap();
    let table = [
        (
            directory.url(DirectoryEntry::Update, Target::Uri(&room)),
            "https://mimi.example.com/v1/updatemimi%3A%2F%2Fa.example%2Fr%2Fclub%2520house",
        ),
        (
            directory.url(DirectoryEntry::RequestConsent, Target::Uri(&bob)),
            "https://mimi.example.com/v1/requestConsent/mimi%3A%2F%2Fb.example%2Fu%2Fbob",
        ),
        (
            directory.url(DirectoryEntry::UpdateConsent, Target::Uri(&bob)),
            "https://mimi.example.com/v1/updateConsent/b.example",
        ),
        (
            directory.url(DirectoryEntry::UpdateConsent, Target::Domain(&domain)),
            "https://mimi.example.com/v1/updateConsent/b.example",
        ),
    ];
    for (url, expected) in table {
        assert_eq!(url.as_deref(), Ok(expected));
    }
    let no_user = directory.url(DirectoryEntry::RequestConsent, Target::Domain(&domain));
    assert_eq!(no_user, Err(DirectoryError::NeedsUser("requestConsent")));
    let missing = directory.url(DirectoryEntry::Notify, Target::Uri(&room));
    assert_eq!(missing, Err(DirectoryError::Missing("notify")));
}

#[test]
fn hostile_templates_are_refused() {
    for template in [
        "http://b.example/update/{roomId}",
        "//b.example/update/{roomId}",
        "https://b.example",
        "https:///update/{roomId}",
        "https://{roomId}/update",
        "https://{roomId}.b.example/update/x",
        "https://a@b.example/update/{roomId}",
        "https://b.example?x/update/{roomId}",
        "https://b.example/update",
        "https://b.example/update/{roomId}/{roomId}",
        "https://b.example/update/{+roomId}",
        "https://b.example/update/{roomId,x}",
        "https://b.example/update/{roomId*}",
        "https://b.example/update/{}",
        "https://b.example/update/{roomId",
        "https://b.example/update/roomId}/{roomId}",
        "https://b.example/update/{roomId}#x",
        "https://b.example/update/{roomId} HTTP/1.1",
        "https://b.example/update/{roomId}\\u000d\\u000aX: y",
        "https://b.ex\u{e4}mple/update/{roomId}",
    ] {
        let document = format!("{{\"update\": \"{template}\"}}");
        let error = Directory::from_json(document.as_bytes()).unwrap_err();
        assert!(matches!(error, DirectoryError::Template { name: "update", .. }), "{template}: {error}");
    }
    let optional =
        br#"{"update": "https://b.example/{roomId}", "reportAbuse": "http://b.example/", "proxyDownload": 1}"#;
    let directory = Directory::from_json(optional).unwrap();
    assert!(directory.template(DirectoryEntry::Update).is_some());
    assert!(directory.template(DirectoryEntry::ReportAbuse).is_none());
    let other_variable = br#"{"update": "https://b.example/update/{secret}"}"#;
    let directory = Directory::from_json(other_variable).unwrap();
    directory.url(DirectoryEntry::Update, Target::Uri(&uri("mimi://a.example/r/x"))).unwrap_err();
}

#[test]
fn what_is_no_directory() {
    for document in [&b""[..], b"[]", b"null", b"\"x\"", b"{", b"\xff", b"{\"update\": 1}"] {
        Directory::from_json(document).unwrap_err();
    }
    assert_eq!(Directory::from_json(&vec![b' '; super::super::limits::DIRECTORY + 1]), Err(DirectoryError::TooLong));
    assert_eq!(Directory::from_json(b"{}").unwrap(), Directory::default());
}

#[test]
fn rooms_in_paths() {
    for raw in [
        "mimi%3A%2F%2Fa.example%2Fr%2Fclub",
        "mimi%3a%2f%2fa.example%2fr%2fclub",
        "mimi://a.example/r/club",
        "a.example/r/club",
        "a.example%2Fr%2Fclub",
        "a.example/club",
        "mimi%3A%2F%2Fa.example%2Fclub",
    ] {
        assert_eq!(path::room(raw).unwrap().as_str(), "mimi://a.example/r/club", "{raw}");
    }
    for raw in [
        "",
        "a.example",
        "a.example/u/club",
        "A.example/r/club",
        "https://a.example/r/club",
        "mimi%253A%252F%252Fa.example%252Fr%252Fclub",
        "a.example/r/../club",
        "a.example/r/%2e%2e",
        "a.example/r/club%00",
        "a.example/r/%ff",
        "a.example/r/club%20house",
        "a.example/r/club?x",
    ] {
        assert!(path::room(raw).is_err(), "{raw}");
    }
    assert!(path::room(&"a".repeat(path::MAX_RAW + 1)).is_err());
}

#[test]
fn a_path_is_decoded_once() {
    let carol = "mimi://a.example/u/carol%3Aother.org";
    assert_eq!(path::encode_segment(carol), "mimi%3A%2F%2Fa.example%2Fu%2Fcarol%253Aother.org");
    assert_eq!(path::user(&path::encode_segment(carol)).unwrap().as_str(), carol);
    assert_eq!(path::user("a.example/carol").unwrap().as_str(), "mimi://a.example/u/carol");
    for other_kind in ["a.example/r/carol", "a.example/p/carol", "a.example/x/carol", "a.example"] {
        assert!(path::user(other_kind).is_err(), "{other_kind}");
    }
}

#[test]
fn domains_in_paths() {
    for raw in ["b.example", "mimi%3A%2F%2Fb.example%2Fu%2Fbob", "b.example/u/bob", "mimi://b.example"] {
        assert_eq!(path::domain(raw).unwrap().as_str(), "b.example", "{raw}");
    }
    for raw in ["", "b..example", "B.example", "b.example:80", "127.0.0.1", "b.example?"] {
        assert!(path::domain(raw).is_err(), "{raw}");
    }
}

#[test]
fn a_download_is_an_https_url_on_a_name() {
    use path::{DownloadUrlError, download, encode_segment};
    let url = "https://assets.b.example/x/y%20z?k=v";
    let found = download(&encode_segment(url)).unwrap();
    assert_eq!((found.as_str(), found.host().as_str()), (url, "assets.b.example"));
    for (bad, why) in [
        ("http://b.example/x", DownloadUrlError::Scheme),
        ("ftp://b.example/x", DownloadUrlError::Scheme),
        ("https://u@b.example/x", DownloadUrlError::Extra),
        ("https://:p@b.example/x", DownloadUrlError::Extra),
        ("https://b.example:8443/x", DownloadUrlError::Extra),
        ("https://b.example:443/x", DownloadUrlError::Malformed),
        ("https://b.example/x#y", DownloadUrlError::Extra),
        ("https://127.0.0.1/x", DownloadUrlError::Host),
        ("https://0x7f.1/x", DownloadUrlError::Host),
        ("https://2130706433/x", DownloadUrlError::Host),
        ("https://0177.0.0.01/x", DownloadUrlError::Host),
        ("https://[::1]/x", DownloadUrlError::Host),
        ("https://b.example./x", DownloadUrlError::Host),
        ("https://B.example/x", DownloadUrlError::Malformed),
        ("https://b\u{fc}cher.example/x", DownloadUrlError::Malformed),
        ("https:/b.example/x", DownloadUrlError::Malformed),
        ("https://b.example\\x", DownloadUrlError::Malformed),
        ("https://b.example/a/../x", DownloadUrlError::Malformed),
        (" https://b.example/x", DownloadUrlError::Malformed),
        ("https://b.example/\tx", DownloadUrlError::Malformed),
        ("x", DownloadUrlError::Malformed),
    ] {
        assert_eq!(download(&encode_segment(bad)), Err(why), "{bad}");
    }
    let long = format!("https://b.example/{}", "a".repeat(crate::wire::limits::DOWNLOAD_URL));
    assert_eq!(download(&long), Err(DownloadUrlError::TooLong));
    assert_eq!(download("%ff"), Err(DownloadUrlError::Malformed));
}
