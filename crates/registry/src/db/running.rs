//! Which digests run: what the fleet tells.

use seaworthy_model::{ContainerSeen, Presence, Timestamp};
use seaworthy_oci::Digest;
use seaworthy_store::{
    DbError, Tx, args,
    schema::{Column, Index, Table},
};

use crate::limit;

/// One row for each digest that a container's image is called by. The empty digest stands for the
/// container itself, and outdates late news of it.
pub(super) const RUNNING: Table = Table {
    name: "registry_running",
    columns: &[
        Column::bytes("host"),
        Column::text("runtime"),
        Column::text("id"),
        Column::text("digest"),
        Column::int("told"),
        Column::text("host_name"),
        Column::text("name"),
        Column::int("changed_at"),
    ],
    primary_key: &["host", "runtime", "id", "digest"],
    indexes: &[Index::on(&["digest", "changed_at"])],
};

/// Stores which digests a container runs, unless something newer is there.
pub(crate) async fn put_running(
    tx: &mut Tx<'_>,
    seen: &ContainerSeen,
    now: Timestamp,
) -> Result<(), DbError> {
    let (host, runtime, id) = (seen.key.host.as_bytes(), &seen.key.runtime, &seen.key.id);
    let changed = tx
        .execute(
            "INSERT INTO registry_running (host, runtime, id, digest, told, host_name, name, changed_at)
             VALUES ($1, $2, $3, '', $4, '', '', $5)
             ON CONFLICT (host, runtime, id, digest) DO UPDATE SET told = $4, changed_at = $5
             WHERE registry_running.told <= $4",
            args![host, runtime, id, seen.revision, now.as_micros()],
        )
        .await?;
    if changed == 0 {
        return Ok(());
    }
    let sql = "DELETE FROM registry_running WHERE host = $1 AND runtime = $2 AND id = $3 AND digest <> ''";
    tx.execute(sql, args![host, runtime, id]).await?;
    if seen.presence == Presence::Gone {
        let before = now.plus_seconds(-limit::ENDED_SECONDS).as_micros();
        let sql = "DELETE FROM registry_running WHERE digest = '' AND changed_at < $1
             AND NOT EXISTS (SELECT 1 FROM registry_running AS n WHERE n.host = registry_running.host
                 AND n.runtime = registry_running.runtime AND n.id = registry_running.id AND n.digest <> '')";
        return tx.execute(sql, args![before]).await.map(|_| ());
    }
    let digests: std::collections::BTreeSet<Digest> = seen.names.iter().copied().chain(seen.digest).collect();
    for digest in digests {
        tx.execute(
            "INSERT INTO registry_running (host, runtime, id, digest, told, host_name, name, changed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            args![
                host,
                runtime,
                id,
                &digest.to_string(),
                seen.revision,
                &seen.host_name,
                &shortened(&seen.name),
                now.as_micros(),
            ],
        )
        .await?;
    }
    Ok(())
}

/// A name as it is shown: an engine's text, without what PostgreSQL cannot hold.
fn shortened(name: &str) -> String {
    name.chars().filter(|it| *it != '\0').take(limit::RUNNER_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened() {
        let name = |length: usize| shortened(&"é".repeat(length)).chars().count();
        assert_eq!(name(limit::RUNNER_CHARS), limit::RUNNER_CHARS);
        assert_eq!(name(limit::RUNNER_CHARS + 1), limit::RUNNER_CHARS);
        assert_eq!(shortened("a\0b"), "ab");
    }
}
