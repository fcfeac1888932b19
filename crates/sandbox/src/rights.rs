//! What a process of its own, that reads no hostile files, gives up: every capability, and the way
//! to new ones.

use std::{io, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use rustix::{
    process::{Resource, Rlimit},
    thread::{CapabilitySet, CapabilitySets},
};

use crate::confine;

/// Gives up every capability, any way to gain privileges, and core dumps; with a parent, the
/// process also ends with the thread that started it.
///
/// Capabilities belong to threads: call it before there is a second one.
pub fn give_up_rights(parent: Option<i32>) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    for capability in CapabilitySet::all().iter() {
        // Whoever may not do this, or a kernel that does not know it, has none to lose: what counts
        // are the sets below and `no_new_privs`.
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // Last: a change of rights can take the kernel's promise back.
    parent.map_or(Ok(()), confine::follow_parent)
}

/// Leaves this process files below `readable` to read and below `writable` to use, and no TCP but
/// connections to `ports`; as far as this kernel's Landlock can. Sockets in the file system stay open to it.
///
/// Like [`give_up_rights`], it holds for this thread and those it starts.
pub fn keep_files(readable: &[&Path], writable: &[&Path], ports: &[u16]) -> io::Result<()> {
    let abi = ABI::V6;
    let enforce = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(Scope::from_all(abi))?
            .create()?
            .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
            .add_rules(path_beneath_rules(writable, AccessFs::from_all(abi)))?
            .add_rules(
                ports.iter().map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp))),
            )?
            .restrict_self()
    };
    enforce().map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_where_they_are_needed() {
        let folder = tempfile::tempdir().expect("folder");
        let [read, write, other] = ["read", "write", "other"].map(|name| folder.path().join(name));
        for place in [&read, &write, &other] {
            std::fs::create_dir(place).expect("folder");
            std::fs::write(place.join("file"), "x").expect("file");
        }
        let thread = std::thread::spawn(move || {
            keep_files(&[&read], &[&write], &[2]).expect("landlock");
            assert!(
                std::fs::read(read.join("file")).is_ok() && std::fs::write(write.join("new"), "x").is_ok()
            );
            assert!(std::fs::rename(write.join("new"), write.join("file")).is_ok());
            let listener = std::os::unix::net::UnixListener::bind(write.join("socket")).expect("a socket");
            drop(listener);
            let refused = [
                std::fs::write(read.join("new"), "x").map_err(|error| error.kind()),
                std::fs::read(other.join("file")).map(drop).map_err(|error| error.kind()),
                std::net::TcpStream::connect("127.0.0.1:1").map(drop).map_err(|error| error.kind()),
            ];
            assert_eq!(refused, [Err(io::ErrorKind::PermissionDenied); 3]);
        });
        thread.join().expect("thread");
    }

    /// Rights belong to threads, so they can be seen to go in one.
    #[test]
    fn nothing_is_left() {
        let thread = std::thread::spawn(|| {
            give_up_rights(None).expect("given up");
            std::fs::read_to_string("/proc/thread-self/status").expect("status")
        });
        let status = thread.join().expect("thread");
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(u64::from_str_radix(&value(set), 16), Ok(0), "{set}");
        }
        assert_eq!(value("NoNewPrivs:"), "1");
        let wrong = std::thread::spawn(|| give_up_rights(Some(i32::MAX))).join().expect("thread");
        assert!(wrong.is_err(), "another process is the parent");
    }
}
