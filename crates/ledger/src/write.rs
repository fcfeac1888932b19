use seaworthy_model::{Actor, LeafId};
use seaworthy_store::{Db, DbError, Tx, TxFuture, args};

use crate::{Act, LedgerError, Record, sequencer};

/// The transaction of an act: `work` makes the change and returns what it did; the leaves are
/// inserted in the same transaction, or nothing is.
///
/// A change that turns out to be none returns no acts. See [`Db::transact`] for how `work` is run.
pub async fn write<C, T, E, F>(db: &Db, actor: &Actor, context: C, work: F) -> Result<T, E>
where
    C: Send + Sync + 'static,
    T: Send + 'static,
    E: From<LedgerError> + From<DbError> + Send + 'static,
    F: for<'t> Fn(&'t C, &'t mut Tx<'_>) -> TxFuture<'t, (T, Vec<Act>), E> + Send + Sync + 'static,
{
    let context = (context, actor.clone(), db.clock(), work);
    db.transact(context, |(context, actor, clock, work), tx| {
        Box::pin(async move {
            let now = clock.now();
            let (value, acts) = work(context, tx).await?;
            for act in acts {
                let record = Record {
                    v: 1,
                    id: LeafId::generate(),
                    at: now,
                    actor: actor.clone(),
                    action: act.action,
                    object: act.object,
                    details: act.details,
                };
                append(tx, &record).await?;
            }
            Ok(value)
        })
    })
    .await
}

async fn append(tx: &mut Tx<'_>, record: &Record) -> Result<(), LedgerError> {
    let leaf = record.to_leaf()?;
    tx.execute(
        "INSERT INTO ledger_leaves (id, at, actor, action, object, leaf) VALUES ($1, $2, $3, $4, $5, $6)",
        args![
            record.id.as_bytes(),
            record.at.as_micros(),
            &record.actor.name,
            record.action.word(),
            &record.object,
            &leaf,
        ],
    )
    .await?;
    tx.wake(sequencer::BELL);
    Ok(())
}
