//! Whole conversations of generated events, from one Matrix room to MIMI and into another Matrix room, and back.
//!
//! What "the same meaning" is, type by type (an id means the event or message that stands for the same thing on the other side):
//!
//! | Type | Same |
//! |---|---|
//! | text, notice, emote, a kind of its own | `msgtype` and `body`; formatted: the same tree of blocks and marks (`markdown::tests::meaning`) |
//! | with what an app adds | besides: the whole of it |
//! | in extensible form | the text, as `m.text` |
//! | in several languages | the text that clients show, and its language in the gateway's mark (Matrix has no other place, so that it is not in what is sent on); that there were others is told |
//! | with link previews | besides: address, title and description of each, in order |
//! | reply, thread | besides: the event answered, and that whoever said it is rung; the thread's root |
//! | edit | the event whose first version it replaces, and the new text |
//! | reaction | the event, and the key, but for blanks around it |
//! | deletion | the event, and the reason, but for blanks around it (of an edit alone: Matrix goes back to the version before, MIMI deletes the message) |
//! | mention of somebody, of everybody | besides: who is rung (`m.mentions`) |
//! | place | `geo_uri`, and `body` but for blanks around it |
//! | picture, video, sound, file | the bytes; name (without folders), `msgtype`, type, size, width, height, duration, blur; the same of its preview; the caption, as a text |
//! | covered file | besides: that it is covered, and why; it has no preview |
//! | voice message, sticker | besides: that it is one; length and waveform; the sticker's text |
//! | gallery | each file as if it were alone, with its own caption, in order; the gallery's caption is with the first |
//! | custom emoji | the whole text, and in it each picture's bytes and name |
//! | poll, vote, end | the whole content; the poll of votes and ends |
//! | call | that there is one, as text, and where its room is if that is told |
//! | conference | its address and name, as text |
//! | live location | one message: what it is of, until when or that it is over, and the newest place, as text; each further step edits it |
//! | custom event | type, and the whole content (or none) but mentions and what gateways mark; its relation: `rel_type`, `key`, the event |
//! | new version of a poll or custom event | besides: the event whose first version it replaces |
//! | disappearing message | besides: when it goes |
//! | what one event became | what its event says, said in Matrix, is a message that gives the same event again; one without formatting is the same, byte for byte, with its sender, salt and time |
//!
//! `files` has what goes over beside messages, `others` what is neither text nor file; `parts` begins with the messages of other implementations;
//! `hostile` has what strangers write into every field.

mod files;
mod hostile;
mod others;
mod parts;

use std::collections::BTreeMap;

use proptest::prelude::*;
use ruma::OwnedEventId;
use serde_json::{Map, Value, json};

use super::{
    markdown::tests::{generated::like_element, meaning::assert_same, to_markdown, to_plain},
    *,
};
use crate::content::{Expiration, NestedPart, TEXT_HTML, TEXT_MARKDOWN, TEXT_PLAIN};

const POLL: &str = "org.matrix.msc3381.poll";
/// When the first thing is said, in milliseconds since the UNIX epoch.
const BEGIN: u64 = 1_700_000_000_000;
/// Where the Matrix room of A is found.
const CLUB: &str = "https://matrix.to/#/!club:a.example?via=a.example";
/// What an app adds to messages.
const ADDED: &str = "org.example.added";
/// Kinds of steps: below this one they are messages, which others answer.
const MESSAGES: usize = 19;
const CALL: usize = 14;
const CONFERENCE: usize = 15;
const PREVIEWS: usize = 16;
const LANGUAGES: usize = 17;
const LIVE: usize = 18;
const EDIT: usize = 19;
const REACTION: usize = 20;
const DELETION: usize = 21;
const POLL_START: usize = 22;
const VOTE: usize = 23;
const CUSTOM: usize = 24;
const NEW_FILE: usize = 25;
const NEW_POLL: usize = 26;
const NEW_CUSTOM: usize = 27;
const LIVE_ON: usize = 28;
const KINDS: usize = 29;

/// What somebody does: which kind of thing, about which of the earlier ones, with what words.
#[derive(Debug, Clone)]
struct Step {
    kind: usize,
    target: usize,
    words: String,
    seed: u64,
    by_b: bool,
    /// An event with files.
    files: (String, Map<String, Value>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let words = "[ -~äß🐌]{0,8}[a-z0-9]";
    let step = (0..KINDS, 0..100_usize, words, 0..100_000_u64, any::<bool>(), files::with_files())
        .prop_map(|(kind, target, words, seed, by_b, files)| Step { kind, target, words, seed, by_b, files });
    prop::collection::vec(step, 1..12)
}

fn room() -> RoomUri {
    RoomUri::parse("mimi://a.example/r/club").unwrap()
}

fn user(by_b: bool) -> UserUri {
    UserUri::parse(if by_b { "mimi://b.example/u/bob" } else { "mimi://a.example/u/alice" }).unwrap()
}

/// The one person whom generated messages link to is known on both sides, under one address; and so are those who talk.
struct People;

/// Who is who, by their ids.
const PEOPLE: [(&str, &str); 3] = [
    ("@a:b.example", "mimi://b.example/u/a"),
    ("@alice:a.example", "mimi://a.example/u/alice"),
    ("@bob:b.example", "mimi://b.example/u/bob"),
];

impl Mentions for People {
    fn uri(&self, user: &ruma::UserId) -> Option<UserUri> {
        PEOPLE.iter().find(|(id, _)| user == *id).map(|(_, uri)| UserUri::parse(uri).unwrap())
    }
    fn matrix_id(&self, user: &UserUri) -> Option<ruma::OwnedUserId> {
        PEOPLE.iter().find(|(_, uri)| user.as_str() == *uri).map(|(id, _)| (*id).try_into().unwrap())
    }
    fn is_here(&self, _: &UserUri) -> bool {
        true
    }
    fn may_ring_all(&self, _: &UserUri) -> bool {
        true
    }
}

/// Something that was said, as each side has it.
#[derive(Debug, Clone)]
struct Said {
    /// The event of either room: A's, B's.
    events: [OwnedEventId; 2],
    earlier: Earlier,
    kind: usize,
    by_b: bool,
    /// What is said of a live location by now.
    live: Option<Live>,
}

#[derive(Debug, Default)]
struct Conversation {
    said: Vec<Said>,
    count: usize,
}

impl Conversation {
    fn past(&self, side: usize) -> Vec<(OwnedEventId, Earlier)> {
        self.said.iter().map(|said| (said.events[side].clone(), said.earlier.clone())).collect()
    }

    fn find(&self, id: MessageId, side: usize) -> Option<Found> {
        let said = self.said.iter().find(|said| said.earlier.id == id)?;
        Some(Found { event: said.events[side].clone(), earlier: Some(said.earlier.clone()) })
    }

    fn resolve(&self, refers: &Refers, side: usize) -> Resolved {
        let root = self.said.iter().find(|said| {
            !refers.topic.is_empty() && (said.earlier.topic == refers.topic || said.earlier.first.0[..] == refers.topic)
        });
        let reply = refers.reply.and_then(|id| self.find(id, side));
        let answered = reply.as_ref().and_then(|found| found.earlier.as_ref()).map(|earlier| &earlier.sender);
        // Those of this side are rung by an answer.
        let rings = answered.filter(|user| **user == self::user(side == 1)).and_then(|user| People.matrix_id(user));
        Resolved {
            reply,
            rings,
            replaced: refers.replaces.and_then(|id| self.find(id, side)),
            root: root.map(|said| said.events[side].clone()),
        }
    }

    /// An earlier thing of one of these kinds, and whose it is, as the step asks for.
    fn target(&self, step: &Step, fits: impl Fn(&Said) -> bool) -> Option<&Said> {
        let fitting: Vec<&Said> = self.said.iter().filter(|said| fits(said)).collect();
        fitting.get(step.target % fitting.len().max(1)).copied()
    }

    /// The live location that a step goes on with: one of its sender's.
    fn live(&self, step: &Step) -> Option<&Said> {
        self.target(step, |said| said.live.is_some() && said.by_b == step.by_b)
    }

    /// The event as a client of that side sends it. Without anything to refer to it is a text.
    #[expect(clippy::too_many_lines, reason = "one arm for each kind")]
    fn event(&self, step: &Step) -> (String, Value) {
        let side = usize::from(step.by_b);
        let words = step.words.as_str();
        let text = |more: Value| {
            let mut content = json!({"msgtype": "m.text", "body": words});
            content.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
            ("m.room.message".to_owned(), content)
        };
        let formatted = || {
            let html = like_element(step.seed);
            // Of a pill clients write the name alone.
            let body = to_plain(&html).replace(" (https://matrix.to/#/@a:b.example)", "");
            if body.trim().is_empty() {
                return json!({});
            }
            json!({"body": body, "format": "org.matrix.custom.html", "formatted_body": html})
        };
        let message = |said: &Said| said.kind < MESSAGES;
        let with_files = || {
            let (event_type, content) = step.files.clone();
            (event_type, Value::Object(content))
        };
        let id = |said: &Said| said.events[side].clone();
        let about = |said: &Said| json!({"rel_type": "m.reference", "event_id": id(said)});
        match step.kind {
            1 => text(formatted()),
            2 => text(json!({"msgtype": "m.notice"})),
            3 if step.seed.is_multiple_of(2) => {
                text(json!({"msgtype": "org.example.confetti", ADDED: {words: [step.seed, null]}}))
            }
            3 => text(json!({"msgtype": "m.emote", ADDED: [words]})),
            4 => (
                "m.message".to_owned(),
                json!({"org.matrix.msc1767.text": [{"body": words}], "m.text": [{"body": words}]}),
            ),
            5 => text(match step.seed % 3 {
                0 => json!({"com.beeper.disappearing_timer": {"type": "after_read", "timer": 1000 * (1 + step.seed)}}),
                1 => json!({"com.beeper.disappearing_timer": {"type": "after_send", "timer": 1000 * (1 + step.seed)}}),
                _ => json!({"org.matrix.self_destruct_after": BEGIN + 1000 * step.seed}),
            }),
            6 => text(json!({"msgtype": "m.location", "geo_uri": format!("geo:{},-0.5", step.seed % 90)})),
            7 => match self.target(step, message) {
                // Clients call whom they answer, without saying so in the text.
                Some(said) => text(json!({"m.relates_to": {"m.in_reply_to": {"event_id": id(said)}},
                    "m.mentions": whom_it_answers(said, step)})),
                None => text(json!({})),
            },
            8 => match self.target(step, |said| message(said) && said.earlier.topic.is_empty()) {
                Some(said) => text(json!({"m.relates_to": {"rel_type": "m.thread", "event_id": id(said),
                    "is_falling_back": true, "m.in_reply_to": {"event_id": id(said)}}})),
                None => text(json!({})),
            },
            9 => text(json!({"body": format!("{words} @room"), "m.mentions": {"room": true}})),
            10 => text(json!({"body": "A: hi", "format": "org.matrix.custom.html",
                "formatted_body": "<a href=\"https://matrix.to/#/@a:b.example\">A</a>: hi",
                "m.mentions": {"user_ids": ["@a:b.example"]}})),
            // Files: on their own, as an answer, in a thread.
            11 => with_files(),
            12 => {
                let (event_type, mut content) = with_files();
                if let Some(said) = self.target(step, message) {
                    content["m.relates_to"] = json!({"m.in_reply_to": {"event_id": id(said)}});
                    content["m.mentions"] = whom_it_answers(said, step);
                    content["com.beeper.disappearing_timer"] =
                        json!({"type": "after_read", "timer": 1000 * (1 + step.seed)});
                }
                (event_type, content)
            }
            13 => {
                let (event_type, mut content) = with_files();
                if let Some(said) = self.target(step, |said| message(said) && said.earlier.topic.is_empty()) {
                    content["m.relates_to"] = json!({"rel_type": "m.thread", "event_id": id(said),
                        "is_falling_back": true, "m.in_reply_to": {"event_id": id(said)}});
                }
                (event_type, content)
            }
            CALL => {
                ("m.call.invite".to_owned(), json!({"call_id": words, "version": "1", "lifetime": 60000, "offer": {}}))
            }
            CONFERENCE => others::conference(step),
            PREVIEWS => text(others::previews(step)),
            LANGUAGES => others::languages(step),
            LIVE => others::live_begins(step),
            LIVE_ON => match self.live(step) {
                Some(said) => others::live_goes_on(&id(said), step),
                None => text(json!({})),
            },
            EDIT => match self.target(step, |said| said.kind < 4 && said.by_b == step.by_b) {
                Some(said) => {
                    text(json!({"body": format!("* {words}"), "m.new_content": {"msgtype": "m.text", "body": words},
                    "m.relates_to": {"rel_type": "m.replace", "event_id": id(said)}}))
                }
                None => text(json!({})),
            },
            REACTION => match self.target(step, message) {
                Some(said) => (
                    "m.reaction".to_owned(),
                    json!({"m.relates_to":
                    {"rel_type": "m.annotation", "event_id": id(said), "key": format!("{}👍", words.trim())}}),
                ),
                None => text(json!({})),
            },
            DELETION => match self.target(step, |said| {
                said.by_b == step.by_b && !matches!(said.kind, EDIT | DELETION | NEW_POLL | NEW_CUSTOM | LIVE_ON)
            }) {
                Some(said) => ("m.room.redaction".to_owned(), json!({"redacts": id(said), "reason": words.trim()})),
                None => text(json!({})),
            },
            POLL_START => poll(words, step.seed),
            NEW_POLL | NEW_CUSTOM => {
                let kind = if step.kind == NEW_POLL { POLL_START } else { CUSTOM };
                let (event_type, mut new) = self.event(&Step { kind, ..step.clone() });
                // What it refers to is that of the first version.
                new.as_object_mut().unwrap().remove("m.relates_to");
                let is_one = |said: &Said| said.earlier.kind.as_ref().is_some_and(|kind| kind.event_type == event_type);
                let Some(said) = self.target(step, |said| said.kind == kind && said.by_b == step.by_b && is_one(said))
                else {
                    return text(json!({}));
                };
                let relation = json!({"rel_type": "m.replace", "event_id": id(said)});
                (event_type, json!({"m.new_content": new, "m.relates_to": relation}))
            }
            VOTE => match self.target(step, |said| said.kind == POLL_START) {
                Some(said) if step.seed.is_multiple_of(2) => (
                    format!("{POLL}.response"),
                    json!({format!("{POLL}.response"): {"answers": votes(said, step.seed)}, "m.relates_to": about(said)}),
                ),
                Some(said) => (
                    format!("{POLL}.end"),
                    json!({format!("{POLL}.end"): {}, "org.matrix.msc1767.text": words, "m.relates_to": about(said)}),
                ),
                None => text(json!({})),
            },
            CUSTOM => {
                let mut content = if step.seed.is_multiple_of(7) {
                    json!({})
                } else {
                    json!({"body": words, "org.example.dice": {"sides": step.seed, "x": [null, true]}})
                };
                if let Some(said) = self.target(step, message)
                    && let Some(relation) = related(&id(said), step.seed, words)
                {
                    content["m.relates_to"] = relation;
                }
                ("org.example.dice".to_owned(), content)
            }
            // A new caption, or another file.
            NEW_FILE => match self.target(step, |said| matches!(said.kind, 11..=13) && said.by_b == step.by_b) {
                Some(said) if step.files.0 == "m.room.message" => {
                    let (event_type, new) = with_files();
                    let mut content = new.clone();
                    content["m.new_content"] = new;
                    content["m.relates_to"] = json!({"rel_type": "m.replace", "event_id": id(said)});
                    (event_type, content)
                }
                _ => text(json!({})),
            },
            _ => text(json!({})),
        }
    }

    /// Says it on one side; what the other side then has.
    fn say(&mut self, step: &Step) -> Result<(), TestCaseError> {
        self.count += 1;
        let side = usize::from(step.by_b);
        let (sender, room, past) = (user(step.by_b), room(), self.past(side));
        let ctx = ToMimi {
            sender: &sender,
            room: &room,
            salt: [u8::try_from(self.count).unwrap(); 16],
            sent_ts: BEGIN + self.count as u64,
            past: &past,
            mentions: &People,
            // Nobody outside finds a portal.
            room_link: (side == 0).then_some(CLUB),
        };
        let (event_type, content) = self.event(step);
        let (live, began) = others::told_of(&event_type, &content, self.live(step), ctx.sent_ts);
        let translated = match &live {
            Some(live) => live.to_mimi(began, &ctx),
            None => translate(&event_type, &content, &ctx),
        };
        let translated = translated.unwrap_or_else(|why| panic!("{event_type} {content}: {why}"));
        let known = |loss: &Loss| {
            matches!(
                loss,
                Loss::Private(_)
                    | Loss::Added
                    | Loss::Spoiler
                    | Loss::Emote
                    | Loss::Voice
                    | Loss::Sticker
                    | Loss::Call
                    | Loss::Live
                    | Loss::Cover
                    | Loss::Languages
            )
        };
        prop_assert!(translated.losses.iter().all(known), "{content} loses {:?}", translated.losses);
        let languages = translated.losses.contains(&Loss::Languages);
        prop_assert_eq!(languages, step.kind == LANGUAGES && others::are_several(&content));

        let (bytes, id) = translated.content.encode_with_id(&sender, &room).unwrap();
        let message = MimiContent::decode(&bytes).unwrap();
        let there = ToMatrix { message_id: id, sender: &sender, room: &room, from_gateway: true, mentions: &People };
        let known = |loss: &Loss| matches!(loss, Loss::Expiration | Loss::Together);
        let mut acts = Vec::new();
        for shown in files::to_events(&message, step.target.is_multiple_of(2), &there) {
            prop_assert!(shown.losses.iter().all(known), "{content} is shown without {:?}", shown.losses);
            let resolved = self.resolve(&shown.refers, 1 - side);
            acts.extend(relate(&shown.event_type, shown.content, &shown.refers, &resolved, &sender, false));
        }
        match &live {
            Some(live) => self.same_live(step, live, began, &acts)?,
            None => self.same(&event_type, &content, &acts, side)?,
        }

        // And the same message again, if that event were said where it is shown now.
        let past = self.past(1 - side);
        if let [act] = acts.as_slice()
            && !matches!(step.kind, CALL | CONFERENCE)
            && live.is_none()
        {
            let (again_type, again) = unmarked(act);
            let again = translate(&again_type, &again, &ToMimi { past: &past, ..ctx });
            let mut again = again.unwrap_or_else(|why| panic!("{act:?}: {why}"));
            if step.kind == LANGUAGES {
                again.content.body.language.clone_from(&message.body.language);
            }
            let counts = content.get("m.new_content").unwrap_or(&content);
            if counts.get("formatted_body").is_none() && counts.get("itemtypes").is_none() {
                prop_assert_eq!(&again.content.encode().unwrap(), &bytes, "{} became {:?}", content, act);
            } else {
                let shown = files::to_events(&again.content, step.target.is_multiple_of(2), &there).remove(0);
                let resolved = self.resolve(&shown.refers, 1 - side);
                let again = relate(&shown.event_type, shown.content, &shown.refers, &resolved, &sender, false);
                prop_assert_eq!(&again, &acts);
            }
        }

        let event = |side: &str| OwnedEventId::try_from(format!("${side}{}", self.count)).unwrap();
        // Both sides know the same.
        let kind = Kind::of(&event_type, &content);
        if let [act] = acts.as_slice() {
            prop_assert_eq!(&Kind::of(&act.event_type, &act.content), &kind);
        }
        let earlier = Earlier::of(&message, id, &sender).with_kind(kind);
        let first = self.said.iter_mut().find(|said| said.earlier.id == earlier.first);
        if let Some(first) = first
            && let Some(kind) = Kind::with_version(&first.earlier, &earlier)
        {
            first.earlier.kind = Some(kind);
        }
        let kind = match event_type.as_str() {
            _ if content.get("m.new_content").is_some() => EDIT,
            "m.room.message" if step.kind >= MESSAGES => 0,
            _ => step.kind,
        };
        let mut live = live;
        if let Some(began) = began
            && let Some(said) = self.said.iter_mut().find(|said| said.earlier.id == began)
        {
            said.live = live.take().filter(|live| !live.over);
        }
        self.said.push(Said { events: [event("a"), event("b")], earlier, kind, by_b: step.by_b, live });
        Ok(())
    }

    /// The id of the same event on the other side.
    fn other(&self, id: &Value, side: usize) -> Value {
        let said = self.said.iter().find(|said| said.events[side].as_str() == id.as_str().unwrap_or_default());
        said.map_or(Value::Null, |said| said.events[1 - side].as_str().into())
    }

    /// Whether one event says of a live location what there is to say of it.
    fn same_live(&self, step: &Step, live: &Live, first: Option<MessageId>, acts: &[Act]) -> Result<(), TestCaseError> {
        let [Act { event_type, content, .. }] = acts else { panic!("{acts:?}") };
        prop_assert_eq!(event_type, "m.room.message");
        let side = usize::from(step.by_b);
        let of = first.and_then(|first| self.said.iter().find(|said| said.earlier.id == first));
        let relation = of.map(|of| json!({"rel_type": "m.replace", "event_id": of.events[1 - side]}));
        prop_assert_eq!(content.get("m.relates_to"), relation.as_ref());
        let new = content.get("m.new_content").filter(|_| of.is_some()).unwrap_or(content);
        others::says(live, new)
    }

    /// Whether these events say what this one said.
    fn same(&self, kind: &str, from: &Value, acts: &[Act], side: usize) -> Result<(), TestCaseError> {
        let Act { event_type: to_kind, content: to, .. } = &acts[0];
        let relation = |content: &Value| content.get("m.relates_to").cloned().unwrap_or(Value::Null);
        let (had, has) = (relation(from), relation(to));
        // All files are in the thread.
        for act in acts.iter().filter(|_| had["rel_type"] == "m.thread") {
            prop_assert_eq!(&relation(&act.content)["event_id"], &self.other(&had["event_id"], side));
        }
        prop_assert_eq!(&has["rel_type"], &had["rel_type"]);
        prop_assert_eq!(&has["event_id"], &self.other(&had["event_id"], side));
        prop_assert_eq!(&has["key"], &had["key"]);
        if had["is_falling_back"] != json!(true) {
            let answered = |relation: &Value| relation["m.in_reply_to"]["event_id"].clone();
            prop_assert_eq!(answered(&has), self.other(&answered(&had), side));
        }
        let sent = BEGIN + self.count as u64;
        prop_assert!(acts.iter().all(|act| kind == "m.room.redaction" || goes(&act.content, sent) == goes(from, sent)));
        if media::with_files(kind, from).is_some() {
            // MIMI has no word for naming somebody without calling them.
            let names = from.to_string().contains("matrix.to/#/@");
            if let Some(rung) = from.get("m.mentions").filter(|_| !names) {
                prop_assert_eq!(&to["m.mentions"], rung);
            }
            let new = |content: &'_ Value| content.get("m.new_content").unwrap_or(content).clone();
            let shown: Vec<Value> = acts.iter().map(|act| new(&act.content)).collect();
            let kinds = acts.iter().map(|act| act.event_type.as_str());
            return files::same(&new(from), &kinds.zip(&shown).collect::<Vec<_>>());
        }
        prop_assert_eq!(acts.len(), 1);
        let as_text = matches!(kind, "m.message" | "m.call.invite" | others::WIDGET);
        let wanted_kind = if as_text { "m.room.message" } else { kind };
        prop_assert_eq!(to_kind, wanted_kind);
        match kind {
            "m.message" => {
                prop_assert_eq!(&to["body"], &from["m.text"][0]["body"]);
                prop_assert_eq!(&to["msgtype"], "m.text");
                others::same_language(from, to)?;
            }
            "m.call.invite" if side == 0 => prop_assert_eq!(&to["body"], &json!(format!("A call in Matrix\n{CLUB}"))),
            "m.call.invite" => prop_assert_eq!(&to["body"], "[started a call, which can be joined in Matrix only]"),
            others::WIDGET => others::same_conference(from, to)?,
            "m.room.message" => {
                let (from, to) = (from.get("m.new_content").unwrap_or(from), to.get("m.new_content").unwrap_or(to));
                prop_assert_eq!((&to["msgtype"], &to[ADDED]), (&from["msgtype"], &from[ADDED]));
                match (from["formatted_body"].as_str(), to["formatted_body"].as_str()) {
                    (Some(from), Some(to)) => assert_same(to, from, &format!("{from}\n-----\n{to}")),
                    // Formatting that says nothing may go.
                    (Some(from), None) => assert_same(to["body"].as_str().unwrap(), from, from),
                    (None, shown) => {
                        prop_assert_eq!(shown, None);
                        let text = |content: &Value| content["body"].as_str().map(str::to_owned);
                        let name = |content: &Value| text(content).map(|text| text.trim().to_owned());
                        if from.get("geo_uri").is_some() {
                            prop_assert_eq!(name(to), name(from));
                        } else {
                            prop_assert_eq!(text(to), text(from));
                        }
                    }
                }
                prop_assert_eq!(&to["geo_uri"], &from["geo_uri"]);
                others::same_language(from, to)?;
                others::same_previews(from, to)?;
                if let Some(rung) = from.get("m.mentions") {
                    prop_assert_eq!(&to["m.mentions"], rung);
                }
            }
            // All that it says is the relation.
            "m.reaction" => {}
            "m.room.redaction" => {
                prop_assert_eq!(&to["redacts"], &self.other(&from["redacts"], side));
                prop_assert_eq!(to["reason"].as_str().map(str::trim), from["reason"].as_str().map(str::trim));
            }
            _ => prop_assert_eq!(whole(to), whole(from)),
        }
        Ok(())
    }
}

/// Whom an answer mentions: nobody calls themselves.
fn whom_it_answers(said: &Said, step: &Step) -> Value {
    let user = People.matrix_id(&said.earlier.sender);
    if said.by_b == step.by_b { json!({}) } else { json!({"user_ids": [user]}) }
}

/// What a custom event may be to another one.
fn related(event: &ruma::EventId, seed: u64, words: &str) -> Option<Value> {
    Some(match seed % 6 {
        0 => json!({"rel_type": "m.reference", "event_id": event}),
        1 => json!({"rel_type": "org.example.rel", "event_id": event}),
        2 => json!({"rel_type": "m.annotation", "event_id": event, "key": words}),
        3 => json!({"m.in_reply_to": {"event_id": event}}),
        _ => return None,
    })
}

/// Some of the answers of a poll, by their ids.
fn votes(poll: &Said, seed: u64) -> Vec<String> {
    let answers = poll.earlier.kind.as_ref().map(|kind| kind.answers.as_slice()).unwrap_or_default();
    let picked = |index: &usize| (seed >> (index % 16)) & 2 == 2;
    (0..answers.len()).filter(picked).map(|index| answers[index].0.clone()).collect()
}

/// A poll, as Element sends it or in its stable form.
fn poll(words: &str, seed: u64) -> (String, Value) {
    let answer = |n: u64| {
        let text = format!("{words} {n}");
        if seed.is_multiple_of(3) {
            json!({"m.id": format!("{n}"), "m.text": [{"body": text}]})
        } else {
            json!({"id": format!("{n}"), "org.matrix.msc1767.text": text})
        }
    };
    let answers: Vec<Value> = (0..=seed % 20).map(answer).collect();
    if seed.is_multiple_of(3) {
        let poll = json!({"kind": "m.undisclosed", "max_selections": answers.len(),
            "question": {"m.text": [{"body": words}]}, "answers": answers});
        return ("m.poll.start".to_owned(), json!({"m.poll": poll, "m.text": [{"body": words}]}));
    }
    let poll = json!({"kind": "org.matrix.msc3381.poll.disclosed", "max_selections": 1,
        "question": {"org.matrix.msc1767.text": words}, "answers": answers});
    (format!("{POLL}.start"), json!({format!("{POLL}.start"): poll, "org.matrix.msc1767.text": words}))
}

/// Without what a receiver derives on its own.
fn whole(content: &Value) -> Map<String, Value> {
    let mut content = content.as_object().unwrap().clone();
    content.retain(|key, _| !matches!(key.as_str(), CONTENT_KEY | "m.relates_to" | "m.mentions"));
    content
}

/// An event as somebody there would send it: without our marks.
fn unmarked(act: &Act) -> (String, Value) {
    let mut content = act.content.clone();
    content.as_object_mut().unwrap().remove(CONTENT_KEY);
    (act.event_type.clone(), content)
}

/// When an event goes that was sent at this time: at a time, in seconds, or so long after reading.
fn goes(content: &Value, sent: u64) -> Option<(u64, Value)> {
    let timer = &content["com.beeper.disappearing_timer"];
    let in_time = (timer["type"] == "after_send").then(|| sent + timer["timer"].as_u64().unwrap());
    let at = content["org.matrix.self_destruct_after"].as_u64().or(in_time);
    let after = (timer["type"] == "after_read").then(|| timer["timer"].clone());
    (at.is_some() || after.is_some()).then(|| (at.unwrap_or(0).div_ceil(1000), after.unwrap_or(Value::Null)))
}

fn translate(event_type: &str, content: &Value, ctx: &ToMimi<'_>) -> Result<Translated, NotCarried> {
    if media::with_files(event_type, content).is_some() {
        return files::to_message(event_type, content, ctx);
    }
    if event_type != "m.room.redaction" {
        return to_mimi(event_type, content, ctx);
    }
    let target = OwnedEventId::try_from(content["redacts"].as_str().unwrap()).unwrap();
    deletion(&ctx.past.of(&target).unwrap(), content["reason"].as_str(), ctx)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_conversation_keeps_its_meaning(steps in steps()) {
        let mut conversation = Conversation::default();
        for step in &steps {
            conversation.say(step)?;
        }
    }

    /// What other implementations send: the event that shows it is, said in Matrix, a message that shows the same.
    #[test]
    fn a_message_of_others_keeps_its_meaning(
        seed in 0..100_000_u64, form in 0..4_usize, expires in prop::option::of(1..100_000_u32), subject in prop::option::of("[a-z ]{1,9}"),
    ) {
        let html = like_element(seed);
        let body = match form {
            0 => NestedPart::text(TEXT_PLAIN, &html),
            1 => NestedPart::text(TEXT_HTML, &html),
            _ => NestedPart::text(TEXT_MARKDOWN, &to_markdown(&html).0),
        };
        let (sender, room) = (user(true), room());
        let mut message = MimiContent::new([7; 16], &sender, &room, body);
        message.expires = expires.map(Expiration::AfterReading);
        if let Some(subject) = &subject {
            message.set_subject(subject);
        }
        let show = |message: &MimiContent| {
            let (bytes, id) = message.encode_with_id(&sender, &room).unwrap();
            let ctx = ToMatrix { message_id: id, sender: &sender, room: &room, from_gateway: false, mentions: &People };
            to_matrix(&MimiContent::decode(&bytes).unwrap(), &ctx)
        };
        let shown = show(&message);
        let act = relate(&shown.event_type, shown.content, &shown.refers, &Resolved::default(), &sender, false).remove(0);
        let (event_type, content) = unmarked(&act);
        let past: Vec<(OwnedEventId, Earlier)> = Vec::new();
        let ctx = ToMimi { sender: &sender, room: &room, salt: [8; 16], sent_ts: 1, past: &past, mentions: &People, room_link: None };
        let again = show(&to_mimi(&event_type, &content, &ctx).unwrap().content);
        let bare = |content: &Value| {
            let content = whole(content);
            content.into_iter().filter(|(key, _)| key != "formatted_body" && key != "body").collect::<BTreeMap<_, _>>()
        };
        prop_assert_eq!(bare(&again.content), bare(&content));
        match (content["formatted_body"].as_str(), again.content["formatted_body"].as_str()) {
            (Some(first), Some(second)) => assert_same(second, first, first),
            (first, second) => {
                prop_assert_eq!(first, second);
                prop_assert_eq!(&again.content["body"], &content["body"]);
            }
        }
    }
}
