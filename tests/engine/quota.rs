//! A peer that asks into ever new rooms gets so many, and no more; what it is refused for tells it nothing about people.

use std::sync::{Arc, atomic::Ordering};

use mimi_gateway::{
    engine::ports::{Endpoint, PathTarget, Problem},
    ident::RoomUri,
    wire::ConsentAction,
};

use crate::{
    attacks::{Rogue, consent},
    flow::until_room,
    silo::{Net, Silo, until, until_true},
};

struct Asker {
    rogue: Rogue,
}

impl Asker {
    fn room(&self, name: &str) -> RoomUri {
        RoomUri::parse(&format!("mimi://{}/r/{name}", self.rogue.domain)).unwrap()
    }

    async fn ask(&self, a: &Silo, action: ConsentAction, target: &str, room: &str) -> Result<Vec<u8>, Problem> {
        let body = consent(action, &self.rogue.uri("m1"), &a.uri(target), &self.room(room));
        self.rogue.send(a, Endpoint::RequestConsent, &PathTarget::Domain(a.domain.clone()), &body).await
    }

    async fn request(&self, a: &Silo, room: &str) -> Result<Vec<u8>, Problem> {
        self.ask(a, ConsentAction::Request, "a1", room).await
    }
}

fn is_too_many(answer: &Result<Vec<u8>, Problem>) -> bool {
    matches!(answer, Err(Problem::TooMany(seconds)) if *seconds > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_so_many_unanswered_invitations() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let asker = Asker { rogue: Rogue::new("m", &net) };
    let other = Asker { rogue: Rogue::new("n", &net) };
    a.open_invitations.store(2, Ordering::Relaxed);
    a.stop().await;
    a.start().await;

    asker.request(&a, "one").await.unwrap();
    asker.request(&a, "two").await.unwrap();
    assert!(is_too_many(&asker.request(&a, "three").await));
    asker.request(&a, "one").await.unwrap();
    other.request(&a, "three").await.unwrap();
    until_true("the invitations", || a.homeserver.invitations("a1").len() == 3).await;
    let invitation = |room: &str| {
        let portal = a.homeserver.portal(&asker.room(room))?;
        a.homeserver.invitations("a1").contains(&portal).then_some(portal)
    };

    // What is open stands in the store.
    a.stop().await;
    a.start().await;
    assert!(is_too_many(&asker.request(&a, "three").await));

    // No is no answer that a peer could see.
    let portal = until("the invitation", || invitation("one")).await;
    a.homeserver.leave(&portal, "a1");
    until_true("A1 said no", || a.homeserver.is_quiet()).await;
    assert!(is_too_many(&asker.request(&a, "three").await));
    // Yes makes room.
    let portal = until("the invitation", || invitation("two")).await;
    a.homeserver.join(&portal, "a1");
    until_taken(&asker, &a, "three").await;
    assert!(is_too_many(&asker.request(&a, "four").await));

    // Asking and taking back in turns does not.
    until("the invitation", || invitation("three")).await;
    asker.ask(&a, ConsentAction::Cancel, "a1", "three").await.unwrap();
    until_room(&a, &asker.room("three"), "invited").await;
    until_true("it is taken back", || invitation("three").is_none()).await;
    assert!(is_too_many(&asker.request(&a, "five").await));
}

/// The actor hears of the answer a moment after the homeserver does.
async fn until_taken(asker: &Asker, a: &Silo, room: &str) {
    let since = std::time::Instant::now();
    while is_too_many(&asker.request(a, room).await) {
        assert!(since.elapsed() < crate::silo::PATIENCE, "{room} is never taken");
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
}

/// What comes to nothing leaves nothing: no room, and no task. Only the place stays: else a peer could count who is there.
#[tokio::test(flavor = "multi_thread")]
async fn asking_for_nobody_leaves_nothing_but_its_place() {
    let net = Arc::new(Net::default());
    let a = Silo::new("a", &["a1"], &net).await;
    let asker = Asker { rogue: Rogue::new("m", &net) };
    a.open_invitations.store(21, Ordering::Relaxed);
    a.stop().await;
    a.start().await;
    for number in 0..20 {
        let name = format!("r{number}");
        asker.ask(&a, ConsentAction::Request, "nobody", &name).await.unwrap();
        asker.ask(&a, ConsentAction::Cancel, "nobody", &name).await.unwrap();
        asker.ask(&a, ConsentAction::Cancel, "a1", &format!("never{number}")).await.unwrap();
    }
    until_true("no room has a task", || a.engine().working_rooms() == 0).await;
    asker.request(&a, "real").await.unwrap();
    until_true("the invitation", || a.homeserver.invitations("a1").len() == 1).await;
    assert_eq!(a.only_room().await, asker.room("real"));
    assert!(is_too_many(&asker.request(&a, "further").await));
}
