//! A part of a list that is short enough to be read whole, such as the rules of all prefixes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limit;

/// Rows behind a name, so many, at most [`limit::PAGE`]; all of them when nothing is said.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListPart {
    /// The last one before them.
    #[serde(default)]
    pub(super) after: String,
    /// How many at most.
    pub(super) n: Option<usize>,
}

impl ListPart {
    /// The rows in the order of their names, which stand under `key`.
    pub(super) fn of<T: Serialize>(&self, rows: &[T], key: &str) -> Value {
        let name = |row: &Value| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        // Rows are texts, numbers and lists of them, which always serialise.
        let mut rows: Vec<Value> = rows.iter().filter_map(|row| serde_json::to_value(row).ok()).collect();
        rows.sort_by_cached_key(name);
        rows.retain(|row| name(row) > self.after);
        if let Some(n) = self.n {
            rows.truncate(n.min(usize::try_from(limit::PAGE).unwrap_or(usize::MAX)));
        }
        Value::Array(rows)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_make_the_whole() {
        let rows: Vec<Value> = ["b", "*", "a/b", "a", "c"].map(|name| json!({"prefix": name})).to_vec();
        let part = |after: &str, n| ListPart { after: after.into(), n }.of(&rows, "prefix");
        let whole = part("", None);
        assert_eq!(whole[0]["prefix"], "*", "of all repositories first");
        for n in 1..=rows.len() + 1 {
            let (mut found, mut after) = (Vec::new(), String::new());
            while let Value::Array(page) = part(&after, Some(n))
                && let Some(last) = page.last()
            {
                assert!(page.len() <= n);
                after = last["prefix"].as_str().expect("a name").to_owned();
                found.extend(page);
            }
            assert_eq!(Value::Array(found), whole, "{n} at a time");
        }
        assert_eq!(part("", Some(0)), json!([]));
        assert_eq!(part("c", None), json!([]));
    }
}
