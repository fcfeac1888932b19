//! Disks that are full, or that the kernel made read-only: clear errors, nothing lost, nothing
//! allowed by accident.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use seaworthy_oci::Digest;
use seaworthy_testkit::{PlacedDatabase, real_engines};

use crate::{
    http::Door,
    image::{Image, TAR, debian_layer},
    server::{Place, Server, done, free_port, on_both_engines, run},
};

const DISK_BYTES: u64 = 64 << 20;
const MIB: usize = 1 << 20;
const TOOLS: &[&str] = &["setpriv", "truncate", "mount", "umount"];

/// A small disk of its own.
struct Disk {
    folder: PathBuf,
    /// The file behind an ext4; a tmpfs has none.
    file: Option<PathBuf>,
}

impl Disk {
    /// Below the data directory of a place.
    fn under(place: &Place) -> Self {
        let disk = Self::at(place, place.data());
        place.configure("");
        disk
    }

    fn at(place: &Place, folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).expect("folder");
        let file = place.path("disk");
        done(Command::new("truncate").arg("-s").arg(DISK_BYTES.to_string()).arg(&file));
        let made = run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-J", "size=4"]).arg(&file));
        let mut disk = Self { folder, file: Some(file) };
        if made.code != 0 || disk.mount("rw").is_err() {
            disk.file = None;
            disk.mount("rw").expect("a tmpfs at least");
        }
        eprintln!("the disk is {}", if disk.file.is_some() { "an ext4 on a loop device" } else { "a tmpfs" });
        disk
    }

    fn mount(&self, options: &str) -> Result<(), String> {
        let mut command = Command::new("mount");
        match &self.file {
            Some(file) => command.args(["-t", "ext4", "-o", &format!("loop,{options}")]).arg(file),
            None => {
                command.args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES},{options}"), "seaworthy-test"])
            }
        };
        let said = run(command.arg(&self.folder));
        if said.code == 0 { Ok(()) } else { Err(said.err) }
    }

    fn remount(&self, options: &str) {
        done(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.folder));
    }

    fn unmount(&self) {
        done(Command::new("umount").arg(&self.folder));
    }

    /// To the last byte; the file that took them.
    fn fill(&self) -> PathBuf {
        let path = self.folder.join("filler");
        let mut file = File::create(&path).expect("created");
        for size in [MIB, 4096, 1] {
            let bytes = vec![7; size];
            while file.write(&bytes).is_ok_and(|written| written > 0) {}
        }
        drop(file.sync_all());
        assert!(fs::write(self.folder.join("more"), vec![7; 8192]).is_err(), "it is full");
        drop(fs::remove_file(self.folder.join("more")));
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(run(Command::new("umount").arg("-l").arg(&self.folder)));
    }
}

/// An image with `bytes` that nothing compresses and no other has.
fn image(bytes: usize, number: u64) -> Image {
    let mut layer = debian_layer("expat", "99:1");
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    layer.extend(
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .take(bytes),
    );
    Image::new(&layer, TAR, &Digest::sha256(&layer), &number.to_string())
}

/// Images that the server said it has, by path below `/v2/`.
#[derive(Default)]
struct Acknowledged(Vec<(String, Digest)>);

impl Acknowledged {
    fn push(&mut self, door: &Door, repository: &str, image: &Image) -> Result<(), String> {
        let tag = self.0.len().to_string();
        image.try_push(door, repository, &tag)?;
        self.0.push((format!("{repository}/manifests/{tag}"), image.digest()));
        Ok(())
    }

    /// What `dev/` holds is given out, what `prod/` holds is not: no feed ever covered it.
    fn are_as_they_were(&self, door: &Door) {
        for (path, digest) in &self.0 {
            let answer = door.get("GET", &format!("/v2/{path}"));
            if path.starts_with("dev/") {
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                assert_eq!(Digest::sha256(&answer.body), *digest, "{path}");
                let layer = answer.json()["layers"][0]["digest"].as_str().expect("a layer").to_owned();
                let blob = path.split("/manifests/").next().expect("a repository");
                let body = door.get("GET", &format!("/v2/{blob}/blobs/{layer}")).body;
                assert_eq!(Digest::sha256(&body).to_string(), layer, "{path}");
            } else {
                assert!(matches!(answer.status, 403 | 503 | 507), "{path}: {}", answer.text());
            }
        }
    }

    fn are_judged(&self, place: &Place) {
        for (path, digest) in &self.0 {
            let repository = path.split("/manifests/").next().expect("a repository");
            let name = format!("{repository}@{digest}");
            let check = place.cli(&["check", &name, "--wait", "60s", "-o", "json"]);
            let wanted = if path.starts_with("dev/") { "allowed" } else { "blocked" };
            assert_eq!(check.json()["verdict"], wanted, "{check:?}\n{}", place.log());
        }
    }
}

fn set_floor(place: &Place, bytes: u64) {
    place.configure(&format!("disk_floor_bytes = {bytes}\n"));
}

fn free_bytes(path: &Path) -> u64 {
    let text = done(Command::new("df").args(["-B1", "--output=avail"]).arg(path));
    text.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number")
}

fn is_alive(door: &Door) {
    assert_eq!(door.get("GET", "/livez").status, 200);
}

fn ledger_is_whole(place: &Place) {
    let verified = place.cli(&["ledger", "verify", "-o", "json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// Starts again on the same port, so that the door stays.
fn restart(place: &Place, server: Server) -> Server {
    let port = server.port;
    drop(server);
    place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"))
}

/// A server with two images and a small disk, which has all that is its own, or its database.
struct Filled<'p> {
    server: Server,
    door: Door,
    acknowledged: Acknowledged,
    // In this order they end.
    database: Option<PlacedDatabase>,
    disk: Disk,
    place: &'p Place,
}

impl<'p> Filled<'p> {
    fn begin(place: &'p Place) -> Self {
        let disk = Disk::under(place);
        Self::on(place, disk, None)
    }

    fn on(place: &'p Place, disk: Disk, database: Option<PlacedDatabase>) -> Self {
        set_floor(place, 0);
        let server = place.up(&[]);
        let door = place.login(server.port);
        let mut acknowledged = Acknowledged::default();
        acknowledged.push(&door, "prod/app", &image(0, 1)).expect("pushed");
        acknowledged.push(&door, "dev/app", &image(MIB, 2)).expect("pushed");
        // On a full disk nothing is judged.
        acknowledged.are_judged(place);
        Self { server, door, acknowledged, database, disk, place }
    }

    /// A push to a disk that is full to its last byte; true when it is refused, in words.
    fn is_refused(&mut self, repository: &str, image: &Image) -> bool {
        let pushed = self.acknowledged.push(&self.door, repository, image);
        is_alive(&self.door);
        match pushed {
            Ok(()) => false,
            Err(error) => {
                assert!(error.contains("507") && error.contains("disk is full"), "{error}");
                true
            }
        }
    }

    /// With space again this very server goes on, and so does the next.
    fn goes_on(mut self, filler: PathBuf) {
        self.acknowledged.are_as_they_were(&self.door);
        fs::remove_file(filler).expect("removed");
        self.acknowledged.push(&self.door, "dev/app", &image(MIB, 200)).expect("pushed");
        self.acknowledged.are_judged(self.place);
        let _server = restart(self.place, self.server);
        self.acknowledged.are_as_they_were(&self.door);
        self.acknowledged.are_judged(self.place);
        ledger_is_whole(self.place);
        drop(self.database);
    }
}

on_both_engines!(disk_full_mid_upload);

/// Large blobs end at the file system, some MiB early where a floor is set.
fn disk_full_mid_upload(place: &Place) {
    if !real_engines("disk_full_mid_upload", TOOLS) {
        return;
    }
    let mut it = Filled::begin(place);
    set_floor(it.place, free_bytes(&it.place.data()) - 12 * MIB as u64);
    it.server = restart(it.place, it.server);
    let refused =
        (3..40).find_map(|number| it.acknowledged.push(&it.door, "dev/app", &image(2 * MIB, number)).err());
    let refused = refused.expect("the floor is met");
    for part in ["507", "the registry's disk is full", "disk_floor_bytes"] {
        assert!(refused.contains(part), "`{part}` is not in: {refused}");
    }
    assert!(it.acknowledged.0.len() >= 4, "{} images fitted", it.acknowledged.0.len());
    it.acknowledged.are_as_they_were(&it.door);

    set_floor(it.place, 0);
    it.server = restart(it.place, it.server);
    let filler = it.disk.fill();
    for number in 100..120 {
        assert!(it.is_refused("dev/app", &image(MIB, number)), "{number}: it cannot be there");
    }
    it.goes_on(filler);
}

/// Small blobs and all rows end in the database: its log cannot grow, and a commit that failed is no commit.
#[test]
fn disk_full_in_wal() {
    if !real_engines("disk_full_in_wal", TOOLS) {
        return;
    }
    writes_no_row(Filled::begin(&Place::new()));
}

/// The same where PostgreSQL says so, of a disk of its own.
#[test]
fn disk_full_in_postgres() {
    if !real_engines("disk_full_in_postgres", TOOLS) {
        return;
    }
    let mut place = Place::new();
    let folder = place.path("database");
    let disk = Disk::at(&place, folder.clone());
    // PostgreSQL has a user of its own.
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o711)).expect("mode");
    let Some(database) = PlacedDatabase::create(&folder) else {
        return seaworthy_testkit::missing("disk_full_in_postgres", "PostgreSQL");
    };
    fs::create_dir(place.data()).expect("data directory");
    place.database = Some(database.url());
    writes_no_row(Filled::on(&place, disk, Some(database)));
}

fn writes_no_row(mut it: Filled<'_>) {
    let filler = it.disk.fill();
    // What the log had taken already is written over first.
    let (mut refusals, mut number) = (0, 300);
    while refusals < 10 {
        refusals += u32::from(it.is_refused("prod/app", &image(0, number)));
        number += 1;
        assert!(number < 3_000, "{refusals} refusals on a disk that is full");
    }
    eprintln!("{refusals} of {} small pushes were refused", number - 300);
    it.goes_on(filler);
}

#[test]
fn a_read_only_disk_is_named() {
    const NAME: &str = "a_read_only_disk_is_named";
    if !real_engines(NAME, TOOLS) {
        return;
    }
    let place = Place::new();
    let disk = Disk::under(&place);
    set_floor(&place, 0);
    let server = place.up(&[]);
    let door = place.login(server.port);
    let mut acknowledged = Acknowledged::default();
    acknowledged.push(&door, "prod/app", &image(0, 1)).expect("pushed");
    acknowledged.push(&door, "dev/app", &image(MIB, 2)).expect("pushed");
    acknowledged.are_judged(&place);

    let server = if let Some(file) = &disk.file {
        // What ext4 does on an error of the device: read-only from now on, also for open files.
        disk.remount("abort");
        for (bytes, number) in [(0, 3), (MIB, 4), (0, 5), (MIB, 6)] {
            let error = acknowledged.push(&door, "dev/app", &image(bytes, number)).expect_err("read-only");
            assert!(error.starts_with("503") && error.contains("disk is read-only"), "{error}");
            is_alive(&door);
        }
        acknowledged.are_as_they_were(&door);
        let port = server.port;
        drop(server);
        disk.unmount();
        let checked = run(Command::new("e2fsck").args(["-f", "-y"]).arg(file));
        assert!(checked.code < 4, "{checked:?}");
        disk.mount("rw").expect("mounted again");
        place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"))
    } else {
        seaworthy_testkit::missing("the half of a_read_only_disk_is_named with a running server", "ext4");
        server
    };
    acknowledged.are_as_they_were(&door);
    acknowledged.are_judged(&place);
    ledger_is_whole(&place);

    drop(server);
    disk.remount("ro");
    let said = place.cli(&["up", "--listen", &format!("localhost:{}", free_port())]);
    assert_eq!((said.code, said.out.as_str()), (3, ""), "{said:?}");
    let data = place.data().display().to_string();
    for part in [data.as_str(), "Read-only file system", "hint"] {
        assert!(said.err.contains(part), "`{part}` is not in: {}", said.err);
    }
}
