//! The MIMI role capabilities (draft-ietf-mimi-room-policy-03 sections 8 and 10.2): the whole registry.

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// A registered capability. Reserved ones and others are kept in roles as received and have no effect.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Capability {
            $($(#[$doc])* $name = $value,)*
        }

        impl Capability {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

capabilities! {
    /// Add another user to the participant list, with its clients.
    AddParticipant = 0x0000,
    /// Remove another user and all its clients.
    RemoveParticipant = 0x0001,
    /// Add clients of one's own.
    AddOwnClient = 0x0002,
    /// Remove clients of one's own without leaving.
    RemoveOwnClient = 0x0003,
    /// On role 0: anybody may join.
    OpenJoin = 0x0004,
    /// Join by credential.
    JoinIfPreauthorized = 0x0005,
    /// Leave.
    RemoveSelf = 0x0006,
    /// Reserved.
    CreateJoinCode = 0x0007,
    /// Reserved.
    DeleteJoinCode = 0x0008,
    /// Join with a code.
    UseJoinCode = 0x0009,
    /// Ban another user.
    Ban = 0x000a,
    /// Lift a ban.
    Unban = 0x000b,
    /// Remove another user's clients without removing it.
    Kick = 0x000c,
    /// Reserved.
    Knock = 0x000d,
    /// Reserved.
    AcceptKnock = 0x000e,
    /// Change another user's role.
    ChangeUserRole = 0x000f,
    /// Change one's own role, by credential.
    ChangeOwnRole = 0x0010,
    /// Reserved.
    CreateSubgroup = 0x0011,
    /// Send messages.
    SendMessage = 0x0100,
    /// Receive messages.
    ReceiveMessage = 0x0101,
    /// Copy messages.
    CopyMessage = 0x0102,
    /// Report abuse.
    ReportAbuse = 0x0103,
    /// Reply.
    ReplyToMessage = 0x0104,
    /// React.
    ReactToMessage = 0x0105,
    /// Change one's own reaction.
    EditReaction = 0x0106,
    /// Take one's own reaction back.
    DeleteOwnReaction = 0x0107,
    /// Take another user's reaction away.
    DeleteOtherReaction = 0x0108,
    /// Edit one's own message.
    EditOwnMessage = 0x0109,
    /// Delete one's own message.
    DeleteOwnMessage = 0x010a,
    /// Delete another user's message.
    DeleteOtherMessage = 0x010b,
    /// Start a topic (thread).
    StartTopic = 0x010c,
    /// Reply in a topic.
    ReplyInTopic = 0x010d,
    /// Change the topic of one's own message.
    EditOwnTopic = 0x010e,
    /// Change the topic of another user's message.
    EditOtherTopic = 0x010f,
    /// Reserved.
    SendDirectMessage = 0x0110,
    /// Reserved.
    TargetMessage = 0x0111,
    /// Send images.
    UploadImage = 0x0200,
    /// Send audio.
    UploadAudio = 0x0201,
    /// Send video.
    UploadVideo = 0x0202,
    /// Send files.
    UploadAttachment = 0x0203,
    /// Fetch images.
    DownloadImage = 0x0204,
    /// Fetch audio.
    DownloadAudio = 0x0205,
    /// Fetch video.
    DownloadVideo = 0x0206,
    /// Fetch files.
    DownloadAttachment = 0x0207,
    /// Send links.
    SendLink = 0x0208,
    /// Send link previews.
    SendLinkPreview = 0x0209,
    /// Follow links.
    FollowLink = 0x020a,
    /// Copy links.
    CopyLink = 0x020b,
    /// Change the room's name.
    ChangeRoomName = 0x0300,
    /// Change the room's descriptions.
    ChangeRoomDescription = 0x0301,
    /// Change the room's avatar.
    ChangeRoomAvatar = 0x0302,
    /// Change the room's subject (topic).
    ChangeRoomSubject = 0x0303,
    /// Change the room's mood.
    ChangeRoomMood = 0x0304,
    /// Reserved.
    ChangeOwnName = 0x0380,
    /// Reserved.
    ChangeOwnPresence = 0x0381,
    /// Reserved.
    ChangeOwnMood = 0x0382,
    /// Reserved.
    ChangeOwnAvatar = 0x0383,
    /// Begin a call.
    StartCall = 0x0400,
    /// Join a call.
    JoinCall = 0x0401,
    /// Send audio in a call.
    SendAudio = 0x0402,
    /// Hear a call.
    ReceiveAudio = 0x0403,
    /// Send video in a call.
    SendVideo = 0x0404,
    /// See a call.
    ReceiveVideo = 0x0405,
    /// Share a screen.
    ShareScreen = 0x0406,
    /// See a shared screen.
    ViewSharedScreen = 0x0407,
    /// Reserved.
    CreateRoom = 0x0500,
    /// Destroy the room.
    DestroyRoom = 0x0501,
    /// Change the base room policy.
    ChangeRoomMembershipStyle = 0x0502,
    /// Change what roles may do.
    ChangeRoleDefinitions = 0x0503,
    /// Change who may take roles by credential.
    ChangePreauthorizedUserList = 0x0504,
    /// Reserved.
    ChangeOtherPolicyAttribute = 0x0505,
    /// Reserved, though the draft's examples give it to policy enforcers.
    ChangeMlsOperationalPolicies = 0x0600,
    /// Re-initialise the group.
    SendMlsReinitProposal = 0x0601,
    /// Reserved.
    SendMlsUpdateProposal = 0x0602,
    /// Reserved.
    SendMlsPskProposal = 0x0603,
    /// Reserved.
    SendMlsExternalProposal = 0x0604,
    /// Reserved.
    SendMlsExternalCommit = 0x0605,
}

impl Capability {
    /// The registered number.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }
}
