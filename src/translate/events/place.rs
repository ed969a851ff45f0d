//! Locations: `m.room.message` with `msgtype` `m.location` (Client-Server API), as Element sends them (MSC3488).

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::super::{
    Loss, MSGTYPE_EXTENSION, MatrixMessage, NotCarried, ToMatrix, ToMimi, Translated, address, display,
};
use crate::content::{
    Body, CborValue, Disposition, ExtensionKey, MimiContent, NestedPart, PartSemantics, TEXT_MARKDOWN, TEXT_PLAIN,
};

/// The kind of message, also its mark in MIMI.
pub(super) const MSGTYPE: &str = "m.location";
/// Longest geo URI, in bytes.
const MAX_URI: usize = 200;
/// Longest description, in bytes.
const MAX_TEXT: usize = 4096;

/// A geo URI (RFC 5870) that names a place on earth.
pub(super) fn is_geo(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("geo:").filter(|_| uri.len() <= MAX_URI) else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ',' | ';' | '=' | '%' | '_');
    let mut numbers = rest.split(';').next().unwrap_or_default().split(',').map(|number| {
        let digits = number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
        number.parse::<f64>().ok().filter(|_| digits)
    });
    let mut within = |limit: f64| numbers.next().flatten().is_some_and(|number| number.abs() <= limit);
    rest.chars().all(plain) && within(90.0) && within(180.0)
}

/// A geo URI whose numbers are written or counted another way (`5e-7`, 182° east): as RFC 5870 wants them; `None` if it is no place.
fn tidied(uri: &str) -> Option<String> {
    let rest = uri.strip_prefix("geo:").filter(|_| uri.len() <= MAX_URI)?;
    let end = rest.find(';').unwrap_or(rest.len());
    let (point, more) = rest.split_at_checked(end)?;
    let numbers: Option<Vec<f64>> =
        point.split(',').map(|number| number.parse().ok().filter(|n: &f64| n.is_finite())).collect();
    let [latitude, longitude, altitude @ ..] = numbers.as_deref()? else { return None };
    let longitude = if longitude.abs() <= 180.0 { *longitude } else { (longitude + 180.0).rem_euclid(360.0) - 180.0 };
    let mut all = vec![format!("{latitude:.7}"), format!("{longitude:.7}")];
    all.extend(altitude.iter().map(|metres| format!("{metres:.3}")));
    let short = |number: &String| number.trim_end_matches('0').trim_end_matches('.').to_owned();
    let uri = format!("geo:{}{more}", all.iter().map(short).collect::<Vec<_>>().join(","));
    is_geo(&uri).then_some(uri)
}

/// A place as RFC 5870 writes it; `None` if it is none.
pub(super) fn written(uri: &str) -> Option<Cow<'_, str>> {
    if is_geo(uri) { Some(Cow::Borrowed(uri)) } else { tidied(uri).map(Cow::Owned) }
}

/// Markdown in which nothing is markup.
pub(in crate::translate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

pub(super) fn to_mimi(
    outer: &Map<String, Value>,
    content: &Map<String, Value>,
    ctx: &ToMimi<'_>,
) -> Result<Translated, NotCarried> {
    let nested = |key: &str, field: &str| content.get(key)?.get(field)?.as_str();
    let uri = content.get("geo_uri").and_then(Value::as_str).or(nested("m.location", "uri"));
    let uri = uri.or(nested("org.matrix.msc3488.location", "uri")).ok_or(NotCarried::Malformed("geo_uri"))?;
    let given = uri;
    let written = written(uri).ok_or(NotCarried::Malformed("geo_uri"))?;
    let uri = written.as_ref();
    let text = content.get("body").and_then(Value::as_str).unwrap_or_default();
    let mut losses = Vec::new();
    let mut text = text.trim();
    if text.len() > MAX_TEXT {
        losses.push(Loss::Cut);
        text = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
    }
    // Whose place it is, when they were there, a picture of the map.
    let same = |found: Option<&str>, known: &str| found.is_none_or(|found| found == known);
    let crosses = |key: &str| match key {
        "msgtype"
        | "body"
        | "geo_uri"
        | "m.relates_to"
        | "m.mentions"
        | "m.new_content"
        | "org.matrix.self_destruct_after"
        | "com.beeper.disappearing_timer" => true,
        "m.text" | "org.matrix.msc1767.text" => content.get(key).and_then(Value::as_str) == Some(text),
        "m.asset" | "org.matrix.msc3488.asset" => nested(key, "type") == Some("m.pin"),
        "m.location" | "org.matrix.msc3488.location" => {
            same(nested(key, "uri"), given) && same(nested(key, "description"), text)
        }
        _ => false,
    };
    if content.keys().any(|key| !crosses(key)) {
        losses.push(Loss::Details);
    }
    let name = if text.is_empty() { uri } else { text };
    let plain = if text.is_empty() { uri.to_owned() } else { format!("{text}\n{uri}") };
    let parts = vec![
        NestedPart::text(TEXT_MARKDOWN, &format!("[{}]({uri})", escaped(name))),
        NestedPart::text(TEXT_PLAIN, &plain),
    ];
    let body = NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts });
    let mut message = super::message("m.room.message", body, outer, ctx, &mut losses)?;
    message.extensions.insert(ExtensionKey::text(MSGTYPE_EXTENSION), CborValue::from(MSGTYPE));
    super::translated(message, losses)
}

/// What is said of a place, and where it is: by the address of a part, or in a text that is marked as a location.
fn described(message: &MimiContent) -> Option<(&str, &str)> {
    if let Body::External(external) = &message.body.body {
        let text = external.description.as_str();
        let text = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
        let uri = address::public(external).filter(|_| message.body.disposition == Disposition::Render)?;
        return Some((if text.is_empty() { uri } else { text }, uri));
    }
    let marked = message.extensions.get(&ExtensionKey::text(MSGTYPE_EXTENSION))?.as_text()?;
    let plain = super::private::plain_text(message).filter(|_| marked == MSGTYPE)?;
    Some(plain.rsplit_once('\n').unwrap_or((plain, plain)))
}

/// A message that is a place, or is marked as a location, and whose text ends in one. The text is what counts, so that everybody sees the
/// same place.
pub(super) fn to_matrix(message: &MimiContent, ctx: &ToMatrix<'_>, losses: &[Loss]) -> Option<MatrixMessage> {
    let (text, uri) = described(message)?;
    if !is_geo(uri) || text.contains('\0') || message.replaces.is_some() {
        return None;
    }
    let titled = message.subject().map(|subject| format!("{subject}\n\n{text}"));
    let text = display::shown(titled.as_deref().unwrap_or(text));
    let content = json!({
        "msgtype": MSGTYPE,
        "body": text,
        "geo_uri": uri,
        "org.matrix.msc3488.location": { "uri": uri, "description": text },
        "org.matrix.msc3488.asset": { "type": "m.pin" },
        "org.matrix.msc1767.text": text,
    });
    super::mirror("m.room.message", content.as_object()?.clone(), message, ctx, losses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_tidied() {
        for (given, written) in [
            ("geo:5e-7,-182.3;u=35", Some("geo:0.0000005,177.7;u=35")),
            ("geo:51.50,540", Some("geo:51.5,-180")),
            ("geo:1e1,0,2.5e0", Some("geo:10,0,2.5")),
            ("geo:91,0", None),
            ("geo:inf,0", None),
            ("geo:1", None),
            ("https://a.example", None),
        ] {
            assert_eq!(tidied(given).as_deref(), written, "{given}");
        }
    }

    #[test]
    fn only_places_on_earth_are_places() {
        for good in ["geo:51.5,-0.1", "geo:-90,180", "geo:1,2,3;u=35.5", "geo:48.2010,16.3695,183;crs=wgs84"] {
            assert!(is_geo(good), "{good}");
        }
        let long = format!("geo:1,2;u={}", "1".repeat(200));
        for bad in [
            "geo:91,0",
            "geo:0,181",
            "geo:1",
            "geo:",
            "geo:inf,0",
            "geo:NaN,0",
            "geo:1e1,0",
            "GEO:1,2",
            "geo:1,2 x",
            "geo:1,2\nx",
            "geo:1,2)<b>",
            "https://a.example",
            &long,
        ] {
            assert!(!is_geo(bad), "{bad}");
        }
    }
}
