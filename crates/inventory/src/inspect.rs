use std::sync::Arc;

use seaworthy_layer::{EntryRef, Follow, Limits, NodeKind, Tree, escape};
use seaworthy_model::{ContentId, Inventory, InventoryProblem, LayerRow, OsRelease, ProblemCode};
use seaworthy_oci::{Digest, ImageConfig, Platform};

use crate::{
    LayerFacts, READER_VERSION, coverage::Gatherer, facts::Content, history::History, limit,
    parse_os_release, secret_rows::SecretRows,
};

/// A layer's facts, or why there are none.
pub type LayerResult = Result<Arc<LayerFacts>, InventoryProblem>;

/// The inventory of an image: its layers, bottom first, folded as a runtime unpacks them.
///
/// The content id is always that of the *measured* layers. A layer without facts stands in it
/// as a digest that no layer has, so such an image is never taken for the complete one.
/// Whatever fails is a problem in the result; the rest is still read.
pub fn inspect(
    config: Result<&ImageConfig, InventoryProblem>,
    platform: &Platform,
    layers: &[LayerResult],
) -> Inventory {
    let mut problems = Vec::new();
    let config = config.map_err(|problem| problems.push(problem)).ok();
    let rows = layer_rows(config, layers, &mut problems);
    let facts: Vec<Option<Arc<LayerFacts>>> =
        layers.iter().map(|layer| layer.as_ref().ok().map(Arc::clone)).collect();

    let mut tree = Tree::new(&Limits::default());
    let mut history = History::new(&facts);
    for (layer, facts) in (0u32..).zip(&facts) {
        if let Err(error) = tree.apply(facts.as_ref().map(|facts| &facts.table)) {
            problems.push(problem(ProblemCode::LayerTooLarge, Some(layer), &error.to_string()));
            break;
        }
        history.observe(&tree, layer);
    }
    if is_windows(platform, &tree) {
        let message = "no reader knows Windows images: their packages are not judged";
        problems.push(problem(ProblemCode::PlatformUnsupported, None, message));
    }
    unresolved(&tree, &mut problems);

    let mut unreadable = Vec::new();
    let os = os_release(&tree, &facts, &mut unreadable);
    let distribution = os.as_ref().map_or("", |os| os.id.as_str());
    let mut packages = history.finish(&tree, distribution);
    problems.append(&mut packages.problems);
    if packages.rows.is_empty() && problems.is_empty() && matches!(distribution, "debian" | "ubuntu") {
        let message = "the image is of a distribution with packages, but no database states any";
        problems.push(problem(ProblemCode::PackageDbRemoved, None, message));
    }

    let mut coverage = Gatherer::default();
    let mut secrets = SecretRows::new(&facts);
    tree.each(|path, id, node| {
        if node.kind == NodeKind::File {
            secrets.effective(id, node.name, node.content);
        }
        if !packages.owned.contains(&id) {
            coverage.unowned(path, node, tree.content_row(node.content));
        }
    });
    let secrets = secrets.finish(&tree);
    too_many_secrets(&facts, secrets.is_cut, &mut problems);
    if let Err(error) = tree.check_steps() {
        problems.push(problem(ProblemCode::LayerTooLarge, None, &error.to_string()));
    }
    let diff_ids: Vec<Digest> = rows.iter().map(|row| row.diff_id).collect();
    Inventory {
        content_id: ContentId::of(platform, &diff_ids),
        platform: platform.clone(),
        layers: rows,
        os,
        packages: packages.rows,
        secrets: secrets.rows,
        coverage: coverage.finish(unreadable),
        problems,
        reader_version: READER_VERSION,
    }
}

fn layer_rows(
    config: Option<&ImageConfig>,
    layers: &[LayerResult],
    problems: &mut Vec<InventoryProblem>,
) -> Vec<LayerRow> {
    let claimed = config.map(|config| config.rootfs.diff_ids.as_slice());
    if let Some(claimed) = claimed.filter(|claimed| claimed.len() != layers.len()) {
        let message = format!("the config names {} layers, the image has {}", claimed.len(), layers.len());
        problems.push(problem(ProblemCode::DiffIdMismatch, None, &message));
    }
    let mut rows = Vec::with_capacity(layers.len());
    for (index, layer) in (0u32..).zip(layers) {
        let claim = claimed.and_then(|claimed| claimed.get(index as usize));
        let diff_id = match layer {
            Ok(facts) => {
                let measured = facts.digest.diff_id;
                if let Some(claim) = claim.filter(|claim| **claim != measured) {
                    let message = format!("the config claims {claim}, the layer is {measured}");
                    problems.push(problem(ProblemCode::DiffIdMismatch, Some(index), &message));
                }
                measured
            }
            Err(failed) => {
                problems.push(InventoryProblem { layer: Some(index), ..failed.clone() });
                let claim = claim.map(ToString::to_string).unwrap_or_default();
                Digest::sha256(format!("seaworthy layer without facts\n{index}\n{claim}").as_bytes())
            }
        };
        let created_by = config.and_then(|config| config.instruction(index as usize)).map(str::to_owned);
        rows.push(LayerRow { index, diff_id, created_by });
    }
    rows
}

/// A Windows layer keeps its files in `Files` and its registry in `Hives`.
fn is_windows(platform: &Platform, tree: &Tree<'_>) -> bool {
    let is_there = |path: &[u8]| tree.find(path, Follow::Parents).is_some();
    platform.os == "windows" || (is_there(b"Files") && is_there(b"Hives"))
}

/// Entries that no runtime could apply: such an image does not start, or not as we see it.
fn unresolved(tree: &Tree<'_>, problems: &mut Vec<InventoryProblem>) {
    let mut entries = tree.unresolved().iter().peekable();
    while let Some(first) = entries.next() {
        let mut count = 1;
        while entries.next_if(|entry| entry.layer == first.layer).is_some() {
            count += 1;
        }
        let path = tree.content_row(*first).map(|row| escape(row.path)).unwrap_or_default();
        let message = format!("{count} entries cannot be applied, the first is `{path}`");
        problems.push(problem(ProblemCode::LayerUnreadable, Some(first.layer), &message));
    }
}

/// Layers with more secrets than are kept: which those are that were left out, nobody knows.
fn too_many_secrets(layers: &[Option<Arc<LayerFacts>>], is_cut: bool, problems: &mut Vec<InventoryProblem>) {
    if is_cut {
        let message = format!("the image has more than {} secrets, not all are listed", limit::SECRETS);
        problems.push(problem(ProblemCode::LayerTooLarge, None, &message));
    }
    for (layer, facts) in (0u32..).zip(layers) {
        if facts.as_ref().is_some_and(|facts| facts.secrets.len() > limit::SECRETS) {
            let message = format!("the layer has more than {} secrets, not all are listed", limit::SECRETS);
            problems.push(problem(ProblemCode::LayerTooLarge, Some(layer), &message));
        }
    }
}

/// `/etc/os-release`, else `/usr/lib/os-release` (os-release(5)).
fn os_release(
    tree: &Tree<'_>,
    layers: &[Option<Arc<LayerFacts>>],
    unreadable: &mut Vec<String>,
) -> Option<OsRelease> {
    for path in ["etc/os-release", "usr/lib/os-release"] {
        let node = tree.find(path.as_bytes(), Follow::Final).and_then(|id| tree.node(id));
        let Some(EntryRef { layer, index }) =
            node.filter(|node| node.kind == NodeKind::File).map(|node| node.content)
        else {
            continue;
        };
        let facts = layers.get(layer as usize).and_then(Option::as_ref);
        match facts.map(|facts| facts.content(index)) {
            Some(Content::Bytes(bytes)) => {
                if let Some(os) = parse_os_release(bytes) {
                    return Some(os);
                }
            }
            _ => unreadable.push(path.to_owned()),
        }
    }
    None
}

/// A problem whose message is no longer than [`limit::MESSAGE_CHARACTERS`].
pub(crate) fn problem(code: ProblemCode, layer: Option<u32>, message: &str) -> InventoryProblem {
    InventoryProblem { code, layer, message: message.chars().take(limit::MESSAGE_CHARACTERS).collect() }
}
