//! What can be asked of a data directory that no server has.

use std::{fs, sync::Arc};

use seaworthy_ledger::Report;
use seaworthy_model::SystemClock;
use seaworthy_seal::{Seal, SealError, existing_item};
use seaworthy_store::{DataDir, DataDirError, Db};
use seaworthy_trust::{Signer, Verifier};
use serde_json::{Value, json};

use crate::{
    Config, StartError,
    start::{Places, SIGNING_KEY},
};

/// Verifies the ledger of a server that is not running, such as one that refuses to: the answer of
/// `POST /api/v1/ledger/verify`. Writes nothing, so that it may look at evidence, or beside a server that starts.
pub async fn verify_ledger(data: &DataDir, config: &Config) -> Result<Value, StartError> {
    let places = Places::of(data, config);
    let seal = Seal::open_existing(&places.keys)?;
    let clock = Arc::new(SystemClock);
    let db = if config.database.is_empty() {
        let path = data.database();
        fs::metadata(&path).map_err(|source| DataDirError::File { operation: "open", path, source })?;
        Db::open_sqlite_to_read(&data.database(), clock).await?
    } else {
        Db::open_postgres(&config.database, clock).await?
    };
    let seed = existing_item(&db, &seal, SIGNING_KEY).await?;
    let seed = seed.ok_or_else(|| SealError::Missing { what: SIGNING_KEY.into() })?;
    let verifier = Signer::from_seed(&config.ledger_origin, seed.expose())?.verifier();
    let report = seaworthy_ledger::verify(&db, &places.ledger, &verifier).await;
    db.close().await;
    Ok(answer(&report?, &verifier))
}

/// What a verification found, as JSON.
pub(crate) fn answer(report: &Report, verifier: &Verifier) -> Value {
    let broken: Vec<String> = report.broken.iter().map(ToString::to_string).collect();
    json!({"size": report.size, "broken": broken, "key": verifier.vkey()})
}
