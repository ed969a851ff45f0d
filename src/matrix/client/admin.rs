//! Calls that only an administrator of the homeserver may make (Synapse's admin API), with a token of their own, and
//! profiles, which anybody may read.

use reqwest::{Method, header::AUTHORIZATION};
use ruma::{OwnedUserId, UserId};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{HomeserverClient, errors, http::Target};
use crate::engine::ports::{CallError, Contacts, Millis, Profile, UserReport};

#[derive(Deserialize)]
struct ProfileAnswer {
    displayname: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    threepids: Vec<ThirdPartyId>,
    #[serde(default)]
    deactivated: bool,
}

#[derive(Deserialize)]
struct ThirdPartyId {
    medium: String,
    address: String,
}

#[derive(Deserialize)]
struct Reports {
    event_reports: Vec<Report>,
}

#[derive(Deserialize)]
struct Report {
    id: u64,
    received_ts: Millis,
    room_id: String,
    event_id: String,
    user_id: OwnedUserId,
    reason: Option<String>,
}

impl HomeserverClient {
    pub(super) async fn read_profile(&self, user: &UserId) -> Result<Option<Profile>, CallError> {
        let target = self.v3().segment("profile").segment(user.as_str()).query("user_id", self.names.bot().as_str());
        match self.call::<ProfileAnswer>("profile", Method::GET, target, None).await {
            Ok(profile) => Ok(Some(Profile { displayname: profile.displayname, picture: profile.avatar_url })),
            Err(error) if errors::is_no_profile(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn read_contacts(&self, user: &UserId) -> Result<Option<Contacts>, CallError> {
        let target = Target::admin(&self.base, "v2").segment("users").segment(user.as_str());
        let account: Account = match self.ask_admin("account", target).await {
            Ok(account) => account,
            Err(error) if errors::is(&error, "M_NOT_FOUND") => return Ok(None),
            Err(error) => return Err(error),
        };
        if account.deactivated {
            return Ok(None);
        }
        let mut contacts = Contacts::default();
        for id in account.threepids {
            match id.medium.as_str() {
                "email" => contacts.emails.push(id.address.to_lowercase()),
                // Matrix has them without the plus.
                "msisdn" => contacts.phones.push(format!("+{}", id.address.trim_start_matches('+'))),
                _ => {}
            }
        }
        contacts.emails.sort();
        contacts.phones.sort();
        Ok(Some(contacts))
    }

    pub(super) async fn read_user_reports(&self, skip: u64, limit: u32) -> Result<Vec<UserReport>, CallError> {
        let target = Target::admin(&self.base, "v1")
            .segment("event_reports")
            .query("dir", "b")
            .number("from", skip)
            .number("limit", u64::from(limit));
        let list: Reports = self.ask_admin("event reports", target).await?;
        let report = |report: Report| UserReport {
            id: report.id,
            received: report.received_ts,
            room: report.room_id,
            event: report.event_id,
            by: report.user_id,
            reason: report.reason.unwrap_or_default(),
        };
        Ok(list.event_reports.into_iter().map(report).collect())
    }

    async fn ask_admin<T: serde::de::DeserializeOwned>(&self, what: &str, target: Target) -> Result<T, CallError> {
        let token = self.admin_token.as_ref().ok_or_else(|| errors::unusable(what, "there is no admin_token"))?;
        let request = self.http.get(target.into_text()).header(AUTHORIZATION, bearer(what, token)?);
        let answer = self.exchange(what, request).await.map_err(|error| match error.status {
            // Says nothing of our own token, which others look after.
            Some(401 | 403) => errors::unusable(&error.what, "homeserver.admin_token has to be an administrator's"),
            _ => error,
        })?;
        serde_json::from_slice(&answer.into_body()).map_err(|error| errors::unreadable(what, &error.to_string()))
    }
}

pub(super) fn bearer(what: &str, token: &SecretString) -> Result<http::HeaderValue, CallError> {
    let mut value = http::HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
        .map_err(|_| errors::unusable(what, "admin_token has characters that cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}
