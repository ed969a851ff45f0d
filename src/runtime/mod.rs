//! Wiring and shutdown.
