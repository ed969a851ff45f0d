//! Requests of peers that wait for their answer: the same bytes get the same answer (DESIGN 4).

use super::{
    actor::{Actor, After},
    door::Door,
    mail::{Answer, Request},
    ports::Problem,
    tables::ANSWERS,
};
use crate::{
    ident::ProviderDomain,
    room::Input,
    store::{Batch, StoreError},
    wire::{HandshakeBundle, SubmitMessageRequest, SubmitMessageResponse, UpdateOutcome, UpdateRoomResponse, Wire},
};

impl Actor {
    pub(super) async fn request(
        &mut self,
        peer: &ProviderDomain,
        kind: Request,
        body: &[u8],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<Answer, StoreError> {
        if self.room.is_none() {
            return Ok(Err(Problem::NotFound));
        }
        if kind == Request::GroupInfo {
            let answer = self.group_info(peer, body);
            return Ok(answer);
        }
        let key = (peer.to_string(), answer_hash(kind, &self.uri, body));
        // The first of two may be in this very batch.
        if let Some(answer) = after.given.get(&key) {
            return Ok(Ok(answer.clone()));
        }
        if let Some(answer) = ANSWERS.get(&self.engine.0.db, &key).await? {
            return Ok(Ok(answer.value));
        }
        let malformed = |error: crate::wire::DecodeError| Problem::Malformed(error.to_string());
        let input = match kind {
            Request::Submit => SubmitMessageRequest::decode(body)
                .map(|request| Input::Submit { peer: peer.clone(), request })
                .map_err(malformed),
            Request::Update | Request::GroupInfo => HandshakeBundle::decode(body)
                .map(|bundle| Input::Update { peer: peer.clone(), bundle })
                .map_err(malformed),
        };
        let input = match input {
            Ok(input) => input,
            Err(problem) => return Ok(Err(problem)),
        };
        if kind == Request::Update {
            self.load_key_packages().await?;
            let envelope = &self.engine.0.settings.envelope;
            let door = self.room.as_ref().map(|room| Door {
                admitted: room.admitted(super::core::now()),
                open: room.is_for_all(envelope),
                banned: room.banned.clone(),
            });
            self.group.door = door.unwrap_or_default();
        }
        let Some(answer) = self.run(input, batch, after).await? else { return Ok(Err(Problem::Unavailable(1))) };
        if !accepted(kind, &answer) {
            // Nothing happened, so there is nothing to remember: the same bytes are judged again.
            return Ok(Ok(answer));
        }
        ANSWERS.put(&self.engine.0.db, batch, &key, &self.engine.0.today.dated(answer.clone()))?;
        after.given.insert(key, answer.clone());
        Ok(Ok(answer))
    }

    fn group_info(&mut self, peer: &ProviderDomain, body: &[u8]) -> Answer {
        let Some(room) = &self.room else { return Err(Problem::NotFound) };
        let mut shown = None;
        let (codes, state) = (room.codes.clone(), crate::room::group::Group::state(&self.group));
        let now = super::core::now();
        let answer = super::provider::group_info(&self.engine, peer, room, &self.group, body, |user, code| {
            let counts = state.as_ref().is_ok_and(|state| crate::room::counts(&codes, code, now, state));
            shown = counts.then(|| user.clone());
            counts
        });
        if let (Some(user), Some(room)) = (shown, &mut self.room) {
            // Stored with this step, before the answer leaves.
            room.admit(user, now);
        }
        answer
    }
}

/// Whether an answer says that something happened.
pub(super) fn accepted(kind: Request, answer: &[u8]) -> bool {
    match kind {
        Request::Submit => matches!(SubmitMessageResponse::decode(answer), Ok(SubmitMessageResponse::Accepted { .. })),
        Request::Update => UpdateRoomResponse::decode(answer)
            .is_ok_and(|answer| matches!(answer.outcome, UpdateOutcome::Success { .. })),
        Request::GroupInfo => false,
    }
}

fn answer_hash(kind: Request, room: &str, body: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    let mut hasher = sha2::Sha256::new();
    hasher.update([kind as u8]);
    hasher.update(room.as_bytes());
    hasher.update([0]);
    hasher.update(body);
    hasher.finalize().into()
}
