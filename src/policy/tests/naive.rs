//! A second implementation of what a commit may do, written from the text of room-policy-03 (and protocol-06 section 7.5) and
//! from our readings in docs/conformance.md: as plain and slow as can be, without any code of `judge`. It knows whole lists of
//! users before and after, and asks one rule after the other about all of them.
//!
//! `POLICY_MODEL_RUNS` and `POLICY_MODEL_SEED` change how many commits are generated, and the first seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::*;

// Capabilities by the numbers of section 10.2.
const ADD_PARTICIPANT: u16 = 0x0000;
const REMOVE_PARTICIPANT: u16 = 0x0001;
const ADD_OWN_CLIENT: u16 = 0x0002;
const REMOVE_OWN_CLIENT: u16 = 0x0003;
const OPEN_JOIN: u16 = 0x0004;
const JOIN_IF_PREAUTHORIZED: u16 = 0x0005;
const REMOVE_SELF: u16 = 0x0006;
const USE_JOIN_CODE: u16 = 0x0009;
const BAN: u16 = 0x000a;
const UNBAN: u16 = 0x000b;
const KICK: u16 = 0x000c;
const CHANGE_USER_ROLE: u16 = 0x000f;
const CHANGE_OWN_ROLE: u16 = 0x0010;
const CHANGE_NAME: u16 = 0x0300;
const CHANGE_DESCRIPTION: u16 = 0x0301;
const CHANGE_AVATAR: u16 = 0x0302;
const CHANGE_SUBJECT: u16 = 0x0303;
const CHANGE_MOOD: u16 = 0x0304;
const CHANGE_STYLE: u16 = 0x0502;
const CHANGE_ROLES: u16 = 0x0503;
const CHANGE_PREAUTHORIZED: u16 = 0x0504;
const REINIT: u16 = 0x0601;

type List = Vec<(UserUri, u32)>;

fn in_list(list: &List, user: &UserUri) -> Option<u32> {
    list.iter().find(|entry| entry.0 == *user).map(|entry| entry.1)
}

fn role_at(roles: &RoleList, index: u32) -> Option<&Role> {
    roles.0.iter().find(|role| role.index == index)
}

/// "The 'banned' role always has `role_index` = 1 and `role_name` = 'banned'".
fn banned(roles: &RoleList, index: u32) -> bool {
    index == 1 && role_at(roles, 1).is_some_and(|role| role.name == "banned")
}

/// "An entry where `from_role_index` equals ..., and that entry's `target_role_indexes` list includes the target role."
fn lists(role: &Role, from: u32, to: u32) -> bool {
    let mut found = false;
    for change in &role.changes {
        for target in &change.to {
            found |= change.from == from && *target == to;
        }
    }
    found
}

/// Roles of all entries that somebody matches: "every `Claim.claim_id` has a corresponding claim in the requester's MLS
/// Credential which exactly matches".
fn matches(world: &World<'_>, user: &UserUri) -> Vec<u32> {
    let bytes = world.state.other.get(&0x0026);
    let entries = bytes.and_then(|bytes| PreauthList::decode(bytes).ok()).unwrap_or_default().0;
    let mine = world.commit.claims.get(user).cloned().unwrap_or_default();
    let mut found = Vec::new();
    for entry in entries {
        if entry.claimset.iter().all(|wanted| mine.iter().any(|claim| claim == wanted)) {
            found.push(entry.target_role.index);
        }
    }
    found
}

struct World<'a> {
    state: &'a RoomState,
    commit: &'a ChangeSet,
}

impl World<'_> {
    /// The capabilities of a proposer: by its entry in the list, or preauthorised from outside. `None`: it has no say at all.
    fn acts_as(&self, user: &UserUri) -> Option<Role> {
        let index = match in_list(&self.state.participants, user) {
            Some(index) => index,
            None if self.commit.external_commit => return None,
            None => *matches(self, user).first()?,
        };
        if index == 0 || banned(&self.state.roles, index) {
            return None;
        }
        role_at(&self.state.roles, index).cloned()
    }

    fn holds(&self, user: &UserUri, capability: u16) -> bool {
        self.acts_as(user).is_some_and(|role| role.capabilities.contains(&capability))
    }

    fn holds_for(&self, user: &UserUri, capability: u16, from: u32, to: u32) -> bool {
        self.holds(user, capability) && lists(&self.acts_as(user).unwrap(), from, to)
    }
}

/// The state after the commit if it is allowed.
#[expect(clippy::too_many_lines, reason = "one rule after the other, as the draft has them")]
fn allowed(state: &RoomState, actor: &UserUri, commit: &ChangeSet) -> Option<RoomState> {
    let world = World { state, commit };
    let mut next = state.clone();

    // Who commits.
    if commit.external_commit {
        let own = commit.adds.len() == 1 && commit.adds[0].user == *actor && commit.adds[0].proposer == *actor;
        let others_stay = commit.removes.iter().all(|remove| remove.self_remove || remove.user == *actor);
        let own_updates = commit.updates.iter().all(|update| update.proposer == *actor);
        if !own || !others_stay || !own_updates || !commit.reinits.is_empty() {
            return None;
        }
        // "external_commit_allowed": what cannot be read says nothing.
        let operational = state.other.get(&0x0024).and_then(|bytes| OperationalParameters::decode(bytes).ok());
        if operational.is_some_and(|parameters| !parameters.external_commit_allowed) {
            return None;
        }
    } else if in_list(&state.participants, actor).is_none_or(|index| banned(&state.roles, index)) {
        return None;
    }

    // A ReInit is alone (RFC 9420 section 12.2).
    if let Some(proposer) = commit.reinits.first() {
        let alone = commit.adds.is_empty() && commit.removes.is_empty() && commit.updates.is_empty();
        return (commit.reinits.len() == 1 && alone && world.holds(proposer, REINIT)).then_some(next);
    }

    // What each component gets.
    let mut list_updates = Vec::new();
    let mut seen = BTreeSet::new();
    for update in &commit.updates {
        let ComponentOp::Update(bytes) = &update.op else { return None };
        if update.component == 0x0022 {
            list_updates.push((ParticipantListUpdate::decode(bytes).ok()?, update.proposer.clone()));
            continue;
        }
        if !seen.insert(update.component) {
            return None;
        }
        let by = &update.proposer;
        world.acts_as(by)?;
        match update.component {
            0x0023 => {
                let new = RoomMetadata::decode(bytes).ok()?;
                let old = &state.metadata;
                if new.room_uri != old.room_uri
                    || (new.name != old.name && !world.holds(by, CHANGE_NAME))
                    || (new.descriptions != old.descriptions && !world.holds(by, CHANGE_DESCRIPTION))
                    || (new.avatar != old.avatar && !world.holds(by, CHANGE_AVATAR))
                    || (new.subject != old.subject && !world.holds(by, CHANGE_SUBJECT))
                    || (new.mood != old.mood && !world.holds(by, CHANGE_MOOD))
                {
                    return None;
                }
                next.metadata = new;
            }
            0x0025 if world.holds(by, CHANGE_ROLES) => next.roles = RoleList::decode(bytes).ok()?,
            0x0026 if world.holds(by, CHANGE_PREAUTHORIZED) => {
                PreauthList::decode(bytes).ok()?;
                next.other.insert(0x0026, bytes.clone());
            }
            0x0027 if world.holds(by, CHANGE_STYLE) => next.base_policy = BaseRoomPolicy::decode(bytes).ok()?,
            _ => return None,
        }
    }

    // The participant list: every action by itself, then all of them at once.
    let mut operated: Vec<UserUri> = Vec::new();
    let mut gone: Vec<UserUri> = Vec::new();
    let mut came: List = Vec::new();
    let mut roles_changed: List = Vec::new();
    for (update, by) in &list_updates {
        for (index, to) in &update.changed {
            let (user, from) = state.participants.get(*index as usize)?.clone();
            if *to == 0 || role_at(&state.roles, *to).is_none() {
                return None;
            }
            let ok = if *by == user {
                let first = matches(&world, &user).into_iter().find(|index| *index != 0);
                world.holds(by, CHANGE_OWN_ROLE) && first == Some(*to)
            } else {
                world.holds_for(by, CHANGE_USER_ROLE, from, *to)
                    || (banned(&state.roles, *to) && world.holds_for(by, BAN, from, 1))
                    || (banned(&state.roles, from) && world.holds_for(by, UNBAN, 1, *to))
            };
            if !ok {
                return None;
            }
            operated.push(user.clone());
            roles_changed.push((user, *to));
        }
        for index in &update.removed {
            let (user, from) = state.participants.get(*index as usize)?.clone();
            let capability = if *by == user { REMOVE_SELF } else { REMOVE_PARTICIPANT };
            if state.base_policy.fixed_membership || !world.holds_for(by, capability, from, 0) {
                return None;
            }
            operated.push(user.clone());
            gone.push(user);
        }
        for (user, to) in &update.added {
            let target = role_at(&state.roles, *to)?;
            if in_list(&state.participants, user).is_some() || *to == 0 || state.base_policy.fixed_membership {
                return None;
            }
            let ok = if by == user {
                let outsider = role_at(&state.roles, 0);
                let outside = |capability: u16| {
                    outsider.is_some_and(|role| role.capabilities.contains(&capability) && lists(role, 0, *to))
                };
                let code = match commit.code {
                    Code::HubKnows => true,
                    Code::NotShown => false,
                    Code::Shown(role) => role == *to,
                };
                let preauthorized =
                    matches(&world, user).first() == Some(to) && target.capabilities.contains(&JOIN_IF_PREAUTHORIZED);
                commit.external_commit
                    && !banned(&state.roles, *to)
                    && (outside(OPEN_JOIN) || (outside(USE_JOIN_CODE) && code) || preauthorized)
            } else {
                world.holds_for(by, ADD_PARTICIPANT, 0, *to)
            };
            if !ok {
                return None;
            }
            operated.push(user.clone());
            came.push((user.clone(), *to));
        }
    }
    for (place, user) in operated.iter().enumerate() {
        if operated[..place].contains(user) {
            return None;
        }
    }
    for (user, to) in &roles_changed {
        next.participants.iter_mut().find(|entry| entry.0 == *user).unwrap().1 = *to;
    }
    next.participants.retain(|entry| !gone.contains(&entry.0));
    next.participants.extend(came.clone());

    // What may not share a commit.
    let roles_new = commit.updates.iter().any(|update| update.component == 0x0025);
    let preauth_new = commit.updates.iter().any(|update| update.component == 0x0026);
    let style_new = commit.updates.iter().any(|update| update.component == 0x0027);
    if roles_new && !operated.is_empty() {
        return None;
    }
    if preauth_new && !(came.is_empty() && roles_changed.is_empty()) {
        return None;
    }

    // What has to fit together afterwards.
    if next.participants.iter().any(|(_, index)| role_at(&next.roles, *index).is_none()) {
        return None;
    }
    if roles_new || preauth_new {
        let bytes = next.other.get(&0x0026);
        let entries = bytes.and_then(|bytes| PreauthList::decode(bytes).ok()).unwrap_or_default().0;
        if entries.iter().any(|entry| role_at(&next.roles, entry.target_role.index) != Some(&entry.target_role)) {
            return None;
        }
    }
    let adders = next.roles.0.iter().filter(|role| role.capabilities.contains(&ADD_PARTICIPANT));
    let adders = adders.filter(|role| role.index != 0 && !banned(&next.roles, role.index)).count();
    if (roles_new || style_new) && next.base_policy.fixed_membership && adders > 0 {
        return None;
    }

    // Clients: a plain list with one entry for each.
    let mut clients: Vec<UserUri> = Vec::new();
    for (user, count) in &commit.leaves_before {
        clients.extend((0..*count).map(|_| user.clone()));
    }
    let clients_before = clients.clone();
    let has = |clients: &Vec<UserUri>, user: &UserUri| clients.contains(user);
    let no_clients = |index: u32| {
        banned(&next.roles, index) || role_at(&next.roles, index).is_none_or(|role| role.max_active == Some(0))
    };
    for remove in &commit.removes {
        let place = clients.iter().position(|user| *user == remove.user)?;
        clients.remove(place);
        let own = remove.user == remove.proposer;
        let before = in_list(&state.participants, &remove.user);
        let goes_with = match in_list(&next.participants, &remove.user) {
            None => true,
            Some(index) => before != Some(index) && no_clients(index),
        };
        let ok = if own {
            (commit.external_commit && !remove.self_remove)
                || goes_with
                || world.holds(&remove.proposer, REMOVE_OWN_CLIENT)
        } else {
            (goes_with && world.acts_as(&remove.proposer).is_some()) || world.holds(&remove.proposer, KICK)
        };
        if !ok {
            return None;
        }
    }
    for add in &commit.adds {
        clients.push(add.user.clone());
        let index = in_list(&next.participants, &add.user)?;
        if no_clients(index) {
            return None;
        }
        let before = in_list(&state.participants, &add.user);
        let ok = if add.user == add.proposer {
            before.is_none() || world.holds(&add.proposer, ADD_OWN_CLIENT)
        } else {
            !has(&clients_before, &add.user)
                && world.acts_as(&add.proposer).is_some()
                && (state.base_policy.fixed_membership || world.holds_for(&add.proposer, ADD_PARTICIPANT, 0, index))
        };
        if !ok {
            return None;
        }
    }
    for user in &operated {
        let before = in_list(&state.participants, user);
        let rest = in_list(&next.participants, user).is_none_or(no_clients);
        if before.is_some() && rest && has(&clients, user) {
            return None;
        }
    }

    // Constraints, after the whole commit: what got more is not too many, what got fewer not too few.
    let count = |list: &List, index: u32| list.iter().filter(|entry| entry.1 == index).count();
    let active = |list: &List, clients: &Vec<UserUri>, index: u32| {
        list.iter().filter(|entry| entry.1 == index && has(clients, &entry.0)).count()
    };
    for role in next.roles.0.iter().filter(|role| role.index != 0) {
        for (before, after, min, max) in [
            (
                count(&state.participants, role.index),
                count(&next.participants, role.index),
                role.min_participants,
                role.max_participants,
            ),
            (
                active(&state.participants, &clients_before, role.index),
                active(&next.participants, &clients, role.index),
                role.min_active,
                role.max_active,
            ),
        ] {
            if after < before && after < min as usize {
                return None;
            }
            if after > before && max.is_some_and(|max| after > max as usize) {
                return None;
            }
        }
    }
    let users = |state: &RoomState| state.participants.iter().filter(|entry| !banned(&state.roles, entry.1)).count();
    let style = &next.base_policy;
    if style.max_users.is_some_and(|max| users(&next) > users(state) && users(&next) > max as usize) {
        return None;
    }
    if style.max_clients.is_some_and(|max| clients.len() > clients_before.len() && clients.len() > max as usize) {
        return None;
    }
    let of = |user: &UserUri| clients.iter().filter(|client| *client == user).count();
    if !style.multi_device && commit.adds.iter().any(|add| of(&add.user) > 1) {
        return None;
    }

    // "The list of participants of the room MUST be a strict subset of the participants of the parent room", which is "always
    // hosted on the same Hub". We read it as: whoever comes in, or all, if the parent is a new one.
    if next.base_policy.parent_dependent {
        let parent = next.base_policy.parent_room[0].clone();
        let new_parent = state.base_policy.parent_room != next.base_policy.parent_room;
        let own = state.metadata.room_uri.to_string();
        if new_parent {
            let hub = own.split("/r/").next().unwrap().to_owned();
            if parent == own || !parent.starts_with(&format!("{hub}/r/")) {
                return None;
            }
        }
        if let Parents::Hosted(hosted) = &commit.parents {
            let takes_part = |room: &RoomState, user: &UserUri| {
                in_list(&room.participants, user).is_some_and(|index| !banned(&room.roles, index))
            };
            let mut coming: Vec<UserUri> = commit.adds.iter().map(|add| add.user.clone()).collect();
            for (user, _) in &next.participants {
                if takes_part(&next, user) && (new_parent || !takes_part(state, user)) {
                    // A change of the roles list alone brings nobody in.
                    if new_parent || operated.contains(user) {
                        coming.push(user.clone());
                    }
                }
            }
            let nobody = BTreeSet::new();
            let known = hosted.contains_key(&parent);
            let members = hosted.get(&parent).map_or(&nobody, |members| members.as_ref());
            if (new_parent && !known) || coming.iter().any(|user| !members.contains(user)) {
                return None;
            }
        }
    }
    Some(next)
}

// ------------------------------------------------------------------------------------------------------ generation

/// `SplitMix64`: the same seed, the same commit.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
    fn small(&mut self, bound: usize) -> u32 {
        u32::try_from(self.below(bound)).unwrap()
    }
    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

const PEOPLE: [&str; 9] = ["alice", "mo", "bob", "carol", "dave", "eve", "frank", "grace", "heidi"];

fn claim(number: usize) -> Claim {
    let id = ClaimId { credential_type: 3, id: b"group".to_vec() };
    Claim { claim_id: id, claim_value: vec![u8::try_from(number).unwrap()] }
}

/// One of the presets, with people in any roles, and a few settings turned.
fn any_state(numbers: &mut Numbers) -> RoomState {
    let presets = [
        Preset::Group { members_may_add: true },
        Preset::Group { members_may_add: false },
        Preset::Direct,
        Preset::Cooperative,
        Preset::Strict,
        Preset::Moderated,
        Preset::MultiOrganization,
        Preset::Auditorium,
    ];
    let preset = *numbers.pick(&presets);
    let defined = initial(room_uri(), "", "", vec![], preset).roles.0;
    let mut people: List = Vec::new();
    for name in &PEOPLE[..7] {
        // The first ones have much to say, so that much is allowed.
        let top = people.len() < 2;
        let index = if top { defined.len() - 1 - numbers.below(2) } else { 1 + numbers.below(defined.len() - 1) };
        if top || !numbers.one_in(4) {
            people.push((user(name), defined[index.min(defined.len() - 1)].index));
        }
    }
    let mut state = initial(room_uri(), "Club", "Clubs", people, preset);
    for _ in 0..numbers.below(3) {
        let role = numbers.below(state.roles.0.len());
        let role = &mut state.roles.0[role];
        let bound = numbers.small(4);
        match numbers.below(9) {
            0 => role.min_participants = bound,
            1 => role.max_participants = Some(bound + 1),
            2 => role.min_active = bound,
            3 => role.max_active = Some(bound),
            4 => role.name = "other".to_owned(),
            5 if role.index == 0 => role.capabilities.push(OPEN_JOIN),
            6 => role.capabilities.push(*numbers.pick(&[JOIN_IF_PREAUTHORIZED, CHANGE_OWN_ROLE, KICK, ADD_OWN_CLIENT])),
            7 if !role.capabilities.is_empty() => {
                role.capabilities.swap_remove(0);
            }
            _ => role.changes.push(RoleChanges { from: numbers.small(4), to: vec![numbers.small(5)] }),
        }
    }
    let bound = numbers.small(10);
    match numbers.below(8) {
        0 => state.base_policy.max_users = Some(bound),
        1 => state.base_policy.max_clients = Some(bound),
        2 => state.base_policy.multi_device = false,
        3 => state.base_policy.fixed_membership = true,
        _ => {}
    }
    if numbers.one_in(4) {
        (state.base_policy.parent_dependent, state.base_policy.parent_room) = (true, vec![any_parent(numbers)]);
    }
    if numbers.one_in(3) {
        let parameters =
            OperationalParameters { external_commit_allowed: numbers.one_in(2), ..OperationalParameters::default() };
        let mut bytes = parameters.encode().unwrap();
        if numbers.one_in(6) {
            bytes.truncate(numbers.below(31));
        }
        state.other.insert(0x0024, bytes);
    }
    if numbers.one_in(2) {
        let list = any_preauth(&state, numbers);
        state.other.insert(0x0026, list.encode().unwrap());
    }
    state
}

/// Mostly a room that the hub has; a few cannot be parents.
fn any_parent(numbers: &mut Numbers) -> String {
    let own = room_uri().to_string();
    let others = [own.as_str(), "mimi://b.example/r/top", "mimi://a.example/u/top", "mimi://a.example/r/unknown"];
    let parent = if numbers.one_in(5) { *numbers.pick(&others) } else { "mimi://a.example/r/top" };
    parent.to_owned()
}

fn any_preauth(state: &RoomState, numbers: &mut Numbers) -> PreauthList {
    let entries = (0..=numbers.below(3)).map(|_| PreauthEntry {
        claimset: (0..numbers.below(3)).map(|_| claim(numbers.below(3))).collect(),
        target_role: numbers.pick(&state.roles.0).clone(),
    });
    PreauthList(entries.collect())
}

fn any_role(state: &RoomState, numbers: &mut Numbers) -> u32 {
    if numbers.one_in(40) {
        return 77;
    }
    let start = usize::from(!numbers.one_in(20));
    numbers.pick(&state.roles.0[start..]).index
}

/// A commit of which most actions go together: a removed user's clients go, an added user gets some.
#[expect(clippy::too_many_lines, reason = "a list of things that can happen")]
fn any_change(state: &RoomState, numbers: &mut Numbers) -> (UserUri, ChangeSet) {
    let everybody: Vec<UserUri> = PEOPLE.iter().map(|name| user(name)).collect();
    let mut commit = ChangeSet::default();
    for (who, index) in &state.participants {
        let rests = state.roles.0.iter().any(|role| role.index == *index && role.max_active == Some(0));
        if (!rests && !numbers.one_in(5)) || numbers.one_in(30) {
            commit.leaves_before.insert(who.clone(), 1 + u32::from(numbers.one_in(4)));
        }
    }
    if numbers.one_in(30) {
        commit.leaves_before.insert(numbers.pick(&everybody).clone(), 1);
    }
    for who in &everybody {
        if numbers.one_in(2) {
            commit.claims.insert(who.clone(), (0..3).filter(|_| numbers.one_in(2)).map(claim).collect());
        }
    }
    commit.code = match numbers.below(3) {
        0 => Code::HubKnows,
        1 => Code::NotShown,
        _ => Code::Shown(any_role(state, numbers)),
    };
    if numbers.one_in(2) {
        let members = everybody.iter().filter(|_| !numbers.one_in(6)).cloned().collect();
        commit.parents = Parents::Hosted([("mimi://a.example/r/top".to_owned(), Arc::new(members))].into());
    }
    let actor = if numbers.one_in(8) { numbers.pick(&everybody).clone() } else { user(PEOPLE[numbers.below(2)]) };
    let proposer =
        |numbers: &mut Numbers| if numbers.one_in(6) { numbers.pick(&everybody).clone() } else { actor.clone() };
    if numbers.one_in(4) {
        let start = if numbers.one_in(2) { 5 } else { 0 };
        let joiner = numbers.pick(&everybody[start..]).clone();
        commit.external_commit = true;
        commit.adds.push(LeafAdd { user: joiner.clone(), proposer: joiner.clone() });
        if in_list(&state.participants, &joiner).is_none() || numbers.one_in(8) {
            let update =
                ParticipantListUpdate { added: vec![(joiner.clone(), any_role(state, numbers))], ..Default::default() };
            commit = commit.list(update.encode(), &joiner);
        } else if numbers.one_in(2) {
            commit.removes.push(LeafRemove {
                user: joiner.clone(),
                proposer: joiner.clone(),
                self_remove: numbers.one_in(6),
            });
        }
        if numbers.one_in(8) {
            let other = numbers.pick(&everybody).clone();
            commit.removes.push(LeafRemove { user: other.clone(), proposer: other, self_remove: !numbers.one_in(4) });
        }
        let by = if numbers.one_in(20) { numbers.pick(&everybody).clone() } else { joiner };
        return (by, commit);
    }
    for _ in 0..numbers.below(3) {
        let by = proposer(numbers);
        let mut update = ParticipantListUpdate::default();
        for _ in 0..=numbers.below(2) {
            let past = usize::from(numbers.one_in(20));
            let place = numbers.below(state.participants.len() + past);
            let index = u32::try_from(place).unwrap();
            let listed = state.participants.get(place).map(|entry| entry.0.clone());
            let takes_leaves = |commit: &mut ChangeSet, numbers: &mut Numbers| {
                let Some(who) = listed.clone() else { return };
                for _ in 0..commit.leaves_before.get(&who).copied().unwrap_or_default() {
                    if !numbers.one_in(20) {
                        let self_remove = by == who && numbers.one_in(2);
                        commit.removes.push(LeafRemove { user: who.clone(), proposer: by.clone(), self_remove });
                    }
                }
            };
            match numbers.below(4) {
                0 => {
                    let to = any_role(state, numbers);
                    update.changed.push((index, to));
                    if role_at(&state.roles, to).is_some_and(|role| role.max_active == Some(0)) {
                        takes_leaves(&mut commit, numbers);
                    }
                }
                1 => {
                    update.removed.push(index);
                    takes_leaves(&mut commit, numbers);
                }
                _ => {
                    let start = if numbers.one_in(10) { 0 } else { 5 };
                    let who = numbers.pick(&everybody[start..]).clone();
                    update.added.push((who.clone(), any_role(state, numbers)));
                    if !numbers.one_in(3) {
                        commit.adds.push(LeafAdd { user: who, proposer: by.clone() });
                    }
                }
            }
        }
        commit = commit.list(update.encode(), &by);
    }
    if numbers.one_in(8) {
        let (who, by) = (numbers.pick(&everybody).clone(), proposer(numbers));
        commit.adds.push(LeafAdd { proposer: if numbers.one_in(2) { who.clone() } else { by }, user: who });
    }
    if numbers.one_in(8) {
        let (who, by) = (numbers.pick(&everybody).clone(), proposer(numbers));
        let own = numbers.one_in(2);
        let proposer = if own { who.clone() } else { by };
        commit.removes.push(LeafRemove { user: who, proposer, self_remove: own });
    }
    for _ in 0..numbers.below(6).saturating_sub(3) {
        let by = proposer(numbers);
        let (id, bytes) = match numbers.below(6) {
            0 | 1 => {
                let mut metadata = state.metadata.clone();
                match numbers.below(7) {
                    0 => metadata.name = "New".to_owned(),
                    1 => metadata.subject = "New".to_owned(),
                    2 => metadata.avatar = "https://a.example/x".to_owned(),
                    3 => metadata.mood = "New".to_owned(),
                    4 => metadata.descriptions.push(RichDescription {
                        media_type: String::new(),
                        language: String::new(),
                        content: b"New".to_vec(),
                    }),
                    5 => metadata.room_uri = RoomUri::parse("mimi://a.example/r/other").unwrap(),
                    _ => {}
                }
                (0x0023, metadata.encode().unwrap())
            }
            2 => {
                let mut roles = state.roles.clone();
                let place = numbers.below(roles.0.len());
                match numbers.below(5) {
                    0 => drop(roles.0.remove(place)),
                    1 => roles.0[place].max_participants = Some(1),
                    2 => roles.0[place].capabilities.push(KICK),
                    3 => roles.0.iter_mut().for_each(|role| role.capabilities.retain(|c| *c != ADD_PARTICIPANT)),
                    _ => roles.0[place].max_active = Some(0),
                }
                (0x0025, roles.encode().unwrap())
            }
            3 => (0x0026, any_preauth(state, numbers).encode().unwrap()),
            4 => {
                let mut style = state.base_policy.clone();
                match numbers.below(6) {
                    0 => style.fixed_membership = !style.fixed_membership,
                    1 => style.max_users = Some(3),
                    2 => style.max_clients = Some(3),
                    3 if style.parent_dependent => {
                        (style.parent_dependent, style.parent_room) = (false, vec![]);
                    }
                    3 | 4 => (style.parent_dependent, style.parent_room) = (true, vec![any_parent(numbers)]),
                    _ => style.multi_device = !style.multi_device,
                }
                (0x0027, style.encode().unwrap())
            }
            _ => (*numbers.pick(&[0x0021, 0x0024, 0x0028, 0x0030]), vec![0, 0]),
        };
        commit = if numbers.one_in(30) { commit.drop_component(id, &by) } else { commit.update(id, bytes, &by) };
    }
    if numbers.one_in(40) {
        commit.reinits.push(proposer(numbers));
        if !numbers.one_in(4) {
            (commit.adds, commit.removes, commit.updates) = (vec![], vec![], vec![]);
        }
    }
    (actor, commit)
}

/// The name of a refusal without what it is about.
fn kind_of(refusal: &Refusal) -> String {
    format!("{refusal:?}").split(['(', ' ', '{']).next().unwrap().to_owned()
}

#[test]
fn two_implementations_agree_on_generated_commits() {
    let number = |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first: u64 = number("POLICY_MODEL_SEED", 0);
    let runs: u64 = number("POLICY_MODEL_RUNS", 100_000);
    let (mut accepted, mut changed) = (0, 0);
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    for seed in first..first + runs {
        let mut numbers = Numbers(seed << 20);
        let state = any_state(&mut numbers);
        let (actor, commit) = any_change(&state, &mut numbers);
        let told = || format!("seed {seed}: {actor} commits {commit:#?} in {state:#?}");
        let expected = allowed(&state, &actor, &commit);
        match judge(&state, &actor, &commit) {
            Ok(new) => {
                let after = state.with(&new).unwrap_or_else(|error| panic!("{error}, {}", told()));
                assert_eq!(Some(&after), expected.as_ref(), "{}", told());
                accepted += 1;
                changed += u64::from(after != state);
            }
            Err(refusal) => {
                assert_eq!(expected, None, "refused: {refusal}, {}", told());
                *refused.entry(kind_of(&refusal)).or_default() += 1;
            }
        }
    }
    println!("{runs} commits: {accepted} accepted, {changed} of them change the room; refused: {refused:?}");
    // A model that never says yes, or never for one reason, would show nothing.
    if runs >= 5_000 {
        assert!(accepted * 100 >= runs * 15 && changed * 100 >= runs * 3, "{accepted} and {changed} of {runs}");
        let kinds = "Banned Constraint External FixedMembership Leaf NotAuthorized NotInParent NotParticipant Parent Reinit Role \
                     TouchedTwice Unchangeable UnknownComponent Update";
        assert_eq!(refused.keys().map(String::as_str).collect::<Vec<_>>().join(" "), kinds);
    }
}
