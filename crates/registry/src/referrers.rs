//! Who refers to a manifest (distribution spec 1.1, "Listing Referrers").

use std::collections::BTreeMap;

use seaworthy_access::{Identity, Permission};
use seaworthy_model::{Scope, Timestamp};
use seaworthy_oci::{Digest, Manifest, RepoName, media};
use serde::Serialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::{
    Door, Registry, RegistryError,
    cache::{Referrer, Served, Told, abreast},
    db::{self, ReferrerRow, Unlisted},
    limit,
    lock::{self, Ability},
};

/// One page of a list of referrers.
pub(crate) struct ReferrersPage {
    /// An image index, as JSON.
    pub(crate) index: String,
    /// The last digest on it, when there is more.
    pub(crate) next: Option<Digest>,
    /// From where the list comes, below a cache.
    pub(crate) served: Option<Served>,
}

/// One referrer as people look at it.
#[derive(Clone, Debug, Serialize)]
pub struct ReferrerShown {
    /// Its manifest.
    pub digest: Digest,
    /// Of that.
    pub media_type: String,
    /// What it carries; `None` when it does not say.
    pub artifact_type: Option<String>,
    /// Length of the manifest alone.
    pub manifest_bytes: u64,
    /// At most [`limit::ANNOTATIONS`]; none when it may not be pulled.
    pub annotations: BTreeMap<String, String>,
    /// True when annotations were cut, or left out for being too many.
    pub cut: bool,
    /// When it was pushed.
    pub pushed_at: Option<Timestamp>,
    /// By whom.
    pub pushed_by: Option<String>,
    /// True when something refers to it.
    pub has_referrers: bool,
}

/// One page of them, in digest order.
#[derive(Clone, Debug, Serialize)]
pub struct ReferrersShown {
    /// One level of the tree.
    pub referrers: Vec<ReferrerShown>,
    /// The last digest on it, when there is more.
    pub next: Option<Digest>,
}

/// Rows with their annotations, none when those are not for the caller; and the last digest when there is more.
type Page = (Vec<(ReferrerRow, Option<Box<RawValue>>)>, Option<Digest>);

/// An index that was never pushed (image spec, "Image Index Specification").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferrersIndex<'p> {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor<'p>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'p> {
    media_type: &'p str,
    digest: &'p Digest,
    size: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    artifact_type: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'p RawValue>,
}

impl Registry {
    /// Referrers of `subject` after `last` in digest order, whether or not it is here itself; below a cache those that
    /// its upstream says that there are. With an artifact type, those of it alone.
    ///
    /// A list says of a manifest what HEAD says of it. Its annotations are its content: they are
    /// shown of manifests that the caller may pull.
    pub(crate) async fn referrers(
        &self,
        identity: &Identity,
        repository: &RepoName,
        subject: &Digest,
        filter: (Option<&str>, &str),
    ) -> Result<ReferrersPage, RegistryError> {
        self.may_list(identity, repository).await?;
        let of = (repository, subject);
        let (told, served) = match self.inner.caches.of(repository).await? {
            Some(cache) => {
                let (told, served) = self.told_referrers(&cache, of, cache.settings.check_seconds).await?;
                (Some(told), Some(served))
            }
            None => (None, None),
        };
        let (rows, next) = self.referrers_page(identity, of, filter, told.as_deref()).await?;
        let manifests = rows.iter().map(|(row, annotations)| Descriptor {
            media_type: &row.media_type,
            digest: &row.digest,
            size: row.size,
            artifact_type: &row.artifact_type,
            annotations: annotations.as_deref(),
        });
        let index = ReferrersIndex {
            schema_version: 2,
            media_type: media::OCI_INDEX,
            manifests: manifests.collect(),
        };
        // Texts and numbers always serialise.
        Ok(ReferrersPage { index: serde_json::to_string(&index).unwrap_or_default(), next, served })
    }

    /// Those that are here, for people: with who pushed each and when, and short.
    pub async fn referrers_shown(
        &self,
        identity: &Identity,
        repository: &RepoName,
        subject: &Digest,
        last: &str,
    ) -> Result<ReferrersShown, RegistryError> {
        self.may_list(identity, repository).await?;
        let (rows, next) = self.referrers_page(identity, (repository, subject), (None, last), None).await?;
        let mut referrers = Vec::with_capacity(rows.len());
        for (row, annotations) in rows {
            let push = db::push_of(self.db(), repository, &row.digest).await?;
            let (pushed_at, pushed_by) = push.unzip();
            let above = db::referrers(self.db(), (repository, &row.digest), None, ("", 1), Unlisted::Left);
            let above = above.await?;
            let (annotations, cut) = shortened(annotations.as_deref());
            referrers.push(ReferrerShown {
                digest: row.digest,
                artifact_type: Some(short(&row.artifact_type)).filter(|it| !it.is_empty()),
                media_type: row.media_type,
                manifest_bytes: row.size,
                annotations,
                cut,
                pushed_at,
                pushed_by,
                has_referrers: !above.is_empty(),
            });
        }
        Ok(ReferrersShown { referrers, next })
    }

    async fn may_list(&self, identity: &Identity, repository: &RepoName) -> Result<(), RegistryError> {
        self.require(identity, Permission::Pull, repository).await?;
        let locks = db::repository_locks(self.db(), repository).await?.unwrap_or_default();
        Ok(lock::check_read(locks, repository.as_str())?)
    }

    async fn referrers_page(
        &self,
        identity: &Identity,
        of: (&RepoName, &Digest),
        (artifact_type, last): (Option<&str>, &str),
        told: Option<&Told<Referrer>>,
    ) -> Result<Page, RegistryError> {
        let repository = of.0;
        let page = (last, limit::REFERRERS + 1);
        let mut rows = match told {
            Some(told) => self.referrers_along(of, (artifact_type, last), told).await?,
            None => db::referrers(self.db(), of, artifact_type, page, Unlisted::Left).await?,
        };
        let fit = fitting(&rows);
        let more = fit < rows.len();
        rows.truncate(fit);
        let next = rows.last().filter(|_| more).map(|row| row.digest);
        let scope = Scope::repository(repository);
        let sees_all = self.access().allows(identity, Permission::Quarantine, &scope).await?;
        let mut view = View {
            registry: self,
            of,
            sees_all,
            hides: !sees_all && self.is_quarantined(repository).await?,
            door: Door::Manifest,
            has_subject: told.is_none() || self.has_manifest(repository, of.1).await?,
        };
        let mut page = Vec::with_capacity(rows.len());
        for mut row in rows {
            let annotations = view.annotations_of(&mut row).await?;
            page.push((row, annotations));
        }
        Ok((page, next))
    }

    /// Those of one page and at least one more, if there is one: what was told, and what is here beside it where the
    /// upstream does not say. What is here is known better than anybody tells.
    async fn referrers_along(
        &self,
        of: (&RepoName, &Digest),
        (artifact_type, last): (Option<&str>, &str),
        told: &Told<Referrer>,
    ) -> Result<Vec<ReferrerRow>, RegistryError> {
        let step = limit::REFERRERS + 1;
        let most = usize::try_from(step).unwrap_or(usize::MAX);
        let fits = |given: &str| artifact_type.is_none_or(|wanted| given == wanted);
        let (mut rows, mut after) = (Gathered::default(), last.to_owned());
        while !rows.are_enough() {
            // All types of both: what is here and what the upstream says may call one manifest differently.
            let held = db::referrers(self.db(), of, None, (&after, step), Unlisted::Along).await?;
            let held = held.into_iter().map(|row| (row.digest, row)).collect();
            let listed = told.entries().unwrap_or_default();
            let from = listed.partition_point(|it| it.digest().to_string() <= after);
            let listed = listed.iter().skip(from).take(most).map(|it| (*it.digest(), it));
            let (all, until) = abreast(held, listed.collect(), most);
            let alone: Vec<_> =
                all.iter().filter(|(_, (held, _))| held.is_none()).map(|(digest, _)| *digest).collect();
            let mut here = db::manifests_among(self.db(), of.0, &alone).await?;
            for (digest, (held, listed)) in all {
                let row = match (held.or_else(|| here.remove(&digest)), listed) {
                    (Some(row), listed) => {
                        let is_listed = listed.is_some() || !told.is_current();
                        let is_shown = is_listed && row.locks.allow(Ability::List);
                        (is_shown && fits(&row.artifact_type)).then_some(row)
                    }
                    (None, listed) => listed.filter(|it| fits(it.artifact_type())).map(Referrer::row),
                };
                if let Some(row) = row {
                    rows.add(row);
                }
                // An upstream's annotations may be long: those that go on no page are not copied.
                if rows.are_enough() {
                    break;
                }
            }
            let Some(until) = until else { break };
            after = until.to_string();
        }
        let rows = rows.rows;
        let unknown = told.trouble().filter(|_| rows.is_empty() && told.entries().is_none());
        match unknown {
            Some(problem) if !self.has_manifest(of.0, of.1).await? => Err(problem.clone().into()),
            _ => Ok(rows),
        }
    }
}

/// Annotations as people bear them, and whether that is less than there are.
fn shortened(annotations: Option<&RawValue>) -> (BTreeMap<String, String>, bool) {
    let read = annotations.and_then(|json| serde_json::from_str(json.get()).ok());
    let Some(all): Option<serde_json::Map<String, Value>> = read else { return (BTreeMap::new(), false) };
    let texts = all.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)));
    let first: Vec<_> = texts.take(limit::ANNOTATIONS).collect();
    let is_long = |text: &str| text.len() > limit::ANNOTATION_BYTES;
    let cut = all.len() > first.len() || first.iter().any(|(name, value)| is_long(name) || is_long(value));
    (first.into_iter().map(|(name, value)| (short(name), short(value))).collect(), cut)
}

fn short(text: &str) -> String {
    text.get(..text.floor_char_boundary(limit::ANNOTATION_BYTES)).unwrap_or_default().to_owned()
}

/// How many of these rows go on one page.
fn fitting(rows: &[ReferrerRow]) -> usize {
    let mut bytes = 0u64;
    let most = usize::try_from(limit::REFERRERS).unwrap_or(usize::MAX);
    let too_many = rows.iter().take(most).position(|row| {
        bytes = bytes.saturating_add(row.bytes());
        bytes > limit::REFERRERS_BYTES
    });
    too_many.map_or(rows.len().min(most), |position| position.max(1))
}

/// Rows of one page and at least one more, if there is one; no more of them than tell where the page ends.
#[derive(Default)]
struct Gathered {
    rows: Vec<ReferrerRow>,
    bytes: u64,
}

impl Gathered {
    /// True when [`fitting`] leaves one out.
    fn are_enough(&self) -> bool {
        let most = usize::try_from(limit::REFERRERS).unwrap_or(usize::MAX);
        self.rows.len() > most || (self.rows.len() > 1 && self.bytes > limit::REFERRERS_BYTES)
    }

    fn add(&mut self, row: ReferrerRow) {
        self.bytes = self.bytes.saturating_add(row.bytes());
        self.rows.push(row);
    }
}

/// What one caller sees of the referrers of one subject.
struct View<'r> {
    registry: &'r Registry,
    of: (&'r RepoName, &'r Digest),
    sees_all: bool,
    /// What nobody let out of quarantine.
    hides: bool,
    /// A pending answer is waited for once per page: of what is here, for nothing else is being judged.
    door: Door,
    has_subject: bool,
}

impl View<'_> {
    async fn annotations_of(
        &mut self,
        row: &mut ReferrerRow,
    ) -> Result<Option<Box<RawValue>>, RegistryError> {
        if row.annotation_bytes > "{}".len() as u64 && self.may_be_read(row).await? {
            return self.annotations(row).await;
        }
        Ok(None)
    }

    async fn may_be_read(&mut self, row: &ReferrerRow) -> Result<bool, RegistryError> {
        if !row.locks.allow(Ability::Read) || (self.hides && !row.locks.has_passed()) {
            return Ok(false);
        }
        if self.sees_all {
            return Ok(true);
        }
        let gate = &self.registry.inner.config.gate;
        // What is not here gets, once it is, the answer of what it refers to.
        let judged = if row.is_here { &row.digest } else { self.of.1 };
        let door = if row.is_here || self.has_subject { self.door } else { Door::Blob };
        let Some(refusal) = gate.check(self.of.0, judged, door).await?.refusal else { return Ok(true) };
        if refusal.is_pending() {
            self.door = Door::Blob;
        }
        Ok(false)
    }

    async fn annotations(&self, row: &mut ReferrerRow) -> Result<Option<Box<RawValue>>, RegistryError> {
        let db = self.registry.db();
        let mut text = row.annotations.take();
        if text.is_none() {
            text = db::annotations(db, self.of, &row.digest).await?;
        }
        if let Some(text) = text {
            return Ok(RawValue::from_string(text).ok());
        }
        // From before there was a table of referrers, or deleted just now.
        let Some(bytes) = db::manifest_bytes(db, &row.digest).await? else { return Ok(None) };
        let Ok(manifest) = Manifest::parse(&bytes, Some(&row.media_type)) else { return Ok(None) };
        let annotations = manifest.annotations();
        Ok(to_raw_value(annotations).ok().filter(|_| !annotations.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(annotation_bytes: u64) -> ReferrerRow {
        ReferrerRow {
            digest: Digest::sha256(b"x"),
            media_type: String::new(),
            artifact_type: String::new(),
            size: 0,
            annotation_bytes,
            annotations: None,
            locks: lock::Locks::default(),
            is_here: true,
        }
    }

    #[test]
    fn no_more_is_gathered_than_ends_a_page() {
        let most = limit::REFERRERS_BYTES;
        for bytes in
            [vec![0; 500], vec![most + 1; 5], vec![most, 0, 1, 1, 1], vec![1, most, 1], vec![most / 3; 9]]
        {
            let mut gathered = Gathered::default();
            let mut rest = bytes.iter();
            while !gathered.are_enough() {
                gathered.add(row(*rest.next().expect("a page ends")));
            }
            assert_eq!(fitting(&gathered.rows), gathered.rows.len() - 1, "{bytes:?}");
        }
    }

    #[test]
    fn a_page_ends_at_its_bytes_and_has_one_referrer() {
        let rows = |bytes: &[u64]| fitting(&bytes.iter().map(|bytes| row(*bytes)).collect::<Vec<_>>());
        let most = limit::REFERRERS_BYTES;
        assert_eq!(rows(&[]), 0);
        assert_eq!(rows(&[most]), 1);
        assert_eq!(rows(&[most - 1, 1, 0]), 3, "at the limit");
        assert_eq!(rows(&[most - 1, 2]), 1, "one past it");
        assert_eq!(rows(&[most + 1, 0]), 1, "one is always on it");
        let long = ReferrerRow { artifact_type: "x".repeat(usize::try_from(most).expect("small")), ..row(1) };
        assert_eq!(fitting(&[long, row(0)]), 1, "its type counts");
        let count = usize::try_from(limit::REFERRERS).expect("small");
        assert_eq!(rows(&vec![0; count]), count);
        assert_eq!(rows(&vec![0; count + 1]), count);
    }

    #[test]
    fn annotations_are_shortened() {
        let with = |count: usize, value: usize| {
            let all: serde_json::Map<String, Value> =
                (0..count).map(|at| (format!("{at:02}"), "あ".repeat(value).into())).collect();
            shortened(to_raw_value(&all).ok().as_deref())
        };
        let fits = limit::ANNOTATION_BYTES / "あ".len();
        let (all, cut) = with(limit::ANNOTATIONS, fits);
        assert_eq!((all.len(), all["00"].chars().count(), cut), (limit::ANNOTATIONS, fits, false));
        let (all, cut) = with(limit::ANNOTATIONS, fits + 1);
        assert_eq!((all["00"].chars().count(), cut), (fits, true), "never through a character");
        let (all, cut) = with(limit::ANNOTATIONS + 1, 1);
        assert_eq!((all.len(), cut), (limit::ANNOTATIONS, true));
        assert_eq!(shortened(None), (BTreeMap::new(), false));
    }
}
