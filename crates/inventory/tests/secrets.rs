use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    archive::{Item, file, hardlink},
    image::{image, list, status},
};

/// A key that has a key's structure and nobody's secret in it.
pub(crate) fn key(seed: u8) -> String {
    let mut der = vec![0x30, 0x81, 203, 2, 1, 0, 2, 0x81, 197];
    der.resize(der.len() + 197, seed);
    format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n", STANDARD.encode(der))
}

fn check(case: &str, layers: &[Vec<Item>], expected: &[&str]) {
    let inventory = image(layers);
    let rows: Vec<String> = inventory
        .secrets
        .iter()
        .map(|row| {
            let removed =
                row.removed_in_layer.map_or_else(String::new, |layer| format!(" removed in {layer}"));
            format!("{} {} {}{removed}", row.rule, row.path, row.layer)
        })
        .collect();
    assert_eq!(rows, expected, "{case}");
    assert!(!format!("{inventory:?}").contains("PRIVATE"), "the value is not kept");
}

#[test]
fn in_effective_and_in_shadowed_files() {
    let secret = || file("root/id_rsa", &key(1));
    check("there", &[vec![secret()]], &["private-key-pem root/id_rsa 0"]);
    check(
        "removed",
        &[vec![secret()], vec![file("root/.wh.id_rsa", "")]],
        &["private-key-pem root/id_rsa 0 removed in 1"],
    );
    check(
        "with its directory",
        &[vec![secret()], vec![], vec![file(".wh.root", "")]],
        &["private-key-pem root/id_rsa 0 removed in 2"],
    );
    check(
        "replaced",
        &[vec![secret()], vec![file("root/id_rsa", "none")]],
        &["private-key-pem root/id_rsa 0 removed in 1"],
    );
    check(
        "replaced in its own layer",
        &[vec![secret(), file("root/id_rsa", "none")]],
        &["private-key-pem root/id_rsa 0 removed in 0"],
    );
    check(
        "under another name",
        &[vec![secret()], vec![hardlink("kept", "root/id_rsa")], vec![file("root/.wh.id_rsa", "")]],
        &["private-key-pem kept 0"],
    );
    let linked = vec![secret(), hardlink("root/zz", "root/id_rsa")];
    check("its own name before a link's", &[linked], &["private-key-pem root/id_rsa 0"]);
    check("in a whiteout", &[vec![file("root/.wh.x", &key(1))]], &["private-key-pem root/.wh.x 0"]);
    check("twice", &[vec![file("a", &(key(1) + &key(2)))]], &["private-key-pem a 0", "private-key-pem a 0"]);
}

#[test]
fn deep_in_a_large_file() {
    let text = "x".repeat(3_000_001) + &key(1) + &"y".repeat(1000);
    check("large", &[vec![file("blob", &text)]], &["private-key-pem blob 0"]);
}

#[test]
fn a_list_of_files_hides_no_key_but_those_in_programs() {
    let library = format!("\u{7f}ELF{}", key(3));
    let listed =
        |names: &[&str]| vec![status(&["tls 1"]), list("tls", names), file("usr/lib/libtls.so", &library)];
    check("a self-test", &[listed(&["/usr/lib/libtls.so"])], &[]);
    let told = ["private-key-pem usr/lib/libtls.so 0"];
    check("nobody's library", &[listed(&["/usr/lib/other.so"])], &told);
    let package = vec![
        status(&["snakes 1"]),
        list("snakes", &["/usr/share/test.key"]),
        file("usr/share/test.key", &key(1)),
    ];
    check("listed", std::slice::from_ref(&package), &["private-key-pem usr/share/test.key 0"]);
    check(
        "replaced by the user's own",
        &[package, vec![file("usr/share/test.key", &key(2))]],
        &["private-key-pem usr/share/test.key 0 removed in 1", "private-key-pem usr/share/test.key 1"],
    );
}
