//! What strangers' HTML becomes. ammonia, another sanitiser, is asked for a second opinion about all of it.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use proptest::prelude::*;

use super::*;
use crate::translate::{
    Loss, Nobody,
    links::Links,
    markdown::{Style as Form, from_document},
};

/// HTML as it is shown in Matrix.
pub(in crate::translate) fn clean(html: &str) -> String {
    Document::read(html, &mut Links::to_matrix(&Nobody)).to_html(html.len())
}

/// Matrix's list (Client-Server API 1.17, `m.room.message` msgtypes) as ammonia has it.
static MATRIX: LazyLock<ammonia::Builder<'static>> = LazyLock::new(|| {
    let tags = "del h1 h2 h3 h4 h5 h6 blockquote p a ul ol sup sub li b i u strong em s code hr br div table thead tbody tr \
                th td caption pre span img details summary";
    let attributes: HashMap<&str, HashSet<&str>> = HashMap::from([
        ("span", HashSet::from(["data-mx-bg-color", "data-mx-color", "data-mx-spoiler", "data-mx-maths"])),
        ("a", HashSet::from(["target", "href"])),
        ("img", HashSet::from(["width", "height", "alt", "title", "src", "data-mx-emoticon"])),
        ("ol", HashSet::from(["start"])),
        ("code", HashSet::from(["class"])),
        ("div", HashSet::from(["data-mx-maths"])),
    ]);
    let mut builder = ammonia::Builder::empty();
    builder
        .tags(tags.split_whitespace().collect())
        .tag_attributes(attributes)
        .url_schemes(HashSet::from(["https", "http", "ftp", "mailto", "magnet", "mxc"]))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(None)
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            ("code", "class") if !value.starts_with("language-") || value.contains(' ') => None,
            ("img", "src") if !value.starts_with("mxc://") => None,
            ("a", "href") if value.trim().to_ascii_lowercase().starts_with("mxc") => None,
            _ => Some(value.into()),
        });
    builder
});

/// What is shown, after it was found to be safe: ammonia finds nothing in it to change, nor do we.
pub(in crate::translate) fn safe(html: &str) -> String {
    let shown = clean(html);
    assert_eq!(MATRIX.clean(&shown).to_string(), shown, "ammonia, of {html}");
    assert_eq!(clean(&shown), shown, "cleaned again, of {html}");
    assert!(depth(&shown) <= MAX_DEPTH, "{html}");
    shown
}

/// The same with pictures that were carried: each is one of those, and ammonia finds nothing to change either.
pub(in crate::translate) fn safe_with_pictures(html: &str) -> String {
    let carried = [("cid:2@local.invalid", "mxc://b.example/2"), ("cid:3@local.invalid", "mxc://b.example/3")];
    let carried = carried.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
    let mut links = Links::to_matrix(&Nobody).with_pictures(carried);
    let shown = Document::read(html, &mut links).to_html(html.len());
    assert_eq!(MATRIX.clean(&shown).to_string(), shown, "ammonia, of {html}");
    let pictures = shown.matches("<img ").count();
    let whole = ["2", "3"].map(|n| format!("<img data-mx-emoticon=\"\" src=\"mxc://b.example/{n}\" alt=\""));
    assert_eq!(whole.iter().map(|start| shown.matches(start.as_str()).count()).sum::<usize>(), pictures, "{shown}");
    shown
}

fn depth(html: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for tag in html.split('<').skip(1) {
        match tag {
            tag if tag.starts_with('/') => depth -= 1,
            tag if tag.starts_with("br>") || tag.starts_with("hr>") => {}
            _ => depth += 1,
        }
        deepest = deepest.max(depth);
    }
    assert_eq!(depth, 0, "{html}");
    deepest
}

fn losses(html: &str) -> Vec<Loss> {
    let mut links = Links::to_matrix(&Nobody);
    let _ = Document::read(html, &mut links);
    links.losses
}

#[test]
fn what_matrix_allows_stays_as_it_is() {
    for html in [
        "<p>a</p><p>b <b>c</b> <strong>d</strong> <i>e</i> <em>f</em> <u>g</u> <s>h</s> <del>i</del> <sup>j</sup><sub>k</sub></p>",
        "<h1>a</h1><h2>b</h2><h3>c</h3><h4>d</h4><h5>e</h5><h6>f</h6><hr><div>x<br>y</div>",
        "<blockquote><p>a</p><blockquote>b</blockquote></blockquote>",
        "<ul><li>a<ul><li>b</li></ul></li><li><p>c</p></li></ul><ol start=\"3\"><li>d</li></ol>",
        "<pre><code class=\"language-c++\">int a &lt; b;\n</code></pre><code>x</code>",
        "<table><caption>t</caption><thead><tr><th>a</th></tr></thead><tbody><tr><td>b</td></tr></tbody></table>",
        "<details><summary>a</summary>b</details>",
        "<span data-mx-spoiler=\"why &quot;x&quot;\" data-mx-color=\"#ff0000\" data-mx-bg-color=\"#00FF00\">a</span>",
        "<span data-mx-maths=\"x^2\">x</span><div data-mx-maths=\"\\frac{a}{b}\"><code>y</code></div>",
        "<a href=\"https://x.example/?a=1&amp;b=(2)#c\">a</a> <a href=\"mailto:x@y.example\">b</a> <a href=\"HTTP://X.example\">c</a>",
        "<a href=\"magnet:?xt=urn:btih:x\">a</a> <a href=\"ftp://f.example/\">b</a> <a href=\"https://matrix.to/#/@a:b.example\">c</a>",
    ] {
        assert_eq!(safe(html), html);
    }
}

#[test]
fn the_rest_becomes_text_or_what_is_allowed() {
    for (html, shown) in [
        // Elements
        ("<mx-reply><blockquote>q <mx-reply>x</mx-reply></blockquote></mx-reply>a", "a"),
        ("<script>alert(1)</script><style>p{}</style><title>t</title><iframe src=x>y</iframe>a", "a"),
        ("<template><b>x</b></template><noscript><p>x</p></noscript>a", "a"),
        ("<textarea><b>x</textarea><xmp><i></xmp>", "&lt;b&gt;x&lt;i&gt;"),
        ("<center>a</center><nope onclick=x>b</nope><custom-tag>c", "abc"),
        (
            "<font color=\"#00ff00\">a</font><font color=red>b</font>",
            "<span data-mx-color=\"#00ff00\">a</span><span>b</span>",
        ),
        ("<strike>a</strike><tt>b</tt>", "<del>a</del><code>b</code>"),
        ("<svg><p>a</p></svg><math><mi>x</mi></math>", "<p>a</p>x"),
        ("<!-- a --><!doctype html><?php b ?><![CDATA[c]]>d<!-->e<!--->f<!-- --!>g", "defg"),
        ("a<!-- never closed <b>x</b>", "a"),
        ("<p>a<p>b</p></p>", "<p>a</p><p>b</p>"),
        ("a<script>x", "a"),
        ("<ul><li>a<li>b</ul>", "<ul><li>a</li><li>b</li></ul>"),
        ("<b><i>a</b>b</i>", "<b><i>a</i></b>b"),
        ("<p>a<div>b</div></p>", "<p>a</p><div>b</div>"),
        ("<p>a<table><td>b<p>c</table>d", "<p>a</p><table><tbody><tr><td>b<p>c</p></td></tr></tbody></table>d"),
        ("<table>a<tr>b<td>c", "<table><tbody><tr><td>a</td></tr><tr><td>b</td><td>c</td></tr></tbody></table>"),
        ("<td>a</td><tr>b</caption>", "ab"),
        ("<h1>a<h2>b</h2>", "<h1>a</h1><h2>b</h2>"),
        ("<pre>\n\na</pre>", "<pre>a</pre>"),
        ("a</br>b</p>c", "a<br>bc"),
        // Attributes
        ("<p style=x class=y id=z onclick=\"a\">a</p>", "<p>a</p>"),
        ("<b title='><script>alert(1)</script>'>x</b>", "<b>x</b>"),
        ("<code class=\"a language-rust language-b\">x</code>", "<code class=\"language-rust\">x</code>"),
        ("<code class=\"language-&quot;><b>\">x</code>", "<code>x</code>"),
        (
            "<ol start=1><li>a</ol><ol start=x></ol><ol start=-3></ol>",
            "<ol><li>a</li></ol><ol></ol><ol start=\"-3\"></ol>",
        ),
        ("<span data-mx-color=\"red;x\" data-mx-spoiler>a</span>", "<span data-mx-spoiler=\"\">a</span>"),
        (
            "<a href=\"https://x.example\" href=\"javascript:x\" target=_blank>a</a>",
            "<a href=\"https://x.example\">a</a>",
        ),
        ("<b/onclick=x/>a</b>", "<b>a</b>"),
        ("<b a=\"", ""),
        // Links
        ("<a href=\"/x\">a</a><a href=\"//x.example\">b</a><a>c</a><a href=\"#x\">d</a>", "abcd"),
        ("<a href=\" https://x.\texample/\n\">a</a>", "<a href=\"https://x.example/\">a</a>"),
        ("<a href=\"https://\">a</a><a href=\"https://a b/\">b</a>", "ab"),
        (
            "<a href=\"https://x.example\">a<a href=\"https://y.example\">b</a>",
            "<a href=\"https://x.example\">a</a><a href=\"https://y.example\">b</a>",
        ),
        ("<a href=\"mimi://b.example/u/bob\">@Bob</a>!", "<span>@Bob</span> (mimi://b.example/u/bob)!"),
        ("<a href=\"mimi://b.example/u/bob\">mimi://b.example/u/bob</a>", "<span>mimi://b.example/u/bob</span>"),
        ("<a href=\"geo:1,2\">here</a>", "<span>here</span> (geo:1,2)"),
        // Pictures
        ("<img src=\"https://t.example/x.png\" alt=\"pic\">", "<a href=\"https://t.example/x.png\">pic</a>"),
        (
            "<img data-mx-emoticon src=\"mxc://a/b\" alt=\":cat:\" title=\"c\"><img src=x title=t><img src=x>",
            ":cat:timage",
        ),
        (
            "<a href=\"https://x.example\"><img src=\"https://t.example/x.png\" alt=\"pic\"></a>",
            "<a href=\"https://x.example\">pic</a>",
        ),
        ("<img src=\"javascript:x\" alt=\"<script>alert(1)</script>\">", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        // Check boxes
        (
            "<ul><li><input type=checkbox checked disabled>a<li><input type=checkbox>b</ul><input type=text>",
            "<ul><li>[x] a</li><li>[ ] b</li></ul>",
        ),
        // Characters
        (
            "a\0b\r\nc\rd&#13;e&#0;f&#xd800;g&#x110000;h&#99999999999;",
            "a\u{fffd}b\nc\nd\ne\u{fffd}f\u{fffd}g\u{fffd}h\u{fffd}",
        ),
        (
            "&eacute;&NotEqualTilde;&#128;&hellip;&amp&copy2&ampx;&nope;&;&#;&#x;&",
            "é≂̸€…&amp;©2&amp;x;&amp;nope;&amp;;&amp;#;&amp;#x;&amp;",
        ),
        (
            "<a href=\"https://x.example/?a&copy=1&copy;&lt\">x</a>",
            "<a href=\"https://x.example/?a&amp;copy=1©&lt;\">x</a>",
        ),
        ("a < b > c <3 <", "a &lt; b &gt; c &lt;3 &lt;"),
        ("1 \u{a0} &nbsp;2 \"q\" 'r'", "1 &nbsp; &nbsp;2 \"q\" 'r'"),
    ] {
        assert_eq!(safe(html), shown, "{html}");
    }
}

#[test]
fn no_script_is_reached_by_any_known_trick() {
    for href in [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "\u{1}javascript:alert(1)",
        "java\nscript:alert(1)",
        "java&Tab;script:alert(1)",
        "&#106;avascript&colon;alert(1)",
        "jav&#x0A;ascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "blob:https://x.example/1",
        "file:///etc/passwd",
        "https:javascript:alert(1)//\u{0}",
        "\u{a0}javascript:alert(1)",
        "javascript&#58;alert(1)",
        "view-source:javascript:alert(1)",
    ] {
        let shown = safe(&format!("<a href=\"{href}\">x</a><img src=\"{href}\" alt=y>"));
        assert!(
            !shown.contains("href=\"j") && !shown.contains("data:") && !shown.contains("vbscript"),
            "{href}: {shown}"
        );
    }
    // Mutation: what one parser takes for text, another for markup.
    for html in [
        "<svg><style><img src=x onerror=alert(1)></style></svg>",
        "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
        "<svg></p><style><a id=\"</style><img src=1 onerror=alert(1)>\">",
        "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
        "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
        "<math><annotation-xml encoding=\"text/html\"><style><img src=x onerror=alert(1)></style></annotation-xml></math>",
        "<title><img src=x onerror=alert(1)></title><textarea></textarea><img src=x onerror=alert(1)>",
        "<img alt=\"<x\" title=\"/><img src=url404 onerror=alert(1)>\">",
        "<select><template><style><!--</style><a rel=\"--></style></template></select><img src=x onerror=alert(1)>\">",
        "<xmp><p title=\"</xmp><svg/onload=alert(1)>\">",
        "<listing>&lt;img onerror=alert(1) src=x&gt;</listing>",
        "<plaintext><script>alert(1)</script>",
        "<iframe srcdoc=\"<script>alert(1)</script>\"></iframe><object data=x></object><embed src=x><base href=x>",
        "<table><style><a title=\"</style><img src=x onerror=alert(1)>\">",
        "<![CDATA[<script>alert(1)</script>]]><svg><![CDATA[</svg><img src=x onerror=alert(1)>]]>",
        "<<script>alert(1)</script>",
        "<scr<script>ipt>alert(1)</scr</script>ipt>",
        "<a\0 href=javascript:x>y",
        "<script/x>alert(1)</script/x>z",
        "<SCRIPT>alert(1)</ScRiPt >z",
        "<b\u{a0}onclick=x>y</b>",
        "<a href='https://x.example\"onclick=\"alert(1)'>y</a>",
        "<p>&lt;script&gt;alert(1)&lt;/script&gt;",
    ] {
        let shown = safe(html).to_lowercase();
        for bad in ["<script", "<img", "<svg", "<style", "<iframe", "<object", "<!--", "<math", "<form"] {
            assert!(!shown.contains(bad), "{html} gave {shown}");
        }
    }
}

#[test]
fn text_that_lies_about_its_link_is_told() {
    for (html, shown) in [
        (
            "<a href=\"https://evil.example/x\">https://bank.example/y</a>",
            "<a href=\"https://evil.example/x\">https://bank.example/y</a> (evil.example)",
        ),
        (
            "<a href=\"https://evil.example\"><b>Go: HTTPS://bank.example</b></a>",
            "<a href=\"https://evil.example\"><b>Go: HTTPS://bank.example</b></a> (evil.example)",
        ),
        (
            "<a href=\"https://evil.example\">www.bank.example</a>.",
            "<a href=\"https://evil.example\">www.bank.example</a> (evil.example).",
        ),
        (
            "<a href=\"https://bank.example@evil.example\">https://bank.example</a>",
            "<a href=\"https://bank.example@evil.example\">https://bank.example</a> (evil.example)",
        ),
    ] {
        assert_eq!(safe(html), shown);
    }
    for honest in [
        "<a href=\"https://bank.example/login\">https://bank.example</a>",
        "<a href=\"https://www.bank.example/\">http://BANK.example:443/x</a>",
        "<a href=\"https://xn--bcher-kva.example/\">https://bücher.example</a>",
        "<a href=\"https://x.example/src/lib.rs\">lib.rs</a>",
    ] {
        assert_eq!(safe(honest), honest);
    }
}

#[test]
fn what_is_lost_is_told() {
    assert_eq!(losses("<img src=\"mxc://a/b\" alt=x>"), [Loss::InlineImage]);
    assert_eq!(losses("<a href=\"javascript:x\">a</a>"), [Loss::Link]);
    assert_eq!(losses("<b>a</b> <a href=\"https://x.example\">x</a>"), []);
}

#[test]
fn nothing_nests_deeper_than_matrix_allows() {
    for tag in
        ["div", "b", "blockquote", "span", "details", "ul", "table", "table><td", "ul><li", "a href=https://x.example"]
    {
        let shown = safe(&format!("{}deep &lt;b&gt;", format!("<{tag}>").repeat(300)));
        assert!(shown.contains("deep &lt;b&gt;"), "{tag}");
    }
    let closed = format!("{}deep{}<p>after</p>", "<div>".repeat(300), "</div>".repeat(300));
    let shown = safe(&closed);
    assert!(shown.ends_with("</div><p>after</p>"), "what follows is where it belongs");
    assert_eq!(depth(&shown), MAX_DEPTH);
}

/// How long it takes is for the bench.
#[test]
fn what_comes_of_long_hostile_text_is_bounded() {
    let work = |unit: &str, bytes: usize| {
        let html = unit.repeat(bytes / unit.len());
        let document = Document::read(&html, &mut Links::to_matrix(&Nobody));
        let shown = document.to_html(html.len());
        assert!(shown.len() <= html.len() * 8 + 10_000, "{unit}: {}", shown.len());
        for style in [Form::Markdown, Form::Plain] {
            let text = from_document(&document, style, html.len(), &mut Vec::new());
            assert!(text.is_none_or(|text| text.len() <= 257 * 1024), "{unit}");
        }
    };
    for unit in [
        "<b>",
        "<blockquote>",
        "<ul><li>",
        "<a href=x>",
        "<p><b><i>",
        "<table><tr><td>",
        "</p>",
        "<font><p>",
        "<div>a<br>",
        "&",
        "<",
        "<!--",
        "<!----!",
        "</",
        "<b a",
        "<b a=\"",
        "<script></",
        "<a b c d e f g h i j k l",
        "|",
        "<b>|</b>",
        "<i>a</i><b>a</b>",
        "<span data-mx-spoiler>a</span>",
        "<code>`</code>",
        "<pre>`",
        "<li>",
        "<td>",
        "<ul><li>a</ul>",
        "&amp",
        "&#",
        "<h1>#",
        "<summary>",
        "<i>a<b>b</i>",
        "<a href=https://x.example>a",
        "<a href=https://x.example>https://y.example</a>",
        "<img src=https://x.example>",
        "<textarea>",
        "<mx-reply>",
        "<hr>",
        "\u{200b}",
        "<i>(</i>a",
        "<table><tr><td>a</td></tr></table>",
        "[x] ",
        "_",
        "1. ",
    ] {
        work(unit, 200_000);
    }
    let mut attributes = String::from("<b");
    for number in 0..60_000 {
        attributes.push_str(" a");
        attributes.push_str(&number.to_string());
    }
    assert_eq!(clean(&format!("{attributes}>x")), "<b>x</b>");
}

/// Pieces that HTML of strangers may be made of.
const PIECES: &[&str] = &[
    "<b>",
    "</b>",
    "<i>",
    "</i>",
    "<p>",
    "</p>",
    "<div>",
    "</div>",
    "<span data-mx-spoiler>",
    "</span>",
    "<ul>",
    "</ul>",
    "<li>",
    "</li>",
    "<ol start=2>",
    "</ol>",
    "<table>",
    "</table>",
    "<tr>",
    "</tr>",
    "<td>",
    "</td>",
    "<th>",
    "<thead>",
    "<tbody>",
    "<caption>",
    "</caption>",
    "<a href=\"https://x.example/\">",
    "<a href=javascript:x>",
    "<a href=mimi://b.example/u/x>",
    "</a>",
    "<pre>",
    "</pre>",
    "<code>",
    "</code>",
    "<h1>",
    "</h1>",
    "<h2>",
    "<blockquote>",
    "</blockquote>",
    "<br>",
    "<hr>",
    "<img src=https://t.example/ alt=x>",
    "<details>",
    "<summary>",
    "</details>",
    "<mx-reply>",
    "</mx-reply>",
    "<script>",
    "</script>",
    "<style>",
    "</style>",
    "<svg>",
    "</svg>",
    "<math>",
    "<mtext>",
    "<template>",
    "<noscript>",
    "<select>",
    "<option>",
    "<textarea>",
    "</textarea>",
    "<title>",
    "</title>",
    "<!--",
    "-->",
    "<!x>",
    "<font color=#123456>",
    "</font>",
    "<sub>",
    "<u>",
    "text",
    " ",
    "\n",
    "&lt;",
    "&",
    "<",
    ">",
    "\"",
    "'",
    "=",
    "&nbsp;",
    "|",
    "`",
    "*",
    "_",
    "[x] ",
    "$",
    "\\",
    "#",
    "- ",
    "1. ",
    "\0",
    "\r",
    "<b title=\"",
    "<div data-mx-maths=x>",
    "<p ",
    "/>",
    "</",
    "<form>",
    "<button>",
    "<strike>",
    "<xmp>",
    "<plaintext>",
    "<frameset>",
    "<col>",
    "<img data-mx-emoticon src=\"cid:2@local.invalid\" alt=\":cat:\">",
    "<img src='cid:3@local.invalid' data-mx-emoticon='x' title='\"><b onclick=x>' onerror=x height=9999>",
    "<img data-mx-emoticon src=\"cid:4@local.invalid\" alt=\"none\">",
    "<img data-mx-emoticon src=\"mxc://a.example/9\">",
    "<IMG DATA-MX-EMOTICON SRC=cid:2@local.invalid ALT=",
    "<img src=cid:2@local.invalid>",
];

#[test]
fn custom_emoji_are_pictures_that_were_carried_and_nothing_else() {
    let shown = safe_with_pictures(
        "<b><img src='cid:3@local.invalid' data-mx-emoticon title='\"><b onclick=x>' onerror=x style=x></b>\
         <img src=cid:2@local.invalid alt=plain><img data-mx-emoticon src=mxc://a.example/9 alt=own>",
    );
    let name = "&quot;&gt;&lt;b onclick=x&gt;";
    let img =
        format!("<img data-mx-emoticon=\"\" src=\"mxc://b.example/3\" alt=\"{name}\" title=\"{name}\" height=\"32\">");
    assert_eq!(shown, format!("<b>{img}</b>plainown"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_it_is_it_is_safe(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        safe(&pieces.concat());
        safe_with_pictures(&pieces.concat());
    }

    #[test]
    fn any_characters_are_safe(html in "[<>/\"'=&; a-z`*_#!\\[\\]\\n\\PC-]{0,80}") {
        safe(&html);
    }
}
