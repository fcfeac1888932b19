use std::{cell::Cell, collections::HashMap};

use crate::{
    EntryKind, Limits, PathTable, TableRow,
    path::split_last,
    walk::{Follow, Stop, Walk},
};

/// One entry of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryRef {
    /// The layer, bottom is 0.
    pub layer: u32,
    /// The entry; [`EntryRef::IMPLIED`] for a directory that only paths below it imply.
    pub index: u32,
}

impl EntryRef {
    /// The index of a directory that has no entry of its own.
    pub const IMPLIED: u32 = u32::MAX;
}

/// A place in a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The root directory.
    pub const ROOT: Self = Self(0);

    /// The id as a dense number, for bit sets.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node is. Hard links are what they link to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device or named pipe.
    Other,
}

/// An effective file: what a container sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// The entry that holds its content; hard links share it.
    pub content: EntryRef,
    /// The entry that made this name.
    pub name: EntryRef,
    /// For directories: the last layer that added or removed a name in it.
    pub changed_in: u32,
}

/// A name that a layer removed or replaced; its content is still in the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The entry that holds the content.
    pub content: EntryRef,
    /// The entry that made the name.
    pub name: EntryRef,
    /// The layer that removed it; the same layer when a later entry replaced it.
    pub layer: u32,
}

/// Why folding stops.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FoldError {
    /// Resolving paths costs more than [`Limits::fold_steps`].
    #[error("the image's paths take more than {at_most} steps to resolve")]
    TooManySteps {
        /// The limit.
        at_most: u64,
    },
    /// More names than [`Limits::fold_names`], those that lower layers had and implied directories included.
    #[error("the image's layers make more than {at_most} names")]
    TooManyNames {
        /// The limit.
        at_most: u32,
    },
    /// A name that symbolic links put deeper than [`Limits::path_bytes`]: no runtime could open it.
    #[error("a path in the image is longer than {at_most} bytes")]
    PathTooLong {
        /// The limit.
        at_most: usize,
    },
}

/// The file system of an image: layers applied bottom-up, one by one.
///
/// Entries act in their order, as a runtime applies them: parents are resolved through
/// symbolic links inside the root (at most 40), missing ones are made, a directory over a
/// directory merges, anything else replaces what was there. Whiteouts act on what lower
/// layers brought, whatever their place in the layer (image spec, "Whiteouts"). Hard links
/// share content, so a replaced target keeps its old content under the link's name.
pub struct Tree<'a> {
    tables: Vec<Option<&'a PathTable>>,
    nodes: Vec<Place<'a>>,
    children: HashMap<(u32, &'a [u8]), u32>,
    removed: Vec<Removed>,
    unresolved: Vec<EntryRef>,
    /// The last parent path and where it led, until a name disappears or a link appears.
    last_parent: Option<(&'a [u8], u32)>,
    steps: Cell<u64>,
    limits: Limits,
}

const NONE: u32 = u32::MAX;

struct Place<'a> {
    parent: u32,
    name: &'a [u8],
    /// Bytes of the whole path, with a slash after each part.
    path_bytes: u32,
    kind: NodeKind,
    content: EntryRef,
    made_by: EntryRef,
    first_child: u32,
    next: u32,
    previous: u32,
    changed_in: u32,
    /// Everything below stems from this layer (or a later one).
    pure_since: u32,
}

/// What [`Limits::fold_names`] counts on.
const _: () = assert!(size_of::<Place<'_>>() <= 64 && size_of::<((u32, &[u8]), u32)>() <= 32);

impl<'a> Tree<'a> {
    /// An empty root.
    pub fn new(limits: &Limits) -> Self {
        let root = Place {
            parent: 0,
            name: b"",
            path_bytes: 0,
            kind: NodeKind::Directory,
            content: EntryRef { layer: 0, index: EntryRef::IMPLIED },
            made_by: EntryRef { layer: 0, index: EntryRef::IMPLIED },
            first_child: NONE,
            next: NONE,
            previous: NONE,
            changed_in: 0,
            pure_since: 0,
        };
        Self {
            tables: Vec::new(),
            nodes: vec![root],
            children: HashMap::new(),
            removed: Vec::new(),
            unresolved: Vec::new(),
            last_parent: None,
            steps: Cell::new(limits.fold_steps),
            limits: *limits,
        }
    }

    /// Applies the next layer up; `None` for one that could not be read.
    pub fn apply(&mut self, table: Option<&'a PathTable>) -> Result<(), FoldError> {
        let layer = u32::try_from(self.tables.len()).map_err(|_| self.too_many_names())?;
        self.tables.push(table);
        self.last_parent = None;
        let Some(table) = table else { return Ok(()) };
        self.children.reserve(table.len() as usize / 2);
        for (index, row) in (0u32..).zip(table.rows()) {
            self.apply_row(EntryRef { layer, index }, row)?;
        }
        Ok(())
    }

    /// Number of layers applied.
    pub fn layers(&self) -> u32 {
        u32::try_from(self.tables.len()).unwrap_or(u32::MAX)
    }

    /// Names that were removed or replaced, in order; directories are not listed.
    pub fn removed(&self) -> &[Removed] {
        &self.removed
    }

    /// Entries that no runtime could apply: below a file, through looping links, links to
    /// nothing, malformed whiteouts.
    pub fn unresolved(&self) -> &[EntryRef] {
        &self.unresolved
    }

    /// An error when lookups stopped answering because [`Limits::fold_steps`] is used up.
    pub fn check_steps(&self) -> Result<(), FoldError> {
        match self.steps.get() {
            0 => Err(FoldError::TooManySteps { at_most: self.limits.fold_steps }),
            _ => Ok(()),
        }
    }

    /// The node `path` leads to from the root.
    pub fn find(&self, path: &[u8], follow: Follow) -> Option<NodeId> {
        let mut walk = Walk::new(path, follow);
        (walk.run(self) == Stop::Arrived).then_some(walk.at)
    }

    /// The child `name` of a directory.
    pub fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.children.get(&(directory.0, name)).copied().map(NodeId)
    }

    /// What is at `id`.
    pub fn node(&self, id: NodeId) -> Option<Node> {
        self.place(id.0).map(|place| Node {
            kind: place.kind,
            content: place.content,
            name: place.made_by,
            changed_in: place.changed_in,
        })
    }

    /// The row that holds a node's content.
    pub fn content_row(&self, content: EntryRef) -> Option<TableRow<'a>> {
        let table = (*self.tables.get(content.layer as usize)?)?;
        table.row(content.index)
    }

    /// The names in a directory.
    pub fn list(&self, directory: NodeId) -> impl Iterator<Item = (&'a [u8], NodeId)> {
        let mut next = self.place(directory.0).map_or(NONE, |place| place.first_child);
        std::iter::from_fn(move || {
            let place = self.place(next)?;
            let id = NodeId(next);
            next = place.next;
            Some((place.name, id))
        })
    }

    /// The path of a node, without a leading slash.
    pub fn path(&self, id: NodeId) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = id.0;
        while let Some(place) = self.place(at).filter(|_| at != 0) {
            names.push(place.name);
            at = place.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// Shows every effective name but the root, directories before what is in them.
    pub fn each(&self, mut show: impl FnMut(&[u8], NodeId, Node)) {
        let mut path: Vec<u8> = Vec::new();
        let mut open: Vec<(u32, usize)> = Vec::new();
        let mut next = self.place(0).map_or(NONE, |root| root.first_child);
        loop {
            let Some(place) = self.place(next) else {
                let Some((sibling, length)) = open.pop() else { return };
                path.truncate(length);
                next = sibling;
                continue;
            };
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(place.name);
            if let Some(node) = self.node(NodeId(next)) {
                show(&path, NodeId(next), node);
            }
            if place.first_child == NONE {
                path.truncate(length);
                next = place.next;
            } else {
                open.push((place.next, length));
                next = place.first_child;
            }
        }
    }

    pub(crate) fn kind(&self, id: NodeId) -> NodeKind {
        self.place(id.0).map_or(NodeKind::Other, |place| place.kind)
    }

    pub(crate) fn parent(&self, id: NodeId) -> NodeId {
        NodeId(self.place(id.0).map_or(0, |place| place.parent))
    }

    /// The target of a symbolic link.
    pub(crate) fn link(&self, id: NodeId) -> &'a [u8] {
        let row = self.place(id.0).and_then(|place| self.content_row(place.content));
        row.map_or(b"", |row| row.link)
    }

    /// Pays one step; false when none are left.
    pub(crate) fn step(&self) -> bool {
        let left = self.steps.get();
        self.steps.set(left.saturating_sub(1));
        left > 1
    }

    fn apply_row(&mut self, entry: EntryRef, row: TableRow<'a>) -> Result<(), FoldError> {
        if row.path.is_empty() {
            return Ok(());
        }
        let (parent, name) = split_last(row.path);
        if name == b".wh..wh..opq" {
            if let Some(directory) = self.find(parent, Follow::Final) {
                self.hide_lower(directory.0, entry.layer);
            }
            return self.check_steps();
        }
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            self.whiteout(entry, parent, hidden);
            return self.check_steps();
        }
        let Some(parent) = self.make_parent(parent, entry.layer)? else {
            self.check_steps()?;
            self.unresolved.push(entry);
            return Ok(());
        };
        self.put(parent, name, entry, row)
    }

    fn whiteout(&mut self, entry: EntryRef, parent: &'a [u8], hidden: &'a [u8]) {
        // Other names in `.wh..wh.` are AUFS's own; `.wh.`, `.wh..` and `.wh...` would name a parent.
        if hidden.starts_with(b".wh.") {
            return;
        }
        if matches!(hidden, b"" | b"." | b"..") {
            self.unresolved.push(entry);
            return;
        }
        let Some(directory) = self.find(parent, Follow::Final) else { return };
        let Some(NodeId(target)) = self.child(directory, hidden) else { return };
        let Some(place) = self.place(target) else { return };
        let (is_lower, kind) = (place.made_by.layer < entry.layer, place.kind);
        if kind == NodeKind::Directory {
            self.hide_lower(target, entry.layer);
        }
        if is_lower && self.place(target).is_some_and(|place| place.first_child == NONE) {
            self.unlink(target, entry.layer);
        }
    }

    /// Removes what lower layers brought below `directory`. Runs over each directory at most
    /// once per layer: afterwards it is marked, and so are directories a layer makes itself.
    fn hide_lower(&mut self, directory: u32, layer: u32) {
        let mut found = vec![directory];
        let mut at = 0;
        while let Some(id) = found.get(at).copied() {
            at += 1;
            let pure = self.place(id).is_none_or(|place| place.pure_since >= layer);
            if !pure {
                found.extend(self.list(NodeId(id)).map(|(_, child)| child.0));
            }
        }
        for id in found.iter().rev().copied() {
            let Some(place) = self.place_mut(id) else { continue };
            place.pure_since = layer;
            let stays = place.made_by.layer >= layer || place.first_child != NONE;
            if id != directory && !stays {
                self.unlink(id, layer);
            }
        }
    }

    fn put(
        &mut self,
        parent: u32,
        name: &'a [u8],
        entry: EntryRef,
        row: TableRow<'a>,
    ) -> Result<(), FoldError> {
        if let Some(existing) = self.child(NodeId(parent), name) {
            let is_directory = self.kind(existing) == NodeKind::Directory;
            if is_directory && row.kind == EntryKind::Directory {
                if let Some(place) = self.place_mut(existing.0) {
                    place.made_by = entry;
                    place.content = entry;
                }
                return Ok(());
            }
            self.remove_all(existing.0, entry.layer);
        }
        let (kind, content) = match row.kind {
            EntryKind::File => (NodeKind::File, entry),
            EntryKind::Directory => (NodeKind::Directory, entry),
            EntryKind::Symlink => (NodeKind::Symlink, entry),
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => (NodeKind::Other, entry),
            EntryKind::Hardlink => match self.find(row.link, Follow::Parents).and_then(|id| self.node(id)) {
                Some(target) if target.kind != NodeKind::Directory => (target.kind, target.content),
                _ => {
                    self.check_steps()?;
                    self.unresolved.push(entry);
                    return Ok(());
                }
            },
        };
        self.link_child(parent, name, Made { kind, content, by: entry }).map(drop)
    }

    /// The directory that `path` leads to, with missing directories made on the way.
    fn make_parent(&mut self, path: &'a [u8], layer: u32) -> Result<Option<u32>, FoldError> {
        if let Some((known, id)) = self.last_parent
            && known == path
        {
            return Ok(Some(id));
        }
        let mut walk = Walk::new(path, Follow::Final);
        loop {
            match walk.run(self) {
                Stop::Arrived if self.kind(walk.at) == NodeKind::Directory => {
                    self.last_parent = Some((path, walk.at.0));
                    return Ok(Some(walk.at.0));
                }
                Stop::Arrived | Stop::Blocked => return Ok(None),
                Stop::Missing(name) => {
                    let by = EntryRef { layer, index: EntryRef::IMPLIED };
                    let made = Made { kind: NodeKind::Directory, content: by, by };
                    walk.at = NodeId(self.link_child(walk.at.0, name, made)?);
                    if !walk.is_under_way() {
                        self.last_parent = Some((path, walk.at.0));
                        return Ok(Some(walk.at.0));
                    }
                }
            }
        }
    }

    fn link_child(&mut self, parent: u32, name: &'a [u8], made: Made) -> Result<u32, FoldError> {
        let id = u32::try_from(self.nodes.len()).ok().filter(|id| *id <= self.limits.fold_names);
        let id = id.ok_or_else(|| self.too_many_names())?;
        let layer = made.by.layer;
        let (next, above) =
            self.place(parent).map_or((NONE, 0), |place| (place.first_child, place.path_bytes));
        let path_bytes = above as usize + name.len() + 1;
        let too_long = FoldError::PathTooLong { at_most: self.limits.path_bytes };
        // The slash after the last part does not count.
        let fits = u32::try_from(path_bytes).ok().filter(|_| path_bytes <= self.limits.path_bytes + 1);
        self.nodes.push(Place {
            parent,
            name,
            path_bytes: fits.ok_or(too_long)?,
            kind: made.kind,
            content: made.content,
            made_by: made.by,
            first_child: NONE,
            next,
            previous: NONE,
            changed_in: layer,
            pure_since: layer,
        });
        if let Some(next) = self.place_mut(next) {
            next.previous = id;
        }
        if let Some(parent) = self.place_mut(parent) {
            parent.first_child = id;
            parent.changed_in = layer;
        }
        self.children.insert((parent, name), id);
        if made.kind == NodeKind::Symlink {
            self.last_parent = None;
        }
        Ok(id)
    }

    fn too_many_names(&self) -> FoldError {
        FoldError::TooManyNames { at_most: self.limits.fold_names }
    }

    fn remove_all(&mut self, id: u32, layer: u32) {
        let mut found = vec![id];
        let mut at = 0;
        while let Some(id) = found.get(at).copied() {
            at += 1;
            found.extend(self.list(NodeId(id)).map(|(_, child)| child.0));
        }
        for id in found.into_iter().rev() {
            self.unlink(id, layer);
        }
    }

    /// Takes one childless node out.
    fn unlink(&mut self, id: u32, layer: u32) {
        let Some(place) = self.place(id) else { return };
        let (parent, name, next, previous) = (place.parent, place.name, place.next, place.previous);
        if place.kind != NodeKind::Directory {
            self.removed.push(Removed { content: place.content, name: place.made_by, layer });
        }
        self.children.remove(&(parent, name));
        if let Some(next) = self.place_mut(next) {
            next.previous = previous;
        }
        if let Some(previous) = self.place_mut(previous) {
            previous.next = next;
        }
        if let Some(parent) = self.place_mut(parent) {
            if previous == NONE {
                parent.first_child = next;
            }
            parent.changed_in = layer;
        }
        self.last_parent = None;
    }

    fn place(&self, id: u32) -> Option<&Place<'a>> {
        self.nodes.get(id as usize)
    }

    fn place_mut(&mut self, id: u32) -> Option<&mut Place<'a>> {
        self.nodes.get_mut(id as usize)
    }
}

#[derive(Clone, Copy)]
struct Made {
    kind: NodeKind,
    content: EntryRef,
    by: EntryRef,
}
