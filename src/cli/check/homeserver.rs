//! The homeserver: is it there, do the clocks agree, does it know our token, does it reach us.

use std::{io, time::SystemTime};

use reqwest::{Client, Method, Response};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{report::Report, responder::Responder};
use crate::{
    cli::exit::Exit,
    config::{Config, Secret},
    matrix::Credentials,
};

/// Clocks further apart than this many seconds are a failure: certificates, key lifetimes and message times go wrong.
const CLOCK_FAIL_SECONDS: u64 = 60;
/// Further apart than this gets a warning. Below it is the time that the answer took.
const CLOCK_WARN_SECONDS: u64 = 10;
/// Largest answer read, in bytes.
const ANSWER_MAX: usize = 1 << 20;

#[derive(Deserialize)]
struct Versions {
    versions: Vec<String>,
}

pub(super) async fn check(config: &Config, credentials: Option<&Credentials>, report: &mut Report<'_>) {
    let client = match client(config) {
        Ok(client) => client,
        Err(e) => {
            report.fail(Exit::Homeserver, "homeserver", e.to_string(), "Check the system's CA certificates");
            return;
        }
    };
    let home = Home { client, base: config.homeserver.url.as_str().trim_end_matches('/').to_owned() };
    let reached = versions(&home, report).await;
    if let Some(token) = config.homeserver.admin_token.as_ref().filter(|_| reached) {
        admin(&home, token, report).await;
    }
    match credentials {
        Some(credentials) if reached => {
            if token(&home, config, credentials, report).await {
                ping(&home, config, credentials, report).await;
            } else {
                report.skip(Exit::Appservice, "ping", "the homeserver does not know us");
            }
        }
        _ => {
            report.skip(Exit::Appservice, "token", "needs the homeserver and a registration");
            report.skip(Exit::Appservice, "ping", "needs the homeserver and a registration");
        }
    }
}

fn client(config: &Config) -> reqwest::Result<Client> {
    // Fails only where a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = config.to_matrix_settings();
    let mut builder = Client::builder()
        .timeout(settings.request_timeout())
        .connect_timeout(settings.connect_timeout())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if config.homeserver.url.scheme() == "http" {
        // Without TLS, a machine without CA certificates is no obstacle.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

struct Home {
    client: Client,
    base: String,
}

impl Home {
    async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> reqwest::Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await
    }
}

/// The body as JSON; `Null` if it is none or too large.
async fn body(mut response: Response) -> Value {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_MAX {
            return Value::Null;
        }
    }
    serde_json::from_slice(&bytes).unwrap_or_default()
}

async fn versions(home: &Home, report: &mut Report<'_>) -> bool {
    let (class, name) = (Exit::Homeserver, "homeserver");
    let response = match home.call(Method::GET, "/_matrix/client/versions", None, None).await {
        Ok(response) => response,
        Err(e) => {
            report.skip(Exit::Clock, "clock", "needs the homeserver");
            report.fail(
                class,
                name,
                super::sentence("", &e),
                "Is it running, and is `homeserver.url` right as seen from here?",
            );
            return false;
        }
    };
    clock(&response, report);
    let status = response.status();
    match serde_json::from_value::<Versions>(body(response).await) {
        Ok(known) if status.is_success() && !known.versions.is_empty() => {
            let latest = known.versions.last().map_or("", String::as_str);
            report.ok(class, name, format!("{} speaks Matrix up to {latest}", home.base));
            true
        }
        _ => {
            report.fail(
                class,
                name,
                format!("{} answers {status}, but not as a Matrix homeserver", home.base),
                "Name the base of the client-server API in `homeserver.url`, without /_matrix",
            );
            false
        }
    }
}

fn clock(response: &Response, report: &mut Report<'_>) {
    let (class, name) = (Exit::Clock, "clock");
    let date = response.headers().get(reqwest::header::DATE).and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        report.skip(class, name, "the homeserver does not tell the time");
        return;
    };
    let now = SystemTime::now();
    let apart = now.duration_since(theirs).or_else(|_| theirs.duration_since(now)).unwrap_or_default().as_secs();
    let which = if now > theirs { "ahead of" } else { "behind" };
    let seen = format!("this machine is {apart} s {which} the homeserver");
    let advice = "Run a time service (chrony, systemd-timesyncd) on both machines";
    match apart {
        CLOCK_FAIL_SECONDS.. => report.fail(class, name, seen, advice),
        CLOCK_WARN_SECONDS.. => report.warn(class, name, seen, advice),
        _ => report.ok(class, name, "agrees with the homeserver's"),
    }
}

/// Whether the homeserver knows our token, and for the right user.
async fn token(home: &Home, config: &Config, credentials: &Credentials, report: &mut Report<'_>) -> bool {
    let (class, name) = (Exit::Appservice, "token");
    let token = credentials.as_token.expose_secret();
    let response = match home.call(Method::GET, "/_matrix/client/v3/account/whoami", Some(token), None).await {
        Ok(response) => response,
        Err(e) => {
            report.fail(Exit::Homeserver, name, super::sentence("", &e), "Try again; look into the homeserver's log");
            return false;
        }
    };
    let status = response.status();
    let answer = body(response).await;
    let wanted = format!("@{}:{}", credentials.sender_localpart, config.homeserver.server_name);
    match answer.get("user_id").and_then(Value::as_str) {
        Some(user) if user == wanted => {
            report.ok(class, name, format!("the homeserver knows us as {user}"));
            true
        }
        Some(user) => {
            report.fail(
                class,
                name,
                format!("the homeserver knows us as {user}, not {wanted}"),
                "Is `homeserver.server_name` right, and does the homeserver have this registration?",
            );
            false
        }
        None => {
            let errcode = answer.get("errcode").and_then(Value::as_str).unwrap_or("no errcode");
            let registration = &config.appservice.registration;
            let path = std::path::absolute(registration).unwrap_or_else(|_| registration.clone());
            report.fail(
                class,
                name,
                format!("the homeserver refuses our token ({status}, {errcode})"),
                format!(
                    "Add {} to `app_service_config_files` in Synapse's homeserver.yaml and restart Synapse; if it stands there already, \
                     restart it: it has read another version of the file",
                    path.display()
                ),
            );
            false
        }
    }
}

/// Whether the administrator's token is one. Rooms work without it.
async fn admin(home: &Home, token: &Secret, report: &mut Report<'_>) {
    let (class, name) = (Exit::Homeserver, "admin token");
    let path = "/_synapse/admin/v1/event_reports?limit=1";
    let status = home.call(Method::GET, path, Some(token.expose()), None).await.map(|response| response.status());
    match status {
        Ok(status) if status.is_success() => report.ok(class, name, "the homeserver lets us see what users report"),
        Ok(status) => report.warn(
            class,
            name,
            format!("the homeserver refuses `homeserver.admin_token` ({status})"),
            "It has to be the access token of an administrator of a Synapse; reports and searches by address wait for that",
        ),
        Err(e) => report.warn(class, name, super::sentence("", &e), "Try again; look into the homeserver's log"),
    }
}

async fn ping(home: &Home, config: &Config, credentials: &Credentials, report: &mut Report<'_>) {
    let (class, name) = (Exit::Appservice, "ping");
    let hs_token = Secret::new(credentials.hs_token.expose_secret().to_owned());
    let stand_in = match Responder::start(config.appservice.listen, hs_token).await {
        Ok((responder, _)) => Some(responder),
        // The gateway is running: it answers itself.
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => None,
        Err(e) => {
            report.fail(
                class,
                name,
                format!("cannot listen on {}: {e}", config.appservice.listen),
                "Change `appservice.listen` to an address of this machine",
            );
            return;
        }
    };
    let path = format!(
        "/_matrix/client/v1/appservice/{}/ping",
        percent_encoding::utf8_percent_encode(&credentials.id, percent_encoding::NON_ALPHANUMERIC)
    );
    let token = credentials.as_token.expose_secret();
    let response = match home.call(Method::POST, &path, Some(token), Some(&json!({"transaction_id": "check"}))).await {
        Ok(response) => response,
        Err(e) => {
            report.fail(class, name, super::sentence("", &e), "Look into the homeserver's log");
            return;
        }
    };
    let status = response.status();
    let answer = body(response).await;
    if let Some(took) = answer.get("duration_ms").and_then(Value::as_u64).filter(|_| status.is_success()) {
        let who = if stand_in.is_some() { "this check" } else { "the running gateway" };
        report.ok(class, name, format!("the homeserver reaches {who} in {took} ms"));
        return;
    }
    let errcode = answer.get("errcode").and_then(Value::as_str).unwrap_or("no errcode");
    let advice = match errcode {
        "M_URL_NOT_SET" => "Set url in the registration and restart the homeserver".to_owned(),
        "M_BAD_STATUS" if stand_in.is_none() => format!("Something answers on {}, but not as this gateway, or with other tokens", config.appservice.listen),
        "M_BAD_STATUS" => "The homeserver has another hs_token, or a proxy stands between: restart the homeserver after changing the registration".to_owned(),
        "M_UNRECOGNIZED" => "The homeserver is too old to ping application services: update it".to_owned(),
        _ => format!("From the homeserver's machine, {} must reach {}", config.appservice.public_url(), config.appservice.listen),
    };
    report.fail(class, name, format!("the homeserver does not reach us ({status}, {errcode})"), advice);
}
