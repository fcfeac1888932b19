//! Private keys in any file. Exact: a hit is a key whose structure holds, not a line that
//! looks like one, so that documentation with `...` between the lines never matches.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use memchr::memmem::Finder;
use seaworthy_oci::Digest;

use crate::limit;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretRule {
    /// An RSA, EC, DSA or PKCS #8 private key in the clear (RFC 7468 §10, RFC 8017, RFC 5915).
    KeyPem,
    /// The same under a passphrase (RFC 7468 §11, RFC 1421 headers): a rule of its own,
    /// because a passphrase may be all that it takes.
    KeyPemEncrypted,
    /// An OpenSSH private key in the clear.
    KeyOpenssh,
    /// The same under a passphrase.
    KeyOpensshEncrypted,
}

impl SecretRule {
    /// All rules; the position is the rule's number in stored facts.
    pub const ALL: [Self; 4] =
        [Self::KeyPem, Self::KeyPemEncrypted, Self::KeyOpenssh, Self::KeyOpensshEncrypted];

    /// The stable word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeyPem => "private-key-pem",
            Self::KeyPemEncrypted => "private-key-pem-encrypted",
            Self::KeyOpenssh => "private-key-openssh",
            Self::KeyOpensshEncrypted => "private-key-openssh-encrypted",
        }
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

/// Looks through a file that comes in chunks of any size. Files of any size are looked
/// through to their end; only keys longer than [`limit::KEY_BYTES`] are passed over.
pub(crate) struct Scanner {
    begin: Finder<'static>,
    /// While searching: the last bytes, which may begin a `BEGIN`. While taking: all since it.
    held: Vec<u8>,
    taking: bool,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self { begin: Finder::new(BEGIN), held: Vec::new(), taking: false }
    }

    /// Forgets the previous file.
    pub(crate) fn start(&mut self) {
        self.held.clear();
        self.taking = false;
    }

    /// Takes the next bytes of the file.
    pub(crate) fn push(&mut self, mut chunk: &[u8], found: &mut impl FnMut(SecretRule, Digest)) {
        while !chunk.is_empty() {
            chunk = if self.taking { self.take(chunk, found) } else { self.search(chunk) };
        }
    }

    /// Goes on behind the next `BEGIN`.
    fn search<'c>(&mut self, chunk: &'c [u8]) -> &'c [u8] {
        let keep = BEGIN.len() - 1;
        if !self.held.is_empty() {
            let before = self.held.len();
            self.held.extend(chunk.iter().take(keep));
            if let Some(at) = self.begin.find(&self.held) {
                let used = (at + BEGIN.len()).saturating_sub(before);
                return self.begin_taking(chunk.get(used..).unwrap_or_default());
            }
            self.held.truncate(before);
        }
        if let Some(at) = self.begin.find(chunk) {
            return self.begin_taking(chunk.get(at + BEGIN.len()..).unwrap_or_default());
        }
        if chunk.len() >= keep {
            self.held.clear();
        }
        self.held.extend(chunk.get(chunk.len().saturating_sub(keep)..).unwrap_or_default());
        let surplus = self.held.len().saturating_sub(keep);
        self.held.drain(..surplus);
        &[]
    }

    fn begin_taking<'c>(&mut self, rest: &'c [u8]) -> &'c [u8] {
        self.taking = true;
        self.held.clear();
        rest
    }

    /// Collects until the `-----` that ends the `END` line; another `BEGIN` starts anew.
    fn take<'c>(&mut self, chunk: &'c [u8], found: &mut impl FnMut(SecretRule, Digest)) -> &'c [u8] {
        for (at, byte) in chunk.iter().enumerate() {
            self.held.push(*byte);
            let dash = *byte == b'-' && self.held.ends_with(b"-----");
            if dash
                && let Some(end) = find_last(&self.held, END)
                && self.held.len() > end + END.len() + 5
            {
                if let Some((rule, value)) = judge(&self.held, end) {
                    found(rule, value);
                }
                self.start();
                return chunk.get(at + 1..).unwrap_or_default();
            }
            if *byte == b' ' && self.held.ends_with(BEGIN) {
                self.held.clear();
            }
            if self.is_hopeless() {
                // Its last bytes may begin the next key.
                self.taking = false;
                self.held.drain(..self.held.len() - (BEGIN.len() - 1));
                return chunk.get(at + 1..).unwrap_or_default();
            }
        }
        &[]
    }

    /// Certificates and public keys end here early, and so does what is no key at all.
    fn is_hopeless(&self) -> bool {
        if self.held.len() > limit::KEY_BYTES {
            return true;
        }
        // The label is decided once, when its line is surely complete.
        self.held.len() == 40 && !self.held.windows(11).any(|window| window == b"PRIVATE KEY")
    }
}

fn find_last(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    // The END line is at most a label long.
    let from = bytes.len().saturating_sub(64);
    let tail = bytes.get(from..)?;
    tail.windows(needle.len()).rposition(|window| window == needle).map(|at| from + at)
}

/// `text` is `LABEL-----BODY-----END LABEL-----`, `end` is where `-----END ` begins.
fn judge(text: &[u8], end: usize) -> Option<(SecretRule, Digest)> {
    let label_bytes = text.windows(5).position(|window| window == b"-----")?;
    let label = text.get(..label_bytes)?;
    let body = text.get(label_bytes + 5..end)?;
    let closing = text.get(end + END.len()..)?;
    if closing.strip_suffix(b"-----")? != label {
        return None;
    }
    let wrapped = has(body, b"Proc-Type:") && has(body, b"ENCRYPTED");
    let body = if wrapped { after_headers(body)? } else { body };
    let value = decode(body)?;
    let rule = match label {
        b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" | b"DSA PRIVATE KEY" if wrapped => {
            // RFC 1421: ciphertext in whole blocks of the cipher.
            (value.len() >= 48 && value.len() % 8 == 0).then_some(SecretRule::KeyPemEncrypted)?
        }
        b"RSA PRIVATE KEY" | b"EC PRIVATE KEY" | b"DSA PRIVATE KEY" | b"PRIVATE KEY" => {
            is_der(&value, 0x02).then_some(SecretRule::KeyPem)?
        }
        b"ENCRYPTED PRIVATE KEY" => is_der(&value, 0x30).then_some(SecretRule::KeyPemEncrypted)?,
        b"OPENSSH PRIVATE KEY" => openssh(&value)?,
        _ => return None,
    };
    Some((rule, Digest::sha256(&value)))
}

fn has(text: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(text, needle).is_some()
}

/// RFC 1421 headers end in a blank line.
fn after_headers(body: &[u8]) -> Option<&[u8]> {
    [&b"\n\n"[..], b"\r\n\r\n", b"\\n\\n"]
        .iter()
        .find_map(|blank| memchr::memmem::find(body, blank).and_then(|at| body.get(at + blank.len()..)))
}

/// Base64 with white space, quotes, and line ends escaped as in JSON and source code.
fn decode(body: &[u8]) -> Option<Vec<u8>> {
    let mut clean = Vec::with_capacity(body.len());
    let mut escape = false;
    for byte in body {
        match byte {
            b'\\' => escape = true,
            b'n' | b'r' | b't' if escape => escape = false,
            b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'\'' | b',' => escape = false,
            _ if escape => return None,
            byte => clean.push(*byte),
        }
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::STANDARD, config).decode(&clean).ok()
}

/// One DER SEQUENCE that is exactly as long as it says, whose first element has tag `first`
/// (INTEGER version 0 or 1 of a key, SEQUENCE algorithm of an encrypted one) and fits.
fn is_der(value: &[u8], first: u8) -> bool {
    let Some((0x30, inner, [])) = element(value) else { return false };
    let Some((tag, head, rest)) = element(inner) else { return false };
    let version = first != 0x02 || matches!(head, [0 | 1]);
    tag == first && version && !rest.is_empty() && element(rest).is_some() && value.len() >= 40
}

/// Tag, content and what follows of a DER element with a definite length.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if *first >= 0x80 {
        let octets = usize::from(first & 0x7f);
        if octets == 0 || octets > 3 {
            return None;
        }
        length = rest.get(..octets)?.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet));
        rest = rest.get(octets..)?;
    }
    Some((*tag, rest.get(..length)?, rest.get(length..)?))
}

/// The container of PROTOCOL.key: magic, cipher, kdf, options, number of keys, public and private part.
fn openssh(value: &[u8]) -> Option<SecretRule> {
    let rest = value.strip_prefix(b"openssh-key-v1\0")?;
    let (cipher, rest) = string(rest)?;
    let (_kdf, rest) = string(rest)?;
    let (_options, rest) = string(rest)?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    if !(1..=16).contains(&u32::from_be_bytes(*count)) {
        return None;
    }
    let (public, rest) = string(rest)?;
    let (private, _) = string(rest)?;
    if public.is_empty() || private.len() < 32 {
        return None;
    }
    Some(if cipher == b"none" { SecretRule::KeyOpenssh } else { SecretRule::KeyOpensshEncrypted })
}

fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length) if length < 0x80 => out.push(length),
            _ => {
                out.push(0x82);
                out.extend(u16::try_from(content.len()).expect("short").to_be_bytes());
            }
        }
        out.extend_from_slice(content);
        out
    }

    fn key(version: u8) -> Vec<u8> {
        der(0x30, &[der(2, &[version]), der(2, &[5; 200]), der(2, &[7; 100])].concat())
    }

    fn pem(label: &str, value: &[u8], line_end: &str) -> String {
        let body: Vec<String> = STANDARD
            .encode(value)
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        format!(
            "-----BEGIN {label}-----{line_end}{}{line_end}-----END {label}-----{line_end}",
            body.join(line_end)
        )
    }

    fn ssh(cipher: &str) -> Vec<u8> {
        let mut out = b"openssh-key-v1\0".to_vec();
        let mut string = |bytes: &[u8]| {
            out.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
            out.extend_from_slice(bytes);
        };
        string(cipher.as_bytes());
        string(b"none");
        string(b"");
        out.extend(1u32.to_be_bytes());
        for part in [&[1u8; 51][..], &[2u8; 144]] {
            out.extend(u32::try_from(part.len()).expect("short").to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }

    fn scan(text: &[u8], chunk: usize) -> Vec<(&'static str, Digest)> {
        let mut scanner = Scanner::new();
        let mut hits = Vec::new();
        for part in text.chunks(chunk) {
            scanner.push(part, &mut |rule, value| hits.push((rule.name(), value)));
        }
        hits
    }

    fn check(text: &str, rules: &[&str]) {
        for chunk in [1, 3, 7, 64, 1 << 20] {
            let found: Vec<&str> = scan(text.as_bytes(), chunk).into_iter().map(|(rule, _)| rule).collect();
            assert_eq!(found, rules, "in chunks of {chunk}: {}", &text[..text.len().min(200)]);
        }
    }

    #[test]
    fn keys_of_every_kind() {
        for label in ["RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "PRIVATE KEY"] {
            for line_end in ["\n", "\r\n", "\\n", "\n    "] {
                check(&pem(label, &key(0), line_end), &["private-key-pem"]);
            }
        }
        check(&pem("OPENSSH PRIVATE KEY", &ssh("none"), "\n"), &["private-key-openssh"]);
        check(&pem("OPENSSH PRIVATE KEY", &ssh("aes256-ctr"), "\n"), &["private-key-openssh-encrypted"]);
        let wrapped = der(0x30, &[der(0x30, &[1; 90]), der(4, &[9; 200])].concat());
        check(&pem("ENCRYPTED PRIVATE KEY", &wrapped, "\n"), &["private-key-pem-encrypted"]);
        let old = pem("RSA PRIVATE KEY", &[3; 608], "\n").replacen(
            "-----\n",
            "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n\n",
            1,
        );
        check(&old, &["private-key-pem-encrypted"]);
        let json = format!("{{\"private_key\": \"{}\"}}", pem("PRIVATE KEY", &key(0), "\\n"));
        check(&json, &["private-key-pem"]);
    }

    #[test]
    fn what_only_looks_like_a_key() {
        check(&pem("CERTIFICATE", &key(0), "\n").repeat(3), &[]);
        check(&pem("PUBLIC KEY", &key(0), "\n"), &[]);
        check(&pem("RSA PUBLIC KEY", &key(0), "\n"), &[]);
        check("-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n", &[]);
        check("-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----\n", &[]);
        check(
            &pem("PRIVATE KEY", b"just text that is long enough to be a key, but no DER at all", "\n"),
            &[],
        );
        check(&pem("PRIVATE KEY", &key(9), "\n"), &[]);
        check(&pem("PRIVATE KEY", &key(0)[..200], "\n"), &[]);
        check(&pem("OPENSSH PRIVATE KEY", &key(0), "\n"), &[]);
        check(&pem("PRIVATE KEY", &key(0), "\n").replace("END PRIVATE", "END RSA PRIVATE"), &[]);
        check("-----BEGIN -----BEGIN -----END ----------", &[]);
    }

    #[test]
    fn the_value_is_the_same_however_it_is_written() {
        let plain = scan(pem("PRIVATE KEY", &key(0), "\n").as_bytes(), 64);
        assert_eq!(plain, scan(pem("PRIVATE KEY", &key(0), "\r\n  ").as_bytes(), 64));
        assert_eq!(plain.first().map(|hit| hit.1), Some(Digest::sha256(&key(0))));
    }

    #[test]
    fn neighbours_do_not_hide_a_key() {
        let key = pem("PRIVATE KEY", &key(0), "\n");
        check(&format!("-----BEGIN PRIVATE KEY-----\nno end\n{key}"), &["private-key-pem"]);
        check(&format!("-----BEGIN CERTIFICATE-----\n{key}"), &["private-key-pem"]);
        check(&format!("{key}{key}"), &["private-key-pem", "private-key-pem"]);
        check(&format!("----{key}"), &["private-key-pem"]);
        check(&format!("-----BEGIN X{}{key}", "y".repeat(limit::KEY_BYTES)), &["private-key-pem"]);
        let long = |extra: usize| {
            let body = "A\n".repeat(limit::KEY_BYTES / 2 + extra);
            format!("-----BEGIN PRIVATE KEY-----\n{body}{key}")
        };
        check(&long(10), &["private-key-pem"]);
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(
            pieces in proptest::collection::vec(prop_oneof![
                Just(pem("PRIVATE KEY", &key(0), "\n")), Just("-----BEGIN ".into()), Just("-----END ".into()),
                Just("PRIVATE KEY-----".into()), Just("-".into()), ".{0,5}",
            ], 0..12),
            chunk in 1usize..40,
        ) {
            let text = pieces.concat();
            prop_assert_eq!(scan(text.as_bytes(), chunk), scan(text.as_bytes(), text.len().max(1)));
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let text = [b"-----BEGIN PRIVATE KEY-----".as_slice(), &bytes, b"-----END PRIVATE KEY-----"].concat();
            let _ = scan(&text, 9);
            let _ = openssh(&bytes);
            let _ = is_der(&bytes, 2);
        }
    }
}
