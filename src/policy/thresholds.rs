//! The thresholds of a Matrix room that is a portal to a room hosted elsewhere: what its roles allow (Matrix client-server API,
//! `m.room.power_levels`; room-policy-03 section 3). The other way around is in [`Powers::roles`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Capability, Powers, Role, RoleList, role};

/// Where a threshold stands in the content.
#[derive(Clone, Copy)]
enum Place {
    Top(&'static str),
    Event(&'static str),
}

/// Whether a role, of those of its room, lets somebody do something.
type Allows = fn(&Role, &RoleList) -> bool;

const REDACTION: &str = "m.room.redaction";

/// Each act, where its threshold stands, and whether a role allows it.
const ACTS: &[(Place, Allows)] = &[
    (Place::Top("events_default"), |role, _| role.can(Capability::SendMessage)),
    (Place::Event("m.reaction"), |role, _| role.can(Capability::ReactToMessage)),
    (Place::Event(REDACTION), |role, _| {
        role.can(Capability::DeleteOwnMessage) || role.can(Capability::DeleteOwnReaction)
    }),
    (Place::Top("invite"), |role, _| role.can(Capability::AddParticipant) && role.may_change(role::NONE, role::MEMBER)),
    (Place::Top("kick"), |role, all| role.can(Capability::RemoveParticipant) && reaches(role, all, role::NONE)),
    (Place::Top("ban"), |role, all| role.can(Capability::Ban) && reaches(role, all, role::BANNED)),
    (Place::Top("redact"), |role, _| role.can(Capability::DeleteOtherMessage)),
    (Place::Event("m.room.name"), |role, _| role.can(Capability::ChangeRoomName)),
    (Place::Event("m.room.topic"), |role, _| role.can(Capability::ChangeRoomSubject)),
    (Place::Event("m.room.avatar"), |role, _| role.can(Capability::ChangeRoomAvatar)),
    (Place::Event("m.room.power_levels"), |role, _| role.can(Capability::ChangeUserRole)),
];

/// Whether a role brings ordinary participants there, or those of another role. Whom of them, levels say: those below.
fn reaches(role: &Role, roles: &RoleList, to: u32) -> bool {
    let mut others = roles.0.iter().filter(|other| other.index > role::MEMBER && other.index != role.index);
    role.may_change(role::MEMBER, to) || others.any(|other| role.may_change(other.index, to))
}

/// What thresholds decide about a role, but for whom it reaches.
const DECIDED: [Capability; 12] = [
    Capability::SendMessage,
    Capability::ReactToMessage,
    Capability::DeleteOwnMessage,
    Capability::DeleteOwnReaction,
    Capability::AddParticipant,
    Capability::RemoveParticipant,
    Capability::Ban,
    Capability::DeleteOtherMessage,
    Capability::ChangeRoomName,
    Capability::ChangeRoomSubject,
    Capability::ChangeRoomAvatar,
    Capability::ChangeUserRole,
];

/// Whether a role stands above another one: it may do more, or the same, and take the other's away.
fn is_above(role: &Role, other: &Role) -> bool {
    let mut decided = DECIDED.iter().map(|capability| (role.can(*capability), other.can(*capability)));
    let more = decided.clone().any(|(one, two)| one && !two);
    let less = decided.any(|(one, two)| two && !one);
    let outranks = || (role::NONE..=role::MEMBER).any(|to| role.may_change(other.index, to) && to != other.index);
    !less && (more || outranks())
}

/// Whether thresholds tell the two apart.
fn differ(role: &Role, other: &Role, roles: &RoleList) -> bool {
    DECIDED.iter().any(|capability| role.can(*capability) != other.can(*capability))
        || ACTS.iter().any(|(_, allows)| allows(role, roles) != allows(other, roles))
}

/// The levels of a portal for roles that are named after levels of their host. Those are the host's: what ordinary participants
/// have there, nobody says. So a role that may do less than they has less than what they have here, one that may do more has
/// more, and the order of the others stays. Nobody has more than `most`.
pub(super) fn levels_here(roles: &RoleList, named: &[(u32, i64)], member: i64, most: i64) -> BTreeMap<u32, i64> {
    let Some(ordinary) = roles.get(role::MEMBER) else { return BTreeMap::new() };
    let mut named: Vec<(&Role, i64)> =
        named.iter().filter_map(|(index, level)| Some((roles.get(*index)?, *level))).collect();
    named.sort_by_key(|(_, level)| *level);
    let mut found = BTreeMap::new();
    let mut least = member;
    for (_, level) in named.iter_mut().filter(|(role, _)| is_above(role, ordinary)) {
        *level = (*level).max(least.saturating_add(1));
        least = *level;
    }
    let mut above: Option<(&Role, i64)> = None;
    for (role, level) in named.iter().rev().filter(|(role, _)| !is_above(ordinary, role)) {
        let room = above.map_or(most, |(next, at)| if differ(role, next, roles) { at.saturating_sub(1) } else { at });
        let level = (*level).min(room);
        found.insert(role.index, level);
        above = Some((role, level));
    }
    let mut next = member;
    for (role, level) in named.iter().rev().filter(|(role, _)| is_above(ordinary, role)) {
        let level = (*level).min(next.saturating_sub(1));
        found.insert(role.index, level);
        next = level;
    }
    found
}

/// A level of its own for each of these roles, which come with the least that they should have: the next free one above that, or
/// below for those who have less than everybody. In a room whose ordinary participants only listen, whoever speaks stands above
/// all who do not. Roles share a level where there is no room left below the next kind of them.
pub(super) fn levels_apart(
    mut roles: Vec<(&Role, i64)>,
    member: i64,
    mut taken: BTreeSet<i64>,
    most: i64,
) -> BTreeMap<u32, i64> {
    let speaks = |role: &Role| role.can(Capability::SendMessage);
    roles.sort_by_key(|(role, least)| (*least, speaks(role), role.index));
    let mut found = BTreeMap::new();
    let mut listener = member;
    for (role, least) in roles {
        let (step, end) = match least {
            _ if least < member => (-1, i64::MIN),
            _ if least < 50 => (1, 49),
            _ if least < 100 => (1, 94),
            _ => (1, most),
        };
        let mut level =
            if speaks(role) && least >= member { least.max(listener.saturating_add(1).min(end)) } else { least };
        while taken.contains(&level) && level != end && level < most {
            level = level.saturating_add(step);
        }
        if !speaks(role) && least >= member && least < 50 {
            listener = listener.max(level);
        }
        taken.insert(level);
        found.insert(role.index, level);
    }
    found
}

impl Powers {
    /// Brings the thresholds of a content, whose levels these are, to what the roles allow: the lowest level of those who
    /// may, and `nobody` where no role does. What is right stays as it is. Answers whether something changed.
    pub fn write_thresholds(&self, roles: &RoleList, nobody: i64, content: &mut Map<String, Value>) -> bool {
        let mut changed = false;
        // What is named nowhere goes by the first of all.
        let mut speaking = self.events_default;
        for (place, allows) in ACTS {
            let levels = roles.0.iter().filter(|role| allows(role, roles)).filter_map(|role| self.level_of(role));
            let mut wanted = levels.min().unwrap_or(nobody).min(nobody);
            if matches!(place, Place::Event(REDACTION)) {
                // Ghosts take back what disappears, or is changed, for people who may not do it themselves: who may speak may
                // redact, and the hub refuses deletions of who may not delete.
                wanted = wanted.min(speaking);
            }
            let now = self.threshold(*place, speaking);
            if matches!(place, Place::Top("events_default")) {
                speaking = wanted;
            }
            if now == wanted {
                continue;
            }
            changed = true;
            match place {
                Place::Top(name) => {
                    content.insert((*name).to_owned(), json!(wanted));
                }
                Place::Event(name) => {
                    let events = content.entry("events").or_insert_with(|| json!({}));
                    if !events.is_object() {
                        *events = json!({});
                    }
                    if let Some(events) = events.as_object_mut() {
                        events.insert((*name).to_owned(), json!(wanted));
                    }
                }
            }
        }
        changed
    }

    fn threshold(&self, place: Place, speaking: i64) -> i64 {
        match place {
            Place::Top("events_default") => self.events_default,
            Place::Top("invite") => self.invite,
            Place::Top("kick") => self.kick,
            Place::Top("ban") => self.ban,
            Place::Top(_) => self.redact,
            Place::Event(name @ ("m.reaction" | REDACTION)) => self.event(name).unwrap_or(speaking),
            Place::Event(name) => self.state(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Preset, initial};

    fn thresholds(roles: &RoleList, content: Value) -> Value {
        let powers = Powers::read(Some(&content), [].into(), None).at_most(95).among(roles);
        let Value::Object(mut content) = content else { panic!("no object") };
        let first = powers.write_thresholds(roles, 100, &mut content);
        let powers = Powers::read(Some(&Value::Object(content.clone())), [].into(), None).at_most(95).among(roles);
        assert!(!powers.write_thresholds(roles, 100, &mut content.clone()), "once is enough");
        assert!(first);
        Value::Object(content)
    }

    #[test]
    fn levels_of_a_host_come_out_of_its_roles_again() {
        let host = json!({
            "users": {}, "ban": 100, "kick": 50, "redact": 0, "invite": 50, "events_default": 50, "state_default": 100,
            "events": { "m.room.name": 0, "m.room.avatar": 50, "m.reaction": 0 },
        });
        let powers = Powers::read(Some(&host), [].into(), None);
        let roles = powers.roles(&RoleList(Vec::new()), [0, 50, 100]);
        let found = thresholds(&roles, json!({ "users": { "@bot:x": 100 }, "users_default": 0 }));
        let now = Powers::read(Some(&found), [].into(), None);
        assert_eq!((now.ban, now.kick, now.redact, now.invite, now.events_default), (95, 50, 0, 50, 50), "{found}");
        assert_eq!(now.message("m.reaction"), 0, "{found}");
        let states = ["m.room.name", "m.room.avatar", "m.room.topic", "m.room.power_levels"];
        assert_eq!(states.map(|name| now.state(name)), [0, 50, 95, 95], "{found}");
        assert_eq!(found["users"], json!({ "@bot:x": 100 }));
    }

    #[test]
    fn what_no_role_allows_nobody_may() {
        let mut roles = RoleList(Vec::new());
        let made = Powers::read(Some(&json!({})), [].into(), None).roles(&roles, []);
        roles.0 = made.0.into_iter().filter(|role| role.index == role::MEMBER).collect();
        let found = thresholds(&roles, json!({ "events": "not a map" }));
        assert_eq!((&found["kick"], &found["events"]["m.room.power_levels"]), (&json!(100), &json!(100)));
    }

    #[test]
    fn an_auditorium_is_read_only() {
        let uri = crate::ident::RoomUri::parse("mimi://a.example/r/x").unwrap();
        let roles = initial(uri, "", "", Vec::new(), Preset::Auditorium).roles;
        let found = thresholds(&roles, json!({}));
        let powers = Powers::read(Some(&found), [].into(), None).among(&roles);
        let level = |index: u32| powers.level_of(roles.get(index).unwrap()).unwrap();
        let needed = found["events_default"].as_i64().unwrap();
        assert!(level(role::MEMBER) < needed && level(crate::policy::SPEAKER) >= needed, "{found}");
        assert!(level(crate::policy::SPEAKER) < found["kick"].as_i64().unwrap_or(50), "{found}");
    }

    /// The table of docs/membership.md: a level says which role is meant, and the lowest that speaks is the threshold for it.
    #[test]
    fn each_role_of_a_preset_has_its_level() {
        let expected: [(&[i64], i64); 5] = [
            (&[0, 50, 95], 0),
            (&[0, 50, 95], 0),
            (&[0, 1, 2, 50, 95], 2),
            (&[0, 1, 2, 50, 51, 52, 95], 0),
            (&[0, 50, 95, 1], 1),
        ];
        for ((name, preset), (levels, speaking)) in Preset::NAMED.into_iter().zip(expected) {
            let uri = crate::ident::RoomUri::parse("mimi://a.example/r/x").unwrap();
            let roles = initial(uri, "", "", Vec::new(), preset).roles;
            let found = thresholds(&roles, json!({}));
            let powers = Powers::read(Some(&found), [].into(), None).at_most(95).among(&roles);
            let mut seen = Vec::new();
            for role in roles.0.iter().filter(|role| role.max_active != Some(0) && role.index >= role::MEMBER) {
                let level = powers.level_of(role).unwrap();
                assert_eq!(powers.role(&roles, level), role.index, "{name}: {}", role.name);
                seen.push(level);
            }
            assert_eq!((seen.as_slice(), powers.events_default), (levels, speaking), "{name}");
            assert_eq!(powers.level_of(roles.get(preset.role_of_creator()).unwrap()), Some(95), "{name}");
            assert_eq!((name.parse(), preset.to_string().as_str()), (Ok(preset), name));
        }
        assert!("group".parse::<Preset>().is_err());
    }

    #[test]
    fn many_roles_of_a_kind_stay_below_the_next() {
        let role = |index: u32, capability| super::super::presets::role_of(index, "x", &[&[capability]], &[]);
        let speakers = (3..103).map(|index| role(index, Capability::SendMessage));
        let roles = speakers.chain((103..106).map(|index| role(index, Capability::ReceiveMessage)));
        let roles = RoleList(roles.chain([role(role::MEMBER, Capability::SendMessage)]).collect());
        let powers = Powers::read(Some(&json!({})), [].into(), None).at_most(95).among(&roles);
        let level = |index: u32| powers.level_of(roles.get(index).unwrap()).unwrap();
        assert_eq!((level(3), level(4), level(102)), (1, 2, 49));
        assert_eq!((level(103), level(104), level(105)), (-1, -2, -3));
    }
}
