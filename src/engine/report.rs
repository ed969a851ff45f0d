//! Reports of abuse (draft-ietf-mimi-protocol-06 section 5.9): those of our users go to the room's hub with the hub's own
//! stamp, those of others come to the people who run this gateway, with the verdict on the stamp.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{
    core::{Engine, lock},
    franking::Franking,
    ports::{Actor as MatrixActor, Endpoint, MatrixAction, PathTarget, Problem},
    tables::{EVENTS, LOG, NOTIFIED, OUTBOX, OutRow, SHOWN, Wants},
};
use crate::{
    content::{MessageId, MimiContent},
    ident::{ProviderDomain, RoomUri, UserUri},
    room::{Franked, Names, Tag, command::REPORT},
    store::{Batch, StoreError},
    translate::{self, CONTENT_KEY},
    wire::{
        AbuseReport, AbuseType, AbusiveMessage, AppDataDictionary, Frank, FrankingTag, ServerFrankingContext, Wire,
    },
};

/// The lane of what the administrators are told.
const ADMIN_LANE: &str = "m:admin";
/// Of a reported message administrators see so many characters.
const EXCERPT: usize = 1000;
/// Reports that a peer may send within an hour.
pub(super) const PER_HOUR: u32 = 100;

/// What the stamp on a reported message is worth.
fn verdict(franking: &Franking, room: &RoomUri, alleged: &UserUri, message: &AbusiveMessage) -> (String, String) {
    let content = match MimiContent::decode(&message.message_content) {
        Ok(content) => content,
        Err(error) => return (format!("NOT PROVEN: it is no MIMI content ({error})"), String::new()),
    };
    let message_id = MessageId([0; 32]);
    let ctx =
        translate::ToMatrix { message_id, sender: alleged, room, from_gateway: false, mentions: &translate::Nobody };
    let shown = translate::to_matrix(&content, &ctx);
    let text = shown.content.get("body").and_then(serde_json::Value::as_str).unwrap_or_default();
    let text = text.chars().take(EXCERPT).collect();
    if let Err(error) = content.check_origin(alleged, room) {
        return (format!("NOT PROVEN: {error}"), text);
    }
    let stamped = ServerFrankingContext {
        sender_uri: alleged.clone(),
        room_uri: room.clone(),
        accepted_timestamp: message.accepted_timestamp,
    };
    let tag = FrankingTag::of(&content.salt, &message.message_content);
    if franking.recognises(&tag, &message.frank, &stamped) {
        ("PROVEN: this server accepted it from that user in that room at that time".to_owned(), text)
    } else {
        ("NOT PROVEN: the stamp is not this server's for this message, user, room and time".to_owned(), text)
    }
}

/// The report in words. `from` is the provider that sent it, `None` for our own users.
fn words(franking: &Franking, room: &RoomUri, from: Option<&ProviderDomain>, report: &AbuseReport) -> String {
    let by = match (&report.reporting_user, from) {
        (Some(user), _) => user.to_string(),
        (None, Some(peer)) => format!("somebody at {peer} who gives no name"),
        (None, None) => "somebody of this server who gives no name".to_owned(),
    };
    let mut text = format!("Abuse is reported in {room}\nby {by}\nof {}", report.alleged_abuser);
    if !report.note.is_empty() {
        let _ = write!(text, "\nnote: {}", report.note);
    }
    if report.messages.is_empty() {
        text.push_str("\nwithout a message");
    }
    for message in &report.messages {
        let (verdict, said) = verdict(franking, room, &report.alleged_abuser, message);
        let at = message.accepted_timestamp;
        let time = httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_millis(at));
        let _ = write!(text, "\n• {verdict}\n  accepted {time} ({at} ms)");
        if !said.is_empty() {
            let _ = write!(text, "\n  “{said}”");
        }
    }
    text
}

impl Engine {
    /// Tells the administrators: in their room, or, if none is named, on the list of what was set aside.
    fn tell_admins(&self, batch: &mut Batch, about: &str, text: &str) -> Result<Option<(u64, OutRow)>, StoreError> {
        let Some(room) = self.0.settings.admin_room.clone() else {
            tracing::warn!(about, "abuse is reported; name permissions.admin_room to see reports there");
            self.put_aside(batch, about, None, text, None)?;
            return Ok(None);
        };
        let content = serde_json::json!({ "msgtype": "m.text", "body": text, CONTENT_KEY: {} }).to_string();
        let row = OutRow::Matrix(MatrixAction::Send {
            room,
            actor: MatrixActor::Bot,
            event_type: "m.room.message".to_owned(),
            content,
            ts: None,
            txn_id: format!(
                "a{}",
                hex::encode(Sha256::digest(format!("{about}\n{text}")).get(..20).unwrap_or_default())
            ),
        });
        let number = OUTBOX.append(&self.0.db, batch, &ADMIN_LANE.to_owned(), &row)?;
        tracing::info!(about, "abuse is reported; the administrators' room is told");
        Ok(Some((number, row)))
    }

    /// `POST /reportAbuse/{roomId}`. Durable when it returns; the same report again is told once.
    pub(super) async fn take_report(&self, peer: &ProviderDomain, room: &RoomUri, body: &[u8]) -> Result<(), Problem> {
        let report = AbuseReport::decode(body).map_err(|error| Problem::Malformed(error.to_string()))?;
        if !self.shows_room(room) {
            return Err(Problem::NotFound);
        }
        let key = (peer.to_string(), format!("report {room}"), Sha256::digest(body).into());
        if NOTIFIED.get(&self.0.db, &key).await?.is_some() {
            return Ok(());
        }
        lock(&self.0.reports).take(peer, super::core::now()).map_err(Problem::TooMany)?;
        let mut batch = Batch::new("report of abuse");
        batch.require(NOTIFIED.absent(&key));
        NOTIFIED.put(&self.0.db, &mut batch, &key, &self.0.today.dated(()))?;
        let text = words(&self.0.franking, room, Some(peer), &report);
        let row = self.tell_admins(&mut batch, room.as_str(), &text)?;
        match self.0.db.commit(batch).await {
            Err(error) if error.is_conflict() => return Ok(()),
            result => result?,
        };
        if let Some((number, row)) = row {
            self.hand_to_lane(ADMIN_LANE, number, row);
        }
        Ok(())
    }
}

/// What the administrators should have been told, if the row is of that.
pub(super) fn text_of(lane: &str, row: &OutRow) -> Option<String> {
    let OutRow::Matrix(MatrixAction::Send { content, .. }) = row else { return None };
    let content: serde_json::Value = serde_json::from_str(content).ok().filter(|_| lane == ADMIN_LANE)?;
    content.get("body")?.as_str().map(str::to_owned)
}

/// One of our users reports a message.
pub(super) struct Complaint {
    pub(super) by: UserUri,
    pub(super) openly: bool,
    pub(super) event: String,
    pub(super) note: String,
}

/// What a complaint leads to: what the user is told, and the stored row of the report with its lane.
type Told = (String, Option<(String, u64, OutRow)>);

impl Engine {
    /// Sends a report of one of our users on its way, to the hub of the room, whose Matrix room is `matrix`.
    pub(super) async fn complain(
        &self,
        uri: &str,
        matrix: &str,
        complaint: Complaint,
        batch: &mut Batch,
    ) -> Result<Told, StoreError> {
        let told = |text: &str| Ok((text.to_owned(), None));
        let db = &self.0.db;
        let event = EVENTS.get(db, &(matrix.to_owned(), complaint.event)).await?;
        let Some(id) = event.and_then(|row| row.value).map(|message| message.id.0) else {
            return told(
                "I do not know that message: it did not go between Matrix and MIMI, or it came only just now. Try again in a moment.",
            );
        };
        let shown = SHOWN.get(db, &(uri.to_owned(), id)).await?.and_then(|row| row.value.accepted);
        let franked = match shown {
            Some(accepted) => LOG.get(db, &(uri.to_owned(), accepted, id)).await?.and_then(|row| row.value),
            None => None,
        };
        let parsed = franked.as_ref().and_then(|kept| Frank::decode(&kept.frank).ok()).zip(RoomUri::parse(uri).ok());
        let (Some(Franked { sender, accepted, content, .. }), Some((frank, room))) = (franked, parsed) else {
            return told("There is no proof of that message that could be reported.");
        };
        if sender == complaint.by {
            return told("That is a message of your own.");
        }
        let report = AbuseReport {
            reporting_user: complaint.openly.then_some(complaint.by),
            alleged_abuser: sender.clone(),
            reason: AbuseType::Reserved,
            note: complaint.note,
            messages: vec![AbusiveMessage { message_content: content, frank, accepted_timestamp: accepted }],
            extensions: AppDataDictionary::default(),
        };
        let hub = room.hub();
        let named = if complaint.openly { "with your name" } else { "without your name" };
        if hub == *self.0.names.domain() {
            let text = words(&self.0.franking, &room, None, &report);
            let row = self.tell_admins(batch, uri, &text)?;
            let told = format!("The message of {sender} is reported to those who run this server, {named}.");
            return Ok((told, row.map(|(number, row)| (ADMIN_LANE.to_owned(), number, row))));
        }
        let row = OutRow::Call {
            peer: hub.clone(),
            endpoint: Endpoint::ReportAbuse,
            target: PathTarget::Uri(room.as_uri().clone()),
            body: report.encode(),
            wants: Wants::Room(Tag::None),
        };
        // A lane of its own: what people say does not wait for it.
        let lane = format!("a:{hub}:{uri}");
        let number = OUTBOX.append(db, batch, &lane, &row)?;
        let told = format!("The message of {sender} is reported to {hub}, which hosts this room, {named}.");
        Ok((told, Some((lane, number, row))))
    }

    /// `report LINK` in a chat with the bot alone: nobody in the room sees it.
    pub(super) async fn complain_quietly(&self, by: UserUri, text: &str, openly: bool) -> Result<String, StoreError> {
        let (link, note) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let Some((matrix, event)) = linked_event(link) else { return Ok(REPORT.to_owned()) };
        let unknown = || Ok("I know no such room in which you are.".to_owned());
        let Some(uri) = self.linked(&matrix) else { return unknown() };
        if !super::records::load(&self.0.db, &uri).await?.is_some_and(|room| room.present.contains(&by)) {
            return unknown();
        }
        let mut batch = Batch::new("a user's report of abuse");
        let complaint = Complaint { by, openly, event, note: note.trim().to_owned() };
        let (told, row) = self.complain(&uri, &matrix, complaint, &mut batch).await?;
        self.0.db.commit(batch).await?;
        if let Some((lane, number, row)) = row {
            self.hand_to_lane(&lane, number, row);
        }
        Ok(told)
    }
}

/// Room and event of a link to a message (`https://matrix.to/#/!room:server/$event?via=...`).
fn linked_event(link: &str) -> Option<(String, String)> {
    let path = link.strip_prefix("https://matrix.to/#/")?.split('?').next()?;
    let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    let (room, event) = path.split_once('/')?;
    (room.starts_with('!') && event.starts_with('$')).then(|| (room.to_owned(), event.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_messages() {
        let read = |link| linked_event(link);
        let both = Some(("!r:a.example".to_owned(), "$e".to_owned()));
        assert_eq!(read("https://matrix.to/#/!r:a.example/$e?via=a.example"), both);
        assert_eq!(read("https://matrix.to/#/!r%3Aa.example/%24e"), both);
        for other in ["https://matrix.to/#/#r:a.example/$e", "https://matrix.to/#/!r:a.example", "!r:a.example/$e", ""]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
