//! Markdown and HTML of messages, both ways.
//!
//! "The same meaning" is: the same [`Meaning`]. That is the tree of blocks that a reader sees, and in it every character
//! with its marks. It does not say how often and in which order the same mark was written, whether an item of a list has
//! `<p>` in it, nor how white space was written.

use proptest::prelude::*;

use super::*;
use crate::translate::{
    Loss, Nobody,
    html::{Attrs, Data, Document, Id, Tag, tests as html},
    links::Links,
};

fn to_markdown(html: &str) -> (String, Vec<Loss>) {
    let mut losses = Vec::new();
    let document = Document::read(html, &mut Links::to_mimi(&Nobody));
    (from_document(&document, Style::Markdown, html.len(), &mut losses).unwrap(), losses)
}

fn from_markdown(markdown: &str) -> String {
    let shown = to_html(markdown, &mut Links::to_matrix(&Nobody));
    assert_eq!(html::safe(&shown), shown, "clean as it is: {markdown}");
    shown
}

// --------------------------------------------------------------------------------------------------------- meaning

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marks {
    strong: bool,
    em: bool,
    del: bool,
    code: bool,
    maths: bool,
    link: Option<String>,
    spoiler: Option<String>,
}

/// Letters with their marks.
#[derive(Clone, Default, PartialEq, Eq)]
struct Letters(Vec<(char, Marks)>);

impl std::fmt::Debug for Letters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for run in self.0.chunk_by(|a, b| a.1 == b.1) {
            let text: String = run.iter().map(|(c, _)| *c).collect();
            let Marks { strong, em, del, code, maths, link, spoiler } = &run[0].1;
            let flags = [(*strong, "b"), (*em, "i"), (*del, "d"), (*code, "c"), (*maths, "m")];
            let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            write!(f, "{{{flags} {} {} {text:?}}}", link.as_deref().unwrap_or("-"), spoiler.as_deref().unwrap_or("-"))?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    Text(Letters),
    Heading(u8, Vec<Meaning>),
    Quote(Vec<Meaning>),
    List(Option<i32>, Vec<Vec<Meaning>>),
    Code(String, String),
    Maths(String),
    Table(Vec<Vec<Vec<Meaning>>>),
    Rule,
}

fn meaning(html: &str) -> Vec<Meaning> {
    let document = Document::read(html, &mut Links::to_matrix(&Nobody));
    let mut all = Vec::new();
    blocks(&document, Id::ROOT, &Marks::default(), &mut all);
    tidy(all)
}

/// Without blanks at the ends of paragraphs, and without empty blocks.
fn tidy(all: Vec<Meaning>) -> Vec<Meaning> {
    let mut out: Vec<Meaning> = Vec::new();
    for block in all {
        match block {
            Meaning::Text(Letters(mut text)) => {
                let blank = |c: &(char, Marks)| c.0 == ' ' || c.0 == '\n';
                while text.last().is_some_and(blank) {
                    text.pop();
                }
                if text.iter().any(|(c, _)| !c.is_whitespace()) {
                    out.push(Meaning::Text(Letters(text)));
                }
            }
            other => out.push(other),
        }
    }
    out
}

fn blocks(document: &Document<'_>, id: Id, marks: &Marks, out: &mut Vec<Meaning>) {
    for child in document.children(id) {
        let mut marks = marks.clone();
        let (tag, attrs) = match document.data(child) {
            Data::Text(text) => {
                text.chars().for_each(|c| put(if c.is_ascii_whitespace() { ' ' } else { c }, &marks, out));
                continue;
            }
            Data::Element(tag, attrs) => (*tag, attrs),
        };
        let style = if let Attrs::Style(style) = attrs { Some(&**style) } else { None };
        let inner = |marks: &Marks| {
            let mut inner = Vec::new();
            blocks(document, child, marks, &mut inner);
            tidy(inner)
        };
        let block = match tag {
            Tag::Br => {
                put('\n', &marks, out);
                continue;
            }
            Tag::Code => {
                marks.code = true;
                document.text(child).chars().for_each(|c| put(if c == '\n' { ' ' } else { c }, &marks, out));
                continue;
            }
            Tag::Span if style.is_some_and(|style| style.maths.is_some()) => {
                marks.maths = true;
                style.unwrap().maths.as_ref().unwrap().chars().for_each(|c| put(c, &marks, out));
                continue;
            }
            Tag::A
            | Tag::B
            | Tag::Strong
            | Tag::Em
            | Tag::I
            | Tag::Del
            | Tag::S
            | Tag::Span
            | Tag::U
            | Tag::Sub
            | Tag::Sup => {
                match (tag, attrs) {
                    (Tag::A, Attrs::Link(href)) => marks.link = Some(href.to_string()),
                    (Tag::B | Tag::Strong, _) => marks.strong = true,
                    (Tag::Em | Tag::I, _) => marks.em = true,
                    (Tag::Del | Tag::S, _) => marks.del = true,
                    _ => {}
                }
                if let Some(reason) = style.and_then(|style| style.spoiler.as_ref()).filter(|_| marks.spoiler.is_none())
                {
                    marks.spoiler = Some(reason.to_string());
                }
                blocks(document, child, &marks, out);
                continue;
            }
            _ if !document.is_visible(child) => {
                out.push(Meaning::Text(Letters::default()));
                continue;
            }
            Tag::Heading(level) => Meaning::Heading(level, inner(&marks)),
            Tag::Blockquote => Meaning::Quote(inner(&marks)),
            Tag::Ul | Tag::Ol => {
                let items = document.children(child).filter(|item| document.tag(*item) == Some(Tag::Li));
                let items = items.map(|item| {
                    let mut inner = Vec::new();
                    blocks(document, item, &marks, &mut inner);
                    tidy(inner)
                });
                let start = if let Attrs::Start(start) = attrs { *start } else { 1 };
                Meaning::List((tag == Tag::Ol).then_some(start), items.collect())
            }
            Tag::Pre => {
                let code = document.children(child).find(|child| document.tag(*child) == Some(Tag::Code));
                let language = match code.map(|code| document.data(code)) {
                    Some(Data::Element(_, Attrs::Language(language))) => language.to_string(),
                    _ => String::new(),
                };
                Meaning::Code(language, document.text(child).trim_end_matches('\n').to_owned())
            }
            Tag::Div if style.is_some_and(|style| style.maths.is_some()) => {
                Meaning::Maths(style.unwrap().maths.as_ref().unwrap().trim().to_owned())
            }
            Tag::Table => {
                let bodies = document.children(child).filter(|part| document.tag(*part) != Some(Tag::Caption));
                let rows = bodies.flat_map(|body| document.children(body)).map(|row| {
                    let cells = document.children(row).map(|cell| {
                        let mut inner = Vec::new();
                        blocks(document, cell, &marks, &mut inner);
                        tidy(inner)
                    });
                    cells.collect()
                });
                Meaning::Table(rows.collect())
            }
            Tag::Hr => Meaning::Rule,
            _ => {
                out.push(Meaning::Text(Letters::default()));
                blocks(document, child, &marks, out);
                out.push(Meaning::Text(Letters::default()));
                continue;
            }
        };
        out.push(block);
    }
}

/// Fails where two meanings differ, and shows where.
fn assert_same(left: &str, right: &str, context: &str) {
    let (a, b) = (format!("{:?}", meaning(left)), format!("{:?}", meaning(right)));
    if a != b {
        let at = a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b).map_or(0, |((at, _), _)| at);
        let from = a.floor_char_boundary(at.saturating_sub(150));
        let near = |text: &str| text[text.floor_char_boundary(from)..text.floor_char_boundary(at + 150)].to_owned();
        panic!("{context}\n----- left\n{}\n----- right\n{}", near(&a), near(&b));
    }
}

fn put(c: char, marks: &Marks, out: &mut Vec<Meaning>) {
    if !matches!(out.last(), Some(Meaning::Text(_))) {
        out.push(Meaning::Text(Letters::default()));
    }
    let Some(Meaning::Text(Letters(text))) = out.last_mut() else { unreachable!() };
    let (c, marks) = match c {
        '\n' if !marks.code && !marks.maths => ('\n', Marks::default()),
        c if c.is_whitespace() && !marks.code && !marks.maths => {
            (if c == '\u{a0}' { c } else { ' ' }, Marks::default())
        }
        c => (c, marks.clone()),
    };
    let last = text.last().map(|(c, _)| *c);
    match (c, last) {
        _ if marks.code || marks.maths => text.push((c, marks)),
        (' ', None | Some(' ' | '\n')) | ('\n', None) => {}
        ('\n', Some(' ')) => *text.last_mut().unwrap() = ('\n', marks),
        _ => text.push((c, marks)),
    }
}

// -------------------------------------------------------------------------------------------- what Element sends

/// HTML as Element Web and Element X send it, as GFM-MIMI, and as HTML again.
#[test]
fn what_element_sends_crosses_and_comes_back() {
    for (html, markdown, back) in [
        ("<p>One</p>\n<p>Two</p>\n", "One\n\nTwo", "<p>One</p>\n<p>Two</p>"),
        ("a<br />b<br>c", "a  \nb  \nc", "<p>a<br>b<br>c</p>"),
        ("a<br/><br/><br/>b", "a\\\n\\\n\\\nb", "<p>a<br><br><br>b</p>"),
        (
            "<mx-reply><blockquote><a href=\"https://matrix.to/#/!r:x.example/$e\">In reply to</a> <a href=\"https://matrix.to/#/@a:x.example\">@a</a><br>old</blockquote></mx-reply>new <strong>text</strong>",
            "new **text**",
            "<p>new <strong>text</strong></p>",
        ),
        (
            "<p>a</p>\n<ul>\n<li>b</li>\n<li>c\n<ul>\n<li>d</li>\n</ul>\n</li>\n</ul>\n",
            "a\n\n- b\n- c\n  - d",
            "<p>a</p>\n<ul>\n<li>b</li>\n<li>c\n<ul>\n<li>d</li>\n</ul>\n</li>\n</ul>",
        ),
        (
            "<ol start=\"3\">\n<li>a</li>\n<li>b</li>\n</ol>\n",
            "3. a\n4. b",
            "<ol start=\"3\">\n<li>a</li>\n<li>b</li>\n</ol>",
        ),
        (
            "<ul>\n<li>\n<p>a</p>\n</li>\n<li>\n<p>b</p>\n<p>c</p>\n</li>\n</ul>",
            "- a\n\n- b\n\n  c",
            "<ul>\n<li><p>a</p>\n</li>\n<li><p>b</p>\n<p>c</p>\n</li>\n</ul>",
        ),
        (
            "<ul>\n<li>a</li>\n</ul>\n<ul>\n<li>b</li>\n</ul>\n<ol>\n<li>c</li>\n</ol>",
            "- a\n\n* b\n\n1. c",
            "<ul>\n<li>a</li>\n</ul>\n<ul>\n<li>b</li>\n</ul>\n<ol>\n<li>c</li>\n</ol>",
        ),
        (
            "<ul>\n<li>[x] done</li>\n<li>[ ] open</li>\n<li>[x]</li>\n</ul>\n",
            "- [x] done\n- [ ] open\n- \\[x\\]",
            "<ul>\n<li>[x] done</li>\n<li>[ ] open</li>\n<li>[x]</li>\n</ul>",
        ),
        (
            "<ul>\n<li><p>[ ] loose</p></li>\n<li>x</li></ul>",
            "- [ ] loose\n\n- x",
            "<ul>\n<li><p>[ ] loose</p>\n</li>\n<li><p>x</p>\n</li>\n</ul>",
        ),
        (
            "<blockquote>\n<p>a</p>\n<blockquote>\n<p>b</p>\n</blockquote>\n</blockquote>\n<p>c</p>",
            "> a\n>\n> > b\n\nc",
            "<blockquote>\n<p>a</p>\n<blockquote>\n<p>b</p>\n</blockquote>\n</blockquote>\n<p>c</p>",
        ),
        (
            "<pre><code class=\"language-rust\">fn a() {\n\n    b&lt;c&gt;();\n}\n</code></pre>\n",
            "```rust\nfn a() {\n\n    b<c>();\n}\n```",
            "<pre><code class=\"language-rust\">fn a() {\n\n    b&lt;c&gt;();\n}\n</code></pre>",
        ),
        ("<pre><code>```\n</code></pre>", "````\n```\n````", "<pre><code>```\n</code></pre>"),
        (
            "<code>a`b</code> <code>`</code> <code> x </code>",
            "``a`b`` `` ` `` `  x  `",
            "<p><code>a`b</code> <code>`</code> <code> x </code></p>",
        ),
        (
            "<table>\n<thead>\n<tr>\n<th>A</th>\n<th>B | C</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n<td><code>a|b</code></td>\n</tr><tr><td>2</td><td></td></tr></tbody>\n</table>\n",
            "| A | B \\| C |\n| --- | --- |\n| 1 | `a\\|b` |\n| 2 |  |",
            "<table><thead><tr><th>A</th><th>B | C</th></tr></thead><tbody><tr><td>1</td><td><code>a|b</code></td></tr><tr><td>2</td><td></td></tr></tbody></table>",
        ),
        (
            "<p>a <del>b</del> <strong>c</strong> <em>d</em> <strong><em>e</em></strong></p>",
            "a ~~b~~ **c** _d **e**_",
            "<p>a <del>b</del> <strong>c</strong> <em>d <strong>e</strong></em></p>",
        ),
        (
            "un<em>frigging</em>believable H<strong>2</strong>O",
            "un*frigging*believable H**2**O",
            "<p>un<em>frigging</em>believable H<strong>2</strong>O</p>",
        ),
        ("a<strong>(b)</strong>c", "a**\u{200b}(b)\u{200b}**c", "<p>a<strong>(b)</strong>c</p>"),
        (
            "<strong>a</strong><em>b</em>c<em>d <strong>e</strong></em>",
            "**a**\u{200b}*b*c*d **e**\u{200b}*",
            "<p><strong>a</strong><em>b</em>c<em>d <strong>e</strong></em></p>",
        ),
        ("<h1>Big</h1>\n<h6>Small #</h6>", "# Big\n\n###### Small \\#", "<h1>Big</h1>\n<h6>Small #</h6>"),
        ("<p>a</p>\n<hr />\n<p>b</p>", "a\n\n---\n\nb", "<p>a</p>\n<hr>\n<p>b</p>"),
        (
            "<a href=\"https://x.example/a_(b)?c=1&amp;d=2\">site</a> <a href=\"mailto:x@y.example\">mail</a>",
            "[site](https://x.example/a_(b)?c=1&d=2) [mail](mailto:x@y.example)",
            "<p><a href=\"https://x.example/a_(b)?c=1&amp;d=2\">site</a> <a href=\"mailto:x@y.example\">mail</a></p>",
        ),
        (
            "wow!<a href=\"https://x.example/(a\">x <strong>y</strong></a><a href=\"https://x.example/ ;&amp;amp;\">z</a>",
            "wow\\![x **y**](<https://x.example/(a>)[z](<https://x.example/ ;&amp;amp;>)",
            "<p>wow!<a href=\"https://x.example/(a\">x <strong>y</strong></a><a href=\"https://x.example/ ;&amp;amp;\">z</a></p>",
        ),
        (
            "<a href=\"https://matrix.to/#/!room:x.example/$event?via=x.example\">message</a>",
            "[message](https://matrix.to/#/!room:x.example/$event?via=x.example)",
            "<p><a href=\"https://matrix.to/#/!room:x.example/$event?via=x.example\">message</a></p>",
        ),
        (
            "<span data-mx-spoiler>dead</span>, <span data-mx-spoiler=\"the end\">he <em>lives</em></span>",
            "||dead||, ||the end|he _lives_||",
            "<p><span data-mx-spoiler=\"\">dead</span>, <span data-mx-spoiler=\"the end\">he <em>lives</em></span></p>",
        ),
        (
            "so<span data-mx-spoiler>dead</span>ly",
            "so\u{200b}||dead||\u{200b}ly",
            "<p>so<span data-mx-spoiler=\"\">dead</span>ly</p>",
        ),
        (
            "<span data-mx-maths=\"x^2\"><code>x^2</code></span> costs 5$<div data-mx-maths=\"\\frac{a}{b}\"><code>a/b</code></div>",
            "$`x^2`$ costs 5$\n\n```math\n\\frac{a}{b}\n```",
            "<p><span data-mx-maths=\"x^2\"><code>x^2</code></span> costs 5$</p>\n<div data-mx-maths=\"\\frac{a}{b}\"><pre><code>\\frac{a}{b}\n</code></pre></div>",
        ),
        ("$<code>x</code>$", "\\$`x`$", "<p>$<code>x</code>$</p>"),
        (
            "<img data-mx-emoticon src=\"mxc://a/b\" alt=\":cat:\" height=\"32\"> &lt;3 AT&amp;T &amp;amp; C:\\x a_b",
            ":cat: <3 AT&T &amp;amp; C:\\\\x a_b",
            "<p>:cat: &lt;3 AT&amp;T &amp;amp; C:\\x a_b</p>",
        ),
        (
            "<ul><li><pre><code>a\n\n b</code></pre></li><li><h2>t</h2></li><li><blockquote>q</blockquote>x</li></ul>",
            "- ```\n  a\n\n   b\n  ```\n\n- ## t\n\n- > q\n\n  x",
            "<ul>\n<li><pre><code>a\n\n b\n</code></pre>\n</li>\n<li><h2>t</h2>\n</li>\n<li><blockquote>\n<p>q</p>\n</blockquote>\n<p>x</p>\n</li>\n</ul>",
        ),
    ] {
        let (written, losses) = to_markdown(html);
        assert_eq!(written, markdown, "{html}");
        assert!(losses.iter().all(|loss| *loss == Loss::Spoiler), "{html}: {losses:?}");
        assert_eq!(from_markdown(&written), back, "{html}");
        assert_eq!(meaning(back), meaning(html), "{html}");
    }
}

#[test]
fn what_markdown_has_no_form_for_is_told() {
    for (html, markdown, losses) in [
        ("<u>a</u> H<sub>2</sub>O x<sup>2</sup>", "a H2O x2", &[Loss::Style][..]),
        ("<span data-mx-color=\"#ff0000\">r</span><font color=\"#00ff00\">g</font>", "rg", &[Loss::Style]),
        ("<details><summary>More</summary><p>a</p></details>", "**More**\n\na", &[Loss::Layout]),
        ("<h2>a<br>b</h2>", "## a b", &[Loss::Layout]),
        (
            "<table><tr><td>a</td><td>b<br>c</td></tr><tr><td><ul><li>d</li></ul></td></tr></table>",
            "| a | b c |\n| --- | --- |\n| d |",
            &[Loss::Layout],
        ),
        ("<table><caption>t</caption><tr><th>a</th></tr></table>", "t\n\n| a |\n| --- |", &[Loss::Layout]),
        ("<ol start=\"-1\"><li>a</li></ol>", "1. a", &[Loss::Layout]),
        ("<code>a<a href=\"https://x.example\">b</a></code>", "`ab`", &[Loss::Layout]),
        (
            "<table><tr><th><span data-mx-spoiler>a</span></th></tr></table>",
            "| \\|\\|a\\|\\| |\n| --- |",
            &[Loss::Spoiler],
        ),
    ] {
        assert_eq!(to_markdown(html), (markdown.to_owned(), losses.to_vec()), "{html}");
        from_markdown(markdown);
    }
}

#[test]
fn markdown_of_others_becomes_html_that_matrix_allows() {
    for (markdown, html) in [
        ("a\nb", "<p>a\nb</p>"),
        (
            "<https://x.example> <x@y.example> https://z.example",
            "<p><a href=\"https://x.example\">https://x.example</a> <a href=\"mailto:x@y.example\">x@y.example</a> https://z.example</p>",
        ),
        ("<b>a</b> <!-- x --> &lt;i&gt; &copy;", "<p>&lt;b&gt;a&lt;/b&gt; &lt;!-- x --&gt; &lt;i&gt; ©</p>"),
        (
            "<div>\n<script>alert(1)</script>\n</div>\n\nb",
            "<p>&lt;div&gt;<br>&lt;script&gt;alert(1)&lt;/script&gt;<br>&lt;/div&gt;</p>\n<p>b</p>",
        ),
        ("[a](javascript:alert(1)) [b](/c) [d](data:x) [e](<>)", "<p>a b d e</p>"),
        (
            "[a](https://x.example \"title\") [b][r]\n\n[r]: https://r.example",
            "<p><a href=\"https://x.example\">a</a> <a href=\"https://r.example\">b</a></p>",
        ),
        (
            "[https://bank.example](https://evil.example)",
            "<p><a href=\"https://evil.example\">https://bank.example</a> (evil.example)</p>",
        ),
        (
            "![a *b*](https://t.example/x.png) ![](cid:1@local.invalid) ![c](mxc://a/b)",
            "<p><a href=\"https://t.example/x.png\">a b</a> image c</p>",
        ),
        ("[![a](https://t.example/x.png)](https://x.example)", "<p><a href=\"https://x.example\">a</a></p>"),
        (
            "| a | b |\n|:-:|--:|\n| 1 | 2 |\n| 3 |",
            "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>2</td></tr><tr><td>3</td><td></td></tr></tbody></table>",
        ),
        (
            "```rust,ignore\nx\n```\n\n```<b>\ny\n```\n\n    z",
            "<pre><code class=\"language-rust\">x\n</code></pre>\n<pre><code>y\n</code></pre>\n<pre><code>z</code></pre>",
        ),
        (
            "a || b || c, x||y||z, ||||, |||a|||, `||a||`, \\||a||, || a||",
            "<p>a || b || c, x||y||z, ||||, |||a|||, <code>||a||</code>, ||a||, || a||</p>",
        ),
        ("||a **b|| c** ||d||", "<p><span data-mx-spoiler=\"\">a <strong>b|| c</strong> ||d</span></p>"),
        ("||a\n\nb||", "<p>||a</p>\n<p>b||</p>"),
        ("||say \"x\"|b \\| c||", "<p><span data-mx-spoiler=\"say &quot;x&quot;\">b | c</span></p>"),
        ("# a\n***\n* b\n  1) c", "<h1>a</h1>\n<hr>\n<ul>\n<li>b\n<ol>\n<li>c</li>\n</ol>\n</li>\n</ul>"),
        (
            "- [X] a\n- [ ] **b**\n\n- [x] c",
            "<ul>\n<li><p>[x] a</p>\n</li>\n<li><p>[ ] <strong>b</strong></p>\n</li>\n<li><p>[x] c</p>\n</li>\n</ul>",
        ),
        (
            "$x$ and $`x`$$`y`$ $`z` $",
            "<p>$x$ and <span data-mx-maths=\"x\"><code>x</code></span><span data-mx-maths=\"y\"><code>y</code></span> $<code>z</code> $</p>",
        ),
    ] {
        assert_eq!(from_markdown(markdown), html, "{markdown}");
    }
}

// ------------------------------------------------------------------------------------------------------ generated

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
            out.push_str(&format!("<{name}>"));
            inline(numbers, depth - 1, inside, out);
            out.push_str(&format!("</{name}>"));
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
                out.push_str(&format!("<code>{code}</code>"));
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
                out.push_str(&format!("<a href=\"{href}\">"));
                inline(numbers, depth - 1, &format!("{inside}a"), out);
                out.push_str("</a>");
            }
            8 if !inside.contains(['s', 'c']) => {
                let reason = numbers.pick(&["", "why", "a | b", "&quot;q&quot; *x*", "1"]);
                out.push_str(&format!("<span data-mx-spoiler=\"{reason}\">"));
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
            out.push_str(&format!("<h{level}>"));
            paragraph(numbers, "c", out);
            out.push_str(&format!("</h{level}>\n"));
        }
        4 => {
            let class = numbers.pick(&["", " class=\"language-rust\"", " class=\"language-c++\""]);
            let code = numbers.pick(&["a", "a\n\n  b\n", "```\nx", "\t|x|", "&lt;b&gt;*", "~~~", "\n y", "> z\n- q"]);
            out.push_str(&format!("<pre><code{class}>{code}\n</code></pre>\n"));
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
            out.push_str(&format!("{open}\n"));
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
            out.push_str(&format!("{close}\n"));
        }
    }
}

fn like_element(seed: u64) -> String {
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
