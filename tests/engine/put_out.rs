//! What the gateway wants done in a Matrix room takes a while, and people do not wait for it: who is put out while they come
//! in, is asked in anew before they are out, or is removed while their ghost comes back.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use mimi_gateway::{engine::ports::Endpoint, ident::UserUri};
use ruma::RoomId;

use crate::{
    homeserver::{Fault, Faults},
    silo::{Two, until_bodies, until_member, until_true},
};

/// Holds back what gateways do at their homeservers, and how often it was tried.
#[derive(Clone, Default)]
struct Brake {
    held: Arc<Mutex<Option<&'static str>>>,
    tries: Arc<AtomicUsize>,
}

impl Brake {
    fn faults(&self) -> Faults {
        let Self { held, tries } = self.clone();
        Arc::new(Mutex::new(Box::new(move |call| {
            if held.lock().unwrap().is_none_or(|kind| !call.starts_with(kind)) {
                return Fault::None;
            }
            tries.fetch_add(1, Ordering::SeqCst);
            Fault::Before
        })))
    }

    /// From now on no action of this kind gets through, nor what comes behind it in its room.
    fn hold(&self, kind: &'static str) {
        self.tries.store(0, Ordering::SeqCst);
        *self.held.lock().unwrap() = Some(kind);
    }

    async fn until_one_waits(&self) {
        until_true("an action is held", || self.tries.load(Ordering::SeqCst) > 0).await;
    }

    fn release(&self) {
        *self.held.lock().unwrap() = None;
    }
}

async fn with_brake() -> (Two, Brake) {
    let brake = Brake::default();
    (Two::with(brake.faults()).await, brake)
}

/// B2 comes in by B1's word.
async fn second(two: &Two, at_a: &RoomId, at_b: &RoomId) -> UserUri {
    let b2 = two.b.uri("b2");
    two.b.homeserver.invite(at_b, "b1", &two.b.homeserver.user("b2"), false);
    two.b.homeserver.join(at_b, "b2");
    until_member(&two.a, at_a, &two.a.ghost(&b2), "join").await;
    b2
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_in_while_the_invitation_is_taken_back_is_out_everywhere() {
    let (two, brake) = with_brake().await;
    let (at_a, at_b, _) = two.room().await;
    let (a2, here) = (two.a.uri("a2"), two.a.homeserver.user("a2"));
    let ghost = two.b.ghost(&a2);
    two.b.homeserver.invite(&at_b, "b1", &ghost, false);
    until_member(&two.a, &at_a, &here, "invite").await;
    brake.hold("Kick");
    two.b.homeserver.kick(&at_b, "b1", &ghost);
    brake.until_one_waits().await;
    // Into a room of their own server they come by Matrix' rules alone.
    two.a.homeserver.join(&at_a, "a2");
    until_member(&two.b, &at_b, &ghost, "join").await;
    brake.release();
    until_member(&two.a, &at_a, &here, "leave").await;
    until_member(&two.b, &at_b, &ghost, "leave").await;

    // Asked in once more they are in, for all.
    two.b.homeserver.invite(&at_b, "b1", &ghost, false);
    until_member(&two.a, &at_a, &here, "invite").await;
    two.a.homeserver.join(&at_a, "a2");
    until_member(&two.b, &at_b, &ghost, "join").await;
    two.a.homeserver.say(&at_a, "a2", "here I am");
    until_bodies(&two.b, &at_b, &["here I am"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_asked_in_anew_before_they_are_out_can_come() {
    let (two, brake) = with_brake().await;
    let (at_a, at_b, _) = two.room().await;
    let b2 = second(&two, &at_a, &at_b).await;
    let there = two.b.homeserver.user("b2");
    brake.hold("Kick");
    two.a.homeserver.kick(&at_a, "a1", &two.a.ghost(&b2));
    brake.until_one_waits().await;
    let asked = || two.a.net.calls(&two.b.domain, Endpoint::RequestConsent).len();
    let before = asked();
    two.a.homeserver.say(&at_a, "a1", &format!("!mimi invite {b2}"));
    until_true("B2 is asked anew", || asked() > before).await;
    assert_eq!(two.b.homeserver.member(&at_b, &there).as_deref(), Some("join"), "they are not out yet");
    brake.release();
    until_member(&two.b, &at_b, &there, "invite").await;
    two.b.homeserver.join(&at_b, "b2");
    until_member(&two.a, &at_a, &two.a.ghost(&b2), "join").await;
    two.b.homeserver.say(&at_b, "b2", "back again");
    until_bodies(&two.a, &at_a, &["back again"]).await;
    assert_eq!(two.b.homeserver.member(&at_b, &there).as_deref(), Some("join"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ghost_that_is_removed_while_it_comes_back_is_out() {
    let (two, brake) = with_brake().await;
    let (at_a, at_b, _) = two.room().await;
    let b2 = second(&two, &at_a, &at_b).await;
    let (there, ghost) = (two.b.homeserver.user("b2"), two.a.ghost(&b2));
    brake.hold("Leave");
    two.b.homeserver.leave(&at_b, "b2");
    brake.until_one_waits().await;
    // They are back before their ghost has gone, and before it has come anew.
    two.b.homeserver.invite(&at_b, "b1", &there, false);
    two.b.homeserver.join(&at_b, "b2");
    two.b.homeserver.say(&at_b, "b2", "here again");
    let taken = || two.a.net.calls(&two.a.domain, Endpoint::SubmitMessage).len();
    until_true("they are back", || taken() == 1).await;
    two.a.homeserver.kick(&at_a, "a1", &ghost);
    until_member(&two.b, &at_b, &there, "leave").await;
    brake.release();
    // What is behind all that waited.
    two.b.homeserver.say(&at_b, "b1", "without them");
    until_bodies(&two.a, &at_a, &["here again", "without them"]).await;
    assert_eq!(two.a.homeserver.member(&at_a, &ghost).as_deref(), Some("leave"), "nobody reads by it");
}
