//! Pictures of rooms: a file of the homeserver as an asset that everybody in the room can fetch, and the way back. They are not
//! sealed: their URL stands in the room's metadata, which hubs read.

use std::os::unix::fs::FileExt as _;

use ruma::{OwnedMxcUri, OwnedRoomId};
use serde_json::json;

use super::{Carrier, Trouble};
use crate::{
    assets::{AssetName, NAME_BYTES},
    content::ExternalPart,
    engine::{
        Engine,
        actor::After,
        core::now,
        ports::{Actor, CallError, MatrixAction, MatrixDone, Retry},
        tables::OutRow,
    },
    ident::{RoomUri, UserUri},
    media::ToMatrix,
    room::{Effect, Setting},
    store::{Batch, StoreError},
    translate::media::picture_type,
    wire::path::DownloadUrl,
};

/// The largest picture of a room, in bytes.
const MAX_AVATAR: u64 = 4 << 20;

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

    async fn publish(&self, owner: &UserUri, name: AssetName, url: OwnedMxcUri) -> Result<String, Trouble> {
        let limit = self.largest_avatar();
        let mut coming = self.files.matrix.download(&url).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = coming.pieces.next().await? {
            if bytes.len() as u64 + piece.len() as u64 > limit {
                return Err(Trouble::too_large(limit));
            }
            bytes.extend(piece);
        }
        kind_of(&bytes)?;
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
                self.send(format!("m:avatar:{}", self.uri), row, batch, after)
            }
            Effect::Wear { room, actor, url } => {
                let host = DownloadUrl::parse(&url).map(|url| url.host().to_string()).unwrap_or_default();
                let row = OutRow::Wear { uri: self.uri.clone(), room, actor, url };
                self.send(format!("a:{host}:{}", self.uri), row, batch, after)
            }
            _ => Ok(()),
        }
    }
}

fn kind_of(bytes: &[u8]) -> Result<&'static str, Trouble> {
    picture_type(bytes).ok_or_else(|| Trouble::Never("it is no picture of a known kind".to_owned()))
}

fn not_carried() -> CallError {
    Trouble::Never("files are not carried".to_owned()).into()
}

impl Engine {
    /// Makes a file of the homeserver an asset; its URL. Made again it is the same asset.
    pub(in crate::engine) async fn publish(
        &self,
        owner: &UserUri,
        name: [u8; NAME_BYTES],
        url: &str,
    ) -> Result<String, CallError> {
        let carrier = self.0.files.get().ok_or_else(not_carried)?;
        let mxc = OwnedMxcUri::from(url);
        if !mxc.is_valid() {
            return Err(Trouble::Never("it is no file of a homeserver".to_owned()).into());
        }
        Ok(carrier.publish(owner, AssetName::from_random(name), mxc).await?)
    }

    /// Makes an asset the picture of a Matrix room.
    pub(in crate::engine) async fn wear(
        &self,
        uri: &str,
        room: &OwnedRoomId,
        actor: &Actor,
        url: &str,
    ) -> Result<MatrixDone, CallError> {
        let carrier = self.0.files.get().ok_or_else(not_carried)?;
        let mxc = carrier.bring(uri, actor, url).await?;
        let action = MatrixAction::SetState {
            room: room.clone(),
            actor: actor.clone(),
            event_type: Setting::Avatar.event_type().to_owned(),
            state_key: String::new(),
            content: json!({ "url": mxc }).to_string(),
            optional: matches!(actor, Actor::Ghost(_)),
        };
        self.0.homeserver.perform(&action).await
    }
}
