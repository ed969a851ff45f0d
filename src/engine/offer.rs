//! The short way into a room: what comes is offered to the room's actor, which makes it durable together with what it leads
//! to, in one batch. Who brought it is answered after that. An actor that is busy, or whose room is large or not active,
//! gets it by way of the inbox instead (DESIGN 1: either way it is on disk before it is acknowledged).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    core::{Engine, lock},
    mail::Mail,
    tables::{INBOX, InboxItem},
};
use crate::{
    store::{Batch, StoreError},
    translate::RoomEvent,
};

/// One thing that came for a room.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) item: InboxItem,
    /// A Matrix event that was read already.
    pub(super) event: Option<RoomEvent>,
}

/// What came for a room at once, and what is to be noted with it, whichever way it goes.
#[derive(Debug)]
pub(super) struct Arrivals {
    pub(super) items: Vec<Arrival>,
    pub(super) writes: Batch,
}

/// What became of an offer: it is durable, or here it is again.
pub(super) type Verdict = Result<(), Arrivals>;

/// Arrivals, and who waits for the verdict on them.
type Waiting = (Arrivals, oneshot::Sender<Verdict>);

/// Arrivals that an actor may take, as long as they are not withdrawn.
#[derive(Debug, Clone)]
pub(super) struct Offer(Arc<Mutex<Option<Waiting>>>);

impl Offer {
    fn new(arrivals: Arrivals) -> (Self, oneshot::Receiver<Verdict>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some((arrivals, sender))))), receiver)
    }

    /// Takes it, unless it was withdrawn.
    pub(super) fn take(&self) -> Option<Waiting> {
        lock(&self.0).take()
    }

    /// Gives it back at once.
    pub(super) fn decline(&self) {
        if let Some((arrivals, sender)) = self.take() {
            // Who no longer waits has taken it back before.
            let _ = sender.send(Err(arrivals));
        }
    }
}

impl Engine {
    /// Brings arrivals to a room. When it returns `Ok` they are durable, and will be worked on in the order of the calls for
    /// this room (one call at a time).
    pub(super) async fn deliver(&self, room: &str, arrivals: Arrivals) -> Result<(), StoreError> {
        match self.offer(room, arrivals).await? {
            Ok(()) => Ok(()),
            Err(arrivals) => self.queue_up(room, arrivals).await,
        }
    }

    async fn offer(&self, room: &str, arrivals: Arrivals) -> Result<Verdict, StoreError> {
        let patience: Duration = self.0.settings.patience;
        if patience.is_zero() || !self.has_actor(room) {
            return Ok(Err(arrivals));
        }
        let (offer, mut verdict) = Offer::new(arrivals);
        self.mail(room, Mail::Offer(offer.clone()));
        let gone = |_| StoreError::Closed("the engine stops".to_owned());
        tokio::select! {
            biased;
            verdict = &mut verdict => return verdict.map_err(gone),
            () = tokio::time::sleep(patience) => {}
        }
        match offer.take() {
            Some((arrivals, _)) => Ok(Err(arrivals)),
            None => verdict.await.map_err(gone),
        }
    }

    async fn queue_up(&self, room: &str, arrivals: Arrivals) -> Result<(), StoreError> {
        let mut batch = arrivals.writes;
        let mut mails = Vec::with_capacity(arrivals.items.len());
        for Arrival { item, .. } in arrivals.items {
            mails.push((INBOX.append(&self.0.db, &mut batch, &room.to_owned(), &item)?, item));
        }
        self.0.db.commit(batch).await?;
        for (number, item) in mails {
            self.mail(room, Mail::Item { number, item });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals() -> Arrivals {
        let item = InboxItem::Notify(b"body".to_vec());
        Arrivals { items: vec![Arrival { item, event: None }], writes: Batch::new("test") }
    }

    #[test]
    fn an_offer_is_taken_once() {
        let (offer, mut verdict) = Offer::new(arrivals());
        let (taken, sender) = offer.take().unwrap();
        assert_eq!(taken.items.len(), 1);
        assert!(offer.take().is_none(), "who withdraws it now has to wait for the verdict");
        offer.decline();
        assert!(verdict.try_recv().is_err(), "what was taken cannot be declined");
        sender.send(Ok(())).unwrap();
        assert!(verdict.try_recv().unwrap().is_ok());
    }

    #[test]
    fn what_is_withdrawn_or_declined_comes_back_whole() {
        let (offer, _verdict) = Offer::new(arrivals());
        assert_eq!(offer.take().unwrap().0.items.len(), 1);
        let (offer, mut verdict) = Offer::new(arrivals());
        offer.decline();
        assert_eq!(verdict.try_recv().unwrap().unwrap_err().items.len(), 1);
        assert!(offer.take().is_none());
    }
}
