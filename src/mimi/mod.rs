//! The MIMI edge: provider server, peer client, mutual TLS.
