use seaworthy_model::OsRelease;

use crate::limit;

/// Reads `os-release(5)`: shell-like assignments, the last of a name wins. Lines that are no
/// assignment are passed over, as every other reader does; `None` without an `ID`, and
/// for a file longer than [`limit::OS_RELEASE_BYTES`]: its end could say something else.
pub fn parse_os_release(content: &[u8]) -> Option<OsRelease> {
    if content.len() > limit::OS_RELEASE_BYTES {
        return None;
    }
    let text = String::from_utf8_lossy(content);
    let mut os = OsRelease::default();
    for line in text.lines() {
        let line = line.trim();
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        let value = unquote(value.trim());
        match key.trim() {
            "ID" => os.id = value.to_ascii_lowercase(),
            "VERSION_ID" => os.version = Some(value).filter(|version| !version.is_empty()),
            "VERSION_CODENAME" => os.codename = Some(value).filter(|name| !name.is_empty()),
            "PRETTY_NAME" => os.name = value,
            _ => {}
        }
    }
    (!os.id.is_empty()).then_some(os)
}

/// Single quotes keep everything, double quotes and bare words resolve `\"`, `\$`, `\\`, `` \` ``.
fn unquote(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return short(inner.chars());
    }
    let inner = value.strip_prefix('"').map_or(value, |rest| rest.strip_suffix('"').unwrap_or(rest));
    let mut escaped = false;
    short(inner.chars().filter(move |character| {
        let drop = *character == '\\' && !escaped;
        escaped = drop;
        !drop
    }))
}

fn short(characters: impl Iterator<Item = char>) -> String {
    characters.filter(|character| !character.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_and_escapes() {
        let os = parse_os_release(
            b"# comment\nPRETTY_NAME=\"Debian \\\"GNU\\\" \\$1\"\nID=Debian\r\nVERSION_ID='12'\nVERSION_CODENAME=bookworm\nBUG\n",
        )
        .expect("os");
        assert_eq!((os.id.as_str(), os.name.as_str()), ("debian", "Debian \"GNU\" $1"));
        assert_eq!((os.version.as_deref(), os.codename.as_deref()), (Some("12"), Some("bookworm")));
        assert_eq!(parse_os_release(b"VERSION_ID=1\n"), None);
        assert_eq!(
            parse_os_release(b"ID=a\nID=b\nVERSION_ID=\n").map(|os| (os.id, os.version)),
            Some(("b".into(), None))
        );
    }

    #[test]
    fn a_longer_file_is_not_read_in_part() {
        let file = |bytes: usize| format!("{:#<width$}\nID=debian", "", width = bytes - "\nID=debian".len());
        let read = |bytes: usize| parse_os_release(file(bytes).as_bytes()).map(|os| os.id);
        assert_eq!(read(limit::OS_RELEASE_BYTES).as_deref(), Some("debian"));
        assert_eq!(read(limit::OS_RELEASE_BYTES + 1), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = parse_os_release(&bytes);
        }
    }
}
