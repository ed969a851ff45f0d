//! Room policy: participant list, roles, metadata; is a change allowed, and what is the state after it.
