//! What whoever mirrors a Matrix room should know of it beforehand.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::facts::MAX_BANS;
use crate::policy::MAX_LEVELS;

/// What a finding means for mirroring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The room cannot be mirrored.
    Forbids,
    /// It cannot be mirrored before somebody sees to this.
    Needs,
    /// The job itself sees to this first.
    Does,
    /// It can be, and this is other or less in the MIMI room.
    Loses,
}

/// One thing that whoever mirrors a room should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Finding {
    /// The homeserver knows no such room.
    NoSuchRoom,
    /// It is a space.
    Space,
    /// Somebody talks with the bot there, or had a direct chat that is over.
    BotsOwn,
    /// Reports of abuse appear there.
    AdminRoom,
    /// Two people and no name, and nobody named it by its id.
    LooksDirect,
    /// It is encrypted.
    Encrypted,
    /// Another gateway to MIMI says that it mirrors it: its bot.
    OtherGateway(String),
    /// It was replaced by another room.
    Replaced(String),
    /// Nobody of this homeserver is in it.
    NobodyHere,
    /// The bot is not in it.
    BotOutside,
    /// The bot may not do this in it.
    LacksPower(Vec<String>),
    /// Of those who could give the bot power none is of this homeserver.
    NobodyGivesPower,
    /// The homeserver will bring the bot in, and give it power.
    BringsBot,
    /// The homeserver will give the bot power.
    GivesPower,
    /// Everybody may read it without coming in.
    WorldReadable,
    /// Everybody may come in.
    Public,
    /// Members of these rooms may come in.
    Restricted,
    /// Guests may come in.
    Guests,
    /// So many members of other homeservers are in it.
    Federated(u64),
    /// It has so many members that only those who act are listed.
    Large(u64),
    /// It is bridged to another network, too.
    Bridged(String),
    /// It has so many members, and the operator allows a MIMI room so many participants.
    TooMany(u64, u32),
    /// People may knock.
    Knock,
    /// So many bans of users of this provider are not taken over.
    Bans(u64),
    /// So many power levels have no role of their own.
    Levels(u64),
    /// Messages do not stay.
    Retention,
}

impl Finding {
    /// What it means for mirroring.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match self {
            Self::NoSuchRoom
            | Self::Space
            | Self::BotsOwn
            | Self::AdminRoom
            | Self::LooksDirect
            | Self::Encrypted
            | Self::OtherGateway(_)
            | Self::Replaced(_)
            | Self::TooMany(..)
            | Self::NobodyHere => Weight::Forbids,
            Self::BotOutside | Self::LacksPower(_) | Self::NobodyGivesPower => Weight::Needs,
            Self::BringsBot | Self::GivesPower => Weight::Does,
            Self::WorldReadable
            | Self::Public
            | Self::Restricted
            | Self::Guests
            | Self::Federated(_)
            | Self::Large(_)
            | Self::Bridged(_)
            | Self::Knock
            | Self::Bans(_)
            | Self::Levels(_)
            | Self::Retention => Weight::Loses,
        }
    }

    /// Its name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchRoom => "no_such_room",
            Self::Space => "space",
            Self::BotsOwn => "bots_own",
            Self::AdminRoom => "admin_room",
            Self::LooksDirect => "looks_direct",
            Self::Encrypted => "encrypted",
            Self::OtherGateway(_) => "other_gateway",
            Self::Replaced(_) => "replaced",
            Self::NobodyHere => "nobody_here",
            Self::BotOutside => "bot_outside",
            Self::LacksPower(_) => "lacks_power",
            Self::NobodyGivesPower => "nobody_gives_power",
            Self::BringsBot => "brings_bot",
            Self::GivesPower => "gives_power",
            Self::WorldReadable => "world_readable",
            Self::Public => "public",
            Self::Restricted => "restricted",
            Self::Guests => "guests",
            Self::Federated(_) => "federated",
            Self::Large(_) => "large",
            Self::Bridged(_) => "bridged",
            Self::TooMany(..) => "too_many",
            Self::Knock => "knock",
            Self::Bans(_) => "bans",
            Self::Levels(_) => "levels",
            Self::Retention => "retention",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchRoom => f.write_str("there is no such room, or nobody of this homeserver is in it"),
            Self::Space => f.write_str("it is a space: mirror the rooms in it (--space), and it with them (--with-space)"),
            Self::BotsOwn => f.write_str("somebody talks with the bot there"),
            Self::AdminRoom => f.write_str("reports of abuse appear there (permissions.admin_room)"),
            Self::LooksDirect => {
                f.write_str("two people and no name: it looks like a direct chat. Name it in a --file to mirror it")
            }
            Self::Encrypted => f.write_str("it is encrypted, and encrypted rooms cannot be mirrored yet"),
            Self::OtherGateway(bot) => {
                write!(f, "{bot} mirrors it to MIMI already; two gateways would double every message")
            }
            Self::Replaced(other) => write!(f, "it was replaced by {other}"),
            Self::NobodyHere => f.write_str("nobody of this homeserver is in it"),
            Self::BotOutside => {
                f.write_str("the bot is not in it: invite it with power level 100, or use --make-admin")
            }
            Self::LacksPower(what) => write!(
                f,
                "the bot lacks the power to {}: give it power level 100, or use --make-admin",
                what.join(", ")
            ),
            Self::NobodyGivesPower => f.write_str(
                "nobody of this homeserver who is in it has that power, so --make-admin cannot give it: somebody who has it has to",
            ),
            Self::BringsBot => f.write_str(
                "with --yes the homeserver invites the bot and gives it power, in the name of somebody in the room who has it",
            ),
            Self::GivesPower => f.write_str(
                "with --yes the homeserver gives the bot power, in the name of somebody in the room who has it",
            ),
            Self::WorldReadable => f.write_str(
                "everybody may read it without coming in; MIMI users read only what is said while they are in",
            ),
            Self::Public => f.write_str("everybody may come in: users of other providers, too, unless envelope.open_rooms = false"),
            Self::Restricted => {
                f.write_str("members of other rooms may come in; MIMI users have to be invited, or need a joining code")
            }
            Self::Guests => f.write_str("guests may come in, and count as users of this homeserver for MIMI users"),
            Self::Federated(count) => {
                write!(f, "{count} members of other homeservers appear as users of this provider when they act")
            }
            Self::Large(count) => write!(f, "{count} members: only those who act are on the participant list"),
            Self::TooMany(count, most) => write!(
                f,
                "{count} members, where {most} participants are the most that envelope.max_participants allows"
            ),
            Self::Knock => {
                f.write_str("people may knock; MIMI users cannot: they have to be invited, or need a joining code")
            }
            Self::Bans(count) => write!(
                f,
                "{count} bans of users of this provider are beyond the {MAX_BANS} that are taken over: MIMI users can ask those \
                 in, and they do not come"
            ),
            Self::Levels(count) => write!(
                f,
                "{count} of its members' power levels are beyond the {MAX_LEVELS} that have roles besides the usual ones, and \
                 count as the next lower"
            ),
            Self::Retention => f.write_str(
                "its messages do not stay (m.room.retention): MIMI users' clients are asked to delete them in time, and here \
                 the bot deletes those of MIMI users",
            ),
            Self::Bridged(network) => {
                write!(f, "it is bridged to {network}, too: that bridge's users appear as users of this homeserver")
            }
        }
    }
}
