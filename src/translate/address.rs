//! Where an external part lies, if that is for everybody to see.

use crate::content::{Disposition, ExternalPart};

/// Longest address that is shown, in bytes.
const MAX: usize = 2048;

/// The address of a part that is not sealed: of use to people, who can go there themselves. Nothing is fetched for that.
pub(super) fn public(external: &ExternalPart) -> Option<&str> {
    let url = external.url.as_str();
    let (scheme, rest) = url.split_once(':')?;
    let named = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let inert = ["about", "blob", "cid", "data", "file", "javascript", "mxc", "vbscript"];
    let leads = !inert.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let plain = url.len() <= MAX && url.bytes().all(|byte| byte.is_ascii_graphic());
    (external.enc_alg == 0 && plain && named && leads && !scheme.is_empty() && !rest.is_empty()).then_some(url)
}

/// Where a call is, or a conference: of a part that is one.
pub(super) fn of_session(disposition: Disposition, external: &ExternalPart) -> Option<&str> {
    (disposition == Disposition::Session).then(|| public(external)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_if_people_can_go_there() {
        let part = |url: &str, enc_alg| ExternalPart { url: url.to_owned(), enc_alg, ..ExternalPart::default() };
        for good in ["https://x.example/j", "tel:+123", "sip:conf@x.example", "geo:1,2", "mailto:a@x.example"] {
            assert_eq!(public(&part(good, 0)), Some(good));
        }
        let long = format!("https://x.example/{}", "a".repeat(MAX));
        for bad in
            ["", "x", "tel:", ":x", "a b:c", "https://x y", "javascript:x", "Data:,x", "mxc://a/b", "cid:1@x", &long]
        {
            assert_eq!(public(&part(bad, 0)), None, "{bad}");
        }
        assert_eq!(public(&part("https://x.example/j", 1)), None, "who has no key has no use of it");
    }
}
