//! What the state of a Matrix room says that matters for mirroring it.

use ruma::OwnedRoomId;

use super::{core::Engine, mail::NewRoom, names::GatewayNames, ports::Actor, tables::MemberFace};
use crate::{
    ident::UserUri,
    policy,
    room::{self, Names},
};

/// So many bans of our own users from before a room is mirrored are taken over into the MIMI room, whose list of participants each
/// client has; the homeserver holds the others, whoever asks them in.
pub(super) const MAX_BANS: usize = 200;

/// What the state of a Matrix room says that matters for mirroring it.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not depend on each other")]
pub(super) struct RoomFacts {
    pub(super) name: String,
    pub(super) topic: String,
    /// Power levels, if there are any, and who stands above them.
    pub(super) powers: Option<serde_json::Value>,
    pub(super) creators: std::collections::BTreeSet<String>,
    /// Who made it.
    pub(super) first: Option<String>,
    pub(super) other_bridge: Option<String>,
    pub(super) encrypted: bool,
    /// The one room whose members may come in by themselves.
    pub(super) lets_in: Option<OwnedRoomId>,
    /// Whether it is a space.
    pub(super) is_space: bool,
    pub(super) missing: Vec<&'static str>,
    pub(super) may: bool,
    /// Users who are banned, remote ones and our own.
    pub(super) banned: Vec<UserUri>,
    /// So many bans of our own are beyond those.
    pub(super) bans_left: usize,
    /// Whether anybody may come in.
    pub(super) public: bool,
    /// What it says of its messages, as components.
    pub(super) lasting: std::collections::BTreeMap<u16, Vec<u8>>,
    /// What users of ours who are in it are called there.
    pub(super) faces: Vec<(ruma::OwnedUserId, MemberFace)>,
}

pub(super) fn facts(engine: &Engine, state: &[Box<serde_json::value::RawValue>], sender: &ruma::UserId) -> RoomFacts {
    let mut facts = RoomFacts::default();
    let mut powers = None;
    let mut creators = std::collections::BTreeSet::new();
    let mut first = None;
    let mut banned = Vec::new();
    for raw in state {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(raw.get()) else { continue };
        let content = event.get("content").cloned().unwrap_or_default();
        let event_type = event.get("type").and_then(serde_json::Value::as_str).unwrap_or_default();
        let own = event.get("state_key").and_then(serde_json::Value::as_str) == Some("");
        if let Some((component, Some(bytes))) = policy::lasting(event_type, &content).filter(|_| own) {
            facts.lasting.insert(component, bytes);
        }
        let text = |key: &str| content.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        match event_type {
            "m.room.name" => facts.name = text("name"),
            "m.room.topic" => facts.topic = text("topic"),
            "m.room.join_rules" => {
                (facts.lets_in, facts.public) = (room::space_of(&content), room::is_public(&content));
            }
            "m.room.encryption" => facts.encrypted = true,
            "m.bridge" => {
                let protocol = content.pointer("/protocol/id").and_then(serde_json::Value::as_str);
                let bot = content.get("bridgebot").and_then(serde_json::Value::as_str);
                if protocol == Some("mimi") && bot != Some(engine.0.names.bot.as_str()) {
                    facts.other_bridge = Some(bot.unwrap_or("another bridge").to_owned());
                }
            }
            "m.room.power_levels" => powers = Some(content),
            "m.room.member" if text("membership") == "ban" => {
                let target = event.get("state_key").and_then(serde_json::Value::as_str);
                banned.extend(target.and_then(|key| ruma::UserId::parse(key).ok()));
            }
            "m.room.member" if text("membership") == "join" => {
                let member = event.get("state_key").and_then(serde_json::Value::as_str);
                let member = member.and_then(|key| ruma::UserId::parse(key).ok());
                let member = member.filter(|member| engine.0.names.uri(member).is_some());
                facts.faces.extend(member.map(|member| {
                    let face = super::faces::face_in(&member, &content);
                    (member, face)
                }));
            }
            "m.room.create" => {
                first = event.get("sender").and_then(serde_json::Value::as_str).map(str::to_owned);
                facts.is_space = room::is_space(&content);
                creators = room::creators(first.as_deref().unwrap_or_default(), &content);
            }
            _ => {}
        }
    }
    let levels = policy::Powers::read(powers.as_ref(), creators.clone(), first.as_deref());
    (facts.banned, facts.bans_left) = who_is_banned(&engine.0.names, &banned);
    facts.missing = levels.missing(engine.0.names.bot.as_str());
    facts.may = levels.may_set(sender.as_str(), "");
    (facts.powers, facts.creators, facts.first) = (powers, creators, first);
    facts
}

/// Those of the banned whom MIMI knows: the users behind our ghosts, then those of this homeserver, then those of others, who
/// are this provider's, too. Of users of ours so many at most ([`MAX_BANS`]), and how many
/// there are beyond.
fn who_is_banned(names: &GatewayNames, banned: &[ruma::OwnedUserId]) -> (Vec<UserUri>, usize) {
    let mut found: Vec<UserUri> = banned.iter().filter_map(|user| names.ghost_uri(user)).collect();
    let ours = |here: bool| {
        let local = move |user: &&ruma::OwnedUserId| (user.server_name() == names.map.server_name()) == here;
        banned.iter().filter(|user| !names.is_bridged(user)).filter(local).filter_map(|user| names.uri(user))
    };
    let mut ours = ours(true).chain(ours(false));
    found.extend(ours.by_ref().take(MAX_BANS));
    (found, ours.count())
}

impl RoomFacts {
    /// The MIMI room that is made of it. `since`: the newest event before.
    pub(super) fn into_room(
        self,
        matrix: OwnedRoomId,
        creator: UserUri,
        present: Vec<UserUri>,
        since: Option<String>,
    ) -> NewRoom {
        NewRoom {
            matrix,
            creator,
            present,
            name: self.name,
            topic: self.topic,
            powers: self.powers,
            creators: self.creators,
            preset: None,
            direct_with: None,
            speaker: Actor::Bot,
            banned: self.banned,
            public: self.public,
            lasting: self.lasting,
            faces: self.faces,
            found: None,
            space: self.lets_in,
            is_space: self.is_space,
            since,
            counts: true,
        }
    }
}
