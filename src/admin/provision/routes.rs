//! The routes: each makes the command of what is asked that people would say to the bot.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, delete, get, post, put},
};

use super::{
    OPENAPI, Refusal, Shared,
    answers::{
        Blocked, Bridge, Chat, Consent, Discoverable, DoneWith, Hours, Join, Page, Provider, Providers, Quarantine,
        Remote, Report, Room, Rooms, Status, Ways, Word, read,
    },
    gate::DOCUMENT,
};
use crate::{
    admin::{AsideRow, RoomRow},
    engine::{Asker, Engine, rights::Act},
    ident::{ProviderDomain, RoomUri, UserUri},
    room::{
        ConsentWords,
        command::{AdminWords, Command},
        seek::{self, Wish},
    },
};

/// Rows of one page.
const PAGE: usize = 50;

type Api = State<Arc<Shared>>;
type By = Extension<Asker>;
type Asked = Result<Query<Page>, QueryRejection>;
type Answer = Result<DoneWith, Refusal>;

/// Everything that is served: method, path, and what serves it.
pub(super) fn all() -> Vec<(&'static str, &'static str, MethodRouter<Arc<Shared>>)> {
    vec![
        ("get", DOCUMENT, get(document)),
        ("get", "/status", get(status)),
        ("get", "/rooms", get(rooms)),
        ("post", "/rooms", post(bridge)),
        ("get", "/rooms/{room}", get(room)),
        ("delete", "/rooms/{room}", delete(unbridge)),
        ("post", "/rooms/{room}/invitations", post(invite)),
        ("post", "/rooms/{room}/codes", post(code)),
        ("delete", "/rooms/{room}/codes", delete(no_codes)),
        ("post", "/rooms/{room}/reports", post(report)),
        ("post", "/joins", post(join)),
        ("post", "/chats", post(chat)),
        ("get", "/discoverable", get(discoverable)),
        ("put", "/discoverable", put(be_discoverable)),
        ("post", "/consent", post(consent)),
        ("get", "/blocked", get(blocked)),
        ("put", "/blocked/{user}", put(block)),
        ("delete", "/blocked/{user}", delete(unblock)),
        ("get", "/providers", get(providers)),
        ("put", "/providers/{provider}/denial", put(deny)),
        ("delete", "/providers/{provider}/denial", delete(allow)),
        ("get", "/quarantine", get(quarantine)),
    ]
}

fn user(text: &str) -> Result<UserUri, Refusal> {
    UserUri::parse(text).map_err(|error| {
        Refusal::invalid(format!("{text}: {error}. A user looks like mimi://provider.example/u/name."))
    })
}

fn provider(text: &str) -> Result<ProviderDomain, Refusal> {
    ProviderDomain::parse(text)
        .map_err(|error| Refusal::invalid(format!("{text}: {error}. A provider looks like provider.example.")))
}

async fn done(api: &Shared, by: &Asker, room: Option<&str>, status: StatusCode, command: Command) -> Answer {
    Ok(DoneWith(status, api.engine.order(by, room, command).await?))
}

fn asked(page: Asked) -> Result<Page, Refusal> {
    page.map(|Query(page)| page).map_err(|_| Refusal::invalid("`all` is true or false, `after` text."))
}

/// Whether somebody may see what concerns everybody: the words of the bot, if not.
fn administrates(engine: &Engine, by: &Asker) -> Result<(), Refusal> {
    engine.check(&by.user, Act::Admin).map_err(Refusal::forbidden)
}

async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn status(State(api): Api, Extension(by): By) -> Result<Json<Status>, Refusal> {
    let message = api.engine.order(&by, None, Command::Status).await?.text;
    Ok(Json(Status { user_id: by.user.to_string(), may: api.engine.may(&by.user), message }))
}

async fn rooms(State(api): Api, Extension(by): By, page: Asked) -> Result<Json<Rooms>, Refusal> {
    let page = asked(page)?;
    if page.all {
        administrates(&api.engine, &by)?;
    } else {
        api.engine.permits(&by.user, &Command::Rooms)?;
    }
    let user = (!page.all).then_some(&*by.user);
    let (rooms, next) = api.engine.rooms_of(user, page.place()?, PAGE).await?;
    Ok(Json(Rooms { rooms: rooms.into_iter().map(RoomRow::from).collect(), next: next.map(hex::encode) }))
}

async fn bridge(State(api): Api, Extension(by): By, body: Bytes) -> Answer {
    let Bridge { room } = read(&body)?;
    done(&api, &by, None, StatusCode::CREATED, Command::Bridge(Some(room))).await
}

async fn room(State(api): Api, Extension(by): By, Path(name): Path<String>) -> Result<Json<Room>, Refusal> {
    let message = api.engine.order(&by, Some(&name), Command::Status).await?.text;
    let room = api.engine.room_of(&by.user, &name).await?;
    let room = room.ok_or_else(|| Refusal::not_found("I know no such room in which you are."))?;
    Ok(Json(Room { room: room.into(), message }))
}

async fn unbridge(State(api): Api, Extension(by): By, Path(room): Path<String>) -> Answer {
    done(&api, &by, Some(&room), StatusCode::ACCEPTED, Command::Unbridge).await
}

async fn invite(State(api): Api, Extension(by): By, Path(room): Path<String>, body: Bytes) -> Answer {
    let Remote { user: remote } = read(&body)?;
    done(&api, &by, Some(&room), StatusCode::ACCEPTED, Command::Invite(user(&remote)?)).await
}

async fn code(State(api): Api, Extension(by): By, Path(room): Path<String>, body: Bytes) -> Answer {
    let Hours { hours } = read(&body)?;
    let command = Command::Code(hours.map(|hours| hours.to_string()));
    done(&api, &by, Some(&room), StatusCode::CREATED, command).await
}

async fn no_codes(State(api): Api, Extension(by): By, Path(room): Path<String>) -> Answer {
    done(&api, &by, Some(&room), StatusCode::OK, Command::Code(Some("off".to_owned()))).await
}

async fn report(State(api): Api, Extension(by): By, Path(room): Path<String>, body: Bytes) -> Answer {
    let Report { event_id, note, openly } = read(&body)?;
    let known = api.engine.room_of(&by.user, &room).await?.filter(|room| !room.matrix.is_empty());
    let known = known.ok_or_else(|| Refusal::not_found("I know no such room in which you are."))?;
    if event_id.contains(char::is_whitespace) {
        return Err(Refusal::invalid("`event_id` is a Matrix event id."));
    }
    let note = format!("https://matrix.to/#/{}/{event_id} {note}", known.matrix);
    done(&api, &by, None, StatusCode::ACCEPTED, Command::Report { openly, note }).await
}

async fn join(State(api): Api, Extension(by): By, body: Bytes) -> Answer {
    let Join { room, code } = read(&body)?;
    let uri = RoomUri::parse(&room).map_err(|error| {
        Refusal::invalid(format!("{room}: {error}. A room looks like mimi://provider.example/r/name."))
    })?;
    done(&api, &by, None, StatusCode::ACCEPTED, Command::Join(uri, code)).await
}

async fn chat(State(api): Api, Extension(by): By, body: Bytes) -> Answer {
    let Chat { whom } = read(&body)?;
    let whom = seek::whom(&whom).map_err(Refusal::invalid)?;
    done(&api, &by, None, StatusCode::CREATED, Command::StartChat(whom)).await
}

async fn found(api: &Shared, by: &Asker, wish: Wish) -> Result<Json<Discoverable>, Refusal> {
    let message = api.engine.order(by, None, Command::Discoverable(wish)).await?.text;
    let ways = api.engine.ways_of(&by.user).await?;
    Ok(Json(Discoverable { ways: ways.into_iter().map(seek::Way::word).collect(), message }))
}

async fn discoverable(State(api): Api, Extension(by): By) -> Result<Json<Discoverable>, Refusal> {
    found(&api, &by, Wish::Tell).await
}

async fn be_discoverable(State(api): Api, Extension(by): By, body: Bytes) -> Result<Json<Discoverable>, Refusal> {
    let Ways { ways } = read(&body)?;
    let words = if ways.is_empty() { vec!["off".to_owned()] } else { ways };
    let wish = seek::wish(words.iter().map(String::as_str)).map_err(Refusal::invalid)?;
    found(&api, &by, wish).await
}

async fn about(api: &Shared, by: &Asker, words: ConsentWords) -> Answer {
    done(api, by, None, StatusCode::OK, Command::Consent(words)).await
}

async fn consent(State(api): Api, Extension(by): By, body: Bytes) -> Answer {
    let Consent { word, user: other } = read(&body)?;
    let other = user(&other)?;
    let words = match word {
        Word::Accept => ConsentWords::Accept(other),
        Word::Decline => ConsentWords::Decline(other),
        Word::Revoke => ConsentWords::Revoke(other),
        Word::Ask => ConsentWords::Ask(other),
        Word::Withdraw => ConsentWords::Withdraw(other),
    };
    about(&api, &by, words).await
}

async fn blocked(State(api): Api, Extension(by): By) -> Result<Json<Blocked>, Refusal> {
    Ok(Json(Blocked { users: api.engine.blocked_by(&by.user).await? }))
}

async fn block(State(api): Api, Extension(by): By, Path(other): Path<String>) -> Answer {
    about(&api, &by, ConsentWords::Block(user(&other)?)).await
}

async fn unblock(State(api): Api, Extension(by): By, Path(other): Path<String>) -> Answer {
    about(&api, &by, ConsentWords::Unblock(user(&other)?)).await
}

async fn providers(State(api): Api, Extension(by): By) -> Result<Json<Providers>, Refusal> {
    administrates(&api.engine, &by)?;
    Ok(Json(Providers { providers: api.engine.providers().into_iter().map(Provider::from).collect() }))
}

async fn deny(State(api): Api, Extension(by): By, Path(name): Path<String>) -> Answer {
    done(&api, &by, None, StatusCode::OK, Command::Admin(AdminWords::Deny(provider(&name)?))).await
}

async fn allow(State(api): Api, Extension(by): By, Path(name): Path<String>) -> Answer {
    done(&api, &by, None, StatusCode::OK, Command::Admin(AdminWords::Allow(provider(&name)?))).await
}

async fn quarantine(State(api): Api, Extension(by): By, page: Asked) -> Result<Json<Quarantine>, Refusal> {
    administrates(&api.engine, &by)?;
    let page = asked(page)?;
    let (items, next) = Engine::set_aside_after(api.engine.database(), page.place()?, PAGE).await?;
    Ok(Json(Quarantine { items: items.into_iter().map(AsideRow::from).collect(), next: next.map(hex::encode) }))
}
