//! Telling clearance what runs: once for each change that a verdict could depend on. Findings hears of
//! the same, to match first what runs, and the registry, which collects nothing that runs.

use seaworthy_model::{ContainerKey, ContainerSeen, Event, Timestamp, consumer};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{DbError, Tx};

use crate::{
    ContainerView, Mapping, Unmapped,
    alias::{self, Resolver},
    db::{
        aliases,
        containers::{self, Key},
    },
    limit,
};

impl Resolver<'_> {
    /// Tells clearance of a container if it is other than what was told last.
    pub(crate) async fn tell(&self, tx: &mut Tx<'_>, key: &Key, now: Timestamp) -> Result<(), DbError> {
        let Some(view) = containers::view(tx, key).await? else { return Ok(()) };
        let Some(mut seen) = self.seen(key, view) else { return Ok(()) };
        seen.names = names(tx, key).await?;
        let hash = Digest::sha256(&serde_json::to_vec(&seen).unwrap_or_default()).hex();
        let (told, last) = containers::told(tx, key).await?;
        if last.as_deref() == Some(hash.as_str()) {
            return Ok(());
        }
        seen.revision = told + 1;
        containers::set_told(tx, key, (seen.revision, &hash)).await?;
        let event = Event::ContainerSeen(Box::new(seen));
        tx.deliver(consumer::REGISTRY, &event, now).await?;
        tx.deliver(consumer::FINDINGS, &event, now).await?;
        tx.deliver(consumer::CLEARANCE, &event, now).await
    }

    fn seen(&self, key: &Key, view: ContainerView) -> Option<ContainerSeen> {
        let named = alias::foreign_repository(&view.container.image);
        let exact = view.image.mapping == Mapping::Exact;
        let known = exact.then(|| view.image.repository.as_deref()?.parse().ok()).flatten();
        let repository = known
            .or_else(|| self.own_repository(&view.container.image))
            .or_else(|| named.as_deref().and_then(alias::as_repository))
            .or_else(nameless)?;
        Some(ContainerSeen {
            key: ContainerKey { host: key.host, runtime: key.runtime.clone(), id: key.id.clone() },
            revision: 0,
            host_name: view.host_name,
            name: view.container.name,
            presence: view.presence,
            started_at: view.container.started_at,
            reported: view.container.image,
            named,
            repository,
            digest: view.image.digest.filter(|_| exact),
            names: Vec::new(),
            content_id: view.image.content_id,
            is_awaited: view.image.reason == Some(Unmapped::NotInspected),
            settings: view.container.settings,
        })
    }
}

/// Every digest that the engine calls a container's image by.
async fn names(tx: &mut Tx<'_>, key: &Key) -> Result<Vec<Digest>, DbError> {
    let Some(stored) = containers::stored(tx, key).await? else { return Ok(Vec::new()) };
    let names = stored.names;
    let image = aliases::image(tx, names.host, &names.runtime, &names.image_id).await?;
    // What the container itself says comes first: of the image's other names there may be many.
    let mut all: Vec<Digest> = Vec::new();
    all.extend(names.manifest);
    all.extend(names.image.rsplit_once('@').and_then(|(_, digest)| digest.parse::<Digest>().ok()));
    all.extend(alias::as_digest(&names.image_id));
    all.extend(image.map(|image| alias::digests(&image.repository_digests)).into_iter().flatten());
    Ok(all.into_iter().take(limit::NAMES).collect())
}

/// The repository of what no engine names: only policies for everything select it.
fn nameless() -> Option<RepoName> {
    "nameless".parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_are_repositories_that_policies_can_select() {
        for (named, expected) in [
            ("docker.io/library/nginx", Some("docker.io/library/nginx")),
            ("reg.example:5000/web", Some("reg.example_5000/web")),
            ("localhost/web", Some("localhost/web")),
            ("UPPER.example/web", None),
        ] {
            assert_eq!(alias::as_repository(named).as_ref().map(RepoName::as_str), expected, "{named}");
        }
        assert!(nameless().is_some());
    }
}
