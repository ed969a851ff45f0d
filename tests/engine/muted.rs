//! Who may not speak is not heard: as hub of a room with listeners, and in a room of others.

use std::collections::BTreeMap;

use mimi_gateway::{
    content::{Disposition, MessageId, MimiContent, NestedPart, TEXT_PLAIN},
    engine::ports::Endpoint,
    ident::{RoomUri, UserUri},
    policy::{Preset, component, initial},
    wire::{FanoutContent, MlsMessage, SafeAad, SubmitMessageResponse, Wire as _},
};
use serde_json::json;

use crate::{
    attacks::{Rogue, hosted_by_with, notify, now},
    open::judged,
    silo::{Two, until_bodies, until_true},
};

fn said(by: &UserUri, room: &RoomUri, salt: u8, disposition: Disposition, text: &str) -> Vec<u8> {
    let part = NestedPart { disposition, ..NestedPart::text(TEXT_PLAIN, text) };
    let mut content = MimiContent::new([salt; 16], by, room, part);
    content.in_reply_to = (disposition == Disposition::Reaction).then_some(MessageId([1; 32]));
    content.encode_with_id(by, room).unwrap().0
}

fn accepted(answer: &SubmitMessageResponse) -> bool {
    matches!(answer, SubmitMessageResponse::Accepted { .. })
}

/// The rogue's M1 is a member of a room in which only moderators write; they are made one, and put back.
#[tokio::test(flavor = "multi_thread")]
async fn a_rogue_that_may_only_listen_is_heard_by_nobody() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let mut rogue = Rogue::new("m", &two.a.net);
    rogue.enter(&two.a, &at_a, &uri, "m1").await;
    let m1 = rogue.uri("m1");
    let set = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut levels = two.a.homeserver.states(&at_a, "m.room.power_levels").pop().unwrap();
        change(&mut levels);
        two.a.homeserver.set(&at_a, "a1", "m.room.power_levels", levels);
    };
    let words = said(&m1, &uri, 1, Disposition::Render, "before");
    assert!(accepted(&rogue.submit(&two.a, &uri, "m1", &m1, &words).await));
    let epoch = |rogue: &mut Rogue| {
        for fanout in rogue.fanned_out() {
            let member = rogue.member.as_mut().unwrap();
            if let FanoutContent::Commit { message, .. } = fanout.content
                && message.epoch() == Some(member.epoch())
            {
                member.apply_commit(message.as_bytes(), &mut judged, now()).unwrap();
            }
        }
        rogue.member().epoch()
    };
    let then = epoch(&mut rogue);
    set(&|levels| {
        levels["events_default"] = json!(50);
        levels["events"]["m.reaction"] = json!(0);
    });
    until_true("the roles change", || epoch(&mut rogue) > then).await;
    let words = said(&m1, &uri, 2, Disposition::Render, "muted");
    assert_eq!(rogue.submit(&two.a, &uri, "m1", &m1, &words).await, SubmitMessageResponse::NotAllowed);
    // What calls itself something else is words all the same.
    for disposition in [Disposition::Reaction, Disposition::Profile] {
        let words = said(&m1, &uri, 3, disposition, &"a speech ".repeat(100));
        assert_eq!(rogue.submit(&two.a, &uri, "m1", &m1, &words).await, SubmitMessageResponse::NotAllowed);
    }
    let words = said(&m1, &uri, 4, Disposition::Reaction, "+1");
    assert!(accepted(&rogue.submit(&two.a, &uri, "m1", &m1, &words).await));
    let then = epoch(&mut rogue);
    set(&|levels| levels["users"][two.a.ghost(&m1)] = json!(50));
    until_true("they get a voice", || epoch(&mut rogue) > then).await;
    let words = said(&m1, &uri, 5, Disposition::Render, "after");
    assert!(accepted(&rogue.submit(&two.a, &uri, "m1", &m1, &words).await));
    two.a.homeserver.say(&at_a, "a1", "done");
    for (silo, room) in [(&two.a, &at_a), (&two.b, &at_b)] {
        let has = |wanted: &str| silo.homeserver.bodies(room).iter().any(|text| text == wanted);
        until_true("both", || has("after") && has("done")).await;
        let bodies = silo.homeserver.bodies(room);
        assert!(!bodies.iter().any(|text| text.contains("muted") || text.contains("speech")), "{bodies:?}");
        let notices = silo.homeserver.notices(room);
        assert!(!notices.iter().any(|text| text.contains("could not be shown")), "{notices:?}");
    }
}

/// An auditorium that others host, of which B1 is the audience: who speaks is heard, and B1 is told that they are not.
#[tokio::test(flavor = "multi_thread")]
async fn in_an_auditorium_the_audience_listens() {
    let net = Two::new().await;
    let b = &net.b;
    let mut rogue = Rogue::new("m", &b.net);
    let uri = RoomUri::new(&rogue.domain, "trap").unwrap();
    let auditorium = initial(uri, "", "", Vec::new(), Preset::Auditorium).to_components().unwrap();
    let roles = BTreeMap::from([(component::ROLES_LIST, auditorium[&component::ROLES_LIST].clone())]);
    let (uri, portal) = hosted_by_with(&mut rogue, b, roles).await;
    let m1 = rogue.uri("m1");
    let words = said(&m1, &uri, 1, Disposition::Render, "welcome");
    let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
    let message = MlsMessage::decode(&sealed).unwrap();
    notify(&rogue, b, &uri, FanoutContent::Application { message, frank: None }).await.unwrap();
    until_bodies(b, &portal, &["welcome"]).await;
    // The stand-in homeserver lets everybody write.
    let submitted = rogue.fanned_to(Endpoint::SubmitMessage).len();
    b.homeserver.say(&portal, "b1", "a question");
    let told = || b.homeserver.notices(&portal).iter().any(|text| text.contains("does not let them write"));
    until_true("B1 is told", told).await;
    assert_eq!(rogue.fanned_to(Endpoint::SubmitMessage).len(), submitted, "it does not leave");
}
