//! Translations per second on one core: plain text and Element's HTML, each way, against what others need for a part of it.
//!
//! `cargo bench --bench translate`. The rivals run in the same process on the same input: `ammonia::clean` only cleans the
//! HTML, `pulldown-cmark` only makes HTML of the Markdown, `serde_json` only reads or writes an event.
//! Then hostile text: ten times as much of it must take hardly more than ten times as long.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use mimi_gateway::{
    content::{MimiContent, NestedPart, TEXT_HTML, TEXT_MARKDOWN, TEXT_PLAIN},
    ident::{RoomUri, UserUri},
    translate::{NoPast, Nobody, ToMatrix, ToMimi, to_matrix, to_mimi},
};
use serde_json::{Value, json};

/// How long each is measured, after as long to warm up; the best of five.
const SPAN: Duration = Duration::from_millis(200);

/// What people write in Element, some 2 KiB.
const HTML: &str = concat!(
    "<p>Hi <a href=\"https://matrix.to/#/@bob:b.example\">Bob</a>, here is what we <strong>agreed on</strong> yesterday, with ",
    "<em>all</em> the details &amp; links: <a href=\"https://x.example/wiki/Release_plan?version=2&amp;view=full\">the plan</a>.</p>\n",
    "<ol>\n<li>Freeze the branch on <strong>Tuesday</strong> at 14:00</li>\n<li>Run <code>cargo test --workspace</code> and look at the ",
    "figures\n<ul>\n<li>[x] unit tests</li>\n<li>[ ] end to end</li>\n<li>[ ] the benches that <del>never</del> sometimes fail</li>\n</ul>\n",
    "</li>\n<li>Tell <em>everybody</em> who asked (see <a href=\"https://x.example/list\">the list</a>)</li>\n</ol>\n",
    "<blockquote>\n<p>Can we skip the second step, as we did the last time?</p>\n</blockquote>\n",
    "<p>No: the last time nobody could say whether 5 &lt; 7 was checked or not, and it took us two days. What we need is this:</p>\n",
    "<pre><code class=\"language-rust\">fn check(left: u32, right: u32) -&gt; Result&lt;(), Error&gt; {\n    if left &lt; right {\n",
    "        return Ok(());\n    }\n    Err(Error::new(&quot;too large&quot;))\n}\n</code></pre>\n",
    "<h3>Who does what</h3>\n<table>\n<thead>\n<tr>\n<th>Part</th>\n<th>Who</th>\n<th>When</th>\n</tr>\n</thead>\n<tbody>\n",
    "<tr>\n<td>parser</td>\n<td>Alice</td>\n<td>Monday</td>\n</tr>\n<tr>\n<td>writer</td>\n<td>Bob</td>\n<td>Tuesday, if the tests are green</td>\n</tr>\n",
    "</tbody>\n</table>\n<p>The film that we saw: <span data-mx-spoiler=\"the end\">he was the gardener all the time</span> &#x1f600;</p>\n",
    "<p>And a longer paragraph, as people write them when they explain something at length: it has <strong>a few words in bold</strong>, ",
    "some <em>stress</em> here and there, an address like https://x.example/some_path_with_underscores, a file name like ",
    "<code>src/translate/html/tree.rs</code>, and otherwise just words, commas and full stops, line after line, until what was to be said is ",
    "said. Thanks!</p>\n<ul>\n<li>\n<p>The first of them is here: <a href=\"https://x.example/notes/1\">https://x.example/notes/1</a></p>\n</li>\n",
    "<li>\n<p>The second follows <em>soon</em>, with <code>--verbose</code> as you wished</p>\n</li>\n</ul>\n<hr />\n<p>See you!</p>\n",
);
const TEXT: &str = "Good morning everybody, the build is green again and I am off to lunch; see you at two.";

fn rate(mut work: impl FnMut()) -> f64 {
    let mut best = 0_f64;
    for round in 0..6 {
        let start = Instant::now();
        let mut count = 0_u32;
        while start.elapsed() < SPAN {
            for _ in 0..10 {
                work();
            }
            count += 10;
        }
        if round > 0 {
            best = best.max(f64::from(count) / start.elapsed().as_secs_f64());
        }
    }
    best
}

fn row(what: &str, ours: f64, rival: &str, theirs: f64, least: f64) {
    let verdict = if ours >= least { "reached" } else { "MISSED" };
    println!(
        "{what:<38} {ours:>9.0}/s   {rival:<28} {theirs:>9.0}/s   ratio {:>5.2}   {least:>7.0}/s {verdict}",
        ours / theirs
    );
}

fn main() {
    let sender = UserUri::parse("mimi://a.example/u/alice").expect("a URI");
    let room = RoomUri::parse("mimi://a.example/r/club").expect("a URI");
    let mimi = ToMimi {
        sender: &sender,
        room: &room,
        salt: [7; 16],
        sent_ts: 1_700_000_000_000,
        past: &NoPast,
        mentions: &Nobody,
        room_link: None,
    };
    let content = MimiContent::new([7; 16], &sender, &room, NestedPart::text(TEXT_PLAIN, TEXT));
    let (_, message_id) = content.encode_with_id(&sender, &room).expect("an id");
    let matrix = ToMatrix { message_id, sender: &sender, room: &room, from_gateway: false, mentions: &Nobody };

    println!("HTML of {} bytes, text of {} bytes, one core", HTML.len(), TEXT.len());
    let event = json!({"msgtype": "m.text", "body": TEXT});
    let json = event.to_string();
    row(
        "plain text, Matrix to MIMI",
        rate(|| drop(black_box(to_mimi("m.room.message", black_box(&event), &mimi).unwrap()))),
        "serde_json reads the event",
        rate(|| drop(black_box(serde_json::from_str::<Value>(black_box(&json)).unwrap()))),
        200_000.0,
    );
    let shown = to_matrix(&content, &matrix).content;
    row(
        "plain text, MIMI to Matrix",
        rate(|| drop(black_box(to_matrix(black_box(&content), &matrix)))),
        "serde_json writes the event",
        rate(|| drop(black_box(black_box(&shown).to_string()))),
        200_000.0,
    );
    let formatted =
        json!({"msgtype": "m.text", "body": "x", "format": "org.matrix.custom.html", "formatted_body": HTML});
    let ammonia = rate(|| drop(black_box(ammonia::clean(black_box(HTML)))));
    row(
        "HTML to Markdown and HTML, whole",
        rate(|| drop(black_box(to_mimi("m.room.message", black_box(&formatted), &mimi).unwrap()))),
        "ammonia::clean alone",
        ammonia,
        20_000.0,
    );
    let html = MimiContent::new([7; 16], &sender, &room, NestedPart::text(TEXT_HTML, HTML));
    row(
        "HTML to Matrix's HTML and text, whole",
        rate(|| drop(black_box(to_matrix(black_box(&html), &matrix)))),
        "ammonia::clean alone",
        ammonia,
        20_000.0,
    );
    let translated = to_mimi("m.room.message", &formatted, &mimi).unwrap().content;
    let markdown = match &translated.body.body {
        mimi_gateway::content::Body::Multi { parts, .. } => match parts.first().map(|part| &part.body) {
            Some(mimi_gateway::content::Body::Single { content, .. }) => String::from_utf8(content.clone()).unwrap(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    let message = MimiContent::new([7; 16], &sender, &room, NestedPart::text(TEXT_MARKDOWN, &markdown));
    row(
        "Markdown to Matrix's HTML, whole",
        rate(|| drop(black_box(to_matrix(black_box(&message), &matrix)))),
        "pulldown-cmark alone",
        rate(|| {
            let mut html = String::new();
            let options = pulldown_cmark::Options::ENABLE_TABLES | pulldown_cmark::Options::ENABLE_STRIKETHROUGH;
            pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new_ext(black_box(&markdown), options));
            drop(black_box(html));
        }),
        20_000.0,
    );
    println!();
    let hostile = [
        (TEXT_HTML, ["<b a", "<a b c d ", "&", "</", "<ul><li>", "<table><tr><td>"]),
        (TEXT_MARKDOWN, ["> ", "*a_", "[", "`", "|a", "**a "]),
    ];
    for (kind, units) in hostile {
        for unit in units {
            let take = |bytes: usize| {
                let text = unit.repeat(bytes / unit.len());
                let message = MimiContent::new([7; 16], &sender, &room, NestedPart::text(kind, &text));
                1.0 / rate(|| drop(black_box(to_matrix(black_box(&message), &matrix))))
            };
            let ratio = take(50_000) / take(5_000);
            let verdict = if ratio <= 20.0 { "reached" } else { "MISSED" };
            println!(
                "{kind:<34} {unit:<16} ten times as long takes {ratio:>5.1} times the time (at most 20) {verdict}"
            );
        }
    }
}
