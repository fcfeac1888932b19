//! The package database through the layers: what it states at the top, where each package
//! came from, and what it stopped stating although the files are still there.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use seaworthy_layer::{EntryRef, Follow, NodeId, NodeKind, Tree, escape};
use seaworthy_model::{InventoryProblem, PackageRow, ProblemCode};

use crate::{
    LayerFacts, Stated,
    dpkg::{self, DatabaseKind},
    facts::Content,
    inspect::problem,
    limit,
};

const STATUS: &[u8] = b"var/lib/dpkg/status";
const STATUS_D: &[u8] = b"var/lib/dpkg/status.d";
const INFO: &[u8] = b"var/lib/dpkg/info";
/// What a list of a package's files costs of [`limit::DATABASE_BYTES`], each time their folder changes.
const LIST_COST: u64 = 64;

/// A directory and the last layer that changed its names: unlike only when it changed.
type DirectoryState = (NodeId, u32);

/// What the layers below `layer` say; told after every layer.
pub(crate) struct History<'a> {
    layers: &'a [Option<Arc<LayerFacts>>],
    sources: BTreeMap<Vec<u8>, Source>,
    present: HashMap<Rc<Stated>, Seen>,
    dropped: Vec<Dropped>,
    /// Lists of files by package (`name` or `name:arch`), as last seen.
    lists: HashMap<Vec<u8>, List>,
    seen_database: (Option<EntryRef>, Option<DirectoryState>),
    seen_lists: (Option<DirectoryState>, Option<DirectoryState>),
    budget: u64,
    exhausted: bool,
}

/// What [`History::finish`] gives.
pub(crate) struct Packages {
    pub(crate) rows: Vec<PackageRow>,
    pub(crate) problems: Vec<InventoryProblem>,
    /// Effective files that a listed package owns.
    pub(crate) owned: HashSet<NodeId>,
}

/// One database file as it is now.
struct Source {
    entry: EntryRef,
    packages: Rc<Vec<Rc<Stated>>>,
    damage: Option<&'static str>,
}

/// Since when a package is there, and which file says so.
#[derive(Clone)]
struct Seen {
    layer: u32,
    path: Rc<[u8]>,
}

/// A package that the database stated before `layer`, and no longer after it.
struct Dropped {
    package: Rc<Stated>,
    seen: Seen,
    layer: u32,
    /// The file that stated it is gone, as opposed to written anew.
    file_is_gone: bool,
    list: Option<List>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct List {
    entry: EntryRef,
    form: ListForm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListForm {
    Paths,
    Sums,
}

impl<'a> History<'a> {
    pub(crate) fn new(layers: &'a [Option<Arc<LayerFacts>>]) -> Self {
        Self {
            layers,
            sources: BTreeMap::new(),
            present: HashMap::new(),
            dropped: Vec::new(),
            lists: HashMap::new(),
            seen_database: (None, None),
            seen_lists: (None, None),
            budget: limit::DATABASE_BYTES,
            exhausted: false,
        }
    }

    /// Looks at the tree after `layer` was applied. Free when the layer left the database alone.
    pub(crate) fn observe(&mut self, tree: &Tree<'_>, layer: u32) {
        let directory = |path| {
            let id = tree.find(path, Follow::Final)?;
            let node = tree.node(id).filter(|node| node.kind == NodeKind::Directory)?;
            Some((id, node.changed_in))
        };
        let status = tree.find(STATUS, Follow::Final).and_then(|id| file_at(tree, id));
        let (status_d, info) = (directory(STATUS_D), directory(INFO));
        if self.seen_database != (status, status_d) && !self.exhausted {
            self.seen_database = (status, status_d);
            let mut now: BTreeMap<Vec<u8>, (EntryRef, DatabaseKind)> = BTreeMap::new();
            if let Some(entry) = status {
                now.insert(STATUS.to_vec(), (entry, DatabaseKind::Status));
            }
            for (name, entry) in status_d.iter().flat_map(|(id, _)| files_in(tree, *id)) {
                if !name.ends_with(b".md5sums") {
                    now.insert([STATUS_D, b"/", name].concat(), (entry, DatabaseKind::StatusD));
                }
            }
            self.restate(now, layer);
        }
        // After the database: a dropped package is judged by the list it had before this layer.
        if self.seen_lists != (info, status_d) {
            self.seen_lists = (info, status_d);
            self.list_again(tree, info, status_d);
        }
    }

    fn restate(&mut self, now: BTreeMap<Vec<u8>, (EntryRef, DatabaseKind)>, layer: u32) {
        let mut sources = BTreeMap::new();
        for (path, (entry, kind)) in now {
            let known = self.sources.remove(&path).filter(|source| source.entry == entry);
            let source = known.unwrap_or_else(|| self.parse(entry, kind));
            sources.insert(path, source);
        }
        let mut present = HashMap::new();
        for (path, source) in &sources {
            let path: Rc<[u8]> = Rc::from(path.as_slice());
            self.pay(source.packages.len() as u64 * limit::PACKAGE_COST);
            for package in source.packages.iter() {
                let first = self.present.get(package).map_or(layer, |seen| seen.layer);
                let seen = Seen { layer: first, path: Rc::clone(&path) };
                present.entry(Rc::clone(package)).or_insert(seen);
            }
        }
        for (package, seen) in std::mem::take(&mut self.present) {
            if !present.contains_key(&package) {
                let file_is_gone = !sources.contains_key(seen.path.as_ref());
                let list = self.list_of(&package);
                self.dropped.push(Dropped { package, seen, layer, file_is_gone, list });
            }
        }
        self.present = present;
        self.sources = sources;
    }

    fn parse(&mut self, entry: EntryRef, kind: DatabaseKind) -> Source {
        match content(self.layers, entry) {
            Content::Bytes(bytes) => {
                self.pay(bytes.len() as u64);
                let file = dpkg::parse(bytes, kind);
                let packages = file.packages.into_iter().map(Rc::new).collect();
                Source { entry, packages: Rc::new(packages), damage: file.damage }
            }
            Content::Away => {
                Source { entry, packages: Rc::default(), damage: Some("is too large, or was not recognised") }
            }
        }
    }

    fn list_again(&mut self, tree: &Tree<'_>, info: Option<DirectoryState>, sums: Option<DirectoryState>) {
        for (directory, suffix, form) in
            [(info, &b".list"[..], ListForm::Paths), (sums, b".md5sums", ListForm::Sums)]
        {
            let Some((directory, _)) = directory else { continue };
            for (name, entry) in files_in(tree, directory) {
                if self.exhausted {
                    return;
                }
                self.pay(LIST_COST);
                if let Some(package) = name.strip_suffix(suffix) {
                    self.lists.insert(package.to_vec(), List { entry, form });
                }
            }
        }
    }

    fn list_of(&self, package: &Stated) -> Option<List> {
        let full = format!("{}:{}", package.name, package.architecture);
        self.lists.get(full.as_bytes()).or_else(|| self.lists.get(package.name.as_bytes())).copied()
    }

    fn pay(&mut self, cost: u64) {
        self.exhausted |= cost > self.budget;
        self.budget = self.budget.saturating_sub(cost);
    }

    /// The packages of the whole image, those that the database hides included.
    pub(crate) fn finish(self, tree: &Tree<'_>, distribution: &str) -> Packages {
        let mut found = Packages { rows: Vec::new(), problems: Vec::new(), owned: HashSet::new() };
        for (package, seen) in &self.present {
            found.rows.push(row(package, seen, distribution));
            if let Some(list) = self.list_of(package) {
                self.own(tree, list, &mut found.owned);
            }
        }
        self.restore_hidden(tree, distribution, &mut found);
        for (path, source) in &self.sources {
            if let Some(damage) = source.damage {
                let message = format!("package database `{}` {damage}", escape(path));
                let layer = Some(source.entry.layer);
                found.problems.push(problem(ProblemCode::PackageDbUnreadable, layer, &message));
            }
        }
        bound(&mut found.problems);
        if self.exhausted {
            let message = "the layers change the package database too often to follow";
            found.problems.push(problem(ProblemCode::PackageDbUnreadable, None, message));
        }
        found.rows.sort_by(|a, b| a.package.cmp(&b.package));
        found
    }

    /// Lists dropped packages whose files are still there.
    fn restore_hidden(&self, tree: &Tree<'_>, distribution: &str, found: &mut Packages) {
        let stated: HashSet<(&str, &str)> =
            self.present.keys().map(|it| (it.name.as_str(), it.architecture.as_str())).collect();
        let mut hidden: BTreeMap<(ProblemCode, u32), Vec<&str>> = BTreeMap::new();
        let mut done: HashSet<&Stated> = HashSet::new();
        let mut owned = HashSet::new();
        // Latest first: a package that came and went counts as of its last leave.
        for dropped in self.dropped.iter().rev() {
            let package = dropped.package.as_ref();
            if self.present.contains_key(&dropped.package) || !done.insert(package) {
                continue;
            }
            let replaced = stated.contains(&(package.name.as_str(), package.architecture.as_str()));
            let survives = match dropped.list {
                // Nobody can say which files the package had: it is not taken for gone.
                Some(list) if self.is_away(list) => true,
                Some(list) if replaced => self.is_untouched(tree, list, dropped.layer),
                Some(list) if dropped.file_is_gone && !self.names_programs(list) => true,
                Some(list) => self.has_orphans(tree, list, dropped.layer, &found.owned),
                // Without a list nothing shows that a vanished database's package went with it.
                None => dropped.file_is_gone && !replaced,
            };
            if !survives {
                continue;
            }
            found.rows.push(row(package, &dropped.seen, distribution));
            if let Some(list) = dropped.list {
                self.own(tree, list, &mut owned);
            }
            let code = if dropped.file_is_gone {
                ProblemCode::PackageDbRemoved
            } else {
                ProblemCode::PackageDbRewritten
            };
            hidden.entry((code, dropped.layer)).or_default().push(&package.name);
        }
        found.owned.extend(owned);
        for ((code, layer), mut names) in hidden {
            names.sort_unstable();
            let verb = match code {
                ProblemCode::PackageDbRemoved => "was removed",
                _ => "no longer states",
            };
            let message = match code {
                ProblemCode::PackageDbRemoved => format!(
                    "the package database {verb}, but {} of its packages are still there: {}",
                    names.len(),
                    names.join(", ")
                ),
                _ => format!(
                    "the package database {verb} {} packages that are still there: {}",
                    names.len(),
                    names.join(", ")
                ),
            };
            found.problems.push(problem(code, Some(layer), &message));
        }
    }

    /// True for a list whose content was not kept: longer than [`limit::LIST_BYTES`], one too many
    /// for [`limit::KEPT_BYTES`], or reached by a name that no list has.
    fn is_away(&self, list: List) -> bool {
        content(self.layers, list.entry) == Content::Away
    }

    /// False for a list that shows nothing: it is empty, damaged, or names only documentation.
    fn names_programs(&self, list: List) -> bool {
        self.paths(list).any(|path| !is_beside_the_point(path))
    }

    /// True when a program file of the list is effective, older than `layer`, and nobody else's.
    fn has_orphans(&self, tree: &Tree<'_>, list: List, layer: u32, owned: &HashSet<NodeId>) -> bool {
        self.program_files(tree, list).any(|(id, entry)| entry.layer < layer && !owned.contains(&id))
    }

    /// True when `layer` states another version but touched no program file of the package:
    /// an upgrade writes them all anew.
    fn is_untouched(&self, tree: &Tree<'_>, list: List, layer: u32) -> bool {
        let mut any = false;
        for (_, entry) in self.program_files(tree, list) {
            if entry.layer >= layer {
                return false;
            }
            any = true;
        }
        any
    }

    /// Effective files of a list that are neither documentation (slim images delete it, or
    /// keep it) nor configuration (it stays when a package is removed).
    fn program_files(&self, tree: &Tree<'_>, list: List) -> impl Iterator<Item = (NodeId, EntryRef)> {
        self.paths(list).filter(|path| !is_beside_the_point(path)).filter_map(|path| {
            let id = tree.find(path, Follow::Parents)?;
            let entry = file_at(tree, id)?;
            Some((id, entry))
        })
    }

    fn own(&self, tree: &Tree<'_>, list: List, owned: &mut HashSet<NodeId>) {
        for path in self.paths(list) {
            // A file that a later layer wrote is not the package's any more.
            if let Some(id) = tree.find(path, Follow::Parents)
                && let Some(node) = tree.node(id)
                && node.kind != NodeKind::Directory
                && node.content.layer <= list.entry.layer
            {
                owned.insert(id);
            }
        }
    }

    fn paths(&self, list: List) -> impl Iterator<Item = &'a [u8]> {
        let bytes = match content(self.layers, list.entry) {
            Content::Bytes(bytes) => bytes,
            Content::Away => b"",
        };
        let name: &[u8] = if list.form == ListForm::Sums { b".md5sums" } else { b".list" };
        dpkg::listed_paths(bytes, name)
    }
}

fn content(layers: &[Option<Arc<LayerFacts>>], entry: EntryRef) -> Content<'_> {
    let facts = layers.get(entry.layer as usize).and_then(Option::as_ref);
    facts.map_or(Content::Away, |facts| facts.content(entry.index))
}

/// Keeps the first [`limit::PROBLEMS`] and counts the rest in one more.
fn bound(problems: &mut Vec<InventoryProblem>) {
    let found = problems.len();
    if found > limit::PROBLEMS {
        problems.truncate(limit::PROBLEMS);
        let message = format!("{} of {found} problems of the package databases are listed", limit::PROBLEMS);
        problems.push(problem(ProblemCode::PackageDbUnreadable, None, &message));
    }
}

fn row(package: &Stated, seen: &Seen, distribution: &str) -> PackageRow {
    PackageRow {
        package: package.installed(distribution),
        layer: seen.layer,
        paths: vec![escape(&seen.path)],
    }
}

/// The entry that holds the content of a regular file.
fn file_at(tree: &Tree<'_>, id: NodeId) -> Option<EntryRef> {
    tree.node(id).filter(|node| node.kind == NodeKind::File).map(|node| node.content)
}

/// Regular files of a directory, and links that lead to one.
fn files_in<'t>(tree: &'t Tree<'_>, directory: NodeId) -> impl Iterator<Item = (&'t [u8], EntryRef)> {
    tree.list(directory).filter_map(move |(name, id)| {
        let node = tree.node(id)?;
        let id = match node.kind {
            NodeKind::Symlink => tree.find(&tree.path(id), Follow::Final)?,
            _ => id,
        };
        Some((name, file_at(tree, id)?))
    })
}

fn is_beside_the_point(path: &[u8]) -> bool {
    [
        &b"etc/"[..],
        b"usr/share/doc/",
        b"usr/share/man/",
        b"usr/share/info/",
        b"usr/share/locale/",
        b"usr/share/lintian/",
        b"usr/share/doc-base/",
        b"usr/share/bug/",
        b"usr/share/menu/",
    ]
    .iter()
    .any(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaworthy_layer::Limits;

    /// What two versions of a database of one package cost and find within `budget`.
    fn follow(budget: u64) -> (u64, Vec<String>) {
        let layer = |version: &str| {
            let text = format!("Package: a\nStatus: install ok installed\nVersion: {version}\n");
            let mut header = [0u8; 512];
            header[..STATUS.len()].copy_from_slice(STATUS);
            header[100..107].copy_from_slice(b"0000644");
            header[124..135].copy_from_slice(format!("{:011o}", text.len()).as_bytes());
            header[156] = b'0';
            header[148..156].copy_from_slice(b"        ");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let mut archive = [&header[..], text.as_bytes()].concat();
            archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
            Some(Arc::new(crate::read_layer(&archive[..], &Limits::default()).expect("layer")))
        };
        let layers = [layer("1"), layer("2")];
        let mut tree = Tree::new(&Limits::default());
        let mut history = History { budget, ..History::new(&layers) };
        for (at, facts) in (0u32..).zip(&layers) {
            tree.apply(facts.as_ref().map(|facts| &facts.table)).expect("applied");
            history.observe(&tree, at);
        }
        let left = history.budget;
        (left, history.finish(&tree, "debian").problems.into_iter().map(|it| it.message).collect())
    }

    #[test]
    fn databases_are_followed_within_their_budget() {
        assert_eq!(History::new(&[]).budget, limit::DATABASE_BYTES);
        let (left, problems) = follow(limit::DATABASE_BYTES);
        assert_eq!(problems, Vec::<String>::new());
        let cost = limit::DATABASE_BYTES - left;
        let text = "Package: a\nStatus: install ok installed\nVersion: 1\n".len() as u64;
        assert_eq!(cost, 2 * (text + limit::PACKAGE_COST));
        assert_eq!(follow(cost), (0, Vec::new()), "all of it");
        let told = "the layers change the package database too often to follow";
        assert_eq!(follow(cost - 1), (0, vec![told.to_owned()]), "one byte less");
    }

    #[test]
    fn problems_beyond_the_limit_are_counted() {
        let bounded = |found: usize| {
            let one = problem(ProblemCode::PackageDbRewritten, Some(0), "rewritten");
            let mut problems = vec![one; found];
            bound(&mut problems);
            problems
        };
        assert_eq!(bounded(limit::PROBLEMS).len(), limit::PROBLEMS);
        assert!(bounded(limit::PROBLEMS).iter().all(|it| it.code == ProblemCode::PackageDbRewritten));
        let cut = bounded(limit::PROBLEMS + 1);
        assert_eq!(cut.len(), limit::PROBLEMS + 1);
        let last = cut.last().expect("last");
        assert_eq!(last.code, ProblemCode::PackageDbUnreadable);
        assert_eq!(last.message, "1000 of 1001 problems of the package databases are listed");
    }
}
