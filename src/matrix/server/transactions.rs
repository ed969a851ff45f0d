//! `PUT /_matrix/app/v1/transactions/{txnId}`: durable before 200, one flight per transaction.
//!
//! A second copy of a running transaction (same id, same body) waits for the first one's outcome. The same id with
//! another body is another transaction: Synapse on SQLite starts again at 1 after a restart.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::{Path, State, rejection::PathRejection},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Shared, listen::Connection, refusal::Refusal};
use crate::engine::ports::{MatrixInbound, Transaction};

/// Longest transaction id taken, in bytes.
const TXN_ID_MAX: usize = 255;

type Outcome = Result<(), Refusal>;
type Key = (String, [u8; 32]);

/// The transactions that are being stored now.
#[derive(Default)]
pub(super) struct Flights {
    running: Mutex<BTreeMap<Key, watch::Receiver<Option<Outcome>>>>,
    /// Keeps the order of arrival should the homeserver ever send a second transaction before the first is answered.
    order: Arc<tokio::sync::Mutex<()>>,
}

impl Flights {
    fn running(&self, key: &Key) -> Option<watch::Receiver<Option<Outcome>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

/// Takes the flight off the list however it ends, a panic included.
struct Landing {
    flights: Arc<Flights>,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// The fields we read. To-device messages, device lists and key counts are accepted under any name and not used.
#[derive(Deserialize)]
struct TransactionBody {
    events: Vec<Box<RawValue>>,
    ephemeral: Option<Box<RawValue>>,
    #[serde(rename = "de.sorunome.msc2409.ephemeral")]
    old_ephemeral: Option<Box<RawValue>>,
}

/// What a transaction brings.
struct Brought {
    events: Vec<Box<RawValue>>,
    ephemeral: Vec<Box<RawValue>>,
}

/// The endpoint.
pub(super) async fn put_transaction(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    connection: Option<Extension<Connection>>,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let Ok(Path(txn_id)) = path else { return Err(Refusal::bad_param()) };
    if txn_id.is_empty() || txn_id.len() > TXN_ID_MAX {
        return Err(Refusal::bad_param());
    }
    // Held until this body is stored or dropped: bounds the memory that bodies take.
    let permit = Arc::clone(&shared.bodies).acquire_owned().await.map_err(|_| Refusal::unavailable())?;
    let bytes = read_body(body, &shared).await?;
    let key: Key = (txn_id, Sha256::digest(&bytes).into());
    let outcome = if let Some(running) = shared.flights.running(&key) {
        drop((bytes, permit));
        running
    } else {
        let brought = parse(&bytes)?;
        drop(bytes);
        let connection = connection.map_or(0, |Extension(connection)| connection.0);
        start(&shared, key, brought, connection, permit)
    };
    wait(outcome).await?;
    Ok(Json(serde_json::json!({})))
}

async fn read_body(body: Body, shared: &Shared) -> Result<Bytes, Refusal> {
    let collected =
        tokio::time::timeout(shared.limits.body_timeout, Limited::new(body, shared.limits.body_bytes).collect())
            .await
            .map_err(|_| Refusal::body_lost())?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_large()),
        Err(_) => Err(Refusal::body_lost()),
    }
}

fn parse(bytes: &[u8]) -> Result<Brought, Refusal> {
    match serde_json::from_slice::<TransactionBody>(bytes) {
        Ok(TransactionBody { events, ephemeral, old_ephemeral }) => {
            // What is not a list is left out: the events do not suffer from it.
            let list = |raw: Box<RawValue>| serde_json::from_str::<Vec<Box<RawValue>>>(raw.get()).unwrap_or_default();
            let ephemeral = ephemeral.or(old_ephemeral).map(list).unwrap_or_default();
            Ok(Brought { events, ephemeral })
        }
        Err(error) if error.is_data() => Err(Refusal::bad_json()),
        Err(_) => Err(Refusal::not_json()),
    }
}

/// Starts the flight, or joins the one that another copy started meanwhile. It runs in a task of its own: it goes on
/// if the homeserver hangs up, and the homeserver's next try joins it.
fn start(
    shared: &Shared,
    key: Key,
    brought: Brought,
    connection: u64,
    permit: OwnedSemaphorePermit,
) -> watch::Receiver<Option<Outcome>> {
    let flights = Arc::clone(&shared.flights);
    let (done, outcome) = watch::channel(None);
    {
        let mut running = flights.running.lock().unwrap_or_else(PoisonError::into_inner);
        match running.entry(key.clone()) {
            Entry::Occupied(other) => return other.get().clone(),
            Entry::Vacant(place) => place.insert(outcome.clone()),
        };
    }
    let landing = Landing { flights, key };
    let inbound = Arc::clone(&shared.inbound);
    tokio::spawn(async move {
        let _permit = permit;
        let result = store(&*inbound, &landing, brought, connection).await;
        drop(landing);
        done.send_replace(Some(result));
    });
    outcome
}

async fn store(inbound: &dyn MatrixInbound, landing: &Landing, brought: Brought, connection: u64) -> Outcome {
    let Brought { events, ephemeral } = brought;
    let _turn = landing.flights.order.lock().await;
    let (txn_id, body_hash) = landing.key.clone();
    let count = events.len();
    match inbound.transaction(Transaction { txn_id, body_hash, events, ephemeral, connection }).await {
        Ok(()) => {
            tracing::debug!(txn_id = landing.key.0, events = count, "transaction stored");
            Ok(())
        }
        Err(error) => {
            tracing::warn!(txn_id = landing.key.0, events = count, %error, "transaction not stored; the homeserver tries again");
            Err(error.into())
        }
    }
}

async fn wait(mut outcome: watch::Receiver<Option<Outcome>>) -> Outcome {
    match outcome.wait_for(Option::is_some).await {
        Ok(result) => (*result).unwrap_or(Err(Refusal::unavailable())),
        Err(_) => Err(Refusal::unavailable()),
    }
}
