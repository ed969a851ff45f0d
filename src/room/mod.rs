//! The room state machine as a value: an input and `now` go in, effects come out, for hub and follower.
//!
//! The room asks its MLS group through the [`group::Group`] trait and names through [`Names`]; it does no I/O and
//! knows no clock. One [`step::Step`] is one transaction: the engine stores the room, the group's changes and the
//! effects together, or none of them.

mod about;
mod access;
mod asking;
mod avatar;
mod ban;
mod bounds;
mod codes;
pub mod command;
mod content_policy;
mod contested;
mod cow_map;
mod crowd;
mod direct;
pub mod effect;
mod ending;
mod faces;
mod follower;
mod frank;
pub mod group;
mod hub;
mod input;
mod kin;
mod leaves;
mod links;
mod live;
mod local;
mod membership;
mod names;
mod open;
mod orders;
mod overlay;
mod people;
mod portal;
mod portraits;
mod pump;
mod reading;
mod reasons;
mod recent;
mod rejoin;
mod roles;
pub mod seek;
mod settings;
mod settle;
mod showing;
mod sight;
pub mod state;
pub mod step;
mod telling;
#[cfg(test)]
mod tests;
mod trickle;
mod undone;
mod unsaid;
mod upgrade;
mod voice;
mod welcome;
pub mod words;

pub use about::About;
pub use access::AccessList;
pub use codes::{JoinCode, counts};
pub use command::ConsentWords;
pub use cow_map::CowMap;
pub use crowd::Crowd;
pub use effect::{Effect, Tag};
pub use faces::{Face, Faces, Own, Sheet};
pub use frank::Franked;
pub use input::{GroupInfoAnswer, Input};
pub use kin::{Kin, space_of};
pub use links::Links;
pub use live::Shared;
pub use membership::NOBODY;
pub use names::Names;
pub use open::is_public;
pub use orders::{Cause, Code, Orderer, Refusal, Said};
pub use portraits::{Portrait, PortraitSheet, Portraits, Sitter};

pub use reading::Reports;
pub use recent::Recent;
pub use settings::Setting;
pub use showing::Showing;
pub use sight::{EventIds, Sight};
pub use state::{Intent, Phase, Room};
pub use step::Step;
pub(crate) use telling::Fate;
pub use telling::{STATUS_EVENT, SendStatus, Telling};
pub use undone::Undone;
pub use upgrade::{Move, Moves, Moving, NewHome, TOMBSTONE, creators, is_space};
pub use words::counted;
