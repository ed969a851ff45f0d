//! What people tell the gateway: the words, and what a bridged room does with them.

use ruma::UserId;

use super::{state::Phase, step::Step};
use crate::ident::{RoomUri, UserUri};

/// The word that begins a command in a room that is no management room.
pub const PREFIX: &str = "!mimi";

/// What somebody asks of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// What is there?
    Help,
    /// Mirror a Matrix room as a MIMI room; the room, if it is not the present one.
    Bridge(Option<String>),
    /// Ask a MIMI user in.
    Invite(UserUri),
    /// Follow a MIMI room.
    Join(RoomUri),
    /// How does it stand?
    Status,
    /// Stop mirroring.
    Unbridge,
    /// Not understood; the text says what to do.
    Unknown(String),
}

/// What `help` answers.
pub const HELP: &str = "I connect Matrix rooms to other messaging providers by MIMI.\n\
    In a room, begin with !mimi; in a chat with me alone, leave it out.\n\
    • bridge — mirror this room as a MIMI room (here with me: bridge ROOM-ID)\n\
    • invite mimi://provider/u/name — ask a MIMI user into this room\n\
    • join mimi://provider/r/name — follow a MIMI room (here with me)\n\
    • status — how this room, or the gateway, stands\n\
    • unbridge — stop mirroring this room, or end this direct chat";

/// Reads a message of an ordinary room; `None` if it is no command.
#[must_use]
pub fn in_room(body: &str) -> Option<Command> {
    let mut words = body.split_whitespace();
    (words.next() == Some(PREFIX)).then(|| parse(words))
}

/// Reads a message of a management room, where everything is a command.
#[must_use]
pub fn in_management(body: &str) -> Command {
    in_room(body).unwrap_or_else(|| parse(body.split_whitespace()))
}

fn parse<'a>(mut words: impl Iterator<Item = &'a str>) -> Command {
    let (verb, object) = (words.next().unwrap_or("help").to_ascii_lowercase(), words.next());
    match (verb.as_str(), object) {
        ("help", _) => Command::Help,
        ("status", _) => Command::Status,
        ("unbridge", _) => Command::Unbridge,
        ("bridge", room) => Command::Bridge(room.map(str::to_owned)),
        ("invite", Some(uri)) => UserUri::parse(uri).map_or_else(
            |error| Command::Unknown(format!("{uri}: {error}. A user looks like mimi://provider.example/u/name.")),
            Command::Invite,
        ),
        ("join", Some(uri)) => RoomUri::parse(uri).map_or_else(
            |error| Command::Unknown(format!("{uri}: {error}. A room looks like mimi://provider.example/r/name.")),
            Command::Join,
        ),
        ("invite" | "join", None) => Command::Unknown(format!("{verb} needs a MIMI address. Say help for examples.")),
        (other, _) => Command::Unknown(format!("I do not know “{other}”. Say help for what I know.")),
    }
}

impl Step<'_> {
    /// A command in the bridged room itself.
    pub(super) fn on_command(&mut self, sender: &UserId, command: &Command) {
        let Some(user) = self.names.uri(sender) else { return };
        match command {
            Command::Help => self.notice(HELP),
            Command::Status => {
                let text = self.status();
                self.notice(&text);
            }
            Command::Invite(remote) if self.is_ours(remote) => {
                self.notice("That user is here on this server: invite them the Matrix way.");
            }
            Command::Invite(remote) => {
                if self.not_to_be_invited(remote).is_none() {
                    self.notice(&format!("{} is asked to join.", self.names.display(remote)));
                }
                self.invite(user, remote.clone());
            }
            Command::Bridge(_) => self.notice("This room is mirrored already."),
            Command::Join(_) => self.notice("Say this in a chat with me alone."),
            Command::Unbridge => self.unbridge(sender, &user),
            Command::Unknown(text) => self.notice(text),
        }
    }

    fn status(&self) -> String {
        let how = match &self.room.phase {
            Phase::Invited | Phase::Joining => "not joined yet".to_owned(),
            Phase::Active => "connected".to_owned(),
            Phase::Left => "not connected any more".to_owned(),
            Phase::Broken(why) => format!("broken: {why}"),
        };
        let role = if self.is_hub() {
            "hosted here (we are the hub)".to_owned()
        } else {
            format!("hosted by {}", self.room.uri.hub())
        };
        let (here, there) = self.state().map_or((0, 0), |state| {
            let listed = state.participants.iter().filter(|(_, role)| !state.is_banned_role(*role));
            let (ours, theirs): (Vec<_>, Vec<_>) = listed.partition(|(user, _)| self.is_ours(user));
            (ours.len(), theirs.len())
        });
        format!(
            "{}: {how}, {role}. {here} participants here, {there} elsewhere; epoch {}; {} waiting. Encryption towards MIMI ends at this gateway.",
            self.room.uri,
            self.group.epoch(),
            self.room.queue.len() + self.room.submitted.len(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_and_without_prefix() {
        assert_eq!(in_room("hello"), None);
        assert_eq!(in_room("!mimix status"), None);
        assert_eq!(in_room("!mimi status"), Some(Command::Status));
        assert_eq!(in_management("Status"), Command::Status);
        assert_eq!(in_management("!mimi bridge !r:a.test"), Command::Bridge(Some("!r:a.test".to_owned())));
        let bob = UserUri::parse("mimi://b.example/u/bob").unwrap();
        assert_eq!(in_room("!mimi  invite   mimi://b.example/u/bob"), Some(Command::Invite(bob)));
        assert!(matches!(in_room("!mimi invite bob"), Some(Command::Unknown(text)) if text.contains("looks like")));
        assert!(matches!(in_room("!mimi dance"), Some(Command::Unknown(text)) if text.contains("dance")));
    }
}
