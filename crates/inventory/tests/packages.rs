use crate::{
    archive::{Item, dir, file, hardlink, program, symlink},
    image::{base, image, lines, list, paragraph, status},
};

fn check(case: &str, layers: &[Vec<Item>], expected: &[&str]) {
    assert_eq!(lines(&image(layers)), expected, "{case}");
}

/// The rows of the inspection notes' table that are about packages (the fold's are in `layer`).
#[test]
fn cases_that_peers_get_wrong() {
    let kept = ["bash 5.2 0", "expat 2.5 0"];
    let gone = |path: &str| file(path, "");
    check(
        "s1 overwritten by one that says less",
        &[
            base(),
            vec![file("var/lib/dpkg/status", ""), gone("bin/.wh.bash"), gone("usr/lib/.wh.libexpat.so")],
        ],
        // Nothing hidden, but a Debian without any package is not to be believed.
        &["package-db-removed@-"],
    );
    check(
        "s2 replaced by a symbolic link",
        &[base(), vec![symlink("var/lib/dpkg/status", "nowhere")]],
        &[kept[0], kept[1], "package-db-removed@1"],
    );
    check(
        "s3 directory replaced by a file",
        &[base(), vec![file("var/lib/dpkg", "x")]],
        &[kept[0], kept[1], "package-db-removed@1"],
    );
    let mut store = base();
    store[1].path = b"store/abc".to_vec();
    store.push(hardlink("var/lib/dpkg/status", "store/abc"));
    check("s6 the database is a hard link", &[store], &kept);
    let mut twice = vec![status(&["old 1"])];
    twice.extend(base());
    check("s8 same path twice", &[twice], &kept);
    check(
        "s10 configuration files only",
        &[vec![file("var/lib/dpkg/status", &paragraph("a", "1", "deinstall ok config-files"))]],
        &[],
    );
    let moved = vec![
        file("usr/share/dpkg-db/status", &paragraph("a", "1", "install ok installed")),
        symlink("var/lib/dpkg", "../../usr/share/dpkg-db"),
    ];
    let through = vec![file("var/lib/dpkg/status", &paragraph("a", "2", "install ok installed"))];
    check("s14 through a linked directory", &[moved, through], &["a 2 1"]);
    check(
        "s18 directory whited out",
        &[base(), vec![gone("var/lib/.wh.dpkg")]],
        &[kept[0], kept[1], "package-db-removed@1"],
    );
    check(
        "s23 status whited out",
        &[base(), vec![gone("var/lib/dpkg/.wh.status")]],
        &[kept[0], kept[1], "package-db-removed@1"],
    );
    check(
        "opaque directory",
        &[base(), vec![gone("var/lib/dpkg/.wh..wh..opq")]],
        &[kept[0], kept[1], "package-db-removed@1"],
    );
    check(
        "whiteout and re-add",
        &[base(), vec![gone("var/lib/dpkg/.wh.status"), status(&["bash 5.2", "expat 2.5"])]],
        &kept,
    );
    check(
        "half-configured",
        &[vec![file("var/lib/dpkg/status", &paragraph("a", "1", "install ok half-configured"))]],
        &["a 1 0"],
    );
}

#[test]
fn a_database_that_goes_with_its_files_is_no_lie() {
    let all = ["bin", "usr", "var"].map(|top| file(&format!(".wh.{top}"), ""));
    check("everything goes", &[base(), all.to_vec()], &[]);
    let remove = vec![
        file(
            "var/lib/dpkg/status",
            &(paragraph("bash", "5.2", "install ok installed")
                + &paragraph("expat", "2.5", "deinstall ok config-files")),
        ),
        file("usr/lib/.wh.libexpat.so", ""),
    ];
    check("a real removal", &[base(), remove], &["bash 5.2 0"]);
    let upgrade = vec![
        status(&["bash 5.2", "expat 2.6"]),
        file("usr/lib/libexpat.so", "new"),
        list("expat", &["/usr/lib/libexpat.so"]),
    ];
    check("a real upgrade", &[base(), upgrade], &["bash 5.2 0", "expat 2.6 1"]);
    let renamed =
        vec![status(&["bash 5.2", "libexpat1t64 2.5"]), list("libexpat1t64", &["/usr/lib/libexpat.so"])];
    check("files move to another package", &[base(), renamed], &["bash 5.2 0", "libexpat1t64 2.5 1"]);
    let replaced = vec![status(&["expat 2.5"]), program("bin/bash")];
    check("the user's own program in its place", &[base(), replaced], &["expat 2.5 0"]);
}

#[test]
fn a_database_that_lies_is_found_out() {
    let kept = ["bash 5.2 0", "expat 2.5 0"];
    let dropped = vec![status(&["bash 5.2"])];
    check("a package is dropped", &[base(), dropped], &[kept[0], kept[1], "package-db-rewritten@1"]);
    let deinstalled = vec![file(
        "var/lib/dpkg/status",
        &(paragraph("bash", "5.2", "install ok installed")
            + &paragraph("expat", "2.5", "deinstall ok config-files")),
    )];
    check(
        "a package is called removed",
        &[base(), deinstalled],
        &[kept[0], kept[1], "package-db-rewritten@1"],
    );
    let with_list = vec![status(&["bash 5.2"]), list("expat", &["/nothing"])];
    check("its list is emptied too", &[base(), with_list], &[kept[0], kept[1], "package-db-rewritten@1"]);
    let early = [base(), vec![file("var/lib/dpkg/.wh.info", "")], vec![status(&["bash 5.2"])]];
    check("its list is deleted before", &early, &[kept[0], kept[1], "package-db-rewritten@2"]);
    let raised = vec![status(&["bash 5.2", "expat 99"])];
    check(
        "only the version is raised",
        &[base(), raised],
        &[kept[0], kept[1], "expat 99 1", "package-db-rewritten@1"],
    );
    let unread = vec![file("var/lib/dpkg/status", "Package: x\nStatus: install ok inst")];
    check(
        "cut in half",
        &[base(), unread],
        &[kept[0], kept[1], "package-db-rewritten@1", "package-db-unreadable@1"],
    );
}

#[test]
fn layers_are_told_of_each_version() {
    let library = |version: &str| vec![status(&["bash 5.2", version]), file("usr/lib/libexpat.so", version)];
    check(
        "upgrade and back",
        &[base(), library("expat 2.6"), library("expat 2.5")],
        &["bash 5.2 0", "expat 2.5 2"],
    );
    check(
        "untouched above",
        &[base(), vec![file("x", "")], library("expat 2.6"), vec![file("y", "")]],
        &["bash 5.2 0", "expat 2.6 2"],
    );
    check(
        "comes later",
        &[base(), vec![status(&["bash 5.2", "expat 2.5", "new 1"])]],
        &["bash 5.2 0", "expat 2.5 0", "new 1 1"],
    );
}

#[test]
fn distroless_databases() {
    let package = |name: &str| {
        vec![
            dir("var/lib/dpkg/status.d"),
            file(
                &format!("var/lib/dpkg/status.d/{name}"),
                &format!("Package: {name}\nVersion: 1\nMaintainer: m\nArchitecture: amd64\n"),
            ),
            file(
                &format!("var/lib/dpkg/status.d/{name}.md5sums"),
                &format!("d41d8cd98f00b204e9800998ecf8427e  usr/bin/{name}\n"),
            ),
            program(&format!("usr/bin/{name}")),
        ]
    };
    let both = image(&[package("a"), package("b")]);
    assert_eq!(lines(&both), ["a 1 0", "b 1 1"]);
    assert_eq!(both.coverage.unowned_binaries, 0);
    assert_eq!(both.packages[0].paths, ["var/lib/dpkg/status.d/a"]);
    let hidden = vec![file("var/lib/dpkg/status.d/.wh.a", "")];
    check(
        "one is hidden",
        &[package("a"), package("b"), hidden],
        &["a 1 0", "b 1 1", "package-db-removed@2"],
    );
    let gone = vec![file("var/lib/dpkg/status.d/.wh.a", ""), file("usr/bin/.wh.a", "")];
    check("one goes with its files", &[package("a"), package("b"), gone], &["b 1 1"]);
    let folder = || vec![file("var/lib/dpkg/.wh.status.d", "")];
    let hidden = ["a 1 0", "b 1 1", "package-db-removed@2"];
    check("all are hidden", &[package("a"), package("b"), folder()], &hidden);
    let mut vague = package("a");
    vague[2] = file("var/lib/dpkg/status.d/a.md5sums", "a  usr/bin/a\n");
    check("with sums that are none", &[vague, folder()], &["a 1 0", "package-db-removed@1"]);
}

#[test]
fn a_debian_without_a_database_is_not_believed() {
    let os = || file("etc/os-release", "ID=debian\nVERSION_ID=12\n");
    check("no database", &[vec![os(), program("bin/sh")]], &["package-db-removed@-"]);
    check("an empty one", &[vec![os(), file("var/lib/dpkg/status", "")]], &["package-db-removed@-"]);
    check("no distribution", &[vec![program("bin/app")]], &[]);
}

/// What a list names is the package's only as far as the list is not older than the file.
#[test]
fn files_of_later_layers_are_not_the_packages() {
    let package = || vec![status(&["node 1"]), list("node", &["/app/package.json", "/app/run"])];
    let files = || vec![file("app/package.json", "{}"), program("app/run")];
    let together = image(&[package().into_iter().chain(files()).collect::<Vec<_>>()]);
    assert_eq!((together.coverage.uncovered.len(), together.coverage.unowned_binaries), (0, 0));
    let later = image(&[package(), files()]);
    assert_eq!(later.coverage.uncovered, ["npm"]);
    assert_eq!(later.coverage.unowned_binaries, 1);
}

#[test]
fn a_database_nobody_kept_is_unreadable() {
    let hidden = vec![file("x", "not sniffed as a database"), hardlink("var/lib/dpkg/status", "x")];
    check("linked and not recognised", &[hidden], &["package-db-unreadable@0"]);
    let large = "#".repeat(seaworthy_inventory::limit::STATUS_BYTES + 1);
    check("too large", &[vec![file("var/lib/dpkg/status", &large)]], &["package-db-unreadable@0"]);
}

/// A thousand layers that each touch a large database stay quick: parsed once per version.
#[test]
fn many_layers_are_followed() {
    let packages: Vec<String> = (0..300).map(|n| format!("p{n:03} 1")).collect();
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    let layers: Vec<Vec<Item>> = (1..=300).map(|n| vec![status(&names[..n])]).collect();
    let inventory = image(&layers);
    let found: Vec<u32> = inventory.packages.iter().map(|row| row.layer).collect();
    assert_eq!(found, (0..300).collect::<Vec<u32>>());
}
