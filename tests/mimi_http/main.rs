//! The MIMI provider server and the peer client over real TLS on loopback: attacks S1 to S8, S10, S15 and S18, and round trips.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod asset_world;
mod assets;
mod attacks;
mod bodies;
mod calls;
mod claims;
mod harness;
mod oblivious;
mod oversized;
mod pki;
mod syntax;
