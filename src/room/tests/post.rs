//! What moves between the providers of the simulated world, and to their homeservers.

use serde_json::json;

use super::{
    fakes::room_uri,
    provider::{Mail, Row, Shown},
    world::World,
};
use crate::{
    ident::UserUri,
    room::{
        About, Effect, GroupInfoAnswer, Input, Names, Phase, Setting,
        effect::{Actor, Endpoint, MatrixAction},
        group::Group,
        step::hash,
    },
    wire::{ConsentAction, ConsentEntry, FanoutContent, FanoutMessage, Wire},
};

impl World {
    /// Sends the first row of a lane; it may be lost before or after it had its effect.
    pub(super) fn send(&mut self, from: usize, to: usize) {
        let before = self.rng.percent(self.loss);
        let after = self.rng.percent(self.loss);
        let lane = self.lanes.get_mut(&(from, to)).unwrap();
        if lane.waiting || before {
            return;
        }
        let Some(row) = lane.rows.front().cloned() else { return };
        let arrived = match row {
            Row::Call { endpoint: endpoint @ (Endpoint::SubmitMessage | Endpoint::Update), body, .. } => {
                lane.waiting = true;
                self.providers[to].inbox.push_back(Mail::Request { from, endpoint, body });
                return;
            }
            Row::Call { endpoint: Endpoint::Notify, body, .. } if self.gives_up(&body) => None,
            Row::Call { endpoint: Endpoint::Notify, body, .. } => {
                let p = &mut self.providers[to];
                let new = p.notified.insert(hash(&body));
                for message in FanoutMessage::decode_all(&body).unwrap().into_iter().filter(|_| new) {
                    p.inbox.push_back(Mail::Input(Input::Fanout(message)));
                }
                None
            }
            Row::Call { body, .. } => {
                let ConsentEntry { action, requester, target, extensions, .. } = ConsentEntry::decode(&body).unwrap();
                let input = match action {
                    ConsentAction::Request => {
                        Input::Asked { requester, target, about: About::read(&extensions.0), standing: false }
                    }
                    ConsentAction::Cancel => Input::AskCancelled { requester, target },
                    other => panic!("{other:?}"),
                };
                self.providers[to].inbox.push_back(Mail::Input(input));
                None
            }
            Row::Grant { requester, target, key_packages } => {
                let input = Input::Granted { requester, target, key_packages };
                self.providers[to].inbox.push_back(Mail::Input(input));
                None
            }
            Row::GroupInfo { user } => {
                let hub = &self.providers[to];
                let listed = self.participants(to).contains(&user) && hub.phase() == Some(&Phase::Active);
                let answer = if listed && hub.group.is_member() {
                    GroupInfoAnswer::Given(hub.group.group_info())
                } else {
                    GroupInfoAnswer::Refused("no participant".to_owned())
                };
                Some(Input::GroupInfo { user, answer })
            }
            Row::Claim { requester, target, answer } => {
                let key_packages = answer.unwrap_or_else(|| self.key_material(to, &requester, &target));
                if let Some(Row::Claim { answer, .. }) = self.lanes.get_mut(&(from, to)).unwrap().rows.front_mut() {
                    *answer = Some(key_packages.clone());
                }
                Some(Input::KeyMaterial { target, key_packages })
            }
        };
        if after {
            return;
        }
        self.lanes.get_mut(&(from, to)).unwrap().rows.pop_front();
        self.providers[from].inbox.extend(arrived.map(Mail::Input));
    }

    /// Whether the hub gives up on a notify; only on what changes the group.
    fn gives_up(&mut self, body: &[u8]) -> bool {
        let message = &FanoutMessage::decode_all(body).unwrap()[0];
        let handshake = matches!(message.content, FanoutContent::Commit { .. } | FanoutContent::Proposal { .. });
        let gives_up = handshake && self.rng.percent(self.given_up);
        self.gave_up |= gives_up;
        gives_up
    }

    /// The hub asks the target's provider, and notes what passes.
    fn key_material(&mut self, hub: usize, requester: &UserUri, target: &UserUri) -> Result<Vec<Vec<u8>>, String> {
        let at = self.at(&target.provider());
        let p = &mut self.providers[at];
        if !p.consents.contains(&(target.clone(), requester.clone())) {
            let (requester, target) = (requester.clone(), target.clone());
            let asked = Input::Asked { requester, target, about: About::default(), standing: false };
            p.inbox.push_back(Mail::Input(asked));
            return Err("no consent".to_owned());
        }
        let (package, reference) = p.group.give_key_package(target);
        let provider = target.provider();
        let passed = Input::KeyPackagesPassed { references: vec![reference], provider };
        self.providers[hub].inbox.push_back(Mail::Input(passed));
        Ok(vec![package])
    }

    /// Carries out the first action at the homeserver.
    pub(super) fn act(&mut self, at: usize) {
        let Some(effect) = self.providers[at].lane.pop_front() else { return };
        let p = &mut self.providers[at];
        match effect {
            Effect::Look { setting, written, .. } => {
                let found = Ok(p.set.get(setting.event_type()).cloned());
                p.inbox.push_back(Mail::Input(Input::Looked { setting, written, found }));
            }
            Effect::Matrix(MatrixAction::SetState { event_type, state_key, content, .. })
                if state_key.is_empty() && Setting::of(&event_type).is_some() =>
            {
                let bot = p.names.bot();
                let level =
                    p.set.get("m.room.power_levels").and_then(|now| now.content["users"][bot.as_str()].as_i64());
                if level.is_some_and(|level| level < 50) {
                    let setting = Setting::of(&event_type).unwrap();
                    let input = Input::NotSet { setting, why: "you lack the power".to_owned() };
                    return p.inbox.push_back(Mail::Input(input));
                }
                self.put(at, &bot, &event_type, serde_json::from_str(&content).unwrap());
            }
            Effect::MakePortal(made) => p.make_portal(made),
            Effect::Show(showing) => {
                let crate::room::Showing { action, message_id, .. } = *showing;
                let MatrixAction::Send { actor: Actor::Ghost(sender), content, txn_id, .. } = action else { panic!() };
                let content: serde_json::Value = serde_json::from_str(&content).unwrap();
                let body = content["body"].as_str().unwrap().to_owned();
                let accepted = content[crate::translate::CONTENT_KEY]["accepted"].as_u64().unwrap();
                assert!(p.txns.insert(txn_id.clone(), body.clone()).is_none(), "transaction id {txn_id} twice");
                let expected = hash(format!("{}\n{sender}\n{}\n0", room_uri(), hex::encode(message_id)).as_bytes());
                assert_eq!(txn_id, format!("m{}", hex::encode(&expected[..20])));
                assert!(
                    p.ghosts.contains(&sender) || p.removed.contains(&sender),
                    "{sender} speaks, but its ghost is not in the room of {}",
                    p.names.0
                );
                p.timeline.push(Shown { id: message_id, sender, body, accepted });
            }
            Effect::Matrix(MatrixAction::Send { content, .. }) => {
                let content: serde_json::Value = serde_json::from_str(&content).unwrap();
                p.notices.push(content["body"].as_str().unwrap().to_owned());
            }
            Effect::Matrix(MatrixAction::Join { actor: Actor::Ghost(user), .. }) if p.banned.contains(&user) => {
                p.inbox.push_back(Mail::Input(Input::ShutOut { user, why: "banned".to_owned() }));
            }
            Effect::Matrix(MatrixAction::Unban { target, .. }) => match p.names.ghost_uri(&target) {
                Some(ghost) => drop(p.banned.remove(&ghost) | p.shut.remove(&ghost)),
                None => drop(p.shut.remove(&p.names.uri(&target).unwrap())),
            },
            Effect::Matrix(MatrixAction::Name { actor: Actor::Ghost(ghost), name, .. }) => {
                assert!(p.ghosts.contains(&ghost), "{ghost} is called {name}, but is not there");
                p.called.push((self.now, name));
            }
            Effect::Matrix(MatrixAction::Portray { actor: Actor::Ghost(ghost), place, .. }) => {
                assert!(p.ghosts.contains(&ghost), "{ghost} gets a picture, but is not there");
                p.looked.push((self.now, place));
            }
            Effect::Matrix(MatrixAction::Ban { target, .. }) => {
                if let Some(ghost) = p.names.ghost_uri(&target) {
                    assert!(!p.ghosts.contains(&ghost), "it left before");
                    p.shut.insert(ghost);
                    return;
                }
                let user = p.names.uri(&target).unwrap();
                p.shut.insert(user.clone());
                if p.joined.remove(&user) | p.invited.remove(&user) {
                    let bot = p.names.bot();
                    self.event(at, &bot, "m.room.member", Some(&target), json!({ "membership": "ban" }));
                }
            }
            Effect::Matrix(MatrixAction::Join { actor: Actor::Ghost(ghost), .. }) => {
                p.awaited.remove(&ghost);
                p.ghosts.insert(ghost);
            }
            Effect::Matrix(MatrixAction::Leave { actor: Actor::Ghost(ghost), .. }) => {
                p.ghosts.remove(&ghost);
                p.awaited.remove(&ghost);
                p.away.insert(ghost);
            }
            Effect::Matrix(MatrixAction::Invite { target, .. }) => {
                let out = |user: &UserUri| p.shut.contains(user) || p.banned.contains(user);
                let may = |user: &UserUri| !p.joined.contains(user) && !out(user);
                if let Some(user) = p.names.uri(&target).filter(may) {
                    p.invited.insert(user);
                }
                if let Some(ghost) = p.names.ghost_uri(&target) {
                    assert!(!p.ghosts.contains(&ghost), "it is here");
                    assert!(!p.shut.contains(&ghost) && !p.banned.contains(&ghost), "it is banned");
                    p.awaited.insert(ghost);
                }
            }
            Effect::Matrix(MatrixAction::Kick { target, .. }) => {
                let user = p.names.uri(&target).unwrap();
                if p.joined.remove(&user) | p.invited.remove(&user) {
                    let bot = p.names.bot();
                    self.event(at, &bot, "m.room.member", Some(&target), json!({ "membership": "leave" }));
                }
            }
            _ => {}
        }
    }
}
