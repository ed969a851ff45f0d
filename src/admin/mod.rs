//! Health, metrics, status.
