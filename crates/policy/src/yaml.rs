//! YAML as a tree that knows where each value stands. A strict subset: one document, no
//! anchors, aliases, tags or merge keys, no key twice.

use saphyr_parser::{Event, Parser, Span};

use crate::{PolicyError, limit};

/// One value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The document in `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > limit::FILE_BYTES {
            let message = format!("file is longer than {} bytes", limit::FILE_BYTES);
            return Err(PolicyError { message, line: 1, column: 1, hint: None });
        }
        let mut reader = Reader { events: Parser::new_from_str(text), nodes: 0 };
        let root = loop {
            match reader.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (Event::StreamEnd | Event::DocumentEnd, span) => return Err(at(&span, "file is empty")),
                (event, span) => break reader.node(event, &span, 0)?,
            }
        };
        loop {
            match reader.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(_), span) => return Err(at(&span, "a file holds one document")),
                _ => {}
            }
        }
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> PolicyError {
        PolicyError { message: message.into(), line: self.line, column: self.column, hint: None }
    }

    pub(crate) fn text(&self, what: &str) -> Result<&str, PolicyError> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.error(format!("{what} is a text"))),
        }
    }

    pub(crate) fn list(&self, what: &str) -> Result<&[Self], PolicyError> {
        match &self.value {
            Value::List(items) => Ok(items),
            _ => Err(self.error(format!("{what} is a list"))),
        }
    }

    pub(crate) fn map(&self, what: &str) -> Result<&[(Self, Self)], PolicyError> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.error(format!("{what} is a map of keys and values"))),
        }
    }

    pub(crate) fn count(&self, what: &str) -> Result<u32, PolicyError> {
        let text = self.text(what)?;
        text.parse().map_err(|_| self.error(format!("{what} is a whole number from 0, not `{text}`")))
    }

    /// The key as text, checked against the words that are valid here.
    pub(crate) fn word<'n>(&'n self, what: &str, valid: &[&'static str]) -> Result<&'n str, PolicyError> {
        let text = self.text(what)?;
        if valid.contains(&text) {
            return Ok(text);
        }
        let mut error = self.error(format!("unknown {what} `{}`", text.chars().take(60).collect::<String>()));
        let nearest = valid.iter().map(|word| (strsim::damerau_levenshtein(word, text), *word)).min();
        error.hint = Some(match nearest {
            Some((distance, word)) if distance <= 1 + word.len() / 3 => format!("did you mean `{word}`?"),
            _ => format!(
                "valid here: {}",
                valid.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            ),
        });
        Err(error)
    }
}

fn at(span: &Span, message: impl Into<String>) -> PolicyError {
    PolicyError { message: message.into(), line: span.start.line(), column: span.start.col() + 1, hint: None }
}

struct Reader<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), PolicyError> {
        match self.events.next() {
            Some(Ok(pair)) => Ok(pair),
            Some(Err(error)) => {
                let marker = error.marker();
                let (line, column) = (marker.line(), marker.col() + 1);
                Err(PolicyError { message: format!("not YAML: {}", error.info()), line, column, hint: None })
            }
            None => Err(PolicyError { message: "file ends early".into(), line: 1, column: 1, hint: None }),
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Node, PolicyError> {
        self.nodes += 1;
        if depth > limit::DEPTH || self.nodes > limit::NODES {
            return Err(at(span, "file is nested too deep or has too many values"));
        }
        let value = match event {
            Event::Scalar(text, _, 0, None) => Value::Text(text.into_owned()),
            Event::SequenceStart(0, None) => self.list(depth)?,
            Event::MappingStart(0, None) => self.map(depth)?,
            Event::Alias(_) => return Err(at(span, "aliases are not supported")),
            _ => return Err(at(span, "anchors and tags are not supported")),
        };
        Ok(Node { line: span.start.line(), column: span.start.col() + 1, value })
    }

    fn list(&mut self, depth: usize) -> Result<Value, PolicyError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, &span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, PolicyError> {
        let mut entries: Vec<(Node, Node)> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let key = self.node(event, &span, depth + 1)?;
            let name = key.text("a key")?;
            if let Some((first, _)) = entries.iter().find(|(other, _)| other.value == key.value) {
                return Err(key.error(format!("key `{name}` is already on line {}", first.line)));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            entries.push((key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_known() {
        let root = Node::parse("a: 1\nb:\n  - x\n  - {c: d}\n").expect("yaml");
        let entries = root.map("root").expect("map");
        let items = entries[1].1.list("b").expect("list");
        assert_eq!((items[1].line, items[1].column), (4, 5));
    }

    #[test]
    fn the_subset_is_strict() {
        for (text, says) in [
            ("", "file is empty"),
            ("a: 1\na: 2", "key `a` is already on line 1"),
            ("a: &x 1\nb: *x", "anchors and tags"),
            ("a: !!str 1", "anchors and tags"),
            ("a: 1\n---\nb: 2", "one document"),
            ("a: [1", "not YAML"),
            ("a: b: c", "not YAML"),
        ] {
            let error = Node::parse(text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(Node::parse(&deep(limit::DEPTH)).is_ok());
        assert!(Node::parse(&deep(limit::DEPTH + 1)).is_err());
        let many = |n: usize| format!("[{}]", "1,".repeat(n - 1));
        assert!(Node::parse(&many(limit::NODES)).is_ok());
        assert!(Node::parse(&many(limit::NODES + 1)).is_err());
        assert!(Node::parse(&" ".repeat(limit::FILE_BYTES + 1)).is_err());
    }

    proptest! {
        #[test]
        fn hostile_text_does_not_panic(text: String) {
            let _ = Node::parse(&text);
        }
    }
}
