use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{InstalledPackage, limit};

/// A package URL, `pkg:type/namespace/name@version?qualifiers#subpath`, in canonical form
/// (package-url specification, ECMA-427): equal packages have equal texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Purl {
    kind: String,
    namespace: Vec<String>,
    name: String,
    version: Option<String>,
    qualifiers: BTreeMap<String, String>,
    subpath: Vec<String>,
}

impl Purl {
    /// The package's URL; `distro` (`debian-12`) becomes the qualifier of that name.
    ///
    /// ```
    /// # use seaworthy_package::{Ecosystem, InstalledPackage, Purl, SourcePackage};
    /// # let version = "1:2.5.0-1+b1".to_owned();
    /// let expat = InstalledPackage {
    ///     ecosystem: Ecosystem::Deb,
    ///     distribution: "debian".to_owned(),
    ///     name: "libexpat1".to_owned(),
    ///     version: version.clone(),
    ///     architecture: "amd64".to_owned(),
    ///     source: SourcePackage { name: "expat".to_owned(), version },
    /// };
    /// assert_eq!(
    ///     Purl::of(&expat, Some("debian-12")).to_string(),
    ///     "pkg:deb/debian/libexpat1@1:2.5.0-1%2Bb1?arch=amd64&distro=debian-12",
    /// );
    /// ```
    pub fn of(package: &InstalledPackage, distro: Option<&str>) -> Self {
        let kind = package.ecosystem.name();
        let pairs = [("arch", package.architecture.as_str()), ("distro", distro.unwrap_or_default())];
        Self {
            kind: kind.to_owned(),
            namespace: path_segments(&fold_case(kind, &package.distribution)),
            name: fold_case(kind, &package.name),
            version: (!package.version.is_empty()).then(|| package.version.clone()),
            qualifiers: pairs
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            subpath: Vec::new(),
        }
    }

    /// The type, in lower case: `deb`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The namespace's segments, decoded.
    pub fn namespace(&self) -> &[String] {
        &self.namespace
    }

    /// The name, decoded.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version, decoded.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// A qualifier's value, decoded.
    pub fn qualifier(&self, key: &str) -> Option<&str> {
        self.qualifiers.get(key).map(String::as_str)
    }
}

impl fmt::Display for Purl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkg:{}", self.kind)?;
        for segment in &self.namespace {
            write!(f, "/{}", Encoded(segment))?;
        }
        write!(f, "/{}", Encoded(&self.name))?;
        if let Some(version) = &self.version {
            write!(f, "@{}", Encoded(version))?;
        }
        for (position, (key, value)) in self.qualifiers.iter().enumerate() {
            let separator = if position == 0 { '?' } else { '&' };
            write!(f, "{separator}{key}={}", Encoded(value))?;
        }
        for (position, segment) in self.subpath.iter().enumerate() {
            let separator = if position == 0 { '#' } else { '/' };
            write!(f, "{separator}{}", Encoded(segment))?;
        }
        Ok(())
    }
}

/// Why a text is not a package URL.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PurlError {
    /// Longer than [`limit::PURL_BYTES`].
    #[error("package URL is longer than {} bytes", limit::PURL_BYTES)]
    TooLong,
    /// Does not begin with `pkg:`.
    #[error("package URL does not start with `pkg:`")]
    Scheme,
    /// The type is missing or has other characters than letters, digits, `.` and `-`.
    #[error("package URL has no valid type")]
    Kind,
    /// There is no name.
    #[error("package URL has no name")]
    Name,
    /// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("package URL has a broken percent-encoding")]
    Encoding,
    /// A qualifier without key or `=`, or a key twice.
    #[error("package URL has a broken qualifier")]
    Qualifier,
    /// White space or a control character.
    #[error("package URL has a space or control character")]
    Character,
}

impl FromStr for Purl {
    type Err = PurlError;

    fn from_str(text: &str) -> Result<Self, PurlError> {
        if text.len() > limit::PURL_BYTES {
            return Err(PurlError::TooLong);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(PurlError::Character);
        }
        let (rest, subpath) = split_back(text, '#');
        let (rest, qualifiers) = split_back(rest, '?');
        let (scheme, rest) = rest.split_once(':').ok_or(PurlError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("pkg") {
            return Err(PurlError::Scheme);
        }
        // The specification lets parsers ignore `//` after the scheme.
        let (kind, rest) = rest.trim_matches('/').split_once('/').ok_or(PurlError::Name)?;
        let kind = parse_kind(kind)?;
        // An `@` of a version stands behind the last slash; a scope such as `@angular` does not.
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (path, version) = match rest.rfind('@') {
            Some(at) if at > name_start => (rest.get(..at), rest.get(at + 1..)),
            _ => (Some(rest), None),
        };
        let mut path: Vec<String> =
            path.unwrap_or_default().split('/').map(decode).collect::<Result<_, _>>()?;
        let name = path.pop().filter(|name| !name.is_empty()).ok_or(PurlError::Name)?;
        path.retain(|segment| !segment.is_empty());
        Ok(Self {
            namespace: path.iter().map(|segment| fold_case(&kind, segment)).collect(),
            name: fold_case(&kind, &name),
            version: version.filter(|version| !version.is_empty()).map(decode).transpose()?,
            qualifiers: parse_qualifiers(qualifiers.unwrap_or_default())?,
            subpath: parse_subpath(subpath.unwrap_or_default())?,
            kind,
        })
    }
}

fn split_back(text: &str, separator: char) -> (&str, Option<&str>) {
    text.rsplit_once(separator).map_or((text, None), |(front, back)| (front, Some(back)))
}

fn parse_kind(kind: &str) -> Result<String, PurlError> {
    let starts_well = kind.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let valid = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    if starts_well && valid { Ok(kind.to_ascii_lowercase()) } else { Err(PurlError::Kind) }
}

fn parse_qualifiers(text: &str) -> Result<BTreeMap<String, String>, PurlError> {
    let mut qualifiers = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(PurlError::Qualifier)?;
        let starts_well = key.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        let valid =
            key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if !starts_well || !valid {
            return Err(PurlError::Qualifier);
        }
        // An empty value is the same as no qualifier (specification, "Qualifiers").
        if !value.is_empty() && qualifiers.insert(key.to_ascii_lowercase(), decode(value)?).is_some() {
            return Err(PurlError::Qualifier);
        }
    }
    Ok(qualifiers)
}

fn parse_subpath(text: &str) -> Result<Vec<String>, PurlError> {
    let segments: Vec<String> = text.split('/').map(decode).collect::<Result<_, _>>()?;
    Ok(segments.into_iter().filter(|segment| !matches!(segment.as_str(), "" | "." | "..")).collect())
}

fn path_segments(namespace: &str) -> Vec<String> {
    namespace.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

/// Types whose names are not case sensitive are written in lower case.
fn fold_case(kind: &str, text: &str) -> String {
    if kind == "deb" { text.to_lowercase() } else { text.to_owned() }
}

fn decode(text: &str) -> Result<String, PurlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut nibble = || {
            rest.next().and_then(|digit| char::from(digit).to_digit(16)).and_then(|n| u8::try_from(n).ok())
        };
        let (Some(high), Some(low)) = (nibble(), nibble()) else { return Err(PurlError::Encoding) };
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).map_err(|_| PurlError::Encoding)
}

/// Everything but letters, digits, `.-_~` and `:` is percent-encoded, in upper case.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':') {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, canonical) in [
            (
                "pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=jessie",
                "pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=jessie",
            ),
            ("PKG:DEB/Debian/Curl", "pkg:deb/debian/curl"),
            (
                "pkg:deb/debian/attr@1:2.4.47-2+b1?arch=source",
                "pkg:deb/debian/attr@1:2.4.47-2%2Bb1?arch=source",
            ),
            (
                "pkg:deb/debian/attr@1%3A2.4.47-2%2bb1?distro=&ARCH=source",
                "pkg:deb/debian/attr@1:2.4.47-2%2Bb1?arch=source",
            ),
            ("pkg://npm/%40angular/animation@12.3.1", "pkg:npm/%40angular/animation@12.3.1"),
            ("pkg:npm/@angular/animation", "pkg:npm/%40angular/animation"),
            (
                "pkg:golang/google.golang.org/genproto#/googleapis/../api/",
                "pkg:golang/google.golang.org/genproto#googleapis/api",
            ),
            ("pkg:deb/libstdc++6", "pkg:deb/libstdc%2B%2B6"),
        ] {
            assert_eq!(text.parse::<Purl>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn what_is_no_package_url() {
        for (text, fault) in [
            ("", PurlError::Scheme),
            ("deb/debian/curl", PurlError::Scheme),
            ("pkg:deb", PurlError::Name),
            ("pkg:deb/", PurlError::Name),
            ("pkg:d_b/x", PurlError::Kind),
            ("pkg:1deb/x", PurlError::Kind),
            ("pkg:deb/x%2", PurlError::Encoding),
            ("pkg:deb/x%ff", PurlError::Encoding),
            ("pkg:deb/x?arch", PurlError::Qualifier),
            ("pkg:deb/x?=1", PurlError::Qualifier),
            ("pkg:deb/x?a=1&A=2", PurlError::Qualifier),
            ("pkg:deb/x y", PurlError::Character),
        ] {
            assert_eq!(text.parse::<Purl>().unwrap_err(), fault, "{text}");
        }
    }

    #[test]
    fn length_is_bounded() {
        let long = |bytes: usize| format!("pkg:deb/{}", "a".repeat(bytes - 8)).parse::<Purl>();
        assert!(long(limit::PURL_BYTES).is_ok());
        assert_eq!(long(limit::PURL_BYTES + 1), Err(PurlError::TooLong));
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(name in "[a-z0-9+.%@?#/&=é-]{1,12}", version in "[0-9A-Z:~+.@/?#-]{0,12}", value in "[ -~]{0,8}") {
            let purl = Purl {
                kind: "deb".to_owned(),
                namespace: vec!["debian".to_owned()],
                name,
                version: (!version.is_empty()).then_some(version),
                qualifiers: [("arch".to_owned(), value)].into_iter().filter(|(_, value)| !value.is_empty()).collect(),
                subpath: Vec::new(),
            };
            prop_assert_eq!(purl.to_string().parse::<Purl>().unwrap(), purl);
        }

        #[test]
        fn any_text_is_judged(text in "pkg:.{0,40}") {
            if let Ok(purl) = text.parse::<Purl>() {
                let canonical = purl.to_string();
                prop_assert_eq!(canonical.parse::<Purl>().unwrap().to_string(), canonical);
            }
        }
    }
}
