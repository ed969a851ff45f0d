//! What people say and others see of it: attention called, pictures within texts, who has a message, and what readers are told
//! that they do not see.

use std::time::Duration;

use mimi_gateway::{
    content::{Body, Disposition, ExternalPart, MimiContent, NestedPart},
    ident::Pattern,
    policy::{
        AssetPolicy, AssetUploadLocation, DownloadPrivacy, DownloadPrivacyType, Envelope, Optionality,
        ProviderAssetUploadDomains, StatusNotificationPolicy, component,
    },
    room::{Reports, SendStatus, Telling},
    wire::{FanoutContent, MediaType, MlsMessage, SafeAad, Wire as _},
};
use ruma::RoomId;
use serde_json::{Value, json};

use crate::{
    attacks::{Rogue, hosted_by_with, notify},
    files::Carry,
    homeserver::{Fault, no_faults},
    rejoin::Switch,
    silo::{Net, Silo, Two, until, until_bodies, until_true},
};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\na cat that waves";

fn event(silo: &Silo, room: &RoomId, body: &str) -> Option<Value> {
    silo.homeserver.events(room).into_iter().find(|event| event["content"]["body"] == body)
}

async fn shown(silo: &Silo, room: &RoomId, body: &str) -> Value {
    until(&format!("“{body}”"), || event(silo, room, body)).await["content"].clone()
}

fn level(silo: &Silo, room: &RoomId, by: &str, user: &str, level: i64) {
    let mut content = silo.homeserver.states(room, "m.room.power_levels").pop().unwrap();
    content["users"][user] = json!(level);
    silo.homeserver.set(room, by, "m.room.power_levels", content);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_rung_by_who_may_do_that() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    // The portal's levels come a moment after the portal.
    let ghost = two.b.ghost(&two.a.uri("a1"));
    let theirs =
        || b.states(&at_b, "m.room.power_levels").pop().is_some_and(|now| now["users"][&ghost].as_i64() >= Some(50));
    until_true("A1's level at B", || theirs() && b.is_quiet()).await;
    let all = |body: &str| json!({"msgtype": "m.text", "body": body, "m.mentions": {"room": true}});
    a.send(&at_a, "a1", "m.room.message", all("@room: 1 < 2"));
    let seen = shown(&two.b, &at_b, "@room: 1 < 2").await;
    assert_eq!(seen["m.mentions"], json!({"room": true}));
    assert_eq!(seen.get("formatted_body"), None, "nothing else is formatted");
    // By a link beside other markup; and not by the same letters alone.
    let mut marked = all("@room: look at `@room`");
    marked["format"] = json!("org.matrix.custom.html");
    marked["formatted_body"] = json!("<b>@room</b>: look at <code>@room</code>");
    a.send(&at_a, "a1", "m.room.message", marked);
    let seen = shown(&two.b, &at_b, "@room: look at `@room`").await;
    assert_eq!(seen["m.mentions"], json!({"room": true}));
    assert_eq!(seen["formatted_body"], "<b>@room</b>: look at <code>@room</code>");
    a.send(&at_a, "a1", "m.room.message", json!({"msgtype": "m.text", "body": "what is @room?", "m.mentions": {}}));
    assert_eq!(shown(&two.b, &at_b, "what is @room?").await["m.mentions"], json!({}));
    // B1 has no level for it, and then has.
    b.send(&at_b, "b1", "m.room.message", all("@room first"));
    assert_eq!(shown(&two.a, &at_a, "@room first").await["m.mentions"], json!({}));
    level(&two.a, &at_a, "a1", &two.a.ghost(&two.b.uri("b1")), 50);
    let own = || b.states(&at_b, "m.room.power_levels").pop().unwrap()["users"]["@b1:b.test"].clone();
    until_true("B1's level", || own() == 50).await;
    until_true("B knows it", || b.is_quiet()).await;
    b.send(&at_b, "b1", "m.room.message", all("@room second"));
    assert_eq!(shown(&two.a, &at_a, "@room second").await["m.mentions"], json!({"room": true}));
}

fn waving(word: &str, url: &str) -> Value {
    let picture = format!("<img data-mx-emoticon height=\"32\" src=\"{url}\" alt=\":cat:\" title=\":cat:\">");
    json!({
        "msgtype": "m.text", "body": format!("{word} :cat: :cat:"), "format": "org.matrix.custom.html",
        "formatted_body": format!("{word} {picture} <b>{picture}</b>"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_emoji_come_with_their_pictures_or_by_name() {
    let switch = Switch::default();
    let two = Two::with_files(switch.faults()).await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    let url = two.a.files().files.keep(PNG);
    let first = a.send(&at_a, "a1", "m.room.message", waving("hello", &url));
    let seen = shown(&two.b, &at_b, "hello :cat: :cat:").await;
    let html = seen["formatted_body"].as_str().unwrap();
    let there = html.split("src=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(two.b.files().files.of(there), PNG);
    let picture = format!("<img data-mx-emoticon=\"\" src=\"{there}\" alt=\":cat:\" title=\":cat:\" height=\"32\">");
    assert_eq!(html, format!("hello {picture} <b>{picture}</b>"), "one picture, twice");
    assert_eq!(two.a.files().assets().len(), 1);
    // What cannot be had, and what is no picture, is its name; nobody waits for it.
    let other = two.a.files().files.keep(b"no picture");
    a.send(&at_a, "a1", "m.room.message", waving("again", &other));
    let seen = shown(&two.b, &at_b, "again :cat: :cat:").await;
    assert_eq!(seen["formatted_body"], "again :cat: <b>:cat:</b>");
    let told = || a.notices(&at_a).iter().filter(|text| text.contains("custom emoji")).count();
    until_true("A1 is told", || told() == 1).await;
    switch.set(&[("get b.example", Fault::Before)]);
    a.send(&at_a, "a1", "m.room.message", waving("late", &url));
    let seen = shown(&two.b, &at_b, "late :cat: :cat:").await;
    assert_eq!(seen["formatted_body"], "late :cat: <b>:cat:</b>");
    switch.set(&[]);
    // Deleting the text deletes its picture.
    let before = two.a.files().assets().len();
    a.redact(&at_a, "a1", &first);
    until_true("the picture goes", || two.a.files().assets().len() < before).await;
}

fn quick() -> Telling {
    Telling { gather_reads: Duration::from_millis(20), ..Telling::default() }
}

async fn set(silo: &Silo, telling: Telling) {
    *silo.telling.lock().unwrap() = telling;
    silo.stop().await;
    silo.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_the_homeserver_has_a_message_is_told_to_who_wants_to_know() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    set(&two.a, Telling { send_status: SendStatus::All, ..quick() }).await;
    b.say(&at_b, "b1", "I have a leaf");
    until_bodies(&two.a, &at_a, &["I have a leaf"]).await;
    let reached = |event: &str| {
        let statuses = a.statuses(&at_a, event);
        statuses.iter().filter_map(|status| status.get("delivered_to_users").cloned()).next_back()
    };
    // By itself nothing is told: the room's policy does not speak of it.
    let quiet = a.say(&at_a, "a1", "quiet");
    until_bodies(&two.b, &at_b, &["I have a leaf", "quiet"]).await;
    // What is not known to be taken when the engine stops is sent again when it starts, and taken then.
    two.b.until_all_sent().await;
    set(&two.b, Telling { delivery_reports: Reports::On, ..quick() }).await;
    let said = a.say(&at_a, "a1", "said");
    let ghost = two.a.ghost(&two.b.uri("b1"));
    until_true("it is delivered", || reached(said.as_str()) == Some(json!([ghost]))).await;
    assert_eq!(reached(quiet.as_str()), None);
    assert_eq!(a.receipt(&at_a, &ghost), None, "nobody read it");
    // What the homeserver does not have is not delivered.
    set(&two.b, Telling { delivery_reports: Reports::Off, ..quick() }).await;
    let last = a.say(&at_a, "a1", "last");
    until_bodies(&two.b, &at_b, &["I have a leaf", "quiet", "said", "last"]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(reached(last.as_str()), None);
    until_bodies(&two.a, &at_a, &["I have a leaf", "quiet", "said", "last"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_hear_once_what_they_do_not_see() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let told = || b.notices(&at_b).into_iter().filter(|text| text.contains("not all is shown")).collect::<Vec<_>>();
    let say = |body: &str| {
        let timer = json!({"type": "after_read", "timer": 3_600_000});
        let content = json!({"msgtype": "m.text", "body": body, "com.beeper.disappearing_timer": timer});
        a.send(&at_a, "a1", "m.room.message", content);
    };
    say("one");
    say("two");
    until_true("a notice", || told().len() == 1).await;
    let first = told().remove(0);
    assert!(first.contains("a1") && first.contains("disappear"), "{first}");
    two.b.stop().await;
    two.b.start().await;
    say("three");
    until_bodies(&two.b, &at_b, &["one", "two", "three"]).await;
    // As for those who send: by the setting.
    set(&two.b, Telling { losses: false, ..Telling::default() }).await;
    a.send(
        &at_a,
        "a1",
        "m.room.message",
        json!({
            "msgtype": "m.text", "body": "x", "format": "org.matrix.custom.html",
            "formatted_body": "<a href=\"mimi://c.example/u/carol\">Carol</a>",
        }),
    );
    a.say(&at_a, "a1", "end");
    until_true("all came", || b.bodies(&at_b).contains(&"end".to_owned())).await;
    assert_eq!(told().len(), 1, "{:?}", told());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_again_what_crosses_when_a_new_version_carries_more() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let a = &two.a.homeserver;
    let states = || a.events(&at_a).into_iter().filter(|event| event["type"] == "com.beeper.room_features").count();
    until_true("it is told", || states() == 1).await;
    // What is not known to be done when the engine stops is done again when it starts.
    two.a.until_all_sent().await;
    // Which version told it is noted when it starts the first time.
    for _ in 0..2 {
        two.a.stop().await;
        two.a.start().await;
        until_true("once more", || states() == 2).await;
        two.a.until_all_sent().await;
    }
    a.say(&at_a, "a1", "awake");
    until_true("the room works", || two.b.homeserver.bodies(&at_b).contains(&"awake".to_owned())).await;
    assert_eq!(states(), 2, "the same is not told at each start");
    let table = mimi_gateway::translate::room_features();
    assert_eq!(a.states(&at_a, "com.beeper.room_features").pop().unwrap(), table);
}

/// B, with files, in a room of another provider that has these components.
/// A room that a rogue hosts with these components, and B follows.
pub(crate) async fn hosted(
    more: Vec<(u16, Vec<u8>)>,
) -> (Rogue, Silo, mimi_gateway::ident::RoomUri, ruma::OwnedRoomId) {
    let net = std::sync::Arc::new(Net::default());
    let b = Silo::new("b", &["b1"], &net).await;
    b.stop().await;
    let server = b.homeserver.map.server_name().to_string();
    *b.carry.lock().unwrap() = Some(std::sync::Arc::new(Carry::new(&server, &std::sync::Arc::default(), no_faults())));
    *b.telling.lock().unwrap() = quick();
    b.start().await;
    let mut rogue = Rogue::new("m", &net);
    let (uri, portal) = hosted_by_with(&mut rogue, &b, more.into_iter().collect()).await;
    (rogue, b, uri, portal)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rooms_asset_policy_is_kept_and_its_reasons_are_told() {
    let plain = |essence: &str| MediaType { essence: essence.to_owned(), parameters: Vec::new() };
    let of = |provider: &str, host: &str| ProviderAssetUploadDomains {
        provider: mimi_gateway::ident::ProviderDomain::parse(provider).unwrap(),
        asset_upload_destinations: vec![mimi_gateway::ident::ProviderDomain::parse(host).unwrap()],
    };
    let policy = AssetPolicy {
        asset_upload_location: AssetUploadLocation::LocalProvider,
        upload_domains: vec![of("b.example", "b.example"), of("m.example", "files.m.example")],
        download_privacy: DownloadPrivacy {
            allowed_download_types: vec![],
            forbidden_download_types: vec![],
            default_download_type: DownloadPrivacyType::HubProxy,
        },
        max_image: 100,
        max_audio: 100,
        max_video: 100,
        max_attachment: 5,
        forbidden_media_types: vec![plain("image/tiff")],
        permitted_media_types: None,
    };
    let (mut rogue, b, uri, portal) = hosted(vec![(component::ASSET_POLICY, policy.encode().unwrap())]).await;
    let send = |msgtype: &str, name: &str, media_type: &str, size: usize| {
        let url = b.files().files.keep(&vec![7; size]);
        let info = json!({"mimetype": media_type, "size": size});
        let content = json!({"msgtype": msgtype, "body": name, "filename": name, "url": url, "info": info});
        b.homeserver.send(&portal, "b1", "m.room.message", content);
    };
    let told = |part: &str| b.homeserver.notices(&portal).iter().any(|text| text.contains(part));
    send("m.image", "scan.tiff", "image/tiff", 10);
    until_true("the type", || told("scan.tiff (picture, 10 bytes): the room takes no files of type image/tiff")).await;
    send("m.image", "cat.png", "image/png", 101);
    until_true("the size", || told("cat.png (picture, 101 bytes): it is larger than 100 bytes")).await;
    send("m.file", "notes", "text/plain", 6);
    until_true("the size of that kind", || told("notes (file, 6 bytes): it is larger than 5 bytes")).await;
    assert_eq!(b.files().assets().len(), 0, "nothing was stored for it");
    send("m.image", "dog.png", "image/png", 100);
    until_true("one that is allowed", || b.files().assets().len() == 1).await;
    // What others say lies elsewhere than the room wants is not fetched.
    let m1 = rogue.uri("m1");
    let external = ExternalPart {
        content_type: "image/png".to_owned(),
        url: "https://elsewhere.example/assets/x".to_owned(),
        filename: "bait.png".to_owned(),
        ..ExternalPart::default()
    };
    let body = NestedPart {
        disposition: Disposition::Render,
        language: String::new(),
        body: Body::External(Box::new(external)),
    };
    let (words, _) = MimiContent::new([3; 16], &m1, &uri, body).encode_with_id(&m1, &uri).unwrap();
    let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
    let content = FanoutContent::Application { message: MlsMessage::decode(&sealed).unwrap(), frank: None };
    notify(&rogue, &b, &uri, content).await.unwrap();
    let note = "[bait.png (picture) could not be fetched: the room takes no files that lie at elsewhere.example]";
    until_true("a note", || told(note)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rooms_policy_requires_or_forbids_of_reports_is_done() {
    for (wanted, reports) in [(Optionality::Required, true), (Optionality::Forbidden, false)] {
        let policy = StatusNotificationPolicy { delivery_notifications: wanted, read_receipts: Optionality::Optional };
        let (mut rogue, b, uri, portal) =
            hosted(vec![(component::STATUS_NOTIFICATION_POLICY, policy.encode().unwrap())]).await;
        let m1 = rogue.uri("m1");
        let part = NestedPart::text("text/plain", "hello");
        let (words, _) = MimiContent::new([3; 16], &m1, &uri, part).encode_with_id(&m1, &uri).unwrap();
        let sealed = rogue.member.as_mut().unwrap().seal(&m1, &words, &SafeAad::default()).unwrap();
        let content = FanoutContent::Application { message: MlsMessage::decode(&sealed).unwrap(), frank: None };
        notify(&rogue, &b, &uri, content).await.unwrap();
        until_bodies(&b, &portal, &["hello"]).await;
        let calls = || rogue.net.calls(&rogue.domain, mimi_gateway::engine::ports::Endpoint::SubmitMessage).len();
        if reports {
            until_true("a report", || calls() == 1).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(calls(), usize::from(reports), "{wanted:?}");
    }
}

fn avatar(silo: &Silo, room: &RoomId) -> Option<Value> {
    silo.homeserver.states(room, "m.room.avatar").pop()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_of_a_room_is_that_of_the_other_room() {
    let switch = Switch::default();
    let two = Two::with_files(switch.faults()).await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    let picture = |silo: &Silo, room: &RoomId| {
        let url = avatar(silo, room)?["url"].as_str()?.to_owned();
        Some(silo.files().files.of(&url))
    };
    let times = |silo: &Silo, room: &RoomId| {
        silo.homeserver.events(room).iter().filter(|event| event["type"] == "m.room.avatar").count()
    };
    a.set(&at_a, "a1", "m.room.avatar", json!({"url": two.a.files().files.keep(PNG)}));
    until_true("B has it", || picture(&two.b, &at_b).as_deref() == Some(PNG)).await;
    // A follower that may: a moderator. Their picture comes by its own asset server, which is away at first.
    level(&two.a, &at_a, "a1", &two.a.ghost(&two.b.uri("b1")), 50);
    let own = || b.states(&at_b, "m.room.power_levels").pop().unwrap()["users"]["@b1:b.test"].clone();
    until_true("B1's level", || own() == 50).await;
    switch.set(&[("get a.example", Fault::Before)]);
    let other = [PNG, b"and a dog"].concat();
    b.set(&at_b, "b1", "m.room.avatar", json!({"url": two.b.files().files.keep(&other)}));
    // Nobody waits for it, and a crash does not lose it.
    b.say(&at_b, "b1", "a new picture");
    until_bodies(&two.a, &at_a, &["a new picture"]).await;
    assert_eq!(picture(&two.a, &at_a).as_deref(), Some(PNG));
    two.a.crash().await;
    two.a.start().await;
    switch.set(&[]);
    until_true("A has it", || picture(&two.a, &at_a) == Some(other.clone())).await;
    // Taken away, and what is no picture.
    a.set(&at_a, "a1", "m.room.avatar", json!({}));
    until_true("B has none", || avatar(&two.b, &at_b) == Some(json!({}))).await;
    a.set(&at_a, "a1", "m.room.avatar", json!({"url": two.a.files().files.keep(b"<svg onload=x>")}));
    until_true("A1 is told", || notice(&two.a, &at_a, "it is no picture of a known kind")).await;
    a.say(&at_a, "a1", "end");
    until_bodies(&two.b, &at_b, &["a new picture", "end"]).await;
    assert_eq!((times(&two.a, &at_a), times(&two.b, &at_b)), (4, 3), "each was written once");
}

fn notice(silo: &Silo, room: &RoomId, part: &str) -> bool {
    silo.homeserver.notices(room).iter().any(|text| text.contains(part))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_the_room_does_not_allow_is_put_back() {
    let two = Two::with_files(no_faults()).await;
    let (at_a, at_b, _) = two.room().await;
    two.a.homeserver.set(&at_a, "a1", "m.room.avatar", json!({"url": two.a.files().files.keep(PNG)}));
    let shown = || {
        let url = avatar(&two.b, &at_b)?["url"].as_str()?.to_owned();
        Some(two.b.files().files.of(&url))
    };
    until_true("B has it", || shown().as_deref() == Some(PNG)).await;
    let other = two.b.files().files.keep(&[PNG, b"mine"].concat());
    two.b.homeserver.set(&at_b, "b1", "m.room.avatar", json!({"url": other}));
    until_true("an explanation", || notice(&two.b, &at_b, "changed the picture of this room")).await;
    until_true("it is put back", || shown().as_deref() == Some(PNG)).await;
    assert_eq!(two.b.files().assets().len(), 0, "what nobody is to see is not published");
    // The one that stands there stays, also over a restart; it goes with the next one, or with none.
    two.a.stop().await;
    two.a.start().await;
    let assets = || two.a.files().assets();
    let first = assets();
    assert_eq!(first.len(), 1);
    let next = [PNG, b"next"].concat();
    two.a.homeserver.set(&at_a, "a1", "m.room.avatar", json!({"url": two.a.files().files.keep(&next)}));
    until_true("B has the next one", || shown().as_deref() == Some(&next[..])).await;
    until_true("the first one is deleted", || assets().len() == 1 && assets() != first).await;
    two.a.homeserver.set(&at_a, "a1", "m.room.avatar", json!({}));
    until_true("none is left", || assets().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_does_not_come_gives_way_to_the_next_one() {
    let switch = Switch::default();
    let two = Two::with_files(switch.faults()).await;
    let (at_a, at_b, _) = two.room().await;
    let set = |url: &str| two.a.homeserver.set(&at_a, "a1", "m.room.avatar", json!({ "url": url }));
    let shown = || {
        let url = avatar(&two.b, &at_b)?["url"].as_str()?.to_owned();
        Some(two.b.files().files.of(&url))
    };
    let moment = || tokio::time::sleep(Duration::from_millis(300));
    // The homeserver cannot get the first one.
    let dead = two.a.files().files.keep(PNG);
    let call = format!("download {dead}");
    switch.set(&[(call.as_str(), Fault::Before)]);
    set(&dead);
    moment().await;
    let second = [PNG, b"two"].concat();
    set(&two.a.files().files.keep(&second));
    until_true("the second one", || shown() == Some(second.clone())).await;
    // Of those that B cannot get for a while only the last one is shown.
    switch.set(&[("get b.example", Fault::Before)]);
    let third = two.a.files().files.keep(&[PNG, b"three"].concat());
    let fourth = [PNG, b"four"].concat();
    set(&third);
    moment().await;
    set(&two.a.files().files.keep(&fourth));
    moment().await;
    // The dead one is none, and those that were replaced are gone.
    until_true("one asset is left", || two.a.files().assets().len() == 1).await;
    switch.set(&[]);
    until_true("the fourth one", || shown() == Some(fourth.clone())).await;
    moment().await;
    let events = two.b.homeserver.events(&at_b);
    assert_eq!(events.iter().filter(|event| event["type"] == "m.room.avatar").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_types_that_the_operator_denies_do_not_cross() {
    let two = Two::with_files(no_faults()).await;
    let (at_a, at_b, _) = two.room().await;
    let (a, b) = (&two.a.homeserver, &two.b.homeserver);
    // A moderator, who may set pictures.
    level(&two.a, &at_a, "a1", &two.a.ghost(&two.b.uri("b1")), 50);
    let own = || b.states(&at_b, "m.room.power_levels").pop().unwrap()["users"]["@b1:b.test"].clone();
    until_true("B1's level", || own() == 50).await;
    let denying = Envelope { deny_media_types: vec![Pattern::new("image/*")], ..Envelope::default() };
    *two.b.envelope.lock().unwrap() = denying;
    two.b.stop().await;
    two.b.start().await;
    let why = "the operator of this server lets no files of type image/png through";
    let count = |part: &str| b.notices(&at_b).iter().filter(|text| text.contains(part) && text.contains(why)).count();
    a.set(&at_a, "a1", "m.room.avatar", json!({"url": two.a.files().files.keep(PNG)}));
    until_true("inwards", || count("I could not change it here") == 1).await;
    assert_eq!(avatar(&two.b, &at_b), None);
    b.set(&at_b, "b1", "m.room.avatar", json!({"url": two.b.files().files.keep(PNG)}));
    until_true("outwards", || count("is not shown to the MIMI users") == 1).await;
    // Nor those in a text: of these nobody says what they are.
    b.send(&at_b, "b1", "m.room.message", waving("hello", &two.b.files().files.keep(PNG)));
    shown(&two.a, &at_a, "hello :cat: :cat:").await;
    until_true("nothing of it is kept for others", || two.b.files().assets().is_empty()).await;
}
