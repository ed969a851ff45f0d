//! Commits that `policy` judges per second on one core, in a room with 1,000 participants, against two plain things in the
//! same run: looking the actor up in a map, which any judge has to do, and cloning the room's state, of which a commit that
//! changes the list makes a new one. The goals: 500,000 a second where no component changes, 20,000 where the list of
//! participants does.
//!
//! `cargo bench --bench policy`

use std::{
    collections::BTreeMap,
    hint::black_box,
    time::{Duration, Instant},
};

use mimi_gateway::{
    ident::{ProviderDomain, RoomUri, UserUri},
    policy::{
        ChangeSet, ComponentOp, ComponentUpdate, LeafAdd, Preset, Refusal, RoomState, Standing, component, initial,
        role, update_add, update_metadata, update_roles,
    },
};

const PARTICIPANTS: usize = 1_000;
/// Decisions per second where no component changes.
const GOAL: f64 = 500_000.0;
/// Decisions per second where the list of participants changes.
const GOAL_LIST: f64 = 20_000.0;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Calls per second: the best of five slices of time, since others use the machine, too.
fn rate(mut step: impl FnMut()) -> f64 {
    let mut slice = || {
        let start = Instant::now();
        let mut steps = 0_u32;
        while start.elapsed() < Duration::from_millis(200) {
            (0..16).for_each(|_| step());
            steps += 16;
        }
        f64::from(steps) / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| slice()).fold(0.0, f64::max)
}

fn update(component: u16, bytes: Vec<u8>, by: &UserUri) -> ComponentUpdate {
    ComponentUpdate { component, op: ComponentOp::Update(bytes), proposer: by.clone() }
}

fn main() -> Outcome<()> {
    let domain = ProviderDomain::parse("a.example")?;
    let people: Vec<UserUri> =
        (0..=PARTICIPANTS).map(|n| UserUri::new(&domain, &format!("user{n}"))).collect::<Result<_, _>>()?;
    let [admin, other, .., newcomer] = people.as_slice() else { return Err("too few".into()) };
    let listed = people.iter().take(PARTICIPANTS);
    let roles = listed.clone().map(|user| (user.clone(), if user == admin { role::ADMIN } else { role::MEMBER }));
    let room = RoomUri::parse("mimi://a.example/r/4Jzq0ZkY2n8")?;
    let state: RoomState = initial(room, "Club", "", roles.collect(), Preset::default());
    let leaves: BTreeMap<UserUri, u32> = listed.map(|user| (user.clone(), 1)).collect();

    let nothing = ChangeSet::default();
    let client = LeafAdd { user: other.clone(), proposer: other.clone() };
    let client = ChangeSet { adds: vec![client], ..ChangeSet::default() };
    let name = update(component::ROOM_METADATA, update_metadata(&state, Some("New"), None)?, admin);
    let name = ChangeSet { updates: vec![name], ..ChangeSet::default() };
    let list =
        |bytes| ChangeSet { updates: vec![update(component::PARTICIPANT_LIST, bytes, admin)], ..ChangeSet::default() };
    let mut add = list(update_add(&state, &[(newcomer.clone(), role::MEMBER)])?);
    add.adds.push(LeafAdd { user: newcomer.clone(), proposer: admin.clone() });
    let promote = list(update_roles(&state, &[(other.clone(), role::MODERATOR)])?);

    let standing = Standing::new(&state, &leaves);
    let look = rate(|| _ = black_box(leaves.get(black_box(other))));
    let copy = rate(|| drop(black_box(black_box(&state).clone())));
    let count = rate(|| drop(black_box(Standing::new(black_box(&state), &leaves))));
    println!("one core, {PARTICIPANTS} participants, decisions per second, and against the plain thing");
    println!("a look-up in a map {look:>11.0}   a clone of the state {copy:>9.0}   counting a room {count:>9.0}");
    for (what, actor, commit, (plain, than), goal) in [
        ("an empty commit", other, &nothing, (look, "look-up"), Some(GOAL)),
        ("a client more", other, &client, (look, "look-up"), Some(GOAL)),
        ("another name", admin, &name, (look, "look-up"), None),
        ("a participant and its client", admin, &add, (copy, "clone"), Some(GOAL_LIST)),
        ("another role", admin, &promote, (copy, "clone"), Some(GOAL_LIST)),
    ] {
        let verdict: Result<_, Refusal> = standing.judge(actor, commit);
        verdict?;
        let judged = rate(|| drop(black_box(standing.judge(black_box(actor), black_box(commit)))));
        let verdict = goal.map(|goal| format!("   goal {goal:.0}: {}", if judged >= goal { "met" } else { "MISSED" }));
        println!("{what:<30} {judged:>11.0} = {:.3} of a {than}{}", judged / plain, verdict.unwrap_or_default());
    }
    Ok(())
}
