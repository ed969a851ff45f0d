//! Our users as others find them (draft-ietf-mimi-protocol-06 section 5.8): the answer to identifierQuery, and the command
//! by which a user says whether, and by what, it can be found.
//!
//! ```text
//!  identifierQuery -> too many? 429 -> what cannot be answered? its code -> rows of those who can be found -> matches
//!      none: notFound, the same for who is hidden and who is not there    some: their present profile is read
//! ```
//! The homeserver is asked about users only who matched already. Its own user directory is not asked: it would answer, and
//! take its time, for hidden users, too.

use std::{collections::BTreeSet, time::Duration};

use ruma::{OwnedUserId, UserId};

use super::{
    core::{Engine, lock, now},
    finding::{Candidates, Findable, Query},
    mail::Answer,
    ports::{CallError, Problem, Retry},
    tables::FINDABLE,
};
use crate::{
    ident::ProviderDomain,
    room::{
        Names as _,
        seek::{Way, Wish},
    },
    store::{Batch, StoreError},
    wire::{
        FieldSource, IdentifierQueryCode, IdentifierRequest, IdentifierResponse, ProfileField, UserProfile, Wire as _,
    },
};

/// Users in one answer. Whoever matches more has to ask for somebody in particular.
const MATCHES: usize = 10;
/// Rows that are read at once.
const PAGE: usize = 256;
/// How long the homeserver may take to tell the present profile of those who matched; then what was known counts.
const LOOK: Duration = Duration::from_secs(5);
/// Between two users when all rows are looked through.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a user's row could not be made or renewed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindableError {
    /// As the call says.
    #[error(transparent)]
    Call(#[from] CallError),
    /// As the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// `POST /identifierQuery/{domain}`.
    pub(super) async fn identify(&self, peer: &ProviderDomain, body: &[u8]) -> Answer {
        let request = IdentifierRequest::decode(body).map_err(|error| Problem::Malformed(error.to_string()))?;
        let response = if self.0.settings.searches_per_hour == 0 {
            IdentifierResponse::empty(IdentifierQueryCode::Forbidden)
        } else {
            lock(&self.0.searches).take(peer, now()).map_err(Problem::TooMany)?;
            match Query::read(&request, self.0.homeserver.has_admin(), &self.0.names.map) {
                Ok(query) => self.matching(peer, &query).await?,
                Err(code) => IdentifierResponse::empty(code),
            }
        };
        // Not what was searched: it may be somebody's number.
        tracing::debug!(%peer, elements = request.elements.len(), code = ?response.code, "a search is answered");
        Ok(response.encode())
    }

    async fn matching(&self, peer: &ProviderDomain, query: &Query) -> Result<IdentifierResponse, StoreError> {
        let mut rows = Vec::new();
        match query.candidates() {
            Candidates::Nobody => {}
            Candidates::One(user) => {
                let row = FINDABLE.get(&self.0.db, &user.to_string()).await?;
                rows.extend(row.filter(|row| self.is_match(peer, query, &user, row)).map(|row| (user, row)));
            }
            Candidates::All => {
                let mut after = None;
                loop {
                    let page = FINDABLE.scan(&self.0.db, &(), after, PAGE).await?;
                    let users = page.rows.into_iter().filter_map(|(user, row)| Some((UserId::parse(user).ok()?, row)));
                    rows.extend(users.filter(|(user, row)| self.is_match(peer, query, user, row)));
                    after = page.next;
                    if after.is_none() || rows.len() > MATCHES {
                        break;
                    }
                }
            }
        }
        if rows.len() > MATCHES {
            return Ok(IdentifierResponse::empty(IdentifierQueryCode::Ambiguous));
        }
        let mut profiles = Vec::new();
        for (user, row) in rows {
            let Some(row) = self.as_they_are(&user, row).await? else { continue };
            if self.is_match(peer, query, &user, &row) {
                profiles.extend(self.shown(&user, &row));
            }
        }
        Ok(IdentifierResponse::found(profiles))
    }

    fn is_match(&self, peer: &ProviderDomain, query: &Query, user: &UserId, row: &Findable) -> bool {
        // Who may not have to do with that provider cannot be reached from there.
        query.matches(user, row) && self.0.settings.rights.may_meet(user, peer)
    }

    /// What others are shown of a user: what a Matrix profile shows anybody.
    fn shown(&self, user: &UserId, row: &Findable) -> Option<UserProfile> {
        let field = |name: &str, value: &str| ProfileField {
            source: FieldSource::OidcStdClaim,
            name: name.to_owned(),
            value: value.as_bytes().to_vec(),
        };
        let mut fields: Vec<ProfileField> = row.name.iter().map(|name| field("name", name)).collect();
        fields.push(field("preferred_username", user.localpart()));
        Some(UserProfile { stable_uri: self.0.names.uri(user)?.as_uri().clone(), fields })
    }

    /// The row as the homeserver would have it now; `None` if the user is gone.
    async fn as_they_are(&self, user: &UserId, row: Findable) -> Result<Option<Findable>, StoreError> {
        match tokio::time::timeout(LOOK, self.renew(user, &row)).await {
            Ok(Ok(renewed)) => Ok(renewed),
            Ok(Err(FindableError::Store(error))) => Err(error),
            Ok(Err(FindableError::Call(error))) => {
                tracing::debug!(%user, %error, "the profile of a user who is found is the one from before");
                Ok(Some(row))
            }
            Err(_) => Ok(Some(row)),
        }
    }

    /// Stores what changed at the homeserver.
    async fn renew(&self, user: &UserId, row: &Findable) -> Result<Option<Findable>, FindableError> {
        let now = self.findable(user, &row.ways).await?;
        if now.as_ref() != Some(row) {
            let (db, key) = (&self.0.db, user.to_string());
            let mut batch = Batch::new("who can be found, renewed");
            batch.require(FINDABLE.equals(db, &key, row)?);
            match &now {
                Some(now) => FINDABLE.put(db, &mut batch, &key, now)?,
                None => FINDABLE.delete(&mut batch, &key),
            }
            match db.commit(batch).await {
                // The user has said something else meanwhile: that counts from the next search on.
                Err(error) if error.is_conflict() => {}
                result => _ = result?,
            }
        }
        Ok(now)
    }

    /// What can be searched of a user, from the homeserver; `None` if there is no such user.
    async fn findable(&self, user: &UserId, ways: &BTreeSet<Way>) -> Result<Option<Findable>, CallError> {
        let homeserver = &self.0.homeserver;
        let Some(profile) = homeserver.profile(user).await? else { return Ok(None) };
        let mut row = Findable { ways: ways.clone(), name: profile.displayname, ..Findable::default() };
        if homeserver.has_admin() {
            match homeserver.contacts(user).await {
                Ok(Some(contacts)) => {
                    row.emails = if ways.contains(&Way::Email) { contacts.emails } else { Vec::new() };
                    row.phones = if ways.contains(&Way::Phone) { contacts.phones } else { Vec::new() };
                }
                // Deactivated.
                Ok(None) => return Ok(None),
                Err(error) if asks_contacts(ways) => return Err(error),
                Err(error) => tracing::debug!(%user, %error, "whether a user is deactivated is not known"),
            }
        }
        Ok(Some(row))
    }

    /// Now and then: names and addresses change.
    pub(super) async fn renew_all(self) {
        tokio::select! {
            () = self.0.stop.cancelled() => {}
            result = self.renew_each() => if let Err(error) = result {
                tracing::warn!(%error, "who can be found is not looked through");
            }
        }
    }

    async fn renew_each(&self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = FINDABLE.scan(&self.0.db, &(), after, PAGE).await?;
            for (user, row) in page.rows {
                let Ok(user) = UserId::parse(user) else { continue };
                if let Err(error) = self.renew(&user, &row).await {
                    // It is tried again with the next round, and when the user is found.
                    tracing::debug!(%user, %error, "what can be searched of a user is not renewed");
                }
                tokio::time::sleep(PAUSE).await;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// A user says by what it can be found; the answer in words.
    pub(super) async fn be_findable(&self, user: &OwnedUserId, wish: &Wish) -> Result<String, FindableError> {
        let (db, key) = (&self.0.db, user.to_string());
        if user.server_name() != self.0.names.map.server_name() || self.0.names.uri(user).is_none() {
            return Ok("Only users of this server can be found through me.".to_owned());
        }
        let ways = match wish {
            Wish::Tell => {
                let row = FINDABLE.get(db, &key).await?;
                return Ok(told(&row.unwrap_or_default(), self.0.settings.searches_per_hour == 0));
            }
            Wish::Set(ways) => ways,
        };
        if asks_contacts(ways) && !self.0.homeserver.has_admin() {
            return Ok(
                "This gateway does not know e-mail addresses and telephone numbers: say handle, name, or both. \
                       Nothing is changed."
                    .to_owned(),
            );
        }
        let mut batch = Batch::new("who can be found");
        let mut row = Findable::default();
        if ways.is_empty() {
            FINDABLE.delete(&mut batch, &key);
        } else {
            row = match self.findable(user, ways).await {
                Ok(Some(found)) => found,
                Ok(None) => return Ok("The homeserver does not know you.".to_owned()),
                Err(error) if error.retry == Retry::Permanent => {
                    tracing::warn!(%user, %error, "what can be searched of a user is not told");
                    return Ok("The homeserver does not tell me what you can be found by; its operator has to look at that. Nothing is changed.".to_owned());
                }
                Err(error) => return Err(error.into()),
            };
            FINDABLE.put(db, &mut batch, &key, &row)?;
        }
        db.commit(batch).await?;
        tracing::info!(%user, ways = ?ways, "a user says by what it can be found");
        Ok(told(&row, self.0.settings.searches_per_hour == 0))
    }
}

fn asks_contacts(ways: &BTreeSet<Way>) -> bool {
    ways.contains(&Way::Email) || ways.contains(&Way::Phone)
}

/// How it stands, in words.
fn told(row: &Findable, off: bool) -> String {
    if row.ways.is_empty() {
        return "Users of other providers do not find you when they search. Say discoverable handle, or name, or both, to be found; \
                whoever has your address can invite you anyway."
            .to_owned();
    }
    let mut parts = Vec::new();
    for way in &row.ways {
        parts.push(match way {
            Way::Handle => "your whole handle".to_owned(),
            Way::Name => match &row.name {
                Some(name) => format!("your display name “{name}” or a part of it"),
                None => "your display name, once you have one".to_owned(),
            },
            Way::Email if row.emails.is_empty() => "an e-mail address, once your account has one".to_owned(),
            Way::Email => row.emails.join(", "),
            Way::Phone if row.phones.is_empty() => "a telephone number, once your account has one".to_owned(),
            Way::Phone => row.phones.join(", "),
        });
    }
    let off = if off { " At present this gateway answers no searches, though." } else { "" };
    format!(
        "Users of other providers find you by {}. They then see your display name and your address. “discoverable off” ends it.{off}",
        parts.join("; ")
    )
}
