//! What crosses between Matrix and MIMI, and how well: one table, from which docs/features.md is made and what clients are told of
//! a room (`com.beeper.room_features`, the form that clients of bridged rooms read). Tests hold each row against the code.

use serde_json::{Map, Value, json};

use super::{Loss, MAX_EVENT_CONTENT};

/// How well something crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Not at all; a sender is told where it is a message.
    No,
    /// Its text, or a note about it.
    Text,
    /// With a loss.
    Partly,
    /// With all that it means.
    Full,
}

impl Level {
    /// The word in docs/features.md.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Text => "as text",
            Self::Partly => "in part",
            Self::Full => "full",
        }
    }

    /// The number in `com.beeper.room_features`: 2 all, 1 in part, -1 left out.
    fn number(self) -> i8 {
        match self {
            Self::Full => 2,
            Self::Partly | Self::Text => 1,
            Self::No => -1,
        }
    }
}

/// One kind of thing that people send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// What people call it.
    pub name: &'static str,
    /// What it is in Matrix.
    pub matrix: &'static str,
    /// What it is in MIMI.
    pub mimi: &'static str,
    /// From Matrix to MIMI, read by an implementation that knows the drafts alone.
    pub out: Level,
    /// From MIMI to Matrix.
    pub back: Level,
    /// What is lost, or how it is done.
    pub note: &'static str,
    /// Its key in `com.beeper.room_features`, if that has one.
    key: Option<&'static str>,
}

const fn row(
    name: &'static str,
    matrix: &'static str,
    mimi: &'static str,
    levels: (Level, Level),
    note: &'static str,
    key: Option<&'static str>,
) -> Feature {
    Feature { name, matrix, mimi, out: levels.0, back: levels.1, note, key }
}

const FULL: (Level, Level) = (Level::Full, Level::Full);
const NO: (Level, Level) = (Level::No, Level::No);
const fn levels(out: Level, back: Level) -> (Level, Level) {
    (out, back)
}

/// All of it, in the order of docs/features.md.
pub const FEATURES: &[Feature] = &[
    row("text", "`m.text`", "`text/plain`", FULL, "", None),
    row(
        "long text",
        "up to 64 KiB",
        "up to 64 KiB",
        levels(Level::Partly, Level::Partly),
        "formatting first, then the end is left out; too long even so, the sender is told",
        None,
    ),
    row(
        "messages in several languages",
        "`lang` of texts (MSC3554)",
        "`language` of alternatives",
        levels(Level::Partly, Level::Partly),
        "the first that can be shown, with its language",
        None,
    ),
    row("bold, italics, struck text, code", "HTML", "GFM-MIMI, HTML beside it", FULL, "", Some("formatting")),
    row(
        "headings, lists, quotes, tables, task lists, lines",
        "HTML",
        "GFM-MIMI, HTML beside it",
        FULL,
        "",
        Some("formatting"),
    ),
    row("code blocks with their language", "`language-…`", "GFM-MIMI", FULL, "", Some("formatting")),
    row(
        "links",
        "`<a>`",
        "GFM-MIMI",
        FULL,
        "of schemes that Matrix allows; others keep their text",
        Some("formatting"),
    ),
    row(
        "spoilers",
        "`data-mx-spoiler`",
        "`||text||`",
        levels(Level::Partly, Level::Full),
        "the drafts have no form for them: others see the bars",
        Some("formatting"),
    ),
    row(
        "link previews",
        "MSC4095",
        "parts of disposition `preview`",
        levels(Level::Partly, Level::Full),
        "those that their sender's client made, where the room's policy allows it: title and text, five at most, not their pictures; never \
         fetched",
        None,
    ),
    row("mathematics", "`data-mx-maths`", "`` $`x`$ ``", FULL, "as TeX", Some("formatting")),
    row(
        "underlining, colours, raised and lowered text",
        "HTML",
        "HTML beside GFM-MIMI",
        levels(Level::Partly, Level::Partly),
        "who reads Markdown sees the text",
        Some("formatting"),
    ),
    row(
        "folded parts",
        "`<details>`",
        "HTML beside GFM-MIMI",
        levels(Level::Partly, Level::Full),
        "who reads Markdown sees them unfolded",
        Some("formatting"),
    ),
    row(
        "custom emoji in texts",
        "`<img data-mx-emoticon>`",
        "inline parts that the HTML refers to, names beside it",
        FULL,
        "where the pictures cannot be had in five seconds, and beyond twenty, their names",
        Some("formatting"),
    ),
    row(
        "mentions of people",
        "pills, `m.mentions`",
        "links to `mimi:` URIs",
        FULL,
        "they ring who is in the room",
        Some("formatting"),
    ),
    row(
        "mentions of everybody",
        "`@room`",
        "links to the room's URI",
        FULL,
        "they ring if their sender has the level for it in the Matrix room; else they are text",
        Some("formatting"),
    ),
    row(
        "emotes",
        "`m.emote`",
        "text, `im.matrix.msgtype`",
        levels(Level::Partly, Level::Full),
        "others see `/me`",
        None,
    ),
    row("notices", "`m.notice`", "text, `im.matrix.msgtype`", FULL, "", None),
    row("messages in extensible form", "`m.message`, MSC1767", "text", FULL, "shown as `m.text`", None),
    row(
        "replies",
        "`m.in_reply_to`",
        "`inReplyTo`",
        FULL,
        "whoever is answered is rung; to what is not there: with the sender's own quotation, or a line that says so",
        Some("reply"),
    ),
    row("threads", "`m.thread`", "`topicId`", FULL, "", Some("thread")),
    row("edits", "`m.replace`", "`replaces`", FULL, "by the sender; of others' messages: as a message", Some("edit")),
    row(
        "reactions",
        "`m.reaction`",
        "disposition `reaction`",
        FULL,
        "custom emoji by their names; to what others never had (words of the gateway, what was said before the room was mirrored): not at all",
        Some("reaction"),
    ),
    row(
        "deletions",
        "redaction",
        "`replaces`, no body",
        FULL,
        "by the sender, or who may in the MIMI room; of what others never had nothing is said, there is nothing to remove",
        Some("delete"),
    ),
    row(
        "places",
        "`m.location`",
        "`geo:` link",
        levels(Level::Partly, Level::Full),
        "without whose place it is, and when",
        Some("location_message"),
    ),
    row(
        "live locations",
        "MSC3489",
        "a message that is edited",
        levels(Level::Partly, Level::Text),
        "the first place, one every half minute at most, the last; with `geo:` links",
        None,
    ),
    row(
        "polls, votes, ends of polls",
        "MSC3381",
        "private part, text beside it",
        levels(Level::Text, Level::Full),
        "whole between gateways (`peers.*.gateway`), edits too",
        Some("poll"),
    ),
    row(
        "custom events",
        "any type, or `msgtype`, of its own",
        "private part, text beside it",
        levels(Level::Text, Level::Full),
        "whole between gateways (`peers.*.gateway`), edits and what they refer to, too; with numbers that are no integers, as text; \
         of a message its text, its `msgtype` and what apps add",
        None,
    ),
    row(
        "calls",
        "`m.call.invite`, MSC4075",
        "disposition `session`",
        levels(Level::Partly, Level::Text),
        "a link to the Matrix room if that is hosted here (`rooms.call_links`), else told; those of others are their link",
        None,
    ),
    row(
        "conferences",
        "Jitsi widgets",
        "disposition `session`",
        levels(Level::Full, Level::Text),
        "a link to the conference, with its name; that it was ended is not told",
        None,
    ),
    row(
        "disappearing messages",
        "MSC2228, Beeper's timer",
        "`expires`",
        levels(Level::Full, Level::Partly),
        "removed when due, if the bot may; what runs from reading, once all of ours have read it; after the time that the room's \
         policy wants",
        None,
    ),
    row("subjects", "a line above the text", "`subject`", levels(Level::No, Level::Text), "", None),
    row(
        "pictures, videos, sounds, files",
        "`m.image`, `m.video`, `m.audio`, `m.file`",
        "external parts, `av_metadata`",
        FULL,
        "with captions, previews and sizes; within the limits of the homeserver, the room and the gateway: else the sender is told. Files within a message are files, too. Of alternatives (`chooseOne`) the first with a file, and their text",
        None,
    ),
    row(
        "voice messages, stickers",
        "MSC3245, `m.sticker`",
        "external parts",
        levels(Level::Partly, Level::Full),
        "whole between gateways; others have a sound, a picture",
        None,
    ),
    row(
        "spoilers on pictures",
        "MSC4193",
        "attachment whose description says so",
        levels(Level::Partly, Level::Full),
        "whole between gateways, but for the preview; others do not show it by itself",
        None,
    ),
    row(
        "what apps note of files",
        "other keys of `info`",
        "",
        levels(Level::Partly, Level::No),
        "beyond name, type, size, length, blur and preview",
        None,
    ),
    row(
        "what apps add to messages",
        "fields that Matrix does not have",
        "private part among the alternatives of the text",
        levels(Level::Partly, Level::Full),
        "beside texts whole between gateways (`peers.*.gateway`), beside files not; hints of clients to clients (`org.matrix.…`, `io.element.…`, `com.beeper.…` and the like) are left out without a word",
        None,
    ),
    row(
        "names that messages bring along",
        "MSC4144",
        "",
        levels(Level::Partly, Level::No),
        "the message is shown under its sender's name",
        None,
    ),
    row(
        "galleries",
        "MSC4274",
        "external parts",
        levels(Level::Full, Level::Partly),
        "shown one by one, each with its own caption",
        None,
    ),
    row(
        "read receipts",
        "`m.receipt`, `m.read`",
        "message status report",
        FULL,
        "from Matrix by `rooms.read_receipts` and the room's policy; never private ones",
        Some("read_receipts"),
    ),
    row(
        "forwarded messages of MIMI users",
        "a copy of the event, with the gateway's mark",
        "",
        NO,
        "two gateways would send each other the same for ever; who writes or sends it anew is heard",
        None,
    ),
    row(
        "signals of calls, key verification",
        "`m.call.hangup`, `m.call.reject`, MSC4310, `m.key.verification.…`",
        "",
        NO,
        "what clients say to each other; nobody outside can join the call, or has to hear who declined it",
        None,
    ),
    row(
        "other events of Matrix",
        "`m.…` types that this table does not have",
        "their text, if they have one (MSC1767)",
        levels(Level::Text, Level::No),
        "of those without a text the sender's client hears each time, people once",
        None,
    ),
    row(
        "pinned messages, other widgets, other state",
        "state events",
        "",
        NO,
        "they change the Matrix room alone",
        None,
    ),
    row(
        "names and pictures of people",
        "`displayname`, `avatar_url` of the member in this room",
        "disposition `profile`, `text/vcard`",
        levels(Level::Partly, Level::Full),
        "of who speaks, before they do, once for each name, pictures after it, 36 KiB at most; the drafts do not say what a profile holds, so others may see the address. \
         Ghosts are called `Name (provider)`",
        None,
    ),
    row("typing, presence", "ephemeral events", "", NO, "", None),
    row("encrypted messages", "`m.room.encrypted`", "", NO, "encrypted rooms are refused", None),
];

/// The formatting that the key `formatting` lists, by the feature that it belongs to.
const FORMATTING: &[(&str, &str)] = &[
    ("bold", "bold, italics, struck text, code"),
    ("italic", "bold, italics, struck text, code"),
    ("strikethrough", "bold, italics, struck text, code"),
    ("inline_code", "bold, italics, struck text, code"),
    ("code_block", "code blocks with their language"),
    ("code_block.syntax_highlighting", "code blocks with their language"),
    ("headers", "headings, lists, quotes, tables, task lists, lines"),
    ("unordered_list", "headings, lists, quotes, tables, task lists, lines"),
    ("ordered_list", "headings, lists, quotes, tables, task lists, lines"),
    ("ordered_list.start", "headings, lists, quotes, tables, task lists, lines"),
    ("blockquote", "headings, lists, quotes, tables, task lists, lines"),
    ("table", "headings, lists, quotes, tables, task lists, lines"),
    ("horizontal_line", "headings, lists, quotes, tables, task lists, lines"),
    ("inline_link", "links"),
    ("spoiler", "spoilers"),
    ("spoiler.reason", "spoilers"),
    ("math", "mathematics"),
    ("underline", "underlining, colours, raised and lowered text"),
    ("superscript", "underlining, colours, raised and lowered text"),
    ("subscript", "underlining, colours, raised and lowered text"),
    ("color.foreground", "underlining, colours, raised and lowered text"),
    ("details", "folded parts"),
    ("custom_emoji", "custom emoji in texts"),
    ("user_link", "mentions of people"),
    ("at_room_mention", "mentions of everybody"),
];

/// The kinds of files that the key `file` lists, by the feature that they belong to.
const FILES: &[(&str, &str)] = &[
    ("m.image", "pictures, videos, sounds, files"),
    ("m.video", "pictures, videos, sounds, files"),
    ("m.audio", "pictures, videos, sounds, files"),
    ("m.file", "pictures, videos, sounds, files"),
    ("org.matrix.msc3245.voice", "voice messages, stickers"),
    ("m.sticker", "voice messages, stickers"),
];

/// The row of this name.
#[must_use]
pub fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

/// What the table says of such features.
const TELLS: &str = "senders are told of losses";

/// What a sender is told that others do not get, by the feature that it belongs to.
const TOLD: &[(&str, &str)] = &[
    ("long text", "the formatting, or the end, of a text that is too long"),
    ("messages in several languages", "what a message says in other languages than its first"),
    ("links", "links that lead nowhere outside of Matrix (their text is kept)"),
    ("link previews", "pictures of link previews, more than five of them, or any where the room's policy has none"),
    ("spoilers", "the cover of a spoiler (its text is in sight)"),
    ("custom emoji in texts", "custom emoji and pictures within a text (their names are kept)"),
    ("mentions of people", "a call for attention to those whom the text does not name by a link, or to all"),
    ("replies", "which message yours answers, if they do not have that one"),
    ("threads", "that yours is in a thread, if they do not have its first message"),
    ("edits", "that yours replaces an earlier message which they do not have as yours (they get both)"),
    ("places", "some details of a place (its coordinates are kept)"),
    ("reactions", "reactions to what they do not have (what was said before the room was mirrored, or words of mine)"),
    ("deletions", "deletions of what I do not know any more: they keep what they have of it"),
    (
        "spoilers on pictures",
        "the cover of a file (it comes without a preview, to be downloaded, and its description says that it is a spoiler)",
    ),
    ("what apps note of files", "what your app notes of a file beyond its name, type, size and length"),
    ("what apps add to messages", "what your app adds to a message under names of its own (the message is sent)"),
    ("names that messages bring along", "names and pictures that a message brings along (it is shown under yours)"),
    ("forwarded messages of MIMI users", "messages of theirs that you send on as they are (write or send them anew)"),
    ("other events of Matrix", "events of which only Matrix clients know what they mean"),
    ("polls, votes, ends of polls", "what yours refers to"),
    ("custom events", "more than a line of text of polls and of what only some Matrix clients know"),
    ("calls", "a call (they read that there is one, and can join it with a Matrix account alone)"),
    ("disappearing messages", "when a message shall disappear (it stays)"),
    ("pictures, videos, sounds, files", "more than the text of a kind of message that is not known there"),
];

/// The features of which readers are told what they do not see ([`Loss::told_to_readers`]).
const TOLD_TO_READERS: &[&str] = &[
    "long text",
    "messages in several languages",
    "links",
    "custom emoji in texts",
    "mentions of people",
    "what apps note of files",
    "what apps add to messages",
    "disappearing messages",
    "pictures, videos, sounds, files",
];

/// What the table says of features of which readers are told.
const TELLS_READERS: &str = "readers are told of losses";

impl Loss {
    /// What readers here are told that they do not see of a message of another provider. `None`: they see it in another form, or
    /// see by the text itself that something is missing.
    #[must_use]
    pub fn told_to_readers(&self) -> Option<&'static str> {
        Some(match self {
            Self::Mention => "calls for attention beyond the first fifty of a message",
            Self::Expiration => {
                "that a message shall disappear some time after each of you read it (it goes when all of you have)"
            }
            Self::InlineImage => "pictures within a text (their names are shown)",
            Self::Details => "some of what is said of a place",
            Self::FileDetails => "some of what is said of a file",
            Self::Link => "links that Matrix does not allow (their text is shown)",
            Self::Unsupported(_) => "content of a kind that Matrix has no form for",
            Self::Cut => "the end of a text that is too long",
            Self::Formatting => "the formatting of a text that is too long",
            Self::Languages => "what a message says in other languages than the one shown",
            Self::Fields => "what an app adds to a message, if that is too long to be shown with it",
            Self::Alternatives => "a second text that says something else than the one shown",
            Self::Reply
            | Self::Edit
            | Self::Deletion
            | Self::Reaction
            | Self::Thread
            | Self::Emote
            | Self::Spoiler
            | Self::Reference
            | Self::Call
            | Self::Private(_)
            | Self::Style
            | Self::Layout
            | Self::Voice
            | Self::Sticker
            | Self::Together
            | Self::Event(_)
            | Self::Live
            | Self::Preview
            | Self::Staying
            | Self::Cover
            | Self::Profile
            | Self::Added
            | Self::Forwarded
            | Self::Thumbnail => return None,
        })
    }

    /// What the sender of a message is told that others do not get. `None`: they get it in another form.
    #[must_use]
    pub fn told(&self) -> Option<&'static str> {
        let in_another_form = matches!(
            self,
            Self::Emote
                | Self::Style
                | Self::Layout
                | Self::Live
                | Self::Alternatives
                | Self::Voice
                | Self::Sticker
                | Self::Together
        );
        let words = || TOLD.iter().find(|(feature, _)| *feature == self.feature()).map(|(_, words)| *words);
        match self {
            _ if in_another_form => None,
            Self::Thumbnail => Some("the small picture that stands for a file until it is opened"),
            Self::Staying => Some(
                "your messages for longer, or shorter, than the room's policy wants: they disappear then, here too",
            ),
            _ => words(),
        }
    }

    /// Whether a gateway of this kind gets it all the same.
    #[must_use]
    pub fn spares_gateways(&self) -> bool {
        matches!(self, Self::Spoiler | Self::Cover | Self::Private(_) | Self::Added)
    }

    /// Which row of [`FEATURES`] tells of it.
    #[must_use]
    pub fn feature(&self) -> &'static str {
        match self {
            Self::Reply => "replies",
            Self::Edit => "edits",
            Self::Deletion => "deletions",
            Self::Reaction => "reactions",
            Self::Thread => "threads",
            Self::Mention => "mentions of people",
            Self::Emote => "emotes",
            Self::Spoiler => "spoilers",
            Self::Expiration | Self::Staying => "disappearing messages",
            Self::InlineImage => "custom emoji in texts",
            Self::Reference => "polls, votes, ends of polls",
            Self::Call => "calls",
            Self::Details => "places",
            Self::Private(_) => "custom events",
            Self::Link => "links",
            Self::Style => "underlining, colours, raised and lowered text",
            Self::Layout => "folded parts",
            Self::Unsupported(_) | Self::Thumbnail => "pictures, videos, sounds, files",
            Self::Voice | Self::Sticker => "voice messages, stickers",
            Self::Together => "galleries",
            Self::Languages => "messages in several languages",
            Self::Live => "live locations",
            Self::Preview => "link previews",
            Self::Cover => "spoilers on pictures",
            Self::FileDetails => "what apps note of files",
            Self::Fields | Self::Added => "what apps add to messages",
            Self::Profile => "names that messages bring along",
            Self::Event(_) => "other events of Matrix",
            Self::Forwarded => "forwarded messages of MIMI users",
            Self::Formatting | Self::Cut | Self::Alternatives => "long text",
        }
    }
}

/// The content of the state event `com.beeper.room_features` of a mirrored room.
#[must_use]
pub fn room_features() -> Value {
    let mut content = Map::new();
    for feature in FEATURES {
        if let Some(key) = feature.key.filter(|key| *key != "formatting") {
            content.insert(key.to_owned(), feature.out.number().into());
        }
    }
    let formatting: Map<String, Value> = FORMATTING
        .iter()
        .filter_map(|(key, name)| Some(((*key).to_owned(), feature(name)?.out.number().into())))
        .collect();
    let files = FILES.iter().filter_map(|(kind, name)| {
        let level = feature(name)?.out.number();
        Some(((*kind).to_owned(), json!({ "mime_types": { "*/*": level }, "caption": level })))
    });
    content.insert("file".to_owned(), Value::Object(files.collect()));
    content.insert("formatting".to_owned(), Value::Object(formatting));
    content.insert("max_text_length".to_owned(), json!(MAX_EVENT_CONTENT));
    Value::Object(content)
}

/// The table of docs/features.md.
#[must_use]
pub fn table() -> String {
    let mut table =
        String::from("| What | Matrix | MIMI | Matrix to MIMI | MIMI to Matrix | |\n|---|---|---|---|---|---|\n");
    for Feature { name, matrix, mimi, out, back, note, .. } in FEATURES {
        let (matrix, mimi) = (matrix.replace('|', "\\|"), mimi.replace('|', "\\|"));
        let told = TOLD.iter().any(|(feature, _)| feature == name).then_some(TELLS);
        let shown = TOLD_TO_READERS.contains(name).then_some(TELLS_READERS);
        let notes = [Some(*note).filter(|note| !note.is_empty()), told, shown];
        let note = notes.into_iter().flatten().collect::<Vec<_>>().join("; ");
        let row = [name, matrix.as_str(), mimi.as_str(), out.word(), back.word(), &note].join(" | ");
        table.extend(["| ", &row, " |\n"]);
    }
    table
}

#[cfg(test)]
mod tests;
