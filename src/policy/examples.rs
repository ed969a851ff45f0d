//! The roles of the draft's example rooms (draft-ietf-mimi-room-policy-03 appendix A), and of an auditorium.
//!
//! What the draft spells differently from its registry is read by the registry; `canRevokeVoice` and `canGrantVoice` are not in
//! it and are left out. Where a role includes another's capabilities, they stand here once.

use super::{
    capability::Capability::{
        self, AddOwnClient, AddParticipant, Ban, ChangeMlsOperationalPolicies, ChangeOwnAvatar, ChangeOwnMood,
        ChangeOwnName, ChangeOwnPresence, ChangeOwnRole, ChangePreauthorizedUserList, ChangeRoleDefinitions,
        ChangeRoomAvatar, ChangeRoomDescription, ChangeRoomMembershipStyle, ChangeRoomMood, ChangeRoomName,
        ChangeRoomSubject, ChangeUserRole, CopyLink, CopyMessage, CreateJoinCode, DeleteJoinCode, DeleteOtherMessage,
        DeleteOtherReaction, DeleteOwnMessage, DeleteOwnReaction, DestroyRoom, DownloadAttachment, DownloadAudio,
        DownloadImage, DownloadVideo, EditOtherTopic, EditOwnMessage, EditOwnTopic, FollowLink, JoinIfPreauthorized,
        Kick, OpenJoin, ReactToMessage, ReceiveMessage, RemoveOwnClient, RemoveParticipant, RemoveSelf, ReplyInTopic,
        ReplyToMessage, ReportAbuse, SendLink, SendLinkPreview, SendMessage, SendMlsReinitProposal, StartTopic, Unban,
        UploadAttachment, UploadAudio, UploadImage, UploadVideo, UseJoinCode,
    },
    components::{Role, RoleList},
    presets::{LEAVE, METADATA, MODERATE, TALK, role_of},
    role,
};

/// Changes of roles, by the present one.
type Changes<'a> = &'a [(u32, &'a [u32])];

const REACT: &[Capability] = &[ReactToMessage, DeleteOwnReaction];
const READ: &[Capability] =
    &[ReceiveMessage, CopyMessage, FollowLink, CopyLink, DownloadImage, DownloadVideo, DownloadAudio];
const UPLOAD: &[Capability] = &[UploadImage, UploadVideo, UploadAudio, UploadAttachment];
const WRITE: &[Capability] = &[SendMessage, EditOwnMessage, SendLink, SendLinkPreview];
const ONESELF: &[Capability] = &[ChangeOwnName, ChangeOwnPresence, ChangeOwnAvatar];
const OWN_CLIENTS: &[Capability] = &[AddOwnClient, RemoveOwnClient, RemoveSelf];
const PREAUTHORIZED: &[Capability] = &[JoinIfPreauthorized, ChangeOwnRole];
const RULE: &[Capability] = &[AddParticipant, RemoveParticipant, Ban, Kick, ChangeUserRole];
const CODES: &[Capability] = &[CreateJoinCode, DeleteJoinCode];
const CLEAN: &[Capability] = &[DeleteOtherReaction, DeleteOtherMessage, EditOwnTopic, EditOtherTopic];
const DISRUPT: &[Capability] = &[
    ChangeRoomMembershipStyle,
    ChangeRoleDefinitions,
    ChangePreauthorizedUserList,
    DestroyRoom,
    SendMlsReinitProposal,
];
/// What every participant of the first two rooms may do.
const USE: &[&[Capability]] = &[
    OWN_CLIENTS,
    REACT,
    READ,
    UPLOAD,
    WRITE,
    ONESELF,
    &[ReportAbuse, DeleteOwnMessage, StartTopic, ReplyInTopic, DownloadAttachment, ChangeOwnMood],
];

fn capped(mut role: Role, participants: (u32, Option<u32>), active: (u32, Option<u32>)) -> Role {
    (role.min_participants, role.max_participants) = participants;
    (role.min_active, role.max_active) = active;
    role
}

/// A program without client that keeps rules: it removes and bans, and gets nobody in.
fn policy_enforcer(index: u32, changes: Changes<'_>) -> Role {
    let capabilities: &[Capability] = &[
        RemoveParticipant,
        ChangeUserRole,
        Ban,
        Unban,
        ChangeRoleDefinitions,
        ChangePreauthorizedUserList,
        ChangeMlsOperationalPolicies,
        DestroyRoom,
        SendMlsReinitProposal,
    ];
    capped(role_of(index, "policy_enforcer", &[capabilities], changes), (1, Some(2)), (0, Some(0)))
}

fn with<'a>(first: &[&'a [Capability]], more: &[&'a [Capability]]) -> Vec<&'a [Capability]> {
    [first, more].concat()
}

const ADMIN_CHANGES: Changes<'static> = &[(0, &[1, 2, 3]), (1, &[0, 2, 3]), (2, &[0, 1, 3]), (3, &[0, 1, 2])];
const SUPER_ADMIN_CHANGES: Changes<'static> =
    &[(0, &[1, 2, 3, 4]), (1, &[0, 2, 3, 4]), (2, &[0, 1, 3, 4]), (3, &[0, 1, 2, 4]), (4, &[0, 1, 2, 3])];
const ENFORCER_CHANGES: Changes<'static> = &[(0, &[1]), (1, &[0]), (2, &[0, 1]), (3, &[0, 1]), (4, &[0, 1])];

/// A.1: friends, families, small groups of peers.
pub(super) fn cooperative() -> RoleList {
    let user = with(
        USE,
        &[
            &[AddParticipant, RemoveParticipant, ReplyToMessage, EditOwnTopic],
            &[ChangeRoomName, ChangeRoomAvatar, ChangeRoomSubject, ChangeRoomMood],
        ],
    );
    let admin =
        with(&user, &[&[Ban, Unban, Kick, ChangeUserRole, DeleteOtherMessage, EditOtherTopic, ChangeRoomDescription]]);
    let above = with(&admin, &[&[ChangeRoomMembershipStyle, ChangePreauthorizedUserList, DestroyRoom]]);
    RoleList(vec![
        role_of(role::NONE, "no_role", &[], &[]),
        role_of(role::BANNED, "banned", &[], &[]),
        role_of(2, "ordinary_user", &user, &[(0, &[2]), (2, &[0])]),
        capped(role_of(3, "group_admin", &admin, ADMIN_CHANGES), (1, None), (0, None)),
        role_of(4, "super_admin", &above, SUPER_ADMIN_CHANGES),
        policy_enforcer(5, ENFORCER_CHANGES),
    ])
}

/// A.2: admins alone let people in and out, by codes and credentials as well.
pub(super) fn strict() -> RoleList {
    let user = with(USE, &[PREAUTHORIZED]);
    let admin = with(&user, &[RULE, CODES, CLEAN, METADATA, &[Unban]]);
    RoleList(vec![
        role_of(role::NONE, "no_role", &[&[UseJoinCode]], &[(0, &[2])]),
        role_of(role::BANNED, "banned", &[], &[]),
        role_of(2, "ordinary_user", &user, &[(0, &[2]), (2, &[0])]),
        capped(role_of(3, "group_admin", &admin, ADMIN_CHANGES), (1, None), (0, None)),
        role_of(4, "super_admin", &with(&admin, &[DISRUPT]), SUPER_ADMIN_CHANGES),
        policy_enforcer(5, ENFORCER_CHANGES),
    ])
}

/// A.3: guests and attendees listen, speakers speak.
pub(super) fn moderated() -> RoleList {
    let guest = with(&[READ, REACT], &[LEAVE]);
    let attendee =
        with(&guest, &[OWN_CLIENTS, PREAUTHORIZED, ONESELF, &[ReportAbuse, ReplyInTopic, DownloadAttachment]]);
    let speaker = with(&attendee, &[WRITE, UPLOAD, &[DeleteOwnMessage, StartTopic]]);
    let names: &[Capability] = &[ChangeRoomName, ChangeRoomAvatar, ChangeRoomSubject, ChangeRoomMood];
    let moderator = with(&speaker, &[RULE, CODES, CLEAN, names, &[Unban]]);
    let above = with(&moderator, &[DISRUPT, &[ChangeRoomDescription]]);
    RoleList(vec![
        capped(role_of(role::NONE, "no_role", &[&[UseJoinCode]], &[(0, &[2, 3])]), (0, None), (0, None)),
        role_of(role::BANNED, "banned", &[], &[]),
        role_of(2, "guest", &guest, &[(0, &[2]), (2, &[0])]),
        role_of(3, "attendee", &attendee, &[(0, &[3]), (3, &[0])]),
        role_of(4, "speaker", &speaker, &[(0, &[4]), (4, &[0])]),
        capped(
            role_of(
                5,
                "moderator",
                &moderator,
                &[
                    (0, &[1, 2, 3, 4, 5]),
                    (1, &[0, 2, 3, 4, 5]),
                    (2, &[0, 1, 3, 4, 5]),
                    (3, &[0, 1, 2, 4, 5]),
                    (4, &[0, 1, 2, 3, 5]),
                    (5, &[0, 1, 2, 3, 4]),
                ],
            ),
            (1, None),
            (0, None),
        ),
        role_of(
            6,
            "super_admin",
            &above,
            &[
                (0, &[1, 2, 3, 4, 5, 6]),
                (1, &[0, 2, 3, 4, 5, 6]),
                (2, &[0, 1, 3, 4, 5, 6]),
                (3, &[0, 1, 2, 4, 5, 6]),
                (4, &[0, 1, 2, 3, 5, 6]),
                (5, &[0, 1, 2, 3, 4, 6]),
                (6, &[0, 1, 2, 3, 4, 5]),
            ],
        ),
        policy_enforcer(
            7,
            &[(0, &[1]), (1, &[0]), (2, &[0, 1]), (3, &[0, 1]), (4, &[0, 1]), (5, &[0, 1]), (6, &[0, 1])],
        ),
    ])
}

/// A.4: organisations A, B and C, each with users and admins of its own.
pub(super) fn multi_organization() -> RoleList {
    let user: &[&[Capability]] =
        &[OWN_CLIENTS, REACT, READ, WRITE, ONESELF, &[ReportAbuse, ReplyInTopic, DownloadAttachment]];
    let admin = with(user, &[RULE, UPLOAD, &[DeleteOwnMessage, StartTopic]]);
    let (host_user, host_admin) = (with(user, &[PREAUTHORIZED]), with(&admin, &[PREAUTHORIZED]));
    let above = with(&host_admin, &[CLEAN, METADATA, DISRUPT, &[Unban]]);
    let three = |role| capped(role, (1, Some(3)), (1, None));
    RoleList(vec![
        role_of(role::NONE, "no_role", &[], &[]),
        role_of(role::BANNED, "banned", &[], &[]),
        role_of(2, "org_a_user", &host_user, &[(0, &[2]), (2, &[0])]),
        role_of(3, "org_b_user", user, &[(0, &[3]), (3, &[0])]),
        role_of(4, "org_c_user", user, &[(0, &[4]), (4, &[0])]),
        role_of(5, "org_a_admin", &host_admin, &[(0, &[2, 5]), (2, &[0, 1, 5]), (5, &[0, 1, 2])]),
        three(role_of(6, "org_b_admin", &admin, &[(0, &[3, 6]), (3, &[0, 1, 6]), (6, &[0, 1, 3])])),
        three(role_of(7, "org_c_admin", &admin, &[(0, &[4, 7]), (4, &[0, 1, 7]), (7, &[0, 1, 4])])),
        capped(
            role_of(
                8,
                "super_admin",
                &above,
                &[
                    (0, &[1, 2, 3, 4, 5, 6, 7, 8]),
                    (1, &[0, 2, 3, 4, 5, 6, 7, 8]),
                    (2, &[0, 1, 5, 8]),
                    (3, &[0, 1, 6]),
                    (4, &[0, 1, 7]),
                    (5, &[0, 1, 2, 8]),
                    (6, &[0, 1, 3]),
                    (7, &[0, 1, 4]),
                    (8, &[0, 1, 2, 5]),
                ],
            ),
            (1, None),
            (1, None),
        ),
        policy_enforcer(
            9,
            &[(0, &[1]), (1, &[0]), (3, &[0, 1]), (4, &[0, 1]), (5, &[0, 1]), (6, &[0, 1]), (7, &[0, 1]), (8, &[0, 1])],
        ),
    ])
}

/// The role of those who speak in an auditorium.
pub const SPEAKER: u32 = 5;

/// Anybody may come in and listen; who speaks is chosen. Members, moderators and admins have the indices of our other rooms.
pub(super) fn auditorium() -> RoleList {
    let audience = with(&[OWN_CLIENTS, REACT, READ], &[&[ReportAbuse, DownloadAttachment]]);
    let host = with(&[TALK, LEAVE, METADATA, MODERATE], &[&[AddParticipant]]);
    RoleList(vec![
        role_of(role::NONE, "no_role", &[&[OpenJoin]], &[(0, &[role::MEMBER])]),
        role_of(role::BANNED, "banned", &[], &[]),
        role_of(role::MEMBER, "audience", &audience, &[(2, &[0])]),
        role_of(
            role::MODERATOR,
            "moderator",
            &host,
            &[(0, &[1, 2, 5]), (1, &[0, 2]), (2, &[0, 1, 5]), (3, &[0]), (5, &[0, 1, 2])],
        ),
        capped(
            role_of(
                role::ADMIN,
                "admin",
                &with(&host, &[DISRUPT]),
                &[
                    (0, &[1, 2, 3, 4, 5]),
                    (1, &[0, 2, 3, 4, 5]),
                    (2, &[0, 1, 3, 4, 5]),
                    (3, &[0, 1, 2, 4, 5]),
                    (4, &[0, 2, 3, 5]),
                    (5, &[0, 1, 2, 3, 4]),
                ],
            ),
            (1, None),
            (0, None),
        ),
        role_of(SPEAKER, "speaker", &[TALK, LEAVE], &[(5, &[0])]),
    ])
}
