//! The registry is killed at random points while it is written to in every way: nothing that it acknowledged is
//! lost, and after a repair no byte is there that nobody knows.

use std::{
    collections::BTreeMap,
    fs::{self, File, FileTimes},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use seaworthy_oci::Digest;
use seaworthy_testkit::{Tier, fresh_database, program, slow};
use serde_json::json;

use crate::{
    agent::until,
    http::{Answer, Door},
    image::{Image, TAR},
    killing::{Random, kill_while},
    server::{Place, done, on_both_engines},
};

const PUSHERS: u64 = 4;
const SEED: u64 = 0x5EA_0042;
const CONFIG: &[u8] = br#"{"os":"linux","architecture":"amd64"}"#;
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const OCTETS: &str = "application/octet-stream";
const MIB: usize = 1 << 20;
/// Blobs from this size on are files.
const IN_FILES: i64 = 16 * 1024;

/// What was acknowledged last of each tag: a manifest and its layer, or that it is deleted.
type Tags = BTreeMap<(String, String), Option<(String, Vec<u8>)>>;
type Acknowledged = Mutex<Tags>;

/// Asks until there is an answer that is no sign of a server on its way down or up.
fn persist(door: &Door, method: &str, path: &str, body: (&str, &[u8])) -> Answer {
    for _ in 0..6_000 {
        match door.ask(method, path, body.0, body.1) {
            // What is asked to try again is not judged yet: who judges was killed as often as the others.
            Ok(answer) if !is_no_answer(&answer) && answer.header("retry-after").is_none() => return answer,
            Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("no answer to {method} {path}");
}

/// A sign of a server on its way down or up.
fn is_no_answer(answer: &Answer) -> bool {
    answer.status >= 500 || answer.status == 401
}

/// The path of a `Location`, which may be whole.
fn location(answer: &Answer) -> String {
    let location = answer.header("location").unwrap_or_else(|| panic!("no location: {answer:?}"));
    let path = location.split_once("//").map_or(location, |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
    path.to_owned()
}

struct Pusher<'t> {
    door: &'t Door,
    random: Random,
}

impl Pusher<'_> {
    /// Uploads a blob in one of the ways that clients do, and goes on where the server says it stands.
    fn upload(&mut self, repository: &str, bytes: &[u8]) {
        let digest = Digest::sha256(bytes);
        let uploads = format!("/v2/{repository}/blobs/uploads/");
        loop {
            if self.random.below(3) == 0 {
                let whole = format!("{uploads}?digest={digest}");
                let answer = persist(self.door, "POST", &whole, (OCTETS, bytes));
                assert_eq!(answer.status, 201, "{}", answer.text());
                return;
            }
            let begun = persist(self.door, "POST", &uploads, (OCTETS, b""));
            assert_eq!(begun.status, 202, "{}", begun.text());
            if self.in_pieces(&location(&begun), &digest, bytes) {
                return;
            }
        }
    }

    /// False when the session is gone and the upload begins anew.
    fn in_pieces(&mut self, session: &str, digest: &Digest, bytes: &[u8]) -> bool {
        let mut sent = 0;
        // Not one byte: `0-0` says that it came and that it did not, and it would be sent twice.
        let middle = match usize::try_from(self.random.below(bytes.len() as u64)).expect("small") {
            1 => 0,
            middle => middle,
        };
        while sent < middle {
            let piece = &bytes[sent..middle];
            match self.door.ask("PATCH", session, OCTETS, piece) {
                Ok(answer) if answer.status == 202 => sent = middle,
                Ok(answer) if answer.status == 404 => return false,
                Ok(answer) if !is_no_answer(&answer) && answer.status != 416 => {
                    panic!("{session}: {}", answer.text())
                }
                // Killed meanwhile, or not sure: it says where it stands.
                _ => match standing(&persist(self.door, "GET", session, ("", b""))) {
                    Some(stands) if stands <= middle => sent = stands,
                    _ => return false,
                },
            }
        }
        let closing = format!("{session}?digest={digest}");
        let rest = &bytes[sent..];
        match self.door.ask("PUT", &closing, OCTETS, rest) {
            Ok(answer) if answer.status == 201 => true,
            // Not one of bytes that are not those that were sent.
            Ok(answer) if is_no_answer(&answer) || matches!(answer.status, 404 | 416) => false,
            Ok(answer) => panic!("{session}: {}", answer.text()),
            // It may have ended, and it may not: then the session is gone or stands where it stood.
            Err(_) => false,
        }
    }

    fn image(&mut self, repository: &str, tag: &str) -> (String, Vec<u8>) {
        // In the database, in a file, and in a file that is written before all of it came.
        let length = match self.random.below(8) {
            0 | 1 => 1 + self.random.below(16 * 1024),
            2 => 16 * 1024 + self.random.below(2 * MIB as u64),
            _ => 16 * 1024 + self.random.below(200 * 1024),
        };
        let layer = self.random.bytes(length);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::sha256(CONFIG).to_string(), "size": CONFIG.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": Digest::sha256(&layer).to_string(), "size": layer.len(),
            }],
        })
        .to_string();
        self.upload(repository, CONFIG);
        self.upload(repository, &layer);
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = persist(self.door, "PUT", &path, (IMAGE, manifest.as_bytes()));
        assert_eq!(answer.status, 201, "{}", answer.text());
        (manifest, layer)
    }

    /// Deletes what is there. `404` is believed after an answer was lost alone.
    fn delete(&self, path: &str) {
        let mut is_sure = true;
        for _ in 0..6_000 {
            match self.door.ask("DELETE", path, "", b"") {
                Ok(answer) if answer.status == 202 => return,
                Ok(answer) if answer.status == 404 => {
                    assert!(!is_sure, "{path} was lost: {}", answer.text());
                    return;
                }
                Ok(answer) => {
                    assert!(answer.status >= 500 || answer.status == 401, "{}", answer.text());
                    is_sure = false;
                }
                Err(_) => is_sure = false,
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("no answer to DELETE {path}");
    }

    fn run(&mut self, over: &AtomicBool, number: u64, acknowledged: &Acknowledged) {
        while !over.load(Ordering::SeqCst) {
            let repository = format!("r{}", self.random.below(3));
            let tag = format!("p{number}-{}", self.random.below(8));
            let key = (repository.clone(), tag.clone());
            let known = acknowledged.lock().expect("nobody failed").get(&key).cloned().flatten();
            let path = format!("/v2/{repository}/manifests/{tag}");
            // What was acknowledged before the last kill is looked at before it is written again.
            let there = persist(self.door, "GET", &path, ("", b""));
            match &known {
                Some((manifest, _)) => assert!(
                    there.status == 200 && there.body == manifest.as_bytes(),
                    "{repository}:{tag} was acknowledged: {}",
                    there.text()
                ),
                None => assert_eq!(there.status, 404, "{repository}:{tag} is deleted, or was never there"),
            }
            let now = match (known, self.random.below(6)) {
                (Some(_), 0) => {
                    self.delete(&path);
                    None
                }
                _ => Some(self.image(&repository, &tag)),
            };
            acknowledged.lock().expect("nobody failed").insert(key, now);
        }
    }
}

/// Where an upload stands; `None` when it is gone.
fn standing(answer: &Answer) -> Option<usize> {
    if answer.status != 204 {
        return None;
    }
    let (_, end) = answer.header("range")?.split_once('-')?;
    let end: usize = end.parse().ok()?;
    // `0-0` is nothing: no single byte is sent.
    Some(if end == 0 { 0 } else { end + 1 })
}

on_both_engines!(
    a_killed_registry_loses_and_leaks_nothing,
    crash_mid_patch_resume,
    restore_from_backup_with_newer_blobs
);

fn a_killed_registry_loses_and_leaks_nothing(place: &Place) {
    if !slow("a_killed_registry_loses_and_leaks_nothing") {
        return;
    }
    let server = place.up(&[]);
    let port = server.port;
    let door = place.login(port);
    let acknowledged = Acknowledged::default();
    let kills = if Tier::current() == Tier::Long { 1_000 } else { 30 };
    let pushers = (0..PUSHERS).map(|number| {
        let (door, acknowledged) = (&door, &acknowledged);
        move |over: &AtomicBool| {
            let mut pusher = Pusher { door, random: Random(SEED ^ (number + 1) << 8) };
            pusher.run(over, number, acknowledged);
        }
    });
    let server = kill_while(place, server, (kills, Duration::from_millis(400), SEED), pushers);
    let acknowledged = acknowledged.into_inner().expect("nobody failed");
    eprintln!("{kills} kills, {} tags", acknowledged.len());
    all_is_there(&door, &acknowledged);
    let verified = place.cli(&["registry", "verify", "--deep", "-o", "json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    drop(server);
    let mut kept = age(&place.data().join("blobs/registry"));
    kept.extend(age(&place.data().join("uploads/registry")));
    let server = place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"));
    let repaired = place.cli(&["registry", "repair", "--apply", "-o", "json"]);
    assert_eq!(repaired.code, 0, "{repaired:?}");
    all_is_there(&door, &acknowledged);
    server.stop();
    nothing_is_leaked(place, kept.len());
}

fn all_is_there(door: &Door, acknowledged: &Tags) {
    assert!(acknowledged.values().flatten().count() > 3, "{}", acknowledged.len());
    for ((repository, tag), expected) in acknowledged {
        // What no policy judges is pulled by anybody who may.
        let answer = persist(door, "GET", &format!("/v2/{repository}/manifests/{tag}"), ("", b""));
        let Some((manifest, layer)) = expected else {
            assert_eq!(answer.status, 404, "{repository}:{tag} was deleted");
            continue;
        };
        assert_eq!(answer.status, 200, "{repository}:{tag}: {}", answer.text());
        assert!(answer.body == manifest.as_bytes(), "{repository}:{tag} is what was pushed last");
        for bytes in [CONFIG, layer] {
            let path = format!("/v2/{repository}/blobs/{}", Digest::sha256(bytes));
            let answer = persist(door, "GET", &path, ("", b""));
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(answer.body == bytes, "{path}");
        }
    }
}

/// Files below a folder, made ten days old: a repair leaves alone what a push may still name.
fn age(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(age(&path));
            continue;
        }
        let old = SystemTime::now() - Duration::from_secs(10 * 24 * 3600);
        let file = File::options().append(true).open(&path).expect("a file");
        file.set_times(FileTimes::new().set_modified(old)).expect("times are set");
        found.push(path);
    }
    found
}

/// Killed in the middle of a PATCH, an upload stands behind what the server had written of it, and goes on from there.
fn crash_mid_patch_resume(place: &Place) {
    const FIRST: usize = MIB;
    let mut server = place.up(&[]);
    let port = server.port;
    let door = place.login(port);
    let bytes = Random(SEED).bytes(4 * MIB as u64);
    let digest = Digest::sha256(&bytes);
    let begun = door.ask("POST", "/v2/r/blobs/uploads/", OCTETS, b"").expect("answered");
    let session = location(&begun);
    let first = door.ask("PATCH", &session, OCTETS, &bytes[..FIRST]).expect("answered");
    assert_eq!(first.status, 202, "{}", first.text());
    let mut stands = FIRST;
    for more in [1, MIB, 2 * MIB] {
        let mut stream = door.begin("PATCH", &session, OCTETS, bytes.len() - stands);
        stream.write_all(&bytes[stands..(stands + more).min(bytes.len() - 1)]).expect("written");
        if more > 1 {
            until("the server has some of it", || {
                let written: u64 = files(&place.data().join("uploads/registry"))
                    .iter()
                    .map(|path| path.metadata().map_or(0, |it| it.len()))
                    .sum();
                (written > stands as u64).then_some(())
            });
        }
        drop(server);
        drop(stream);
        server = place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"));
        let answer = door.get("GET", &session);
        let now = standing(&answer).unwrap_or_else(|| panic!("the session is gone: {answer:?}"));
        assert!(stands <= now && now < bytes.len(), "{now}: what was acknowledged ends at {stands}");
        assert!(more == 1 || stands < now, "what the server had of it, it keeps");
        eprintln!("{more} more bytes: it stood at {stands}, and stands at {now}");
        stands = now;
    }
    let closed = door.ask("PUT", &format!("{session}?digest={digest}"), OCTETS, &bytes[stands..]);
    let closed = closed.expect("answered");
    assert_eq!(closed.status, 201, "{}", closed.text());
    let given = door.get("GET", &format!("/v2/r/blobs/{digest}"));
    assert!(given.body == bytes, "the bytes are those that were sent");
}

/// The database is of yesterday, the blobs are of today: what yesterday knew is there, what today brought is
/// nobody's, can be brought again, and goes with a repair.
fn restore_from_backup_with_newer_blobs(place: &mut Place) {
    let server = place.up(&[]);
    let port = server.port;
    let door = place.login(port);
    let image = |number: u64| {
        let layer = Random(SEED + number).bytes(40_000);
        Image::new(&layer, TAR, &Digest::sha256(&layer), &number.to_string())
    };
    let [old, again, never] = [image(1), image(2), image(3)];
    let holds = |image: &Image, tag: &str| {
        let manifest = door.get("GET", &format!("/v2/r/manifests/{tag}"));
        let layer = door.get("GET", &format!("/v2/r/blobs/{}", image.layer_digest()));
        let digests = [Digest::sha256(&manifest.body), Digest::sha256(&layer.body)];
        (manifest.status, layer.status, digests == [image.digest(), image.layer_digest()])
    };
    old.push(&door, "r", "old");
    server.stop();
    let backup = place.path("backup");
    let copy = |from: &Path, to: &Path| {
        done(Command::new("cp").arg("-a").arg(from).arg(to));
    };
    copy(&place.data(), &backup);
    let yesterday = place.database.as_ref().map(|database| {
        let copy = fresh_database().expect("where there is one");
        let dump = place.path("dump");
        done(
            Command::new(program("pg_dump").expect("PostgreSQL brings it"))
                .arg("-f")
                .arg(&dump)
                .arg(database),
        );
        done(Command::new(program("psql").expect("PostgreSQL brings it")).arg("-qf").arg(&dump).arg(&copy));
        copy
    });

    let server = place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"));
    again.push(&door, "r", "again");
    never.push(&door, "r", "never");
    server.stop();
    let blobs = place.data().join("blobs");
    fs::remove_dir_all(backup.join("blobs")).expect("removed");
    fs::rename(&blobs, backup.join("blobs")).expect("moved");
    fs::remove_dir_all(place.data()).expect("removed");
    fs::rename(&backup, place.data()).expect("moved");
    place.database = yesterday;
    place.configure("");

    let server = place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"));
    assert_eq!(holds(&old, "old"), (200, 200, true));
    for (image, tag) in [(&again, "again"), (&never, "never")] {
        assert_eq!(holds(image, tag), (404, 404, false), "nobody knows it any more");
    }
    again.push(&door, "r", "again");
    server.stop();
    age(&blobs);
    let _server = place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"));
    let dry = place.cli(&["registry", "repair", "-o", "json"]);
    assert!(dry.out.contains(&never.layer_digest().to_string()[7..]), "{dry:?}");
    let repaired = place.cli(&["registry", "repair", "--apply", "-o", "json"]);
    assert_eq!(repaired.code, 0, "{repaired:?}");
    assert_eq!(holds(&old, "old"), (200, 200, true));
    assert_eq!(holds(&again, "again"), (200, 200, true));
    let verified = place.cli(&["registry", "verify", "--deep", "-o", "json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    nothing_is_leaked(place, 0);
}

/// Every file is named by a row, and every row has its file: counted without the product.
fn nothing_is_leaked(place: &Place, before: usize) {
    let blobs = files(&place.data().join("blobs/registry"));
    let bytes: u64 = blobs.iter().map(|path| path.metadata().expect("a file").len()).sum();
    let query = format!("SELECT digest, size FROM registry_blobs WHERE size > {IN_FILES}");
    let named: BTreeMap<String, u64> = place
        .rows(&query)
        .iter()
        .map(|row| {
            let (digest, size) = row.split_once(" | ").expect("two columns");
            (digest.to_owned(), size.parse().expect("a number"))
        })
        .collect();
    assert_eq!(blobs.len(), named.len(), "{before} before the repair");
    assert_eq!(bytes, named.values().sum::<u64>());
    for path in &blobs {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(named.contains_key(&format!("sha256:{}", &name[..64])), "{name}");
    }
    // Sessions that were begun and are not over yet have theirs, and nothing else is there.
    let sessions = place.rows("SELECT id FROM registry_uploads");
    for path in files(&place.data().join("uploads/registry")) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").replace('-', "");
        assert!(sessions.iter().any(|id| id.trim_start_matches("\\x") == name), "{name} is nobody's");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
