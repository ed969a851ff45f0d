//! What people tell the gateway: the words, and what a bridged room does with them.

use std::collections::BTreeSet;

use ruma::OwnedEventId;
use serde_json::Value;

use super::{
    effect::Effect,
    orders::{Refusal, Said},
    seek::{self, Whom, Wish},
    state::Phase,
    step::Step,
    words::counted,
};
use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    translate::RoomEvent,
};

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
    Join(RoomUri, Option<String>),
    /// Make a joining code, or end all of them.
    Code(Option<String>),
    /// Begin a direct chat with somebody of another provider.
    StartChat(Whom),
    /// By what other providers' users find whoever says this.
    Discoverable(Wish),
    /// How does it stand?
    Status,
    /// Which rooms am I in?
    Rooms,
    /// Stop mirroring.
    Unbridge,
    /// Report the message that this one replies to.
    Report {
        /// Whether the reporter's name goes along.
        openly: bool,
        /// For those who read the report.
        note: String,
    },
    /// Something about consent.
    Consent(ConsentWords),
    /// Something that concerns everybody.
    Admin(AdminWords),
    /// Not understood; the text says what to do.
    Unknown(String),
}

impl Command {
    /// Its first word, for the log: what follows may be somebody's secret.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Help => "help",
            Self::Bridge(_) => "bridge",
            Self::Invite(_) => "invite",
            Self::Join(..) => "join",
            Self::Code(_) => "code",
            Self::StartChat(_) => "start-chat",
            Self::Discoverable(_) => "discoverable",
            Self::Status => "status",
            Self::Rooms => "rooms",
            Self::Unbridge => "unbridge",
            Self::Report { .. } => "report",
            Self::Consent(_) => "consent",
            Self::Admin(_) => "administration",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What those want who administrate the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminWords {
    /// Whom do we talk to?
    Providers,
    /// Not to this one any more.
    Deny(ProviderDomain),
    /// To this one again.
    Allow(ProviderDomain),
}

/// What one of our users says about consent for every room (draft-ietf-mimi-protocol-06 section 8), and whom they block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsentWords {
    /// Yes, to the question that is open.
    Yes,
    /// No, to the question that is open.
    No,
    /// This remote user may add me.
    Accept(UserUri),
    /// This one may not, and does not hear that.
    Decline(UserUri),
    /// This one may not any more.
    Revoke(UserUri),
    /// What this one asks is not to be shown to me.
    Block(UserUri),
    /// It is again.
    Unblock(UserUri),
    /// Whom do I block?
    Blocked,
    /// I want to add this one to rooms.
    Ask(UserUri),
    /// Not any more.
    Withdraw(UserUri),
}

/// What `help` answers.
pub const HELP: &str = "I connect Matrix rooms to other messaging providers by MIMI.\n\
    In a room, begin with !mimi; in a chat with me alone, leave it out.\n\
    • bridge — mirror this room as a MIMI room (here with me: bridge ROOM-ID)\n\
    • invite mimi://provider/u/name — ask a MIMI user into this room\n\
    • join mimi://provider/r/name — follow a MIMI room (here with me); a joining code may follow\n\
    • code — make a joining code for this room; `code HOURS`, `code off` ends all of them\n\
    • start-chat handle:name@provider — find somebody and begin a direct chat (here with me); also name:, nick:, email:, phone:, \
    or mimi://provider/u/name\n\
    • discoverable handle — let others find you (here with me): by handle, name, email, phone; on, off; nobody does before\n\
    • report — as a reply to a message: report it to the room's host; `report openly` gives your name, a note may follow\n\
    • ask mimi://provider/u/name — ask a MIMI user to agree that you add them to rooms (withdraw: not any more)\n\
    • accept (or decline, revoke) mimi://provider/u/name — whether that user may add you to rooms\n\
    • block (or unblock) mimi://provider/u/name — not to be shown what that user asks; blocked lists them\n\
    • status — how this room, or the gateway, stands, and what you may\n\
    • rooms — the rooms in which you are (here with me)\n\
    • providers — whom I talk to; `deny PROVIDER` and `allow PROVIDER`, for administrators (here with me)\n\
    • unbridge — stop mirroring this room, or end this direct chat";

/// Said where `report` is no reply.
pub const REPORT: &str = "Say `!mimi report` as a reply to the message that you want to report; in a chat with me alone: \
    report LINK-TO-THE-MESSAGE. A note may follow. Your name is not given, unless you say `report openly`.";

/// Said where others would read the answer, too.
pub const ALONE: &str = "Say this in a chat with me alone.";

/// The event that a message replies to.
#[must_use]
pub fn replied_to(content: &Value) -> Option<OwnedEventId> {
    let event = content.pointer("/m.relates_to/m.in_reply_to/event_id")?.as_str()?;
    OwnedEventId::try_from(event).ok()
}

/// What somebody says, without the quote that older clients put before a reply.
#[must_use]
pub fn spoken(content: &Value) -> &str {
    let body = content.get("body").and_then(Value::as_str).unwrap_or_default();
    if replied_to(content).is_none() || !body.starts_with("> ") {
        return body;
    }
    body.split_once("\n\n").map_or(body, |(_, said)| said)
}

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
        ("start-chat", first) => {
            let said: Vec<&str> = first.into_iter().chain(words).collect();
            seek::whom(&said.join(" ")).map_or_else(Command::Unknown, Command::StartChat)
        }
        ("discoverable", first) => {
            seek::wish(first.into_iter().chain(words)).map_or_else(Command::Unknown, Command::Discoverable)
        }
        ("help", _) => Command::Help,
        ("status", _) => Command::Status,
        ("unbridge", _) => Command::Unbridge,
        ("rooms", _) => Command::Rooms,
        ("providers", _) => Command::Admin(AdminWords::Providers),
        ("deny" | "allow", Some(name)) => match ProviderDomain::parse(name) {
            Ok(provider) if verb == "deny" => Command::Admin(AdminWords::Deny(provider)),
            Ok(provider) => Command::Admin(AdminWords::Allow(provider)),
            Err(error) => Command::Unknown(format!("{name}: {error}. A provider looks like provider.example.")),
        },
        ("deny" | "allow", None) => Command::Unknown(format!("{verb} needs a provider: {verb} provider.example.")),
        ("code", what) => Command::Code(what.map(str::to_owned)),
        ("bridge", room) => Command::Bridge(room.map(str::to_owned)),
        ("report", first) => {
            let openly = first == Some("openly");
            let note: Vec<&str> = first.filter(|_| !openly).into_iter().chain(words).collect();
            Command::Report { openly, note: note.join(" ") }
        }
        ("yes" | "accept", None) => Command::Consent(ConsentWords::Yes),
        ("no" | "decline", None) => Command::Consent(ConsentWords::No),
        ("blocked", _) => Command::Consent(ConsentWords::Blocked),
        ("invite" | "ask" | "withdraw" | "accept" | "decline" | "revoke" | "block" | "unblock", Some(uri)) => {
            match UserUri::parse(uri) {
                Ok(user) => about_user(&verb, user),
                Err(error) => {
                    Command::Unknown(format!("{uri}: {error}. A user looks like mimi://provider.example/u/name."))
                }
            }
        }
        ("join", Some(uri)) => RoomUri::parse(uri).map_or_else(
            |error| Command::Unknown(format!("{uri}: {error}. A room looks like mimi://provider.example/r/name.")),
            |room| Command::Join(room, words.next().map(str::to_owned)),
        ),
        ("invite" | "join" | "ask" | "withdraw" | "revoke" | "block" | "unblock", None) => {
            Command::Unknown(format!("{verb} needs a MIMI address. Say help for examples."))
        }
        (other, _) => Command::Unknown(format!("I do not know “{other}”. Say help for what I know.")),
    }
}

fn about_user(verb: &str, user: UserUri) -> Command {
    Command::Consent(match verb {
        "ask" => ConsentWords::Ask(user),
        "withdraw" => ConsentWords::Withdraw(user),
        "accept" => ConsentWords::Accept(user),
        "decline" => ConsentWords::Decline(user),
        "revoke" => ConsentWords::Revoke(user),
        "block" => ConsentWords::Block(user),
        "unblock" => ConsentWords::Unblock(user),
        _ => return Command::Invite(user),
    })
}

/// What it means that the members differ.
const LEFT_OUT: &str = " Somebody was removed or banned here whom the MIMI room keeps, and who still reads and may write there, or the \
     ban of somebody was lifted here that stands there.";

impl Step<'_> {
    /// A command in the bridged room itself.
    pub(super) fn on_command(&mut self, event: &RoomEvent, command: &Command, random: [u8; 16]) {
        let Some(user) = self.names.uri(&event.sender) else { return };
        // What is said about consent is answered alone, and checked there.
        if !matches!(command, Command::Consent(_))
            && let Some(refusal) = self.names.refusal(&user, command)
        {
            return self.notice(&refusal.text);
        }
        match command {
            Command::Help => self.notice(HELP),
            Command::Status => {
                let text = self.status(&user);
                self.notice(&text);
            }
            Command::Invite(remote) => match self.ask_for(&user, remote) {
                Ok(text) | Err(Refusal { text, .. }) => self.notice(&text),
            },
            Command::Bridge(_) => self.notice("This room is mirrored already."),
            Command::Code(what) => match self.code(user, what.as_deref(), random) {
                Ok(Said { text, .. }) | Err(Refusal { text, .. }) => self.notice(&text),
            },
            Command::Join(..)
            | Command::StartChat(_)
            | Command::Discoverable(_)
            | Command::Rooms
            | Command::Admin(_) => self.notice(ALONE),
            Command::Unbridge => {
                if let Err(why) = self.unbridge(&event.sender, &user) {
                    self.notice(&why);
                }
            }
            Command::Report { openly, note } => match replied_to(&event.content) {
                Some(reported) => self.out.push(Effect::ReportAbuse {
                    by: user,
                    openly: *openly,
                    event: reported,
                    note: note.clone(),
                }),
                None => self.notice(REPORT),
            },
            Command::Consent(words) => self.out.push(Effect::Consent { by: user, words: words.clone() }),
            Command::Unknown(text) => self.notice(text),
        }
    }

    /// The providers of the room that are denied.
    fn denied(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::from([self.room.uri.hub()]);
        if let Some(state) = self.state() {
            all.extend(state.participants.iter().map(|(user, _)| user.provider()));
        }
        all.into_iter().filter(|provider| self.names.is_denied(provider)).map(|provider| provider.to_string()).collect()
    }

    /// How the room stands, for somebody of ours.
    pub(super) fn status(&self, user: &UserUri) -> String {
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
        let denied = match self.denied() {
            none if none.is_empty() => String::new(),
            denied => format!(
                " Denied for now by this gateway: {}; what goes there waits, and nothing comes from there.",
                denied.into_iter().collect::<Vec<_>>().join(", ")
            ),
        };
        let differs = match self.room.differs_in().as_slice() {
            [] => String::new(),
            them => format!(
                " Here and in the MIMI room these differ, and I leave them: {}. They agree again once somebody sets here what \
                 stands there, or what stands there changes.{}",
                them.join(", "),
                if self.room.contested.differs() { LEFT_OUT } else { "" },
            ),
        };
        format!(
            "{}: {how}, {role}. {} here, {there} elsewhere; epoch {}; {} waiting.{denied}{differs} Encryption towards MIMI ends at this gateway.{} {}",
            self.room.uri,
            counted(here as u64, "participant", "participants"),
            self.group.epoch(),
            self.room.queue.len() + self.room.submitted.len(),
            self.says_weak(),
            self.names.allowance(user),
        )
        .trim_end()
        .to_owned()
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
