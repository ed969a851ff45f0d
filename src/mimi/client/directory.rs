//! A peer's directory document (draft-ietf-mimi-protocol-06 section 5.1): fetched, judged, kept for a while.
//!
//! `wire` reads the document and expands its templates; here is judged where they lead (ATTACKS S15): to the peer's
//! domain, below it, or to a host that is configured for the peer.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header::CACHE_CONTROL};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
use url::Url;

use super::outcome;
use crate::{
    engine::ports::{CallError, Endpoint, PathTarget, Retry},
    ident::{MimiUri, ProviderDomain},
    wire::{
        ConsentEntry, Directory, Wire,
        directory::{DirectoryEntry, DirectoryError, Target, WELL_KNOWN_PATH},
        limits,
    },
};

/// How long a directory is kept when the peer does not say.
const DEFAULT_AGE: Duration = Duration::from_hours(1);
/// However short the peer says.
const MIN_AGE: Duration = Duration::from_mins(1);
/// However long the peer says.
const MAX_AGE: Duration = Duration::from_hours(24);
/// How long an old directory is used on after a fetch that failed.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Every endpoint that we call.
const CALLED: [Endpoint; 7] = [
    Endpoint::KeyMaterial,
    Endpoint::Update,
    Endpoint::SubmitMessage,
    Endpoint::Notify,
    Endpoint::GroupInfo,
    Endpoint::RequestConsent,
    Endpoint::UpdateConsent,
];

struct Kept {
    directory: Arc<Directory>,
    fetched: Instant,
    fresh_until: Instant,
}

/// One peer's directory.
pub(super) struct DirectoryCache {
    domain: ProviderDomain,
    hosts: Vec<ProviderDomain>,
    kept: Mutex<Option<Kept>>,
    /// Held while fetching: one fetch at a time, the others wait for it.
    fetching: AsyncMutex<()>,
}

impl DirectoryCache {
    pub(super) fn new(domain: ProviderDomain, hosts: Vec<ProviderDomain>) -> Self {
        Self { domain, hosts, kept: Mutex::new(None), fetching: AsyncMutex::new(()) }
    }

    /// The directory may be out of date: it is fetched anew, but not more often than once in [`MIN_AGE`].
    pub(super) fn doubt(&self) {
        if let Some(kept) = self.lock().as_mut() {
            kept.fresh_until = kept.fresh_until.min(kept.fetched + MIN_AGE);
        }
    }

    /// The URL of a call; the directory is fetched if need be. An unusable directory is retriable: it may be put right,
    /// and no call was made yet.
    pub(super) async fn url(
        &self,
        http: &reqwest::Client,
        endpoint: Endpoint,
        target: &PathTarget,
        body: &[u8],
    ) -> Result<Url, CallError> {
        let directory = self.current(http).await?;
        self.judged(&directory, endpoint, target, body).map_err(|why| {
            self.doubt();
            outcome::error(format!("directory: {why}"), Retry::Retriable(Some(MIN_AGE)))
        })
    }

    /// The URL of an endpoint that is not among the engine's calls.
    pub(super) async fn entry(
        &self,
        http: &reqwest::Client,
        entry: DirectoryEntry,
        target: Target<'_>,
    ) -> Result<Url, CallError> {
        let directory = self.current(http).await?;
        let url = directory.url(entry, target).map_err(|error| error.to_string());
        url.and_then(|text| self.judged_url(&text, &entry.name())).map_err(|why| {
            self.doubt();
            outcome::error(format!("directory: {why}"), Retry::Retriable(Some(MIN_AGE)))
        })
    }

    /// Whether a URL of the directory is on this host. It was judged before that the host may be the peer's.
    pub(super) async fn points_at(&self, http: &reqwest::Client, host: &ProviderDomain) -> Result<bool, CallError> {
        let directory = self.current(http).await?;
        let on_host = |entry| {
            let rest = directory.template(entry)?.strip_prefix("https://")?;
            let authority = rest.split('/').next()?;
            Some(authority.split(':').next()? == host.as_str())
        };
        Ok(DirectoryEntry::ALL.into_iter().any(|entry| on_host(entry) == Some(true)))
    }

    async fn current(&self, http: &reqwest::Client) -> Result<Arc<Directory>, CallError> {
        match self.fresh() {
            Some(directory) => Ok(directory),
            None => self.refreshed(http).await,
        }
    }

    /// Fetches the directory and judges where it leads for every endpoint that we call. None of them is called.
    pub(super) async fn probe(&self, http: &reqwest::Client) -> Result<(), CallError> {
        let directory = self.refreshed(http).await?;
        let failed = |why: String| outcome::error(format!("directory: {why}"), Retry::Permanent);
        let anybody = MimiUri::parse(&format!("mimi://{}/u/check", self.domain)).map_err(|e| failed(e.to_string()))?;
        let anybody = PathTarget::Uri(anybody);
        for endpoint in CALLED {
            self.judged(&directory, endpoint, &anybody, &[]).map_err(failed)?;
        }
        Ok(())
    }

    fn judged(
        &self,
        directory: &Directory,
        endpoint: Endpoint,
        target: &PathTarget,
        body: &[u8],
    ) -> Result<Url, String> {
        let text = expand(directory, endpoint, target, body).map_err(|error| error.to_string())?;
        self.judged_url(&text, &endpoint)
    }

    fn judged_url(&self, text: &str, endpoint: &dyn std::fmt::Display) -> Result<Url, String> {
        let url = Url::parse(text).map_err(|error| format!("the URL of {endpoint}: {error}"))?;
        if self.authorised(&url) { Ok(url) } else { Err(format!("the URL of {endpoint} is on a host not the peer's")) }
    }

    fn authorised(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let domain = self.domain.as_str();
        let named = host == domain
            || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
            || self.hosts.iter().any(|known| known.as_str() == host);
        named && url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
    }

    async fn refreshed(&self, http: &reqwest::Client) -> Result<Arc<Directory>, CallError> {
        let _turn = self.fetching.lock().await;
        if let Some(directory) = self.fresh() {
            return Ok(directory);
        }
        let (directory, age) = match self.fetch(http).await {
            Ok((directory, age)) => (Arc::new(directory), age),
            Err(error) => {
                let old = self.lock().as_ref().map(|kept| Arc::clone(&kept.directory));
                let Some(old) = old else { return Err(error) };
                tracing::warn!(peer = %self.domain, %error, "no new directory, the old one is used on");
                (old, RETRY_AFTER_FAILURE)
            }
        };
        let fetched = Instant::now();
        *self.lock() = Some(Kept { directory: Arc::clone(&directory), fetched, fresh_until: fetched + age });
        Ok(directory)
    }

    async fn fetch(&self, http: &reqwest::Client) -> Result<(Directory, Duration), CallError> {
        let failed = |what: String| outcome::error(format!("directory: {what}"), Retry::Retriable(None));
        let url = format!("https://{}{WELL_KNOWN_PATH}", self.domain);
        let response = http.get(url).send().await.map_err(|error| failed(outcome::from_transport(&error).what))?;
        if response.status() != StatusCode::OK {
            let error = outcome::from_status(response.status(), response.headers(), b"", SystemTime::now());
            let retry = if error.retry == Retry::Permanent { Retry::Retriable(None) } else { error.retry };
            return Err(CallError { what: format!("directory: {}", error.what), retry, ..error });
        }
        let age = age(response.headers());
        let body = super::read_capped(response, limits::DIRECTORY).await.map_err(|error| failed(error.what))?;
        let directory = Directory::from_json(&body).map_err(|error| failed(error.to_string()))?;
        Ok((directory, age))
    }

    fn fresh(&self) -> Option<Arc<Directory>> {
        let kept = self.lock();
        kept.as_ref().filter(|kept| Instant::now() < kept.fresh_until).map(|kept| Arc::clone(&kept.directory))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(endpoint: Endpoint) -> DirectoryEntry {
    match endpoint {
        Endpoint::KeyMaterial => DirectoryEntry::KeyMaterial,
        Endpoint::Update => DirectoryEntry::Update,
        Endpoint::SubmitMessage => DirectoryEntry::SubmitMessage,
        Endpoint::Notify => DirectoryEntry::Notify,
        Endpoint::GroupInfo => DirectoryEntry::GroupInfo,
        Endpoint::RequestConsent => DirectoryEntry::RequestConsent,
        Endpoint::UpdateConsent => DirectoryEntry::UpdateConsent,
        Endpoint::ReportAbuse => DirectoryEntry::ReportAbuse,
        Endpoint::IdentifierQuery => DirectoryEntry::IdentifierQuery,
    }
}

fn expand(
    directory: &Directory,
    endpoint: Endpoint,
    target: &PathTarget,
    body: &[u8],
) -> Result<String, DirectoryError> {
    let filled = match target {
        PathTarget::Uri(uri) => Target::Uri(uri),
        PathTarget::Domain(domain) => Target::Domain(domain),
    };
    let expanded = directory.url(entry(endpoint), filled);
    // A peer that follows the draft's directory example wants the user of a consent entry, not the domain.
    let Err(DirectoryError::NeedsUser(_)) = expanded else { return expanded };
    let Ok(consent) = ConsentEntry::decode(body) else { return expanded };
    let user = if endpoint == Endpoint::UpdateConsent { &consent.requester } else { &consent.target };
    directory.url(entry(endpoint), Target::Uri(user.as_uri()))
}

/// How long to keep a directory, from `Cache-Control`.
fn age(headers: &HeaderMap) -> Duration {
    let mut age = DEFAULT_AGE;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            if directive == "no-store" || directive == "no-cache" {
                return MIN_AGE;
            }
            let seconds = directive.strip_prefix("max-age=").and_then(|text| text.trim_matches('"').parse().ok());
            age = seconds.map_or(age, Duration::from_secs);
        }
    }
    age.clamp(MIN_AGE, MAX_AGE)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::{
        ident::UserUri,
        wire::{AppDataDictionary, ConsentAction},
    };

    fn cache() -> DirectoryCache {
        let domain = |text| ProviderDomain::parse(text).unwrap();
        DirectoryCache::new(domain("b.example"), vec![domain("mimi.hosting.example")])
    }

    fn update_url(template: &str) -> Option<String> {
        let directory = Directory::from_json(format!(r#"{{"update":{template:?}}}"#).as_bytes()).ok()?;
        let room = PathTarget::Uri(MimiUri::parse("mimi://b.example/r/x").unwrap());
        cache().judged(&directory, Endpoint::Update, &room, b"").ok().map(String::from)
    }

    #[test]
    fn urls_on_the_peers_hosts_are_used() {
        for (template, url) in [
            ("https://b.example/v1/update/{roomId}", "https://b.example/v1/update/mimi%3A%2F%2Fb.example%2Fr%2Fx"),
            ("https://m.b.example:8449/u{roomId}", "https://m.b.example:8449/umimi%3A%2F%2Fb.example%2Fr%2Fx"),
            (
                "https://mimi.hosting.example/{roomId}/u",
                "https://mimi.hosting.example/mimi%3A%2F%2Fb.example%2Fr%2Fx/u",
            ),
        ] {
            assert_eq!(update_url(template).as_deref(), Some(url));
        }
    }

    #[test]
    fn other_hosts_schemes_and_injections_are_refused() {
        for bad in [
            "http://b.example/v1/{roomId}",
            "https://c.example/v1/{roomId}",
            "https://evilb.example/v1/{roomId}",
            "https://b.example.evil.example/v1/{roomId}",
            "https://x.mimi.hosting.example/v1/{roomId}",
            "https://b.example@c.example/v1/{roomId}",
            "https://user@b.example/v1/{roomId}",
            "https://127.0.0.1/v1/{roomId}",
            "https://2130706433/v1/{roomId}",
            "https://[::1]/v1/{roomId}",
            "https://{roomId}/v1",
            "https://b.example{roomId}/v1",
            "https://{roomId}.b.example/v1",
            "https://b.example/v1/",
            "https://b.example/v1/{roomId}/{roomId}",
            "https://b.example/v1/{+roomId}",
            "https://b.example/v1/{other}",
            "https://b.example/v1/{roomId}#x",
            "https://c.example\\@b.example/v1/{roomId}",
            "//b.example/v1/{roomId}",
            "javascript:{roomId}",
        ] {
            assert_eq!(update_url(bad), None, "{bad}");
        }
    }

    #[test]
    fn older_consent_templates_get_the_user() {
        let directory = Directory::from_json(
            br#"{"requestConsent":"https://b.example/r/{targetUser}","updateConsent":"https://b.example/u/{requesterUser}"}"#,
        )
        .unwrap();
        let body = ConsentEntry {
            action: ConsentAction::Request,
            requester: UserUri::parse("mimi://a.example/u/alice").unwrap(),
            target: UserUri::parse("mimi://b.example/u/bob").unwrap(),
            room: None,
            extensions: AppDataDictionary::default(),
        }
        .encode();
        let url = |endpoint| {
            let domain = PathTarget::Domain(ProviderDomain::parse("b.example").unwrap());
            cache().judged(&directory, endpoint, &domain, &body).map(String::from).unwrap()
        };
        assert_eq!(url(Endpoint::RequestConsent), "https://b.example/r/mimi%3A%2F%2Fb.example%2Fu%2Fbob");
        assert_eq!(url(Endpoint::UpdateConsent), "https://b.example/u/mimi%3A%2F%2Fa.example%2Fu%2Falice");
    }

    #[test]
    fn cache_control_is_honoured_within_bounds() {
        let of = |text: &'static str| age(&HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(text))]));
        assert_eq!(age(&HeaderMap::new()), DEFAULT_AGE);
        assert_eq!(of("public, max-age=600"), Duration::from_mins(10));
        assert_eq!(of("no-store"), MIN_AGE);
        assert_eq!(of("max-age=1"), MIN_AGE);
        assert_eq!(of("max-age=99999999"), MAX_AGE);
        assert_eq!(of("max-age=99999999999999999999999"), DEFAULT_AGE);
    }
}
