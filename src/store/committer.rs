//! The committer: one thread takes waiting batches, applies them as one group with one sync, and answers each. A batch
//! that comes alone goes at once; those that come during a sync share the next one. No timers.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread::JoinHandle,
    time::Instant,
};

use tokio::sync::{oneshot, watch};

use super::{
    BoxFuture, Committed, Page, ScanRange, Store,
    batch::{self, Batch},
    engine::{ApplyError, Parts, Reader, Writer},
    error::StoreError,
    meta,
    stats::{Meter, StoreStats},
};

/// A group ends at this many batches or bytes, so that the first ones do not wait for ever later ones.
const MAX_GROUP: usize = 256;
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that may wait for the writer before commits are refused with `Busy`.
const MAX_BACKLOG_BYTES: usize = 512 * 1024 * 1024;
/// What a waiting batch costs besides its bytes.
const BATCH_OVERHEAD: usize = 256;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    Commit(Waiting),
    Close(Answer<()>),
}

struct Waiting {
    batch: Batch,
    since: Instant,
    answer: Answer<()>,
}

enum Read {
    Get(Vec<u8>, Answer<Option<Vec<u8>>>),
    Scan(ScanRange, Answer<Page>),
    Stop,
}

/// An embedded engine behind a writer thread and reader threads.
pub(super) struct Committer {
    name: &'static str,
    generation: u64,
    jobs: Option<Sender<Job>>,
    reads: Option<Sender<Read>>,
    threads: Vec<JoinHandle<()>>,
    readers: usize,
    /// For reads of single values on the caller's thread; `None` once closed, or if the engine has none.
    quick: Mutex<Option<Box<dyn Reader>>>,
    backlog: Arc<AtomicUsize>,
    meter: Arc<Meter>,
    /// Why the writer stopped; its sender goes with the writer's thread.
    failure: watch::Receiver<Option<String>>,
    /// Held until the threads have let go of the files: fields are dropped after `Drop::drop` joined them.
    _lock: std::fs::File,
}

impl Committer {
    /// Starts the threads. `lock` keeps other processes out of the data directory for as long as the store lives.
    pub(super) fn start(
        name: &'static str,
        generation: u64,
        parts: Parts,
        lock: std::fs::File,
    ) -> Result<Self, StoreError> {
        let (jobs, job_queue) = mpsc::channel();
        let (reads, read_queue) = mpsc::channel();
        let (fail, failure) = watch::channel(None);
        let read_queue = Arc::new(Mutex::new(read_queue));
        let mut store = Self {
            name,
            generation,
            jobs: Some(jobs),
            reads: Some(reads),
            threads: Vec::new(),
            readers: parts.readers.len(),
            quick: Mutex::new(parts.quick),
            backlog: Arc::default(),
            meter: Arc::default(),
            failure,
            _lock: lock,
        };
        for reader in parts.readers {
            let queue = Arc::clone(&read_queue);
            store.spawn("store-read", move || read_loop(reader, &queue))?;
        }
        let (meter, backlog) = (Arc::clone(&store.meter), Arc::clone(&store.backlog));
        let write = WriteLoop { writer: Some(parts.writer), meter, backlog, fail };
        store.spawn("store-write", move || write.run(&job_queue))?;
        Ok(store)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        self.threads.push(thread.map_err(|error| StoreError::Io(format!("no thread for the store: {error}")))?);
        Ok(())
    }

    fn enqueue(&self, batch: Batch) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        batch.check_bounds()?;
        let cost = batch.bytes() + BATCH_OVERHEAD;
        if self.backlog.fetch_add(cost, Ordering::Relaxed) > MAX_BACKLOG_BYTES {
            self.backlog.fetch_sub(cost, Ordering::Relaxed);
            return Err(StoreError::Busy("too many batches wait".into()));
        }
        let (answer, answered) = oneshot::channel();
        send(self.jobs.as_ref(), Job::Commit(Waiting { batch, since: Instant::now(), answer }))?;
        Ok(answered)
    }

    fn read<T: Send + 'static>(&self, read: impl FnOnce(Answer<T>) -> Read) -> BoxFuture<'_, Result<T, StoreError>> {
        let (answer, answered) = oneshot::channel();
        let sent = send(self.reads.as_ref(), read(answer));
        Box::pin(async move {
            sent?;
            answered.await.unwrap_or_else(|_| Err(closed()))
        })
    }
}

fn send<T>(queue: Option<&Sender<T>>, item: T) -> Result<(), StoreError> {
    queue.and_then(|queue| queue.send(item).ok()).ok_or_else(closed)
}

fn closed() -> StoreError {
    StoreError::Closed("it was closed before".into())
}

impl Store for Committer {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        if let Err(error) = batch::check_key(key) {
            return Box::pin(std::future::ready(Err(error)));
        }
        if let Ok(mut quick) = self.quick.try_lock()
            && let Some(reader) = quick.as_mut()
        {
            let value = caught(|| reader.get(key));
            return Box::pin(std::future::ready(value));
        }
        self.read(|answer| Read::Get(key.to_vec(), answer))
    }

    fn scan(&self, range: ScanRange) -> BoxFuture<'_, Result<Page, StoreError>> {
        if !range.prefix.is_empty()
            && let Err(error) = batch::check_key(&range.prefix)
        {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.read(|answer| Read::Scan(range, answer))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        let queued = self.enqueue(batch);
        let committed = Committed { generation: self.generation };
        Box::pin(async move {
            let answer = queued?.await;
            answer.unwrap_or_else(|_| Err(StoreError::Io("the writer stopped".into()))).map(|()| committed)
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let (answer, answered) = oneshot::channel();
        // The readers stop first: the engine's last tidying works best with nobody reading.
        *self.quick.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for _ in 0..self.readers {
            // Fails only when they have stopped already.
            let _stopped = send(self.reads.as_ref(), Read::Stop);
        }
        let sent = send(self.jobs.as_ref(), Job::Close(answer));
        Box::pin(async move {
            sent?;
            answered.await.unwrap_or_else(|_| Err(closed()))
        })
    }

    fn failed(&self) -> BoxFuture<'static, String> {
        let mut failure = self.failure.clone();
        Box::pin(async move {
            let failed = failure.wait_for(Option::is_some).await;
            failed.ok().and_then(|why| why.clone()).unwrap_or_else(|| "its writer ended".to_owned())
        })
    }

    fn stats(&self) -> StoreStats {
        self.meter.stats()
    }
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer")
            .field("engine", &self.name)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

/// Without a `close` before, the unclean-stop mark stays.
impl Drop for Committer {
    fn drop(&mut self) {
        self.jobs = None;
        self.reads = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has answered its callers by dropping their channels.
            let _ended = thread.join();
        }
    }
}

/// What a panic said, as far as it is text.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

fn read_loop(mut reader: Box<dyn Reader>, queue: &Mutex<Receiver<Read>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // Who no longer waits for an answer needs none.
        match next {
            Ok(Read::Get(key, answer)) => drop(answer.send(caught(|| reader.get(&key)))),
            Ok(Read::Scan(range, answer)) => drop(answer.send(caught(|| reader.scan(&range)))),
            Ok(Read::Stop) | Err(_) => return,
        }
    }
}

/// Some engines panic on damaged files.
fn caught<T>(read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        Err(StoreError::Corrupt(format!("the engine stopped while reading: {}", panic_text(panic.as_ref()))))
    })
}

struct WriteLoop {
    /// `None` once closed or failed.
    writer: Option<Box<dyn Writer>>,
    meter: Arc<Meter>,
    backlog: Arc<AtomicUsize>,
    fail: watch::Sender<Option<String>>,
}

impl WriteLoop {
    fn run(mut self, queue: &Receiver<Job>) {
        let mut group: Vec<Waiting> = Vec::new();
        while let Ok(first) = queue.recv() {
            let mut close = None;
            let mut bytes = 0;
            let mut next = Ok(first);
            loop {
                match next {
                    Ok(Job::Commit(waiting)) => {
                        bytes += waiting.batch.bytes();
                        group.push(waiting);
                    }
                    Ok(Job::Close(answer)) => {
                        close = Some(answer);
                        break;
                    }
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
                if group.len() >= MAX_GROUP || bytes >= MAX_GROUP_BYTES {
                    break;
                }
                next = queue.try_recv();
            }
            self.commit(&mut group);
            if let Some(answer) = close {
                drop(answer.send(self.close()));
            } else if let Some(writer) = &mut self.writer {
                writer.after_group();
            }
        }
    }

    fn commit(&mut self, group: &mut Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        self.meter.group(group.len());
        let (batches, callers): (Vec<_>, Vec<_>) =
            group.drain(..).map(|waiting| (waiting.batch, (waiting.since, waiting.answer))).unzip();
        let results = self.apply(&batches);
        for ((batch, (since, answer)), result) in batches.iter().zip(callers).zip(results) {
            self.backlog.fetch_sub(batch.bytes() + BATCH_OVERHEAD, Ordering::Relaxed);
            self.meter.batch(batch.name(), batch.bytes(), result.as_ref().copied(), since.elapsed());
            drop(answer.send(result));
        }
    }

    /// One result a batch.
    fn apply(&mut self, batches: &[Batch]) -> Vec<Result<(), StoreError>> {
        match self.apply_group(batches) {
            Ok(results) => results,
            // One batch may have met a damaged page or a limit that the others do not meet: each gets its own try.
            Err(StoreError::Corrupt(_) | StoreError::Invalid(_)) if batches.len() > 1 => {
                batches.iter().flat_map(|batch| self.apply(std::slice::from_ref(batch))).collect()
            }
            Err(error) => vec![Err(error); batches.len()],
        }
    }

    fn apply_group(&mut self, batches: &[Batch]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        let Some(writer) = &mut self.writer else {
            return Err(StoreError::Closed("it was closed, or stopped after a failed write".into()));
        };
        let applied = catch_unwind(AssertUnwindSafe(|| writer.apply(batches)));
        let error = match applied {
            Ok(Ok(results)) => return Ok(results),
            Ok(Err(ApplyError::RolledBack(error))) => return Err(error),
            Ok(Err(ApplyError::Uncertain(error))) => error,
            Err(panic) => StoreError::Io(format!("the engine stopped: {}", panic_text(panic.as_ref()))),
        };
        tracing::error!(%error, "the store stops: the outcome of a write is uncertain");
        // Dropped, not closed: the unclean-stop mark stays.
        self.writer = None;
        self.fail.send_replace(Some(error.to_string()));
        Err(error)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let mut writer = self.writer.take().ok_or_else(closed)?;
        catch_unwind(AssertUnwindSafe(|| {
            meta::stop(writer.as_mut())?;
            writer.close()
        }))
        .unwrap_or_else(|panic| Err(StoreError::Io(format!("the engine stopped: {}", panic_text(panic.as_ref())))))
    }
}
