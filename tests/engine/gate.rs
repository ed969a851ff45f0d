//! Holds calls between providers, so that a test decides in which order they arrive.

use std::sync::Mutex;

use mimi_gateway::{engine::ports::Endpoint, ident::ProviderDomain};
use tokio::sync::oneshot;

/// Open at first: everything passes.
#[derive(Default)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Default)]
struct State {
    closed: bool,
    waiting: Vec<Waiting>,
}

struct Waiting {
    from: ProviderDomain,
    endpoint: Endpoint,
    body: Vec<u8>,
    pass: oneshot::Sender<()>,
}

impl Gate {
    /// From now on what changes or fills a room waits: updates, messages and notifies.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap().closed = true;
    }

    /// Everything passes again, also what waits.
    pub(crate) fn open(&self) {
        *self.0.lock().unwrap() = State::default();
    }

    /// Returns when the call may go on.
    pub(crate) async fn pass(&self, from: &ProviderDomain, endpoint: Endpoint, body: &[u8]) {
        let turn = {
            let mut state = self.0.lock().unwrap();
            if !state.closed || !matches!(endpoint, Endpoint::Update | Endpoint::SubmitMessage | Endpoint::Notify) {
                return;
            }
            let (pass, turn) = oneshot::channel();
            state.waiting.push(Waiting { from: from.clone(), endpoint, body: body.to_vec(), pass });
            turn
        };
        // A gate that is opened drops what waits: that is a pass, too.
        let _ = turn.await;
    }

    /// What a provider has waiting for this endpoint; the first of it.
    pub(crate) fn waiting(&self, from: &ProviderDomain, endpoint: Endpoint) -> Option<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let mut found = state.waiting.iter().filter(|call| call.from == *from && call.endpoint == endpoint);
        found.next().map(|call| call.body.clone())
    }

    /// Lets exactly this call through.
    pub(crate) fn release(&self, from: &ProviderDomain, endpoint: Endpoint) {
        let mut state = self.0.lock().unwrap();
        let place = state.waiting.iter().position(|call| call.from == *from && call.endpoint == endpoint);
        let call = state.waiting.remove(place.expect("it waits"));
        let _ = call.pass.send(());
    }

    /// Lets one through that `pick` chooses of so many; false if nothing waits.
    pub(crate) fn release_one(&self, pick: impl FnOnce(usize) -> usize) -> bool {
        let mut state = self.0.lock().unwrap();
        if state.waiting.is_empty() {
            return false;
        }
        let place = pick(state.waiting.len());
        let _ = state.waiting.remove(place).pass.send(());
        true
    }
}
