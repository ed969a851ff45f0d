//! What the room's policy says of the messages of our users: previews of links (component 0x002b, draft-ietf-mimi-room-policy-03
//! section 6.3).
//!
//! It binds clients, and a hub judges nothing by it: what others say is shown as it comes.

use super::step::Step;
use crate::{
    content::MimiContent,
    ident::UserUri,
    policy::{Capability, LinkPreviewPolicy, Optionality, RoomState, component},
    translate::{Loss, Translated, without_previews},
};

/// Whether somebody's messages may come with previews of links.
fn may_preview(state: &RoomState, user: &UserUri) -> bool {
    // Who is not listed gets a role first.
    if state.role_of(user).is_some() && !state.can(user, Capability::SendLinkPreview) {
        return false;
    }
    state.other.get(&component::LINK_PREVIEW_POLICY).is_none_or(|bytes| {
        // What cannot be read may forbid it.
        LinkPreviewPolicy::decode(bytes).is_ok_and(|policy| policy.send_link_previews != Optionality::Forbidden)
    })
}

impl Step<'_> {
    /// Makes what an event became such a message as the room wants.
    pub(super) fn heed_policy(&self, user: &UserUri, translated: &mut Translated) {
        let Some(state) = self.state() else { return };
        let Translated { content, losses } = translated;
        if !may_preview(&state, user) {
            let (body, had_some) = without_previews(content.body.clone());
            if had_some {
                content.body = body;
                losses.push(Loss::Preview);
            }
        }
    }

    /// Why the room does not want a message that was made before its policy was known.
    pub(super) fn against_policy(&self, user: &UserUri, content: &MimiContent) -> Option<&'static str> {
        let state = self.state()?;
        if !may_preview(&state, user) && without_previews(content.body.clone()).1 {
            return Some("the room has no link previews");
        }
        None
    }
}
