//! MIMI content (draft-ietf-mimi-content-08).
