//! Pictures of rooms: a file of the homeserver as an asset that everybody in the room can fetch, and the way back. They are not
//! sealed: their URL stands in the room's metadata, which hubs read.

use std::os::unix::fs::FileExt as _;

use ruma::{OwnedMxcUri, OwnedRoomId};
use serde_json::json;

use super::{Carrier, GIVE_UP, Trouble};
use crate::{
    assets::{AssetName, NAME_BYTES},
    content::ExternalPart,
    engine::{
        Engine,
        actor::After,
        core::now,
        ports::{Actor, CallError, MatrixAction, MatrixDone, Retry},
        records,
        tables::OutRow,
    },
    ident::{RoomUri, UserUri},
    media::ToMatrix,
    room::{Effect, Setting},
    store::{Batch, StoreError},
    translate::media::{MediaInfo, picture_type},
    wire::path::DownloadUrl,
};

/// The largest picture of a room, in bytes.
const MAX_AVATAR: u64 = 4 << 20;
/// How the lanes of pictures on their way out begin; the room follows.
const OUTWARD: &str = "m:avatar:";
/// And those on their way in. It is no peer's lane: what fails is tried again before the lane hears of it.
const INWARD: &str = "w:picture:";

impl From<Trouble> for CallError {
    fn from(trouble: Trouble) -> Self {
        let (what, retry) = match trouble {
            Trouble::Never(why) => (why, Retry::Permanent),
            Trouble::Later(why, after) => (why, Retry::Retriable(after)),
        };
        Self { what, retry, status: None, errcode: None }
    }
}

impl Carrier {
    fn largest_avatar(&self) -> u64 {
        MAX_AVATAR.min(self.files.max_bytes)
    }

    /// Whether pictures of this kind are carried at all.
    pub(super) fn takes_picture(&self, media_type: &str) -> Result<(), Trouble> {
        self.lets_through(&MediaInfo {
            media_type: media_type.to_owned(),
            size: None,
            width: None,
            height: None,
            duration: None,
            blurhash: None,
            language: String::new(),
        })
    }

    async fn publish(
        &self,
        owner: &UserUri,
        name: AssetName,
        url: &OwnedMxcUri,
        foreign: bool,
    ) -> Result<String, Trouble> {
        let limit = self.largest_avatar();
        let _turn = self.out.of(owner, foreign).await;
        let mut coming = self.files.matrix.download(url).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = coming.pieces.next().await? {
            if bytes.len() as u64 + piece.len() as u64 > limit {
                return Err(Trouble::too_large(limit));
            }
            bytes.extend(piece);
        }
        self.takes_picture(kind_of(&bytes)?)?;
        let place = self.files.assets.url(&name);
        let mut upload = self.files.assets.begin(owner, name).await?;
        upload.write(&bytes).await?;
        upload.finish().await?;
        Ok(place)
    }

    /// The asset as a file of the homeserver.
    async fn bring(&self, uri: &str, actor: &Actor, url: &str) -> Result<OwnedMxcUri, Trouble> {
        let never = |why: &dyn std::fmt::Display| Trouble::Never(why.to_string());
        let room = RoomUri::parse(uri).map_err(|error| never(&error))?;
        let place = DownloadUrl::parse(url)
            .map_err(|error| Trouble::Never(format!("it is where nothing is fetched from: {error}")))?;
        self.may_lie(place.host())?;
        let _turn = self.turn_of(&room.hub()).await?;
        let asset = self.files.assets.get(&room.hub(), &place, None).await.map_err(Trouble::from)?;
        let limit = self.largest_avatar();
        if asset.bytes() > limit {
            return Err(Trouble::too_large(limit));
        }
        let part = ExternalPart { url: url.to_owned(), ..ExternalPart::default() };
        let mut filling = self.files.spool.begin(ToMatrix::new(&part, now(), None)?)?;
        let brought = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(asset.bytes()).unwrap_or_default()];
            asset.file().read_exact_at(&mut bytes, 0).map_err(|error| Trouble::Later(error.to_string(), None))?;
            filling.write(&bytes)?;
            Ok::<_, Trouble>((kind_of(&bytes)?, filling.finish()?.0))
        });
        let (media_type, spooled) = brought.await.map_err(|error| Trouble::Later(error.to_string(), None))??;
        self.takes_picture(media_type)?;
        Ok(self.files.matrix.upload(actor, "avatar", media_type, &spooled).await?)
    }
}

impl super::super::actor::Actor {
    /// Nobody waits for a picture of the room: it goes by lanes beside the room's.
    pub(in crate::engine) fn picture(
        &mut self,
        effect: Effect,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        match effect {
            Effect::Publish { event, sender, owner, url } => {
                let mut name = [0; NAME_BYTES];
                getrandom::fill(&mut name).map_err(|error| StoreError::Invalid(format!("no random bytes: {error}")))?;
                let row = OutRow::Publish { room: self.uri.clone(), event, sender, owner, url, name };
                self.send(format!("{OUTWARD}{}", self.uri), row, batch, after)
            }
            Effect::Unpublish(url) => self.drop_files(vec![url], batch, after),
            Effect::Wear { room, actor, url } => {
                let row = OutRow::Wear { uri: self.uri.clone(), room, actor, url };
                self.send(format!("{INWARD}{}", self.uri), row, batch, after)
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn kind_of(bytes: &[u8]) -> Result<&'static str, Trouble> {
    picture_type(bytes).ok_or_else(|| Trouble::Never("it is no picture of a known kind".to_owned()))
}

pub(super) fn not_carried() -> CallError {
    Trouble::Never("files are not carried".to_owned()).into()
}

/// What became of something that was tried for long enough.
pub(super) fn ended<T>(result: Option<Result<T, String>>) -> Result<T, CallError> {
    match result {
        Some(result) => result.map_err(|why| Trouble::Never(why).into()),
        None => Err(Trouble::Later("the gateway stops".to_owned(), None).into()),
    }
}

pub(super) fn unread(error: impl std::fmt::Display) -> Trouble {
    Trouble::Later(error.to_string(), None)
}

impl Engine {
    /// Makes a file of the homeserver an asset, for the room and the event that it is the picture of; its URL, or an empty one
    /// once another picture stands there. Made again it is the same asset.
    pub(in crate::engine) async fn publish(
        &self,
        about: (&String, &str),
        owner: &UserUri,
        name: [u8; NAME_BYTES],
        url: &str,
    ) -> Result<String, CallError> {
        let carrier = self.0.files.get().ok_or_else(not_carried)?;
        let mxc = OwnedMxcUri::from(url);
        if !mxc.is_valid() {
            return Err(Trouble::Never("it is no file of a homeserver".to_owned()).into());
        }
        let attempt = || self.try_publish(carrier, about, owner, name, &mxc);
        ended(self.persist(url, || GIVE_UP, attempt).await)
    }

    async fn try_publish(
        &self,
        carrier: &Carrier,
        (room, event): (&String, &str),
        owner: &UserUri,
        name: [u8; NAME_BYTES],
        url: &OwnedMxcUri,
    ) -> Result<String, Trouble> {
        let record = records::load(&self.0.db, room).await.map_err(unread)?;
        if !record.is_some_and(|record| record.publishes(event)) {
            return Ok(String::new());
        }
        let home = self.0.names.map.server_name();
        let foreign = url.server_name().is_ok_and(|server| server != home);
        carrier.publish(owner, AssetName::from_random(name), url, foreign).await
    }

    /// Makes an asset the picture of a Matrix room, unless that shall have another one by now.
    pub(in crate::engine) async fn wear(
        &self,
        uri: &str,
        room: &OwnedRoomId,
        actor: &Actor,
        url: &str,
    ) -> Result<MatrixDone, CallError> {
        let carrier = self.0.files.get().ok_or_else(not_carried)?;
        let attempt = || self.try_bring(carrier, uri, room, actor, url);
        let brought = ended(self.persist(url, || GIVE_UP, attempt).await)?;
        let Some(mxc) = brought else { return Ok(MatrixDone::Done) };
        let action = MatrixAction::SetState {
            room: room.clone(),
            actor: actor.clone(),
            event_type: Setting::Avatar.event_type().to_owned(),
            state_key: String::new(),
            content: json!({ "url": mxc }).to_string(),
            optional: matches!(actor, Actor::Ghost(_)),
        };
        let attempt = || self.try_wear(uri, room, url, &action);
        ended(self.persist(url, || GIVE_UP, attempt).await)
    }

    async fn is_worn(&self, uri: &str, room: &OwnedRoomId, url: &str) -> Result<bool, Trouble> {
        let record = records::load(&self.0.db, uri).await.map_err(unread)?;
        Ok(record.is_some_and(|record| record.wears(room, url)))
    }

    async fn try_bring(
        &self,
        carrier: &Carrier,
        uri: &str,
        room: &OwnedRoomId,
        actor: &Actor,
        url: &str,
    ) -> Result<Option<OwnedMxcUri>, Trouble> {
        if !self.is_worn(uri, room, url).await? {
            return Ok(None);
        }
        carrier.bring(uri, actor, url).await.map(Some)
    }

    async fn try_wear(
        &self,
        uri: &str,
        room: &OwnedRoomId,
        url: &str,
        action: &MatrixAction,
    ) -> Result<MatrixDone, Trouble> {
        if !self.is_worn(uri, room, url).await? {
            return Ok(MatrixDone::Done);
        }
        self.0.homeserver.perform(action).await.map_err(|error| match error.retry {
            Retry::Permanent => Trouble::Never(error.what),
            Retry::Retriable(after) => Trouble::Later(error.what, after),
            Retry::Uncertain => Trouble::Later(error.what, None),
        })
    }
}
