//! The Matrix edge over real sockets: the appservice server against a homeserver's requests, good and bad, and the
//! homeserver client against a small stand-in homeserver that records what it is asked.

#[path = "matrix_http/client.rs"]
mod client;
#[path = "matrix_http/create_room.rs"]
mod create_room;
#[path = "matrix_http/fake_homeserver.rs"]
mod fake_homeserver;
#[path = "matrix_http/server.rs"]
mod server;

use std::sync::Arc;

use mimi_gateway::{
    ident::UserUri,
    matrix::{GhostMapping, Names},
};
use ruma::{OwnedUserId, ServerName, UserId};

/// A mapping good enough for tests: users of `b.example` only.
struct TestMapping;

impl GhostMapping for TestMapping {
    fn ghost(&self, user: &UserUri) -> OwnedUserId {
        UserId::parse(format!("@_mimi_{}=2f{}:a.example", user.provider(), user.tail())).unwrap()
    }
    fn mimi_user(&self, ghost: &UserId) -> Option<UserUri> {
        let tail = ghost.localpart().strip_prefix("_mimi_b.example=2f")?;
        UserUri::parse(&format!("mimi://b.example/u/{tail}")).ok()
    }
}

fn names() -> Names {
    Names::new(ServerName::parse("a.example").unwrap(), "mimi_bot", "MIMI bridge", Arc::new(TestMapping)).unwrap()
}

fn http() -> reqwest::Client {
    // Plain HTTP only; a client without TLS roots needs a provider all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap()
}
