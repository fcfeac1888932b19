//! Each limit at its edge, as shipped: what is beyond it is told, never lost in silence.

use seaworthy_inventory::{limit, sandboxed_reader::read_answer};
use seaworthy_model::Inventory;

use crate::{
    archive::{Item, file, item, program, symlink},
    image::{base, image, lines, list, status},
    secrets::key,
};

fn padded(path: &str, text: &str, bytes: usize) -> Item {
    let mut content = text.as_bytes().to_vec();
    content.resize(bytes, b'\n');
    item(b'0', path, "", &content)
}

const STATUS: &str = "var/lib/dpkg/status";

#[test]
fn a_database_is_read_up_to_its_limit() {
    let text = "Package: a\nStatus: install ok installed\nVersion: 1\n";
    let read = |bytes| lines(&image(&[vec![padded(STATUS, text, bytes)]]));
    assert_eq!(read(limit::STATUS_BYTES), ["a 1 0"]);
    assert_eq!(read(limit::STATUS_BYTES + 1), ["package-db-unreadable@0"]);
}

#[test]
fn a_package_is_not_taken_for_gone_by_a_list_nobody_read() {
    // The list names nothing that is there, so a list that was read shows that the package is gone.
    let read = |bytes, second: &[&str]| {
        let list = padded("var/lib/dpkg/info/b.list", "/usr/bin/b\n", bytes);
        lines(&image(&[vec![status(&["a 1", "b 1"]), list], vec![status(second)]]))
    };
    assert_eq!(read(limit::LIST_BYTES, &["a 1"]), ["a 1 0"]);
    assert_eq!(read(limit::LIST_BYTES + 1, &["a 1"]), ["a 1 0", "b 1 0", "package-db-rewritten@1"]);
    assert_eq!(read(limit::LIST_BYTES, &["a 1", "b 2"]), ["a 1 0", "b 2 1"]);
    let both = ["a 1 0", "b 1 0", "b 2 1", "package-db-rewritten@1"];
    assert_eq!(read(limit::LIST_BYTES + 1, &["a 1", "b 2"]), both);
    // Nor by one that is reached through a name that no list has.
    let elsewhere = vec![
        status(&["a 1", "b 1"]),
        file("opt/lists/b.list", "/usr/bin/b\n"),
        symlink("var/lib/dpkg/info", "/opt/lists"),
        program("usr/bin/b"),
    ];
    let found = lines(&image(&[elsewhere, vec![status(&["a 1"])]]));
    assert_eq!(found, ["a 1 0", "b 1 0", "package-db-rewritten@1"]);
}

#[test]
fn a_larger_os_release_is_named_as_unreadable() {
    let read = |bytes| {
        let os = padded("etc/os-release", "ID=debian\n", bytes);
        let inventory = image(&[vec![status(&["a 1"]), os]]);
        (inventory.os.map(|os| os.id), inventory.coverage.unreadable)
    };
    assert_eq!(read(limit::OS_RELEASE_BYTES), (Some("debian".to_owned()), vec![]));
    assert_eq!(read(limit::OS_RELEASE_BYTES + 1), (None, vec!["etc/os-release".to_owned()]));
}

/// Databases of `total` bytes together, and a last one.
fn kept(total: usize) -> Inventory {
    let last = "Package: z\nVersion: 1\n";
    let mut left = total - last.len();
    let mut items = Vec::new();
    while left > 0 {
        let bytes = left.min(limit::STATUS_BYTES);
        items.push(padded(&format!("opt/{}/status.d/x", items.len()), "", bytes));
        left -= bytes;
    }
    items.push(file("var/lib/dpkg/status.d/z", last));
    let archive = crate::archive::tar(&items);
    let facts = seaworthy_inventory::read_layer(&archive[..], &seaworthy_layer::Limits::default());
    let layers = vec![Ok(std::sync::Arc::new(facts.expect("layer")))];
    let config = crate::image::config(&layers);
    seaworthy_inventory::inspect(Ok(&config), &seaworthy_oci::Platform::linux_amd64(), &layers)
}

#[test]
fn metadata_beyond_what_a_layer_may_keep_is_unreadable() {
    assert_eq!(lines(&kept(limit::KEPT_BYTES)), ["z 1 0"]);
    assert_eq!(lines(&kept(limit::KEPT_BYTES + 1)), ["package-db-unreadable@0"]);
}

#[test]
fn more_secrets_than_are_kept_are_a_problem() {
    let (one, other) = (key(1), key(2));
    let read = |count: usize| {
        let text: String = (0..count).map(|at| if at % 2 == 0 { one.as_str() } else { &other }).collect();
        let inventory = image(&[vec![], vec![file("keys", &text)]]);
        (inventory.secrets.len(), lines(&inventory))
    };
    assert_eq!(read(limit::SECRETS), (limit::SECRETS, vec![]));
    assert_eq!(read(limit::SECRETS + 1), (limit::SECRETS, vec!["layer-too-large@1".to_owned()]));
    assert_eq!(read(limit::SECRETS + 2), (limit::SECRETS, vec!["layer-too-large@1".to_owned()]));
}

/// No layer has too many, all of them together do.
#[test]
fn secrets_of_all_layers_are_bounded_together() {
    let text = |count: usize| [key(1), key(2)].iter().cycle().take(count).cloned().collect::<String>();
    let read = |above: usize| {
        let lower = vec![file("a", &text(limit::SECRETS / 2))];
        let inventory = image(&[lower, vec![file("b", &text(above))]]);
        (inventory.secrets.len(), lines(&inventory))
    };
    assert_eq!(read(limit::SECRETS / 2), (limit::SECRETS, vec![]));
    assert_eq!(read(limit::SECRETS / 2 + 1), (limit::SECRETS, vec!["layer-too-large@-".to_owned()]));
}

/// Directories that only paths imply count too: the image is known not to be judged completely.
#[test]
fn more_names_than_are_folded_are_a_problem() {
    let most = seaworthy_layer::Limits::default().fold_names;
    // As deep as the header of an entry has room for.
    let deep = "/x".repeat(45);
    let files = most / 46 + 1;
    let items: Vec<Item> = (0..files).map(|first| file(&format!("{first}{deep}"), "")).collect();
    let found = image(&[items, vec![file("b", "")]]);
    assert_eq!(lines(&found), ["layer-too-large@0"]);
    let told = format!("the image's layers make more than {most} names");
    assert_eq!(found.problems.first().map(|problem| problem.message.as_str()), Some(told.as_str()));
}

/// Keys in a listed program are not told; they may not crowd out those that are.
#[test]
fn secrets_that_are_passed_over_hide_none_in_silence() {
    let (one, other) = (key(1), key(2));
    let keys: String =
        (0..=limit::SECRETS).map(|at| if at % 2 == 0 { one.as_str() } else { &other }).collect();
    let inventory = image(&[vec![
        status(&["tls 1"]),
        list("tls", &["/usr/lib/libtls.so"]),
        file("usr/lib/libtls.so", &format!("\u{7f}ELF{keys}")),
        file("zz/id_rsa", &key(3)),
    ]]);
    assert_eq!(lines(&inventory), ["tls 1 0", "layer-too-large@0"]);
}

#[test]
fn examples_are_bounded_and_all_are_counted() {
    let read = |count: usize| {
        let items: Vec<Item> = (0..count).map(|n| program(&format!("bin/{n:03}"))).collect();
        let coverage = image(&[items]).coverage;
        (coverage.unowned_binaries as usize, coverage.unowned_examples.len())
    };
    assert_eq!(read(limit::EXAMPLES), (limit::EXAMPLES, limit::EXAMPLES));
    assert_eq!(read(limit::EXAMPLES + 1), (limit::EXAMPLES + 1, limit::EXAMPLES));
}

#[test]
fn messages_are_cut() {
    let answer = |characters: usize| {
        let text = [b"\x01".as_slice(), "\u{e9}".repeat(characters).as_bytes()].concat();
        read_answer(&text, 0).expect_err("a problem").message.chars().count()
    };
    assert_eq!(answer(limit::MESSAGE_CHARACTERS), limit::MESSAGE_CHARACTERS);
    assert_eq!(answer(limit::MESSAGE_CHARACTERS + 1), limit::MESSAGE_CHARACTERS);

    // Every byte of this name is written as four characters.
    let named = |bytes: usize| {
        let mut damaged = file("", "no field");
        damaged.path = [b"var/lib/dpkg/status.d/".as_slice(), &vec![0xff; bytes]].concat();
        let mut items = base();
        items.push(damaged);
        let inventory = image(&[items]);
        inventory.problems.iter().map(|it| it.message.chars().count()).max().expect("a problem")
    };
    assert!(named(10) < limit::MESSAGE_CHARACTERS);
    assert_eq!(named(78), limit::MESSAGE_CHARACTERS);
}
