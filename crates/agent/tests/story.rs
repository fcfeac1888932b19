//! A real engine, from the first container to the engine's death.

use std::time::{Duration, Instant};

use seaworthy_link::{ContainerState, Item};
use seaworthy_model::{Clock as _, SystemClock};
use seaworthy_testkit::{
    debian::{Base, base},
    real_engines,
};

use crate::{agent, docker::Docker, kill, plane::Plane};

fn gap(reason: &str) -> impl Fn(&Item) -> Option<seaworthy_link::Gap> {
    move |item| match item {
        Item::Gap(gap) if gap.reason == reason => Some(gap.clone()),
        _ => None,
    }
}

fn removed(id: &str) -> impl Fn(&Item) -> Option<seaworthy_link::Removed> {
    move |item| match item {
        Item::Removed(removed) if removed.id == id => Some(removed.clone()),
        _ => None,
    }
}

const SLEEP: [&str; 3] = ["base:1", "sleep", "1000"];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_engine_does_is_told() {
    if !real_engines("what_a_real_engine_does_is_told", &["dockerd", "docker", "mmdebstrap"]) {
        return;
    }
    let folder = tempfile::Builder::new().prefix("seaworthy-agent-").tempdir().expect("folder");
    let mut docker = Docker::start(folder.path());
    docker.run(&["import", base(Base::Main).to_str().expect("text"), "base:1"]);
    let mut plane = Plane::open(folder.path());
    let first = agent(&docker.socket, folder.path(), &plane.socket);
    let is_here = |item: &Item| match item {
        Item::Host(host) => host.engine.clone(),
        _ => None,
    };
    assert!(plane.wait(0, "the host", is_here).await.1.starts_with("Docker Engine "));

    let id = starts_and_settings(&docker, &plane).await;
    ends(&docker, &plane, &id).await;

    // Away: the agent while a container ends and another begins; then the control plane.
    docker.run(&[&["run", "-d", "--network=none", "--name=stays"], &SLEEP[..]].concat());
    plane.container(0, "stays", |it| it.state.is_live()).await;
    kill(first).await;
    let mark = plane.count();
    docker.run(&["rm", "-f", "stays"]);
    docker.run(&[&["run", "-d", "--network=none", "--name=late"], &SLEEP[..]].concat());
    let second = agent(&docker.socket, folder.path(), &plane.socket);
    plane.container(mark, "late", |it| it.state.is_live()).await;
    plane.wait(mark, "a gap", gap("the agent was not running")).await;
    plane.go_away().await;
    docker.run(&["pause", "late"]);
    docker.run(&["unpause", "late"]);
    docker.run(&["rename", "late", "later"]);
    plane.come_back();
    plane.container(mark, "later", |it| it.state == ContainerState::Running).await;

    // The engine dies in the middle of its stream.
    let (mark, before) = (plane.count(), SystemClock.now());
    docker.kill();
    plane
        .wait(mark, "an engine away", |it| matches!(it, Item::Host(it) if it.engine.is_none()).then_some(()))
        .await;
    docker.start_again();
    let (_, told) = plane.wait(mark, "a gap", gap("the engine was away")).await;
    assert!(told.from >= before && told.until > told.from, "{told:?}");
    plane.container(mark, "later", |it| !it.state.is_live()).await;
    kill(second).await;
    plane.check_numbers();
}

/// A container with settings, seen within a second; returns its id.
async fn starts_and_settings(docker: &Docker, plane: &Plane) -> String {
    let options = "run -d --network=none --name=web --read-only --cap-add=net_admin --cap-drop=MKNOD -u 7:7 \
        --pid=host --security-opt=no-new-privileges -e TOKEN=hunter2 -v /etc:/host:ro -l team=web";
    let options: Vec<&str> = options.split_whitespace().collect();
    let before = SystemClock.now();
    let id = docker.run(&[&options[..], &SLEEP[..]].concat());
    let started = Instant::now();
    let (came, seen) = plane.container(0, "web", |it| it.state == ContainerState::Running).await;
    let delay = came.saturating_duration_since(started);
    eprintln!("start of a container was told {delay:?} after `docker run` returned");
    assert!(delay < Duration::from_secs(1), "{delay:?}");
    assert_eq!(seen.id, id);
    let at = seen.started_at.expect("a start");
    assert!(
        at >= before && at <= seen.seen_at && seen.finished_at.is_none() && seen.exit_code.is_none(),
        "{seen:?}"
    );
    assert_eq!((seen.image.as_str(), seen.labels["team"].as_str()), ("base:1", "web"));
    let it = &seen.settings;
    assert_eq!(it.user, "7:7");
    assert!(
        it.read_only_root && it.host_pid && it.no_new_privileges && !it.privileged && !it.host_network,
        "{it:?}"
    );
    assert_eq!(
        (&it.added_capabilities[..], &it.dropped_capabilities[..]),
        (&["NET_ADMIN".into()][..], &["MKNOD".into()][..])
    );
    assert!(it.environment.contains(&"TOKEN".into()) && !format!("{seen:?}").contains("hunter2"), "{it:?}");
    assert_eq!((it.mounts[0].source.as_str(), it.mounts[0].writable), ("/etc", false));
    let image = |item: &Item| match item {
        Item::Image(image) if image.id == seen.image_id => Some(image.clone()),
        _ => None,
    };
    let (_, image) = plane.wait(0, "the image", image).await;
    assert_eq!((image.tags.as_slice(), image.diff_ids.len()), (&["base:1".to_owned()][..], 1));
    id
}

async fn ends(docker: &Docker, plane: &Plane, id: &str) {
    docker.run(&["rename", "web", "shop"]);
    plane.container(0, "shop", |it| it.state == ContainerState::Running).await;
    let before = SystemClock.now();
    docker.run(&["stop", "-t", "0", "shop"]);
    let (_, seen) = plane.container(0, "shop", |it| it.state == ContainerState::Exited).await;
    assert!(
        seen.finished_at.expect("an end") >= before && matches!(seen.exit_code, Some(137 | 143)),
        "{seen:?}"
    );
    docker.run(&["rm", "shop"]);
    let (_, gone) = plane.wait(0, "the removal", removed(id)).await;
    assert!(gone.at >= before && gone.at <= SystemClock.now(), "{gone:?}");
}
