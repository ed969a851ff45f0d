//! Calls and conferences: what the other side is shown of them.

use mimi_gateway::room::Telling;
use ruma::RoomId;
use serde_json::{Value, json};

use crate::{
    quiet::once,
    silo::{Silo, Two, until, until_bodies, until_true},
};

const WIDGET: &str = "im.vector.modular.widgets";

fn invite() -> Value {
    json!({ "call_id": "1", "version": "1", "lifetime": 60_000, "offer": {} })
}

async fn shown(silo: &Silo, room: &RoomId, count: usize) -> String {
    until("the call", || silo.homeserver.bodies(room).get(count).cloned()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_link_to_the_room_if_others_can_find_it() {
    const TOLD: &str = "[started a call, which can be joined in Matrix only]";
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    a.send(&at_a, "a1", "m.call.invite", invite());
    // Some clients announce one call twice, in the older and the newer form.
    a.send(&at_a, "a1", "org.matrix.msc4075.rtc.notification", json!({ "notification_type": "ring", "lifetime": 1 }));
    let link = at_a.matrix_to_uri_via([a.bot.server_name().to_owned()]).to_string();
    assert!(link.starts_with("https://matrix.to/#/"), "{link}");
    let body = shown(&two.b, &at_b, 0).await;
    assert_eq!(body, format!("A call in Matrix\n{link}"));
    until_true("its sender hears what others can do", || {
        once(&two.a, &at_a).iter().any(|text| text.contains("a call"))
    })
    .await;
    // Nobody outside finds a portal.
    b.send(&at_b, "b1", "org.matrix.msc4075.rtc.notification", json!({ "notification_type": "ring", "lifetime": 1 }));
    until_bodies(&two.a, &at_a, &[TOLD]).await;
    // Nor a room whose id is not told.
    *two.a.telling.lock().unwrap() = Telling { call_links: false, ..Telling::default() };
    two.a.stop().await;
    two.a.start().await;
    a.send(&at_a, "a1", "m.call.notify", json!({ "notify_type": "ring", "call_id": "" }));
    until_bodies(&two.b, &at_b, &[&body, TOLD]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conference_in_a_room_is_a_link_to_it_on_either_side() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let jitsi = |id: &str| {
        json!({ "type": "jitsi", "name": "Jitsi", "url": "https://app.example/jitsi.html",
            "data": { "domain": "meet.example", "conferenceId": id, "roomName": "Tea" } })
    };
    let said = |id: &str| format!("Tea\n\nJoin the conference\nhttps://meet.example/{id}");
    a.set(&at_a, "a1", WIDGET, json!({ "type": "m.etherpad", "url": "https://pad.example/1" }));
    a.set(&at_a, "a1", WIDGET, jitsi("One"));
    // That it ended is nobody's news.
    a.set(&at_a, "a1", WIDGET, json!({}));
    a.say(&at_a, "a1", "there");
    until_bodies(&two.b, &at_b, &[&said("One"), "there"]).await;
    b.set(&at_b, "b1", WIDGET, jitsi("Two"));
    until_bodies(&two.a, &at_a, &["there", &said("Two")]).await;
    for (silo, room) in [(&two.a, &at_a), (&two.b, &at_b)] {
        assert_eq!(once(silo, room), [""; 0], "nothing is lost");
    }
}
