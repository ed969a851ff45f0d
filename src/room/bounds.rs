//! What the operator lets rooms be, whatever their own policy ([`Envelope`](crate::policy::Envelope)): a hub's part is where commits
//! are judged; here is what people are told before, and how a follower leaves a room that went beyond it.

use super::{
    orders::{Cause, Refusal},
    state::Phase,
    step::Step,
};

impl Step<'_> {
    /// Why nobody more can be asked into a room of ours.
    pub(super) fn is_full(&self) -> Option<Refusal> {
        let most = self.names.envelope().max_participants.filter(|_| self.is_hub())?;
        let state = self.state()?;
        let many = state.participants.iter().filter(|(_, role)| !state.is_banned_role(*role)).count();
        (u32::try_from(many).unwrap_or(u32::MAX) >= most).then(|| {
            let text = format!("This room has {many} participants, as many as the operator of this server allows.");
            Refusal::new(Cause::Conflict, text)
        })
    }

    /// As follower: our users leave a room that is beyond what the operator allows, and are told why.
    pub(super) fn keep_within_bounds(&mut self) {
        let envelope = self.names.envelope();
        if self.is_hub() || self.room.phase != Phase::Active || self.room.unbridging || envelope.is_unbounded() {
            return;
        }
        let Some(state) = self.state() else { return };
        let Some(excess) = envelope.excesses(&state, self.names.domain()).into_iter().next() else { return };
        self.report(format!("the room is beyond the envelope of the settings, and is left: {excess}"));
        self.notice(&format!(
            "The operator of this server does not allow its users MIMI rooms like this one ({excess}). They leave it, and what is \
             written here stays on this server."
        ));
        if self.room.direct {
            return self.part();
        }
        if let Some(by) = self.group.local_users().first().cloned() {
            self.empty_room(&by);
        }
    }
}
