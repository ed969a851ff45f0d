//! Pictures of people: the small form of a member's, read from the homeserver, and that of a remote user as a file there.

use ruma::OwnedMxcUri;

use super::{
    Carrier, Trouble,
    avatar::{ended, not_carried, unread},
};
use crate::{
    engine::{
        Engine,
        actor::After,
        ports::{Actor, CallError, Download},
        records,
        tables::OutRow,
    },
    ident::UserUri,
    media::AsItIs,
    room::Effect,
    store::{Batch, StoreError},
    translate::profile::{MAX_PICTURE, Picture},
};

/// How the lanes of pictures on their way out begin; the room follows. The room's own picture does not wait for them.
const OUTWARD: &str = "m:portrait:";
/// And those on their way in. It is no peer's lane: what fails is tried again before the lane hears of it.
const INWARD: &str = "w:portrait:";
/// How long one is tried for: a later message of the same user asks for it anew.
const GIVE_UP: std::time::Duration = std::time::Duration::from_mins(10);

impl Carrier {
    /// The picture, as small as it has to be; `None`: there is no form of it that is small enough.
    async fn small_picture(
        &self,
        user: &UserUri,
        place: &OwnedMxcUri,
        foreign: bool,
    ) -> Result<Option<Picture>, Trouble> {
        let _turn = self.out.of(user, foreign).await;
        let thumbnail = match self.files.matrix.thumbnail(place).await.map_err(Trouble::from) {
            Ok(coming) => Some(coming),
            // Of a picture that the homeserver cannot draw; perhaps it is small enough as it is.
            Err(Trouble::Never(_)) => None,
            Err(later) => return Err(later),
        };
        let mut found = None;
        if let Some(coming) = thumbnail {
            found = read(coming).await?;
        }
        if found.is_none() {
            found = read(self.files.matrix.download(place).await?).await?;
        }
        let Some(picture) = found.and_then(Picture::new) else { return Ok(None) };
        self.takes_picture(picture.media_type)?;
        Ok(Some(picture))
    }

    async fn keep_picture(&self, user: &UserUri, picture: &Picture) -> Result<OwnedMxcUri, Trouble> {
        self.takes_picture(picture.media_type)?;
        let _turn = self.turn_of(&user.provider()).await?;
        let mut filling = self.files.spool.begin(AsItIs)?;
        filling.write(&picture.bytes)?;
        let (spooled, ()) = filling.finish()?;
        let actor = Actor::Ghost(user.clone());
        Ok(self.files.matrix.upload(&actor, "avatar", picture.media_type, &spooled).await?)
    }
}

/// A whole file, if it is no larger than a picture in a card may be.
async fn read(mut coming: Download) -> Result<Option<Vec<u8>>, Trouble> {
    let mut bytes = Vec::new();
    while let Some(piece) = coming.pieces.next().await? {
        if bytes.len() + piece.len() > MAX_PICTURE {
            return Ok(None);
        }
        bytes.extend(piece);
    }
    Ok(Some(bytes))
}

impl super::super::actor::Actor {
    /// Nobody waits for the picture of a person: they go by lanes of their own.
    pub(in crate::engine) fn portrait(
        &mut self,
        effect: Effect,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let room = self.uri.clone();
        match effect {
            Effect::Fetch { user, place } => {
                let mut salt = [0; 16];
                getrandom::fill(&mut salt).map_err(|error| StoreError::Invalid(format!("no random bytes: {error}")))?;
                self.send(format!("{OUTWARD}{room}"), OutRow::Fetch { room, user, place, salt }, batch, after)
            }
            Effect::Portray { user, picture } => {
                let row = OutRow::Portray { room: room.clone(), user, picture: picture.bytes };
                self.send(format!("{INWARD}{room}"), row, batch, after)
            }
            _ => Ok(()),
        }
    }
}

impl Engine {
    /// The picture of one of our users, unless they have another one by now or none.
    pub(in crate::engine) async fn fetch_portrait(
        &self,
        room: &str,
        user: &UserUri,
        place: &str,
    ) -> Result<Option<Picture>, CallError> {
        let carrier = self.0.files.get().ok_or_else(not_carried)?;
        let mxc = OwnedMxcUri::from(place);
        if !mxc.is_valid() {
            return Err(Trouble::Never("it is no file of a homeserver".to_owned()).into());
        }
        let foreign = mxc.server_name().is_ok_and(|server| server != self.0.names.map.server_name());
        let attempt = || async {
            if !records::shows_picture(&self.0.db, room, user, place).await.map_err(unread)? {
                return Ok(None);
            }
            carrier.small_picture(user, &mxc, foreign).await
        };
        ended(self.persist(place, || GIVE_UP, attempt).await)
    }

    /// Keeps the picture of a remote user at the homeserver, if its ghost is still to have it.
    pub(in crate::engine) async fn portray(
        &self,
        room: &str,
        user: &UserUri,
        picture: &[u8],
    ) -> Result<(Picture, String), CallError> {
        let carrier = self.0.files.get().ok_or_else(not_carried)?;
        let never = |why: &str| Trouble::Never(why.to_owned());
        let picture = Picture::new(picture.to_vec()).ok_or_else(|| never("it is no picture of a known kind"))?;
        let attempt = || async {
            if !records::wants_picture(&self.0.db, room, user, &picture).await.map_err(unread)? {
                return Err(never("it is to have another one by now"));
            }
            carrier.keep_picture(user, &picture).await
        };
        let place = ended(self.persist(user.as_str(), || GIVE_UP, attempt).await)?;
        Ok((picture, place.to_string()))
    }
}
