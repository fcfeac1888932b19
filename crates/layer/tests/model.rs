//! The slow, obvious file system that folding is compared with: inodes, directories as maps,
//! every path walked from the root, every removal recursive.

use std::collections::BTreeMap;

use seaworthy_layer::EntryRef;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inode {
    Dir(BTreeMap<String, Name>),
    File(EntryRef),
    Link(String, EntryRef),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    inode: usize,
    layer: u32,
}

/// What one entry of a layer does.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Dir(String),
    File(String),
    Symlink(String, String),
    Hardlink(String, String),
    Whiteout(String),
    Opaque(String),
}

pub(crate) struct Fs(Vec<Inode>);

impl Fs {
    pub(crate) fn new() -> Self {
        Self(vec![Inode::Dir(BTreeMap::new())])
    }

    pub(crate) fn apply(&mut self, layer: u32, ops: &[Op]) {
        for (index, op) in (0u32..).zip(ops) {
            let entry = EntryRef { layer, index };
            match op {
                Op::Dir(path) => self.place(path, layer, None),
                Op::File(path) => self.place(path, layer, Some(Inode::File(entry))),
                Op::Symlink(path, to) => self.place(path, layer, Some(Inode::Link(to.clone(), entry))),
                Op::Hardlink(path, to) => self.hardlink(path, to, layer),
                Op::Whiteout(path) => self.whiteout(path, layer),
                Op::Opaque(path) => {
                    if let Some(dir) = self.walk(path, None) {
                        self.hide(dir, layer);
                    }
                }
            }
        }
    }

    /// Effective files and links with the entry that holds their content.
    pub(crate) fn files(&self) -> BTreeMap<String, EntryRef> {
        let mut out = BTreeMap::new();
        self.collect(0, "", &mut out);
        out
    }

    fn collect(&self, dir: usize, at: &str, out: &mut BTreeMap<String, EntryRef>) {
        let Inode::Dir(names) = &self.0[dir] else { return };
        for (name, entry) in names {
            let path = if at.is_empty() { name.clone() } else { format!("{at}/{name}") };
            match &self.0[entry.inode] {
                Inode::Dir(_) => self.collect(entry.inode, &path, out),
                Inode::File(content) | Inode::Link(_, content) => drop(out.insert(path, *content)),
            }
        }
    }

    /// The inode a path leads to, every link followed, missing directories made when `make` says so.
    fn walk(&mut self, path: &str, make: Option<u32>) -> Option<usize> {
        let mut stack = vec![0usize];
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut hops = 0;
        while let Some(part) = todo.pop() {
            let here = *stack.last()?;
            let Inode::Dir(names) = &self.0[here] else { return None };
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    if stack.len() > 1 {
                        stack.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let Some(name) = names.get(&part).cloned() else {
                let layer = make?;
                let inode = self.add(Inode::Dir(BTreeMap::new()));
                self.set(here, &part, Name { inode, layer });
                stack.push(inode);
                continue;
            };
            if let Inode::Link(target, _) = &self.0[name.inode] {
                hops += 1;
                if hops > 40 {
                    return None;
                }
                if target.starts_with('/') {
                    stack.truncate(1);
                }
                todo.extend(target.split('/').rev().map(str::to_owned));
            } else {
                stack.push(name.inode);
            }
        }
        let end = *stack.last()?;
        matches!(self.0[end], Inode::Dir(_)).then_some(end)
    }

    fn place(&mut self, path: &str, layer: u32, inode: Option<Inode>) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(dir) = self.walk(parent, Some(layer)) else { return };
        let existing = self.get(dir, name);
        if inode.is_none()
            && let Some(existing) = &existing
            && matches!(self.0[existing.inode], Inode::Dir(_))
        {
            let inode = existing.inode;
            self.set(dir, name, Name { inode, layer });
            return;
        }
        let inode = self.add(inode.unwrap_or(Inode::Dir(BTreeMap::new())));
        self.set(dir, name, Name { inode, layer });
    }

    fn hardlink(&mut self, path: &str, to: &str, layer: u32) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(dir) = self.walk(parent, Some(layer)) else { return };
        self.remove(dir, name);
        let (target_parent, target_name) = to.rsplit_once('/').unwrap_or(("", to));
        let Some(target_dir) = self.walk(target_parent, None) else { return };
        let Some(target) = self.get(target_dir, target_name) else { return };
        if !matches!(self.0[target.inode], Inode::Dir(_)) {
            self.set(dir, name, Name { inode: target.inode, layer });
        }
    }

    fn whiteout(&mut self, path: &str, layer: u32) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(dir) = self.walk(parent, None) else { return };
        let Some(target) = self.get(dir, name) else { return };
        if matches!(self.0[target.inode], Inode::Dir(_)) {
            self.hide(target.inode, layer);
            let empty = matches!(&self.0[target.inode], Inode::Dir(names) if names.is_empty());
            if !empty {
                return;
            }
        }
        if target.layer < layer {
            self.remove(dir, name);
        }
    }

    fn hide(&mut self, dir: usize, layer: u32) {
        let Inode::Dir(names) = self.0[dir].clone() else { return };
        for (name, entry) in names {
            let mut keep = entry.layer == layer;
            if matches!(self.0[entry.inode], Inode::Dir(_)) {
                self.hide(entry.inode, layer);
                keep |= matches!(&self.0[entry.inode], Inode::Dir(names) if !names.is_empty());
            }
            if !keep {
                self.remove(dir, &name);
            }
        }
    }

    fn add(&mut self, inode: Inode) -> usize {
        self.0.push(inode);
        self.0.len() - 1
    }

    fn get(&self, dir: usize, name: &str) -> Option<Name> {
        match &self.0[dir] {
            Inode::Dir(names) => names.get(name).cloned(),
            _ => None,
        }
    }

    fn set(&mut self, dir: usize, name: &str, entry: Name) {
        if let Inode::Dir(names) = &mut self.0[dir] {
            names.insert(name.to_owned(), entry);
        }
    }

    fn remove(&mut self, dir: usize, name: &str) {
        if let Inode::Dir(names) = &mut self.0[dir] {
            names.remove(name);
        }
    }
}
