//! `Link`, as far as it says where a list goes on (RFC 8288, section 3).

use super::challenge::quoted;

/// The address of the first link to a next page. What cannot be read ends its header (section B.2).
pub(super) fn next_in<'h>(headers: impl Iterator<Item = &'h str>) -> Option<&'h str> {
    for mut rest in headers {
        while let Some((address, is_next, behind)) = link(rest) {
            if is_next {
                return Some(address);
            }
            rest = behind;
        }
    }
    None
}

/// `<address>; name=value …`: whether it leads from here to what is next, and what follows.
fn link(text: &str) -> Option<(&str, bool, &str)> {
    let text = text.trim_start_matches([',', ' ', '\t']);
    let (address, rest) = text.strip_prefix('<')?.split_once('>')?;
    let (mut rest, mut rel, mut is_from_here) = (rest.trim_start(), None, true);
    while let Some(behind) = rest.strip_prefix(';') {
        let (name, value, behind) = param(behind)?;
        match name.as_str() {
            // The first one counts.
            "rel" => rel = rel.or(Some(value)),
            "anchor" => is_from_here = false,
            _ => {}
        }
        rest = behind.trim_start();
    }
    let is_next = rel.is_some_and(|rel| rel.split_whitespace().any(|word| word.eq_ignore_ascii_case("next")));
    Some((address, is_next && is_from_here, rest.split_once(',').map_or("", |(_, behind)| behind)))
}

/// `name`, `name=value` or `name="text"`, and what follows.
fn param(text: &str) -> Option<(String, String, &str)> {
    let (name, rest) = text.split_at_checked(text.find(['=', ';', ',']).unwrap_or(text.len()))?;
    let name = name.trim().to_ascii_lowercase();
    let Some(value) = rest.strip_prefix('=').map(str::trim_start) else {
        return Some((name, String::new(), rest));
    };
    if let Some(text) = value.strip_prefix('"') {
        let (text, rest) = quoted(text)?;
        return Some((name, text, rest));
    }
    let (value, rest) = value.split_at_checked(value.find([';', ',']).unwrap_or(value.len()))?;
    Some((name, value.trim().to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_next_page_is_read() {
        for (headers, next) in [
            (&[r#"</v2/a/tags/list?n=1&last=b>; rel="next""#][..], Some("/v2/a/tags/list?n=1&last=b")),
            (&["<https://a.example/x>;rel=next"], Some("https://a.example/x")),
            (&[r#"<?p=0>; rel="first", <?p=2>; rel="next""#], Some("?p=2")),
            (&[r#"<?p=2>; rel="next", <?p=9>; rel="last""#], Some("?p=2")),
            (&[r#"<?p=0>; rel="first""#, r#"<?p=2>; rel="next""#], Some("?p=2")),
            (&[r#"<?a=1,2>; title="x, <y>; rel=\"next\"", <?p=2> ; REL = "last  NEXT" ; x"#], Some("?p=2")),
            (&["<a>; rel=prev; rel=next, <b>; rel=nexty, , <c>; crossorigin; rel=next"], Some("c")),
            (&[r#"<a>; rel=next; anchor="/elsewhere", <b>; rel=next"#], Some("b")),
            (&[r#"<a>; rel="next"#, "<b>; rel=next"], Some("b")),
            (&[r#"</x>; rel="prev""#], None),
            (&["</x>"], None),
            (&["</x>; title=next"], None),
            (&["/x; rel=next"], None),
            (&["</x; rel=next"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(next_in(headers.iter().copied()), next, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_links_do_not_panic(header: String) {
            let _ = next_in([header.as_str()].into_iter());
            let _ = next_in([format!("<{header}>; {header}").as_str(), format!("<>;rel=\"{header}").as_str()].into_iter());
        }
    }
}
