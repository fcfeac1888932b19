//! Engines that break their contract, and control planes that are away. No Docker needed.

use std::time::{Duration, Instant};

use seaworthy_link::{ContainerState, Item};

use crate::{
    agent,
    fake::{FakeEngine, Reply},
    kill,
    plane::Plane,
};

pub(crate) fn id(letter: char) -> String {
    letter.to_string().repeat(64)
}

fn row(id: &str) -> String {
    format!(r#"{{"Id":"{id}","Names":["/{}"],"ImageID":"sha256:i","State":"running"}}"#, &id[..1])
}

fn inspected(id: &str) -> String {
    let state = r#"{"Status":"running","Running":true,"StartedAt":"2026-11-23T10:00:00Z"}"#;
    format!(r#"{{"Id":"{id}","Name":"/{}","Image":"sha256:i","State":{state}}}"#, &id[..1])
}

pub(crate) fn event(action: &str, id: &str, nanos: i64) -> String {
    format!(r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{id}"}},"timeNano":{nanos}}}"#)
}

/// An engine with these containers, that keeps these events.
pub(crate) fn engine_of(ids: Vec<String>, events: String) -> impl Fn(&str) -> Reply + Send {
    move |path| match path {
        "/version" => Reply::Json(r#"{"ApiVersion":"1.41","Version":"20.10.24"}"#.into()),
        "/containers/json" => {
            let rows: Vec<String> = ids.iter().map(|id| row(id)).collect();
            Reply::Json(format!("[{}]", rows.join(",")))
        }
        "/images/json" => Reply::Json("[]".into()),
        "/events" => Reply::Events(events.clone()),
        path => match ids.iter().find(|id| path == format!("/containers/{id}/json")) {
            Some(id) => Reply::Json(inspected(id)),
            None => Reply::Status(404),
        },
    }
}

fn gap(item: &Item) -> Option<String> {
    match item {
        Item::Gap(gap) => Some(gap.reason.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn broken_answers_hide_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let plane = Plane::open(folder.path());
    let good = || engine_of(vec![id('a'), id('b'), id('c'), id('d')], String::new());
    let engine = FakeEngine::open(folder.path(), {
        let good = good();
        move |path| match path.get(..13) {
            Some("/containers/a") => Reply::Json(inspected(&id('f'))),
            Some("/containers/b") => Reply::Json(r#"{"Id":7}"#.into()),
            Some("/containers/c") => Reply::Status(500),
            _ => good(path),
        }
    });
    let agent = agent(&engine.socket, folder.path(), &plane.socket);
    plane.container(0, "d", |it| it.state == ContainerState::Running).await;
    let is_list = |item: &Item| match item {
        Item::Listed(listed) => Some(listed.ids.len()),
        _ => None,
    };
    assert_eq!(plane.wait(0, "a list", is_list).await.1, 4);
    engine.answer(good());
    for name in ["a", "b", "c"] {
        plane.container(0, name, |_| true).await;
    }
    kill(agent).await;
    plane.check_numbers();
}

#[tokio::test]
async fn lists_that_break_off_or_lie_are_tried_again() {
    let half = format!("[{}", row(&id('a')));
    let broken: [(&str, Reply); 6] = [
        ("/containers/json", Reply::Half(half.clone())),
        ("/containers/json", Reply::Json(half)),
        ("/containers/json", Reply::Json(r#"{"message":"no list"}"#.into())),
        ("/version", Reply::Json("<html>".into())),
        ("/version", Reply::Json(r#"{"ApiVersion":"1.39"}"#.into())),
        ("/events", Reply::Status(500)),
    ];
    for (place, reply) in broken {
        let folder = tempfile::tempdir().expect("folder");
        let plane = Plane::open(folder.path());
        let good = engine_of(vec![id('a')], String::new());
        let shown = reply.clone();
        let engine = FakeEngine::open(
            folder.path(),
            move |path| if path == place { reply.clone() } else { good(path) },
        );
        let agent = agent(&engine.socket, folder.path(), &plane.socket);
        let no_engine = |item: &Item| matches!(item, Item::Host(host) if host.engine.is_none()).then_some(());
        plane.wait(0, &format!("an engine away after {place} {shown:?}"), no_engine).await;
        engine.answer(engine_of(vec![id('a')], String::new()));
        plane.container(0, "a", |_| true).await;
        kill(agent).await;
    }
}

#[tokio::test]
async fn an_engine_that_repeats_the_last_event_leaves_no_gap() {
    let folder = tempfile::tempdir().expect("folder");
    let plane = Plane::open(folder.path());
    let engine = FakeEngine::open(folder.path(), engine_of(vec![id('a')], String::new()));
    let agent = agent(&engine.socket, folder.path(), &plane.socket);
    plane.container(0, "a", |_| true).await;
    engine.answer(engine_of(vec![id('a'), id('b')], event("start", &id('b'), 5_000)));
    engine.events.send(Some(event("start", &id('b'), 5_000))).expect("a listener");
    plane.container(0, "b", |_| true).await;
    // The stream ends; the engine remembers: another container's end is told, and no gap.
    let kept = event("start", &id('b'), 5_000) + &event("destroy", &id('a'), 6_000);
    engine.answer(engine_of(vec![id('b')], kept));
    engine.events.send(None).expect("a listener");
    let removed = |item: &Item| match item {
        Item::Removed(removed) => Some(removed.at.as_micros()),
        _ => None,
    };
    assert_eq!(plane.wait(0, "a removal", removed).await.1, 6);
    assert!(plane.items().iter().all(|(_, item)| gap(item).is_none()), "{:#?}", plane.items());
    // It ends again, half way through an event, and the engine has forgotten.
    engine.answer(engine_of(vec![id('b'), id('c')], String::new()));
    engine.events.send(Some(r#"{"Type":"#.into())).expect("a listener");
    engine.events.send(None).expect("a listener");
    assert_eq!(plane.wait(0, "a gap", gap).await.1, "the engine was away");
    plane.container(0, "c", |_| true).await;
    kill(agent).await;
    plane.check_numbers();
}

#[tokio::test]
async fn a_plane_that_counts_otherwise_is_told_all_anew() {
    let folder = tempfile::tempdir().expect("folder");
    let plane = Plane::open(folder.path());
    let engine = FakeEngine::open(folder.path(), engine_of(vec![id('a')], String::new()));
    let agent = agent(&engine.socket, folder.path(), &plane.socket);
    plane.container(0, "a", |_| true).await;
    let before = plane.items().len();
    plane.forget();
    engine.answer(engine_of(vec![id('a'), id('b')], String::new()));
    engine.events.send(Some(event("start", &id('b'), 5_000))).expect("a listener");
    plane.container(before, "b", |_| true).await;
    plane.container(before, "a", |_| true).await;
    kill(agent).await;
    plane.check_numbers();
}

#[tokio::test]
async fn a_hanging_container_does_not_hide_the_next() {
    let folder = tempfile::tempdir().expect("folder");
    let plane = Plane::open(folder.path());
    let good = engine_of(vec![id('a'), id('b')], String::new());
    let engine = FakeEngine::open(folder.path(), move |path| {
        if path.starts_with("/containers/a") { Reply::Hang } else { good(path) }
    });
    let agent = agent(&engine.socket, folder.path(), &plane.socket);
    plane.container(0, "b", |_| true).await;
    kill(agent).await;
}

#[tokio::test]
async fn thirty_thousand_containers_and_a_plane_that_comes_late() {
    let folder = tempfile::tempdir().expect("folder");
    let mut plane = Plane::open(folder.path());
    plane.go_away().await;
    let ids: Vec<String> = (0..30_000).map(|n| format!("{n:064x}")).collect();
    let engine = FakeEngine::open(folder.path(), engine_of(ids, String::new()));
    let first = agent(&engine.socket, folder.path(), &plane.socket);
    // Part of it is on disk when the agent is killed: the next one sends that, then all.
    let spool = folder.path().join("spool");
    let deadline = Instant::now() + Duration::from_secs(60);
    let count = || std::fs::read_dir(&spool).map_or(0, Iterator::count);
    while count() < 6 {
        assert!(Instant::now() < deadline, "no batches on disk");
        tokio::task::yield_now().await;
    }
    kill(first).await;
    plane.come_back();
    let second = agent(&engine.socket, folder.path(), &plane.socket);
    let full = |item: &Item| matches!(item, Item::Listed(it) if it.ids.len() == 30_000).then_some(());
    plane.wait(0, "a list of all", full).await;
    kill(second).await;
    plane.check_numbers();
}

#[tokio::test]
async fn hostile_names_are_told_as_they_are_and_cut() {
    let folder = tempfile::tempdir().expect("folder");
    let plane = Plane::open(folder.path());
    let ids = [id('a'), id('b'), id('c')];
    let good = engine_of(ids.to_vec(), String::new());
    let long = "x".repeat(10_000);
    let names = ["\u{1b}[2J\u{0}\u{7}".to_owned(), "\u{202e}bew\u{202c}".to_owned(), long.clone()];
    let engine = FakeEngine::open(folder.path(), {
        let names = names.clone();
        move |path| match ids.iter().position(|id| path == format!("/containers/{id}/json")) {
            Some(at) => {
                let (id, name) = (&ids[at], &names[at]);
                Reply::Json(
                    serde_json::json!({"Id": id, "Name": format!("/{name}"), "Image": "sha256:i",
                    "State": {"Status": "running", "Running": true}, "Config": {"Image": name}})
                    .to_string(),
                )
            }
            None => good(path),
        }
    });
    let agent = agent(&engine.socket, folder.path(), &plane.socket);
    for name in &names[..2] {
        plane.container(0, name, |it| it.image == *name && !it.cut).await;
    }
    plane.container(0, &long[..seaworthy_link::limit::TEXT_BYTES], |it| it.cut).await;
    kill(agent).await;
}
