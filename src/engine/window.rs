//! What a lane has in memory: a window on its rows in the store. A peer or a homeserver that is away for long costs disk, not
//! memory.
//!
//! A row that is handed on when the window is full stays in the store, and from then on all do, until the lane has read its
//! way to the end. Rows of a lane have rising numbers in the order in which they are handed on, since one actor makes them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::sync::mpsc;

use super::{
    core::{Engine, lock},
    tables::{OUTBOX, OutRow},
};
use crate::store::StoreError;

/// Rows of one lane in memory.
pub(super) const WINDOW: usize = 64;

#[derive(Debug, Default)]
struct State {
    /// Rows that were handed on and not taken yet.
    waiting: usize,
    /// There may be rows in the store that were not handed on: nothing is, until they are read.
    behind: bool,
    /// One was left in the store since the last look.
    missed: bool,
}

/// Where rows are handed to a lane.
#[derive(Debug)]
pub(super) struct LaneEnd {
    sender: mpsc::UnboundedSender<(u64, OutRow)>,
    state: Arc<Mutex<State>>,
}

/// Where the lane takes them.
#[derive(Debug)]
pub(super) struct Rows {
    receiver: mpsc::UnboundedReceiver<(u64, OutRow)>,
    state: Arc<Mutex<State>>,
    read: VecDeque<(u64, OutRow)>,
    /// The last one taken.
    last: u64,
}

/// A lane. `behind`: it has rows in the store.
pub(super) fn lane(behind: bool) -> (LaneEnd, Rows) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let state = Arc::new(Mutex::new(State { behind, missed: behind, ..State::default() }));
    let rows = Rows { receiver, state: Arc::clone(&state), read: VecDeque::new(), last: 0 };
    (LaneEnd { sender, state }, rows)
}

impl LaneEnd {
    /// Hands a stored row on, or leaves it in the store. `false`: nobody takes rows any more.
    pub(super) fn hand(&self, number: u64, row: OutRow) -> bool {
        let mut state = lock(&self.state);
        if state.behind || state.waiting >= WINDOW {
            state.behind = true;
            state.missed = true;
            return !self.sender.is_closed();
        }
        state.waiting += 1;
        self.sender.send((number, row)).is_ok()
    }

    /// Rows that wait in memory to be taken.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.state).waiting
    }
}

impl Rows {
    /// The next row. `None`: there will be no more.
    pub(super) async fn next(&mut self, engine: &Engine, lane: &str) -> Option<(u64, OutRow)> {
        loop {
            let row = match self.read.pop_front() {
                Some(row) => row,
                None => match self.receiver.try_recv() {
                    Ok(row) => self.taken(row),
                    Err(mpsc::error::TryRecvError::Disconnected) => return None,
                    Err(mpsc::error::TryRecvError::Empty) if lock(&self.state).behind => {
                        self.read_on(engine, lane).await?;
                        continue;
                    }
                    Err(mpsc::error::TryRecvError::Empty) => {
                        let row = self.receiver.recv().await?;
                        self.taken(row)
                    }
                },
            };
            // What was read from the store may have been handed on as well.
            if row.0 > self.last {
                self.last = row.0;
                return Some(row);
            }
        }
    }

    fn taken(&self, row: (u64, OutRow)) -> (u64, OutRow) {
        let mut state = lock(&self.state);
        state.waiting = state.waiting.saturating_sub(1);
        row
    }

    /// Reads the next rows from the store; at its end the lane is not behind any more. `None`: the engine stops.
    async fn read_on(&mut self, engine: &Engine, lane: &str) -> Option<()> {
        lock(&self.state).missed = false;
        loop {
            match engine.rows_after(lane, self.last).await {
                Ok((rows, more)) => {
                    if rows.is_empty() && !more {
                        let mut state = lock(&self.state);
                        // What was stored meanwhile and not handed on is found at the next look.
                        state.behind = state.missed;
                    }
                    engine.begin_jobs(lane, &rows);
                    self.read.extend(rows);
                    return Some(());
                }
                Err(error) => tracing::warn!(lane, %error, "the outbox cannot be read; it is tried again"),
            }
            tokio::select! {
                () = engine.0.stop.cancelled() => return None,
                () = tokio::time::sleep(engine.0.settings.retry * 10) => {}
            }
        }
    }
}

impl Engine {
    /// Rows of the outbox that wait in memory.
    #[must_use]
    pub fn waiting_rows(&self) -> usize {
        lock(&self.0.lanes).values().map(LaneEnd::waiting).sum()
    }

    /// Rows of a lane of the outbox, and whether more follow. Those that do not read back are set aside.
    pub(super) async fn rows_after(&self, lane: &str, last: u64) -> Result<(Vec<(u64, OutRow)>, bool), StoreError> {
        let lane = lane.to_owned();
        let page = OUTBOX.page(&self.0.db, &lane, last, WINDOW).await?;
        self.damaged(&OUTBOX, &lane, &page.damaged).await?;
        // A page of damaged rows only: they are gone now, so the next look finds what follows.
        Ok((page.entries, page.more || !page.damaged.is_empty()))
    }
}
