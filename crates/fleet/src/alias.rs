//! From the names that an engine reports to what an image is.
//!
//! Names are followed through what was pushed and measured here. Two names that lead apart, and
//! one name that leads to two contents, lead nowhere.

use std::collections::{BTreeSet, HashMap};

use seaworthy_link::EngineImage;
use seaworthy_model::{ContentId, HostId};
use seaworthy_oci::{Digest, Platform, Reference, RepoName};
use seaworthy_store::{DbError, Tx};

use crate::{
    Unmapped,
    db::{
        self, aliases,
        aliases::Place,
        containers::{self, Key, Names},
    },
    limit,
};

/// Where a container's names lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    Exact(ContentId, Place),
    /// What the host itself read, under its id for that host alone.
    ScannedHere(ContentId),
    Unmapped(Unmapped),
}

/// Where one name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Lead {
    Unknown,
    /// Known, and of no use (yet).
    Nothing(Unmapped),
    Content(ContentId, Option<Digest>),
}

/// Resolves containers of one host, remembering what it has looked up.
pub(crate) struct Resolver<'r> {
    registry_hosts: &'r [String],
    leads: HashMap<(Digest, Option<Platform>), Lead>,
    platforms: HashMap<HostId, Option<Platform>>,
}

impl<'r> Resolver<'r> {
    pub(crate) fn new(registry_hosts: &'r [String]) -> Self {
        Self { registry_hosts, leads: HashMap::new(), platforms: HashMap::new() }
    }

    /// What the container with these names runs, by the facts in `tx`.
    pub(crate) async fn resolve(&mut self, tx: &mut Tx<'_>, names: &Names) -> Result<Resolved, DbError> {
        let image = aliases::image(tx, names.host, &names.runtime, &names.image_id).await?;
        let platform = match &image {
            Some(image) => Some(image.platform.clone()),
            None => self.host_platform(tx, names.host).await?,
        };
        let mut leads = Vec::new();
        for digest in as_digest(&names.image_id).into_iter().chain(names.manifest) {
            leads.push(self.lead(tx, digest, platform.as_ref()).await?);
        }
        let has_digest = !leads.is_empty();
        // An engine's list of repositories speaks only where its ids say nothing.
        if leads.iter().all(|lead| *lead == Lead::Unknown) {
            let digests =
                image.map(|image: EngineImage| digests(&image.repository_digests)).unwrap_or_default();
            for digest in digests {
                leads.push(self.lead(tx, digest, platform.as_ref()).await?);
            }
        }
        let reason = match agree(&leads, has_digest) {
            Err(reason) => reason,
            Ok((content, named)) => match self.place(tx, &content, &named, &names.image).await? {
                Some(place) => return Ok(Resolved::Exact(content, place)),
                None => Unmapped::NeverPushed,
            },
        };
        // What a host says of itself never settles what is ambiguous or contradicts itself here.
        let scanned = match reason {
            Unmapped::NeverPushed => {
                aliases::scanned(tx, names.host, &names.runtime, &names.image_id).await?
            }
            _ => None,
        };
        Ok(scanned.map_or(Resolved::Unmapped(reason), Resolved::ScannedHere))
    }

    /// Resolves a stored container again, and stores what comes of it.
    pub(crate) async fn store(&mut self, tx: &mut Tx<'_>, key: &Key) -> Result<(), DbError> {
        let Some(stored) = containers::stored(tx, key).await? else { return Ok(()) };
        let resolved = self.resolve(tx, &stored.names).await?;
        containers::set_image(tx, key, &resolved, &stored.names.image).await
    }

    async fn host_platform(&mut self, tx: &mut Tx<'_>, host: HostId) -> Result<Option<Platform>, DbError> {
        if let Some(platform) = self.platforms.get(&host) {
            return Ok(platform.clone());
        }
        let platform = db::host(tx, host).await?.and_then(|row| row.platform());
        self.platforms.insert(host, platform.clone());
        Ok(platform)
    }

    async fn lead(
        &mut self,
        tx: &mut Tx<'_>,
        digest: Digest,
        platform: Option<&Platform>,
    ) -> Result<Lead, DbError> {
        let asked = (digest, platform.cloned());
        if let Some(lead) = self.leads.get(&asked) {
            return Ok(lead.clone());
        }
        let lead = match aliases::manifest(tx, &digest).await? {
            Some(known) if known.is_index => through_index(tx, &digest, platform).await?,
            Some(known) => match known.content {
                Some(content) => Lead::Content(content, Some(digest)),
                None => Lead::Nothing(Unmapped::NotInspected),
            },
            None => match aliases::contents_of_config(tx, &digest).await? {
                None => Lead::Unknown,
                Some(contents) => only(&contents, None),
            },
        };
        self.leads.insert(asked, lead.clone());
        Ok(lead)
    }

    /// The manifest that a container stands for: in the repository it was started from, if that
    /// is here and has the content; else the oldest one.
    async fn place(
        &self,
        tx: &mut Tx<'_>,
        content: &ContentId,
        named: &BTreeSet<Digest>,
        reported: &str,
    ) -> Result<Option<Place>, DbError> {
        if let Some(repository) = self.own_repository(reported) {
            let places = aliases::places_in(tx, content, &repository).await?;
            let best = places.iter().find(|place| named.contains(&place.digest)).or_else(|| places.first());
            if let Some(place) = best {
                return Ok(Some(place.clone()));
            }
        }
        aliases::oldest_place(tx, content).await
    }

    pub(crate) fn own_repository(&self, reported: &str) -> Option<RepoName> {
        let reference: Reference = reported.parse().ok()?;
        let host = reference.host?.to_ascii_lowercase();
        self.registry_hosts.contains(&host).then_some(reference.repository)
    }
}

/// The children of an index for a platform. An index is believed about platforms, as engines do;
/// where it says nothing, the measured one counts.
async fn through_index(
    tx: &mut Tx<'_>,
    index: &Digest,
    platform: Option<&Platform>,
) -> Result<Lead, DbError> {
    let Some(wanted) = platform else { return Ok(Lead::Nothing(Unmapped::NoPlatform)) };
    let mut fitting = Vec::new();
    for child in aliases::children(tx, index).await? {
        let known = aliases::manifest(tx, &child.digest).await?;
        let measured = known.as_ref().and_then(|known| known.platform.clone());
        let Some(platform) = child.platform.or(measured) else { continue };
        if fits(&platform, wanted) {
            let content = known.and_then(|known| known.content);
            fitting.push((child.digest, content, platform.variant == wanted.variant));
        }
    }
    if fitting.iter().any(|(_, _, same)| *same) {
        fitting.retain(|(_, _, same)| *same);
    }
    if fitting.is_empty() {
        return Ok(Lead::Nothing(Unmapped::NoPlatform));
    }
    if fitting.iter().any(|(_, content, _)| content.is_none()) {
        return Ok(Lead::Nothing(Unmapped::NotInspected));
    }
    let contents: BTreeSet<ContentId> = fitting.iter().filter_map(|(_, content, _)| *content).collect();
    Ok(only(&contents, fitting.first().map(|(digest, _, _)| *digest)))
}

fn fits(platform: &Platform, wanted: &Platform) -> bool {
    let variants = match (&platform.variant, &wanted.variant) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    };
    platform.os == wanted.os && platform.architecture == wanted.architecture && variants
}

fn only(contents: &BTreeSet<ContentId>, manifest: Option<Digest>) -> Lead {
    let mut all = contents.iter();
    match (all.next(), all.next()) {
        (None, _) => Lead::Nothing(Unmapped::NotInspected),
        (Some(content), None) => Lead::Content(*content, manifest),
        (Some(_), Some(_)) => Lead::Nothing(Unmapped::Ambiguous),
    }
}

/// One content, if every name that is known leads to it.
fn agree(leads: &[Lead], has_digest: bool) -> Result<(ContentId, BTreeSet<Digest>), Unmapped> {
    let mut found: Option<ContentId> = None;
    let mut named = BTreeSet::new();
    let mut nothing = None;
    for lead in leads {
        match lead {
            Lead::Unknown => {}
            Lead::Nothing(Unmapped::Ambiguous) => return Err(Unmapped::Ambiguous),
            Lead::Nothing(reason) => nothing = nothing.or(Some(*reason)),
            Lead::Content(content, manifest) => {
                if found.is_some_and(|found| found != *content) {
                    return Err(Unmapped::Contradiction);
                }
                found = Some(*content);
                named.extend(manifest);
            }
        }
    }
    match found {
        Some(content) => Ok((content, named)),
        None => Err(nothing.unwrap_or(if has_digest { Unmapped::NeverPushed } else { Unmapped::NoDigest })),
    }
}

/// The digest that a runtime's id is, with or without its algorithm.
pub(crate) fn as_digest(id: &str) -> Option<Digest> {
    id.parse().ok().or_else(|| format!("sha256:{id}").parse().ok())
}

/// The digests in `repository@digest` texts.
pub(crate) fn digests(repository_digests: &[String]) -> BTreeSet<Digest> {
    repository_digests.iter().filter_map(|it| it.rsplit_once('@')?.1.parse().ok()).collect()
}

/// A runtime's id as a key: digests in one form; what PostgreSQL cannot hold or index is hashed.
pub(crate) fn key(id: &str) -> String {
    match as_digest(id) {
        Some(digest) if id.contains(':') => digest.to_string(),
        _ if id.len() > limit::KEY_BYTES || id.contains('\0') || id.starts_with("hash:") => {
            format!("hash:{}", Digest::sha256(id.as_bytes()).hex())
        }
        _ => id.to_owned(),
    }
}

/// An image's id as a key: like [`key`], and a bare hash is the digest it is.
pub(crate) fn image_key(id: &str) -> String {
    as_digest(id).map_or_else(|| key(id), |digest| digest.to_string())
}

/// The repository of a reference with its host, as Docker reads it: `docker.io/library/nginx`.
pub(crate) fn foreign_repository(reported: &str) -> Option<String> {
    let bare = reported.len() == 64 && reported.bytes().all(|byte| byte.is_ascii_hexdigit());
    if bare || reported.starts_with("sha256:") {
        return None;
    }
    let reference: Reference = reported.parse().ok()?;
    let name = reference.repository.as_str();
    match reference.host.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("docker.io" | "index.docker.io") if !name.contains('/') => {
            Some(format!("docker.io/library/{name}"))
        }
        None | Some("docker.io" | "index.docker.io") => Some(format!("docker.io/{name}")),
        Some(host) => Some(format!("{host}/{name}")),
    }
}

/// A foreign repository as policies select it: `reg.example:5000/web` is `reg.example_5000/web`.
pub(crate) fn as_repository(named: &str) -> Option<RepoName> {
    named.replace(':', "_").parse().ok()
}

/// The repository that a container of another registry's image is judged in, by what its engine calls the image.
pub fn repository_of(reported: &str) -> Option<RepoName> {
    foreign_repository(reported).as_deref().and_then(as_repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_repositories_keep_their_host() {
        for (reported, expected) in [
            ("nginx", Some("docker.io/library/nginx")),
            ("nginx:1.27", Some("docker.io/library/nginx")),
            ("docker.io/nginx", Some("docker.io/library/nginx")),
            ("grafana/grafana", Some("docker.io/grafana/grafana")),
            ("Quay.io/a/b@sha256:00", None),
            ("Quay.io/a/b:1", Some("quay.io/a/b")),
            ("localhost:5000/prod/web:1", Some("localhost:5000/prod/web")),
            ("sha256:2f1b", None),
            (&"ab".repeat(32) as &str, None),
            ("<script>\0", None),
        ] {
            assert_eq!(foreign_repository(reported).as_deref(), expected, "{reported}");
        }
    }

    #[test]
    fn keys_are_what_a_database_can_index() {
        assert_eq!(key("abc"), "abc");
        assert_eq!(key(&"a".repeat(limit::KEY_BYTES)), "a".repeat(limit::KEY_BYTES));
        for id in ["a\0b".to_owned(), "a".repeat(limit::KEY_BYTES + 1), "hash:a".into()] {
            assert!(key(&id).starts_with("hash:") && key(&id).len() < limit::KEY_BYTES, "{id}");
        }
        let digest = Digest::sha256(b"x");
        assert_eq!(image_key(&digest.hex()), digest.to_string());
        assert_eq!(key(&digest.hex()), digest.hex(), "a container's id stays as it is");
    }

    #[test]
    fn variants_are_compared_when_both_are_known() {
        let arm = |variant: Option<&str>| Platform {
            os: "linux".into(),
            architecture: "arm".into(),
            variant: variant.map(str::to_owned),
        };
        assert!(fits(&arm(Some("v7")), &arm(None)) && fits(&arm(Some("v7")), &arm(Some("v7"))));
        assert!(!fits(&arm(Some("v7")), &arm(Some("v6"))));
        assert!(!fits(&Platform::linux_amd64(), &arm(None)));
    }
}
