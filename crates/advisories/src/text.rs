//! Text from feeds, made fit for one line.

use crate::limit;

/// Control characters and runs of white space become one space; the rest beyond
/// [`limit::SUMMARY_CHARS`] is cut, with an ellipsis.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(4 * limit::SUMMARY_CHARS));
    let mut count = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        for c in (count > 0).then_some(' ').into_iter().chain(word.chars()) {
            if count == limit::SUMMARY_CHARS {
                line.push('…');
                return line;
            }
            line.push(c);
            count += 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_single_and_bounded() {
        assert_eq!(one_line(" a\n\tb\u{1b}[31m  c "), "a b [31m c");
        let n = limit::SUMMARY_CHARS;
        assert_eq!(one_line(&"é".repeat(n)), "é".repeat(n));
        assert_eq!(one_line(&"é".repeat(n + 1)), format!("{}…", "é".repeat(n)));
    }
}
