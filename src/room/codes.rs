//! Joining codes of rooms that we host (draft-ietf-mimi-protocol-06 section 5.6): who shows one gets the GroupInfo, and may
//! then come in by an external commit that lists them.
//!
//! Only the hub knows the codes; the others trust its word for it, as the role of outsiders says (`canUseJoinCode`). Rooms
//! begin without that capability: the first code of a room puts it there.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    effect::Millis,
    orders::{Cause, Code, Refusal, Said},
    state::{Intent, Phase, Room},
    step::{Step, hash},
    words::counted,
};
use crate::{
    ident::UserUri,
    policy::{self, Capability, RoomState, component, role},
};

/// Codes that a room may have at a time.
const MAX_CODES: usize = 100;
/// How long a code counts if nothing else is said, in hours.
const HOURS: u64 = 7 * 24;
const MAX_HOURS: u64 = 90 * 24;
const HOUR: Millis = 60 * 60 * 1000;
/// How long somebody who showed a code may take to come in.
const ADMITTED: Millis = 10 * 60 * 1000;

/// A joining code; the code itself is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinCode {
    /// SHA-256 of the code.
    pub hash: [u8; 32],
    /// Who made it.
    pub by: UserUri,
    /// It counts before.
    pub until: Millis,
}

/// A code from random bytes: 26 letters and digits.
fn code(random: [u8; 16]) -> String {
    let number = u128::from_be_bytes(random);
    let letter = |place: u32| "abcdefghijkmnpqrstuvwxyz23456789".chars().nth(((number >> (place * 5)) & 31) as usize);
    (0..26).filter_map(letter).collect()
}

impl Step<'_> {
    /// `!mimi code [HOURS|off]`.
    pub(super) fn code(&mut self, by: UserUri, what: Option<&str>, random: [u8; 16]) -> Result<Said, Refusal> {
        let refused = |cause, text: &str| Err(Refusal::new(cause, text));
        if !self.is_hub() || self.room.direct {
            let text = "Only a room that is hosted here has joining codes, and no direct chat has.";
            return refused(Cause::Conflict, text);
        }
        if self.room.phase != Phase::Active || !self.group.is_member() {
            return refused(Cause::Conflict, "Somebody of this server has to be in the room for that.");
        }
        let may = |capability| self.state().is_some_and(|state| state.can(&by, capability));
        if !may(Capability::AddParticipant) {
            return refused(Cause::NotPermitted, "You may not let people into this room.");
        }
        if what.is_some_and(|word| word.eq_ignore_ascii_case("off")) {
            self.room.codes.clear();
            // Who showed one stays outside, too.
            self.room.admitted.clear();
            return Ok("No joining code counts any more.".to_owned().into());
        }
        if let Some(refusal) = self.may_not_bring(&by, None) {
            return Err(refusal);
        }
        if !self.names.envelope().joining_codes {
            return refused(Cause::NotPermitted, "The operator of this server allows no joining codes.");
        }
        let hours = match what.map(str::parse::<u64>) {
            None => HOURS,
            Some(Ok(hours @ 1..=MAX_HOURS)) => hours,
            Some(_) => {
                let text = format!("Say `code`, `code HOURS` (at most {MAX_HOURS}) or `code off`.");
                return refused(Cause::Invalid, &text);
            }
        };
        if !self.state().is_some_and(|state| state.takes_codes()) {
            if !may(Capability::ChangeRoleDefinitions) {
                let text =
                    "The first code of a room has to come from who mirrored it: it changes what outsiders may do.";
                return refused(Cause::NotPermitted, text);
            }
            match self.state().map(|state| policy::update_join_codes(&state, role::MEMBER)) {
                Some(Ok(update)) => {
                    self.want(Intent::Change { by: by.clone(), component: component::ROLES_LIST, update });
                }
                _ => return refused(Cause::Conflict, "This room's roles cannot be changed."),
            }
        }
        let now = self.now;
        self.room.codes.retain(|code| code.until > now);
        if self.room.codes.len() >= MAX_CODES {
            return refused(Cause::TooMany(0), "There are too many codes already. `code off` ends all of them.");
        }
        let (code, until) = (code(random), now.saturating_add(hours * HOUR));
        self.room.codes.push(JoinCode { hash: hash(code.as_bytes()), by, until });
        let text = format!(
            "Whoever has this code can join this room within {}: {code}\nThey say, to the bot of their own gateway: \
             join {} {code}",
            counted(hours, "hour", "hours"),
            self.room.uri
        );
        Ok(Said { text, code: Some(Code { code, until }) })
    }
}

/// Whether a code is one of these, and counts still: no longer than who made it may let people in.
#[must_use]
pub fn counts(codes: &[JoinCode], code: &[u8], now: Millis, state: &RoomState) -> bool {
    let shown = hash(code);
    let may = |by: &UserUri| state.takes_part(by) && state.can(by, Capability::AddParticipant);
    codes.iter().any(|code| code.hash == shown && code.until > now && may(&code.by))
}

impl Room {
    /// As hub: this user showed a code, and has some minutes to come in.
    pub fn admit(&mut self, user: UserUri, now: Millis) {
        self.admitted.retain(|_, until| *until > now);
        self.admitted.insert(user, now.saturating_add(ADMITTED));
    }

    /// As hub: who may come in by an external commit without being on the list.
    #[must_use]
    pub fn admitted(&self, now: Millis) -> BTreeSet<UserUri> {
        self.admitted.iter().filter(|(_, until)| **until > now).map(|(user, _)| user.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_all_of_their_randomness() {
        assert_eq!(code([0; 16]), "a".repeat(26));
        assert_eq!(code([255; 16]).len(), 26);
        let mut one = [0; 16];
        one[0] = 1;
        assert_ne!(code(one), code([0; 16]));
    }
}
