use crate::{
    fold::{NodeId, NodeKind, Tree},
    limit,
};

/// What to do when a path ends in a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Go where it points, as `open(2)`.
    Final,
    /// Stay on the link, as `lstat(2)`.
    Parents,
}

/// A path on its way through a tree, inside the root, as a process chrooted there sees it.
pub(crate) struct Walk<'b> {
    pub(crate) at: NodeId,
    /// Parts still ahead, next one last.
    ahead: Vec<&'b [u8]>,
    hops: u32,
    follow: Follow,
}

/// Where a walk stopped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop<'b> {
    /// At the end of the path.
    Arrived,
    /// `name` is not in the directory the walk stands in. The caller may make it and go on.
    Missing(&'b [u8]),
    /// A part in the middle is no directory, or links go round.
    Blocked,
}

impl<'b> Walk<'b> {
    pub(crate) fn new(path: &'b [u8], follow: Follow) -> Self {
        let mut walk = Self { at: NodeId::ROOT, ahead: Vec::with_capacity(16), hops: 0, follow };
        walk.push(path);
        walk
    }

    fn push(&mut self, path: &'b [u8]) {
        self.ahead.extend(path.rsplit(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b"."));
    }

    /// Goes on until something stops it.
    pub(crate) fn run<'t: 'b>(&mut self, tree: &Tree<'t>) -> Stop<'b> {
        while let Some(part) = self.ahead.pop() {
            if !tree.step() {
                return Stop::Blocked;
            }
            if tree.kind(self.at) != NodeKind::Directory {
                return Stop::Blocked;
            }
            if part == b".." {
                self.at = tree.parent(self.at);
                continue;
            }
            let Some(child) = tree.child(self.at, part) else { return Stop::Missing(part) };
            let last = self.ahead.is_empty() && self.follow == Follow::Parents;
            if tree.kind(child) != NodeKind::Symlink || last {
                self.at = child;
                continue;
            }
            self.hops += 1;
            if self.hops > limit::SYMLINK_HOPS {
                return Stop::Blocked;
            }
            let target = tree.link(child);
            if target.first() == Some(&b'/') {
                self.at = NodeId::ROOT;
            }
            self.push(target);
        }
        Stop::Arrived
    }

    /// True while parts are still ahead.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.ahead.is_empty()
    }
}
