//! Markdown and HTML of messages, both ways.

pub(in crate::translate) mod generated;
pub(in crate::translate) mod meaning;

use meaning::meaning;

use super::*;
use crate::translate::{
    Loss, Nobody,
    html::{Document, tests as html},
    links::Links,
};

pub(in crate::translate) fn to_markdown(html: &str) -> (String, Vec<Loss>) {
    in_style(html, Style::Markdown)
}

pub(in crate::translate) fn to_plain(html: &str) -> String {
    in_style(html, Style::Plain).0
}

fn in_style(html: &str, style: Style) -> (String, Vec<Loss>) {
    let mut losses = Vec::new();
    let document = Document::read(html, &mut Links::to_mimi(&Nobody));
    (from_document(&document, style, html.len(), &mut losses).unwrap(), losses)
}

fn from_markdown(markdown: &str) -> String {
    let shown = to_html(markdown, &mut Links::to_matrix(&Nobody));
    assert_eq!(html::safe(&shown), shown, "clean as it is: {markdown}");
    shown
}

// -------------------------------------------------------------------------------------------- what Element sends

/// HTML as Element Web and Element X send it, as GFM-MIMI, and as HTML again.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
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
