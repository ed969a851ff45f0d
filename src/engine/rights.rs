//! Who may do what with this gateway: rules by user and server, of which the most specific one counts, and how much a user may
//! do. The same questions are asked whether somebody says something to the bot, acts in a room, or uses the provisioning API.
//!
//! ```text
//!  "*"  <  "*.example"  <  "matrix.example"  <  "@*-guest:matrix.example"  <  "@ops:matrix.example"
//! ```

use std::{collections::BTreeSet, sync::Mutex};

use ruma::{ServerName, UserId};
use serde::{Deserialize, Serialize};

use super::{
    core::{lock, now},
    meter::{self, Meter},
};
use crate::ident::{Pattern, ProviderDomain};

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Mirror Matrix rooms as MIMI rooms.
    Bridge,
    /// Ask users of other providers into rooms that are mirrored, and give joining codes.
    Invite,
    /// Begin direct chats with users of other providers.
    Chat,
    /// Join rooms that are hosted elsewhere.
    Follow,
    /// Everything, and what concerns everybody: all rooms, what was set aside, denying providers.
    Admin,
}

impl Act {
    /// All that somebody can do who does not administrate.
    pub const ORDINARY: [Self; 4] = [Self::Bridge, Self::Invite, Self::Chat, Self::Follow];

    /// What it is, behind "you may".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Bridge => "mirror rooms",
            Self::Invite => "invite users of other providers",
            Self::Chat => "begin chats with users of other providers",
            Self::Follow => "join rooms of other providers",
            Self::Admin => "administrate this gateway",
        }
    }
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Users of servers.
    Server(Pattern),
    /// Users.
    User(Pattern),
}

impl Who {
    /// Reads `*`, a server's name or a user id, both with `*` for any text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if let Some(server) = text.strip_prefix("@*:") {
            return (!server.is_empty()).then(|| Self::Server(Pattern::new(server)));
        }
        if let Some(rest) = text.strip_prefix('@') {
            return rest.contains(':').then(|| Self::User(Pattern::new(text)));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"*.-:[]".contains(&byte);
        (!text.is_empty() && text.bytes().all(plain)).then(|| Self::Server(Pattern::new(text)))
    }

    fn matches(&self, user: &UserId) -> bool {
        match self {
            Self::Server(pattern) => pattern.matches(user.server_name().as_str()),
            Self::User(pattern) => pattern.matches(user.as_str()),
        }
    }

    /// The greater one counts.
    fn weight(&self) -> (bool, (bool, usize)) {
        match self {
            Self::Server(pattern) => (false, pattern.weight()),
            Self::User(pattern) => (true, pattern.weight()),
        }
    }
}

/// What those may do whom it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is about.
    pub who: Who,
    /// What they may do.
    pub may: BTreeSet<Act>,
    /// The providers with whose users they may have to do; `None`: all peers.
    pub peers: Option<Vec<Pattern>>,
    /// In the place of [`Limits::rooms`].
    pub rooms: Option<u32>,
    /// In the place of [`Limits::invitations`].
    pub invitations: Option<u32>,
}

impl Rule {
    /// Those may do this, with everybody.
    #[must_use]
    pub fn new(who: Who, may: impl IntoIterator<Item = Act>) -> Self {
        Self { who, may: may.into_iter().collect(), peers: None, rooms: None, invitations: None }
    }
}

/// How much one user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rooms that one user has mirrored, begun as direct chat or joined elsewhere, at one time.
    pub rooms: u32,
    /// Invitations within an hour.
    pub invitations: u32,
}

/// Who may do what with this gateway.
#[derive(Debug)]
pub struct Rights {
    /// The most specific one first.
    rules: Vec<Rule>,
    limits: Limits,
    invited: Mutex<Meter<String>>,
}

impl Rights {
    /// From rules in any order; of two about the same the first one counts.
    #[must_use]
    pub fn new(mut rules: Vec<Rule>, limits: Limits) -> Self {
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.who.weight()));
        Self { rules, limits, invited: Mutex::new(Meter::new(limits.invitations, meter::HOUR)) }
    }

    /// Users of this server may do what is ordinary, others may ask people into rooms that are mirrored.
    #[must_use]
    pub fn usual(server: &ServerName) -> Vec<Rule> {
        vec![Rule::new(Who::Server(Pattern::new(server.as_str())), Act::ORDINARY), Self::everybody()]
    }

    /// What everybody may do of whom nothing else is said: whoever the Matrix room lets invite, invites.
    #[must_use]
    pub fn everybody() -> Rule {
        Rule::new(Who::Server(Pattern::new("*")), [Act::Invite])
    }

    /// Everybody may do everything: for tests and benches.
    #[must_use]
    pub fn anything() -> Self {
        let rule = Rule::new(Who::Server(Pattern::new("*")), [Act::Admin]);
        Self::new(vec![rule], Limits { rooms: u32::MAX, invitations: u32::MAX })
    }

    fn rule(&self, user: &UserId) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.who.matches(user))
    }

    /// Whether this user may do this.
    #[must_use]
    pub fn may(&self, user: &UserId, act: Act) -> bool {
        self.rule(user).is_some_and(|rule| rule.may.contains(&act) || rule.may.contains(&Act::Admin))
    }

    /// Whether this user may do anything at all.
    #[must_use]
    pub fn may_anything(&self, user: &UserId) -> bool {
        self.rule(user).is_some_and(|rule| !rule.may.is_empty())
    }

    /// Whether the bot talks with this user alone.
    #[must_use]
    pub fn may_talk(&self, user: &UserId) -> bool {
        [Act::Bridge, Act::Chat, Act::Follow].into_iter().any(|act| self.may(user, act))
    }

    /// Whether this user may have to do with users of this provider at all, and be found and asked by them.
    #[must_use]
    pub fn may_meet(&self, user: &UserId, peer: &ProviderDomain) -> bool {
        self.rule(user).is_some_and(|rule| {
            let listed = |peers: &Vec<Pattern>| peers.iter().any(|pattern| pattern.matches(peer.as_str()));
            !rule.may.is_empty() && rule.peers.as_ref().is_none_or(listed)
        })
    }

    /// Why this user may not do this, with users of this provider if one is named: in words for them.
    pub fn check(&self, user: &UserId, act: Act, peer: Option<&ProviderDomain>) -> Result<(), String> {
        if !self.may(user, act) {
            return Err(if self.may_anything(user) {
                format!("You are not permitted to {}. Whoever runs this gateway can permit it.", act.words())
            } else {
                NOT_PERMITTED.to_owned()
            });
        }
        match peer.filter(|peer| !self.may_meet(user, peer)) {
            Some(peer) => Err(format!(
                "You are not permitted to talk to users of {peer}. Whoever runs this gateway can permit it."
            )),
            None => Ok(()),
        }
    }

    /// How many rooms this user may have.
    #[must_use]
    pub fn rooms(&self, user: &UserId) -> u32 {
        self.rule(user).and_then(|rule| rule.rooms).unwrap_or(self.limits.rooms)
    }

    /// Counts an invitation of this user; an error are the seconds until there may be more.
    pub fn take_invitation(&self, user: &UserId) -> Result<(), u32> {
        let most = self.rule(user).and_then(|rule| rule.invitations).unwrap_or(self.limits.invitations);
        lock(&self.invited).take_of(&user.to_string(), most, now())
    }

    /// An invitation that was counted was not made.
    pub fn give_invitation_back(&self, user: &UserId) {
        lock(&self.invited).give_back(&user.to_string(), now());
    }

    /// What this user may do, in a sentence.
    #[must_use]
    pub fn words(&self, user: &UserId) -> String {
        let Some(rule) = self.rule(user).filter(|rule| !rule.may.is_empty()) else { return NOT_PERMITTED.to_owned() };
        let all = rule.may.contains(&Act::Admin);
        let acts = Act::ORDINARY.into_iter().chain([Act::Admin]).filter(|act| all || rule.may.contains(act));
        let may: Vec<&str> = acts.map(Act::words).collect();
        let with = match &rule.peers {
            None => String::new(),
            Some(peers) if peers.is_empty() => ", of no provider at present".to_owned(),
            Some(peers) => {
                let peers: Vec<&str> = peers.iter().map(Pattern::as_str).collect();
                format!(", of {} only", peers.join(", "))
            }
        };
        format!("You may {}{with}.", may.join(", "))
    }
}

/// What those are told who may do nothing.
pub(super) const NOT_PERMITTED: &str = "You are not permitted to use this gateway.";

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};

    use super::*;

    fn who(text: &str) -> Who {
        Who::read(text).unwrap()
    }

    fn peer(name: &str) -> ProviderDomain {
        ProviderDomain::parse(name).unwrap()
    }

    const LIMITS: Limits = Limits { rooms: 5, invitations: 2 };

    #[test]
    fn the_most_specific_rule_counts_in_whatever_order_they_stand() {
        let mut rules = vec![
            Rule::new(who("*"), [Act::Invite]),
            Rule::new(who("*.example"), [Act::Follow]),
            Rule::new(who("a.example"), Act::ORDINARY),
            Rule::new(who("@*-guest:a.example"), []),
            Rule::new(who("@ops-guest:a.example"), [Act::Admin]),
        ];
        for _ in 0..rules.len() {
            rules.rotate_left(1);
            let rights = Rights::new(rules.clone(), LIMITS);
            assert!(rights.may(user_id!("@ops-guest:a.example"), Act::Bridge));
            assert!(rights.may(user_id!("@ops-guest:a.example"), Act::Admin));
            assert!(!rights.may(user_id!("@x-guest:a.example"), Act::Invite));
            assert!(rights.may(user_id!("@x:a.example"), Act::Bridge));
            assert!(!rights.may(user_id!("@x:a.example"), Act::Admin));
            assert!(
                rights.may(user_id!("@x:b.example"), Act::Follow) && !rights.may(user_id!("@x:b.example"), Act::Invite)
            );
            assert!(rights.may(user_id!("@x:c.test"), Act::Invite) && !rights.may_talk(user_id!("@x:c.test")));
        }
        assert!(!Rights::new(vec![], LIMITS).may(user_id!("@x:c.test"), Act::Invite));
    }

    #[test]
    fn usually_users_of_the_server_may_and_others_only_invite() {
        let rights = Rights::new(Rights::usual(server_name!("a.example")), LIMITS);
        let (ours, other) = (user_id!("@x:a.example"), user_id!("@x:b.example"));
        assert!(Act::ORDINARY.into_iter().all(|act| rights.may(ours, act)) && !rights.may(ours, Act::Admin));
        assert!(rights.may(other, Act::Invite) && !rights.may(other, Act::Bridge) && !rights.may_talk(other));
        assert!(rights.may_meet(ours, &peer("b.example")));
    }

    #[test]
    fn a_rule_may_name_providers() {
        let rule = Rule { peers: Some(vec![Pattern::new("*.school.example")]), ..Rule::new(who("*"), [Act::Invite]) };
        let rights = Rights::new(vec![rule], LIMITS);
        let user = user_id!("@x:a.example");
        assert!(rights.check(user, Act::Invite, Some(&peer("b.school.example"))).is_ok());
        let told = rights.check(user, Act::Invite, Some(&peer("b.example"))).unwrap_err();
        assert!(told.contains("users of b.example"), "{told}");
        let told = rights.check(user, Act::Bridge, None).unwrap_err();
        assert!(told.contains("mirror rooms") && told.contains("Whoever runs"), "{told}");
        assert_eq!(rights.words(user), "You may invite users of other providers, of *.school.example only.");
    }

    #[test]
    fn invitations_are_counted_by_user() {
        let rule = Rule { invitations: Some(3), ..Rule::new(who("@c:x"), [Act::Invite]) };
        let rights = Rights::new(vec![rule], LIMITS);
        let many = |user: &UserId| (0..5).filter(|_| rights.take_invitation(user).is_ok()).count();
        // An hour may end in between.
        assert!((2..=4).contains(&many(user_id!("@a:x"))));
        assert!((3..=5).contains(&many(user_id!("@c:x"))));
        assert_eq!((rights.rooms(user_id!("@a:x")), LIMITS.rooms), (5, 5));
    }

    #[test]
    fn whom_a_rule_is_about_is_read_strictly() {
        assert_eq!(who("@*:a.example"), who("a.example"));
        for wrong in ["", "@", "@alice", "a example", "mimi://b.example", "@*:"] {
            assert_eq!(Who::read(wrong), None, "{wrong}");
        }
    }
}
