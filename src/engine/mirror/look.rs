//! What a Matrix room's state says about mirroring it: what forbids it, what it needs, and what it will lose.

use std::collections::BTreeSet;

use ruma::{OwnedUserId, UserId};
use serde_json::{Value, value::RawValue};

use super::super::{
    core::Engine,
    facts::{RoomFacts, facts},
    names::GatewayNames,
};
use super::finding::{Finding, Weight};
use crate::{
    ident::UserUri,
    policy::{Powers, component},
    room::Names as _,
};

/// Of a room's name so many characters are kept.
const NAME: usize = 60;
/// A room of so many people that has no name is taken for a direct chat.
const TWO: usize = 2;

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
                "restricted" => found.push(Finding::Restricted),
                "knock" => found.push(Finding::Knock),
                "knock_restricted" => found.extend([Finding::Restricted, Finding::Knock]),
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
    if seen.facts.lasting.contains_key(&component::MESSAGE_EXPIRATION_POLICY) {
        found.push(Finding::Retention);
    }
    found.extend(seen.facts.other_bridge.clone().map(Finding::OtherGateway));
    if !bot_is_in {
        found.push(Finding::BotOutside);
    } else if !seen.facts.missing.is_empty() {
        found.push(Finding::LacksPower(seen.facts.missing.iter().map(|what| (*what).to_owned()).collect()));
    }
    let powers = Powers::read(seen.facts.powers.as_ref(), seen.facts.creators.clone(), seen.facts.first.as_deref());
    if seen.facts.bans_left > 0 {
        found.push(Finding::Bans(seen.facts.bans_left as u64));
    }
    let without_role = powers.without_role(joined.iter().map(|user| powers.level(user.as_str())));
    if without_role > 0 {
        found.push(Finding::Levels(without_role as u64));
    }
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
    seen.present = names.participants(joined.iter().map(|user| &**user));
    if let Some(most) = engine.0.settings.envelope.exceeded_by(seen.present.len()) {
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
