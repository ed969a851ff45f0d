//! The `Store` trait (ordered keys, prefix scans, atomic durable batches), its engines, and the typed tables on it.

use std::{future::Future, pin::Pin};

/// A boxed future that may move between threads: what the object-safe traits of this crate return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
