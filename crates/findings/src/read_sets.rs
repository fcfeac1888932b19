//! Finding sets that were read lately. A set never changes, and its name says what is in it.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};
use seaworthy_model::FindingSet;
use seaworthy_oci::Digest;
use seaworthy_store::{Db, DbError};

use crate::{db::package_sets, limit, package_set::Matched};

/// Sets by their names, at most [`limit::READ_ROWS`] rows of them.
pub(crate) struct ReadSets {
    sets: Cache<String, Arc<FindingSet>, ByRows>,
}

/// A set weighs what its rows take; an empty one is not for nothing.
#[derive(Clone)]
struct ByRows;

impl Weighter<String, Arc<FindingSet>> for ByRows {
    fn weight(&self, _: &String, set: &Arc<FindingSet>) -> u64 {
        set.rows.len() as u64 + 1
    }
}

impl ReadSets {
    pub(crate) fn new() -> Self {
        Self { sets: Cache::with_weighter(limit::READ_SETS, limit::READ_ROWS, ByRows) }
    }

    /// The set of this name, which is the newest of a package set; `None` when that has another one
    /// meanwhile, or is gone.
    pub(crate) async fn get(
        &self,
        db: &Db,
        package_set: &Digest,
        name: &str,
    ) -> Result<Option<Arc<FindingSet>>, DbError> {
        if let Some(set) = self.sets.get(name) {
            return Ok(Some(set));
        }
        let Some((_, body)) = package_sets::body(db, package_set).await? else { return Ok(None) };
        let set = Arc::new(Matched::from_body(body)?.set);
        self.sets.insert(set.id.clone(), Arc::clone(&set));
        Ok(Some(set))
    }
}

#[cfg(test)]
mod tests {
    use seaworthy_model::{Finding, FixState, Severity};
    use seaworthy_package::Ecosystem;

    use super::*;

    fn set(rows: usize) -> Arc<FindingSet> {
        let row = Finding {
            id: String::new(),
            aliases: Vec::new(),
            ecosystem: Ecosystem::Deb,
            source: String::new(),
            version: String::new(),
            severity: Severity::Unknown,
            severity_source: String::new(),
            state: FixState::Fixed,
            fixed_version: None,
            kev: false,
            epss: None,
            summary: String::new(),
        };
        let rows = vec![row; rows];
        Arc::new(FindingSet {
            id: String::new(),
            index_hash: String::new(),
            release: None,
            covered: true,
            rows,
        })
    }

    #[test]
    fn rows_that_are_kept_are_bounded() {
        let most = usize::try_from(limit::READ_ROWS).unwrap();
        let read = ReadSets::new();
        read.sets.insert("more".into(), set(most));
        assert!(read.sets.get("more").is_none(), "with itself it is one past the limit");
        for number in 0..2 * limit::READ_SETS {
            read.sets.insert(number.to_string(), set(999));
            assert!(read.sets.weight() <= limit::READ_ROWS, "{number}");
        }
        assert!(read.sets.weight() > limit::READ_ROWS / 2, "what fits is kept");
    }
}
