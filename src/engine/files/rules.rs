//! What a room's `asset_policy` (draft-ietf-mimi-room-policy-03 section 6.4) says of one file, before anything is fetched.

use crate::{
    ident::{ProviderDomain, UserUri},
    policy::{AssetPolicy, AssetUploadLocation, RoomState, component},
    translate::media::{MAX_EMOTICON, MediaInfo, MediaKind, bytes},
    wire::MediaType,
};

/// The room's policy, if it has one that can be read.
pub(super) fn of(state: &RoomState) -> Option<AssetPolicy> {
    read(state.other.get(&component::ASSET_POLICY)?)
}

/// The same from the component's bytes.
pub(super) fn read(bytes: &[u8]) -> Option<AssetPolicy> {
    AssetPolicy::decode(bytes).inspect_err(|error| tracing::debug!(%error, "an asset policy does not read")).ok()
}

/// How large a file may be, in bytes, or why it is not taken at all.
pub(super) fn limit(policy: Option<&AssetPolicy>, kind: MediaKind, info: &MediaInfo, most: u64) -> Result<u64, String> {
    let mut limit = if kind == MediaKind::Emoticon { most.min(MAX_EMOTICON) } else { most };
    if let Some(policy) = policy {
        let media_type = MediaType { essence: info.media_type.clone(), parameters: Vec::new() };
        // What a custom emoji is shows when it comes.
        let unknown = kind == MediaKind::Emoticon && info.media_type.is_empty();
        if !unknown && !policy.takes(&media_type) {
            return Err(format!("the room takes no files of type {}", info.media_type));
        }
        limit = limit.min(match kind {
            MediaKind::Image | MediaKind::Sticker | MediaKind::Emoticon => policy.max_image,
            MediaKind::Audio => policy.max_audio,
            MediaKind::Video => policy.max_video,
            MediaKind::File => policy.max_attachment,
        });
    }
    match info.size.filter(|size| *size > limit) {
        Some(_) => Err(format!("it is larger than {}", bytes(limit))),
        None => Ok(limit),
    }
}

/// Why a file of this user may not lie on this host.
pub(super) fn place(policy: Option<&AssetPolicy>, owner: &UserUri, host: &ProviderDomain) -> Result<(), String> {
    let Some(policy) = policy.filter(|policy| policy.asset_upload_location != AssetUploadLocation::Unspecified) else {
        return Ok(());
    };
    let local = policy.asset_upload_location == AssetUploadLocation::LocalProvider;
    let provider = owner.provider();
    let listed = policy
        .upload_domains
        .iter()
        .filter(|domains| !local || domains.provider == provider)
        .any(|domains| domains.asset_upload_destinations.contains(host));
    if listed { Ok(()) } else { Err(format!("the room takes no files that lie at {host}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{DownloadPrivacy, DownloadPrivacyType, ProviderAssetUploadDomains};

    fn policy() -> AssetPolicy {
        let domain = |name: &str| ProviderDomain::parse(name).unwrap();
        let of = |provider: &str, host: &str| ProviderAssetUploadDomains {
            provider: domain(provider),
            asset_upload_destinations: vec![domain(host)],
        };
        let plain = |essence: &str| MediaType { essence: essence.to_owned(), parameters: Vec::new() };
        AssetPolicy {
            asset_upload_location: AssetUploadLocation::LocalProvider,
            upload_domains: vec![of("a.example", "files.a.example"), of("b.example", "b.example")],
            download_privacy: DownloadPrivacy {
                allowed_download_types: vec![],
                forbidden_download_types: vec![],
                default_download_type: DownloadPrivacyType::HubProxy,
            },
            max_image: 10,
            max_audio: 20,
            max_video: 30,
            max_attachment: 40,
            forbidden_media_types: vec![plain("image/tiff")],
            permitted_media_types: None,
        }
    }

    fn info(media_type: &str, size: Option<u64>) -> MediaInfo {
        MediaInfo {
            media_type: media_type.to_owned(),
            size,
            width: None,
            height: None,
            duration: None,
            blurhash: None,
            language: String::new(),
        }
    }

    #[test]
    fn each_kind_has_its_limit_and_types_can_be_refused() {
        let policy = policy();
        for (kind, most) in [
            (MediaKind::Image, 10),
            (MediaKind::Sticker, 10),
            (MediaKind::Audio, 20),
            (MediaKind::Video, 30),
            (MediaKind::File, 40),
        ] {
            let ask = |size| limit(Some(&policy), kind, &info("image/png", size), 1000);
            assert_eq!((ask(None), ask(Some(most))), (Ok(most), Ok(most)));
            assert_eq!(ask(Some(most + 1)), Err(format!("it is larger than {most} bytes")));
        }
        let refused = limit(Some(&policy), MediaKind::Image, &info("image/tiff", Some(1)), 1000).unwrap_err();
        assert_eq!(refused, "the room takes no files of type image/tiff");
        assert_eq!(limit(None, MediaKind::Image, &info("image/tiff", Some(1)), 1000), Ok(1000));
        assert!(limit(None, MediaKind::Image, &info("image/png", Some(1001)), 1000).is_err());
    }

    #[test]
    fn files_lie_where_the_room_says() {
        let (mut policy, user) = (policy(), UserUri::parse("mimi://a.example/u/alice").unwrap());
        let ask = |policy: &AssetPolicy, host: &str| {
            place(Some(policy), &user, &ProviderDomain::parse(host).unwrap()).is_ok()
        };
        assert!(ask(&policy, "files.a.example"));
        assert!(!ask(&policy, "a.example") && !ask(&policy, "b.example"));
        policy.asset_upload_location = AssetUploadLocation::Unspecified;
        assert!(ask(&policy, "b.example"));
        policy.asset_upload_location = AssetUploadLocation::Hub;
        policy.upload_domains.remove(0);
        assert!(ask(&policy, "b.example") && !ask(&policy, "files.a.example"));
    }
}
