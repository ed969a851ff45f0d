//! What our users say about consent, and what becomes of it (draft-ietf-mimi-protocol-06 sections 5.7 and 8).

use super::{
    consent::{entry, every_room_of},
    core::Engine,
    desk::Rows,
    ports::{Endpoint, PathTarget},
    rights::Act,
    tables::{BLOCKED, CONSENT, Consent, KEY_PACKAGES, OutRow, PLACES, QUESTIONS, REQUESTED, Requested, Wants},
};
use crate::{
    ident::UserUri,
    room::{ConsentWords, Names as _, Tag, counted},
    store::{Batch, StoreError},
    wire::{ConsentAction, ConsentEntry, Wire as _},
};

impl Engine {
    /// Sends a grant for every room with a KeyPackage, unless several wait to be used.
    pub(super) async fn send_grant(
        &self,
        target: &UserUri,
        requester: &UserUri,
        batch: &mut Batch,
        rows: &mut Rows,
    ) -> Result<(), StoreError> {
        let db = &self.0.db;
        let place = every_room_of(&requester.provider());
        let given = KEY_PACKAGES.scan_all(db, &place).await?;
        let waiting = given.iter().any(|(_, row)| row.user == *target && row.requester == *requester);
        let key_packages =
            if waiting { Vec::new() } else { vec![super::key_material::give(db, batch, &place, requester, target)?] };
        self.send_entry(&entry(ConsentAction::Grant { key_packages }, requester, target), batch, rows)
    }

    /// Sends an entry to the other user's provider.
    fn send_entry(&self, entry: &ConsentEntry, batch: &mut Batch, rows: &mut Rows) -> Result<(), StoreError> {
        let asks = matches!(entry.action, ConsentAction::Request | ConsentAction::Cancel);
        let (own, other) = if asks { (&entry.requester, &entry.target) } else { (&entry.target, &entry.requester) };
        let peer = other.provider();
        let row = OutRow::Call {
            peer: peer.clone(),
            endpoint: if asks { Endpoint::RequestConsent } else { Endpoint::UpdateConsent },
            target: PathTarget::Domain(peer.clone()),
            body: entry.encode(),
            wants: Wants::Room(Tag::None),
        };
        // By our user, so that one entry comes behind another about the same.
        self.row(&format!("c:{peer}:{own}"), row, batch, rows)
    }

    /// Whom an answer without an address is for: the question that it replies to, or the only one that is open.
    async fn asked_by(&self, user: &UserUri, reply_to: Option<&str>) -> Result<Result<UserUri, String>, StoreError> {
        let db = &self.0.db;
        if let Some(event) = reply_to
            && let Some((target, requester)) = QUESTIONS.get(db, &event.to_owned()).await?
            && target == *user
        {
            return Ok(Ok(requester));
        }
        let said = CONSENT.scan_all(db, &user.to_string()).await?;
        let open =
            said.into_iter().filter(|((_, _, room), said)| room.is_empty() && matches!(said, Consent::Pending(_)));
        let open: Vec<UserUri> = open.filter_map(|((_, requester, _), _)| UserUri::parse(&requester).ok()).collect();
        Ok(match open.as_slice() {
            [requester] => Ok(requester.clone()),
            [] => Err("Nobody waits for an answer of yours.".to_owned()),
            several => {
                let lines: Vec<String> =
                    several.iter().map(|one| format!("• accept {one}, or decline {one}")).collect();
                Err(format!("Several wait for an answer. Say which:\n{}", lines.join("\n")))
            }
        })
    }

    /// Why one of ours may not ask this remote user to agree, wherever they say it: asking counts as inviting.
    fn may_not_ask(&self, user: &UserUri, other: &UserUri) -> Option<String> {
        let id = self.0.names.matrix_id(user)?;
        if let Err(why) = self.0.settings.rights.check(&id, Act::Invite, Some(&other.provider())) {
            return Some(why);
        }
        let seconds = self.0.names.too_many_invitations(user)?;
        Some(format!(
            "You have asked as many users of other providers as this gateway lets one user ask within an hour. Try again in \
             {}.",
            counted(u64::from(seconds.div_ceil(60)), "minute", "minutes")
        ))
    }

    /// Carries out what one of our users says about consent; the answer for them.
    pub(super) async fn consent_word(
        &self,
        user: &UserUri,
        words: &ConsentWords,
        reply_to: Option<&str>,
        batch: &mut Batch,
        rows: &mut Rows,
    ) -> Result<String, StoreError> {
        let (word, other) = match words {
            ConsentWords::Yes | ConsentWords::No => match self.asked_by(user, reply_to).await? {
                Ok(other) if *words == ConsentWords::Yes => (ConsentWords::Accept(other.clone()), other),
                Ok(other) => (ConsentWords::Decline(other.clone()), other),
                Err(why) => return Ok(why),
            },
            ConsentWords::Blocked => return self.blocked(user).await,
            ConsentWords::Accept(other)
            | ConsentWords::Decline(other)
            | ConsentWords::Revoke(other)
            | ConsentWords::Block(other)
            | ConsentWords::Unblock(other)
            | ConsentWords::Ask(other)
            | ConsentWords::Withdraw(other) => (words.clone(), other.clone()),
        };
        if other.provider() == *self.0.names.domain() {
            return Ok("That user is here on this server: this is about users of other providers.".to_owned());
        }
        let who = self.described(&other);
        let undo = matches!(word, ConsentWords::Revoke(_) | ConsentWords::Block(_) | ConsentWords::Unblock(_));
        if !undo && let Some(why) = self.0.names.not_reached(&other.provider(), Some(user)) {
            return Ok(why);
        }
        if let ConsentWords::Ask(_) = word
            && let Some(why) = self.may_not_ask(user, &other)
        {
            return Ok(why);
        }
        let db = &self.0.db;
        let blocked = (user.to_string(), other.to_string());
        // What they may do with us, and in another table what we asked of them.
        let every_room = (blocked.0.clone(), blocked.1.clone(), String::new());
        match word {
            ConsentWords::Accept(_) => {
                BLOCKED.delete(batch, &blocked);
                CONSENT.put(db, batch, &every_room, &Consent::Granted)?;
                PLACES.delete(batch, &every_room);
                self.0.asking.end(&every_room);
                self.send_grant(user, &other, batch, rows).await?;
                Ok(format!(
                    "{who} may add you to rooms from now on. You still join each of them. “revoke {other}” ends that."
                ))
            }
            ConsentWords::Decline(_) => {
                let told = self.take_back(user, &other, batch, rows).await?;
                CONSENT.put(db, batch, &every_room, &Consent::Declined)?;
                let told = if told { "They are told, since you had agreed before." } else { "They are not told." };
                Ok(format!("{who} may not add you to rooms. {told}"))
            }
            ConsentWords::Revoke(_) => Ok(if self.take_back(user, &other, batch, rows).await? {
                format!(
                    "{who} may not add you to rooms any more; they are told. Rooms that you share stay as they are."
                )
            } else {
                format!("You had not agreed that {who} adds you to rooms.")
            }),
            ConsentWords::Block(_) => {
                let told = self.take_back(user, &other, batch, rows).await?;
                BLOCKED.put(db, batch, &blocked, &())?;
                let told = if told { " They are told that you do not agree any more to be added." } else { "" };
                Ok(format!(
                    "{who} is blocked: you are not shown what they ask any more, and they do not see that.{told} Rooms that you \
                     share stay as they are. “unblock {other}” ends it."
                ))
            }
            ConsentWords::Unblock(_) => {
                let was = BLOCKED.get(db, &blocked).await?.is_some();
                BLOCKED.delete(batch, &blocked);
                Ok(if was { format!("{who} may ask you again.") } else { format!("{who} was not blocked.") })
            }
            ConsentWords::Ask(_) => {
                REQUESTED.put(db, batch, &every_room, &Requested::Waiting)?;
                self.send_entry(&entry(ConsentAction::Request, user, &other), batch, rows)?;
                Ok(format!("{who} is asked to agree that you add them to rooms. You hear if they do."))
            }
            ConsentWords::Withdraw(_) => {
                let was = REQUESTED.get(db, &every_room).await?.is_some();
                REQUESTED.delete(batch, &every_room);
                if was {
                    self.send_entry(&entry(ConsentAction::Cancel, user, &other), batch, rows)?;
                }
                Ok(if was { format!("{who} is not asked any more.") } else { format!("You had not asked {who}.") })
            }
            ConsentWords::Yes | ConsentWords::No | ConsentWords::Blocked => Ok(String::new()),
        }
    }

    /// Takes all consent back that our user gave the other one; whether there was any: only then the other is told.
    ///
    /// KeyPackages that were given out stay until they expire: an Add with one may be on its way, and a leaf of ours without
    /// its key would count as forged. Who comes in with one is not in the Matrix room, and leaves again.
    async fn take_back(
        &self,
        user: &UserUri,
        other: &UserUri,
        batch: &mut Batch,
        rows: &mut Rows,
    ) -> Result<bool, StoreError> {
        let said = CONSENT.scan_all(&self.0.db, &(user.to_string(), other.to_string())).await?;
        let mut given = false;
        for (key, consent) in said {
            given |= consent == Consent::Granted;
            CONSENT.delete(batch, &key);
        }
        if given && self.0.peers.knows(&other.provider()) {
            self.send_entry(&entry(ConsentAction::Revoke, other, user), batch, rows)?;
        }
        Ok(given)
    }

    async fn blocked(&self, user: &UserUri) -> Result<String, StoreError> {
        let blocked = BLOCKED.scan_all(&self.0.db, &user.to_string()).await?;
        if blocked.is_empty() {
            return Ok("You block nobody.".to_owned());
        }
        let lines: Vec<String> = blocked.into_iter().map(|((_, other), ())| format!("• {other}")).collect();
        Ok(format!("You block\n{}", lines.join("\n")))
    }
}
