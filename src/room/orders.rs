//! What people want of a mirrored room, whether they say it there or by the provisioning API: what comes of it is told to
//! whoever wants it, in the same words.

use ruma::UserId;

use super::{command::Command, effect::Millis, step::Step, words::counted};
use crate::ident::{ProviderDomain, UserUri};

/// Why somebody does not get what they want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// They may not. Permanent until somebody permits it.
    NotPermitted,
    /// Too often: again after this many seconds. Zero: when something else has ended.
    TooMany(u32),
    /// What it is about is not there, or not for them.
    NotFound,
    /// It does not go with how things stand.
    Conflict,
    /// It makes no sense.
    Invalid,
    /// Somebody who is needed for it does not answer. Worth another try.
    Unreachable,
}

/// A refusal, in words for whoever wanted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for programs.
    pub cause: Cause,
    /// Why, and what to do, for people.
    pub text: String,
}

impl Refusal {
    /// From both.
    #[must_use]
    pub fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    /// Somebody may invite again after this many seconds.
    pub(crate) fn too_many_invitations(seconds: u32) -> Self {
        let text = format!(
            "You have invited as many users of other providers as this gateway lets one user invite within an hour. Try again in \
             {}.",
            counted(u64::from(seconds.div_ceil(60)), "minute", "minutes")
        );
        Self::new(Cause::TooMany(seconds), text)
    }
}

/// A joining code that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// What to show.
    pub code: String,
    /// It counts before, in milliseconds since the UNIX epoch.
    pub until: Millis,
}

/// What somebody hears who got what they wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// In words.
    pub text: String,
    /// The code that they wanted.
    pub code: Option<Code>,
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        Self { text, code: None }
    }
}

/// Who wants something of a room, not from within it.
#[derive(Debug, Clone, Copy)]
pub struct Orderer<'a> {
    /// As Matrix user.
    pub id: &'a UserId,
    /// The same as MIMI user.
    pub user: &'a UserUri,
    /// Whether they administrate the gateway: then they need not be in the room.
    pub admin: bool,
}

impl Step<'_> {
    /// Does what somebody wants who does not say it in the room. What all in the room have to know is said there.
    pub(crate) fn order(&mut self, by: Orderer<'_>, command: &Command, random: [u8; 16]) -> Result<Said, Refusal> {
        let from_outside = by.admin && matches!(command, Command::Status | Command::Unbridge);
        if !self.room.present.contains(by.user) && !from_outside {
            return Err(Refusal::new(Cause::NotFound, "I know no such room in which you are."));
        }
        match command {
            Command::Status => Ok(self.status(by.user).into()),
            Command::Invite(remote) => self.ask_for(by.user, remote).map(Said::from),
            Command::Code(what) => self.code(by.user.clone(), what.as_deref(), random),
            Command::Unbridge => {
                // Who administrates acts by whoever may.
                let stands_in = || self.group.local_users().into_iter().find(|user| self.may_unbridge(user));
                let user = if by.admin { stands_in() } else { None }.unwrap_or_else(|| by.user.clone());
                self.unbridge(by.id, &user).map_err(|why| Refusal::new(Cause::NotPermitted, why))?;
                Ok("The room is let go: the users of other providers leave it.".to_owned().into())
            }
            _ => Err(Refusal::new(Cause::Invalid, "That is nothing that a room does.")),
        }
    }

    /// Asks a user of another provider in, if that makes sense; what whoever wants it is told.
    pub(super) fn ask_for(&mut self, by: &UserUri, remote: &UserUri) -> Result<String, Refusal> {
        let conflict = |text: String| Err(Refusal::new(Cause::Conflict, text));
        if self.is_ours(remote) {
            return conflict("That user is here on this server: invite them the Matrix way.".to_owned());
        }
        if self.will_be_participant(remote) && self.group.in_group(remote) && !self.room.contested.is_left(remote) {
            return conflict(format!("{} is in here already.", self.names.display(remote)));
        }
        // Another one's role would let people in whom they may not.
        if !self.is_fixed() && !self.may_let_in(by) {
            return Err(Refusal::new(Cause::NotPermitted, "You may not let people into this room."));
        }
        self.ask_in(by, remote)?;
        Ok(format!("{} is asked to join.", self.names.display(remote)))
    }

    /// Why one of ours may not bring users of this provider, or of any, into the room by the rules of the gateway.
    pub(super) fn may_not_bring(&self, by: &UserUri, provider: Option<&ProviderDomain>) -> Option<Refusal> {
        // Whether they may begin a chat was asked before it began.
        if self.room.direct {
            return None;
        }
        self.names.not_to_invite(by, provider).map(|text| Refusal::new(Cause::NotPermitted, text))
    }

    /// Counts an invitation of one of ours, unless there were too many.
    pub(super) fn count_invitation(&self, by: &UserUri) -> Result<(), Refusal> {
        self.names.too_many_invitations(by).map_or(Ok(()), |seconds| Err(Refusal::too_many_invitations(seconds)))
    }
}
