//! Comma separated values (RFC 4180), from a whole file in memory.

use std::borrow::Cow;

use crate::{ImportError, limit};

/// Reads records one after the other; fields may be quoted and then hold commas and line breaks.
pub(crate) struct Csv<'a> {
    path: &'a str,
    format: &'static str,
    rest: &'a str,
    line: usize,
}

impl<'a> Csv<'a> {
    /// `line` is the number of the first line of `text` in its file.
    pub(crate) const fn new(path: &'a str, format: &'static str, text: &'a str, line: usize) -> Self {
        Self { path, format, rest: text, line }
    }

    /// Fills `fields` with the next record; false at the end.
    pub(crate) fn read(&mut self, fields: &mut Vec<Cow<'a, str>>) -> Result<bool, ImportError> {
        fields.clear();
        let start = self.rest;
        if start.is_empty() {
            return Ok(false);
        }
        loop {
            fields.push(self.field()?);
            if start.len() - self.rest.len() > limit::CSV_RECORD_BYTES {
                return Err(self.error(format!("a record has more than {} bytes", limit::CSV_RECORD_BYTES)));
            }
            match self.rest.strip_prefix(',') {
                Some(rest) => self.rest = rest,
                None => break,
            }
        }
        if let Some(rest) = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n')) {
            self.rest = rest;
        } else if !self.rest.is_empty() {
            return Err(self.error("text follows a closing quote".to_owned()));
        }
        self.line += 1;
        Ok(true)
    }

    /// An error at the record that was read last.
    pub(crate) fn error(&self, reason: String) -> ImportError {
        ImportError::Csv { path: self.path.to_owned(), format: self.format, line: self.line, reason }
    }

    fn field(&mut self) -> Result<Cow<'a, str>, ImportError> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
            let (field, rest) = self.rest.split_at(end);
            let trimmed =
                if rest.starts_with('\n') { field.strip_suffix('\r').unwrap_or(field) } else { field };
            self.rest = rest;
            return Ok(Cow::Borrowed(trimmed));
        };
        let mut value = Cow::Borrowed("");
        let mut rest = quoted;
        loop {
            let Some((part, after)) = rest.split_once('"') else {
                return Err(self.error("a quote is not closed".to_owned()));
            };
            self.line += part.matches('\n').count();
            if value.is_empty() {
                value = Cow::Borrowed(part);
            } else {
                value.to_mut().push_str(part);
            }
            let Some(after) = after.strip_prefix('"') else {
                self.rest = after;
                return Ok(value);
            };
            value.to_mut().push('"');
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Vec<String>>, ImportError> {
        let mut csv = Csv::new("x.csv", "test", text, 1);
        let (mut fields, mut records) = (Vec::new(), Vec::new());
        while csv.read(&mut fields)? {
            records.push(fields.iter().map(ToString::to_string).collect());
        }
        Ok(records)
    }

    #[test]
    fn records_as_rfc_4180_has_them() {
        let records = all("a,b\r\n\"x, \"\"y\"\"\nz\",\n\"\"\"\",2").unwrap();
        assert_eq!(records, [["a", "b"], ["x, \"y\"\nz", ""], ["\"", "2"]]);
    }

    #[test]
    fn faults_name_their_line() {
        let line = |text: &str| match all(text) {
            Err(ImportError::Csv { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line("a\nb\n\"c"), 3);
        assert_eq!(line("a\n\"b\"c\n"), 2);
    }

    #[test]
    fn records_are_bounded() {
        assert!(all(&"a".repeat(limit::CSV_RECORD_BYTES)).is_ok());
        assert!(all(&"a".repeat(limit::CSV_RECORD_BYTES + 1)).is_err());
    }
}
