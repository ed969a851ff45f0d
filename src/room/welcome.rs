//! Ways in by a Welcome (draft-ietf-mimi-protocol-06 section 5.5), with its ratchet tree or without (draft-ietf-mls-ratchet-
//! tree-options).

use super::{
    effect::Effect,
    group::GroupError,
    input::GroupInfoAnswer,
    state::{Intent, Phase, Treeless},
    step::Step,
};
use crate::{ident::UserUri, wire::RatchetTreeOption};

impl Step<'_> {
    pub(super) fn on_welcome(&mut self, welcome: &[u8], tree: &RatchetTreeOption) {
        match tree {
            RatchetTreeOption::Full(tree) => {
                if let Err(error) = self.enter(welcome, tree.as_bytes()) {
                    self.group_failed("a Welcome", &error);
                }
            }
            _ => self.ask_for_tree(welcome),
        }
    }

    /// Who hosts a room knows its tree: it is asked for it as for any joiner, and says by its signature that it is the one.
    fn ask_for_tree(&mut self, welcome: &[u8]) {
        let asked = self.room.asked.keys().chain(self.room.present.iter());
        let Some(user) = asked.into_iter().find(|user| self.room.present.contains(*user)).cloned() else {
            return self.report("a Welcome came without the ratchet tree, and nobody is here to ask for it");
        };
        self.room.treeless = Some(Treeless { welcome: welcome.to_vec(), user: user.clone() });
        self.out.push(Effect::AskGroupInfo { user });
    }

    /// The answer for a Welcome that came without its tree; `false` if none waits for it.
    pub(super) fn on_tree(&mut self, user: &UserUri, answer: &GroupInfoAnswer) -> bool {
        let Some(treeless) = self.room.treeless.take_if(|treeless| treeless.user == *user) else { return false };
        let result = match answer {
            GroupInfoAnswer::Given(info) => self.enter(&treeless.welcome, &info.ratchet_tree),
            GroupInfoAnswer::Refused(why) | GroupInfoAnswer::Failed(why) => Err(GroupError::Invalid(why.clone())),
        };
        if let Err(error) = result {
            self.group_failed("a Welcome whose ratchet tree had to be asked for", &error);
        }
        true
    }

    fn enter(&mut self, welcome: &[u8], tree: &[u8]) -> Result<(), GroupError> {
        let again = self.room.rejoin.is_some();
        let (epoch, listed) = (self.group.epoch(), self.listed());
        let member = self.group.is_member() && !again;
        let users = self.group.join(welcome, tree, again, self.now)?;
        if self.state().is_none_or(|state| state.metadata.room_uri != self.room.uri) {
            self.mark_broken("the Welcome is for another room than the path says");
            return Ok(());
        }
        self.room.phase = Phase::Active;
        self.room.direct = self.is_fixed();
        self.room.waiting = false;
        self.room.gap.1 = self.room.gap.1.min(self.group.epoch());
        let moved = member && self.group.epoch() != epoch;
        if !member || moved {
            self.room.behind = 0;
            self.room.leaving.clear();
        }
        if again {
            self.found_the_way();
        } else if moved {
            self.led_on(epoch, &listed);
        }
        for user in &users {
            self.room.asked.remove(user);
        }
        // Also those who stayed on the list when our last leaf was removed.
        for user in self.listed() {
            self.leave_absent(&user);
        }
        if self.room.unbridging {
            // It was ended before they were in it.
            for user in self.group.local_users() {
                self.want(Intent::Leave { user });
            }
        }
        let group = &*self.group;
        self.room.asked.retain(|user, _| !group.in_group(user));
        self.put_out_strangers();
        if !self.room.unbridging {
            self.list_present();
            self.dress_portal();
            // Bans may have ended while nobody of ours was in.
            self.let_in_again();
        }
        self.sync_members();
        self.keep_leaves_fresh();
        self.open_held();
        self.keep_within_bounds();
        Ok(())
    }
}
