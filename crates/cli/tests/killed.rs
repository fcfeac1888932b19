//! Kill -9 at any moment loses nothing that was acknowledged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use seaworthy_testkit::{Tier, advisory_pack, slow};
use serde_json::Value;

use crate::{
    http::Door,
    image::Image,
    killing::{Random, kill_while},
    server::{Place, free_port},
};

const PUSHERS: u64 = 3;
/// Bounds the ledger that is read at the end.
const MOST_IMAGES: u64 = 250;
/// Seconds until every verdict is final.
const FINAL_SECONDS: u64 = 60;
const SEED: u64 = 0x5EA_0017;

/// What was acknowledged: (repository, digest) and the content that it stands for.
type Acknowledged = Mutex<BTreeMap<(String, String), &'static str>>;

#[test]
fn a_killed_server_goes_on() {
    const NAME: &str = "a_killed_server_goes_on";
    if !slow(NAME) {
        return;
    }
    let Some(pack) = advisory_pack(NAME) else { return };
    let place = Place::new();
    let server = place.up(&[]);
    let feeds = [pack.join("debian"), pack.join("kev")];
    let [debian, kev] = feeds.each_ref().map(|path| path.to_str().expect("UTF-8"));
    let imported = place.cli(&["advisories", "import", debian, kev]);
    assert_eq!(imported.code, 0, "{imported:?}");
    let door = place.login(server.port);
    let acknowledged = Acknowledged::default();
    let kills = if Tier::current() == Tier::Long { 200 } else { 10 };
    let pushers = (0..PUSHERS).map(|pusher| {
        let (door, acknowledged) = (&door, &acknowledged);
        move |over: &AtomicBool| push_until(over, door, pusher, acknowledged)
    });
    // Outlives the pushers, who go on until their last push is acknowledged.
    let _server = kill_while(&place, server, (kills, Duration::from_millis(720), SEED), pushers);
    let acknowledged = acknowledged.into_inner().expect("no pusher failed");
    eprintln!("{kills} kills, {} acknowledged pushes", acknowledged.len());
    assert!(acknowledged.len() >= 20, "only {} pushes", acknowledged.len());
    let judged = Instant::now();
    every_push_is_judged(&place, &acknowledged);
    eprintln!("all judged {:?} after the last restart", judged.elapsed());
    nothing_waits(&place);
    one_decision_each(&place, &acknowledged);
    let verified = place.cli(&["ledger", "verify", "-o", "json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// Pushes one image after another, each again and again until it is acknowledged.
fn push_until(over: &AtomicBool, door: &Door, pusher: u64, acknowledged: &Acknowledged) {
    let mut random = Random(SEED ^ (pusher + 1));
    for number in 0..MOST_IMAGES {
        // expat 2.5.0-1 has fixes; a version from the future has none to miss.
        let (content, version) =
            if random.below(2) == 0 { ("vulnerable", "2.5.0-1") } else { ("fixed", "99:1") };
        let image = Image::debian("expat", version, &format!("{pusher}-{number}"));
        let repository = format!("prod/app{}", random.below(4));
        let tag = format!("p{pusher}-{number}");
        let mut tries = 0_u32;
        while let Err(error) = image.try_push(door, &repository, &tag) {
            tries += 1;
            assert!(tries < 3_000, "never acknowledged: {error}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let key = (repository, image.digest().to_string());
        acknowledged.lock().expect("no pusher failed").insert(key, content);
        if over.load(Ordering::SeqCst) {
            return;
        }
    }
}

fn every_push_is_judged(place: &Place, acknowledged: &BTreeMap<(String, String), &'static str>) {
    let door = place.socket();
    let mut contents: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for ((repository, digest), content) in acknowledged {
        let image = format!("{repository}@{digest}");
        let path = format!(
            "/api/v1/check?image={}&wait={FINAL_SECONDS}",
            image.replace(':', "%3A").replace('@', "%40")
        );
        let answer = door.get("GET", &path);
        assert_eq!(answer.status, 200, "{image} ({content}) is gone: {}", answer.text());
        let answer = answer.json();
        let verdict = answer["verdict"].as_str().expect("verdict");
        let expected = if *content == "vulnerable" { "blocked" } else { "allowed" };
        assert_eq!(verdict, expected, "{image} is {content}: {answer:#}\n{}", place.log());
        contents.entry(content).or_default().insert(answer["content_id"].to_string());
    }
    assert_eq!(contents.len(), 2, "both contents were pushed");
    for (content, ids) in contents {
        assert_eq!(ids.len(), 1, "{content}: equal content has one content id: {ids:?}");
    }
}

fn nothing_waits(place: &Place) {
    let mut last = Value::Null;
    for _ in 0..600 {
        let status = place.cli(&["status", "-o", "json"]);
        assert_eq!(status.code, 0, "{status:?}");
        last = status.json();
        assert_eq!(last["failed"].as_array().map(Vec::len), Some(0), "{last:#}");
        let waiting = last["waiting"].as_object().expect("queues");
        if waiting.values().all(|it| it == 0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("still waiting: {last:#}");
}

fn one_decision_each(place: &Place, acknowledged: &BTreeMap<(String, String), &'static str>) {
    let objects: Vec<String> = acknowledged
        .keys()
        .map(|(repository, digest)| format!("repositories/{repository}@{digest}"))
        .collect();
    // A committed record is listed when the sequencer has given it its place, a moment later.
    let mut found = decisions(place);
    for _ in 0..300 {
        if objects.iter().all(|object| found.contains_key(object)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        found = decisions(place);
    }
    for object in &objects {
        assert_eq!(found.get(object), Some(&1), "decisions about {object}");
    }
}

/// How many decisions the ledger has about each object.
fn decisions(place: &Place) -> BTreeMap<String, u32> {
    let door = place.socket();
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    let mut before = String::new();
    loop {
        let answer = door.get("GET", &format!("/api/v1/ledger?action=clearance.decide&n=1000{before}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        let page = answer.as_array().expect("records");
        for record in page {
            let object = record["record"]["object"].as_str().expect("object");
            *found.entry(object.to_owned()).or_default() += 1;
        }
        let Some(last) = page.last() else { return found };
        before = format!("&before={}", last["index"]);
    }
}

#[test]
fn the_port_of_a_killed_server_is_free_again() {
    let place = Place::new();
    let port = free_port();
    for _ in 0..3 {
        let server = place.try_up(port, &[], "en").unwrap_or_else(|log| panic!("{log}"));
        assert_eq!(place.cli(&["status", "-o", "json"]).json()["pid"], server.pid());
    }
}
