//! How a room begins here: made by us, or followed by an external commit of one of our users.

use std::collections::BTreeSet;

use super::{
    actor::{Actor, After},
    core::now,
    mail::NewRoom,
    ports::Actor as MatrixActor,
    tables::{ENDED, LINKS, WATERMARKS},
};
use crate::{
    ident::{RoomUri, UserUri},
    mls::{Member, NewGroup},
    policy,
    room::{Names, Phase, Room},
    store::{Batch, StoreError},
};

impl Actor {
    /// Makes a room that we host: its group with the creator's leaf, its record, its link.
    pub(super) async fn create(
        &mut self,
        new: &NewRoom,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let over = |room: &Room| room.direct && room.phase == Phase::Left && new.direct_with.is_some();
        if self.room.as_ref().is_some_and(|room| !over(room)) {
            return Ok(());
        }
        // A chat that is over begins anew: another group of the same room.
        let before = self.room.take();
        let number = before.as_ref().map_or(0, |before| before.group + 1);
        let invalid = |what: String| StoreError::Invalid(what);
        let uri = RoomUri::parse(&self.uri).map_err(|error| invalid(error.to_string()))?;
        // Where there are no levels, who mirrors the room may do everything.
        let powers = new.powers.as_ref().filter(|_| new.direct_with.is_none());
        let powers = powers.map(|content| policy::Powers::read(Some(content), new.creators.clone(), None));
        let level = |user: &UserUri| {
            let id = self.engine.0.names.matrix_id(user);
            powers.as_ref().zip(id).map(|(powers, id)| powers.level(id.as_str()))
        };
        let preset = match new.preset {
            _ if new.direct_with.is_some() => policy::Preset::Direct,
            chosen => chosen.unwrap_or_default(),
        };
        let mut participants = vec![(new.creator.clone(), preset.role_of_creator())];
        let others = new.present.iter().filter(|user| **user != new.creator);
        if new.present.len() <= self.engine.0.names.list_all_up_to {
            participants.extend(others.map(|user| (user.clone(), policy::role::MEMBER)));
        }
        participants.extend(new.direct_with.iter().map(|user| (user.clone(), policy::role::MEMBER)));
        // Whoever is banned by what stands there is not on the list besides, should they have been in a moment before.
        let banned: BTreeSet<&UserUri> = new.banned.iter().filter(|user| **user != new.creator).collect();
        participants.retain(|(user, _)| !banned.contains(user));
        participants.extend(banned.iter().map(|user| ((*user).clone(), policy::role::BANNED)));
        let mut state = policy::initial(uri.clone(), &new.name, &new.topic, participants, preset);
        if let Some(powers) = powers.as_ref().filter(|_| new.preset.is_none()) {
            let held: Vec<i64> = state.participants.iter().filter_map(|(user, _)| level(user)).collect();
            state.roles = powers.roles(&state.roles, held);
            for (user, role) in state.participants.iter_mut().filter(|(_, role)| *role != policy::role::BANNED) {
                *role = level(user).map_or(*role, |level| powers.role(&state.roles, level));
            }
        }
        let public = new.public && new.direct_with.is_none();
        if public && self.engine.0.settings.envelope.open_rooms {
            state.roles.open(policy::role::MEMBER);
        } else if state.is_open() {
            state.roles.close(policy::role::MEMBER);
        }
        // What a preset says counts.
        if new.preset.is_none() && new.direct_with.is_none() {
            state.base_policy.policy_components.extend(new.lasting.keys());
            state.other.extend(new.lasting.clone());
        }
        let mut components = state.to_components().map_err(|error| invalid(error.to_string()))?;
        components.insert(crate::wire::FRANKING_AGENT, self.engine.0.franking.agent().to_vec());
        let group_id = uri.group(number).map_err(|error| invalid(error.to_string()))?.as_str().as_bytes().to_vec();
        let hub = self.engine.0.names.domain();
        let group = NewGroup {
            group_id,
            creator: new.creator.clone(),
            components,
            external_senders: vec![(self.engine.0.hub_key.public().to_vec(), format!("mimi://{hub}").into_bytes())],
            now: now(),
        };
        let member = tokio::task::block_in_place(|| Member::create(group)).map_err(|e| invalid(e.to_string()))?;
        match before {
            Some(_) => self.group.replace(member),
            None => self.group.member = Some(member),
        }
        let mut room = Room::new(uri, Phase::Active, new.speaker.clone());
        room.matrix = Some(new.matrix.clone());
        room.is_called(&new.name, &new.topic);
        room.has_levels(new.powers.as_ref(), new.creators.clone());
        room.group = number;
        room.last_accepted = before.map_or(0, |before| before.last_accepted);
        room.direct = new.direct_with.is_some();
        room.two = new.direct_with.iter().chain([&new.creator]).filter(|_| room.direct).cloned().collect();
        room.present = new.present.iter().cloned().collect();
        room.present.insert(new.creator.clone());
        room.present.retain(|user| !banned.contains(user));
        if let (Some(remote), Some(name)) = (&new.direct_with, &new.found) {
            room.has_found(remote, name);
        }
        room.banned = banned.into_iter().cloned().collect();
        room.public = public;
        room.keeps_roles = new.preset.is_some() && !room.direct;
        room.space = new.is_space;
        room.kin.space.clone_from(&new.space);
        room.kin.set_by = new.space.is_some().then(|| new.creator.clone());
        self.room = Some(room);
        let matrix = new.matrix.to_string();
        self.note_members(new, batch)?;
        if new.counts {
            self.engine.note_made(&new.creator, &self.uri, batch)?;
        }
        LINKS.put(&self.engine.0.db, batch, &matrix, &self.uri)?;
        ENDED.delete(batch, &matrix);
        if let Some(since) = &new.since {
            WATERMARKS.put(&self.engine.0.db, batch, &matrix, since)?;
        }
        after.links.push((matrix, true));
        let effects = self.in_step(|step| step.welcome_room(new.direct_with.as_ref(), &new.creator));
        self.effects(effects, batch, after).await
    }

    /// Follows a room that is hosted elsewhere: an external commit on the hub's GroupInfo, stored before it is sent.
    pub(super) async fn follow(
        &mut self,
        user: &UserUri,
        code: Option<&str>,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<Result<String, String>, StoreError> {
        if self.room.as_ref().is_some_and(|room| matches!(room.phase, Phase::Active | Phase::Joining)) {
            // The portal shows what is said: it is for those whom the room lists, or who could come by themselves.
            let state = crate::room::group::Group::state(&self.group).ok();
            let open = self.engine.0.settings.envelope.open_rooms;
            let by_itself = |state: &policy::RoomState| open && state.can(user, policy::Capability::OpenJoin);
            if !state.is_some_and(|state| state.takes_part(user) || by_itself(&state)) {
                return Ok(Err(format!("{} does not let you in: somebody in the room has to invite you.", self.uri)));
            }
            let effects = self.in_step(|step| step.invite_back(user));
            self.effects(effects, batch, after).await?;
            return Ok(Ok("You are invited into the room.".to_owned()));
        }
        let Ok(uri) = RoomUri::parse(&self.uri) else { return Ok(Err("That is no room.".to_owned())) };
        let (group, staged) = match super::provider::external_join(&self.engine, user, &uri, code).await {
            Ok(joined) => joined,
            Err(why) => return Ok(Err(format!("{uri} cannot be joined: {why}."))),
        };
        let mut room = match self.room.take() {
            Some(before) => Room { group: before.group + 1, in_flight: None, ..before },
            None => Room::new(uri, Phase::Joining, MatrixActor::Bot),
        };
        room.phase = Phase::Joining;
        self.room = Some(room);
        self.engine.note_made(user, &self.uri, batch)?;
        if let Some(member) = group.member {
            self.group.replace(member);
        }
        let effects = self.in_step(|step| step.send_join(user, staged));
        self.effects(effects, batch, after).await?;
        Ok(Ok("The room's host is asked; you will get an invitation.".to_owned()))
    }
}
