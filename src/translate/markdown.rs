//! GFM-MIMI (draft-ietf-mimi-content-08 section 6.1.1) to HTML.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html::push_html};

/// Writes GFM-MIMI as HTML: tables, task lists and strikethrough; no HTML (tags are shown as text), no images (their texts
/// are kept). The result still has to be cleaned: links may have any scheme.
pub(super) fn to_html(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(markdown, options).filter_map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        Event::Start(Tag::Image { .. } | Tag::HtmlBlock) | Event::End(TagEnd::Image | TagEnd::HtmlBlock) => None,
        Event::TaskListMarker(done) => Some(Event::Text(if done { "[x] " } else { "[ ] " }.into())),
        other => Some(other),
    });
    let mut html = String::new();
    push_html(&mut html, events);
    html.trim_end().to_owned()
}
