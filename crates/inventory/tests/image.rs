//! Images made of layers of entries, and their inventories as short lines.

use std::sync::Arc;

use seaworthy_inventory::{LayerFacts, LayerResult, inspect, read_layer};
use seaworthy_layer::Limits;
use seaworthy_model::{Inventory, InventoryProblem, ProblemCode};
use seaworthy_oci::{Digest, ImageConfig, Platform};

use crate::archive::{Item, dir, file, program, tar};

pub(crate) fn facts(items: &[Item]) -> LayerFacts {
    let facts = read_layer(&tar(items)[..], &Limits::default()).expect("layer");
    // Whatever is tested with facts is tested with facts that were stored.
    let stored = LayerFacts::from_bytes(&facts.to_bytes()).expect("stored");
    assert_eq!(stored, facts);
    stored
}

pub(crate) fn config(layers: &[LayerResult]) -> ImageConfig {
    let mut config = ImageConfig::default();
    config.rootfs.diff_ids = layers.iter().flatten().map(|facts| facts.digest.diff_id).collect();
    config
}

pub(crate) fn image(layers: &[Vec<Item>]) -> Inventory {
    let layers: Vec<LayerResult> = layers.iter().map(|items| Ok(Arc::new(facts(items)))).collect();
    inspect(Ok(&config(&layers)), &Platform::linux_amd64(), &layers)
}

/// `name version layer`, then `code@layer` of every problem.
pub(crate) fn lines(inventory: &Inventory) -> Vec<String> {
    let packages = inventory
        .packages
        .iter()
        .map(|row| format!("{} {} {}", row.package.name, row.package.version, row.layer));
    let problems = inventory.problems.iter().map(|problem| {
        let layer = problem.layer.map_or_else(|| "-".to_owned(), |layer| layer.to_string());
        format!("{}@{layer}", problem.code.name())
    });
    packages.chain(problems).collect()
}

pub(crate) fn paragraph(name: &str, version: &str, status: &str) -> String {
    format!("Package: {name}\nStatus: {status}\nArchitecture: amd64\nVersion: {version}\n\n")
}

/// `status` with packages `name version`, installed.
pub(crate) fn status(packages: &[&str]) -> Item {
    let text: String = packages
        .iter()
        .filter_map(|package| package.split_once(' '))
        .map(|(name, version)| paragraph(name, version, "install ok installed"))
        .collect();
    file("var/lib/dpkg/status", &text)
}

pub(crate) fn list(name: &str, paths: &[&str]) -> Item {
    file(&format!("var/lib/dpkg/info/{name}.list"), &(paths.join("\n") + "\n"))
}

/// A layer as `apt-get install` of `name version` leaves it.
pub(crate) fn base() -> Vec<Item> {
    vec![
        dir("var/lib/dpkg"),
        status(&["bash 5.2", "expat 2.5"]),
        list("bash", &["/.", "/bin", "/bin/bash", "/usr/share/doc/bash/copyright", "/etc/bash.bashrc"]),
        list("expat", &["/usr/lib/libexpat.so", "/usr/share/doc/expat/copyright"]),
        program("bin/bash"),
        file("etc/bash.bashrc", "x"),
        file("usr/lib/libexpat.so", "lib"),
        file("usr/share/doc/bash/copyright", "c"),
        file("usr/share/doc/expat/copyright", "c"),
        file(
            "usr/lib/os-release",
            "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\nPRETTY_NAME='Debian 12'\n",
        ),
    ]
}

#[test]
fn a_plain_image() {
    let inventory = image(&[base()]);
    assert_eq!(lines(&inventory), ["bash 5.2 0", "expat 2.5 0"]);
    let os = inventory.os.expect("os");
    assert_eq!((os.id.as_str(), os.version.as_deref()), ("debian", Some("12")));
    assert!(inventory.packages.iter().all(|row| row.package.distribution == "debian"));
    assert_eq!(inventory.packages[0].paths, ["var/lib/dpkg/status"]);
    assert_eq!(inventory.coverage, seaworthy_model::Coverage::default());
}

#[test]
fn instructions_and_measured_diff_ids() {
    let layers: Vec<LayerResult> = vec![Ok(Arc::new(facts(&base()))), Ok(Arc::new(facts(&[file("a", "")])))];
    let mut honest = ImageConfig::parse(
        br#"{"history":[{"created_by":"ADD rootfs"},{"created_by":"ENV a=b","empty_layer":true},{"created_by":"COPY a"}]}"#,
    )
    .expect("config");
    honest.rootfs = config(&layers).rootfs;
    let platform = Platform::linux_amd64();
    let inventory = inspect(Ok(&honest), &platform, &layers);
    let by: Vec<_> = inventory.layers.iter().map(|layer| layer.created_by.as_deref()).collect();
    assert_eq!(by, [Some("ADD rootfs"), Some("COPY a")]);
    assert!(inventory.problems.is_empty());

    let mut lying = honest.clone();
    lying.rootfs.diff_ids[1] = Digest::sha256(b"other");
    let other = inspect(Ok(&lying), &platform, &layers);
    assert_eq!(lines(&other).last().map(String::as_str), Some("diff-id-mismatch@1"));
    assert_eq!(other.content_id, inventory.content_id, "claims do not count");
    lying.rootfs.diff_ids.pop();
    assert_eq!(
        lines(&inspect(Ok(&lying), &platform, &layers)).last().map(String::as_str),
        Some("diff-id-mismatch@-")
    );

    let unreadable =
        InventoryProblem { code: ProblemCode::ConfigUnreadable, layer: None, message: "no".into() };
    let inventory = inspect(Err(unreadable), &platform, &layers);
    assert_eq!(lines(&inventory), ["bash 5.2 0", "expat 2.5 0", "config-unreadable@-"]);
}

#[test]
fn a_layer_without_facts_is_a_problem_and_the_rest_is_read() {
    let good: Vec<LayerResult> = vec![Ok(Arc::new(facts(&base()))), Ok(Arc::new(facts(&[file("a", "")])))];
    let missing = InventoryProblem { code: ProblemCode::LayerMissing, layer: None, message: "no".into() };
    let bad = vec![good[0].clone(), Err(missing)];
    let platform = Platform::linux_amd64();
    let config = config(&good);
    let inventory = inspect(Ok(&config), &platform, &bad);
    assert_eq!(lines(&inventory), ["bash 5.2 0", "expat 2.5 0", "layer-missing@1"]);
    assert_ne!(inventory.content_id, inspect(Ok(&config), &platform, &good).content_id);
}

#[test]
fn windows_is_said_to_be_unread() {
    let items = vec![dir("Files"), dir("Hives"), file("Files/Windows/System32/x.dll", "x")];
    assert_eq!(lines(&image(&[items])), ["platform-unsupported@-"]);
    let windows = Platform { os: "windows".into(), ..Platform::linux_amd64() };
    let inventory = inspect(Ok(&ImageConfig::default()), &windows, &[]);
    assert_eq!(lines(&inventory), ["platform-unsupported@-"]);
}

#[test]
fn what_no_runtime_applies_is_a_problem() {
    let items = vec![file("a", ""), file("a/b", ""), file("a/c", "")];
    assert_eq!(lines(&image(&[items])), ["layer-unreadable@0"]);
}

#[test]
fn coverage_tells_markers_and_unowned_programs() {
    let mut layer = base();
    layer.extend([
        program("usr/local/bin/tool"),
        Item { mode: 0o755, ..file("usr/local/bin/script", "#!/bin/sh\n") },
        Item { mode: 0o755, ..file("usr/local/bin/text", "no program") },
        file("usr/local/lib/plain.so", "\x7fELF without the bit"),
        Item { mode: 0o755, ..file("var/lib/dpkg/info/bash.postinst", "#!/bin/sh\n") },
        file("app/node_modules/x/package.json", "{}"),
        file("usr/share/nodejs/y/package.json", "{}"),
        list("node-y", &["/usr/share/nodejs/y/package.json"]),
        file("opt/a.jar", "PK"),
    ]);
    layer[1] = status(&["bash 5.2", "expat 2.5", "node-y 1"]);
    let coverage = image(&[layer.clone()]).coverage;
    assert_eq!(coverage.uncovered, ["maven", "npm"]);
    assert_eq!(coverage.unowned_binaries, 2);
    assert_eq!(coverage.unowned_examples, ["usr/local/bin/script", "usr/local/bin/tool"]);
    // Without the one that no package owns, npm is covered by the distribution.
    layer.retain(|item| !item.path.starts_with(b"app/"));
    assert_eq!(image(&[layer]).coverage.uncovered, ["maven"]);
}

#[test]
fn paths_are_owned_through_a_merged_usr() {
    let items = vec![
        crate::archive::symlink("bin", "usr/bin"),
        status(&["bash 5.2"]),
        list("bash", &["/bin/bash"]),
        program("usr/bin/bash"),
    ];
    assert_eq!(image(&[items]).coverage.unowned_binaries, 0);
}
