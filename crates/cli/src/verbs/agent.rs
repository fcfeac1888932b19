//! `agent`: reports this machine's containers to the server on this machine, or to the one it joined.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, path::Path, sync::Arc};

use seaworthy_agent::{Agent, AgentConfig, Door, Membership, Paces, engine::Engine};
use seaworthy_model::{ErrorCode, Problem, SystemClock};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    client,
    failure::{Outcome, unable, usage},
    flags::{AgentFlags, Global},
};

/// What names of hosts are looked up in.
const RESOLVER: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/run/systemd/resolve",
];
/// The port of the domain name system, for answers that do not fit a datagram.
const DNS: u16 = 53;

/// In the foreground until it is told to end. Waits for its engine and its server.
pub(crate) async fn agent(global: &Global, flags: AgentFlags) -> Outcome {
    super::serve::logging(global);
    let data = client::data_dir(global)?;
    let engine = match &flags.docker_host {
        Some(address) => Engine::named(address),
        None => Engine::from_env(),
    };
    let engine = engine.map_err(|error| usage(seaworthy_store::chain(&error)))?;
    let spool = super::hosts::agent_folder(global)?;
    if !data.is_dir() {
        let problem =
            Problem::new(ErrorCode::Unavailable, format!("no server has used `{}`", data.display()));
        let hint = "start it with `seaworthy up`, name its directory with `--data DIR`, or join with `seaworthy host join`";
        return Err(problem.hint(hint).into());
    }
    // A child of `up` reports to the server that started it, whatever this host has joined.
    let member = match flags.parent {
        Some(_) => None,
        None => Membership::read(&spool).map_err(|error| unable(seaworthy_store::chain(&error)))?,
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&spool);
    made.map_err(|error| unable(format!("`{}`: {error}", spool.display())))?;
    // What it has to read is the kernel's word about this machine.
    // To read images it starts its own program again, which the loader must find.
    let exe = std::env::current_exe().map_err(|error| unable(error.to_string()))?;
    let own = [Path::new("/proc"), Path::new("/sys/fs/cgroup"), &exe];
    let loader = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"].map(Path::new);
    let resolver: &[&str] = if member.is_some() { RESOLVER } else { &[] };
    let readable: Vec<&Path> = own.into_iter().chain(loader).chain(resolver.iter().map(Path::new)).collect();
    let ports: Vec<u16> = member.iter().flat_map(|member| [member.port, DNS]).collect();
    let scratch = spool.join("scratch");
    drop(std::fs::remove_dir_all(&scratch));
    let made = DirBuilder::new().mode(0o700).create(&scratch);
    made.map_err(|error| unable(format!("`{}`: {error}", scratch.display())))?;
    // Nobody has made a temporary file yet, so this is where all go.
    let _ = tempfile::env::override_temp_dir(&scratch);
    seaworthy_sandbox::keep_files(&readable, &[&spool], &ports)
        .map_err(|error| unable(format!("the agent cannot give up its rights: {error}")))?;
    let config = AgentConfig {
        runtime: engine.runtime(),
        engine: engine.clone(),
        spool,
        host_name: member.as_ref().map_or_else(host_name, |member| member.name.clone()),
        paces: Paces::default(),
        clock: Arc::new(SystemClock),
    };
    let agent = Agent::new(config).map_err(|error| unable(seaworthy_store::chain(&error)))?;
    let cancel = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| usage(error.to_string()))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| usage(error.to_string()))?;
    let told = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.cancel();
    };
    let door = match &member {
        Some(member) => Door::of(member).map_err(|error| unable(error.to_string()))?,
        None => Door::Socket(data.join("admin.sock")),
    };
    let images = super::agent_scan::read_images(door.clone(), engine, agent.reports());
    let images = cancel.run_until_cancelled(images);
    tokio::join!(agent.run(door, cancel.clone()), images, told);
    Ok(())
}

/// What this machine calls itself.
pub(super) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
