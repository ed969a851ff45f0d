//! The MIMI provider server and the peer client over real TLS on loopback: attacks S1 to S7 and S15, and round trips.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod attacks;
mod bodies;
mod calls;
mod claims;
mod harness;
mod oversized;
mod pki;
