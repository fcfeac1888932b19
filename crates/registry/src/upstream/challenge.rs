//! `WWW-Authenticate`, read strictly (RFC 9110 §11.6.1; distribution spec, token authentication).

use crate::limit;

/// What an upstream asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token from the realm.
    Bearer {
        /// Where.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// For what.
        scope: Option<String>,
    },
    /// User name and password.
    Basic,
}

/// The first challenge that we can answer, a bearer's before another; `None` when there is none, or the header
/// is not what the RFC says.
pub(crate) fn parse<'h>(headers: impl Iterator<Item = &'h str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        for challenge in challenges(header)? {
            match challenge {
                Challenge::Bearer { .. } => return Some(challenge),
                Challenge::Basic => basic = Some(challenge),
            }
        }
    }
    basic
}

fn challenges(header: &str) -> Option<Vec<Challenge>> {
    if header.len() > limit::CHALLENGE_BYTES {
        return None;
    }
    let mut rest = header.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (scheme, behind) = token(rest)?;
        rest = behind.trim_start();
        let mut params: Vec<(String, String)> = Vec::new();
        while let Some((name, value, behind)) = param(rest) {
            if params.iter().any(|(known, _)| *known == name) {
                return None;
            }
            params.push((name, value));
            rest = behind.trim_start();
            match rest.strip_prefix(',') {
                Some(behind) => rest = behind.trim_start_matches([',', ' ', '\t']),
                None if rest.is_empty() => {}
                None => return None,
            }
        }
        let take = |wanted: &str| params.iter().find(|(name, _)| name == wanted).map(|(_, it)| it.clone());
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => found.push(Challenge::Bearer {
                realm: take("realm")?,
                service: take("service"),
                scope: take("scope"),
            }),
            "basic" => found.push(Challenge::Basic),
            // Its parameters are read and left; one with other data cannot be told from them.
            _ => {}
        }
        rest = rest.trim_start_matches([',', ' ', '\t']);
    }
    Some(found)
}

fn token(text: &str) -> Option<(&str, &str)> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
    let end = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
    let (token, rest) = text.split_at_checked(end)?;
    (!token.is_empty()).then_some((token, rest))
}

/// `name=token` or `name="text"`, and what follows.
fn param(text: &str) -> Option<(String, String, &str)> {
    let (name, rest) = token(text)?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let name = name.to_ascii_lowercase();
    if let Some(text) = rest.strip_prefix('"') {
        let (value, rest) = quoted(text)?;
        return Some((name, value, rest));
    }
    let (value, rest) = token(rest)?;
    Some((name, value.to_owned(), rest))
}

/// A quoted string behind its first mark, and what follows (RFC 9110, section 5.6.4).
pub(super) fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(header: &str) -> String {
        match parse([header].into_iter()) {
            None => "none".into(),
            Some(Challenge::Basic) => "basic".into(),
            Some(Challenge::Bearer { realm, service, scope }) => {
                format!("{realm} {} {}", service.unwrap_or_default(), scope.unwrap_or_default())
            }
        }
    }

    #[test]
    fn challenges_are_read_strictly() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://a/t",service="s",scope="repository:a:pull""#,
                "https://a/t s repository:a:pull",
            ),
            (r#"bearer Realm = "https://a/t" , SERVICE=s"#, "https://a/t s "),
            (r#"Basic realm="r", Bearer realm="https://a/t""#, "https://a/t  "),
            (r#"Bearer realm="a\"b",service="c,d""#, "a\"b c,d "),
            (r#"Digest realm="x", nonce=y, Basic realm="z""#, "basic"),
            (r#"Basic realm="r""#, "basic"),
            ("Basic", "basic"),
            (r#"Bearer service="s""#, "none"),
            (r#"Bearer realm="https://a/t"#, "none"),
            (r#"Bearer realm="a",realm="b""#, "none"),
            (r#"Bearer realm="a" service="b""#, "none"),
            ("Bearer", "none"),
            ("Negotiate abc==", "none"),
            ("", "none"),
        ] {
            assert_eq!(read(header), expected, "{header}");
        }
        let long = |bytes: usize| format!(r#"Bearer realm="{}""#, "a".repeat(bytes - 15));
        assert_eq!(long(limit::CHALLENGE_BYTES).len(), limit::CHALLENGE_BYTES);
        assert_ne!(read(&long(limit::CHALLENGE_BYTES)), "none");
        assert_eq!(read(&long(limit::CHALLENGE_BYTES + 1)), "none");
    }

    proptest! {
        #[test]
        fn hostile_challenges_do_not_panic(header: String) {
            let _ = read(&header);
            let _ = read(&format!("Bearer {header}"));
        }
    }
}
