//! Making sure that an actor can act: registered once, named once or when the name changed, with a device.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::Method;
use ruma::{
    OwnedUserId, UserId,
    api::client::account::register::{LoginType, v3::Request as Register},
};
use serde::Deserialize;
use serde_json::json;

use super::{DEVICE_ID, HomeserverClient, errors};
use crate::engine::ports::{Actor, CallError};

/// Actors remembered in each of the two generations.
const GENERATION: usize = 20_000;

/// The actors that are known to be ready. Bounded: when the young generation is full it becomes the old one, and what
/// was in neither is simply made sure of again.
#[derive(Default)]
pub(super) struct Ensured {
    sets: Mutex<(BTreeSet<OwnedUserId>, BTreeSet<OwnedUserId>)>,
    no_devices: AtomicBool,
}

impl Ensured {
    pub(super) fn contains(&self, user: &UserId) -> bool {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.0.contains(user) {
            return true;
        }
        let old = sets.1.take(user);
        old.is_some_and(|user| {
            Self::insert_young(&mut sets, user);
            true
        })
    }
    fn insert(&self, user: OwnedUserId) {
        Self::insert_young(&mut self.sets.lock().unwrap_or_else(PoisonError::into_inner), user);
    }
    fn insert_young(sets: &mut (BTreeSet<OwnedUserId>, BTreeSet<OwnedUserId>), user: OwnedUserId) {
        if sets.0.len() >= GENERATION {
            sets.1 = std::mem::take(&mut sets.0);
        }
        sets.0.insert(user);
    }
    fn forget(&self, user: &UserId) {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        sets.0.remove(user);
        sets.1.remove(user);
    }
}

#[derive(Deserialize)]
struct Profile {
    displayname: Option<String>,
}

#[derive(Deserialize)]
struct Empty {}

impl HomeserverClient {
    /// Registers, names and equips the actor unless that was done before in this process.
    pub(super) async fn ensure(&self, actor: &Actor) -> Result<OwnedUserId, CallError> {
        let user = self.actor_id(actor)?;
        if self.ensured.contains(&user) {
            return Ok(user);
        }
        let fresh = self.register(&user).await?;
        let wanted = self.names.display_name(actor);
        if fresh || self.display_name(&user).await?.as_deref() != Some(wanted.as_str()) {
            self.set_display_name(&user, &wanted).await?;
        }
        self.make_device(&user).await?;
        self.ensured.insert(user.clone());
        Ok(user)
    }

    /// The id under which the actor acts; a permanent error if there is none.
    pub(super) fn actor_id(&self, actor: &Actor) -> Result<OwnedUserId, CallError> {
        self.names.user_id(actor).map_err(|error| errors::unusable("acting as a ghost", &error.to_string()))
    }

    /// Whether the actor was known to be ready and the homeserver now says otherwise (its database was restored, the
    /// device was removed): then it is forgotten, and the call is worth one more try.
    pub(super) fn no_longer_ready(&self, user: &UserId, error: &CallError) -> bool {
        let suspicious = matches!(error.status, Some(400 | 401 | 403))
            && matches!(error.errcode.as_deref(), Some("M_UNKNOWN_DEVICE" | "M_FORBIDDEN" | "M_EXCLUSIVE"))
            && (error.what.contains("has not registered this user")
                || error.what.contains("device that doesn't exist"));
        if suspicious {
            self.ensured.forget(user);
        }
        suspicious
    }

    /// The device to name in sends; `None` on a homeserver without MSC4190.
    pub(super) fn device(&self) -> Option<&'static str> {
        if self.ensured.no_devices.load(Ordering::Relaxed) { None } else { Some(DEVICE_ID) }
    }

    pub(super) async fn register(&self, user: &UserId) -> Result<bool, CallError> {
        let mut request = Register::new();
        request.username = Some(user.localpart().to_owned());
        request.login_type = Some(LoginType::ApplicationService);
        request.inhibit_login = true;
        match self.typed("register", request, None).await {
            Ok(_) => Ok(true),
            Err(error) if errors::is(&error, "M_USER_IN_USE") => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn display_name(&self, user: &UserId) -> Result<Option<String>, CallError> {
        let target = self.v3().segment("profile").segment(user.as_str()).query("user_id", user.as_str());
        match self.call::<Profile>("profile", Method::GET, target, None).await {
            Ok(profile) => Ok(profile.displayname),
            Err(error) if errors::is_no_profile(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn set_display_name(&self, user: &UserId, name: &str) -> Result<(), CallError> {
        let target =
            self.v3().segment("profile").segment(user.as_str()).segment("displayname").query("user_id", user.as_str());
        let body = json!({"displayname": name}).to_string();
        self.call::<Empty>("display name", Method::PUT, target, Some(body)).await.map(drop)
    }

    /// `PUT /devices/{id}` makes a device without login (MSC4190).
    async fn make_device(&self, user: &UserId) -> Result<(), CallError> {
        if self.device().is_none() {
            return Ok(());
        }
        let target = self.v3().segment("devices").segment(DEVICE_ID).query("user_id", user.as_str());
        let body = json!({"display_name": "MIMI gateway"}).to_string();
        match self.call::<Empty>("device", Method::PUT, target, Some(body)).await {
            Ok(Empty {}) => Ok(()),
            Err(error) if matches!(error.errcode.as_deref(), Some("M_UNRECOGNIZED" | "M_NOT_FOUND")) => {
                if !self.ensured.no_devices.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "the homeserver makes no devices for appservices (MSC4190): a message sent again after its restart can appear twice"
                    );
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_stays_bounded_and_keeps_who_is_in_use() {
        let cache = Ensured::default();
        let user = |n: usize| UserId::parse(format!("@_mimi_{n}:a.example")).unwrap();
        for n in 0..3 * GENERATION {
            cache.insert(user(n));
            assert!(cache.contains(&user(0)) || n == 0, "in use, so kept: {n}");
        }
        let sets = cache.sets.lock().unwrap();
        assert!(sets.0.len() + sets.1.len() <= 2 * GENERATION);
        drop(sets);
        assert!(!cache.contains(&user(1)));
        cache.forget(&user(0));
        assert!(!cache.contains(&user(0)));
    }
}
