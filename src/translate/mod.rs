//! Matrix event to MIMI content and back, as pure functions.
