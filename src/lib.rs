//! A Matrix application service that mirrors Matrix rooms as IETF MIMI rooms, as hub or as follower.
//!
//! ```text
//!  Synapse --PUT /transactions--> matrix --+                              +--> mimi --HTTPS, mutual TLS--> other
//!          <--ghosts, rooms------ matrix   |  inbox -> room actor -> outbox|         (hub or follower)      providers
//!                                          +--> (durable)                  +<-- mimi <--notify, update, ...
//!  inside one step:  event -> translate -> room decides (policy) -> mls seals or opens -> effects
//! ```
//!
//! Imports point down only; `tests/imports.rs` holds the table. Layers, lowest first: `ident`, `wire`, `content`, `media` -
//! `policy`, `translate`, `room` - `mls`, `store`, `assets`, `spool` - `engine` - `matrix`, `mimi`, `admin` - `config`, `cli`, `runtime`.

pub mod admin;
pub mod assets;
pub mod cli;
pub mod config;
pub mod content;
pub mod engine;
pub mod ident;
pub mod matrix;
pub mod media;
pub mod mimi;
pub mod mls;
pub mod policy;
pub mod room;
pub mod runtime;
pub mod spool;
pub mod store;
pub mod translate;
pub mod wire;
