//! An opened message of a remote user, on its way into the Matrix room.

use super::{
    effect::{Actor, Effect, MatrixAction, Millis},
    group::Opened,
    people::People,
    step::{Step, hash},
};
use crate::{
    content::{ContentError, ContentFault, Implausible, MessageId, MessageStatusReport, MimiContent},
    ident::UserUri,
    policy::Capability,
    translate::{self, CONTENT_KEY, Earlier, Form, Refers},
    wire::Frank,
};

/// A message to be shown, and what it refers to.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Showing {
    /// The send of the message as one that stands for itself.
    pub action: MatrixAction,
    /// Its id.
    pub message_id: [u8; 32],
    /// When the hub accepted it.
    pub accepted: Millis,
    /// What later messages need of it.
    pub earlier: Earlier,
    /// What it refers to.
    pub refers: Refers,
    /// Who deletes for its sender what others said, if the sender may.
    pub keeper: Option<Actor>,
}

/// The sender's clock, unless it runs ahead of the hub's (DESIGN, Peers).
fn sent_at(content: &MimiContent, accepted: Millis, now: Millis) -> Millis {
    let sent = content.sender_timestamp().map_or(accepted, |at| at.millis);
    if sent > accepted.saturating_add(5 * 60_000) { accepted.min(now) } else { sent }
}

impl Step<'_> {
    /// A message has no content: it is a report, or cannot be read here. Then people hear that there is one, now and then.
    fn no_content(&mut self, sender: &UserUri, plaintext: &[u8], fault: &ContentFault) {
        if let Ok(report) = MessageStatusReport::decode(plaintext) {
            return self.on_report(sender, report);
        }
        self.report(format!("a message of {sender} is no MIMI content: {fault}"));
        let name = self.names.display(sender);
        self.not_shown(
            sender,
            &match fault.error {
                ContentError::TooLong => format!("A message of {name} is too long to be shown here."),
                _ => format!("A message of {name} cannot be shown here: it has a form that I do not know."),
            },
        );
    }

    /// A message disappears at a time that makes no sense.
    fn not_believed(&mut self, sender: &UserUri, why: Implausible) {
        self.report(format!("a message of {sender} is not believed: {why}"));
        let name = self.names.display(sender);
        let what = "it should disappear more than a year from now, or should have a year ago";
        self.not_shown(sender, &format!("A message of {name} is not shown: {what}."));
    }

    /// Tells people now and then of a message that they do not see, if its sender may write here.
    fn not_shown(&mut self, sender: &UserUri, what: &str) {
        let may_write = self.state().is_some_and(|state| state.can(sender, Capability::SendMessage));
        if self.is_ours(sender) || !may_write || !self.recent.tells_unread(sender, self.now) {
            return;
        }
        self.notice(&format!("{what} (Of more such messages you hear within an hour at the earliest.)"));
    }

    /// Takes the card out of a message about its sender: what is said beside it, and whether there was one. As with reports: a card
    /// is about people, and none of the messages that the log has.
    fn without_card(&mut self, sender: &UserUri, content: MimiContent) -> Option<(MimiContent, bool)> {
        if !translate::profile::is_profile(&content) {
            return Some((content, false));
        }
        self.on_profile(sender, &content);
        translate::profile::beside_card(&content).map(|said| (said, true))
    }

    /// Shows an opened message of a remote user; once.
    pub(super) fn show(&mut self, opened: &Opened, accepted: Millis, frank: Option<&Frank>) {
        let Opened { sender, plaintext, beside } = opened;
        let content = match MimiContent::decode(plaintext) {
            Ok(content) => content,
            Err(fault) => return self.no_content(sender, plaintext, &fault),
        };
        if let Err(error) = content.check_origin(sender, &self.room.uri) {
            return self.report(format!("a message of {sender} claims another origin: {error}"));
        }
        if let Err(why) = content.check_plausible(accepted) {
            return self.not_believed(sender, why);
        }
        let id = crate::content::message_id(sender, &self.room.uri, plaintext, &content.salt).0;
        let honest = super::frank::check_beside(beside, &id, &content, plaintext);
        if let (Err(why), Some(other)) = (honest, beside.message_id)
            && other != id
        {
            return self.report(format!("a message of {sender} is not shown: {why}"));
        }
        if !self.recent.insert(id) {
            return;
        }
        match MessageStatusReport::within(&content) {
            Some(Ok(report)) => return self.on_report(sender, report),
            Some(Err(error)) => return self.report(format!("a status report of {sender} cannot be read: {error}")),
            None => {}
        }
        let Some((content, beside_card)) = self.without_card(sender, content) else { return };
        let franked = match honest {
            Ok(()) => self.franked(sender, plaintext, accepted, frank),
            Err(why) => {
                self.report(format!("a message of {sender} counts as not franked: {why}"));
                None
            }
        };
        self.out.push(Effect::Log { accepted, message_id: id, event: None, franked });
        if self.is_ours(sender) || self.keeps_quiet(sender, &content) {
            return;
        }
        let Some(room) = self.room.matrix.clone() else {
            return self.report(format!("a message of {sender} came before the Matrix room was there"));
        };
        self.let_actor_in(&room, sender);
        self.room.sight.comes(MessageId(id), content.last_seen());
        if let Some(expires) = content.expires {
            let (sender, actor) = (sender.clone(), Actor::Ghost(sender.clone()));
            self.out.push(Effect::Expires { message_id: id, sender, expires, actor });
        }
        let ctx = translate::ToMatrix {
            message_id: crate::content::MessageId(id),
            sender,
            room: &self.room.uri,
            mentions: &People { names: self.names, state: self.state(), room: &*self.room },
            from_gateway: self.names.is_gateway(&sender.provider()),
        };
        let shown = translate::to_matrix(&content, &ctx);
        let earlier = Earlier::of(&content, crate::content::MessageId(id), sender).with_kind(shown.kind());
        // Files beside a card are told of: those of a message are found by its own parts.
        let foreseen = if beside_card { None } else { translate::media::foresee(&content, &ctx) };
        let may = |capability| self.state().is_some_and(|state| state.can(sender, capability));
        let deletes = matches!(shown.refers.form, Form::Deletion(_)) && may(Capability::DeleteOtherMessage);
        let keeper = deletes.then(|| self.room.speaker.clone());
        if let Some(replaces) = shown.refers.replaces.filter(|_| deletes) {
            self.out.push(Effect::FilesDeleted { message_id: replaces.0 });
        }
        let mut body = shown.content;
        let losses = match foreseen {
            // Its caption may be another text than the one that is shown without its files.
            Some(foreseen) => {
                foreseen.mention(&mut body);
                foreseen.losses
            }
            None => shown.losses,
        };
        if let Some(origin) = body.get_mut(CONTENT_KEY).and_then(serde_json::Value::as_object_mut) {
            origin.insert("accepted".to_owned(), accepted.into());
        }
        let txn = hash(format!("{}\n{sender}\n{}\n0", self.room.uri, hex::encode(id)).as_bytes());
        let showing = Box::new(Showing {
            action: MatrixAction::Send {
                room,
                actor: Actor::Ghost(sender.clone()),
                event_type: shown.event_type,
                content: body.to_string(),
                ts: Some(sent_at(&content, accepted, self.now)),
                txn_id: format!("m{}", hex::encode(txn.get(..20).unwrap_or(&txn))),
            },
            message_id: id,
            accepted,
            earlier,
            refers: shown.refers,
            keeper,
        });
        let files = translate::media::from_message(&content).is_some();
        self.out.push(if files {
            Effect::ShowFiles { showing, content: plaintext.clone() }
        } else {
            Effect::Show(showing)
        });
        self.tell_losses_here(sender, losses);
    }
}
