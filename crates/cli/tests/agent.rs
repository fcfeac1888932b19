//! The agent as a child of `up`: its rights, its life and its end. No engine needed.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::server::{Place, Server, done, free_port};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Looks again and again until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn status_of(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/status")).ok()
}

fn field<'s>(status: &'s str, name: &str) -> &'s str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}

/// The agent that `server` keeps, when it has one.
pub(crate) fn agent_of(server: &Server) -> Option<u32> {
    let processes = fs::read_dir("/proc").expect("processes");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let parent = server.pid().to_string();
    pids.into_iter().find(|pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_agent = words.split(|byte| *byte == 0).nth(1) == Some(b"agent");
        is_agent && status_of(*pid).is_some_and(|status| field(&status, "PPid:") == parent)
    })
}

pub(crate) fn kill(pid: u32) {
    done(Command::new("kill").args(["-KILL", &pid.to_string()]));
}

/// Gone, or dead and waiting to be noticed.
fn is_gone(pid: u32) -> bool {
    status_of(pid).is_none_or(|status| field(&status, "State:").starts_with('Z'))
}

fn nobody(place: &Place) -> String {
    format!("unix://{}", place.path("no.sock").display())
}

#[test]
fn the_agent_gives_up_its_rights_and_shares_its_servers_fate() {
    let place = Place::new();
    let up = || place.try_up_beside(free_port(), &nobody(&place)).unwrap_or_else(|log| panic!("{log}"));
    let server = up();
    let first = until("an agent", || agent_of(&server));
    // It has said that it finds no engine, so it is past its beginning.
    until("a word about the engine", || place.log().contains("no.sock").then_some(()));
    let status = status_of(first).expect("a running agent");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(field(&status, set), 16), Ok(0), "{status}");
    }
    assert_eq!(field(&status, "NoNewPrivs:"), "1");

    kill(first);
    let second = until("another agent", || agent_of(&server).filter(|pid| *pid != first));
    assert!(place.log().contains("is started again"), "{}", place.log());
    assert_eq!(place.cli(&["status"]).code, 0, "the server did not notice");

    // Of a killed server nothing stays.
    drop(server);
    until("the end of the agent", || is_gone(second).then_some(()));

    let server = up();
    let third = until("an agent", || agent_of(&server));
    let (code, after) = server.stop();
    assert_eq!(code, Some(0), "{}", place.log());
    assert!(is_gone(third), "{after:?}");
    let log = place.log();
    assert!(!log.contains("in time"), "{log}");
    assert_eq!(fs::metadata(place.data().join("agent")).map(|it| mode(&it)).ok(), Some(0o700));
    // However often it looks, each agent says once that it finds no engine.
    let agents = 3;
    let said = log.lines().filter(|line| line.contains("no.sock")).count();
    assert!(said <= agents, "{log}");
}

/// The agent reads nothing but what it needs, not even through a link in its own folder.
#[test]
fn the_agent_has_no_files_but_its_own() {
    let place = Place::new();
    drop(place.up(&[]));
    let folder = place.data().join("agent");
    fs::create_dir(&folder).expect("the agent's folder");
    fs::write(place.path("outside"), "{}").expect("a file");
    std::os::unix::fs::symlink(place.path("outside"), folder.join("spool")).expect("a link");
    let log = fs::File::create(place.path("said")).expect("a file");
    // It ends with this thread, whatever becomes of the test.
    let parent = std::process::id().to_string();
    let mut command = place.command(&["agent", "--parent", &parent, "--docker-host", &nobody(&place)]);
    let mut agent = command.stderr(log).spawn().expect("an agent");
    let ended = until("its end", || agent.try_wait().expect("it is ours"));
    let said = fs::read_to_string(place.path("said")).expect("what it said");
    assert!(ended.code() == Some(3) && said.contains("ermission denied"), "{ended:?} {said}");
}

fn mode(data: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o777
}

#[test]
fn an_agent_that_cannot_start_stops_nobody() {
    let place = Place::new();
    let server =
        place.try_up_beside(free_port(), "tcp://127.0.0.1:2375").unwrap_or_else(|log| panic!("{log}"));
    until("a word about the address", || place.log().contains("cannot start").then_some(()));
    assert!(place.log().contains("`tcp://127.0.0.1:2375` is not a `unix://` socket"), "{}", place.log());
    assert_eq!(place.cli(&["status"]).code, 0);
    assert_eq!(agent_of(&server), None);
    assert_eq!(server.stop().0, Some(0), "{}", place.log());

    let elsewhere = place.path("nothing-here");
    let said = crate::server::run(crate::server::seaworthy().arg("--data").arg(&elsewhere).arg("agent"));
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("seaworthy up") && !Path::new(&elsewhere).exists(), "{said:?}");
}
