//! Franking, as far as content and room go (draft-ietf-mimi-protocol-06 section 5.4.1): the tag by which a sender commits
//! to what it says, and what is kept of a message that a hub has stamped.

use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{
    effect::Millis,
    group::Beside,
    step::{Effect, Step},
};
use crate::{
    content::MimiContent,
    ident::UserUri,
    wire::{Frank, ServerFrankingContext, Wire},
};

/// The franking tag of application data that is MIMI content with this salt: `HMAC_SHA256(salt, application_data)`.
#[must_use]
pub fn tag(salt: &[u8; 16], application_data: &[u8]) -> [u8; 32] {
    hmac(salt, application_data)
}

/// HMAC-SHA256.
#[must_use]
pub fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(data);
    mac.finalize().into_bytes().into()
}

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

/// What was said beside a message has to be true of it: a message id or a franking tag of something else is refused.
pub(super) fn check_beside(beside: &Beside, id: &[u8; 32], tag: &[u8; 32]) -> Result<(), &'static str> {
    if beside.message_id.is_some_and(|other| other != *id) {
        return Err("the message id beside it is another one's");
    }
    if beside.tag.is_some_and(|other| other != *tag) {
        return Err("its franking tag is not that of its content");
    }
    Ok(())
}

impl Step<'_> {
    pub(super) fn franking_context(&self, sender: &UserUri, accepted: Millis) -> ServerFrankingContext {
        ServerFrankingContext { sender: sender.clone(), room: self.room.uri.clone(), accepted_timestamp: accepted }
    }

    /// As hub: the stamp on a message that is accepted.
    pub(super) fn stamp(&self, message: &[u8], sender: &UserUri, accepted: Millis) -> Option<Frank> {
        self.group.frank(message, &self.franking_context(sender, accepted))
    }

    /// Keeps a message's stamp, if it has one and it is the hub's. Without it the message counts all the same, but cannot
    /// be reported with proof.
    pub(super) fn keep_frank(
        &mut self,
        sender: &UserUri,
        content: &[u8],
        message_id: [u8; 32],
        accepted: Millis,
        frank: Option<&Frank>,
    ) {
        let Some(frank) = frank else { return };
        if let Err(error) = self.group.check_frank(frank, &self.franking_context(sender, accepted)) {
            return self.report(format!("the frank of a message of {sender} does not verify: {error}"));
        }
        self.keep_own_frank(sender, content, message_id, accepted, Some(frank));
    }

    /// As hub: keeps our own stamp on a message of one of our users.
    pub(super) fn keep_own_frank(
        &mut self,
        sender: &UserUri,
        content: &[u8],
        message_id: [u8; 32],
        accepted: Millis,
        frank: Option<&Frank>,
    ) {
        let Some(frank) = frank else { return };
        let (sender, content, frank) = (sender.clone(), content.to_vec(), frank.encode());
        self.out.push(Effect::Franked { message_id, franked: Franked { sender, accepted, frank, content } });
    }

    /// The franking tag of content that our own user says.
    pub(super) fn tag_of(content: &[u8]) -> Option<[u8; 32]> {
        MimiContent::decode(content).ok().map(|decoded| tag(&decoded.salt, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2, and a tag made by hand.
    #[test]
    fn tags() {
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(hmac(b"Jefe", b"what do ya want for nothing?")), known);
        assert_eq!(tag(&[7; 16], b"said"), hmac(&[7; 16], b"said"));
        assert_ne!(tag(&[7; 16], b"said"), tag(&[8; 16], b"said"));
    }

    #[test]
    fn what_is_said_beside_a_message_has_to_be_true() {
        let right = Beside { tag: Some([1; 32]), message_id: Some([2; 32]) };
        assert_eq!(check_beside(&right, &[2; 32], &[1; 32]), Ok(()));
        assert_eq!(check_beside(&Beside::default(), &[2; 32], &[1; 32]), Ok(()));
        assert!(check_beside(&right, &[3; 32], &[1; 32]).is_err());
        assert!(check_beside(&right, &[2; 32], &[0; 32]).is_err());
    }
}
