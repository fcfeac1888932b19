//! A Rust file with comments, strings and tests told apart. Not a parser: enough of the lexical
//! grammar (The Rust Reference, "Lexical structure") that words in strings and comments are not
//! taken for code, nor the other way round.

use std::ops::Range;

/// A string literal.
pub(crate) struct Text<'t> {
    /// Where its content begins, in bytes.
    pub(crate) start: usize,
    /// Its content as written, escapes included.
    pub(crate) content: &'t str,
}

/// One file, read.
pub(crate) struct Scanned<'t> {
    pub(crate) path: &'t str,
    pub(crate) text: &'t str,
    /// As long as the text; comments and the content of strings are spaces.
    pub(crate) code: String,
    pub(crate) strings: Vec<Text<'t>>,
    /// What `#[cfg(test)]` stands before, in bytes.
    tests: Vec<Range<usize>>,
}

impl<'t> Scanned<'t> {
    /// Reads a file.
    pub(crate) fn new(path: &'t str, text: &'t str) -> Self {
        let mut lexer = Lexer { text, at: 0, code: Vec::with_capacity(text.len()), strings: Vec::new() };
        lexer.run();
        let code = String::from_utf8_lossy(&lexer.code).into_owned();
        let tests = test_ranges(&code);
        Self { path, text, code, strings: lexer.strings, tests }
    }

    /// True for files that only tests are built from.
    pub(crate) fn is_test_file(&self) -> bool {
        let path = self.path;
        path.contains("/tests/") || path.contains("/benches/") || path.ends_with("/tests.rs")
    }

    /// True when the byte belongs to test code.
    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.is_test_file() || self.tests.iter().any(|range| range.contains(&at))
    }

    /// Lines that are not test code.
    pub(crate) fn product_lines(&self) -> usize {
        let mut at = 0;
        let mut count = 0;
        for line in self.text.split_inclusive('\n') {
            count += usize::from(!self.is_test(at));
            at += line.len();
        }
        count
    }

    /// `path:line` of a byte.
    pub(crate) fn place(&self, at: usize) -> String {
        let line = self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        format!("{}:{line}", self.path)
    }

    /// Where `word` stands in the code as a whole word.
    pub(crate) fn words<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        self.code.match_indices(word).map(|(at, _)| at).filter(move |at| {
            let before = self.code.get(..*at).and_then(|text| text.chars().next_back());
            let after = self.code.get(at + word.len()..).and_then(|text| text.chars().next());
            let ends_in_word = word.ends_with(is_word);
            !(before.is_some_and(is_word) || ends_in_word && after.is_some_and(is_word))
        })
    }
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    code: Vec<u8>,
    strings: Vec<Text<'t>>,
}

impl<'t> Lexer<'t> {
    fn run(&mut self) {
        while let Some(byte) = self.rest().bytes().next() {
            let rest = self.rest();
            if rest.starts_with("//") {
                self.blank(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.blank(block_comment(rest));
            } else if let Some(hashes) = self.raw_string() {
                self.raw(hashes);
            } else if byte == b'"' {
                self.quoted();
            } else if byte == b'\'' {
                self.quote();
            } else {
                self.keep(1);
            }
        }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn keep(&mut self, bytes: usize) {
        let piece = self.text.as_bytes().get(self.at..self.at + bytes).unwrap_or_default();
        // Multi-byte characters are only possible in names of tests' data; spaces serve as well.
        self.code.extend(piece.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }));
        self.at += bytes.max(1);
        while !self.text.is_char_boundary(self.at) {
            self.code.push(b'?');
            self.at += 1;
        }
    }

    fn blank(&mut self, bytes: usize) {
        let piece = self.text.as_bytes().get(self.at..self.at + bytes).unwrap_or_default();
        self.code.extend(piece.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        self.at += bytes;
    }

    /// The number of `#` when a raw string begins here.
    fn raw_string(&self) -> Option<usize> {
        let before = self.code.last().map(|byte| char::from(*byte));
        if before.is_some_and(|char| is_word(char) && char != 'b' && char != 'c') {
            return None;
        }
        let after = self.rest().strip_prefix('r')?;
        let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
        after.get(hashes..)?.starts_with('"').then_some(hashes)
    }

    fn raw(&mut self, hashes: usize) {
        self.keep(1 + hashes + 1);
        let end = format!("\"{}", "#".repeat(hashes));
        let length = self.rest().find(&end).unwrap_or(self.rest().len());
        self.string(length);
        self.keep(end.len().min(self.rest().len()));
    }

    fn quoted(&mut self) {
        self.keep(1);
        let mut escaped = false;
        let length = self.rest().bytes().position(|byte| {
            let end = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            end
        });
        self.string(length.unwrap_or(self.rest().len()));
        if !self.rest().is_empty() {
            self.keep(1);
        }
    }

    fn string(&mut self, length: usize) {
        let content = self.rest().get(..length).unwrap_or_default();
        self.strings.push(Text { start: self.at, content });
        self.blank(length);
    }

    /// A character literal, or the tick of a lifetime.
    fn quote(&mut self) {
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1);
        let length = match chars.next() {
            Some((_, '\\')) => rest.get(3..).and_then(|text| text.find('\'')).map(|at| at + 4),
            Some(_) => chars.next().filter(|(_, char)| *char == '\'').map(|(at, _)| at + 1),
            None => None,
        };
        match length {
            Some(length) => self.blank(length),
            None => self.keep(1),
        }
    }
}

/// The length of a comment that may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// What stands behind each `#[cfg(test)]`: up to its closing brace, or its semicolon.
fn test_ranges(code: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (start, _) in code.match_indices("#[cfg(test)]") {
        if ranges.last().is_some_and(|range| range.contains(&start)) {
            continue;
        }
        let mut depth = 0_u32;
        let mut end = code.len();
        for (at, byte) in code.bytes().enumerate().skip(start) {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(byte, b'}' | b';') {
                end = at + 1;
                break;
            }
        }
        ranges.push(start..end);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_no_code() {
        let text = r##"fn a<'x>() { // unsafe "one"
let s = "unsafe \" { two"; /* unsafe /* deep */ unsafe */ let c = '"'; let d = '\''; let q = '\u{7f}';
let r = r#"unsafe " three"#; let b = b"four"; let e = br"five"; let ü = 'ü'; real(c) }
"##;
        let scanned = Scanned::new("a.rs", text);
        assert_eq!(scanned.code.len(), text.len());
        assert!(!scanned.code.contains("unsafe"), "{}", scanned.code);
        assert!(scanned.code.contains("real(c)") && scanned.code.contains("<'x>"), "{}", scanned.code);
        let strings: Vec<&str> = scanned.strings.iter().map(|it| it.content).collect();
        assert_eq!(strings, [r#"unsafe \" { two"#, "unsafe \" three", "four", "five"]);
    }

    #[test]
    fn tests_are_told_from_the_product() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if x { } }\n}\nfn c() {}\n";
        let scanned = Scanned::new("crates/x/src/a.rs", text);
        assert_eq!(scanned.product_lines(), 2);
        let at = |word| text.find(word).expect("present");
        assert!(scanned.is_test(at("fn b")) && !scanned.is_test(at("fn a")) && !scanned.is_test(at("fn c")));
        let elsewhere = Scanned::new("crates/x/src/a.rs", "#[cfg(test)]\nmod tests;\nfn a() {}\n");
        assert_eq!(elsewhere.product_lines(), 1);
        assert_eq!(Scanned::new("crates/x/tests/main.rs", text).product_lines(), 0);
    }

    #[test]
    fn words_are_whole() {
        let scanned = Scanned::new("a.rs", "unsafe_code unsafe { } nunsafe");
        assert_eq!(scanned.words("unsafe").collect::<Vec<_>>(), [12]);
    }
}
