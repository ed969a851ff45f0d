//! What a peer may claim in path and body (S3, S3a), and what its request becomes.

use mimi_gateway::{engine::ports::Problem, wire::ConsentAction};

use crate::{
    bodies::{consent, group_info, key_material, notify, query, report, room, segment, submit, update, user},
    harness::{ANSWER, Call, Gateway},
};

fn to_room(endpoint: &str, provider: &str) -> String {
    format!("/v1/{endpoint}/{}", segment(room(provider).as_str()))
}

fn to_user(name: &str) -> String {
    format!("/v1/keyMaterial/{}", segment(user(name).as_str()))
}

#[tokio::test]
async fn good_requests_reach_the_engine_byte_for_byte() {
    let gateway = Gateway::a().await;
    let cases = [
        ("keyMaterial", to_user("alice@a"), user("alice@a").to_string(), key_material("bob@b", "alice@a", None), 200),
        ("update", to_room("update", "a"), room("a").to_string(), update(), 200),
        ("notify", to_room("notify", "b"), room("b").to_string(), notify(), 201),
        ("submitMessage", to_room("submitMessage", "a"), room("a").to_string(), submit("bob@b"), 200),
        ("groupInfo", to_room("groupInfo", "a"), room("a").to_string(), group_info("bob@b"), 200),
        ("reportAbuse", to_room("reportAbuse", "a"), room("a").to_string(), report(Some("bob@b")), 201),
        ("reportAbuse", to_room("reportAbuse", "a"), room("a").to_string(), report(None), 201),
        ("identifierQuery", "/v1/identifierQuery/a.example".to_owned(), String::new(), query(), 200),
        (
            "requestConsent",
            "/v1/requestConsent/a.example".to_owned(),
            String::new(),
            consent(ConsentAction::Request, "bob@b", "alice@a"),
            201,
        ),
        (
            "updateConsent",
            "/v1/updateConsent/a.example".to_owned(),
            String::new(),
            consent(ConsentAction::Revoke, "alice@a", "bob@b"),
            201,
        ),
    ];
    for (endpoint, path, target, body, expected) in cases {
        let answer = gateway.post("b.example", &path, body.clone()).await;
        assert_eq!(answer.status(), expected, "{endpoint}");
        let content_type = answer.headers().get("content-type").cloned();
        let answered = answer.bytes().await.unwrap();
        if expected == 200 {
            assert_eq!(content_type.unwrap(), "application/mimi-protocol");
            assert_eq!(answered, ANSWER);
        } else {
            assert!(answered.is_empty());
        }
        let call = gateway.engine.calls.lock().unwrap().pop().unwrap();
        assert_eq!(call, Call { endpoint, peer: "b.example".to_owned(), target, body });
    }
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn s3_claims_for_others_are_refused() {
    let gateway = Gateway::a().await;
    let cases = [
        ("sender of C", to_room("submitMessage", "a"), submit("carol@c"), 403),
        ("sender of ours", to_room("submitMessage", "a"), submit("alice@a"), 403),
        ("message for another's room", to_room("submitMessage", "b"), submit("bob@b"), 404),
        ("update for another's room", to_room("update", "c"), update(), 404),
        ("joiner of C", to_room("groupInfo", "a"), group_info("carol@c"), 403),
        ("group of another's room", to_room("groupInfo", "b"), group_info("bob@b"), 404),
        ("report by C's user", to_room("reportAbuse", "a"), report(Some("carol@c")), 403),
        ("report by our user", to_room("reportAbuse", "a"), report(Some("alice@a")), 403),
        ("report in another's room", to_room("reportAbuse", "b"), report(None), 404),
        ("search at another provider", "/v1/identifierQuery/c.example".to_owned(), query(), 404),
        ("search at nobody", "/v1/identifierQuery/-".to_owned(), query(), 400),
        // An empty vector of elements: it would match everybody.
        ("search for everybody", "/v1/identifierQuery/a.example".to_owned(), vec![0, 0], 400),
        ("fan-out for C's room", to_room("notify", "c"), notify(), 403),
        ("fan-out for our room", to_room("notify", "a"), notify(), 403),
        ("keys for C's user", to_user("alice@a"), key_material("carol@c", "alice@a", None), 403),
        ("keys for C's user in our room", to_user("alice@a"), key_material("carol@c", "alice@a", Some(room("a"))), 403),
        ("keys for our user", to_user("alice@a"), key_material("alex@a", "alice@a", Some(room("b"))), 403),
        ("target in path is not in body", to_user("alex@a"), key_material("bob@b", "alice@a", None), 400),
        ("another's user outside our rooms", to_user("carol@c"), key_material("bob@b", "carol@c", None), 404),
    ];
    for (what, path, body, expected) in cases {
        let answer = gateway.post("b.example", &path, body).await;
        assert_eq!(answer.status(), expected, "{what}");
        let document: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(document["status"], expected, "{what}");
    }
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn a_hub_forwards_key_material_requests() {
    let gateway = Gateway::a().await;
    // B is hub and forwards C's request; we are hub and B asks for a user of C.
    for (path, body) in [
        (to_user("alice@a"), key_material("carol@c", "alice@a", Some(room("b")))),
        (to_user("carol@c"), key_material("bob@b", "carol@c", Some(room("a")))),
    ] {
        assert_eq!(gateway.post("b.example", &path, body).await.status(), 200);
    }
    assert_eq!(gateway.engine.count(), 2);
}

#[tokio::test]
async fn s3a_forged_consent_is_refused() {
    let gateway = Gateway::a().await;
    let grant = || ConsentAction::Grant { key_packages: Vec::new() };
    let cases = [
        // The one that opened every user of another implementation: a grant for one of *our* users.
        ("updateConsent/a.example", consent(grant(), "bob@b", "alice@a"), 403),
        ("updateConsent/a.example", consent(grant(), "alice@a", "carol@c"), 403),
        ("updateConsent/a.example", consent(grant(), "carol@c", "bob@b"), 403),
        ("updateConsent/a.example", consent(ConsentAction::Revoke, "bob@b", "alice@a"), 403),
        ("updateConsent/a.example", consent(ConsentAction::Revoke, "alice@a", "carol@c"), 403),
        ("updateConsent/a.example", consent(ConsentAction::Revoke, "carol@c", "bob@b"), 403),
        ("updateConsent/a.example", consent(ConsentAction::Request, "alice@a", "bob@b"), 400),
        ("requestConsent/a.example", consent(ConsentAction::Revoke, "bob@b", "alice@a"), 400),
        ("updateConsent/b.example", consent(grant(), "alice@a", "bob@b"), 404),
        ("requestConsent/a.example", consent(ConsentAction::Request, "carol@c", "alice@a"), 403),
        ("requestConsent/a.example", consent(ConsentAction::Request, "bob@b", "carol@c"), 403),
        ("requestConsent/a.example", consent(ConsentAction::Cancel, "alice@a", "alice@a"), 403),
        ("requestConsent/a.example", consent(grant(), "bob@b", "alice@a"), 400),
        ("requestConsent/c.example", consent(ConsentAction::Request, "bob@b", "alice@a"), 404),
        ("requestConsent/A.example", consent(ConsentAction::Request, "bob@b", "alice@a"), 400),
        ("requestConsent/a.example", b"not an entry".to_vec(), 400),
        ("requestConsent/a.example", Vec::new(), 400),
    ];
    for (path, body, expected) in cases {
        let answer = gateway.post("b.example", &format!("/v1/{path}"), body.clone()).await;
        assert_eq!(answer.status(), expected, "{path} {body:?}");
    }
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn malformed_bodies_and_paths_get_400() {
    let gateway = Gateway::a().await;
    for (path, body) in [
        (to_room("update", "a"), update()),
        (to_room("notify", "b"), notify()),
        (to_room("submitMessage", "a"), submit("bob@b")),
        (to_room("groupInfo", "a"), group_info("bob@b")),
        (to_user("alice@a"), key_material("bob@b", "alice@a", None)),
        ("/v1/identifierQuery/a.example".to_owned(), query()),
    ] {
        let longer = [&body[..], b"\0"].concat();
        let shorter = body[..body.len() - 1].to_vec();
        for bad in [longer, shorter, Vec::new(), vec![0xff; 64]] {
            assert_eq!(gateway.post("b.example", &path, bad).await.status(), 400, "{path}");
        }
    }
    for path in [
        "mimi%3A%2F%2Fb.example%2Fu%2Fbob",
        "b.example",
        "%FF",
        "mimi%253A%252F%252Fb.example%252Fr%252Fx",
        "B.example/r/x",
    ] {
        assert_eq!(gateway.post("b.example", &format!("/v1/notify/{path}"), notify()).await.status(), 400, "{path}");
    }
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn what_the_engine_refuses_becomes_a_problem_document() {
    let gateway = Gateway::a().await;
    for (problem, expected, retry_after) in [
        (Problem::Malformed("x".into()), 400, None),
        (Problem::Forbidden("x".into()), 403, None),
        (Problem::NotFound, 404, None),
        (Problem::TooMany(9), 429, Some("9")),
        (Problem::Unavailable(3), 503, Some("3")),
    ] {
        *gateway.engine.refuse.lock().unwrap() = Some(problem);
        let answer = gateway.post("b.example", &to_room("notify", "b"), notify()).await;
        assert_eq!(answer.status(), expected);
        assert_eq!(answer.headers().get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
}
