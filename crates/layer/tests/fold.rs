use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use seaworthy_layer::{
    EntryKind, EntryRef, FoldError, Follow, Limits, Magic, NodeKind, PathTable, TableRow, Tree, limit,
};

use crate::model::{Fs, Op};

fn table(ops: &[Op]) -> PathTable {
    let mut table = PathTable::default();
    for op in ops {
        let (kind, path, link) = match op {
            Op::Dir(path) => (EntryKind::Directory, path.clone(), ""),
            Op::File(path) => (EntryKind::File, path.clone(), ""),
            Op::Symlink(path, to) => (EntryKind::Symlink, path.clone(), to.as_str()),
            Op::Hardlink(path, to) => (EntryKind::Hardlink, path.clone(), to.as_str()),
            Op::Whiteout(path) => (EntryKind::File, in_directory(path, ".wh."), ""),
            Op::Opaque(path) if path.is_empty() => (EntryKind::File, ".wh..wh..opq".into(), ""),
            Op::Opaque(path) => (EntryKind::File, format!("{path}/.wh..wh..opq"), ""),
        };
        let row = TableRow {
            path: path.as_bytes(),
            link: link.as_bytes(),
            kind,
            mode: 0o644,
            magic: Magic::Other,
            size: 1,
        };
        table.push_row(row, &Limits::default()).expect("row");
    }
    table
}

fn in_directory(path: &str, prefix: &str) -> String {
    match path.rsplit_once('/') {
        Some((parent, name)) => format!("{parent}/{prefix}{name}"),
        None => format!("{prefix}{path}"),
    }
}

/// `f PATH`, `d PATH`, `s PATH -> TARGET`, `h PATH -> TARGET`, `w PATH`, `o DIRECTORY`.
fn op(line: &str) -> Op {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (path, target) = rest.split_once(" -> ").unwrap_or((rest, ""));
    match kind {
        "f" => Op::File(path.into()),
        "d" => Op::Dir(path.into()),
        "s" => Op::Symlink(path.into(), target.into()),
        "h" => Op::Hardlink(path.into(), target.into()),
        "w" => Op::Whiteout(path.into()),
        "o" => Op::Opaque(path.into()),
        other => panic!("{other}"),
    }
}

fn files(tree: &Tree<'_>) -> BTreeMap<String, EntryRef> {
    let mut out = BTreeMap::new();
    tree.each(|path, id, node| {
        assert_eq!(tree.path(id), path);
        if node.kind != NodeKind::Directory {
            out.insert(String::from_utf8_lossy(path).into_owned(), node.content);
        }
    });
    out
}

/// Effective files as `path=layer.entry`, and names removed, of layers written as lines.
fn check(case: &str, layers: &[&[&str]], expected: &[&str], removed: &[&str]) {
    let layers: Vec<Vec<Op>> =
        layers.iter().map(|lines| lines.iter().map(|line| op(line)).collect()).collect();
    let tables: Vec<PathTable> = layers.iter().map(|ops| table(ops)).collect();
    let mut tree = Tree::new(&Limits::default());
    let mut model = Fs::new();
    for (layer, table) in (0u32..).zip(&tables) {
        tree.apply(Some(table)).expect("fold");
        model.apply(layer, &layers[layer as usize]);
    }
    let found = files(&tree);
    assert_eq!(found, model.files(), "{case}: the model disagrees");
    let show = |entry: &EntryRef| format!("{}.{}", entry.layer, entry.index);
    let lines: Vec<String> = found.iter().map(|(path, entry)| format!("{path}={}", show(entry))).collect();
    assert_eq!(lines, expected, "{case}");
    let mut gone: Vec<String> =
        tree.removed().iter().map(|gone| format!("{} in {}", show(&gone.content), gone.layer)).collect();
    gone.sort();
    assert_eq!(gone, removed, "{case}: removed");
}

/// The rows of the inspection notes' table, as file trees; the package side is in `inventory`.
#[test]
fn cases_that_peers_get_wrong() {
    check(
        "s1 overwritten",
        &[&["f p/package.json"], &["f p/package.json"]],
        &["p/package.json=1.0"],
        &["0.0 in 1"],
    );
    check("s2 file replaced by a symlink", &[&["f a"], &["s a -> b"]], &["a=1.0"], &["0.0 in 1"]);
    check(
        "s3 directory replaced by a file",
        &[&["f d/x", "f d/y"], &["f d"]],
        &["d=1.0"],
        &["0.0 in 1", "0.1 in 1"],
    );
    check(
        "file replaced by a directory",
        &[&["f d"], &["f d2", "d d", "f d/x"]],
        &["d/x=1.2", "d2=1.0"],
        &["0.0 in 1"],
    );
    check(
        "s6 metadata is a hard link",
        &[&["f store/ab", "h p/package.json -> store/ab"]],
        &["p/package.json=0.0", "store/ab=0.0"],
        &[],
    );
    check("s8 same path twice", &[&["f a", "f a"]], &["a=0.1"], &["0.0 in 0"]);
    check("same path twice, other kind", &[&["f a", "d a", "f a/b"]], &["a/b=0.2"], &["0.0 in 0"]);
}

#[test]
fn symbolic_links_are_followed_as_a_runtime_does() {
    check(
        "s14 through a lower symbolic link",
        &[&["f usr/lib/x", "s lib -> usr/lib"], &["f lib/x"]],
        &["lib=0.1", "usr/lib/x=1.0"],
        &["0.0 in 1"],
    );
    check(
        "through an absolute link",
        &[&["d usr/lib", "s lib -> /usr/lib"], &["f lib/x"]],
        &["lib=0.1", "usr/lib/x=1.0"],
        &[],
    );
    check(
        "through a link that leads nowhere yet",
        &[&["s lib -> usr/lib"], &["f lib/x"]],
        &["lib=0.0", "usr/lib/x=1.0"],
        &[],
    );
    check(
        "a directory over a link replaces the link",
        &[&["f usr/lib/x", "s lib -> usr/lib"], &["d lib", "f lib/x"]],
        &["lib/x=1.1", "usr/lib/x=0.0"],
        &["0.1 in 1"],
    );
    check("links never lead out", &[&["s a -> ../../../etc", "f a/x"]], &["a=0.0", "etc/x=0.1"], &[]);
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    check(
        "s18 parent whiteout",
        &[&["f var/lib/dpkg/status", "f usr/bin/x"], &["w var/lib/dpkg"]],
        &["usr/bin/x=0.1"],
        &["0.0 in 1"],
    );
    check(
        "opaque",
        &[&["f d/x", "f d/e/y"], &["d d", "o d", "f d/z"]],
        &["d/z=1.2"],
        &["0.0 in 1", "0.1 in 1"],
    );
    check(
        "opaque, last",
        &[&["f d/x", "f d/e/y"], &["d d", "f d/e/z", "o d"]],
        &["d/e/z=1.1"],
        &["0.0 in 1", "0.1 in 1"],
    );
    check("opaque root", &[&["f a", "f d/x"], &["o ", "f b"]], &["b=1.1"], &["0.0 in 1", "0.1 in 1"]);
    check("opaque hides nothing of its layer", &[&["f d/x"], &["f d/x", "o d"]], &["d/x=1.0"], &["0.0 in 1"]);
    check(
        "whiteout and re-add",
        &[&["f a", "f d/x", "f d/y"], &["w a", "f a", "w d", "f d/x"]],
        &["a=1.1", "d/x=1.3"],
        &["0.0 in 1", "0.1 in 1", "0.2 in 1"],
    );
    check(
        "re-add and whiteout",
        &[&["f a", "f d/x", "f d/y"], &["f a", "w a", "f d/x", "w d"]],
        &["a=1.0", "d/x=1.2"],
        &["0.0 in 1", "0.1 in 1", "0.2 in 1"],
    );
}

#[test]
fn hard_links_share_content() {
    check(
        "hard link to a lower file, target replaced",
        &[&["f a"], &["h b -> a", "f a"]],
        &["a=1.1", "b=0.0"],
        &["0.0 in 1"],
    );
    check("hard link whose target goes", &[&["f a", "h b -> a"], &["w a"]], &["b=0.0"], &["0.0 in 1"]);
    check(
        "hard link through a linked directory",
        &[&["f usr/lib/x", "s lib -> usr/lib"], &["h y -> lib/x"]],
        &["lib=0.1", "usr/lib/x=0.0", "y=0.0"],
        &[],
    );
    check("hard link to a link is that link", &[&["s a -> b", "h c -> a"]], &["a=0.0", "c=0.0"], &[]);
    check(
        "whiteout through a linked directory",
        &[&["f usr/lib/x", "s lib -> usr/lib"], &["w lib/x"]],
        &["lib=0.1"],
        &["0.0 in 1"],
    );
    check("whiteout of what is not there", &[&["f a"], &["w b", "w c/d", "o e"]], &["a=0.0"], &[]);
}

#[test]
fn what_no_runtime_can_apply_is_listed() {
    let ops: Vec<Op> = ["f a", "f a/x", "s l -> l", "f l/y", "h h -> none", "h d -> ."]
        .iter()
        .map(|line| op(line))
        .collect();
    let mut one = table(&ops);
    for path in [".wh.", "d/.wh...", ".wh..wh.plnk"] {
        let row = TableRow {
            path: path.as_bytes(),
            link: b"",
            kind: EntryKind::File,
            mode: 0,
            magic: Magic::Other,
            size: 0,
        };
        one.push_row(row, &Limits::default()).expect("row");
    }
    let mut tree = Tree::new(&Limits::default());
    tree.apply(Some(&one)).expect("fold");
    let listed: Vec<u32> = tree.unresolved().iter().map(|entry| entry.index).collect();
    assert_eq!(listed, [1, 3, 4, 5, 6, 7]);
    assert_eq!(files(&tree).keys().map(String::as_str).collect::<Vec<_>>(), ["a", "l"]);
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let chain = |links: usize| {
        let mut ops = vec![Op::File("0/x".into())];
        ops.extend((1..=links).map(|n| Op::Symlink(n.to_string(), (n - 1).to_string())));
        table(&ops)
    };
    let most = usize::try_from(limit::SYMLINK_HOPS).expect("small");
    for (links, found) in [(most, true), (most + 1, false)] {
        let table = chain(links);
        let mut tree = Tree::new(&Limits::default());
        tree.apply(Some(&table)).expect("fold");
        assert_eq!(tree.find(format!("{links}/x").as_bytes(), Follow::Final).is_some(), found, "{links}");
    }
}

#[test]
fn steps_are_bounded() {
    let table = table(&["f a/b/c", "f d/e/f"].map(op));
    let run = |fold_steps| Tree::new(&Limits { fold_steps, ..Limits::default() }).apply(Some(&table));
    let needed = (1..100).find(|steps| run(*steps).is_ok()).expect("few steps");
    assert_eq!(run(needed - 1), Err(FoldError::TooManySteps { at_most: needed - 1 }));
    assert_eq!(run(needed), Ok(()));
}

/// A file, its two implied directories and what replaces it; what is only asked for makes nothing.
#[test]
fn names_are_bounded() {
    let table = table(&["f a/b/c", "f a/b/c", "w a/b/x"].map(op));
    let run = |fold_names| {
        let mut tree = Tree::new(&Limits { fold_names, ..Limits::default() });
        tree.apply(Some(&table)).map(|()| files(&tree).len())
    };
    assert_eq!(run(4), Ok(1));
    assert_eq!(run(3), Err(FoldError::TooManyNames { at_most: 3 }));
}

/// As shipped: every name is a directory that only a path implies.
#[test]
fn two_million_names_fold_and_no_more() {
    let most = Limits::default().fold_names;
    let deep: String = "/x".repeat(limit::PATH_DEPTH - 1);
    let depth = u32::try_from(limit::PATH_DEPTH).expect("small");
    let mut ops: Vec<Op> = (0..most / depth).map(|first| Op::File(format!("{first}{deep}"))).collect();
    ops.extend((0..most % depth).map(|rest| Op::File(format!("f{rest}"))));
    let (whole, one) = (table(&ops), table(&[op("f one")]));
    let mut tree = Tree::new(&Limits::default());
    tree.apply(Some(&whole)).expect("at the limit");
    assert_eq!(tree.apply(Some(&one)), Err(FoldError::TooManyNames { at_most: most }));
}

/// No entry's own path is long; links lead them below one another.
#[test]
fn paths_that_links_make_are_bounded() {
    let deep = "d".repeat(250);
    let mut ops = vec![Op::Dir(deep.clone()), Op::Symlink("0".into(), deep.clone())];
    for at in 1..16 {
        ops.push(Op::Dir(format!("{}/{deep}", at - 1)));
        ops.push(Op::Symlink(at.to_string(), format!("{}/{deep}", at - 1)));
    }
    let run = |length: usize| {
        let table = table(&[ops.as_slice(), &[Op::File(format!("15/{}", "f".repeat(length)))]].concat());
        Tree::new(&Limits::default()).apply(Some(&table))
    };
    let left = limit::PATH_BYTES - 16 * (deep.len() + 1);
    assert_eq!(run(left), Ok(()));
    assert_eq!(run(left + 1), Err(FoldError::PathTooLong { at_most: limit::PATH_BYTES }));
}

/// Paths as long as they may be, up to the limit of all of them together, and one byte more.
#[test]
fn a_table_ends_at_its_bytes() {
    let limits = Limits::default();
    let path = vec![b'p'; limit::PATH_BYTES];
    let row =
        |path| TableRow { path, link: b"", kind: EntryKind::File, mode: 0o644, magic: Magic::Other, size: 0 };
    let mut table = PathTable::default();
    for _ in 0..limits.table_bytes / path.len() {
        table.push_row(row(&path), &limits).expect("fits");
    }
    let length = table.len();
    table.push_row(row(b""), &limits).expect("at the limit");
    let error = table.push_row(row(b"p"), &limits).expect_err("one past");
    assert!(error.is_too_large() && error.to_string().contains("bytes in paths"), "{error}");
    assert_eq!(table.len(), length + 1, "what is refused is not there in part");
}

#[test]
fn a_missing_layer_is_passed_over() {
    let (one, two) = (table(&[op("f a")]), table(&[op("f b")]));
    let mut tree = Tree::new(&Limits::default());
    for layer in [Some(&one), None, Some(&two)] {
        tree.apply(layer).expect("fold");
    }
    assert_eq!(tree.layers(), 3);
    let content: BTreeSet<u32> = files(&tree).values().map(|entry| entry.layer).collect();
    assert_eq!(content, BTreeSet::from([0, 2]));
}

/// A layer made to be slow: many opaque markers, wide directories, deep chains.
#[test]
fn hostile_layers_fold_in_linear_work() {
    let mut lower = Vec::new();
    let mut upper = Vec::new();
    for n in 0..30_000 {
        lower.push(Op::File(format!("d/{n}")));
        upper.push(Op::File(format!("d/n{n}")));
        upper.push(Op::Opaque("d".into()));
        upper.push(Op::Whiteout("d".into()));
    }
    let (lower, upper) = (table(&lower), table(&upper));
    // 30,000 × 30,000 lookups would pass this by far.
    let mut tree = Tree::new(&Limits { fold_steps: 1_000_000, ..Limits::default() });
    tree.apply(Some(&lower)).expect("fold");
    tree.apply(Some(&upper)).expect("fold");
    assert_eq!(files(&tree).len(), 30_000);
    assert_eq!(tree.removed().len(), 30_000);
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|parts| parts.join("/"))
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        path(),
        path().prop_map(|path| format!("/{path}")),
        path().prop_map(|path| format!("../{path}"))
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => path().prop_map(Op::Dir),
        4 => path().prop_map(Op::File),
        2 => (path(), target()).prop_map(|(path, to)| Op::Symlink(path, to)),
        2 => (path(), path()).prop_map(|(path, to)| Op::Hardlink(path, to)),
        2 => path().prop_map(Op::Whiteout),
        1 => path().prop_map(Op::Opaque),
        1 => Just(Op::Opaque(String::new())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn folding_agrees_with_the_model(
        layers in proptest::collection::vec(proptest::collection::vec(any_op(), 0..10), 1..5),
    ) {
        let tables: Vec<PathTable> = layers.iter().map(|ops| table(ops)).collect();
        let mut tree = Tree::new(&Limits::default());
        let mut model = Fs::new();
        for (layer, (ops, table)) in (0u32..).zip(layers.iter().zip(&tables)) {
            tree.apply(Some(table)).expect("fold");
            model.apply(layer, ops);
            prop_assert_eq!(files(&tree), model.files());
        }
        // Every file is either effective under some name, or listed as removed, or could not be applied.
        let live: BTreeSet<EntryRef> = files(&tree).into_values().collect();
        let gone: BTreeSet<EntryRef> = tree.removed().iter().map(|removed| removed.content).collect();
        for (layer, ops) in (0u32..).zip(&layers) {
            for (index, _) in (0u32..).zip(ops).filter(|(_, op)| matches!(op, Op::File(_))) {
                let entry = EntryRef { layer, index };
                prop_assert!(
                    live.contains(&entry) || gone.contains(&entry) || tree.unresolved().contains(&entry)
                );
            }
        }
    }
}
