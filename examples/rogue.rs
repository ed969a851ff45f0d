//! A provider that does not keep to the rules, for the end-to-end attack tests: `c.example` of `env.json`, with one user, as
//! follower and as hub.
//!
//! `rogue ENV_JSON` listens as the spare peer, takes commands on standard input, one a line, and answers each with one JSON
//! object on standard output. It is built on this crate's own library, with every check left out that it is there to provoke:
//! ```text
//! decline USER         waits until USER of ours is asked into a room, and says no
//! join USER            waits until USER of ours is asked into a room, consents, and waits for the Welcome
//! say TEXT             submits a proper message
//! beside JSON          submits {"type", "content", "text"}: a part of any type, with a text beside it
//! garbage              submits a message whose plaintext is no CBOR
//! claim USER TEXT      submits a message whose content names another sender
//! as USER TEXT         submits a message of ours as another user's
//! add USER             commits an Add of a client of USER whose KeyPackage did not come through the hub
//! list USER            the same, and puts USER on the participant list
//! rename TITLE         commits another name of the room
//! promote              commits the role of an administrator for ourselves
//! removed              waits until a commit removes us
//! late-commit          after that: a commit of our last epoch
//! forged-commit        the same, with the number of the hub's epoch written into it
//! late-say TEXT        after that: a message of our last epoch
//! heard                what others said, as we could read it
//!
//! ask USER [NAME]      makes a room of our own (we are its hub) and asks USER into it
//! welcome              waits for the consent, and adds USER
//! tell TEXT            distributes a proper message
//! tell-garbage         distributes a message whose plaintext is no CBOR
//! tell-claim USER TEXT distributes a message whose content names another sender
//! tell-forged USER     distributes a commit that adds a client of USER, made by us
//! tell-unlisted        distributes a commit that takes the guest off the list, and leaves its client in
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test tool: a panic is a failure"
)]

mod common;

use std::{
    io::BufRead as _,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mimi_gateway::{
    content::{Body, MimiContent, NestedPart, PartSemantics, TEXT_PLAIN},
    engine::ports::{Endpoint, PathTarget, Peers as _, Problem, ProviderInbound, VerifiedPeer},
    ident::{ProviderDomain, RoomUri, UserUri},
    mimi::{MimiPeers, Server},
    mls::{
        AppDataChange, AppDataOp, Change, CommitView, Member, NewComponents, NewGroup, Rows, StagedCommit,
        make_key_package,
    },
    policy::{
        ParticipantList, ParticipantListUpdate, Preset, RoomState, component, initial, role, update_metadata,
        update_remove, update_roles,
    },
    store::BoxFuture,
    wire::{
        AppDataDictionary, CommitBundle, ConsentAction, ConsentEntry, FanoutContent, FanoutMessage, GroupInfoOption,
        HandshakeBundle, MlsMessage, RatchetTreeOption, RawGroupInfo, RawKeyPackage, RawRatchetTree, RawWelcome,
        SafeAad, SubmitMessageRequest, SubmitMessageResponse, UpdateOutcome, UpdateRoomResponse, Wire as _,
    },
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use common::{Failure, spare_peer};

/// No CBOR that anybody takes.
const GARBAGE: &[u8] = &[0x9f, 0x9f, 0xff, 0x1b, 0xff];
/// How long commands wait for what has to come from others.
const PATIENCE: Duration = Duration::from_secs(20);

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Takes every commit for good; the participant list follows its updates, other components are replaced.
fn lenient(view: &CommitView) -> Result<NewComponents, String> {
    let mut values = NewComponents::new();
    for change in &view.app_data {
        let AppDataOp::Update(update) = &change.op else { continue };
        if change.component != component::PARTICIPANT_LIST {
            values.insert(change.component, update.clone());
            continue;
        }
        let before = values.get(&change.component).or_else(|| view.components.get(&change.component));
        let mut list = ParticipantList::decode(before.ok_or("no list")?).map_err(|error| error.to_string())?.0;
        let update = ParticipantListUpdate::decode(update).map_err(|error| error.to_string())?;
        for (index, role) in update.changed {
            list[usize::try_from(index).unwrap()].1 = role;
        }
        let gone: Vec<usize> = update.removed.iter().map(|index| usize::try_from(*index).unwrap()).collect();
        let kept = list.into_iter().enumerate().filter(|(index, _)| !gone.contains(index)).map(|(_, entry)| entry);
        let list = ParticipantList(kept.chain(update.added).collect());
        values.insert(change.component, list.encode().map_err(|error| error.to_string())?);
    }
    Ok(values)
}

/// A text message as plaintext.
fn content(sender: &UserUri, room: &RoomUri, text: &str) -> Result<Vec<u8>, Failure> {
    content_of(sender, room, NestedPart::text(TEXT_PLAIN, text))
}

/// `{"type": …, "content": …, "text": …}`: a part of any type, with a text beside it if there is one.
fn beside(sender: &UserUri, room: &RoomUri, json: &str) -> Result<Vec<u8>, Failure> {
    let said: Value = serde_json::from_str(json)?;
    let word = |key: &str| said[key].as_str().map(str::to_owned);
    let part = NestedPart::render(Body::Single {
        content_type: word("type").ok_or("no type")?,
        content: word("content").ok_or("no content")?.into_bytes(),
    });
    content_of(
        sender,
        room,
        match word("text") {
            Some(text) => NestedPart::render(Body::Multi {
                semantics: PartSemantics::ChooseOne,
                parts: vec![part, NestedPart::text(TEXT_PLAIN, &text)],
            }),
            None => part,
        },
    )
}

fn content_of(sender: &UserUri, room: &RoomUri, body: NestedPart) -> Result<Vec<u8>, Failure> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
    let mut content = MimiContent::new(salt, sender, room, body);
    content.set_sender_timestamp(now());
    Ok(content.encode()?)
}

#[derive(Default)]
struct State {
    /// Who was asked into which room, by whom.
    asked: Vec<ConsentEntry>,
    /// Who consents to what.
    granted: Vec<ConsentEntry>,
    key: Option<Vec<u8>>,
    member: Option<Member>,
    /// The state's rows, before the last commit that was applied.
    before: Rows,
    rows: Rows,
    removed: bool,
    heard: Vec<Value>,
    trouble: Vec<String>,
}

impl State {
    fn keep(&mut self) {
        if let Some(member) = &mut self.member {
            member.take_changes().unwrap().apply(&mut self.rows);
        }
    }

    fn take(&mut self, message: FanoutMessage) -> Result<(), Failure> {
        match message.content {
            FanoutContent::Welcome { message, ratchet_tree } => {
                let RatchetTreeOption::Full(tree) = ratchet_tree else { return Err("a Welcome without tree".into()) };
                let keys = [self.key.clone().ok_or("a Welcome without consent")?];
                self.member = Some(Member::join(message.as_bytes(), tree.as_bytes(), &keys, now())?);
            }
            FanoutContent::Commit { message, .. } => {
                let Some(member) = &mut self.member else { return Ok(()) };
                let before = self.rows.clone();
                self.removed = member.apply_commit(message.as_bytes(), &mut lenient, now())?.last_local_removed;
                self.before = before;
            }
            FanoutContent::Application { message, .. } => {
                let Some(member) = &mut self.member else { return Ok(()) };
                match member.open(message.as_bytes()) {
                    Ok(opened) => {
                        let text = String::from_utf8_lossy(&opened.plaintext).into_owned();
                        self.heard.push(json!({ "user": opened.user, "text": text }));
                    }
                    Err(mimi_gateway::mls::MlsError::OwnMessage) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            FanoutContent::Proposal { message, more } => {
                let Some(member) = &mut self.member else { return Ok(()) };
                for proposal in std::iter::once(message).chain(more) {
                    member.store_proposal(proposal.as_bytes(), now())?;
                }
            }
        }
        self.keep();
        Ok(())
    }
}

/// What peers send us.
struct Inbound {
    state: Mutex<State>,
    changed: tokio::sync::Notify,
}

impl ProviderInbound for Inbound {
    fn key_material(&self, _: VerifiedPeer, _: UserUri, _: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        Box::pin(async { Err(Problem::NotFound) })
    }
    fn update(&self, _: VerifiedPeer, _: RoomUri, _: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        Box::pin(async { Err(Problem::NotFound) })
    }
    fn notify(&self, _: VerifiedPeer, _: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            let messages = FanoutMessage::decode_all(&body).map_err(|error| Problem::Malformed(error.to_string()))?;
            let mut state = self.state.lock().unwrap();
            for message in messages {
                if let Err(error) = state.take(message) {
                    state.trouble.push(error.to_string());
                }
            }
            self.changed.notify_one();
            Ok(())
        })
    }
    fn submit_message(&self, _: VerifiedPeer, _: RoomUri, _: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        Box::pin(async { Err(Problem::NotFound) })
    }
    fn group_info(&self, _: VerifiedPeer, _: RoomUri, _: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        Box::pin(async { Err(Problem::NotFound) })
    }
    fn identifier_query(&self, _: VerifiedPeer, _: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        Box::pin(async { Err(Problem::NotFound) })
    }
    fn report_abuse(&self, _: VerifiedPeer, _: RoomUri, _: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async { Err(Problem::NotFound) })
    }
    fn request_consent(&self, _: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            let entry = ConsentEntry::decode(&body).map_err(|error| Problem::Malformed(error.to_string()))?;
            self.state.lock().unwrap().asked.push(entry);
            self.changed.notify_one();
            Ok(())
        })
    }
    fn update_consent(&self, _: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            let entry = ConsentEntry::decode(&body).map_err(|error| Problem::Malformed(error.to_string()))?;
            self.state.lock().unwrap().granted.push(entry);
            self.changed.notify_one();
            Ok(())
        })
    }
}

/// A room that we host.
struct Hosted {
    user: UserUri,
    room: RoomUri,
    guest: UserUri,
    member: Member,
}

struct Rogue {
    domain: ProviderDomain,
    hosted: Option<Hosted>,
    inbound: Arc<Inbound>,
    peers: MimiPeers,
    /// Our user and the room, once we are in.
    seat: Option<(UserUri, RoomUri)>,
}

impl Rogue {
    /// Waits until `what` answers something.
    async fn until<T>(&self, name: &str, mut what: impl FnMut(&mut State) -> Option<T>) -> Result<T, Failure> {
        let wait = async {
            loop {
                if let Some(found) = what(&mut self.inbound.state.lock().unwrap()) {
                    return found;
                }
                self.inbound.changed.notified().await;
            }
        };
        Ok(tokio::time::timeout(PATIENCE, wait).await.map_err(|_| format!("waited in vain: {name}"))?)
    }

    fn seat(&self) -> Result<(&UserUri, &RoomUri), Failure> {
        self.seat.as_ref().map(|(user, room)| (user, room)).ok_or_else(|| "not in a room".into())
    }

    /// Waits until one of ours is asked into a room.
    async fn asked(&self, user: &UserUri) -> Result<ConsentEntry, Failure> {
        self.until("to be asked", |state| {
            let place = state.asked.iter().position(|entry| entry.target == *user)?;
            Some(state.asked.remove(place))
        })
        .await
    }

    async fn decline(&self, user: &UserUri) -> Result<Value, Failure> {
        let entry = ConsentEntry { action: ConsentAction::Revoke, ..self.asked(user).await? };
        let hub = entry.requester.provider();
        self.peers.call(&hub, Endpoint::UpdateConsent, &PathTarget::Domain(hub.clone()), &entry.encode()).await?;
        Ok(json!({ "answer": "declined" }))
    }

    async fn join(&mut self, user: UserUri) -> Result<Value, Failure> {
        let entry = self.asked(&user).await?;
        let made = make_key_package(&user, now())?;
        self.inbound.state.lock().unwrap().key = Some(made.private);
        let room = entry.room.ok_or("asked for no room")?;
        let hub = entry.requester.provider();
        let grant = ConsentEntry {
            action: ConsentAction::Grant { key_packages: vec![RawKeyPackage::from_bytes(made.bytes)?] },
            requester: entry.requester,
            target: user.clone(),
            room: Some(room.clone()),
            extensions: AppDataDictionary::default(),
        };
        let path = PathTarget::Domain(hub.clone());
        self.peers.call(&hub, Endpoint::UpdateConsent, &path, &grant.encode()).await?;
        let (epoch, members) = self
            .until("a Welcome", |state| {
                let member = state.member.as_ref()?;
                Some((member.epoch(), member.leaves().iter().map(|leaf| leaf.user.to_string()).collect::<Vec<_>>()))
            })
            .await?;
        let answer = json!({ "room": room, "epoch": epoch, "members": members });
        self.seat = Some((user, room));
        Ok(answer)
    }

    async fn call(&self, endpoint: Endpoint, body: &[u8]) -> Result<Vec<u8>, String> {
        let (_, room) = self.seat().map_err(|error| error.to_string())?;
        let path = PathTarget::Uri(room.as_uri().clone());
        let answer = self.peers.call(&room.hub(), endpoint, &path, body).await;
        answer.map_err(|error| format!("{} {}", error.status.unwrap_or_default(), error.what))
    }

    async fn submit(&self, message: Vec<u8>, sending_user: UserUri) -> Result<Value, Failure> {
        let request = SubmitMessageRequest { app_message: MlsMessage::decode(&message)?, sending_user };
        Ok(json!({ "answer": match self.call(Endpoint::SubmitMessage, &request.encode()).await {
            Ok(body) => match SubmitMessageResponse::decode(&body)? {
                SubmitMessageResponse::Accepted { .. } => "accepted".to_owned(),
                SubmitMessageResponse::NotAllowed => "notAllowed".to_owned(),
                SubmitMessageResponse::EpochTooOld { .. } => "epochTooOld".to_owned(),
            },
            Err(error) => error,
        }}))
    }

    /// Seals with the member state that is now, and submits.
    async fn say(&self, plaintext: &[u8], sending_user: Option<UserUri>) -> Result<Value, Failure> {
        let (user, _) = self.seat()?;
        let sealed = {
            let mut state = self.inbound.state.lock().unwrap();
            let sealed = state.member.as_mut().ok_or("no group")?.seal(user, plaintext, &SafeAad::default())?;
            state.keep();
            sealed
        };
        self.submit(sealed, sending_user.unwrap_or_else(|| user.clone())).await
    }

    fn content(&self, sender: &UserUri, text: &str) -> Result<Vec<u8>, Failure> {
        content(sender, self.seat()?.1, text)
    }

    /// The state before the commit that removed us.
    fn ghost_of_us(&self) -> Result<Member, Failure> {
        let state = self.inbound.state.lock().unwrap();
        if !state.removed {
            return Err("not removed yet".into());
        }
        Ok(Member::from_rows(state.before.clone())?)
    }

    async fn update(&self, staged: StagedCommit, commit: Vec<u8>) -> Result<Value, Failure> {
        let bundle = HandshakeBundle::Commit(Box::new(CommitBundle {
            commit: MlsMessage::decode(&commit)?,
            welcome: staged.welcome.map(RawWelcome::from_bytes).transpose()?,
            group_info: GroupInfoOption::Full(RawGroupInfo::from_bytes(staged.group_info)?),
            ratchet_tree: RatchetTreeOption::Full(RawRatchetTree::from_bytes(staged.ratchet_tree)?),
        }));
        let (outcome, description) = match self.call(Endpoint::Update, &bundle.encode()).await {
            Ok(body) => {
                let UpdateRoomResponse { outcome, description } = UpdateRoomResponse::decode(&body)?;
                let outcome = match outcome {
                    UpdateOutcome::Success { .. } => "success",
                    UpdateOutcome::WrongEpoch { .. } => "wrongEpoch",
                    UpdateOutcome::NotAllowed => "notAllowed",
                    UpdateOutcome::InvalidProposal { .. } => "invalidProposal",
                };
                (outcome.to_owned(), description)
            }
            Err(error) => (error, String::new()),
        };
        Ok(json!({ "answer": outcome, "description": description }))
    }

    async fn add(&self, victim: &UserUri, list: bool) -> Result<Value, Failure> {
        let (user, _) = self.seat()?;
        let mut change = Change { adds: vec![make_key_package(victim, now())?.bytes], ..Change::default() };
        if list {
            let update = ParticipantListUpdate {
                added: vec![(victim.clone(), role::MEMBER)],
                ..ParticipantListUpdate::default()
            };
            change.app_data = vec![AppDataChange { component: component::PARTICIPANT_LIST, update: update.encode()? }];
        }
        let staged = {
            let state = self.inbound.state.lock().unwrap();
            state.member.as_ref().ok_or("no group")?.stage_commit(user, &change, &mut lenient, now())?
        };
        let commit = staged.commit.clone();
        self.update(staged, commit).await
    }

    /// Commits a change of one component as a member who may not.
    async fn change(&self, component: u16, update: Vec<u8>) -> Result<Value, Failure> {
        let (user, _) = self.seat()?;
        let change = Change { app_data: vec![AppDataChange { component, update }], ..Change::default() };
        let staged = {
            let state = self.inbound.state.lock().unwrap();
            state.member.as_ref().ok_or("no group")?.stage_commit(user, &change, &mut lenient, now())?
        };
        let commit = staged.commit.clone();
        self.update(staged, commit).await
    }

    /// What the room is, as our group says.
    fn room_state(&self) -> Result<RoomState, Failure> {
        let state = self.inbound.state.lock().unwrap();
        Ok(RoomState::from_components(&state.member.as_ref().ok_or("no group")?.components())?)
    }

    async fn late_commit(&self, forge_epoch: bool) -> Result<Value, Failure> {
        let (user, _) = self.seat()?;
        let change = Change { path: true, ..Change::default() };
        let staged = self.ghost_of_us()?.stage_commit(user, &change, &mut lenient, now())?;
        let mut commit = staged.commit.clone();
        if forge_epoch {
            // Version, wire format, then the group id with its length, then the epoch.
            let group_id = MlsMessage::decode(&commit)?.group_id().ok_or("no group id")?.len();
            let at = 4 + if group_id < 64 { 1 } else { 2 } + group_id;
            commit[at..at + 8].copy_from_slice(&(staged.epoch + 1).to_be_bytes());
        }
        self.update(staged, commit).await
    }

    // ------------------------------------------------------------------------------------------------ as hub

    async fn ask(&mut self, guest: UserUri, name: &str) -> Result<Value, Failure> {
        let name = if name.is_empty() { "rogues" } else { name };
        let (user, room) = (UserUri::new(&self.domain, "c1")?, RoomUri::new(&self.domain, name)?);
        let state = initial(room.clone(), "Den of rogues", "", vec![(user.clone(), role::ADMIN)], Preset::default());
        let member = Member::create(NewGroup {
            group_id: room.group(0)?.as_str().as_bytes().to_vec(),
            creator: user.clone(),
            components: state.to_components()?,
            external_senders: Vec::new(),
            now: now(),
        })?;
        let entry = ConsentEntry {
            action: ConsentAction::Request,
            requester: user.clone(),
            target: guest.clone(),
            room: Some(room.clone()),
            extensions: AppDataDictionary::default(),
        };
        let path = PathTarget::Domain(guest.provider());
        self.peers.call(&guest.provider(), Endpoint::RequestConsent, &path, &entry.encode()).await?;
        self.hosted = Some(Hosted { user, room, guest, member });
        Ok(json!({ "answer": "asked" }))
    }

    fn hosted(&mut self) -> Result<&mut Hosted, Failure> {
        self.hosted.as_mut().ok_or_else(|| "no room of our own".into())
    }

    async fn welcome(&mut self) -> Result<Value, Failure> {
        let guest = self.hosted()?.guest.clone();
        let granted = self
            .until("a consent", |state| {
                let place = state.granted.iter().position(|entry| entry.target == guest)?;
                Some(state.granted.remove(place))
            })
            .await?;
        let ConsentAction::Grant { key_packages } = granted.action else { return Err("a refusal".into()) };
        let hosted = self.hosted()?;
        let update = ParticipantListUpdate { added: vec![(guest, role::MEMBER)], ..ParticipantListUpdate::default() };
        let change = Change {
            adds: key_packages.into_iter().map(RawKeyPackage::into_bytes).collect(),
            app_data: vec![AppDataChange { component: component::PARTICIPANT_LIST, update: update.encode()? }],
            ..Change::default()
        };
        let staged = hosted.member.stage_commit(&hosted.user, &change, &mut lenient, now())?;
        hosted.member.accept_staged(&staged, &mut lenient, now())?;
        let mut message = vec![0, 1, 0, 3];
        message.extend(staged.welcome.ok_or("no Welcome")?);
        let ratchet_tree = RatchetTreeOption::Full(RawRatchetTree::from_bytes(staged.ratchet_tree)?);
        self.notify(FanoutContent::Welcome { message: MlsMessage::decode(&message)?, ratchet_tree }).await
    }

    async fn notify(&mut self, content: FanoutContent) -> Result<Value, Failure> {
        let hosted = self.hosted()?;
        let (peer, path) = (hosted.guest.provider(), PathTarget::Uri(hosted.room.as_uri().clone()));
        let body = FanoutMessage { timestamp: now(), content }.encode();
        let answer = self.peers.call(&peer, Endpoint::Notify, &path, &body).await;
        Ok(json!({ "answer": answer.map_or_else(|error| error.what, |_| "taken".to_owned()) }))
    }

    async fn tell(&mut self, plaintext: &[u8]) -> Result<Value, Failure> {
        let hosted = self.hosted()?;
        let sealed = hosted.member.seal(&hosted.user, plaintext, &SafeAad::default())?;
        self.notify(FanoutContent::Application { message: MlsMessage::decode(&sealed)?, frank: None }).await
    }

    fn hub_content(&mut self, sender: Option<&str>, text: &str) -> Result<Vec<u8>, Failure> {
        let hosted = self.hosted()?;
        let sender = sender.map(UserUri::parse).transpose()?.unwrap_or_else(|| hosted.user.clone());
        content(&sender, &hosted.room, text)
    }

    async fn tell_forged(&mut self, victim: &UserUri) -> Result<Value, Failure> {
        let update =
            ParticipantListUpdate { added: vec![(victim.clone(), role::MEMBER)], ..ParticipantListUpdate::default() };
        self.tell_commit(vec![make_key_package(victim, now())?.bytes], update.encode()?).await
    }

    async fn tell_unlisted(&mut self) -> Result<Value, Failure> {
        let hosted = self.hosted()?;
        let state = RoomState::from_components(&hosted.member.components())?;
        let update = update_remove(&state, std::slice::from_ref(&hosted.guest))?;
        self.tell_commit(Vec::new(), update).await
    }

    /// Distributes a commit of ours, which changes the list.
    async fn tell_commit(&mut self, adds: Vec<Vec<u8>>, update: Vec<u8>) -> Result<Value, Failure> {
        let hosted = self.hosted()?;
        let change = Change {
            adds,
            app_data: vec![AppDataChange { component: component::PARTICIPANT_LIST, update }],
            ..Change::default()
        };
        let staged = hosted.member.stage_commit(&hosted.user, &change, &mut lenient, now())?;
        hosted.member.accept_staged(&staged, &mut lenient, now())?;
        let message = MlsMessage::decode(&staged.commit)?;
        self.notify(FanoutContent::Commit { message, external_proposals: Vec::new() }).await
    }

    async fn obey(&mut self, line: &str) -> Result<Value, Failure> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
        match command {
            "decline" => self.decline(&UserUri::parse(rest)?).await,
            "join" => self.join(UserUri::parse(rest)?).await,
            "say" => self.say(&self.content(self.seat()?.0, rest)?, None).await,
            "garbage" => self.say(GARBAGE, None).await,
            "beside" => {
                let (user, room) = self.seat()?;
                self.say(&beside(user, room, rest)?, None).await
            }
            "claim" => self.say(&self.content(&UserUri::parse(name)?, text)?, None).await,
            "as" => self.say(&self.content(self.seat()?.0, text)?, Some(UserUri::parse(name)?)).await,
            "add" => self.add(&UserUri::parse(rest)?, false).await,
            "list" => self.add(&UserUri::parse(rest)?, true).await,
            "rename" => {
                let update = update_metadata(&self.room_state()?, Some(rest), None)?;
                self.change(component::ROOM_METADATA, update).await
            }
            "promote" => {
                let update = update_roles(&self.room_state()?, &[(self.seat()?.0.clone(), role::ADMIN)])?;
                self.change(component::PARTICIPANT_LIST, update).await
            }
            "removed" => self.until("a removal", |state| state.removed.then_some(json!({ "removed": true }))).await,
            "late-commit" => self.late_commit(false).await,
            "forged-commit" => self.late_commit(true).await,
            "late-say" => {
                let user = self.seat()?.0.clone();
                let sealed = self.ghost_of_us()?.seal(&user, &self.content(&user, rest)?, &SafeAad::default())?;
                self.submit(sealed, user).await
            }
            "heard" => {
                let state = self.inbound.state.lock().unwrap();
                Ok(json!({ "heard": state.heard, "trouble": state.trouble }))
            }
            "ask" => self.ask(UserUri::parse(name)?, text).await,
            "welcome" => self.welcome().await,
            "tell" => {
                let plaintext = self.hub_content(None, rest)?;
                self.tell(&plaintext).await
            }
            "tell-garbage" => self.tell(GARBAGE).await,
            "tell-claim" => {
                let plaintext = self.hub_content(Some(name), text)?;
                self.tell(&plaintext).await
            }
            "tell-forged" => self.tell_forged(&UserUri::parse(rest)?).await,
            "tell-unlisted" => self.tell_unlisted().await,
            other => Err(format!("no such command: {other}").into()),
        }
    }
}

fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).ok_or("usage: rogue ENV_JSON")?;
    let env: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let settings = spare_peer(&env)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let inbound = Arc::new(Inbound { state: Mutex::default(), changed: tokio::sync::Notify::new() });
    let server = runtime.block_on(Server::bind(&settings, Arc::clone(&inbound) as Arc<dyn ProviderInbound>))?;
    let stop = CancellationToken::new();
    let serving = runtime.spawn(server.run(stop.clone()));
    let domain = settings.own_domain.clone();
    let mut rogue = Rogue { domain, hosted: None, inbound, peers: MimiPeers::new(&settings)?, seat: None };
    println!("{}", json!({ "ready": true }));
    for line in std::io::stdin().lock().lines() {
        let answer = runtime.block_on(rogue.obey(line?.trim()));
        println!("{}", answer.unwrap_or_else(|error| json!({ "error": error.to_string() })));
    }
    stop.cancel();
    runtime.block_on(serving).expect("the server ends");
    Ok(())
}
