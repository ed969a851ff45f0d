//! How the Matrix rooms of a followed room and of the one on which it depends name each other: `m.space.parent` in the former,
//! `m.space.child` in the latter. Each room writes what stands in its own Matrix room, and hears by its inbox which Matrix room
//! the other one is. In hosted rooms people see to that themselves.
//!
//! ```text
//!  child: its policy names a parent --Below--> parent: writes m.space.child
//!  child: writes m.space.parent    <--Above--- parent: now, and whenever it is another Matrix room, or none
//! ```

use std::collections::{BTreeMap, BTreeSet};

use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    state::{Phase, Room},
    step::Step,
};
use crate::{ident::RoomUri, policy::RoomState};

/// What a followed room knows of Matrix rooms of others of its hub, and they of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Links {
    /// The room on which this one depends, and its Matrix room.
    pub above: Option<(RoomUri, OwnedRoomId)>,
    /// Rooms that depend on this one, and their Matrix rooms.
    pub below: BTreeMap<RoomUri, OwnedRoomId>,
    /// What stands in the Matrix room of this one, and in which that is.
    pub shown: Option<(OwnedRoomId, BTreeSet<Link>)>,
    /// Which room was told that this one depends on it, and that it is this Matrix room.
    pub told: Option<(RoomUri, OwnedRoomId)>,
    /// Which Matrix room those were told that depend on this one.
    pub said: Option<OwnedRoomId>,
}

/// One state event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Link {
    /// The room stands in this one.
    Parent(OwnedRoomId),
    /// This one stands in the room.
    Child(OwnedRoomId),
}

impl Room {
    /// The Matrix room, as long as it shows a room of many. As follower others may name it.
    #[must_use]
    pub fn portal(&self) -> Option<&OwnedRoomId> {
        let stays = matches!(self.phase, Phase::Active | Phase::Broken(_)) && !self.unbridging && !self.direct;
        self.matrix.as_ref().filter(|_| stays)
    }

    /// The room on which this one depends by its policy. A hub speaks for its own rooms alone.
    #[must_use]
    pub fn depends_on(&self, state: &RoomState) -> Option<RoomUri> {
        let parent = RoomUri::parse(state.base_policy.parent()?).ok()?;
        (parent.hub() == self.uri.hub() && parent != self.uri).then_some(parent)
    }
}

impl Step<'_> {
    fn depends_on(&self) -> Option<RoomUri> {
        self.room.depends_on(&*self.state()?)
    }

    pub(super) fn on_above(&mut self, room: &RoomUri, matrix: Option<OwnedRoomId>) {
        let known = &self.room.kin.links.above;
        match matrix {
            // Who asked before may depend on another one since.
            Some(matrix) if self.depends_on().as_ref() == Some(room) => {
                self.room.kin.links.above = Some((room.clone(), matrix));
            }
            None if known.as_ref().is_some_and(|(known, _)| known == room) => self.room.kin.links.above = None,
            _ => {}
        }
    }

    pub(super) fn on_below(&mut self, room: &RoomUri, matrix: Option<OwnedRoomId>) {
        let below = &mut self.room.kin.links.below;
        match matrix {
            Some(matrix) => drop(below.insert(room.clone(), matrix)),
            None => drop(below.remove(room)),
        }
    }

    /// Writes what changed of it.
    pub(super) fn show_links(&mut self) {
        if self.is_hub() {
            return;
        }
        let mut wanted = BTreeSet::new();
        if self.room.portal().is_some() {
            let links = &self.room.kin.links;
            let parent = self.depends_on();
            let above = links.above.iter().filter(|(room, _)| parent.as_ref() == Some(room));
            wanted.extend(above.map(|(_, matrix)| Link::Parent(matrix.clone())));
            wanted.extend(links.below.values().cloned().map(Link::Child));
        }
        self.show_just(wanted);
    }

    /// The Matrix room is about to be none of ours.
    pub(super) fn take_links_back(&mut self) {
        self.show_just(BTreeSet::new());
    }

    fn show_just(&mut self, wanted: BTreeSet<Link>) {
        let matrix = self.room.matrix.clone();
        let shown = self.room.kin.links.shown.take().filter(|(place, _)| Some(place) == matrix.as_ref());
        let shown = shown.map(|(_, links)| links).unwrap_or_default();
        for link in shown.difference(&wanted) {
            self.write_link(link, false);
        }
        for link in wanted.difference(&shown) {
            self.write_link(link, true);
        }
        self.room.kin.links.shown = matrix.filter(|_| !wanted.is_empty()).map(|matrix| (matrix, wanted));
    }

    fn write_link(&mut self, link: &Link, stands: bool) {
        let via = [self.names.bot().server_name().to_owned()];
        let (event_type, room, content) = match link {
            Link::Parent(room) => ("m.space.parent", room, json!({ "via": via, "canonical": true })),
            Link::Child(room) => ("m.space.child", room, json!({ "via": via })),
        };
        let content = if stands { content } else { json!({}) };
        self.set_state_if_allowed(event_type.to_owned(), room.to_string(), content.to_string());
    }
}
