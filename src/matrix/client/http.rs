//! Requests and answers: typed ones by ruma, plain JSON where that is lighter. Bodies are bounded.

use std::{borrow::Cow, fmt::Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use ruma::{
    UserId,
    api::{
        AppserviceUserIdentity, IncomingResponseExt, OutgoingRequest, OutgoingRequestAppserviceExt, SupportedVersions,
        auth_scheme::{AuthScheme, SendAccessToken},
        path_builder::PathBuilder,
    },
};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use super::{HomeserverClient, errors};
use crate::engine::ports::CallError;

/// Largest answer read, in bytes: the state of a very large room.
const ANSWER_MAX: usize = 256 * 1024 * 1024;

/// What may stand unescaped in a path segment or a query value.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path under `/_matrix/client/` and its query, escaped as it grows.
pub(super) struct Target {
    text: String,
    asked: bool,
}

impl Target {
    /// `version` is `v3` or `v1`.
    pub(super) fn new(base: &str, version: &str) -> Self {
        Self { text: format!("{base}/_matrix/client/{version}"), asked: false }
    }
    /// A path of the homeserver's own API for administrators (Synapse); `version` as before.
    pub(super) fn admin(base: &str, version: &str) -> Self {
        Self { text: format!("{base}/_synapse/admin/{version}"), asked: false }
    }
    /// A path of the content repository where files are uploaded.
    pub(super) fn media(base: &str) -> Self {
        Self { text: format!("{base}/_matrix/media/v3"), asked: false }
    }
    /// The whole URL.
    pub(super) fn into_text(self) -> String {
        self.text
    }
    /// One more path segment.
    pub(super) fn segment(mut self, segment: &str) -> Self {
        self.text.push('/');
        self.text.extend(utf8_percent_encode(segment, SEGMENT));
        self
    }
    /// One more query parameter.
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        self.text.push(if self.asked { '&' } else { '?' });
        self.asked = true;
        self.text.push_str(name);
        self.text.push('=');
        self.text.extend(utf8_percent_encode(value, SEGMENT));
        self
    }
    /// One more numeric query parameter.
    pub(super) fn number(mut self, name: &str, value: u64) -> Self {
        self.text.push(if self.asked { '&' } else { '?' });
        self.asked = true;
        // Writing to a string does not fail.
        let _ = write!(self.text, "{name}={value}");
        self
    }
}

impl HomeserverClient {
    /// Starts a `v3` target.
    pub(super) fn v3(&self) -> Target {
        Target::new(&self.base, "v3")
    }

    /// A plain call with a JSON text as body, answered with JSON.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        what: &str,
        method: Method,
        target: Target,
        body: Option<String>,
    ) -> Result<T, CallError> {
        let mut request = self.http.request(method, target.text);
        if let Some(body) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        }
        let answer = self.exchange(what, request).await?;
        serde_json::from_slice(&answer.into_body()).map_err(|error| errors::unreadable(what, &error.to_string()))
    }

    /// A ruma request as `user`, or as the appservice itself.
    pub(super) async fn typed<R>(
        &self,
        what: &str,
        request: R,
        user: Option<&UserId>,
    ) -> Result<R::IncomingResponse, CallError>
    where
        R: OutgoingRequest,
        for<'a> R::Authentication: AuthScheme<Input<'a> = SendAccessToken<'a>>,
        for<'a> R::PathBuilder: PathBuilder<Input<'a> = Cow<'a, SupportedVersions>>,
    {
        let mut identity = AppserviceUserIdentity::default();
        identity.user_id = user;
        let request: http::Request<Vec<u8>> = request
            .try_into_http_request_with_identity(
                &self.base,
                SendAccessToken::Appservice(self.as_token.expose_secret()),
                identity,
                self.considering(),
            )
            .map_err(|error| errors::unusable(what, &error.to_string()))?;
        let (parts, body) = request.into_parts();
        // The token is a default header already.
        let mut builder = self.http.request(parts.method, parts.uri.to_string());
        if let Some(kind) = parts.headers.get(reqwest::header::CONTENT_TYPE) {
            builder = builder.header(reqwest::header::CONTENT_TYPE, kind).body(body);
        }
        let answer = self.exchange(what, builder).await?;
        let (parts, body) = answer.into_parts();
        let answer = http::Response::from_parts(parts, body.as_slice());
        R::IncomingResponse::try_from_http_response(answer).map_err(|_| errors::unreadable(what, "unexpected content"))
    }

    /// Sends, reads the bounded answer, and turns every status but 2xx into an error.
    pub(super) async fn exchange(
        &self,
        what: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<http::Response<Vec<u8>>, CallError> {
        let mut answer = request.send().await.map_err(|error| errors::transport(what, error))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| errors::transport(what, error))? {
            if body.len().saturating_add(chunk.len()) > ANSWER_MAX {
                return Err(errors::unreadable(what, "too large"));
            }
            body.extend_from_slice(&chunk);
        }
        let status = answer.status();
        if !status.is_success() {
            return Err(errors::status(what, status, answer.headers(), &body));
        }
        let mut whole = http::Response::new(body);
        *whole.status_mut() = status;
        *whole.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_escaped_in_path_and_query() {
        let target = Target::new("http://h", "v3")
            .segment("rooms")
            .segment("!a/b:c.example")
            .segment("send")
            .query("user_id", "@_mimi_b=2f&x:c.example")
            .number("ts", 12);
        assert_eq!(
            target.text,
            "http://h/_matrix/client/v3/rooms/%21a%2Fb%3Ac.example/send?user_id=%40_mimi_b%3D2f%26x%3Ac.example&ts=12"
        );
    }
}
