//! Joining codes (draft-ietf-mimi-protocol-06 section 5.6): who has one comes in by an external commit that lists them.

use std::collections::BTreeMap;

use mimi_gateway::{
    mls::{AppDataChange, CIPHER_SUITE, Change, DEVICE, ExternalJoin, Member, labels},
    policy::{self, component, role},
    wire::{
        Credential, GroupInfoRatchetTree, GroupInfoRequest, GroupInfoRequestTbs, GroupInfoResponse, RatchetTreeOption,
        UpdateOutcome, Wire as _,
    },
};
use ruma::OwnedRoomId;

use crate::{
    attacks::{Rogue, bundle, now, path, refused, yes},
    flow::until_room,
    silo::{Silo, Two, bridge, until, until_bodies, until_true},
};
use mimi_gateway::{engine::ports::Endpoint, ident::RoomUri, ident::UserUri, policy::RoomState};

/// A1 asks for a code; what it is.
async fn code(a: &Silo, at_a: &OwnedRoomId, words: &str) -> String {
    code_of(a, at_a, "a1", words).await
}

/// The same for somebody else.
async fn code_of(a: &Silo, at_a: &OwnedRoomId, who: &str, words: &str) -> String {
    let before = a.homeserver.notices(at_a).len();
    a.homeserver.say(at_a, who, words);
    until("a code", || {
        let notices = a.homeserver.notices(at_a);
        let told = notices.iter().skip(before).find(|text| text.contains("Whoever has this code"))?;
        let code = told.lines().next()?.rsplit(' ').next()?.to_owned();
        assert_eq!(code.len(), 26);
        Some(code)
    })
    .await
}

/// A chat of somebody with the bot.
async fn chat(silo: &Silo, who: &str) -> OwnedRoomId {
    let chat = silo.homeserver.create_room(who, "");
    silo.homeserver.invite(&chat, who, silo.homeserver.bot.as_str(), true);
    until_true("help", || !silo.homeserver.notices(&chat).is_empty()).await;
    chat
}

async fn answer(silo: &Silo, chat: &OwnedRoomId, who: &str, words: &str) -> String {
    let before = silo.homeserver.notices(chat).len();
    silo.homeserver.say(chat, who, words);
    until("an answer", || silo.homeserver.notices(chat).get(before).cloned()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_code_comes_in() {
    let two = Two::new().await;
    let (at_a, uri) = two.bridge().await;
    let chat_of_b1 = chat(&two.b, "b1").await;
    let told = answer(&two.b, &chat_of_b1, "b1", &format!("join {uri} wrong")).await;
    assert!(told.contains("does not let you in"), "{told}");
    let code = code(&two.a, &at_a, "!mimi code 2").await;
    let told = answer(&two.b, &chat_of_b1, "b1", &format!("join {uri} {code}x")).await;
    assert!(told.contains("does not let you in"), "{told}");
    let told = answer(&two.b, &chat_of_b1, "b1", &format!("join {uri} {code}")).await;
    assert!(told.contains("asked"), "{told}");
    let portal = until("an invitation", || two.b.homeserver.invitations("b1").first().cloned()).await;
    two.b.homeserver.join(&portal, "b1");
    until_room(&two.b, &uri, "active").await;
    two.b.homeserver.say(&portal, "b1", "I had a code");
    until_bodies(&two.a, &at_a, &["I had a code"]).await;
    two.a.homeserver.say(&at_a, "a1", "welcome");
    until_bodies(&two.b, &portal, &["I had a code", "welcome"]).await;
    // The code itself went nowhere but to A, and A does not keep it.
    assert!(!two.b.homeserver.bodies(&portal).iter().any(|text| text.contains(&code)));
    // None counts any more.
    two.a.homeserver.say(&at_a, "a1", "!mimi code off");
    until_true("off", || two.a.homeserver.notices(&at_a).iter().any(|text| text.contains("No joining code"))).await;
    let c = Silo::new("c", &["c1"], &two.a.net).await;
    let chat_of_c1 = chat(&c, "c1").await;
    let told = answer(&c, &chat_of_c1, "c1", &format!("join {uri} {code}")).await;
    assert!(told.contains("does not let you in"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_make_codes() {
    let two = Two::new().await;
    let (at_a, at_b, _) = two.room().await;
    let says = |silo: &Silo, room: &OwnedRoomId, text: &'static str| {
        let notices = silo.homeserver.notices(room);
        notices.iter().any(|notice| notice.contains(text))
    };
    two.b.homeserver.say(&at_b, "b1", "!mimi code");
    until_true("only the host", || says(&two.b, &at_b, "hosted here")).await;
    two.a.homeserver.invite(&at_a, "a1", &two.a.homeserver.user("a2"), false);
    two.a.homeserver.join(&at_a, "a2");
    two.a.homeserver.say(&at_a, "a2", "here");
    until_bodies(&two.b, &at_b, &["here"]).await;
    two.a.homeserver.say(&at_a, "a2", "!mimi code");
    until_true("the first is the administrator's", || says(&two.a, &at_a, "who mirrored it")).await;
    two.a.homeserver.say(&at_a, "a1", "!mimi code soon");
    until_true("how", || says(&two.a, &at_a, "code HOURS")).await;
    code(&two.a, &at_a, "!mimi code").await;
    let before = two.a.homeserver.notices(&at_a).len();
    two.a.homeserver.say(&at_a, "a2", "!mimi code");
    until_true("then members may, too", || {
        two.a.homeserver.notices(&at_a).iter().skip(before).any(|text| text.contains("Whoever has this code"))
    })
    .await;
}

/// A GroupInfo for one who shows this code.
async fn info(
    rogue: &Rogue,
    a: &Silo,
    room: &RoomUri,
    user: &UserUri,
    code: Option<&str>,
) -> Option<GroupInfoRatchetTree> {
    let (key, hpke) = (labels::SigningKey::generate().unwrap(), labels::generate_hpke().unwrap());
    let identity = user.client(DEVICE).unwrap().as_str().as_bytes().to_vec();
    let tbs = GroupInfoRequestTbs {
        cipher_suite: CIPHER_SUITE,
        requesting_signature_key: key.public().to_vec(),
        requesting_credential: Credential::Basic { identity },
        group_info_public_key: hpke.public.clone(),
        joining_code: code.map(|code| code.as_bytes().to_vec()),
    };
    let signature = labels::sign_with_label(&key, GroupInfoRequestTbs::LABEL, &tbs.encode()).unwrap();
    let body = GroupInfoRequest::new(tbs, signature).encode();
    let answer = rogue.send(a, Endpoint::GroupInfo, &path(room), &body).await.unwrap();
    let GroupInfoResponse::Success(signed) = GroupInfoResponse::decode(&answer).unwrap() else { return None };
    let sealed = labels::Sealed {
        kem_output: signed.tbs().encrypted.kem_output.clone(),
        ciphertext: signed.tbs().encrypted.ciphertext.clone(),
    };
    let label = GroupInfoRatchetTree::LABEL;
    let plain = labels::hpke_open_with_label(CIPHER_SUITE, &hpke.private, label, room.as_str().as_bytes(), &sealed);
    Some(GroupInfoRatchetTree::decode(&plain.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_info_is_no_code() {
    let two = Two::new().await;
    let (at_a, uri) = bridge(&two.a, "a1").await;
    let rogue = Rogue::new("m", &two.a.net);
    let (m1, m2) = (rogue.uri("m1"), rogue.uri("m2"));
    assert!(info(&rogue, &two.a, &uri, &m1, None).await.is_none());
    assert!(info(&rogue, &two.a, &uri, &m1, Some("x")).await.is_none());
    let code = code(&two.a, &at_a, "!mimi code").await;
    let shown = info(&rogue, &two.a, &uri, &m1, Some(&code)).await.unwrap();
    let RatchetTreeOption::Full(tree) = &shown.ratchet_tree else { panic!("no tree") };
    let join = |user: &UserUri, role: u32| {
        let update = policy::update_add(&empty(&uri), &[(user.clone(), role)]).unwrap();
        let change = Change {
            app_data: vec![AppDataChange { component: component::PARTICIPANT_LIST, update }],
            ..Change::default()
        };
        let join = ExternalJoin {
            group_info: shown.group_info.as_bytes(),
            ratchet_tree: tree.as_bytes(),
            pending_proposals: &[],
            user,
            change: &change,
            now: now(),
        };
        let components = mimi_gateway::mls::components_outside(&join).unwrap();
        let mut state = RoomState::from_components(&components).unwrap();
        state.participants.push((user.clone(), role));
        let list = state.to_components().unwrap()[&component::PARTICIPANT_LIST].clone();
        Member::join_external(&join, &mut yes(BTreeMap::from([(component::PARTICIPANT_LIST, list)]))).unwrap().1
    };
    // The door is shut, also for who showed the code before.
    two.a.homeserver.say(&at_a, "a1", "!mimi code off");
    until_true("off", || two.a.homeserver.notices(&at_a).iter().any(|text| text.contains("No joining code"))).await;
    let reply = rogue.update(&two.a, &uri, &bundle(&join(&m1, role::MEMBER))).await;
    assert!(refused(&reply) && reply.description.contains("joining code"), "{reply:?}");
    let code = self::code(&two.a, &at_a, "!mimi code").await;
    assert!(info(&rogue, &two.a, &uri, &m1, Some(&code)).await.is_some());
    // M2 showed none; M1 comes as a member and as nothing more.
    let before = two.a.room(&uri).await.unwrap();
    let reply = rogue.update(&two.a, &uri, &bundle(&join(&m2, role::MEMBER))).await;
    assert!(refused(&reply) && reply.description.contains("joining code"), "{reply:?}");
    let reply = rogue.update(&two.a, &uri, &bundle(&join(&m1, role::ADMIN))).await;
    assert!(refused(&reply), "{reply:?}");
    assert_eq!(two.a.room(&uri).await.unwrap(), before);
    let reply = rogue.update(&two.a, &uri, &bundle(&join(&m1, role::MEMBER))).await;
    assert!(matches!(reply.outcome, UpdateOutcome::Success { .. }), "{reply:?}");
    let ghost = two.a.ghost(&m1);
    until_true("its ghost comes", || two.a.homeserver.member(&at_a, &ghost).as_deref() == Some("join")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_ends_with_its_makers_right_to_let_people_in() {
    let two = Two::new().await;
    let (at_a, at_b, uri) = two.room().await;
    let rogue = Rogue::new("m", &two.a.net);
    code(&two.a, &at_a, "!mimi code").await;
    two.a.homeserver.invite(&at_a, "a1", &two.a.homeserver.user("a2"), false);
    two.a.homeserver.join(&at_a, "a2");
    two.a.homeserver.say(&at_a, "a2", "here");
    until_bodies(&two.b, &at_b, &["here"]).await;
    let code = code_of(&two.a, &at_a, "a2", "!mimi code").await;
    let m1 = rogue.uri("m1");
    assert!(info(&rogue, &two.a, &uri, &m1, Some(&code)).await.is_some());
    // Only moderators invite from now on.
    let mut levels = two.a.homeserver.states(&at_a, "m.room.power_levels").pop().unwrap();
    levels["invite"] = serde_json::json!(50);
    two.a.homeserver.set(&at_a, "a1", "m.room.power_levels", levels);
    let m2 = rogue.uri("m2");
    let since = std::time::Instant::now();
    while info(&rogue, &two.a, &uri, &m2, Some(&code)).await.is_some() {
        assert!(since.elapsed() < crate::silo::PATIENCE, "the code still counts");
    }
}

fn empty(uri: &RoomUri) -> RoomState {
    policy::initial(uri.clone(), "", "", vec![], policy::Preset::default())
}
