//! What a Matrix room's state says about mirroring it: what forbids it, what it needs, and what it will lose.

use std::{collections::BTreeSet, fmt};

use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::super::{
    core::Engine,
    facts::{RoomFacts, facts},
    names::GatewayNames,
};
use crate::{ident::UserUri, policy::Powers, room::Names as _};

/// Of a room's name so many characters are kept.
const NAME: usize = 60;
/// A room of so many people that has no name is taken for a direct chat.
const TWO: usize = 2;

/// What a finding means for mirroring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The room cannot be mirrored.
    Forbids,
    /// It cannot be mirrored before somebody sees to this.
    Needs,
    /// The job itself sees to this first.
    Does,
    /// It can be, and this is other or less in the MIMI room.
    Loses,
}

/// One thing that whoever mirrors a room should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Finding {
    /// The homeserver knows no such room.
    NoSuchRoom,
    /// It is a space.
    Space,
    /// Somebody talks with the bot there, or had a direct chat that is over.
    BotsOwn,
    /// Reports of abuse appear there.
    AdminRoom,
    /// Two people and no name, and nobody named it by its id.
    LooksDirect,
    /// It is encrypted.
    Encrypted,
    /// Another gateway to MIMI says that it mirrors it: its bot.
    OtherGateway(String),
    /// It was replaced by another room.
    Replaced(String),
    /// Nobody of this homeserver is in it.
    NobodyHere,
    /// The bot is not in it.
    BotOutside,
    /// The bot may not do this in it.
    LacksPower(Vec<String>),
    /// Of those who could give the bot power none is of this homeserver.
    NobodyGivesPower,
    /// The homeserver will bring the bot in, and give it power.
    BringsBot,
    /// The homeserver will give the bot power.
    GivesPower,
    /// Everybody may read it without coming in.
    WorldReadable,
    /// Everybody may come in.
    Public,
    /// Members of these rooms may come in.
    Restricted,
    /// Guests may come in.
    Guests,
    /// So many members of other homeservers are in it.
    Federated(u64),
    /// It has so many members that only those who act are listed.
    Large(u64),
    /// It is bridged to another network, too.
    Bridged(String),
    /// It has so many members, and the operator allows a MIMI room so many participants.
    TooMany(u64, u32),
}

impl Finding {
    /// What it means for mirroring.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match self {
            Self::NoSuchRoom
            | Self::Space
            | Self::BotsOwn
            | Self::AdminRoom
            | Self::LooksDirect
            | Self::Encrypted
            | Self::OtherGateway(_)
            | Self::Replaced(_)
            | Self::TooMany(..)
            | Self::NobodyHere => Weight::Forbids,
            Self::BotOutside | Self::LacksPower(_) | Self::NobodyGivesPower => Weight::Needs,
            Self::BringsBot | Self::GivesPower => Weight::Does,
            Self::WorldReadable
            | Self::Public
            | Self::Restricted
            | Self::Guests
            | Self::Federated(_)
            | Self::Large(_)
            | Self::Bridged(_) => Weight::Loses,
        }
    }

    /// Its name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchRoom => "no_such_room",
            Self::Space => "space",
            Self::BotsOwn => "bots_own",
            Self::AdminRoom => "admin_room",
            Self::LooksDirect => "looks_direct",
            Self::Encrypted => "encrypted",
            Self::OtherGateway(_) => "other_gateway",
            Self::Replaced(_) => "replaced",
            Self::NobodyHere => "nobody_here",
            Self::BotOutside => "bot_outside",
            Self::LacksPower(_) => "lacks_power",
            Self::NobodyGivesPower => "nobody_gives_power",
            Self::BringsBot => "brings_bot",
            Self::GivesPower => "gives_power",
            Self::WorldReadable => "world_readable",
            Self::Public => "public",
            Self::Restricted => "restricted",
            Self::Guests => "guests",
            Self::Federated(_) => "federated",
            Self::Large(_) => "large",
            Self::Bridged(_) => "bridged",
            Self::TooMany(..) => "too_many",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchRoom => f.write_str("there is no such room, or nobody of this homeserver is in it"),
            Self::Space => f.write_str("it is a space: mirror the rooms in it (--space), and it with them (--with-space)"),
            Self::BotsOwn => f.write_str("somebody talks with the bot there"),
            Self::AdminRoom => f.write_str("reports of abuse appear there (permissions.admin_room)"),
            Self::LooksDirect => {
                f.write_str("two people and no name: it looks like a direct chat. Name it in a --file to mirror it")
            }
            Self::Encrypted => f.write_str("it is encrypted, and encrypted rooms cannot be mirrored yet"),
            Self::OtherGateway(bot) => {
                write!(f, "{bot} mirrors it to MIMI already; two gateways would double every message")
            }
            Self::Replaced(other) => write!(f, "it was replaced by {other}"),
            Self::NobodyHere => f.write_str("nobody of this homeserver is in it"),
            Self::BotOutside => {
                f.write_str("the bot is not in it: invite it with power level 100, or use --make-admin")
            }
            Self::LacksPower(what) => write!(
                f,
                "the bot lacks the power to {}: give it power level 100, or use --make-admin",
                what.join(", ")
            ),
            Self::NobodyGivesPower => f.write_str(
                "nobody of this homeserver who is in it has that power, so --make-admin cannot give it: somebody who has it has to",
            ),
            Self::BringsBot => f.write_str(
                "with --yes the homeserver invites the bot and gives it power, in the name of somebody in the room who has it",
            ),
            Self::GivesPower => f.write_str(
                "with --yes the homeserver gives the bot power, in the name of somebody in the room who has it",
            ),
            Self::WorldReadable => f.write_str(
                "everybody may read it without coming in; MIMI users read only what is said while they are in",
            ),
            Self::Public => f.write_str("everybody may come in: users of other providers, too, unless envelope.open_rooms = false"),
            Self::Restricted => {
                f.write_str("members of other rooms may come in; MIMI users have to be invited, or need a joining code")
            }
            Self::Guests => f.write_str("guests may come in, and count as users of this homeserver for MIMI users"),
            Self::Federated(count) => {
                write!(f, "{count} members of other homeservers appear as users of this provider when they act")
            }
            Self::Large(count) => write!(f, "{count} members: only those who act are on the participant list"),
            Self::TooMany(count, most) => write!(
                f,
                "{count} members, where {most} participants are the most that envelope.max_participants allows"
            ),
            Self::Bridged(network) => {
                write!(f, "it is bridged to {network}, too: that bridge's users appear as users of this homeserver")
            }
        }
    }
}

/// How a room came into a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// It was found.
    Not,
    /// Somebody named it by its id.
    ById,
    /// As a space that is mirrored with its rooms.
    AsSpace,
}

/// What was seen of a room.
#[derive(Default)]
pub(super) struct Look {
    pub(super) name: String,
    pub(super) members: u64,
    pub(super) version: String,
    pub(super) findings: Vec<Finding>,
    /// Those who are in it and no part of a gateway.
    pub(super) present: Vec<UserUri>,
    /// As whom the MIMI room is made: somebody of this homeserver with the most power.
    pub(super) creator: Option<OwnedUserId>,
    /// Whether that one has all the power that the bot needs, and may give it.
    pub(super) can_give: bool,
    pub(super) facts: RoomFacts,
}

impl Look {
    /// The same of a room of which nothing can be seen.
    pub(super) fn unseen(finding: Finding) -> Self {
        Self { findings: vec![finding], ..Self::default() }
    }

    /// Whether nothing stands in the way.
    pub(super) fn is_fit(&self) -> bool {
        self.findings.iter().all(|finding| matches!(finding.weight(), Weight::Loses | Weight::Does))
    }

    /// Whether nothing stands in the way but what [`Weight::Needs`] names.
    pub(super) fn is_possible(&self) -> bool {
        self.findings.iter().all(|finding| finding.weight() != Weight::Forbids)
    }

    /// The level that the bot has by its name; `None`: that of everybody.
    pub(super) fn level_of(&self, bot: &UserId) -> Option<i64> {
        self.facts.powers.as_ref()?.get("users")?.get(bot.as_str())?.as_i64()
    }

    /// What the bot lacks will be given to it by the homeserver (`--make-admin`), if somebody can: then nothing of that is in the
    /// way. `will`: that is still to come.
    pub(super) fn gives_power(&mut self, will: bool) {
        if self.is_fit() || !self.is_possible() {
            return;
        }
        let lacks = |finding: &Finding| finding.weight() == Weight::Needs;
        if self.can_give && will {
            let outside = self.findings.contains(&Finding::BotOutside);
            self.findings.retain(|finding| !lacks(finding));
            self.findings.push(if outside { Finding::BringsBot } else { Finding::GivesPower });
        } else if !self.can_give {
            self.findings.push(Finding::NobodyGivesPower);
        }
        self.findings.sort();
    }
}

fn text<'a>(content: &'a Value, key: &str) -> &'a str {
    content.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Reads the state of a room.
pub(super) fn look(engine: &Engine, state: &[Box<RawValue>], way: Named) -> Look {
    let names = &engine.0.names;
    let mut joined: Vec<OwnedUserId> = Vec::new();
    let mut seen = Look::default();
    let mut found = Vec::new();
    let mut networks: BTreeSet<String> = BTreeSet::new();
    let mut bot_is_in = false;
    for raw in state {
        let Ok(event) = serde_json::from_str::<Value>(raw.get()) else { continue };
        let key = text(&event, "state_key");
        let nothing = Value::Null;
        let content = event.get("content").unwrap_or(&nothing);
        match text(&event, "type") {
            "m.room.member" if text(content, "membership") == "join" => {
                let Ok(user) = UserId::parse(key) else { continue };
                bot_is_in |= names.is_bot(&user);
                joined.extend(Some(user).filter(|user| !names.is_bridged(user)));
            }
            "m.room.create" => {
                seen.version = match text(content, "room_version") {
                    "" => "1".to_owned(),
                    version => version.chars().take(NAME).collect(),
                };
                if text(content, "type") == "m.space" && way != Named::AsSpace {
                    found.push(Finding::Space);
                }
            }
            "m.room.name" => seen.name = text(content, "name").chars().take(NAME).collect(),
            "m.room.tombstone" => found.push(Finding::Replaced(text(content, "replacement_room").to_owned())),
            "m.room.history_visibility" if text(content, "history_visibility") == "world_readable" => {
                found.push(Finding::WorldReadable);
            }
            "m.room.join_rules" => match text(content, "join_rule") {
                "public" => found.push(Finding::Public),
                "restricted" | "knock_restricted" => found.push(Finding::Restricted),
                _ => {}
            },
            "m.room.guest_access" if text(content, "guest_access") == "can_join" => found.push(Finding::Guests),
            "m.bridge" | "uk.half-shot.bridge" => {
                let protocol = content.get("protocol").unwrap_or(&nothing);
                let id = text(protocol, "id");
                if !id.is_empty() && id != "mimi" {
                    let shown = [text(protocol, "displayname"), id].into_iter().find(|name| !name.is_empty());
                    networks.insert(shown.unwrap_or_default().chars().take(NAME).collect());
                }
            }
            _ => {}
        }
    }
    if !found.contains(&Finding::Public) {
        // Elsewhere a guest has to be invited, as everybody.
        found.retain(|finding| *finding != Finding::Guests);
    }
    found.extend(networks.into_iter().map(Finding::Bridged));
    seen.facts = facts(engine, state, &names.bot());
    if seen.facts.encrypted {
        found.push(Finding::Encrypted);
    }
    found.extend(seen.facts.other_bridge.clone().map(Finding::OtherGateway));
    if !bot_is_in {
        found.push(Finding::BotOutside);
    } else if !seen.facts.missing.is_empty() {
        found.push(Finding::LacksPower(seen.facts.missing.iter().map(|what| (*what).to_owned()).collect()));
    }
    let powers = Powers::read(seen.facts.powers.as_ref(), seen.facts.creators.clone(), seen.facts.first.as_deref());
    seen.creator = best_of_ours(names, &joined, &powers);
    seen.can_give = seen.creator.as_ref().is_some_and(|user| powers.missing(user.as_str()).is_empty());
    if seen.creator.is_none() {
        found.push(Finding::NobodyHere);
    }
    if joined.len() <= TWO && seen.name.is_empty() && way == Named::Not {
        found.push(Finding::LooksDirect);
    }
    let elsewhere = joined.iter().filter(|user| user.server_name() != names.map.server_name()).count();
    if elsewhere > 0 {
        found.push(Finding::Federated(elsewhere as u64));
    }
    if joined.len() > names.list_all_up_to {
        found.push(Finding::Large(joined.len() as u64));
    }
    seen.members = joined.len() as u64;
    seen.present = joined.iter().filter_map(|user| names.uri(user)).collect();
    if let Some(most) = engine.0.settings.envelope.max_participants
        && seen.present.len() as u64 > u64::from(most)
    {
        found.push(Finding::TooMany(seen.present.len() as u64, most));
    }
    found.sort();
    found.dedup();
    seen.findings = found;
    seen
}

/// Of those of this homeserver who are there, the one with the most power; of several the first by name.
fn best_of_ours(names: &GatewayNames, joined: &[OwnedUserId], powers: &Powers) -> Option<OwnedUserId> {
    let ours = joined.iter().filter(|user| user.server_name() == names.map.server_name());
    let mut ours: Vec<&OwnedUserId> = ours.filter(|user| names.uri(user).is_some()).collect();
    ours.sort();
    // The first of those with the most: `max_by_key` would take the last.
    ours.into_iter().rev().max_by_key(|user| powers.level(user.as_str())).cloned()
}
