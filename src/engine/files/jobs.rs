//! Messages of others whose files are being fetched, and which of them came late after a start.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    ident::ProviderDomain,
    translate::media::{FileSource, Moved},
};

/// Room and message id.
pub(super) type JobKey = (String, [u8; 32]);

/// A message whose files are being fetched.
#[derive(Clone)]
pub(in crate::engine) struct Job {
    /// Since when.
    pub(super) since: Instant,
    /// Whose files.
    pub(super) provider: ProviderDomain,
    /// It was to be shown before this process began.
    pub(super) is_old: bool,
    /// What became of them, once that is known.
    pub(super) done: watch::Receiver<Option<Arc<Vec<Moved<FileSource>>>>>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Jobs {
    all: BTreeMap<JobKey, Job>,
    of: BTreeMap<ProviderDomain, usize>,
    /// Rooms and providers of whom an old message was waited for in vain: no other one is.
    late: BTreeSet<(String, ProviderDomain)>,
}

impl Jobs {
    pub(super) fn get(&self, key: &JobKey) -> Option<&Job> {
        self.all.get(key)
    }

    pub(super) fn begin(&mut self, key: JobKey, job: Job) {
        *self.of.entry(job.provider.clone()).or_default() += 1;
        if let Some(before) = self.all.insert(key, job) {
            self.less(&before.provider);
        }
    }

    pub(super) fn end(&mut self, key: &JobKey) {
        if let Some(job) = self.all.remove(key) {
            self.less(&job.provider);
        }
    }

    fn less(&mut self, provider: &ProviderDomain) {
        if let Some(count) = self.of.get_mut(provider) {
            *count -= 1;
            if *count == 0 {
                self.of.remove(provider);
            }
        }
    }

    /// How many messages of this provider wait for their files.
    pub(super) fn of(&self, provider: &ProviderDomain) -> usize {
        self.of.get(provider).copied().unwrap_or_default()
    }

    /// An old message was waited for in vain.
    pub(super) fn note_late(&mut self, room: &str, provider: &ProviderDomain) {
        self.late.insert((room.to_owned(), provider.clone()));
    }

    /// Whether an old message of this provider was waited for in vain in this room.
    pub(super) fn was_late(&self, room: &str, provider: &ProviderDomain) -> bool {
        self.late.contains(&(room.to_owned(), provider.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_counted_by_provider() {
        let provider = |name: &str| ProviderDomain::parse(name).unwrap();
        let job = |name: &str| Job {
            since: Instant::now(),
            provider: provider(name),
            is_old: false,
            done: watch::channel(None).1,
        };
        let key = |n: u8| ("room".to_owned(), [n; 32]);
        let mut jobs = Jobs::default();
        for n in 0..3 {
            jobs.begin(key(n), job("b.example"));
        }
        jobs.begin(key(3), job("c.example"));
        jobs.begin(key(3), job("c.example"));
        assert_eq!((jobs.of(&provider("b.example")), jobs.of(&provider("c.example"))), (3, 1));
        jobs.end(&key(0));
        jobs.end(&key(0));
        assert_eq!(jobs.of(&provider("b.example")), 2);
        assert_eq!(jobs.of(&provider("d.example")), 0);
    }
}
