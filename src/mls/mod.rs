//! OpenMLS behind our own types: one stored member state a room.
