//! Franking, as far as content and room go (draft-ietf-mimi-protocol-06 section 5.4.1): the tag by which a sender commits
//! to what it says, and what is kept of a message that a hub has stamped.

use serde::{Deserialize, Serialize};

use super::{effect::Millis, group::Beside, step::Step};
use crate::{
    content::MimiContent,
    ident::UserUri,
    wire::{Frank, FrankingTag, ServerFrankingContext, Wire},
};

/// A message with the hub's stamp: what a report of abuse is made of (section 5.9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Franked {
    /// Who sent it.
    pub sender: UserUri,
    /// When the hub accepted it.
    pub accepted: Millis,
    /// The stamp, encoded; verified when it came.
    pub frank: Vec<u8>,
    /// The application data that the tag commits to.
    pub content: Vec<u8>,
}

impl Franked {
    /// A message with a stamp that is known to be the hub's.
    pub(super) fn new(sender: &UserUri, content: &[u8], accepted: Millis, frank: &Frank) -> Self {
        Self { sender: sender.clone(), accepted, frank: frank.encode(), content: content.to_vec() }
    }
}

/// What was said beside a message has to be true of it: a message id or a franking tag of something else is refused.
pub(super) fn check_beside(
    beside: &Beside,
    id: &[u8; 32],
    content: &MimiContent,
    application_data: &[u8],
) -> Result<(), &'static str> {
    if beside.message_id.is_some_and(|other| other != *id) {
        return Err("the message id beside it is another one's");
    }
    if beside.tag.is_some_and(|tag| !tag.fits(&content.salt, application_data)) {
        return Err("its franking tag is not that of its content");
    }
    Ok(())
}

impl Step<'_> {
    pub(super) fn franking_context(&self, sender: &UserUri, accepted: Millis) -> ServerFrankingContext {
        ServerFrankingContext {
            sender_uri: sender.clone(),
            room_uri: self.room.uri.clone(),
            accepted_timestamp: accepted,
        }
    }

    /// As hub: the stamp on a message that is accepted.
    pub(super) fn stamp(&self, message: &[u8], sender: &UserUri, accepted: Millis) -> Option<Frank> {
        self.group.frank(message, &self.franking_context(sender, accepted))
    }

    /// What to keep of a message's stamp, if it has one and it is the hub's. Without it the message counts all the same, but
    /// cannot be reported with proof.
    pub(super) fn franked(
        &mut self,
        sender: &UserUri,
        content: &[u8],
        accepted: Millis,
        frank: Option<&Frank>,
    ) -> Option<Franked> {
        let frank = frank?;
        if let Err(error) = self.group.check_frank(frank, &self.franking_context(sender, accepted)) {
            self.report(format!("the frank of a message of {sender} does not verify: {error}"));
            return None;
        }
        Some(Franked::new(sender, content, accepted, frank))
    }

    /// The franking tag of content that our own user says.
    pub(super) fn tag_of(content: &[u8]) -> Option<FrankingTag> {
        MimiContent::decode(content).ok().map(|decoded| FrankingTag::of(&decoded.salt, content))
    }
}
