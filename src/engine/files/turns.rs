//! Turns of files on their way out: nobody keeps the others waiting, neither who sends many, nor who sends what lies at a slow
//! server of their own (the homeserver waits for that, and we for it).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{engine::core::lock, ident::UserUri};

/// Files of our users that go over at a time.
const ALL: usize = 8;
/// So many of them of one user.
const OF_EACH: usize = 2;
/// So many of them from other homeservers.
const FOREIGN: usize = 4;

/// Who has a turn now, and who waits for one: in order, each user with few.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    foreign: Arc<Semaphore>,
    users: Mutex<BTreeMap<UserUri, Arc<Semaphore>>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "they are held")] Vec<OwnedSemaphorePermit>);

impl Turns {
    pub(super) fn new() -> Self {
        let [all, foreign] = [ALL, FOREIGN].map(|turns| Arc::new(Semaphore::new(turns)));
        Self { all, foreign, users: Mutex::default() }
    }

    /// Waits for a turn of this user. `foreign`: the file is not our homeserver's own.
    pub(super) async fn of(&self, user: &UserUri, foreign: bool) -> Turn {
        let own = {
            let mut users = lock(&self.users);
            users.retain(|_, turns| Arc::strong_count(turns) > 1);
            Arc::clone(users.entry(user.clone()).or_insert_with(|| Arc::new(Semaphore::new(OF_EACH))))
        };
        // The narrow ones first: who waits for these takes nothing from anybody else.
        let narrow = [Some(own), foreign.then(|| Arc::clone(&self.foreign)), Some(Arc::clone(&self.all))];
        let mut permits = Vec::new();
        for turns in narrow.into_iter().flatten() {
            // They are never closed.
            permits.extend(turns.acquire_owned().await);
        }
        Turn(permits)
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, task::Poll};

    use super::*;

    fn user(name: &str) -> UserUri {
        UserUri::parse(&format!("mimi://a.example/u/{name}")).unwrap()
    }

    /// A turn, if there is one now.
    async fn now(turns: &Turns, name: &str, foreign: bool) -> Option<Turn> {
        let user = user(name);
        let mut turn = pin!(turns.of(&user, foreign));
        std::future::poll_fn(|context| match turn.as_mut().poll(context) {
            Poll::Ready(turn) => Poll::Ready(Some(turn)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn who_sends_many_files_takes_few_turns() {
        let turns = Turns::new();
        let mut held = Vec::new();
        for _ in 0..100 {
            held.extend(now(&turns, "many", false).await);
        }
        assert_eq!(held.len(), OF_EACH);
        for name in ["b", "c", "d"] {
            for _ in 0..OF_EACH {
                held.push(now(&turns, name, false).await.unwrap());
            }
        }
        assert!(now(&turns, "e", false).await.is_none(), "all turns are taken");
        held.pop();
        assert!(now(&turns, "e", false).await.is_some());
    }

    #[tokio::test]
    async fn files_of_other_servers_leave_turns_for_our_own() {
        let turns = Turns::new();
        let mut held = Vec::new();
        for guest in 0..20 {
            held.extend(now(&turns, &format!("guest{guest}"), true).await);
        }
        assert_eq!(held.len(), FOREIGN);
        assert!(now(&turns, "ours", false).await.is_some());
    }
}
