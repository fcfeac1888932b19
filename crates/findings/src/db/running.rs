//! Which images run: what the fleet tells, kept to tell of them first.

use seaworthy_model::{ContainerSeen, ContentId, Presence, Timestamp};
use seaworthy_oci::Digest;
use seaworthy_store::{
    Db, DbError, Tx, args,
    schema::{Column, Index, Table},
};

use crate::limit;

/// One row for each container; of one that ended only a trace that outdates late news of it.
pub(super) const RUNNING: Table = Table {
    name: "findings_running",
    columns: &[
        Column::bytes("host"),
        Column::text("runtime"),
        Column::text("id"),
        Column::int("told"),
        Column::bytes("content").optional(),
        Column::int("changed_at"),
    ],
    primary_key: &["host", "runtime", "id"],
    indexes: &[Index::on(&["content", "changed_at"])],
};

/// Stores whether a container runs, unless something newer is there.
pub(crate) async fn put(tx: &mut Tx<'_>, seen: &ContainerSeen, now: Timestamp) -> Result<(), DbError> {
    let content = seen.content_id.as_ref().filter(|_| seen.presence == Presence::Live);
    tx.execute(
        "INSERT INTO findings_running (host, runtime, id, told, content, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (host, runtime, id) DO UPDATE SET told = $4, content = $5, changed_at = $6
         WHERE findings_running.told <= $4",
        args![
            seen.key.host.as_bytes(),
            &seen.key.runtime,
            &seen.key.id,
            seen.revision,
            content.map(ContentId::as_bytes),
            now.as_micros()
        ],
    )
    .await?;
    if content.is_none() {
        let before = now.plus_seconds(-limit::ENDED_SECONDS).as_micros();
        let sql = "DELETE FROM findings_running WHERE content IS NULL AND changed_at < $1";
        tx.execute(sql, args![before]).await?;
    }
    Ok(())
}

/// Contents that run with their package sets, behind a pair, in order.
pub(crate) async fn page(
    db: &Db,
    (set, content): (&[u8], &[u8]),
    most: i64,
) -> Result<Vec<(Digest, ContentId)>, DbError> {
    let rows = db
        .fetch_all(
            "SELECT DISTINCT c.package_set, c.content
             FROM findings_running AS r JOIN findings_contents AS c ON c.content = r.content
             WHERE (c.package_set, c.content) > ($1, $2)
             ORDER BY c.package_set, c.content LIMIT $3",
            args![set, content, most],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((super::package_sets::set_id(row, 0)?, super::package_sets::content_id(row, 1)?)))
        .collect()
}
