//! Power levels of a Matrix room, and the roles of the MIMI room that is mirrored from it (Matrix client-server API,
//! `m.room.power_levels`; room-policy-03 section 3).
//!
//! ```text
//!  level of each user   --> band --> role index (2 default, 3 level 50, 4 level 100, 5 creators, then one a level)
//!  threshold of each act -----------> capabilities of the role, and whom it may bring to which role
//! ```
//! Indices stay: a level that has a role keeps it. What Matrix can say and roles cannot is in [`KNOWN_LOSSES`]; the exact
//! levels stay in the Matrix room.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    capability::Capability,
    components::{Role, RoleChanges, RoleList},
    presets::role_of,
    role,
    thresholds::{levels_apart, levels_here},
};

/// What is decided otherwise in the MIMI room than by the levels.
pub const KNOWN_LOSSES: &[&str] = &[
    "who may remove others may also remove those of the same role: leaving and removing share a rule",
    "nobody changes their own role: another one has to take a level away",
    "who becomes a creator by an upgrade to room version 12 keeps the role of level 100: nobody is above it who could give another",
    "levels of event types that MIMI has no capability for bind others as far as the hub reads them; that of @room notifications holds where the text is read",
    "who may change levels may change all thresholds only with level 100 or the highest, and then not just up to their own",
    "more than 32 levels besides the usual ones: further ones count as the next lower",
    "who is not in the room has no role, whatever level they are named with: who may ban bans them if they may also invite, since a ban is an addition",
    "who is banned has lost the role that they had: they are unbanned by all who may ban and remove, whatever their level was",
    "the join rule opens a room by a new definition of a role: that takes level 100 or the highest, whatever the threshold of the rule is",
    "calls have no capability that a hub could judge: who may begin one is the homeserver's to say",
    "levels of a portal keep who may do what, not the numbers",
    "thresholds of a followed room are the host's: not even its highest role changes them from elsewhere",
    "a portal has no level above 95: who stands above another at the host, and shares a level with them there, neither removes nor bans them",
    "a creator may list a newcomer as creator, who is none in Matrix",
];

/// Levels besides the usual ones that get a role of their own.
pub const MAX_LEVELS: u32 = 32;
/// The role of creators of rooms of version 12 and later, who stand above all levels.
const CREATOR: u32 = 5;
const FIRST_EXTRA: u32 = 6;
const MODERATOR_LEVEL: i64 = 50;
const ADMIN_LEVEL: i64 = 100;
/// The level of creators.
pub const ABOVE_ALL: i64 = i64::MAX;

/// The power levels of a room, and who stands above them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Powers {
    users: BTreeMap<String, i64>,
    users_default: i64,
    events: BTreeMap<String, i64>,
    pub(super) events_default: i64,
    state_default: i64,
    pub(super) ban: i64,
    pub(super) kick: i64,
    pub(super) redact: i64,
    pub(super) invite: i64,
    /// Who may call everybody's attention.
    ring: i64,
    creators: BTreeSet<String>,
    /// Roles have at most this level.
    most: Option<i64>,
    /// Who is named nowhere does not speak.
    #[serde(default)]
    quiet: bool,
    /// The levels of roles that a host named after its own ones.
    #[serde(default)]
    here: BTreeMap<u32, i64>,
}

/// A level; rooms of old versions have texts, too.
fn level(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
}

impl Powers {
    /// Reads the content of the state event; `None` where there is none. `creators` are those who stand above all levels:
    /// nobody in rooms before version 12. `first`: who made a room that has no levels.
    #[must_use]
    pub fn read(content: Option<&Value>, creators: BTreeSet<String>, first: Option<&str>) -> Self {
        let Some(content) = content else {
            let users = first.map(|user| (user.to_owned(), ADMIN_LEVEL)).into_iter().collect();
            return Self { users, ban: 50, kick: 50, redact: 50, ring: 50, creators, ..Self::default() };
        };
        let number = |key: &str, default: i64| content.get(key).and_then(level).unwrap_or(default);
        let map = |key: &str| -> BTreeMap<String, i64> {
            let entries = content.get(key).and_then(Value::as_object).into_iter().flatten();
            entries.filter_map(|(name, value)| Some((name.clone(), level(value)?))).collect()
        };
        Self {
            users: map("users"),
            users_default: number("users_default", 0),
            events: map("events"),
            events_default: number("events_default", 0),
            state_default: number("state_default", 50),
            ban: number("ban", 50),
            kick: number("kick", 50),
            redact: number("redact", 50),
            invite: number("invite", 0),
            ring: content.pointer("/notifications/room").and_then(level).unwrap_or(50),
            creators,
            most: None,
            quiet: false,
            here: BTreeMap::new(),
        }
    }

    /// The same where no role has more than this level.
    #[must_use]
    pub fn at_most(self, most: i64) -> Self {
        Self { most: Some(most), ..self }
    }

    /// The same for a room whose roles do not come from these levels. Where ordinary participants (role 2) only listen, who speaks
    /// stands above them. Roles that are named after levels of their host have those that mean the same here, each other one has
    /// a level of its own, so that a level says which role it means.
    #[must_use]
    pub fn among(self, roles: &RoleList) -> Self {
        let quiet = roles.get(role::MEMBER).is_some_and(|member| !member.can(Capability::SendMessage));
        let named: Vec<(u32, i64)> = roles.0.iter().filter_map(|role| Some((role.index, host_level(role)?))).collect();
        let most = self.most.unwrap_or(ABOVE_ALL);
        let mut powers = Self { quiet, here: levels_here(roles, &named, self.users_default, most), ..self };
        let others: Vec<(&Role, i64)> = roles
            .0
            .iter()
            .filter(|role| role.index > role::MEMBER)
            .filter(|role| host_level(role).is_none())
            .map(|role| (role, powers.likely_level(role)))
            .collect();
        let taken: BTreeSet<i64> = powers.here.values().copied().chain([powers.users_default]).collect();
        let apart = levels_apart(others, powers.users_default, taken, most);
        powers.here.extend(apart);
        powers
    }

    /// The level of whoever is not named.
    #[must_use]
    pub fn users_default(&self) -> i64 {
        self.users_default
    }

    /// What a user cannot do that a gateway has to: in words.
    #[must_use]
    pub fn missing(&self, user: &str) -> Vec<&'static str> {
        let level = self.level(user);
        let wants = [
            (self.invite, "invite"),
            (self.kick, "remove"),
            (self.ban, "ban"),
            (self.redact, "delete messages"),
            (self.state("m.room.power_levels"), "give power"),
            (self.state_default, "change settings"),
        ];
        wants.into_iter().filter(|(needed, _)| level < *needed).map(|(_, what)| what).collect()
    }

    /// A user's level.
    #[must_use]
    pub fn level(&self, user: &str) -> i64 {
        if self.creators.contains(user) {
            return ABOVE_ALL;
        }
        self.users.get(user).copied().unwrap_or(self.users_default)
    }

    /// Who stands above all levels.
    #[must_use]
    pub fn creators(&self) -> &BTreeSet<String> {
        &self.creators
    }

    /// Whether a user may set state events of this type, or of none in particular.
    #[must_use]
    pub fn may_set(&self, user: &str, event_type: &str) -> bool {
        self.level(user) >= self.state(event_type)
    }

    /// Whether a user may call everybody's attention (`@room`).
    #[must_use]
    pub fn may_ring_all(&self, user: &str) -> bool {
        self.level(user) >= self.ring
    }

    /// Whether somebody with this level may send events of this type that are no state.
    #[must_use]
    pub fn may_send(&self, level: i64, event_type: &str) -> bool {
        level >= self.message(event_type)
    }

    /// The threshold that is set for just these events.
    pub(super) fn event(&self, event_type: &str) -> Option<i64> {
        self.events.get(event_type).copied()
    }

    pub(super) fn message(&self, event_type: &str) -> i64 {
        self.event(event_type).unwrap_or(self.events_default)
    }

    pub(super) fn state(&self, event_type: &str) -> i64 {
        self.events.get(event_type).copied().unwrap_or(self.state_default)
    }

    /// What a level may do.
    fn capabilities(&self, level: i64, top: i64) -> Vec<Capability> {
        use Capability as C;
        let powers = self.state("m.room.power_levels");
        let kick = self.kick;
        let table: [(i64, &[Capability]); 14] = [
            (i64::MIN, ALWAYS),
            (self.message("m.room.message"), SPEAK),
            (self.message("m.reaction"), &[C::ReactToMessage, C::EditReaction]),
            // Both are redactions of an own event.
            (self.message("m.room.redaction"), &[C::DeleteOwnMessage, C::DeleteOwnReaction]),
            (self.invite, &[C::AddParticipant]),
            (kick, &[C::RemoveParticipant, C::Kick]),
            (self.ban, &[C::Ban, C::Unban]),
            (self.redact, &[C::DeleteOtherMessage, C::DeleteOtherReaction]),
            (self.state("m.room.name"), &[C::ChangeRoomName]),
            (self.state("m.room.topic"), &[C::ChangeRoomSubject, C::ChangeRoomDescription]),
            (self.state("m.room.avatar"), &[C::ChangeRoomAvatar]),
            (powers, &[C::ChangeUserRole]),
            (self.state("m.room.tombstone"), &[C::DestroyRoom, C::SendMlsReinitProposal]),
            (
                self.state("m.room.join_rules"),
                &[C::ChangeRoomMembershipStyle, C::ChangePreauthorizedUserList, C::ChangeRoomMood],
            ),
        ];
        let mut found: Vec<Capability> =
            table.iter().filter(|(needed, _)| level >= *needed).flat_map(|(_, found)| found.iter().copied()).collect();
        if level >= powers && level >= top.min(ADMIN_LEVEL) {
            found.push(C::ChangeRoleDefinitions);
        }
        found
    }

    /// Whom a level may bring to which role.
    fn changes(&self, own: u32, level: i64, bands: &[(u32, i64)]) -> Vec<RoleChanges> {
        let appoints = level >= self.state("m.room.power_levels");
        let (invites, kicks, may_ban) = (level >= self.invite, level >= self.kick, level >= self.ban);
        let up_to_own = || bands.iter().filter(move |(_, other)| appoints && *other <= level).map(|(index, _)| *index);
        let mut from_outside: BTreeSet<u32> = BTreeSet::new();
        let mut from_banned: BTreeSet<u32> = BTreeSet::new();
        if invites {
            from_outside.insert(role::MEMBER);
            from_outside.extend(up_to_own());
            if may_ban {
                from_outside.insert(role::BANNED);
            }
        }
        if may_ban && kicks {
            from_banned.insert(role::NONE);
        }
        if may_ban && invites {
            from_banned.insert(role::MEMBER);
        }
        let mut changes = vec![(role::NONE, from_outside), (role::BANNED, from_banned)];
        for (index, other) in bands {
            let mut to: BTreeSet<u32> = BTreeSet::new();
            if *other < level {
                // Nobody becomes a creator later.
                to.extend(up_to_own().filter(|target| target != index && *target != CREATOR));
                if kicks {
                    to.insert(role::NONE);
                }
                if may_ban {
                    to.insert(role::BANNED);
                }
            }
            if *index == own {
                to.insert(role::NONE);
            }
            changes.push((*index, to));
        }
        let changes = changes.into_iter().filter(|(_, to)| !to.is_empty());
        changes.map(|(from, to)| RoleChanges { from, to: to.into_iter().collect() }).collect()
    }

    /// Roles and their levels. `held`: the levels of those who are in the room; `old`: the roles so far, whose indices stay.
    fn bands(&self, old: &RoleList, held: impl IntoIterator<Item = i64>) -> Vec<(u32, i64)> {
        let mut bands =
            vec![(role::MEMBER, self.users_default), (role::MODERATOR, MODERATOR_LEVEL), (role::ADMIN, ADMIN_LEVEL)];
        if !self.creators.is_empty() {
            bands.push((CREATOR, ABOVE_ALL));
        }
        let extra = old.0.iter().filter_map(|role| Some((role.index, named_level(role)?)));
        bands.extend(extra.filter(|(index, _)| *index >= FIRST_EXTRA));
        for level in held {
            let mut free = FIRST_EXTRA..FIRST_EXTRA + MAX_LEVELS;
            let free = free.find(|index| bands.iter().all(|(taken, _)| taken != index));
            let known = bands.iter().any(|(_, other)| *other == level);
            if let Some(index) = free.filter(|_| !known) {
                bands.push((index, level));
            }
        }
        bands
    }

    /// How many of these levels have no role of their own in a new room: they count as the next lower one.
    #[must_use]
    pub fn without_role(&self, held: impl IntoIterator<Item = i64>) -> usize {
        let held: BTreeSet<i64> = held.into_iter().collect();
        let bands = self.bands(&RoleList(Vec::new()), held.iter().copied());
        held.iter().filter(|level| bands.iter().all(|(_, other)| other != *level)).count()
    }

    /// The roles of a room with these levels. Roles 0 and 1, and indices of levels, stay as they are in `old`.
    #[must_use]
    pub fn roles(&self, old: &RoleList, held: impl IntoIterator<Item = i64>) -> RoleList {
        let bands = self.bands(old, held);
        let top = bands.iter().map(|(_, level)| *level).max().unwrap_or(ADMIN_LEVEL);
        let kept = old.0.iter().filter(|role| role.index <= role::BANNED).cloned();
        let made = bands.iter().map(|(index, level)| {
            let name = match *index {
                role::MEMBER => "member".to_owned(),
                role::MODERATOR => "moderator".to_owned(),
                role::ADMIN => "admin".to_owned(),
                CREATOR => "creator".to_owned(),
                _ => format!("{LEVEL}{level}"),
            };
            let changes = self.changes(*index, *level, &bands);
            Role { changes, ..role_of(*index, &name, &[&self.capabilities(*level, top)], &[]) }
        });
        RoleList(kept.chain(made).collect())
    }

    /// The role of somebody with this level in a room with these roles: that of the level, or of the next lower one.
    #[must_use]
    pub fn role(&self, roles: &RoleList, level: i64) -> u32 {
        let levels = roles.0.iter().filter_map(|role| Some((role.index, self.level_of(role)?)));
        let at_most = levels.clone().filter(|(_, other)| *other <= level);
        // Of several roles of a level the first one is everybody's.
        let best = at_most.max_by_key(|(index, other)| (*other, std::cmp::Reverse(*index)));
        let lowest = || levels.min_by_key(|(index, other)| (*other, *index));
        best.or_else(lowest).map_or(role::MEMBER, |(index, _)| index)
    }

    /// The level of those who have this role; `None` for outsiders and the banned.
    #[must_use]
    pub fn level_of(&self, role: &Role) -> Option<i64> {
        self.level_of_any(role).map(|level| self.most.map_or(level, |most| level.min(most)))
    }

    fn level_of_any(&self, role: &Role) -> Option<i64> {
        match role.index {
            role::NONE | role::BANNED => None,
            role::MEMBER => Some(self.users_default),
            index if self.here.contains_key(&index) => self.here.get(&index).copied(),
            CREATOR if role.name == "creator" => Some(ABOVE_ALL),
            _ => Some(named_level(role).unwrap_or_else(|| self.likely_level(role))),
        }
    }

    /// Of a role that some other hub defined.
    fn likely_level(&self, role: &Role) -> i64 {
        if role.can(Capability::ChangeRoleDefinitions) || role.can(Capability::DestroyRoom) {
            ADMIN_LEVEL
        } else if [Capability::RemoveParticipant, Capability::Ban, Capability::DeleteOtherMessage]
            .iter()
            .any(|capability| role.can(*capability))
        {
            MODERATOR_LEVEL
        } else if role.can(Capability::SendMessage) {
            self.users_default.saturating_add(i64::from(self.quiet))
        } else if self.quiet {
            self.users_default.saturating_add(1)
        } else {
            self.users_default.min(self.message("m.room.message")).saturating_sub(1)
        }
    }
}

const LEVEL: &str = "level ";

/// The level that a role is named after.
fn named_level(role: &Role) -> Option<i64> {
    match (role.index, role.name.as_str()) {
        (role::MODERATOR, "moderator") => Some(MODERATOR_LEVEL),
        (role::ADMIN, "admin") => Some(ADMIN_LEVEL),
        (index, name) if index >= FIRST_EXTRA => name.strip_prefix(LEVEL)?.parse().ok(),
        _ => None,
    }
}

/// The level that a role had where it was made.
fn host_level(role: &Role) -> Option<i64> {
    let creator = role.index == CREATOR && role.name == "creator";
    if creator { Some(ABOVE_ALL) } else { named_level(role) }
}

/// What everybody may do.
const ALWAYS: &[Capability] = &[
    Capability::AddOwnClient,
    Capability::RemoveOwnClient,
    Capability::RemoveSelf,
    Capability::ReceiveMessage,
    Capability::CopyMessage,
    Capability::ReportAbuse,
    Capability::DownloadImage,
    Capability::DownloadAudio,
    Capability::DownloadVideo,
    Capability::DownloadAttachment,
    Capability::FollowLink,
    Capability::CopyLink,
];
/// What everybody may do who may write.
const SPEAK: &[Capability] = &[
    Capability::SendMessage,
    Capability::ReplyToMessage,
    Capability::EditOwnMessage,
    Capability::StartTopic,
    Capability::ReplyInTopic,
    Capability::EditOwnTopic,
    Capability::UploadImage,
    Capability::UploadAudio,
    Capability::UploadVideo,
    Capability::UploadAttachment,
    Capability::SendLink,
    Capability::SendLinkPreview,
];
