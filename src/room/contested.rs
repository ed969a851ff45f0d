//! Removals, bans and ends of bans that the MIMI room does not take. They are undone here, so often as changes of a setting are;
//! then whoever insists is let be, people are told once what that means, and the room says that its members differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    effect::Millis,
    settings::{Patience, Worth},
    step::Step,
    undone::Undone,
};
use crate::ident::UserUri;

/// So many are undone in a room within an hour, whoever they are about.
const MOST: u32 = 50;
/// So many who are let be are known. Ghosts of others come back with the next commit.
const MOST_LEFT: usize = 200;

/// About whom the two rooms do not agree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contested {
    /// How often it was undone lately that somebody here did this to a user.
    undone: BTreeMap<(UserUri, Undone), Patience>,
    /// The same of all together.
    all: Patience,
    /// Who is out here and in the MIMI room, or banned there and not here, and stays so: by what was done here last.
    left: BTreeMap<UserUri, Undone>,
}

impl Contested {
    fn worth(&mut self, deed: Undone, user: &UserUri, now: Millis) -> Worth {
        let key = (user.clone(), deed);
        self.undone.retain(|_, patience| !patience.is_over(now));
        if !self.undone.contains_key(&key) && self.is_spent(now) {
            // Told with the first one.
            return self.all.is_worth(MOST, now);
        }
        let worth = self.undone.entry(key).or_default().is_worth_as_a_setting(now);
        if worth == Worth::Undoing { self.all.is_worth(MOST, now) } else { worth }
    }

    /// Whether the Matrix room is left as it is about this user.
    pub(super) fn is_left(&self, user: &UserUri) -> bool {
        self.left.contains_key(user)
    }

    /// Whether it is about anybody.
    pub(super) fn differs(&self) -> bool {
        !self.left.is_empty()
    }

    /// Both sides say the same of them again; false if they did before.
    pub(super) fn agrees(&mut self, user: &UserUri) -> bool {
        self.left.remove(user).is_some()
    }

    /// Whether it is as much as a room undoes within an hour, whoever it is about.
    fn is_spent(&self, now: Millis) -> bool {
        self.all.is_spent(MOST, now)
    }
}

impl Step<'_> {
    /// What the MIMI room did not take of somebody: whether it is undone here once more. If not, it is left.
    fn is_worth_undoing_of(&mut self, deed: Undone, user: &UserUri) -> Worth {
        let contested = &mut self.room.contested;
        let worth = contested.worth(deed, user, self.now);
        if worth == Worth::Undoing {
            contested.left.remove(user);
        } else if contested.left.len() < MOST_LEFT {
            contested.left.insert(user.clone(), deed);
        }
        worth
    }

    /// Why it is not undone any more, as people are told.
    fn enough(&self) -> &'static str {
        if self.room.contested.is_spent(self.now) {
            "I undid so much of that within this hour that it holds for whoever it is about from now on"
        } else {
            "That is tried again and again"
        }
    }

    /// With each commit: who is out on both sides by now, or in, is contested no longer.
    pub(super) fn agree_about_members(&mut self) {
        if !self.room.contested.differs() {
            return;
        }
        let is_out = |user: &UserUri| self.room.banned.contains(user) || self.room.shut.contains(user);
        let agreed = |(user, deed): &(&UserUri, &Undone)| match (deed, self.is_participant(user)) {
            (Undone::Kick | Undone::Ban, true) => self.room.ghosts.contains(*user),
            (Undone::Unban | Undone::Ban, false) => !self.is_banned_now(user) || is_out(user),
            // Nobody here wants somebody out whose ban was lifted here; who was removed here is out on both sides.
            (Undone::Unban, true) | (Undone::Kick, false) | (Undone::Invite, _) => true,
        };
        let over: Vec<UserUri> = self.room.contested.left.iter().filter(agreed).map(|(user, _)| user.clone()).collect();
        for user in over {
            self.room.contested.agrees(&user);
        }
    }

    /// A ghost was removed here, and its user stays in the MIMI room. Answers what to tell people.
    pub(super) fn removal_failed(&mut self, user: &UserUri, why: &str) -> Option<String> {
        let name = self.names.display(user);
        let refused = format!("{name} could not be removed: {why}.");
        self.room.ghosts.remove(user);
        let worth = if self.is_ours(user) { Worth::Undoing } else { self.is_worth_undoing_of(Undone::Kick, user) };
        if self.is_ours(user) && !self.room.present.contains(user) && self.is_participant(user) {
            // They are out of the Matrix room: off the list, too, so that nothing is sent to them.
            self.want(super::state::Intent::Leave { user: user.clone() });
        }
        self.sync_members();
        match worth {
            Worth::Undoing => Some(refused),
            Worth::Telling => Some(format!(
                "{refused} {}: I do not bring ghosts back any more when somebody is removed here. They still read what is said \
                 here, and come back when they say something.",
                self.enough()
            )),
            Worth::Nothing => None,
        }
    }

    /// A ghost was banned here, in a room of others, and its user stays in it. Whether that is undone; what to tell people.
    pub(super) fn undoes_ban(&mut self, user: &UserUri, why: &str) -> (bool, Option<String>) {
        let refused = format!("{} could not be banned from the MIMI room: {why}.", self.names.display(user));
        match self.is_worth_undoing_of(Undone::Ban, user) {
            Worth::Undoing => (true, Some(format!("{refused} They would read on unseen, so the ban is undone here."))),
            Worth::Telling => (
                false,
                Some(format!(
                    "{refused} {}: I do not undo such bans any more. They still read what is said \
                     here, and what they write in the MIMI room is not shown here.",
                    self.enough()
                )),
            ),
            Worth::Nothing => (false, None),
        }
    }

    /// A ban was lifted here, and stands in the MIMI room. Whether it is put back; what to tell people.
    pub(super) fn puts_ban_back(&mut self, user: &UserUri, why: &str) -> (bool, Option<String>) {
        let refused = format!("The ban of {} could not be lifted in the MIMI room", self.names.display(user));
        match self.is_worth_undoing_of(Undone::Unban, user) {
            Worth::Undoing => (true, Some(format!("{refused}, and is put back here: {why}."))),
            Worth::Telling => (
                false,
                Some(format!(
                    "{refused}: {why}. {}: I do not put such bans back any more. They stay banned \
                     there, and nobody can bring them in.",
                    self.enough()
                )),
            ),
            Worth::Nothing => (false, None),
        }
    }
}
