//! Generated messages: HTML as Element writes it, of words that look like markup, and Markdown of any pieces.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::{from_markdown, meaning::assert_same, to_markdown};
use crate::translate::{Loss, html::tests as html};

/// Words that look like markup, as text.
const WORDS: &[&str] = &[
    "word",
    "a",
    "Über",
    "(b)",
    "c.",
    "_d_",
    "*",
    "**e**",
    "~f~",
    "[g]",
    "](h)",
    "![",
    "!",
    "`",
    "``i``",
    "\\",
    "\\*",
    "<b>",
    "<",
    "<3",
    "&",
    "&amp;",
    "&#42;",
    "#",
    "##",
    "-",
    "--",
    "---",
    "+",
    "=",
    "===",
    ">",
    "1.",
    "2)",
    "10.",
    "|",
    "||",
    "||x||",
    "$",
    "$$",
    ":-",
    "---|---",
    "~~~",
    "```",
    "[x]",
    "[ ]",
    "\u{1f600}",
    "é",
    "http://x.example/a_b_",
    "a_b",
    "\u{201c}q\u{201d}",
    "\"",
    "'",
    "x|y",
    "a*b",
    "\u{a0}",
    "1",
    ".",
    "日本",
    "http:",
    "//",
];

#[derive(Debug, Clone)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// A piece of a paragraph, as Element writes it. `plain` is within links and the like; `cell` within tables.
fn inline(numbers: &mut Numbers, depth: usize, inside: &str, out: &mut String) {
    for _ in 0..=numbers.below(4) {
        let wrap = |name: &str, numbers: &mut Numbers, out: &mut String| {
            let _ = write!(out, "<{name}>");
            inline(numbers, depth - 1, inside, out);
            let _ = write!(out, "</{name}>");
        };
        match numbers.below(if depth == 0 { 3 } else { 12 }) {
            0..=2 => {
                for _ in 0..=numbers.below(3) {
                    let word = numbers.pick(WORDS);
                    // An address in the text of a link to elsewhere would be told.
                    let word = if inside.contains('a') && word.contains("//") { "word" } else { word };
                    out.push_str(&html::clean(&word.replace('&', "&amp;").replace('<', "&lt;")));
                    if numbers.below(3) > 0 {
                        out.push(' ');
                    }
                }
            }
            3 => wrap("strong", numbers, out),
            4 => wrap("em", numbers, out),
            5 => wrap("del", numbers, out),
            6 => {
                let code = numbers.pick(&["x", "a b", "`", "a``b", " y ", "*z*", "||", "\\", "$", "&lt;b&gt;", "a\\"]);
                let _ = write!(out, "<code>{code}</code>");
            }
            7 if !inside.contains('a') => {
                let href = numbers.pick(&[
                    "https://x.example/",
                    "https://x.example/a_(b)?c&amp;d",
                    "mailto:x@y.example",
                    "https://x.example/(",
                    "http://x.example/a b|c",
                    "https://matrix.to/#/@a:b.example",
                ]);
                let _ = write!(out, "<a href=\"{href}\">");
                inline(numbers, depth - 1, &format!("{inside}a"), out);
                out.push_str("</a>");
            }
            8 if !inside.contains(['s', 'c']) => {
                let reason = numbers.pick(&["", "why", "a | b", "&quot;q&quot; *x*", "1"]);
                let _ = write!(out, "<span data-mx-spoiler=\"{reason}\">");
                inline(numbers, depth - 1, &format!("{inside}s"), out);
                out.push_str("</span>");
            }
            9 => out.push_str("<span data-mx-maths=\"x^2_\\alpha `|\"><code>x</code></span>"),
            10 if !inside.contains('c') => out.push_str("<br />"),
            _ => out.push(' '),
        }
    }
}

fn paragraph(numbers: &mut Numbers, inside: &str, out: &mut String) {
    let depth = numbers.below(4);
    inline(numbers, depth, inside, out);
}

fn element(numbers: &mut Numbers, depth: usize, out: &mut String) {
    match numbers.below(if depth == 0 { 6 } else { 9 }) {
        0..=2 => {
            out.push_str("<p>");
            paragraph(numbers, "", out);
            out.push_str("</p>\n");
        }
        3 => {
            let level = 1 + numbers.below(6);
            let _ = write!(out, "<h{level}>");
            paragraph(numbers, "c", out);
            let _ = writeln!(out, "</h{level}>");
        }
        4 => {
            let class = numbers.pick(&["", " class=\"language-rust\"", " class=\"language-c++\""]);
            let code = numbers.pick(&["a", "a\n\n  b\n", "```\nx", "\t|x|", "&lt;b&gt;*", "~~~", "\n y", "> z\n- q"]);
            let _ = writeln!(out, "<pre><code{class}>{code}\n</code></pre>");
        }
        5 => match numbers.below(3) {
            0 => out.push_str("<hr />\n"),
            1 => out.push_str("<div data-mx-maths=\"\\frac{a}{b} &lt; ``` \"><code>x</code></div>"),
            _ => {
                let columns = 1 + numbers.below(3);
                out.push_str("<table>\n<thead>\n<tr>\n");
                for _ in 0..columns {
                    out.push_str("<th>");
                    paragraph(numbers, "c", out);
                    out.push_str("</th>\n");
                }
                out.push_str("</tr>\n</thead>\n<tbody>\n");
                for _ in 0..numbers.below(3) {
                    out.push_str("<tr>");
                    for _ in 0..columns {
                        out.push_str("<td>");
                        paragraph(numbers, "c", out);
                        out.push_str("</td>");
                    }
                    out.push_str("</tr>\n");
                }
                out.push_str("</tbody>\n</table>\n");
            }
        },
        6 => {
            out.push_str("<blockquote>\n");
            for _ in 0..=numbers.below(3) {
                element(numbers, depth - 1, out);
            }
            out.push_str("</blockquote>\n");
        }
        list => {
            let (open, close) = match (list, numbers.below(3)) {
                (7, _) => ("<ul>", "</ul>"),
                (_, 0) => ("<ol start=\"9\">", "</ol>"),
                _ => ("<ol>", "</ol>"),
            };
            let _ = writeln!(out, "{open}");
            for _ in 0..=numbers.below(3) {
                out.push_str("<li>");
                match numbers.below(3) {
                    0 => element(numbers, depth - 1, out),
                    _ => paragraph(numbers, "", out),
                }
                if numbers.below(2) == 0 {
                    element(numbers, depth - 1, out);
                }
                out.push_str("</li>\n");
            }
            let _ = writeln!(out, "{close}");
        }
    }
}

pub(in crate::translate) fn like_element(seed: u64) -> String {
    let mut numbers = Numbers(seed);
    let mut out = String::new();
    if numbers.below(3) == 0 {
        paragraph(&mut numbers, "", &mut out);
    } else if seed % 4 == 1 {
        element(&mut numbers, 1, &mut out);
    } else {
        for _ in 0..=numbers.below(4) {
            element(&mut numbers, 3, &mut out);
        }
    }
    out
}

/// `MARKDOWN_SEEDS=100000` plays more of them.
#[test]
fn generated_messages_keep_their_meaning() {
    let seeds = std::env::var("MARKDOWN_SEEDS").ok().map_or(3000, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let html = like_element(seed);
        let (markdown, losses) = to_markdown(&html);
        assert!(losses.iter().all(|loss| *loss == Loss::Spoiler), "{seed}: {losses:?}\n{html}");
        let back = from_markdown(&markdown);
        assert_same(&back, &html, &format!("seed {seed}\n{html}\n-----\n{markdown}\n-----\n{back}"));
        // And Markdown that we wrote is Markdown of the same meaning again.
        let (again, _) = to_markdown(&back);
        assert_same(&from_markdown(&again), &back, &format!("seed {seed}\n{markdown}\n-----\n{again}"));
    }
}

/// Pieces that Markdown of strangers may be made of.
const PIECES: &[&str] = &[
    "# ",
    "## ",
    "- ",
    "* ",
    "1. ",
    "7) ",
    "> ",
    "\n",
    "\n\n",
    "    ",
    "  \n",
    "\\\n",
    "```\n",
    "```rust\n",
    "~~~\n",
    "---\n",
    "===\n",
    "| a | b |\n|---|:-:|\n| 1 |\n",
    "**",
    "*",
    "_",
    "__",
    "~~",
    "`",
    "``",
    "[",
    "](",
    ")",
    "](https://x.example/)",
    "![",
    "<https://x.example>",
    "<b>",
    "</b>",
    "<!-- ",
    " -->",
    "<div>\n",
    "||",
    "|",
    "$",
    "$`x`$",
    "&amp;",
    "&#124;",
    "\\",
    "\\|",
    "a",
    "b c",
    "word",
    " ",
    "\u{200b}",
    "[x] ",
    "[ ] ",
    "[a]: https://y.example\n",
    "[a]",
    "![i](https://t.example/x)",
    "[m](mimi://b.example/u/bob)",
    "<x@y.example>",
    "é",
    "\u{a0}",
    "\t",
    "\0",
    "\r",
    "\r\n",
    "&#13;",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Markdown of anybody becomes HTML that is clean as it is; written again, it means the same.
    #[test]
    fn any_markdown_keeps_its_meaning(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24)) {
        let markdown = pieces.concat();
        let shown = from_markdown(&markdown);
        let (again, losses) = to_markdown(&shown);
        if losses.iter().all(|loss| *loss == Loss::Spoiler) {
            let back = from_markdown(&again);
            assert_same(&back, &shown, &format!("{markdown}\n-----\n{shown}\n-----\n{again}\n-----\n{back}"));
        }
    }
}
