//! Places for connections that have not proven who they are. When all are taken the oldest is pushed out: a flood of
//! idle connections cannot keep a peer waiting, whose own handshake takes milliseconds.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

pub(super) struct HandshakeSlots {
    max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// Dropping a sender tells its connection to go.
    by_age: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A connection's place; dropped when the handshake is over.
pub(super) struct Slot {
    slots: Arc<HandshakeSlots>,
    number: u64,
}

impl HandshakeSlots {
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), waiting: Mutex::default() }
    }

    /// A place, and what resolves (with an error) when a newer connection needs it.
    pub(super) fn enter(self: &Arc<Self>) -> (Slot, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.by_age.len() >= self.max {
            waiting.by_age.pop_first();
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.by_age.insert(number, sender);
        (Slot { slots: Arc::clone(self), number }, receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().by_age.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_when_all_places_are_taken() {
        let slots = Arc::new(HandshakeSlots::new(2));
        let (_first, first_out) = slots.enter();
        let (second, mut second_out) = slots.enter();
        let (_third, mut third_out) = slots.enter();
        assert!(first_out.await.is_err());
        assert!(second_out.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        drop(second);
        let (_fourth, _fourth_out) = slots.enter();
        assert!(third_out.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
    }
}
