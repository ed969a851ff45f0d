//! MIMI protocol bytes to types and back (draft-ietf-mimi-protocol-06).
