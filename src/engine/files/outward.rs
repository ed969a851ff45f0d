//! Files of our users on their way out: from the homeserver, sealed anew, into our asset store, in one pass and piece by piece.

use ruma::{OwnedRoomId, OwnedServerName};
use sha2::{Digest as _, Sha512};
use tokio::time::Instant;

use super::{Carrier, EMOTICONS, GIVE_UP, Trouble, late, rules};
use crate::{
    assets::AssetName,
    content::ExternalPart,
    engine::Engine,
    ident::UserUri,
    media::{CHUNK, Pipe as _, SealKey, ToMimi, Unverified},
    policy::AssetPolicy,
    translate::media::{FileSource, Media, MediaInfo, MediaKind, Moved, picture_type},
    wire::path::DownloadUrl,
};

/// So many bytes of a file tell what it is.
const BEGINNING: usize = 16;

/// The files of one event.
pub(super) struct Outward {
    /// Where the event is, for operators.
    pub(super) room: OwnedRoomId,
    /// Who sends them.
    pub(super) owner: UserUri,
    /// Our homeserver.
    pub(super) home: OwnedServerName,
    /// What they are.
    pub(super) media: Media<FileSource>,
    /// What names and keys are made of: drawn once for this event, so that a second try leaves nothing of the first behind.
    pub(super) seed: [u8; 32],
    /// What the room says of files.
    pub(super) policy: Option<AssetPolicy>,
}

/// Name, key and nonce of one file of an event.
fn drawn(seed: &[u8; 32], index: usize) -> (AssetName, SealKey) {
    let mut hash = Sha512::new();
    hash.update(b"mimi-gateway file");
    hash.update(seed);
    hash.update((index as u64).to_be_bytes());
    let bytes: [u8; 64] = hash.finalize().into();
    let (mut name, mut key, mut nonce) = ([0; 20], [0; 16], [0; 12]);
    let parts = name.iter_mut().chain(&mut key).chain(&mut nonce);
    for (to, from) in parts.zip(bytes) {
        *to = from;
    }
    (AssetName::from_random(name), SealKey::from_random(key, nonce))
}

fn no_picture() -> Trouble {
    Trouble::Never("it is no picture of a known kind".to_owned())
}

impl Carrier {
    /// Where one file of an event lies, once it is there.
    pub(super) fn url(&self, seed: &[u8; 32], index: usize) -> String {
        self.files.assets.url(&drawn(seed, index).0)
    }

    /// Brings one file over. The bytes are in memory piece by piece only.
    async fn send(
        &self,
        work: &Outward,
        index: usize,
        source: &FileSource,
        kind: MediaKind,
        info: &MediaInfo,
    ) -> Result<ExternalPart, Trouble> {
        let files = &self.files;
        let policy = work.policy.as_ref();
        self.lets_through(info)?;
        let limit = rules::limit(policy, kind, info, files.max_bytes).map_err(Trouble::Never)?;
        let (name, key) = drawn(&work.seed, index);
        let url = files.assets.url(&name);
        let host = DownloadUrl::parse(&url).map_err(|error| Trouble::Never(format!("our assets' address: {error}")))?;
        rules::place(policy, &work.owner, host.host()).map_err(Trouble::Never)?;
        let foreign = source.url().server_name().is_ok_and(|server| *server != work.home);
        let _turn = self.out.of(&work.owner, foreign).await;
        let mut coming = files.matrix.download(source.url()).await?;
        if coming.bytes.is_some_and(|bytes| bytes > limit) {
            return Err(Trouble::too_large(limit));
        }
        let mut upload = files.assets.begin(&work.owner, name).await?;
        let mut pipe = ToMimi::new(source.for_pipe(), key)?;
        let (mut out, mut came, mut begins) = (Unverified::new(), 0_u64, Vec::new());
        while let Some(piece) = coming.pieces.next().await? {
            came += piece.len() as u64;
            if came > limit {
                return Err(Trouble::too_large(limit));
            }
            begins.extend(piece.iter().take(BEGINNING - begins.len()));
            for part in piece.chunks(CHUNK) {
                pipe.feed(part, &mut out)?;
                if out.len() >= CHUNK {
                    upload.write(out.spool()).await?;
                    out.clear();
                }
            }
        }
        let sealed = pipe.finish(&mut out)?;
        let mut part = ExternalPart { url, ..ExternalPart::default() };
        if kind == MediaKind::Emoticon {
            picture_type(&begins).ok_or_else(no_picture)?.clone_into(&mut part.content_type);
            let info = MediaInfo { media_type: part.content_type.clone(), ..info.clone() };
            self.lets_through(&info)?;
            rules::limit(policy, kind, &info, files.max_bytes).map_err(Trouble::Never)?;
        }
        upload.write(out.spool()).await?;
        // Matrix' clock is in milliseconds, and what is kept for ever has no end.
        part.expires =
            if upload.expires() == u64::MAX { 0 } else { u32::try_from(upload.expires() / 1000).unwrap_or(u32::MAX) };
        upload.finish().await?;
        sealed.describe(&mut part);
        Ok(part)
    }
}

impl Engine {
    /// Brings all files of an event over, in the order of [`Media::sources`]. `None`: the engine stops.
    pub(super) async fn send_files(&self, work: &Outward) -> Option<Vec<Moved<ExternalPart>>> {
        let carrier = self.0.files.get()?;
        let mut moved = Vec::new();
        let one = async |index, source: &FileSource, kind, info: &MediaInfo| {
            let what = format!("{} of {}", source.url(), work.room);
            self.persist(&what, || GIVE_UP, || carrier.send(work, index, source, kind, info)).await
        };
        let in_time = Instant::now() + EMOTICONS;
        for file in &work.media.files {
            let came = one(moved.len(), &file.source, file.kind, &file.info);
            let came = if file.kind == MediaKind::Emoticon {
                tokio::time::timeout_at(in_time, came).await.unwrap_or_else(|_| Some(Err(late())))?
            } else {
                came.await?
            };
            let is_there = came.is_ok();
            moved.push(came);
            if let Some((source, info)) = &file.thumbnail {
                // Without its file it would be of no use.
                let came = if is_there {
                    one(moved.len(), source, MediaKind::Image, info).await?
                } else {
                    Err("its file is not there".to_owned())
                };
                moved.push(came);
            }
        }
        // What was let go just when it was there is nobody's.
        let failed = moved.iter().enumerate().filter(|(_, came)| came.is_err());
        let gone: Vec<String> = failed.map(|(index, _)| carrier.url(&work.seed, index)).collect();
        self.delete_assets(gone).await;
        Some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_try_has_the_same_name_and_key_and_no_other_file_has() {
        let seed = [7; 32];
        assert_eq!(drawn(&seed, 0), drawn(&seed, 0));
        let (one, other, third) = (drawn(&seed, 0), drawn(&seed, 1), drawn(&[8; 32], 0));
        assert!(one.0 != other.0 && one.1 != other.1);
        assert!(one.0 != third.0 && one.1 != third.1);
    }
}
