//! A peer's directory document (draft-ietf-mimi-protocol-06 section 5.1): fetched, judged, kept for a while.
//!
//! A template is used only if it is an https URL without user info whose host is the peer's domain, below it, or
//! configured for the peer, and which has the one variable that the endpoint takes, behind the host.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::header::CACHE_CONTROL;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
use url::Url;

use super::outcome;
use crate::{
    engine::ports::{CallError, Endpoint, Retry},
    ident::ProviderDomain,
    wire,
};

/// How long a directory is kept when the peer does not say.
const DEFAULT_AGE: Duration = Duration::from_secs(60 * 60);
/// However short the peer says.
const MIN_AGE: Duration = Duration::from_secs(60);
/// However long the peer says.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an old directory is used on after a fetch that failed.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// All endpoints, with their member in the document and the variables that their template may have.
const ENDPOINTS: [(Endpoint, &str, &[&str]); 7] = [
    (Endpoint::KeyMaterial, "keyMaterial", &["{targetUser}"]),
    (Endpoint::Update, "update", &["{roomId}"]),
    (Endpoint::SubmitMessage, "submitMessage", &["{roomId}"]),
    (Endpoint::Notify, "notify", &["{roomId}"]),
    (Endpoint::GroupInfo, "groupInfo", &["{roomId}"]),
    // The draft's directory example still has the older names; the value is the domain in any case.
    (Endpoint::RequestConsent, "requestConsent", &["{targetDomain}", "{targetUser}"]),
    (Endpoint::UpdateConsent, "updateConsent", &["{requesterDomain}", "{requesterUser}"]),
];

/// A judged URL template: what stands before and after its variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    before: Arc<str>,
    after: Arc<str>,
}

impl Template {
    /// The URL with `encoded` (percent-encoded as one segment) in the variable's place.
    pub(super) fn expand(&self, encoded: &str) -> String {
        [&*self.before, encoded, &*self.after].concat()
    }

    /// Judges a template (ATTACKS S15).
    fn judge(text: &str, variables: &[&str], domain: &ProviderDomain, hosts: &[ProviderDomain]) -> Option<Self> {
        if text.len() > wire::limits::TEMPLATE {
            return None;
        }
        let (before, after) = variables.iter().find_map(|variable| text.split_once(variable))?;
        if [before, after].iter().any(|part| part.contains(['{', '}', '#', '\\']) || !part.is_ascii()) {
            return None;
        }
        // The variable stands behind the host: what is before it is a URL with a path already.
        let authority = before.strip_prefix("https://")?;
        let (authority, _) = authority.split_once('/')?;
        if authority.contains('@') {
            return None;
        }
        let url = Url::parse(before).ok()?;
        let host = url.host_str()?;
        let below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        let authorised =
            host == domain.as_str() || below(domain.as_str()) || hosts.iter().any(|known| known.as_str() == host);
        let clean = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
        (authorised && clean && Url::parse(&[before, "x", after].concat()).is_ok())
            .then(|| Self { before: before.into(), after: after.into() })
    }
}

type Templates = BTreeMap<Endpoint, Template>;

struct Kept {
    templates: Arc<Templates>,
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

    /// Lets the next call fetch anew.
    pub(super) fn forget(&self) {
        if let Some(kept) = self.lock().as_mut() {
            kept.fresh_until = Instant::now();
        }
    }

    /// The endpoint's template, fetched if need be. A failed fetch is retriable: no call was made yet.
    pub(super) async fn template(&self, http: &reqwest::Client, endpoint: Endpoint) -> Result<Template, CallError> {
        let templates = match self.fresh() {
            Some(templates) => templates,
            None => self.refreshed(http).await?,
        };
        templates.get(&endpoint).cloned().ok_or_else(|| {
            outcome::error("the peer's directory has no usable URL for it".into(), Retry::Retriable(Some(MIN_AGE)))
        })
    }

    async fn refreshed(&self, http: &reqwest::Client) -> Result<Arc<Templates>, CallError> {
        let _turn = self.fetching.lock().await;
        if let Some(templates) = self.fresh() {
            return Ok(templates);
        }
        let (templates, age) = match self.fetch(http).await {
            Ok((templates, age)) => (Arc::new(templates), age),
            Err(error) => {
                let old = self.lock().as_ref().map(|kept| Arc::clone(&kept.templates));
                let Some(old) = old else { return Err(error) };
                tracing::warn!(peer = %self.domain, %error, "the directory could not be fetched, the old one is used on");
                (old, RETRY_AFTER_FAILURE)
            }
        };
        *self.lock() = Some(Kept { templates: Arc::clone(&templates), fresh_until: Instant::now() + age });
        Ok(templates)
    }

    async fn fetch(&self, http: &reqwest::Client) -> Result<(Templates, Duration), CallError> {
        let failed = |what: String| outcome::error(format!("directory: {what}"), Retry::Retriable(None));
        let url = format!("https://{}/.well-known/mimi-protocol-directory", self.domain);
        let response = http.get(url).send().await.map_err(|error| failed(outcome::from_transport(&error).what))?;
        if response.status() != http::StatusCode::OK {
            let error = outcome::from_status(response.status(), response.headers(), b"", std::time::SystemTime::now());
            let retry = if let Retry::Retriable(_) = error.retry { error.retry } else { Retry::Retriable(None) };
            return Err(CallError { what: format!("directory: {}", error.what), retry, ..error });
        }
        let age = age(response.headers());
        let body = super::read_capped(response, wire::limits::DIRECTORY).await.map_err(|error| failed(error.what))?;
        let templates = self.read(&body).ok_or_else(|| failed("not a JSON object".into()))?;
        Ok((templates, age))
    }

    /// The usable templates of a document; each unusable one is logged and left out.
    fn read(&self, body: &[u8]) -> Option<Templates> {
        let document: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).ok()?;
        let mut templates = Templates::new();
        for (endpoint, member, variables) in ENDPOINTS {
            let Some(text) = document.get(member).and_then(serde_json::Value::as_str) else { continue };
            match Template::judge(text, variables, &self.domain, &self.hosts) {
                Some(template) => {
                    templates.insert(endpoint, template);
                }
                None => {
                    tracing::warn!(peer = %self.domain, %endpoint, "the directory names a URL that is not authorised");
                }
            }
        }
        Some(templates)
    }

    fn fresh(&self) -> Option<Arc<Templates>> {
        let kept = self.lock();
        kept.as_ref().filter(|kept| Instant::now() < kept.fresh_until).map(|kept| Arc::clone(&kept.templates))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to keep a directory, from `Cache-Control`.
fn age(headers: &http::HeaderMap) -> Duration {
    let mut age = DEFAULT_AGE;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            if directive == "no-store" || directive == "no-cache" {
                return MIN_AGE;
            }
            if let Some(seconds) = directive.strip_prefix("max-age=").and_then(|text| text.trim_matches('"').parse().ok()) {
                age = Duration::from_secs(seconds);
            }
        }
    }
    age.clamp(MIN_AGE, MAX_AGE)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn judge(text: &str) -> Option<String> {
        let domain = ProviderDomain::parse("b.example").unwrap();
        let hosts = [ProviderDomain::parse("mimi.hosting.example").unwrap()];
        Template::judge(text, &["{roomId}"], &domain, &hosts).map(|template| template.expand("mimi%3A"))
    }

    #[test]
    fn templates_on_authorised_hosts_are_expanded() {
        for (text, url) in [
            ("https://b.example/v1/update/{roomId}", "https://b.example/v1/update/mimi%3A"),
            ("https://mimi.b.example:8449/v1/update{roomId}", "https://mimi.b.example:8449/v1/updatemimi%3A"),
            ("https://mimi.hosting.example/b/{roomId}/update", "https://mimi.hosting.example/b/mimi%3A/update"),
            ("https://b.example/update?room={roomId}", "https://b.example/update?room=mimi%3A"),
        ] {
            assert_eq!(judge(text).as_deref(), Some(url));
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
            "/v1/{roomId}",
            "javascript:{roomId}",
        ] {
            assert_eq!(judge(bad), None, "{bad}");
        }
    }

    #[test]
    fn unusable_templates_are_left_out_and_unknown_members_ignored() {
        let cache = DirectoryCache::new(ProviderDomain::parse("b.example").unwrap(), Vec::new());
        let document = br#"{"update":"https://b.example/u/{roomId}","notify":"https://c.example/n/{roomId}",
            "requestConsent":"https://b.example/c/{targetUser}","draft":6,"groupInfo":7}"#;
        let templates = cache.read(document).unwrap();
        assert_eq!(templates.keys().copied().collect::<Vec<_>>(), [Endpoint::Update, Endpoint::RequestConsent]);
        assert_eq!(cache.read(b"[]"), None);
    }

    #[test]
    fn cache_control_is_honoured_within_bounds() {
        let of = |text: &'static str| age(&http::HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(text))]));
        assert_eq!(age(&http::HeaderMap::new()), DEFAULT_AGE);
        assert_eq!(of("public, max-age=600"), Duration::from_secs(600));
        assert_eq!(of("no-store"), MIN_AGE);
        assert_eq!(of("max-age=1"), MIN_AGE);
        assert_eq!(of("max-age=99999999"), MAX_AGE);
        assert_eq!(of("max-age=99999999999999999999999"), DEFAULT_AGE);
    }
}
