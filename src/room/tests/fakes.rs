//! Names, addresses and chance, as the tests of rooms have them.

use ruma::{OwnedUserId, UserId};

use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    room::{Names, SendStatus, Telling},
};

/// Splitmix: small, and the same everywhere.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }
    pub(super) fn percent(&mut self, p: usize) -> bool {
        self.below(100) < p
    }
    pub(super) fn pick<T: Clone>(&mut self, from: impl IntoIterator<Item = T>) -> Option<T> {
        let all: Vec<T> = from.into_iter().collect();
        if all.is_empty() { None } else { Some(all[self.below(all.len())].clone()) }
    }
}

pub(super) fn domain(text: &str) -> ProviderDomain {
    ProviderDomain::parse(text).unwrap()
}
pub(super) fn user(text: &str) -> UserUri {
    let (name, provider) = text.split_once('@').unwrap();
    UserUri::new(&domain(&format!("{provider}.test")), name).unwrap()
}
pub(super) fn room_uri() -> RoomUri {
    RoomUri::new(&domain("a.test"), "club").unwrap()
}

/// Everybody's Matrix id is their name at a server of the provider's domain.
pub(super) struct FakeNames(pub(super) ProviderDomain);

impl Names for FakeNames {
    fn domain(&self) -> &ProviderDomain {
        &self.0
    }
    fn uri(&self, user: &UserId) -> Option<UserUri> {
        if self.is_bridged(user) { None } else { UserUri::new(&self.0, user.localpart()).ok() }
    }
    fn ghost_uri(&self, user: &UserId) -> Option<UserUri> {
        let (provider, name) = user.localpart().strip_prefix("_mimi_")?.split_once('/')?;
        UserUri::new(&domain(provider), name).ok()
    }
    fn is_stray(&self, user: &UserId) -> bool {
        user.localpart().starts_with("_mimi_") && self.ghost_uri(user).is_none()
    }
    fn is_peer(&self, _provider: &ProviderDomain) -> bool {
        true
    }
    fn is_bridged(&self, user: &UserId) -> bool {
        self.is_bot(user) || user.localpart().starts_with("_mimi_")
    }
    fn matrix_id(&self, user: &UserUri) -> Option<OwnedUserId> {
        let local = if user.provider() == self.0 {
            user.tail().to_owned()
        } else {
            format!("_mimi_{}/{}", user.provider(), user.tail())
        };
        UserId::parse(format!("@{local}:{}", self.0)).ok()
    }
    fn bot(&self) -> OwnedUserId {
        UserId::parse(format!("@bot:{}", self.0)).unwrap()
    }
    fn is_bot(&self, user: &UserId) -> bool {
        *user == self.bot()
    }
    fn display(&self, user: &UserUri) -> String {
        user.tail().to_owned()
    }
    fn portal_alias(&self, room: &RoomUri) -> String {
        format!("_mimi_{}", room.tail())
    }
    fn list_all_up_to(&self) -> usize {
        500
    }
    // Time passes as it likes here.
    fn telling(&self) -> Telling {
        Telling { send_status: SendStatus::Off, ..Telling::default() }
    }
}
