//! Repositories, manifests and tags as ACR's data plane describes them.

use seaworthy_oci::{Descriptor, Digest, Manifest, RepoName, Tag, read_json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Registry, RegistryError,
    db::{self, ManifestRow, Order, TagRow},
    limit, manifest,
};

/// One page of a list, and where the next begins.
pub(crate) struct AttributesPage {
    pub(crate) items: Vec<Value>,
    pub(crate) next: Option<String>,
}

/// None of these asks for rights: their callers did.
impl Registry {
    pub(crate) async fn repository_attributes(&self, repository: &RepoName) -> Result<Value, RegistryError> {
        let row = db::repository_row(self.db(), repository).await?;
        let row = row.ok_or_else(|| manifest::unknown(repository))?;
        Ok(json!({
            "imageName": repository,
            "createdTime": row.created_at,
            "lastUpdateTime": row.updated_at,
            "manifestCount": row.manifests,
            "tagCount": row.tags,
            "changeableAttributes": row.locks.attributes(),
        }))
    }

    pub(crate) async fn tag_attributes(
        &self,
        repository: &RepoName,
        tag: &Tag,
    ) -> Result<Option<Value>, RegistryError> {
        Ok(db::tag_row(self.db(), repository, tag).await?.map(|row| tag_value(&row)))
    }

    pub(crate) async fn tags_attributes(
        &self,
        repository: &RepoName,
        digest: Option<&Digest>,
        order: &Order,
        most: u32,
    ) -> Result<AttributesPage, RegistryError> {
        self.check_known(repository).await?;
        let rows = db::tags_page(self.db(), repository, digest, order, i64::from(most) + 1).await?;
        let page = rows.get(..most as usize);
        let next = page.and_then(<[_]>::last).map(|row| order.after(row.updated_at.as_micros(), &row.name));
        let items = page.unwrap_or(&rows).iter().map(tag_value).collect();
        Ok(AttributesPage { items, next: next.filter(|_| rows.len() > most as usize) })
    }

    pub(crate) async fn manifest_attributes(
        &self,
        repository: &RepoName,
        digest: &Digest,
    ) -> Result<Option<Value>, RegistryError> {
        match db::manifest_row(self.db(), repository, digest).await? {
            Some(row) => Ok(Some(self.manifest_value(repository, &row).await?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn manifests_attributes(
        &self,
        repository: &RepoName,
        order: &Order,
        most: u32,
    ) -> Result<AttributesPage, RegistryError> {
        self.check_known(repository).await?;
        let rows = db::manifests_page(self.db(), repository, order, i64::from(most) + 1).await?;
        let (mut items, mut names) = (Vec::with_capacity(rows.len()), 0);
        for row in rows.iter().take(most as usize) {
            let value = self.manifest_value(repository, row).await?;
            names += ["tags", "references"]
                .iter()
                .filter_map(|key| Some(value.get(key)?.as_array()?.len()))
                .sum::<usize>();
            items.push(value);
            if names >= limit::ATTRIBUTES_NAMES {
                break;
            }
        }
        let last = items.len().checked_sub(1).and_then(|last| rows.get(last));
        let next = last
            .map(|row| order.after(row.pushed_at.as_micros(), &row.digest.to_string()))
            .filter(|_| rows.len() > items.len());
        Ok(AttributesPage { items, next })
    }

    async fn check_known(&self, repository: &RepoName) -> Result<(), RegistryError> {
        match db::repository_locks(self.db(), repository).await? {
            Some(_) => Ok(()),
            None => Err(manifest::unknown(repository).into()),
        }
    }

    async fn manifest_value(&self, repository: &RepoName, row: &ManifestRow) -> Result<Value, RegistryError> {
        let tags = db::tags_of(self.db(), repository, &row.digest, limit::PAGE.into()).await?;
        let mut value = json!({
            "digest": row.digest,
            "imageSize": row.size + row.blob_bytes,
            "createdTime": row.pushed_at,
            "lastUpdateTime": row.pushed_at,
            "mediaType": row.media_type,
            "tags": tags,
            "changeableAttributes": row.locks.attributes(),
        });
        let quarantine = match row.locks.quarantine() {
            Some(state) => {
                Some((state.word(), db::quarantine_details(self.db(), repository, &row.digest).await?))
            }
            None if self.is_quarantined(repository).await? => Some(("Quarantined", String::new())),
            None => None,
        };
        if let (Some((state, details)), Some(Value::Object(fields))) =
            (quarantine, value.get_mut("changeableAttributes"))
        {
            fields.insert("quarantineState".to_owned(), state.into());
            if !details.is_empty() {
                fields.insert("quarantineDetails".to_owned(), details.into());
            }
        }
        let RunsOn { architecture, os } = self.runs_on(repository, &row.digest).await?;
        if let Some(fields) = value.as_object_mut() {
            for (name, text) in [("architecture", architecture), ("os", os)] {
                if let Some(text) = text {
                    fields.insert(name.to_owned(), text.into());
                }
            }
            match self.parsed(&row.digest, &row.media_type).await? {
                Some(Manifest::Image(image)) => {
                    fields.insert("configMediaType".to_owned(), short(&image.config.media_type).into());
                }
                Some(Manifest::Index(index)) => {
                    let references: Vec<Value> = index.manifests.iter().map(reference).collect();
                    fields.insert("references".to_owned(), references.into());
                }
                None => {}
            }
        }
        Ok(value)
    }

    /// `None` when it went meanwhile, or was stored when less was refused.
    async fn parsed(&self, digest: &Digest, media_type: &str) -> Result<Option<Manifest>, RegistryError> {
        let bytes = db::manifest_bytes(self.db(), digest).await?;
        Ok(bytes.and_then(|bytes| Manifest::parse(&bytes, Some(media_type)).ok()))
    }

    /// What the config of an image says it runs on; nothing when there is none that can be read. A config is as long as
    /// [`seaworthy_oci::limit::CONFIG_BYTES`], and a page has many: nothing else of it is kept.
    async fn runs_on(&self, repository: &RepoName, digest: &Digest) -> Result<RunsOn, RegistryError> {
        let Some(config) = db::config_of(self.db(), repository, digest).await? else {
            return Ok(RunsOn::default());
        };
        let Some(blob) = self.open_for_inspection(&config).await? else { return Ok(RunsOn::default()) };
        if blob.size > seaworthy_oci::limit::CONFIG_BYTES as u64 {
            return Ok(RunsOn::default());
        }
        Ok(RunsOn::parse(&blob.read_all().await?))
    }
}

/// What an image runs on, in the words of its config.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct RunsOn {
    architecture: Option<String>,
    os: Option<String>,
}

impl RunsOn {
    /// Nothing of what engines may read otherwise, as Go does: a key twice, or in another case.
    fn parse(config: &[u8]) -> Self {
        let Self { architecture, os } = read_json(config).unwrap_or_default();
        let short = |text: String| short(&text).to_owned();
        Self { architecture: architecture.map(short), os: os.map(short) }
    }
}

/// What somebody wrote into a config, as long as such words are.
fn short(text: &str) -> &str {
    text.get(..text.floor_char_boundary(limit::TYPE_BYTES)).unwrap_or_default()
}

impl Order {
    /// What `last` says to go on after this item.
    fn after(&self, micros: i64, name: &str) -> String {
        match self {
            Self::Name { .. } => name.to_owned(),
            Self::Oldest { .. } | Self::Newest { .. } => format!("{micros}.{name}"),
        }
    }
}

/// One of an index, as ACR lists it.
fn reference(child: &Descriptor) -> Value {
    let mut value = json!({"digest": child.digest});
    if let (Some(platform), Some(fields)) = (&child.platform, value.as_object_mut()) {
        fields.insert("architecture".to_owned(), platform.architecture.clone().into());
        fields.insert("os".to_owned(), platform.os.clone().into());
    }
    value
}

fn tag_value(row: &TagRow) -> Value {
    json!({
        "name": row.name,
        "digest": row.digest,
        "createdTime": row.created_at,
        "lastUpdateTime": row.updated_at,
        "signed": false,
        "changeableAttributes": row.locks.attributes(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_config_says_it_runs_on() {
        let said = |architecture: Option<&str>, os: Option<&str>| RunsOn {
            architecture: architecture.map(str::to_owned),
            os: os.map(str::to_owned),
        };
        for (config, expected) in [
            (
                r#"{"os":"linux","architecture":"arm64","rootfs":{"diff_ids":[]}}"#,
                said(Some("arm64"), Some("linux")),
            ),
            (r#"{"os":"linux","config":{"os":"a","OS":"b"}}"#, said(None, Some("linux"))),
            (r#"{"os":null}"#, said(None, None)),
            (r#"{"os":"linux","os":"windows"}"#, said(None, None)),
            (r#"{"os":"linux","OS":"windows"}"#, said(None, None)),
            (r#"{"os":7,"architecture":"arm64"}"#, said(None, None)),
            (r#"["arm64","linux"]"#, said(None, None)),
            ("", said(None, None)),
        ] {
            assert_eq!(RunsOn::parse(config.as_bytes()), expected, "{config}");
        }
        let long = format!(r#"{{"os":"{}"}}"#, "x".repeat(limit::TYPE_BYTES + 1));
        let os = RunsOn::parse(long.as_bytes()).os.expect("said");
        assert!(os.len() == limit::TYPE_BYTES && os.capacity() == os.len(), "nothing of the rest is kept");
    }
}
