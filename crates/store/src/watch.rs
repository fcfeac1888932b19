//! Whether tables may have changed: for what is kept in memory of them.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Counts the commits that may have changed some tables.
///
/// What was read between two looks at the same count is still so at the second: the count grows after a
/// commit and before anybody hears of it. There is none on PostgreSQL, where others commit too.
#[derive(Clone, Debug)]
pub struct Watch {
    count: Arc<AtomicU64>,
}

impl Watch {
    /// The count now.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

/// All watches of one database.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<Vec<(&'static [&'static str], Arc<AtomicU64>)>>);

impl Watches {
    pub(crate) fn add(&self, tables: &'static [&'static str]) -> Watch {
        let count = Arc::new(AtomicU64::new(0));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((tables, count.clone()));
        Watch { count }
    }

    /// Tells of a commit.
    pub(crate) fn tell(&self, touched: &Touched) {
        for (tables, count) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if touched.all || touched.tables.iter().any(|table| tables.contains(table)) {
                count.fetch_add(1, Ordering::Release);
            }
        }
    }
}

/// Tables that a transaction may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    tables: Vec<&'static str>,
    /// Nobody knows which.
    all: bool,
}

impl Touched {
    pub(crate) fn everything() -> Self {
        Self { tables: Vec::new(), all: true }
    }

    /// Notes what a statement changes. One that is not understood may change everything.
    pub(crate) fn note(&mut self, sql: &'static str) {
        let sql = sql.trim_start();
        if sql.starts_with("SELECT ") {
            return;
        }
        let rest = ["INSERT INTO ", "UPDATE ", "DELETE FROM "].iter().find_map(|verb| sql.strip_prefix(verb));
        let table = rest.map(|rest| {
            let is_part = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
            rest.split(|letter| !is_part(letter)).next().unwrap_or_default()
        });
        match table {
            None | Some("") => self.all = true,
            Some(table) if self.tables.contains(&table) => {}
            Some(table) => self.tables.push(table),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_says_what_it_changes() {
        let touched = |sql| {
            let mut touched = Touched::default();
            touched.note(sql);
            touched
        };
        let one = |table| Touched { tables: vec![table], all: false };
        assert_eq!(touched("SELECT a FROM t_rows"), Touched::default());
        assert_eq!(touched("INSERT INTO t_rows (a) VALUES ($1)"), one("t_rows"));
        assert_eq!(touched("INSERT INTO t_rows(a) VALUES ($1)"), one("t_rows"));
        assert_eq!(touched("UPDATE t_rows SET a = $1"), one("t_rows"));
        assert_eq!(touched("\n  UPDATE t_rows\n  SET a = $1 RETURNING a"), one("t_rows"));
        assert_eq!(touched("DELETE FROM t_rows WHERE a = $1"), one("t_rows"));
        assert_eq!(touched("DELETE FROM t_rows"), one("t_rows"));
        for unclear in
            ["WITH a AS (SELECT 1) DELETE FROM t_rows", "DROP TABLE t_rows", "select a", "UPDATE  t", ""]
        {
            assert_eq!(touched(unclear), Touched::everything(), "{unclear}");
        }
    }
}
