//! Who comes into a hosted room by an external commit: what a hub knows besides the room's roles, of which followers know nothing.

use std::collections::BTreeSet;

use crate::{ident::UserUri, policy::RoomState};

/// As hub: who may come in by themselves, besides what the room's roles say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Door {
    /// Who showed a joining code.
    pub(crate) admitted: BTreeSet<UserUri>,
    /// Whether the Matrix room is public, and the operator allows open rooms.
    pub(crate) open: bool,
    /// Whom the Matrix room bans.
    pub(crate) banned: BTreeSet<UserUri>,
}

impl Door {
    /// Whether this user may come in by themselves.
    pub(super) fn admit(&self, state: &RoomState, user: &UserUri) -> Result<(), String> {
        if self.banned.contains(user) {
            return Err(format!("{user} is banned from this room"));
        }
        if state.takes_part(user) || (self.open && state.is_open()) || self.admitted.contains(user) {
            return Ok(());
        }
        Err(format!("{user} is no participant, and has shown no joining code that counts"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ident::RoomUri,
        policy::{Preset, initial, role},
    };

    #[test]
    fn the_hub_lets_in_by_the_matrix_room_and_not_by_roles_alone() {
        let user = |name: &str| UserUri::parse(&format!("mimi://b.example/u/{name}")).unwrap();
        let uri = RoomUri::parse("mimi://a.example/r/x").unwrap();
        let closed = initial(uri, "", "", vec![(user("in"), role::MEMBER)], Preset::default());
        let mut open = closed.clone();
        open.roles.open(role::MEMBER);
        let (shut, wide) = (Door::default(), Door { open: true, ..Door::default() });
        for (door, state, may) in
            [(&shut, &closed, false), (&shut, &open, false), (&wide, &closed, false), (&wide, &open, true)]
        {
            assert_eq!(door.admit(state, &user("new")).is_ok(), may);
            assert!(door.admit(state, &user("in")).is_ok());
        }
        // Who is banned in the Matrix room stays out, whether the list says so yet or not.
        let banned = [user("new"), user("in"), user("code")].into();
        let door = Door { admitted: [user("code")].into(), open: true, banned };
        for name in ["new", "in", "code"] {
            assert!(door.admit(&open, &user(name)).is_err_and(|why| why.contains("banned")));
        }
        let door = Door { admitted: [user("code")].into(), ..Door::default() };
        assert!(door.admit(&closed, &user("code")).is_ok() && door.admit(&closed, &user("new")).is_err());
    }
}
