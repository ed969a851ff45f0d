//! What somebody may ask of the gateway, by its rules: one check for what is said in a mirrored room, said to the bot, or asked by
//! the provisioning API.

use ruma::UserId;

use super::rights::{Act, NOT_PERMITTED, Rights};
use crate::room::{
    Cause, ConsentWords, Refusal,
    command::Command,
    seek::{Whom, Wish},
};

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// A mirrored room, for which one who may only invite has a use.
    Room,
    /// The gateway, or a room that is not mirrored.
    Gateway,
}

impl Rights {
    /// Why this user may not have this done.
    pub(super) fn refusal(&self, user: &UserId, command: &Command, about: About) -> Option<Refusal> {
        let verdict = match command {
            // Whom they let add them is everybody's own affair, and abuse may be reported by whoever sees it.
            Command::Consent(ConsentWords::Ask(other)) => self.check(user, Act::Invite, Some(&other.provider())),
            Command::Consent(_) | Command::Report { .. } => Ok(()),
            // Nobody is kept from not being found.
            Command::Discoverable(Wish::Set(ways)) if ways.is_empty() => Ok(()),
            _ if about == About::Room && self.may_anything(user) => Ok(()),
            _ if about == About::Room => Err(NOT_PERMITTED.to_owned()),
            Command::Bridge(_) => self.check(user, Act::Bridge, None),
            Command::StartChat(Whom::User(other)) => self.check(user, Act::Chat, Some(&other.provider())),
            Command::StartChat(Whom::Sought { at, .. }) => self.check(user, Act::Chat, Some(at)),
            Command::Join(room, _) => self.check(user, Act::Follow, Some(&room.hub())),
            Command::Admin(_) => self.check(user, Act::Admin, None),
            Command::Help
            | Command::Status
            | Command::Rooms
            | Command::Discoverable(_)
            | Command::Invite(_)
            | Command::Code(_)
            | Command::Unbridge
            | Command::Unknown(_) => {
                if self.may_talk(user) {
                    Ok(())
                } else {
                    Err(NOT_PERMITTED.to_owned())
                }
            }
        };
        verdict.err().map(|text| {
            tracing::info!(%user, why = text, "somebody wants what the settings do not permit");
            Refusal::new(Cause::NotPermitted, text)
        })
    }
}
