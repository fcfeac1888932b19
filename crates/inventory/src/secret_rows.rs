//! Secrets as an image has them: in which file, of which layer, and whether a later layer
//! removed the file. It is still in the blob, so it is told all the same.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use seaworthy_layer::{EntryRef, Magic, NodeId, TableRow, Tree, escape};
use seaworthy_model::SecretRow;

use crate::{LayerFacts, dpkg, facts::Content, limit};

/// Where the content of hits is effective; filled while the effective files pass by.
pub(crate) struct SecretRows<'a> {
    layers: &'a [Option<Arc<LayerFacts>>],
    live: HashMap<EntryRef, Option<NodeId>>,
}

/// Secrets of an image: at most [`limit::SECRETS`].
pub(crate) struct Secrets {
    pub(crate) rows: Vec<SecretRow>,
    /// There are more.
    pub(crate) is_cut: bool,
}

impl<'a> SecretRows<'a> {
    pub(crate) fn new(layers: &'a [Option<Arc<LayerFacts>>]) -> Self {
        let hits = numbered(layers).flat_map(|(layer, facts)| {
            facts.secrets.iter().map(move |hit| EntryRef { layer, index: hit.index })
        });
        Self { layers, live: hits.map(|entry| (entry, None)).collect() }
    }

    /// An effective file: its own name is told rather than that of a hard link.
    pub(crate) fn effective(&mut self, id: NodeId, name: EntryRef, content: EntryRef) {
        if let Some(known) = self.live.get_mut(&content)
            && (known.is_none() || name == content)
        {
            *known = Some(id);
        }
    }

    /// The rows, by layer and path.
    ///
    /// A program or library that a package of the distribution brought in the same layer (its
    /// `.list` names it there) is left out: self-tests carry keys, Debian's `libgnutls` ten of
    /// them, in the archive for everybody. Any other file is told even at a path that a package
    /// owns: a list of files is only a claim, and no package ships a key file.
    pub(crate) fn finish(self, tree: &Tree<'_>) -> Secrets {
        let mut removed: HashMap<EntryRef, u32> = HashMap::new();
        for gone in tree.removed().iter().filter(|gone| self.live.contains_key(&gone.content)) {
            let last = removed.entry(gone.content).or_default();
            *last = gone.layer.max(*last);
        }
        let mut rows = Vec::new();
        let mut is_cut = false;
        for (layer, facts) in numbered(self.layers) {
            if facts.secrets.is_empty() {
                continue;
            }
            let listed = listed(facts);
            for hit in facts.secrets.iter().take(limit::SECRETS) {
                let entry = EntryRef { layer, index: hit.index };
                let Some(TableRow { path: own, magic, .. }) = facts.table.row(hit.index) else { continue };
                let is_listed = || {
                    listed.contains(own) || own.strip_prefix(b"usr/").is_some_and(|own| listed.contains(own))
                };
                if magic == Magic::Elf && is_listed() {
                    continue;
                }
                if rows.len() == limit::SECRETS {
                    is_cut = true;
                    break;
                }
                let live = self.live.get(&entry).copied().flatten().map(|id| tree.path(id));
                rows.push(SecretRow {
                    rule: hit.rule.name().to_owned(),
                    path: escape(live.as_deref().unwrap_or(own)),
                    layer,
                    removed_in_layer: if live.is_some() { None } else { removed.get(&entry).copied() },
                    value_sha256: hit.value.hex(),
                });
            }
        }
        rows.sort_by(|a, b| (a.layer, &a.path, &a.rule).cmp(&(b.layer, &b.path, &b.rule)));
        Secrets { rows, is_cut }
    }
}

/// Paths that dpkg's lists in this layer name.
fn listed(facts: &LayerFacts) -> HashSet<&[u8]> {
    let mut paths = HashSet::new();
    for kept in &facts.kept {
        let Some(row) = facts.table.row(kept.index) else { continue };
        let is_list = row.path.starts_with(b"var/lib/dpkg/info/") && row.path.ends_with(b".list");
        let is_sums = row.path.starts_with(b"var/lib/dpkg/status.d/") && row.path.ends_with(b".md5sums");
        if let (true, Content::Bytes(bytes)) = (is_list || is_sums, facts.content(kept.index)) {
            paths.extend(dpkg::listed_paths(bytes, row.path));
        }
    }
    paths
}

fn numbered(layers: &[Option<Arc<LayerFacts>>]) -> impl Iterator<Item = (u32, &LayerFacts)> {
    (0u32..).zip(layers).filter_map(|(layer, facts)| Some((layer, facts.as_deref()?)))
}
