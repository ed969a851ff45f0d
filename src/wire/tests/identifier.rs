//! identifierQuery, byte for byte.

use super::{pieces::*, *};

fn element(field: SearchField, value: &str) -> QueryElement {
    QueryElement { field, value: value.into() }
}

#[test]
fn a_query_of_every_type() {
    let dump = [
        ("405a", "query_elements, 90 bytes"),
        ("01", "searchType handle"),
        ("0c", "searchValue, 12 bytes"),
        ("'im:x@b.examp", "searchValue"),
        ("02", "searchType nick"),
        ("05", "searchValue, 5 bytes"),
        ("'alice", "searchValue"),
        ("03", "searchType email"),
        ("05", "searchValue, 5 bytes"),
        ("'a@b.c", "searchValue"),
        ("04", "searchType phone"),
        ("0c", "searchValue, 12 bytes"),
        ("'+12125551212", "searchValue"),
        ("05", "searchType partialName"),
        ("03", "searchValue, 3 bytes"),
        ("'mat", "searchValue"),
        ("06", "searchType wholeProfile"),
        ("00", "searchValue, empty"),
        ("07", "searchType oidcStdClaim"),
        ("0a", "claimName, 10 bytes"),
        ("'given_name", "claimName"),
        ("06", "searchValue, 6 bytes"),
        ("'Xavier", "searchValue"),
        ("08", "searchType vcardField"),
        ("03", "propertyName, 3 bytes"),
        ("'ORG", "propertyName"),
        ("10", "searchValue, 16 bytes"),
        ("'0123456789abcdef", "searchValue"),
        ("04 0001 01 ff", "id_request_extensions: component 1"),
    ];
    let request = IdentifierRequest {
        elements: vec![
            element(SearchField::Handle, "im:x@b.examp"),
            element(SearchField::Nick, "alice"),
            element(SearchField::Email, "a@b.c"),
            element(SearchField::Phone, "+12125551212"),
            element(SearchField::PartialName, "mat"),
            element(SearchField::WholeProfile, ""),
            element(SearchField::OidcStdClaim("given_name".into()), "Xavier"),
            element(SearchField::VcardField("ORG".into()), "0123456789abcdef"),
        ],
        extensions: AppDataDictionary([(1, vec![0xff])].into()),
    };
    check(&dump, &request);
}

#[test]
fn queries_that_would_find_everybody_or_nobody_are_refused() {
    let error = IdentifierRequest::decode(&[0, 0]).unwrap_err();
    assert_eq!((error.field, error.offset), ("query_elements", 0));
    for search_type in ["00", "09", "ff"] {
        let wire = bytes(&[("02", "query_elements"), (search_type, "searchType"), ("00", ""), ("00", "extensions")]);
        let error = IdentifierRequest::decode(&wire).unwrap_err();
        assert_eq!((error.path().as_str(), error.offset), ("query_elements[0].searchType", 1));
    }
    let many = IdentifierRequest {
        elements: vec![element(SearchField::Nick, "a"); limits::QUERY_ELEMENTS + 1],
        extensions: AppDataDictionary::default(),
    };
    let error = IdentifierRequest::decode(&many.encode()).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::TooMany(limits::QUERY_ELEMENTS));
    let control = bytes(&[("03", ""), ("02", "nick"), ("01", ""), ("1b", "searchValue: escape"), ("00", "")]);
    assert_eq!(IdentifierRequest::decode(&control).unwrap_err().kind, DecodeErrorKind::Text);
}

pub(super) fn found() -> IdentifierResponse {
    IdentifierResponse {
        code: IdentifierQueryCode::Success,
        uris: vec![alice().as_uri().clone()],
        profiles: vec![UserProfile {
            stable_uri: alice().as_uri().clone(),
            fields: vec![
                ProfileField { source: FieldSource::OidcStdClaim, name: "name".into(), value: b"Alice".into() },
                ProfileField { source: FieldSource::VcardField, name: "FN".into(), value: vec![0xff] },
            ],
        }],
        extensions: AppDataDictionary::default(),
    }
}

#[test]
fn an_answer_with_a_profile() {
    let dump = [
        ("00", "responseCode success"),
        ("19", "uri, 25 bytes"),
        ("18", "uri[0], 24 bytes"),
        ("'mimi://a.example/u/alice", "uri[0]"),
        ("2c", "foundProfiles, 44 bytes"),
        ("18", "stableUri, 24 bytes"),
        ("'mimi://a.example/u/alice", "stableUri"),
        ("12", "fields, 18 bytes"),
        ("07", "fieldSource oidcStdClaim"),
        ("04", "fieldName, 4 bytes"),
        ("'name", "fieldName"),
        ("05", "fieldValue, 5 bytes"),
        ("'Alice", "fieldValue"),
        ("08", "fieldSource vcardField"),
        ("02 464e", "fieldName"),
        ("01 ff", "fieldValue"),
        ("00", "id_response_extensions"),
    ];
    check(&dump, &found());
    assert_eq!(IdentifierResponse::found(found().profiles), found());
}

#[test]
fn every_code_without_users() {
    let codes = [
        IdentifierQueryCode::Success,
        IdentifierQueryCode::NotFound,
        IdentifierQueryCode::Ambiguous,
        IdentifierQueryCode::Forbidden,
        IdentifierQueryCode::UnsupportedField,
    ];
    for (number, code) in codes.into_iter().enumerate() {
        let number = format!("{number:02x}");
        check(
            &[(&number, "responseCode"), ("00", "uri"), ("00", "foundProfiles"), ("00", "id_response_extensions")],
            &IdentifierResponse::empty(code),
        );
    }
    assert_eq!(IdentifierResponse::decode(&[5, 0, 0, 0]).unwrap_err().field, "responseCode");
    assert_eq!(IdentifierResponse::found(vec![]), IdentifierResponse::empty(IdentifierQueryCode::NotFound));
    let source = bytes(&[
        ("00 00", "responseCode, uri"),
        ("1d 18", "foundProfiles, stableUri"),
        ("'mimi://a.example/u/alice", "stableUri"),
        ("03 01 00 00", "fields: fieldSource 1"),
        ("00", ""),
    ]);
    let error = IdentifierResponse::decode(&source).unwrap_err();
    assert_eq!(error.to_string(), "foundProfiles[0].fields[0].fieldSource, byte 29: unknown value 1");
}
