//! The Matrix edge: appservice server, homeserver client, ghosts.
