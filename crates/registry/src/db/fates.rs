//! What is known of a manifest that may go.

use seaworthy_model::Timestamp;
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{Db, DbError, Row, Tx, args};

use crate::{
    fate::{Keeper, ManifestFacts},
    lock::Ability,
};

const FACTS: &str = "SELECT m.pushed_at, COALESCE(m.touched_at, 0), COALESCE(p.last_pull, 0),
         COALESCE(m.locks, 0) | COALESCE(r.locks, 0),
         EXISTS (SELECT 1 FROM registry_tags WHERE repository = $1 AND digest = $2),
         EXISTS (SELECT 1 FROM registry_references WHERE repository = $1 AND digest = $2 AND kind = 'child')
             OR EXISTS (SELECT 1 FROM registry_deleted_references
                 WHERE repository = $1 AND digest = $2 AND kind = 'child'),
         EXISTS (SELECT 1 FROM registry_manifests AS s WHERE s.repository = $1 AND s.digest = m.subject)
             OR EXISTS (SELECT 1 FROM registry_deleted AS s
                 WHERE s.repository = $1 AND s.digest = m.subject AND s.kind = 'manifest'),
         (SELECT MAX(until) FROM registry_deleted WHERE repository = $1 AND digest = $2 AND kind = 'tag')
     FROM registry_manifests AS m
     LEFT JOIN registry_repositories AS r ON r.path = m.repository
     LEFT JOIN registry_pulls AS p ON p.repository = m.repository AND p.digest = m.digest
     WHERE m.repository = $1 AND m.digest = $2";

/// What runs under one of these names keeps the manifest: its own, its config's, that of a child or of a
/// child's config. An index that runs keeps its children by being there.
const RUNS: &str = "SELECT n.host_name, n.name FROM registry_running AS n WHERE n.digest IN (
         SELECT CAST($2 AS TEXT)
         UNION SELECT digest FROM registry_references
             WHERE repository = $1 AND manifest = $2 AND kind IN ('config', 'child')
         UNION SELECT c.digest FROM registry_references AS f
             JOIN registry_references AS c ON c.repository = f.repository AND c.manifest = f.digest
             WHERE f.repository = $1 AND f.manifest = $2 AND f.kind = 'child' AND c.kind = 'config'
         UNION SELECT digest FROM registry_deleted_references
             WHERE repository = $1 AND manifest = $2 AND kind IN ('config', 'child'))
     ORDER BY n.host_name, n.name LIMIT $3";

/// A container that runs something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runner {
    pub(crate) host: String,
    pub(crate) container: String,
}

fn read_facts(row: &Row, runs: bool) -> Result<ManifestFacts, DbError> {
    let touched = row.int(0)?.max(row.int(1)?).max(row.int(2)?);
    // One that nobody may read is not to be gone, and back without its lock by the next push, either.
    let keeping = Ability::Delete.bit() | Ability::Write.bit() | Ability::Read.bit();
    let keepers = [
        (row.int(4)? != 0, Keeper::Tag),
        (row.int(5)? != 0, Keeper::Index),
        (row.int(6)? != 0, Keeper::Subject),
        (runs, Keeper::Container),
        (row.int(3)? & keeping != 0, Keeper::Lock),
    ];
    Ok(ManifestFacts {
        touched_at: Timestamp::from_micros(touched),
        kept_by: keepers.into_iter().find(|(keeps, _)| *keeps).map(|(_, keeper)| keeper),
        tag_until: row.int_opt(7)?.map(Timestamp::from_micros),
    })
}

/// `None` when the repository does not have the manifest.
pub(crate) async fn manifest_facts(
    tx: &mut Tx<'_>,
    repository: &RepoName,
    digest: &Digest,
) -> Result<Option<ManifestFacts>, DbError> {
    let row = tx.fetch_optional(FACTS, args![repository.as_str(), &digest.to_string()]).await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(read_facts(&row, runs(tx, repository, digest).await?)?))
}

/// True when a container runs the manifest, which may be a deleted one.
pub(crate) async fn runs(tx: &mut Tx<'_>, repository: &RepoName, digest: &Digest) -> Result<bool, DbError> {
    let rows = tx.fetch_all(RUNS, args![repository.as_str(), &digest.to_string(), 1i64]).await?;
    Ok(!rows.is_empty())
}

/// Who runs the manifest, outside a transaction.
pub(crate) async fn runners(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
    most: i64,
) -> Result<Vec<Runner>, DbError> {
    let rows = db.fetch_all(RUNS, args![repository.as_str(), &digest.to_string(), most]).await?;
    rows.iter()
        .map(|row| Ok(Runner { host: row.text(0)?.to_owned(), container: row.text(1)?.to_owned() }))
        .collect()
}

/// [`manifest_facts`] outside a transaction, of one of which it is known whether it runs.
pub(crate) async fn facts(
    db: &Db,
    repository: &RepoName,
    digest: &Digest,
    runs: bool,
) -> Result<Option<ManifestFacts>, DbError> {
    let row = db.fetch_optional(FACTS, args![repository.as_str(), &digest.to_string()]).await?;
    row.map(|row| read_facts(&row, runs)).transpose()
}
