//! Bytes of the components that say what clients may do, of joining links, assets and preauthorised users; and what is refused.

use super::*;
use crate::wire::{DecodeError, MediaType};

fn bytes(annotated: &[&str]) -> Vec<u8> {
    hex::decode(annotated.concat().replace(' ', "")).unwrap()
}

/// Both ways, and nothing that is cut off or too long.
macro_rules! agrees {
    ($value:expr, $type:ty, $annotated:expr) => {{
        let (value, bytes): ($type, _) = ($value, bytes(&$annotated));
        assert_eq!(hex::encode(value.encode().unwrap()), hex::encode(&bytes));
        assert_eq!(<$type>::decode(&bytes), Ok(value));
        for length in 0..bytes.len() {
            assert!(<$type>::decode(&bytes[..length]).is_err(), "{length} bytes of it");
        }
        assert!(<$type>::decode(&[&bytes[..], &[0]].concat()).is_err());
    }};
}

/// The field and the reason.
fn refused<T: std::fmt::Debug>(read: Result<T, CodecError>) -> (String, DecodeErrorKind) {
    let Err(CodecError::Decode(error)) = read else { panic!("{read:?}") };
    let error: DecodeError = error;
    (error.path(), error.kind)
}

fn at<T: std::fmt::Debug>(hex: &str, decode: fn(&[u8]) -> Result<T, CodecError>) -> String {
    let (field, kind) = refused(decode(&bytes(&[hex])));
    format!("{field}: {kind}")
}

#[test]
fn status_notification_bytes() {
    let policy = StatusNotificationPolicy {
        delivery_notifications: Optionality::Required,
        read_receipts: Optionality::Forbidden,
    };
    agrees!(policy, StatusNotificationPolicy, ["01", "02"]);
    assert_eq!(at("0003", StatusNotificationPolicy::decode), "read_receipts.optionality: unknown value 3");
}

#[test]
fn link_preview_bytes() {
    let mut policy = LinkPreviewPolicy {
        autodetect_hyperlinks_in_text: Optionality::Optional,
        send_link_previews: Optionality::Required,
        automatic_link_previews: Optionality::Forbidden,
        link_preview_proxy_use: Optionality::Required,
        link_preview_proxy: vec!["https://p".to_owned()],
    };
    let annotated = [
        "00",                       // autodetect_hyperlinks_in_text
        "01",                       // send_link_previews
        "02",                       // automatic_link_previews
        "01",                       // link_preview_proxy_use: required
        "0a 09 68747470733a2f2f70", // link_preview_proxy: https://p
    ];
    agrees!(policy.clone(), LinkPreviewPolicy, annotated);
    assert!(at("01 01 02 02", LinkPreviewPolicy::decode).starts_with("autodetect_hyperlinks_in_text: never"));
    assert_eq!(at("00 01 02 00 00", LinkPreviewPolicy::decode), "link_preview_proxy: a URI is wanted");
    assert!(at("00 01 02 01 01 00", LinkPreviewPolicy::decode).ends_with("a URI is wanted"));
    assert!(at("00 01 02 01 03 02 7820", LinkPreviewPolicy::decode).ends_with("not a URI"));
    // Where there is no proxy the field does not exist, and a proxy that would get lost is not written.
    assert!(policy.encode().is_ok());
    policy.link_preview_proxy_use = Optionality::Forbidden;
    assert!(policy.encode().is_err());
    policy.link_preview_proxy.clear();
    agrees!(policy, LinkPreviewPolicy, ["00", "01", "02", "02"]);
}

#[test]
fn logging_bytes() {
    let policy = LoggingPolicy {
        logging: Optionality::Required,
        logging_clients: vec!["mimi:l".to_owned()],
        machine_readable_policy: "x:m".to_owned(),
        human_readable_policy: String::new(),
    };
    assert!(policy.is_active());
    let annotated = [
        "01",                 // logging: required
        "07 06 6d696d693a6c", // logging_clients: mimi:l
        "03 783a6d",          // machine_readable_policy: x:m
        "00",                 // human_readable_policy: none
    ];
    agrees!(policy, LoggingPolicy, annotated);
    assert!(at("01 00 00 00", LoggingPolicy::decode).starts_with("logging_clients: required"));
    let none = LoggingPolicy::decode(&[0, 0, 0, 0]).unwrap();
    assert!(!none.is_active(), "optional and without client");
    agrees!(LoggingPolicy { logging: Optionality::Forbidden, ..none }, LoggingPolicy, ["02"]);
}

#[test]
fn chat_history_bytes() {
    let policy = HistoryPolicy {
        history_sharing: Optionality::Optional,
        roles_that_can_share: vec![3, 4],
        automatically_share: true,
        max_time_period: 3600,
    };
    let annotated = [
        "00",                   // history_sharing: optional
        "08 00000003 00000004", // roles_that_can_share
        "01",                   // automatically_share
        "00000e10",             // max_time_period: an hour
    ];
    agrees!(policy.clone(), HistoryPolicy, annotated);
    for role in ["00000000", "00000001"] {
        let hex = format!("01 04 {role} 00 00000000");
        assert_eq!(at(&hex, HistoryPolicy::decode), "roles_that_can_share: role 0 or 1");
    }
    assert!(HistoryPolicy { history_sharing: Optionality::Forbidden, ..policy.clone() }.encode().is_err());
    assert!(HistoryPolicy { roles_that_can_share: vec![1], ..policy }.encode().is_err());
    let none = HistoryPolicy {
        history_sharing: Optionality::Forbidden,
        roles_that_can_share: vec![],
        automatically_share: false,
        max_time_period: 0,
    };
    agrees!(none, HistoryPolicy, ["02"]);
}

#[test]
fn bot_bytes() {
    let bot = Bot {
        name: "b".to_owned(),
        description: String::new(),
        homepage: "x:h".to_owned(),
        local_client_bot: false,
        bot_role_index: 2,
        can_target_message_in_group: true,
        per_user_content: false,
    };
    let annotated = [
        "0e",        // allowed_bots: 14 bytes
        "01 62",     //   name: b
        "00",        //   description
        "03 783a68", //   homepage: x:h
        "00",        //   local_client_bot
        "00000002",  //   bot_role_index
        "01",        //   can_target_message_in_group
        "00",        //   per_user_content
    ];
    agrees!(BotPolicy { allowed_bots: vec![bot.clone()] }, BotPolicy, annotated);
    let local = Bot { local_client_bot: true, ..bot };
    assert!(BotPolicy { allowed_bots: vec![local] }.encode().is_err());
    let hex = "0b 01 62 00 00 01 00000002 01 00";
    assert_eq!(at(hex, BotPolicy::decode), "allowed_bots[0].bot_role_index: a local bot has role 0");
}

#[test]
fn message_expiration_bytes() {
    let expiration = MessageExpiration {
        expiring_messages: Optionality::Required,
        min_expiration_duration: 60,
        max_expiration_duration: 3600,
        default_expiration_duration: Some(600),
    };
    let annotated = [
        "01",          // expiring_messages: required
        "0000003c",    // min_expiration_duration
        "00000e10",    // max_expiration_duration
        "01 00000258", // default_expiration_duration
    ];
    agrees!(expiration, MessageExpiration, annotated);
    assert!(at("00 00000002 00000001 00", MessageExpiration::decode).ends_with("less than the minimum"));
    for usual in ["00000001", "00000004"] {
        let hex = format!("00 00000002 00000003 01 {usual}");
        assert!(at(&hex, MessageExpiration::decode).starts_with("default_expiration_duration: not between"));
    }
    let forbidden = MessageExpiration { expiring_messages: Optionality::Forbidden, ..expiration };
    assert!(forbidden.encode().is_err());
    let forbidden = MessageExpiration {
        min_expiration_duration: 0,
        max_expiration_duration: 0,
        default_expiration_duration: None,
        ..forbidden
    };
    agrees!(forbidden, MessageExpiration, ["02"]);
}

#[test]
fn a_message_stays_as_long_as_the_policy_wants() {
    let policy = |expiring_messages, default_expiration_duration| MessageExpiration {
        expiring_messages,
        min_expiration_duration: 60,
        max_expiration_duration: 3600,
        default_expiration_duration,
    };
    let said = |policy: MessageExpiration| [None, Some(5), Some(100), Some(7200)].map(|wanted| policy.bounded(wanted));
    let bounded = [Some(60), Some(100), Some(3600)];
    let with = |first: Option<u32>| [first, bounded[0], bounded[1], bounded[2]];
    assert_eq!(said(policy(Optionality::Required, Some(600))), with(Some(600)));
    assert_eq!(said(policy(Optionality::Required, None)), with(Some(3600)));
    assert_eq!(said(policy(Optionality::Optional, Some(600))), with(Some(600)));
    assert_eq!(said(policy(Optionality::Optional, None)), with(None));
    assert_eq!(said(policy(Optionality::Forbidden, None)), [None; 4]);
    // Nobody means messages that are gone before anybody reads them.
    let nothing = MessageExpiration {
        min_expiration_duration: 0,
        max_expiration_duration: 0,
        ..policy(Optionality::Required, None)
    };
    assert_eq!(said(nothing), [None, Some(5), Some(100), Some(7200)]);
}

#[test]
fn join_link_bytes() {
    let policy = JoinLinkPolicy { on_request: true, join_link: "x:j".to_owned(), multiuser: false, expiration: 86_400 };
    let annotated = [
        "01",        // on_request
        "03 783a6a", // join_link: x:j
        "00",        // multiuser
        "00015180",  // expiration: a day
    ];
    agrees!(policy.clone(), JoinLinkPolicy, annotated);
    let link = |text: &str| JoinLink { join_link: text.as_bytes().to_vec() };
    let links = JoinLinks(vec![link("a"), link("bc")]);
    agrees!(links.clone(), JoinLinks, ["05 01 61 02 6263"]);
    assert!(!policy.allows(&links) && policy.allows(&JoinLinks(vec![link("a")])));
    assert!(JoinLinkPolicy { on_request: false, ..policy }.allows(&links));
    let update = JoinLinksUpdate { removed: vec![0], added: vec![link("d")] };
    agrees!(update.clone(), JoinLinksUpdate, ["04 00000000", "02 01 64"]);
    assert_eq!(links.updated(&update), Some(JoinLinks(vec![link("bc"), link("d")])));
    assert_eq!(links.updated(&JoinLinksUpdate { removed: vec![2], added: vec![] }), None);
    assert_eq!(at("08 00000001 00000001 00", JoinLinksUpdate::decode), "removedIndices: the same index twice");
}

fn media(essence: &str) -> MediaType {
    MediaType { essence: essence.to_owned(), parameters: vec![] }
}

fn assets() -> AssetPolicy {
    let domain = |text: &str| crate::ident::ProviderDomain::parse(text).unwrap();
    AssetPolicy {
        asset_upload_location: AssetUploadLocation::Hub,
        upload_domains: vec![ProviderAssetUploadDomains {
            provider: domain("a.example"),
            asset_upload_destinations: vec![domain("c.a.example")],
        }],
        download_privacy: DownloadPrivacy {
            allowed_download_types: vec![DownloadPrivacyType::HubProxy, DownloadPrivacyType::Ohttp],
            forbidden_download_types: vec![DownloadPrivacyType::Direct],
            default_download_type: DownloadPrivacyType::Ohttp,
        },
        max_image: 1,
        max_audio: 2,
        max_video: 3,
        max_attachment: 4,
        forbidden_media_types: vec![media("a/b")],
        permitted_media_types: Some(vec![media("c/d")]),
    }
}

#[test]
fn asset_bytes() {
    let annotated = [
        "02",                           // asset_upload_location: hub
        "17",                           // upload_domains: 23 bytes
        "09 612e6578616d706c65",        //   provider: a.example
        "0c 0b 632e612e6578616d706c65", //   asset_upload_destinations: c.a.example
        "02 01 02",                     // allowed_download_types: hubProxy, ohttp
        "01 00",                        // forbidden_download_types: direct
        "02",                           // default_download_type: ohttp
        "0000000000000001",             // max_image
        "0000000000000002",             // max_audio
        "0000000000000003",             // max_video
        "0000000000000004",             // max_attachment
        "05 03 612f62 00",              // forbidden_media_types: a/b
        "01 05 03 632f64 00",           // permitted_media_types: c/d
    ];
    agrees!(assets(), AssetPolicy, annotated);
}

#[test]
fn asset_rules() {
    let refusal = |change: &dyn Fn(&mut AssetPolicy)| {
        let mut policy = assets();
        change(&mut policy);
        policy.encode().unwrap_err().to_string()
    };
    let two = |p: &mut AssetPolicy| p.upload_domains.push(p.upload_domains[0].clone());
    assert!(refusal(&two).contains("only the hub's"));
    assert!(refusal(&|p| p.upload_domains.clear()).contains("only the hub's"));
    let twice = |p: &mut AssetPolicy| {
        p.asset_upload_location = AssetUploadLocation::LocalProvider;
        two(p);
    };
    assert!(refusal(&twice).contains("the same provider twice"));
    let usual = |p: &mut AssetPolicy| p.download_privacy.default_download_type = DownloadPrivacyType::Direct;
    assert!(refusal(&usual).contains("one that is forbidden"));
    let both = |p: &mut AssetPolicy| p.download_privacy.allowed_download_types.push(DownloadPrivacyType::Direct);
    assert!(refusal(&both).contains("one that is allowed"));

    let mut policy = assets();
    let with = |essence: &str| MediaType {
        parameters: vec![crate::wire::MediaTypeParameter { name: "v".to_owned(), value: "1".to_owned() }],
        ..media(essence)
    };
    assert!(policy.takes(&media("c/d")) && policy.takes(&with("C/D")) && !policy.takes(&media("e/f")));
    policy.permitted_media_types = None;
    assert!(policy.takes(&media("e/f")) && !policy.takes(&with("a/b")));
    policy.permitted_media_types = Some(vec![with("c/d")]);
    assert!(policy.takes(&with("c/d")) && !policy.takes(&media("c/d")));
}

#[test]
fn preauthorized_users_bytes() {
    let role = Role {
        index: 2,
        name: "m".into(),
        description: String::new(),
        capabilities: vec![0x0005],
        min_participants: 0,
        max_participants: None,
        min_active: 0,
        max_active: None,
        changes: vec![],
    };
    let claim = Claim { claim_id: ClaimId { credential_type: 2, id: b"ou".to_vec() }, claim_value: b"hr".to_vec() };
    let list = PreauthList(vec![PreauthEntry { claimset: vec![claim], target_role: role }]);
    let annotated = [
        "1e",          // preauthorized_entries: 30 bytes
        "08",          //   claimset: 8 bytes
        "0002",        //     credential_type: x509
        "02 6f75",     //     id: ou
        "02 6872",     //     claim_value: hr
        "00000002",    //   target_role: role_index
        "01 6d",       //     role_name
        "00",          //     role_description
        "02 0005",     //     role_capabilities: canJoinIfPreauthorized
        "00000000 00", //     minimum_, maximum_participants_constraint
        "00000000 00", //     minimum_, maximum_active_participants_constraint
        "00",          //     authorized_role_changes
    ];
    agrees!(list, PreauthList, annotated);
}

#[test]
fn the_registry_of_capabilities_is_whole() {
    let codes: Vec<u16> = Capability::ALL.iter().map(|capability| capability.code()).collect();
    let blocks = [
        (0x0000, 0x0011),
        (0x0100, 0x0111),
        (0x0200, 0x020b),
        (0x0300, 0x0304),
        (0x0380, 0x0383),
        (0x0400, 0x0407),
        (0x0500, 0x0505),
        (0x0600, 0x0605),
    ];
    let registered: Vec<u16> = blocks.iter().flat_map(|(first, last)| *first..=*last).collect();
    assert_eq!(codes, registered);
}
