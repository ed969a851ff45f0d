//! Assets: where they are uploaded, how they are downloaded, which ones are taken (0x002c, draft-ietf-mimi-room-policy-03
//! section 6.4). `optional<MediaType> permitted_media_types<V>` is read as an octet for its presence, then the vector.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::bytes::{Read, Result, all, checked, list, refused, written};
use crate::{
    ident::ProviderDomain,
    wire::{
        MediaType, Wire as _,
        codec::{Reader, Writer, octet_enum},
        limits,
    },
};

const MAX_PROVIDERS: usize = 1024;
const MAX_DOMAINS: usize = 256;
const MAX_DOMAIN: usize = 255;
const MAX_TYPES: usize = 255;

octet_enum! {
    /// Where clients upload assets.
    AssetUploadLocation, "asset_upload_location", {
        /// Anywhere.
        Unspecified = 0,
        /// At their own provider.
        LocalProvider = 1,
        /// At the hub.
        Hub = 2,
    }
}

octet_enum! {
    /// How clients download assets.
    DownloadPrivacyType, "download_privacy_type", {
        /// By themselves.
        Direct = 0,
        /// By way of the hub.
        HubProxy = 1,
        /// By way of the hub with Oblivious HTTP.
        Ohttp = 2,
    }
}

/// `ProviderAssetUploadDomains`: hosts that a provider's users upload to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderAssetUploadDomains {
    /// The provider.
    pub provider: ProviderDomain,
    /// Its hosts.
    pub asset_upload_destinations: Vec<ProviderDomain>,
}

/// `DownloadPrivacy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownloadPrivacy {
    /// What is allowed.
    pub allowed_download_types: Vec<DownloadPrivacyType>,
    /// What is forbidden; nothing that is allowed.
    pub forbidden_download_types: Vec<DownloadPrivacyType>,
    /// What is usual; not forbidden.
    pub default_download_type: DownloadPrivacyType,
}

/// `AssetPolicy`. An update has the same format and replaces the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetPolicy {
    /// Where assets are uploaded.
    pub asset_upload_location: AssetUploadLocation,
    /// Each provider's hosts; where the hub has all assets, the hub's alone.
    pub upload_domains: Vec<ProviderAssetUploadDomains>,
    /// How they are downloaded.
    pub download_privacy: DownloadPrivacy,
    /// Largest image, in bytes.
    pub max_image: u64,
    /// Largest audio, in bytes.
    pub max_audio: u64,
    /// Largest video, in bytes.
    pub max_video: u64,
    /// Largest other file, in bytes.
    pub max_attachment: u64,
    /// What is not taken.
    pub forbidden_media_types: Vec<MediaType>,
    /// If present, nothing else is taken.
    pub permitted_media_types: Option<Vec<MediaType>>,
}

fn domain(reader: &mut Reader<'_>, field: &'static str) -> Read<ProviderDomain> {
    let at = reader.clone();
    ProviderDomain::parse(&reader.utf8(field, MAX_DOMAIN)?).map_err(|error| at.error(field, error.into()))
}

fn write_domain(writer: &mut Writer, domain: &ProviderDomain) {
    writer.opaque(domain.as_str().as_bytes());
}

impl DownloadPrivacy {
    /// Whether assets may be downloaded in this way. Where the room says what is allowed, nothing else is.
    #[must_use]
    pub fn allows(&self, way: DownloadPrivacyType) -> bool {
        let listed = self.allowed_download_types.is_empty() || self.allowed_download_types.contains(&way);
        listed && !self.forbidden_download_types.contains(&way)
    }

    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let allowed = list(reader, "allowed_download_types", MAX_TYPES, DownloadPrivacyType::read)?;
        let at = reader.clone();
        let forbidden = list(reader, "forbidden_download_types", MAX_TYPES, DownloadPrivacyType::read)?;
        if forbidden.iter().any(|kind| allowed.contains(kind)) {
            return refused(&at, "forbidden_download_types", "one that is allowed");
        }
        let at = reader.clone();
        let usual = reader.inside("default_download_type", DownloadPrivacyType::read)?;
        if forbidden.contains(&usual) {
            return refused(&at, "default_download_type", "one that is forbidden");
        }
        Ok(Self { allowed_download_types: allowed, forbidden_download_types: forbidden, default_download_type: usual })
    }
}

impl AssetPolicy {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |r| {
            let asset_upload_location = AssetUploadLocation::read(r)?;
            let at = r.clone();
            let upload_domains = list(r, "upload_domains", MAX_PROVIDERS, |r| {
                Ok(ProviderAssetUploadDomains {
                    provider: domain(r, "provider")?,
                    asset_upload_destinations: list(r, "asset_upload_destinations", MAX_DOMAINS, |r| {
                        domain(r, "asset_upload_destinations")
                    })?,
                })
            })?;
            if asset_upload_location == AssetUploadLocation::Hub && upload_domains.len() != 1 {
                return refused(&at, "upload_domains", "only the hub's where the hub has all assets");
            }
            let providers: BTreeSet<&ProviderDomain> = upload_domains.iter().map(|domains| &domains.provider).collect();
            if providers.len() != upload_domains.len() {
                return refused(&at, "upload_domains", "the same provider twice");
            }
            Ok(Self {
                asset_upload_location,
                upload_domains,
                download_privacy: r.inside("download_privacy", DownloadPrivacy::read)?,
                max_image: r.u64("max_image")?,
                max_audio: r.u64("max_audio")?,
                max_video: r.u64("max_video")?,
                max_attachment: r.u64("max_attachment")?,
                forbidden_media_types: list(r, "forbidden_media_types", limits::MEDIA_TYPES, MediaType::read)?,
                permitted_media_types: r.optional("permitted_media_types", |r| {
                    list(r, "permitted_media_types", limits::MEDIA_TYPES, MediaType::read)
                })?,
            })
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = written("assets", |w| {
            self.asset_upload_location.write(w);
            w.each(&self.upload_domains, |w, domains| {
                write_domain(w, &domains.provider);
                w.each(&domains.asset_upload_destinations, write_domain);
            });
            w.each(&self.download_privacy.allowed_download_types, |w, kind| kind.write(w));
            w.each(&self.download_privacy.forbidden_download_types, |w, kind| kind.write(w));
            self.download_privacy.default_download_type.write(w);
            w.u64(self.max_image);
            w.u64(self.max_audio);
            w.u64(self.max_video);
            w.u64(self.max_attachment);
            w.list(&self.forbidden_media_types);
            w.optional(self.permitted_media_types.as_ref(), |w, types| w.list(types));
        })?;
        checked("assets", self, bytes, Self::decode)
    }

    /// Whether an asset of this media type is taken. An entry without parameters stands for all parameters.
    #[must_use]
    pub fn takes(&self, media_type: &MediaType) -> bool {
        let among = |types: &[MediaType]| {
            types.iter().any(|listed| {
                listed.essence.eq_ignore_ascii_case(&media_type.essence)
                    && (listed.parameters.is_empty() || listed.parameters == media_type.parameters)
            })
        };
        !among(&self.forbidden_media_types) && self.permitted_media_types.as_deref().is_none_or(among)
    }
}
