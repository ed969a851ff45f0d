//! The directory document, `GET /.well-known/mimi-protocol-directory` (draft-ietf-mimi-protocol-06 section 5.1), and the
//! expansion of its URL templates (RFC 6570 level 1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{limits, path};
use crate::ident::{MimiUri, ProviderDomain};

/// Where a provider's directory is.
pub const WELL_KNOWN_PATH: &str = "/.well-known/mimi-protocol-directory";

/// The number of the draft that our endpoints follow.
const DRAFT: &str = "06";

/// Why a directory or a template cannot be used. Permanent until the provider changes its directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Over [`limits::DIRECTORY`] bytes.
    #[error("the directory is longer than {} bytes", limits::DIRECTORY)]
    TooLong,
    /// Not a JSON object.
    #[error("the directory is no JSON object")]
    Json,
    /// The directory does not list the endpoint.
    #[error("the directory has no {0}")]
    Missing(&'static str),
    /// A template that we will not expand.
    #[error("the template of {name} cannot be used: {why}")]
    Template {
        /// The endpoint's name.
        name: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The template wants a user, but only a domain is known.
    #[error("the template of {0} wants a user, and there is only a domain")]
    NeedsUser(&'static str),
}

/// An endpoint that a directory lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DirectoryEntry {
    /// `keyMaterial`.
    KeyMaterial,
    /// `update`.
    Update,
    /// `notify`.
    Notify,
    /// `submitMessage`.
    SubmitMessage,
    /// `groupInfo`.
    GroupInfo,
    /// `requestConsent`.
    RequestConsent,
    /// `updateConsent`.
    UpdateConsent,
    /// `identifierQuery`.
    IdentifierQuery,
    /// `reportAbuse`.
    ReportAbuse,
    /// `proxyDownload`.
    ProxyDownload,
    /// `ohttpGateway`: where encapsulated requests go (RFC 9458). The draft demands the gateway and names no entry for it;
    /// the name is ours, a plain URL without variable.
    OhttpGateway,
    /// `ohttpKeys`: where the gateway's key configurations are (`application/ohttp-keys`). Ours, as `ohttpGateway`.
    OhttpKeys,
}

impl DirectoryEntry {
    /// Every endpoint.
    pub const ALL: [Self; 12] = [
        Self::KeyMaterial,
        Self::Update,
        Self::Notify,
        Self::SubmitMessage,
        Self::GroupInfo,
        Self::RequestConsent,
        Self::UpdateConsent,
        Self::IdentifierQuery,
        Self::ReportAbuse,
        Self::ProxyDownload,
        Self::OhttpGateway,
        Self::OhttpKeys,
    ];

    /// The endpoint's name in the document, and in our own paths.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyMaterial => "keyMaterial",
            Self::Update => "update",
            Self::Notify => "notify",
            Self::SubmitMessage => "submitMessage",
            Self::GroupInfo => "groupInfo",
            Self::RequestConsent => "requestConsent",
            Self::UpdateConsent => "updateConsent",
            Self::IdentifierQuery => "identifierQuery",
            Self::ReportAbuse => "reportAbuse",
            Self::ProxyDownload => "proxyDownload",
            Self::OhttpGateway => "ohttpGateway",
            Self::OhttpKeys => "ohttpKeys",
        }
    }

    /// Whether rooms work without it.
    fn is_optional(self) -> bool {
        matches!(
            self,
            Self::IdentifierQuery | Self::ReportAbuse | Self::ProxyDownload | Self::OhttpGateway | Self::OhttpKeys
        )
    }

    /// The variable in our own templates, `None` for a plain URL. Section 5.7 is newer than the example in 5.1: consent
    /// goes to a domain.
    fn variable(self) -> Option<&'static str> {
        match self {
            Self::KeyMaterial => Some("targetUser"),
            Self::Update | Self::Notify | Self::SubmitMessage | Self::GroupInfo | Self::ReportAbuse => Some("roomId"),
            Self::RequestConsent => Some("targetDomain"),
            Self::UpdateConsent => Some("requesterDomain"),
            Self::IdentifierQuery => Some("domain"),
            Self::ProxyDownload => Some("downloadUrl"),
            Self::OhttpGateway | Self::OhttpKeys => None,
        }
    }
}

/// What fills a template's variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A room or user. Where a template wants a domain, the URI's provider is filled in.
    Uri(&'a MimiUri),
    /// A domain only.
    Domain(&'a ProviderDomain),
    /// An asset's URL, for proxyDownload.
    Url(&'a str),
    /// Nothing: the entry is a plain URL.
    Nothing,
}

/// URL templates by endpoint. Unknown members of the document are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory(BTreeMap<DirectoryEntry, String>);

impl Directory {
    /// Our own directory: `<base>/<name>/{variable}`, or `<base>/<name>`, for each of `entries`. `base` is an https URL without a trailing
    /// slash, like `https://mimi.example.com/v1`.
    pub fn own(base: &str, entries: &[DirectoryEntry]) -> Result<Self, DirectoryError> {
        let template = |entry: &DirectoryEntry| {
            let variable = entry.variable().map(|name| format!("/{{{name}}}")).unwrap_or_default();
            let template = format!("{base}/{}{variable}", entry.name());
            check_template(*entry, &template).map(|()| (*entry, template))
        };
        entries.iter().map(template).collect::<Result<_, _>>().map(Self)
    }

    /// The document. Beside the endpoints it says which draft they follow, for which the draft has no place: `draft`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let members = self.0.iter().map(|(entry, template)| (entry.name().to_owned(), Value::from(template.as_str())));
        let draft = std::iter::once(("draft".to_owned(), Value::from(DRAFT)));
        Value::Object(members.chain(draft).collect()).to_string()
    }

    /// Reads a peer's document. If the template of an endpoint that rooms cannot do without is unusable, the document
    /// is: better to know now than when the first message is due. Other endpoints are left out instead.
    pub fn from_json(document: &[u8]) -> Result<Self, DirectoryError> {
        if document.len() > limits::DIRECTORY {
            return Err(DirectoryError::TooLong);
        }
        let Ok(Value::Object(members)) = serde_json::from_slice(document) else {
            return Err(DirectoryError::Json);
        };
        let mut out = BTreeMap::new();
        for entry in DirectoryEntry::ALL {
            let name = entry.name();
            let template = match members.get(name) {
                None | Some(Value::Null) => continue,
                Some(Value::String(template)) => check_template(entry, template).map(|()| template),
                Some(_) => Err(DirectoryError::Template { name, why: "not a string" }),
            };
            match template {
                Ok(template) => drop(out.insert(entry, template.clone())),
                Err(_) if entry.is_optional() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(out))
    }

    /// The endpoint's template.
    #[must_use]
    pub fn template(&self, entry: DirectoryEntry) -> Option<&str> {
        self.0.get(&entry).map(String::as_str)
    }

    /// The endpoint's URL for a target. Its host is whatever the directory says: check it before the call.
    pub fn url(&self, entry: DirectoryEntry, target: Target<'_>) -> Result<String, DirectoryError> {
        let name = entry.name();
        let template = self.template(entry).ok_or(DirectoryError::Missing(name))?;
        expand(name, template, target)
    }
}

enum Part<'a> {
    Literal(&'a str),
    Variable(&'a str),
}

fn parts<'a>(name: &'static str, template: &'a str) -> Result<Vec<Part<'a>>, DirectoryError> {
    let bad = |why| DirectoryError::Template { name, why };
    let mut out = Vec::new();
    let mut rest = template;
    while let Some((literal, tail)) = rest.split_once('{') {
        let (variable, tail) = tail.split_once('}').ok_or(bad("unclosed brace"))?;
        if variable.is_empty() || !variable.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(bad("only simple variables are expanded"));
        }
        out.push(Part::Literal(literal));
        out.push(Part::Variable(variable));
        rest = tail;
    }
    out.push(Part::Literal(rest));
    if out.iter().any(|part| matches!(part, Part::Literal(l) if l.contains('}'))) {
        return Err(bad("unopened brace"));
    }
    Ok(out)
}

fn check_template(entry: DirectoryEntry, template: &str) -> Result<(), DirectoryError> {
    let name = entry.name();
    let bad = |why| Err(DirectoryError::Template { name, why });
    if template.len() > limits::TEMPLATE {
        return bad("too long");
    }
    let Some(rest) = template.strip_prefix("https://") else {
        return bad("not an https URL");
    };
    if !template.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'|'))
    {
        return bad("a byte that no URL may hold");
    }
    let Some((authority, _)) = rest.split_once('/') else {
        return bad("no path");
    };
    if authority.is_empty() || authority.contains(['@', '{', '}', '?', '#']) {
        return bad("the authority must be a plain host and port");
    }
    if template.contains('#') {
        return bad("it has a fragment");
    }
    let variables = parts(name, template)?.iter().filter(|part| matches!(part, Part::Variable(_))).count();
    match (variables, entry.variable()) {
        (1, Some(_)) | (0, None) => Ok(()),
        (_, Some(_)) => bad("exactly one variable is wanted"),
        (_, None) => bad("no variable is wanted"),
    }
}

fn expand(name: &'static str, template: &str, target: Target<'_>) -> Result<String, DirectoryError> {
    let mut url = String::new();
    for part in parts(name, template)? {
        match part {
            Part::Literal(literal) => url.push_str(literal),
            Part::Variable(variable) => url.push_str(&path::encode_segment(&value(name, variable, target)?)),
        }
    }
    Ok(url)
}

fn value(name: &'static str, variable: &str, target: Target<'_>) -> Result<String, DirectoryError> {
    match (variable, target) {
        ("targetDomain" | "requesterDomain" | "domain", Target::Uri(uri)) => Ok(uri.provider().as_str().to_owned()),
        ("targetDomain" | "requesterDomain" | "domain", Target::Domain(domain)) => Ok(domain.as_str().to_owned()),
        ("targetUser" | "requesterUser" | "roomId", Target::Uri(uri)) => Ok(uri.as_str().to_owned()),
        ("targetUser" | "requesterUser", Target::Domain(_)) => Err(DirectoryError::NeedsUser(name)),
        ("downloadUrl", Target::Url(url)) => Ok(url.to_owned()),
        _ => Err(DirectoryError::Template { name, why: "its variable does not fit the endpoint" }),
    }
}
