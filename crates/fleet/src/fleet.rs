use std::{sync::Arc, time::Duration};

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, HostId};
use seaworthy_store::{Db, DbError, chain};
use tokio_util::sync::CancellationToken;

use crate::{
    FleetError,
    alias::Resolver,
    db::{self, containers::Key},
    join::check_name,
    limit,
    usage::Board,
};

/// What the fleet stands on.
pub struct FleetConfig {
    /// The rows.
    pub db: Db,
    /// Host names of this registry as they stand in image references: `localhost:5000`.
    pub registry_hosts: Vec<String>,
}

/// The fleet room. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    db: Db,
    registry_hosts: Arc<[String]>,
    board: Arc<Board>,
}

impl Fleet {
    /// The fleet of this configuration.
    pub fn new(config: FleetConfig) -> Self {
        let hosts = config.registry_hosts.iter().map(|host| host.to_ascii_lowercase());
        Self { db: config.db, registry_hosts: hosts.collect(), board: Arc::default() }
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    pub(crate) fn registry_hosts(&self) -> Arc<[String]> {
        self.registry_hosts.clone()
    }

    /// Takes a host into the fleet under a name that no other has.
    pub async fn join(&self, actor: &Actor, name: &str) -> Result<HostId, FleetError> {
        check_name(name)?;
        let context = (HostId::generate(), name.to_owned(), self.db.now());
        seaworthy_ledger::write(&self.db, actor, context, |(host, name, now), tx| {
            Box::pin(async move {
                if db::count_hosts(tx).await? >= limit::HOSTS {
                    return Err(FleetError::TooMany { what: "hosts", limit: limit::HOSTS });
                }
                if !db::insert_host(tx, *host, name, *now).await? {
                    return Err(FleetError::HostTaken { name: name.clone() });
                }
                let act = Act::new(Action::HostJoin, format!("hosts/{name}"));
                let act = act.details(serde_json::json!({ "id": host }));
                Ok((*host, vec![act]))
            })
        })
        .await
    }

    /// Takes a host out of the fleet, with its containers; its history stays as long as any.
    pub async fn remove(&self, actor: &Actor, host: HostId) -> Result<(), FleetError> {
        let context = (host, self.registry_hosts(), self.db.now());
        seaworthy_ledger::write(&self.db, actor, context, |(host, registry_hosts, now), tx| {
            Box::pin(async move {
                let resolver = Resolver::new(registry_hosts);
                for key in db::containers::of_host(tx, *host, None).await? {
                    db::containers::set_gone(tx, &key, (i64::MAX, *now), *now).await?;
                    resolver.tell(tx, &key, *now).await?;
                }
                let name = db::delete_host(tx, *host).await?;
                let name = name.ok_or(FleetError::UnknownHost { host: *host })?;
                let act = Act::new(Action::HostRemove, format!("hosts/{name}"));
                Ok(((), vec![act.details(serde_json::json!({ "id": host }))]))
            })
        })
        .await
    }

    /// Handles events, and removes what is too old, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        // Before events, so that who decides by what runs knows it first.
        self.catch_up().await;
        tokio::join!(self.handle_events(cancel.clone()), self.clean(cancel));
    }

    /// Tells of all containers that were there before somebody wanted to know.
    async fn tell_untold(&self) -> Result<(), FleetError> {
        let mut after: Option<Key> = None;
        loop {
            let context = (after.take(), self.registry_hosts(), self.db.now());
            let told: Vec<Key> = self
                .db
                .upkeep(context, |(after, hosts, now), tx| {
                    Box::pin(async move {
                        let keys = db::containers::untold(tx, after.as_ref(), limit::RESOLVE).await?;
                        let resolver = Resolver::new(hosts);
                        for key in &keys {
                            resolver.tell(tx, key, *now).await?;
                        }
                        Ok::<_, DbError>(keys)
                    })
                })
                .await?;
            let Some(last) = told.last() else { return Ok(()) };
            after = Some(last.clone());
        }
    }

    async fn catch_up(&self) {
        if let Err(error) = self.tell_untold().await {
            tracing::warn!(error = %chain(&error), "telling of containers failed, will try again");
        }
    }

    async fn clean(&self, cancel: CancellationToken) {
        loop {
            if let Err(error) = self.forget_old().await {
                tracing::warn!(error = %chain(&error), "removing old rows of the fleet failed, will try again");
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(limit::UPKEEP_SECONDS)) => {}
                () = cancel.cancelled() => return,
            }
            self.catch_up().await;
        }
    }

    /// Removes what passes its limit of age or number: history, containers that are gone, images.
    pub async fn forget_old(&self) -> Result<(), FleetError> {
        let day = 24 * 3_600;
        let now = self.db.now();
        let history = now.plus_seconds(-limit::HISTORY_DAYS * day);
        let most = u64::try_from(limit::UPKEEP_ROWS).unwrap_or(u64::MAX);
        while self.upkeep(history, |history, tx| Box::pin(db::forget_history(tx, *history))).await? >= most {}
        let expired = now.plus_seconds(-day);
        self.upkeep(expired, |before, tx| Box::pin(db::join::forget_expired(tx, *before))).await?;
        let gone = now.plus_seconds(-limit::GONE_DAYS * day);
        for host in db::host_ids(&self.db).await? {
            self.upkeep((host, gone), |(host, gone), tx| {
                Box::pin(async move {
                    db::forget_gone(tx, *host, *gone).await?;
                    db::forget_images(tx, *host).await?;
                    db::forget_spools(tx, *host).await?;
                    Ok(0)
                })
            })
            .await?;
        }
        Ok(())
    }

    async fn upkeep<C, F>(&self, context: C, work: F) -> Result<u64, FleetError>
    where
        C: Send + Sync + 'static,
        F: for<'t> Fn(&'t C, &'t mut seaworthy_store::Tx<'_>) -> seaworthy_store::TxFuture<'t, u64, DbError>
            + Send
            + Sync
            + 'static,
    {
        Ok(self.db.upkeep(context, work).await?)
    }
}
