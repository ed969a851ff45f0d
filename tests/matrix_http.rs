//! The Matrix edge over real sockets: the appservice server against a homeserver's requests, good and bad, and the
//! homeserver client against a small stand-in homeserver that records what it is asked.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail by panicking")]

#[path = "matrix_http/client.rs"]
mod client;
#[path = "matrix_http/create_room.rs"]
mod create_room;
#[path = "matrix_http/fake_homeserver.rs"]
mod fake_homeserver;
#[path = "matrix_http/files.rs"]
mod files;
#[path = "matrix_http/server.rs"]
mod server;

use std::sync::Arc;

use mimi_gateway::{
    ident::{IdentityMap, ProviderDomain},
    matrix::Names,
};
use ruma::ServerName;

fn names() -> Names {
    let map = IdentityMap::new(ProviderDomain::parse("a.example").unwrap(), ServerName::parse("a.example").unwrap());
    Names::new(Arc::new(map), "mimi_bot", "MIMI bridge").unwrap()
}

fn http() -> reqwest::Client {
    // Plain HTTP only; a client without TLS roots needs a provider all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap()
}
