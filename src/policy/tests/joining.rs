//! Preauthorisation and one's own role, codes, re-initialisation, what may share a commit, and the pending overlay.

use super::*;

fn claim(text: &str) -> Claim {
    Claim { claim_id: ClaimId { credential_type: 3, id: b"team".to_vec() }, claim_value: text.as_bytes().to_vec() }
}

fn entry(state: &RoomState, claims: &[&str], role: u32) -> PreauthEntry {
    PreauthEntry {
        claimset: claims.iter().map(|text| claim(text)).collect(),
        target_role: state.roles.get(role).unwrap().clone(),
    }
}

/// The usual room; who is in `hr` and `lead` may moderate, who is in `staff` be a member.
fn preauthorizing() -> RoomState {
    let mut state = group();
    for role in &mut state.roles.0[2..] {
        role.capabilities.extend([Capability::JoinIfPreauthorized.code(), Capability::ChangeOwnRole.code()]);
    }
    let list = PreauthList(vec![
        entry(&state, &["hr", "lead"], role::MODERATOR),
        entry(&state, &["staff"], role::MEMBER),
        entry(&state, &["staff"], role::ADMIN),
    ]);
    state.other.insert(component::PREAUTH_LIST, list.encode().unwrap());
    state
}

impl ChangeSet {
    fn claims(mut self, user: &UserUri, claims: &[&str]) -> Self {
        self.claims.insert(user.clone(), claims.iter().map(|text| claim(text)).collect());
        self
    }
}

#[test]
fn a_credential_lets_in_with_the_first_role_that_it_matches() {
    let (state, dave) = (preauthorizing(), user("dave"));
    let joins = |state: &RoomState, claims: &[&str], index: u32| {
        let commit = changes(state).list(update_add(state, &[(dave.clone(), index)]), &dave).add(&dave, &dave);
        judge(state, &dave, &commit.external().claims(&dave, claims)).is_ok()
    };
    assert!(joins(&state, &["staff"], role::MEMBER) && joins(&state, &["lead", "x", "hr"], role::MODERATOR));
    assert!(joins(&state, &["hr", "lead", "staff"], role::MODERATOR));
    assert!(!joins(&state, &["hr", "lead", "staff"], role::MEMBER), "the first role only");
    assert!(!joins(&state, &["staff"], role::ADMIN) && !joins(&state, &["hr"], role::MODERATOR));
    assert!(!joins(&state, &[], role::MEMBER) && !joins(&state, &["Staff"], role::MEMBER));
    let mut closed = state.clone();
    closed.roles.0[2].capabilities.retain(|code| *code != Capability::JoinIfPreauthorized.code());
    assert!(!joins(&closed, &["staff"], role::MEMBER), "the target role has to allow it");
    let mut bare = state;
    bare.other.insert(component::PREAUTH_LIST, vec![1, 2, 3]);
    assert!(!joins(&bare, &["staff"], role::MEMBER), "what cannot be read preauthorises nobody");
}

#[test]
fn a_banned_user_is_not_let_in_by_its_credential() {
    let (mut state, dave) = (preauthorizing(), user("dave"));
    state.participants.push((dave.clone(), role::BANNED));
    let join = changes(&state).list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &dave).add(&dave, &dave);
    assert_eq!(judge(&state, &dave, &join.external().claims(&dave, &["staff"])), Err(Refusal::Banned(dave)));
}

#[test]
fn ones_own_role_changes_by_the_credential_alone() {
    let (state, bob, alice) = (preauthorizing(), user("bob"), user("alice"));
    let change = |by: &UserUri, index, claims: &[&str]| {
        let commit = changes(&state).list(update_roles(&state, &[(by.clone(), index)]), by).claims(by, claims);
        judge(&state, by, &commit).map(|new| state.with(&new).unwrap().role_of(by))
    };
    assert_eq!(change(&bob, role::MODERATOR, &["hr", "lead"]), Ok(Some(role::MODERATOR)));
    assert!(change(&bob, role::ADMIN, &["hr", "lead"]).is_err() && change(&bob, role::MODERATOR, &["hr"]).is_err());
    assert!(change(&alice, role::MODERATOR, &[]).is_err(), "an admin's list of changes is not asked");
    assert_eq!(change(&alice, role::MEMBER, &["staff"]), Ok(Some(role::MEMBER)));
}

#[test]
fn somebody_outside_acts_by_its_credential_and_does_not_commit() {
    let (state, hub, bob) = (preauthorizing(), user("hub"), user("bob"));
    let remove = changes(&state).list(update_remove(&state, std::slice::from_ref(&bob)), &hub).remove(&bob, &hub);
    let alice = user("alice");
    assert_eq!(judge(&state, &alice, &remove), Err(Refusal::NotParticipant(hub.clone())));
    let remove = remove.claims(&hub, &["hr", "lead"]);
    assert_eq!(after(&state, &alice, &remove).role_of(&bob), None);
    assert_eq!(judge(&state, &hub, &remove), Err(Refusal::NotParticipant(hub.clone())));
    // Whom a credential makes one of the banned has no say, not even to change nothing.
    let mut state = state;
    let banned = PreauthList(vec![entry(&state, &[], role::BANNED)]);
    state.other.insert(component::PREAUTH_LIST, banned.encode().unwrap());
    let nothing = changes(&state).update(0x0023, update_metadata(&state, None, None).unwrap(), &hub);
    assert_eq!(judge(&state, &alice, &nothing), Err(Refusal::NotParticipant(hub)));
}

#[test]
fn preauthorised_users_change_by_those_who_may_and_agree_with_the_roles() {
    let (state, alice, mo) = (preauthorizing(), user("alice"), user("mo"));
    let list = PreauthList(vec![entry(&state, &["x"], role::MEMBER)]).encode().unwrap();
    let commit = |by: &UserUri| changes(&state).update(component::PREAUTH_LIST, list.clone(), by);
    assert_eq!(after(&state, &alice, &commit(&alice)).other[&component::PREAUTH_LIST], list);
    assert!(matches!(judge(&state, &mo, &commit(&mo)), Err(Refusal::NotAuthorized { .. })));
    // A room that has none gets one.
    let mut none = state.clone();
    none.other.clear();
    assert_eq!(after(&none, &alice, &commit(&alice)), after(&state, &alice, &commit(&alice)));
    // With removals, not with other changes of the list.
    let (bob, dave) = (user("bob"), user("dave"));
    let removal = commit(&alice).list(update_remove(&state, std::slice::from_ref(&bob)), &alice).remove(&bob, &alice);
    assert!(judge(&state, &alice, &removal).is_ok());
    for update in [update_add(&state, &[(dave, role::MEMBER)]), update_roles(&state, &[(bob, role::MODERATOR)])] {
        let both = commit(&alice).list(update, &alice);
        assert!(matches!(judge(&state, &alice, &both), Err(Refusal::Update(component::PREAUTH_LIST, _))));
    }
    // The copy of a role that is not the roles list's; and the other way round.
    let mut other = entry(&state, &["x"], role::MEMBER);
    other.target_role.description = "other".to_owned();
    let wrong =
        changes(&state).update(component::PREAUTH_LIST, PreauthList(vec![other.clone()]).encode().unwrap(), &alice);
    assert!(matches!(judge(&state, &alice, &wrong), Err(Refusal::Update(component::PREAUTH_LIST, _))));
    let mut roles = state.roles.clone();
    roles.0[2].description = "other".to_owned();
    let alone = changes(&state).update(component::ROLES_LIST, roles.encode().unwrap(), &alice);
    assert!(matches!(judge(&state, &alice, &alone), Err(Refusal::Update(component::PREAUTH_LIST, _))));
    let together = alone.update(component::PREAUTH_LIST, PreauthList(vec![other]).encode().unwrap(), &alice);
    assert_eq!(after(&state, &alice, &together).roles, roles);
}

#[test]
fn a_reinit_is_alone_and_an_admins() {
    let (state, alice, mo) = (group(), user("alice"), user("mo"));
    let reinit = |by: &UserUri| ChangeSet { reinits: vec![by.clone()], ..changes(&state) };
    assert_eq!(judge(&state, &mo, &reinit(&alice)), Ok(BTreeMap::new()));
    assert!(matches!(judge(&state, &alice, &reinit(&mo)), Err(Refusal::NotAuthorized { .. })));
    assert_eq!(judge(&state, &alice, &reinit(&alice).remove(&mo, &mo)), Err(Refusal::Reinit));
    let name = update_metadata(&state, Some("x"), None).unwrap();
    assert_eq!(judge(&state, &alice, &reinit(&alice).update(0x0023, name, &alice)), Err(Refusal::Reinit));
}

#[test]
fn fixed_membership_and_roles_that_add_do_not_go_together() {
    let (state, alice) = (group(), user("alice"));
    let mut fixed = state.base_policy.clone();
    fixed.fixed_membership = true;
    let style = changes(&state).update(component::BASE_ROOM_POLICY, fixed.encode().unwrap(), &alice);
    assert!(matches!(judge(&state, &alice, &style), Err(Refusal::Update(component::BASE_ROOM_POLICY, _))));
    // In one commit with roles that add nobody it is allowed: what counts is the room afterwards.
    let mut roles = state.roles.clone();
    roles.0.iter_mut().for_each(|role| role.capabilities.retain(|code| *code != Capability::AddParticipant.code()));
    let both = style.update(component::ROLES_LIST, roles.encode().unwrap(), &alice);
    assert!(after(&state, &alice, &both).base_policy.fixed_membership);
}

#[test]
fn new_constraints_hold_from_the_commit_that_brings_them() {
    let (state, alice, bob) = (group(), user("alice"), user("bob"));
    let mut policy = state.base_policy.clone();
    policy.max_clients = Some(4);
    let update = changes(&state).update(component::BASE_ROOM_POLICY, policy.encode().unwrap(), &alice);
    assert!(judge(&state, &alice, &update).is_ok());
    let with_client = update.add(&bob, &bob);
    assert!(matches!(judge(&state, &alice, &with_client), Err(Refusal::Constraint(_))));
}

#[test]
fn the_active_are_counted_after_the_whole_commit() {
    let (mut state, bob, carol) = (group(), user("bob"), user("carol"));
    state.roles.0[2].max_active = Some(1);
    let mut before = changes(&state);
    before.leaves_before.remove(&bob);
    let alice = user("alice");
    let joins = before.add(&bob, &bob).external();
    assert!(matches!(judge(&state, &bob, &joins), Err(Refusal::Constraint(_))), "carol is there already");
    let instead = joins.remove(&carol, &carol);
    assert!(judge(&state, &bob, &instead).is_ok());
    state.roles.0[2].min_active = 2;
    let goes = changes(&state).remove(&carol, &alice);
    assert!(matches!(judge(&state, &alice, &goes), Err(Refusal::Constraint(_))));
}

#[test]
fn adds_lead_and_removes_lag() {
    let state = group();
    let (bob, carol, dave, mo) = (user("bob"), user("carol"), user("dave"), user("mo"));
    let mut pending = Pending::default();
    assert!(pending.may_send(&state, &bob) && !pending.takes_part(&state, &dave));
    pending.take(&state, &update_add(&state, &[(dave.clone(), role::MEMBER)]).unwrap()).unwrap();
    assert_eq!(pending.role_of(&state, &dave), Some(role::MEMBER));
    assert!(pending.takes_part(&state, &dave) && !pending.may_send(&state, &dave), "it has no client yet");
    pending.take(&state, &update_remove(&state, std::slice::from_ref(&bob)).unwrap()).unwrap();
    assert!(pending.takes_part(&state, &bob) && pending.is_going(&state, &bob));
    pending.take(&state, &update_roles(&state, &[(carol.clone(), role::BANNED)]).unwrap()).unwrap();
    for silent in [&bob, &carol] {
        assert!(!pending.may_send(&state, silent) && !pending.may_receive(&state, silent));
        assert!(!pending.may_commit(&state, silent) && !pending.may_propose(&state, silent, false));
        assert!(pending.may_propose(&state, silent, true), "it may go");
    }
    assert!(pending.may_send(&state, &mo) && pending.may_commit(&state, &mo));
    // A role that was only accepted counts from the commit on.
    pending.take(&state, &update_roles(&state, &[(mo.clone(), role::MEMBER)]).unwrap()).unwrap();
    assert_eq!(pending.role_of(&state, &mo), Some(role::MODERATOR));
    assert!(pending.may_send(&state, &mo));
    assert!(pending.take(&state, &[9]).is_err());
}

#[test]
fn a_standing_judges_as_judge_does() {
    let (state, bob, dave) = (group(), user("bob"), user("dave"));
    let commit = changes(&state).list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &bob).add(&dave, &bob);
    let standing = Standing::new(&state, &commit.leaves_before);
    for _ in 0..2 {
        assert_eq!(standing.judge(&bob, &commit), judge(&state, &bob, &commit));
    }
    assert_eq!(standing.judge(&dave, &commit), Err(Refusal::NotParticipant(dave)));
}

#[test]
fn a_room_opens_and_closes_again_to_the_same_bytes() {
    let bytes = |state: &RoomState| state.roles.encode().unwrap();
    let turned = |state: &RoomState, open: bool| {
        let update = update_open_join(state, role::MEMBER, open).unwrap();
        let alice = user("alice");
        after(state, &alice, &changes(state).update(component::ROLES_LIST, update, &alice))
    };
    let with_codes = |state: &RoomState| {
        let mut state = state.clone();
        state.roles = RoleList::decode(&update_join_codes(&state, role::MEMBER).unwrap()).unwrap();
        state
    };
    let plain = group();
    for closed in [plain.clone(), with_codes(&plain)] {
        let open = turned(&closed, true);
        assert!(open.is_open() && !closed.is_open());
        assert_eq!(open.roles.0[1..], closed.roles.0[1..], "the other roles stay as they are");
        assert_eq!(open.takes_codes(), closed.takes_codes());
        assert_eq!(bytes(&turned(&open, true)), bytes(&open), "once is enough");
        let again = turned(&open, false);
        assert_eq!(bytes(&again), bytes(&closed));
        assert_eq!(bytes(&turned(&turned(&again, true), false)), bytes(&closed));
        assert_eq!(bytes(&turned(&again, true)), bytes(&open));
    }
    // Codes that came while the room was open count on.
    let both = turned(&with_codes(&turned(&plain, true)), false);
    assert_eq!(bytes(&both), bytes(&with_codes(&plain)));
}

#[test]
fn who_may_say_what_roles_do_opens_a_room_and_powers_leave_it_open() {
    let state = group();
    let update = update_open_join(&state, role::MEMBER, true).unwrap();
    for (name, may) in [("alice", true), ("mo", false), ("bob", false), ("dave", false)] {
        let verdict =
            judge(&state, &user(name), &changes(&state).update(component::ROLES_LIST, update.clone(), &user(name)));
        assert_eq!(verdict.is_ok(), may, "{name}: {verdict:?}");
    }
    let mut open = state;
    open.roles.open(role::MEMBER);
    let powers = Powers::read(Some(&serde_json::json!({ "invite": 100, "kick": 0 })), [].into(), None);
    assert_eq!(powers.roles(&open.roles, [0, 50]).0[0], open.roles.0[0]);
}

#[test]
fn who_is_banned_does_not_come_into_an_open_room() {
    let (mut state, dave) = (group(), user("dave"));
    state.roles.open(role::MEMBER);
    let join = |state: &RoomState| {
        let commit = changes(state).list(update_add(state, &[(dave.clone(), role::MEMBER)]), &dave).add(&dave, &dave);
        judge(state, &dave, &commit.external()).is_ok()
    };
    assert!(join(&state));
    let mut banned = state.clone();
    banned.participants.push((dave.clone(), role::BANNED));
    assert!(!join(&banned));
    state.roles.close(role::MEMBER);
    assert!(!join(&state));
}

#[test]
fn nobody_joins_by_an_external_commit_where_the_operational_policy_forbids_it() {
    let (mut state, bob, dave) = (group(), user("bob"), user("dave"));
    let outsiders = state.roles.0.iter_mut().find(|role| role.index == role::NONE).unwrap();
    outsiders.capabilities.push(Capability::OpenJoin.code());
    outsiders.changes.push(RoleChanges { from: role::NONE, to: vec![role::MEMBER] });
    let judged = |state: &RoomState| {
        let newcomer = changes(state).list(update_add(state, &[(dave.clone(), role::MEMBER)]), &dave).add(&dave, &dave);
        let again = changes(state).remove(&bob, &bob).add(&bob, &bob);
        [judge(state, &dave, &newcomer.external()).err(), judge(state, &bob, &again.external()).err()]
    };
    assert_eq!(judged(&state), [None, None], "no operational policy forbids nothing");
    let says = |allowed| {
        OperationalParameters { external_commit_allowed: allowed, ..OperationalParameters::default() }.encode().unwrap()
    };
    state.other.insert(component::OPERATIONAL_POLICY, says(true));
    assert_eq!(judged(&state), [None, None]);
    state.other.insert(component::OPERATIONAL_POLICY, says(false));
    let refused = || Some(Refusal::External("is not allowed in this room"));
    assert_eq!(judged(&state), [refused(), refused()], "nor who comes back");
    let alice = user("alice");
    let adding = changes(&state).list(update_add(&state, &[(dave.clone(), role::MEMBER)]), &alice).add(&dave, &alice);
    assert_eq!(judge(&state, &alice, &adding).err(), None, "who is added comes in");
    state.other.insert(component::OPERATIONAL_POLICY, vec![0; 7]);
    assert_eq!(judged(&state), [None, None], "what cannot be read forbids nothing");
}
