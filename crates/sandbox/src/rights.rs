//! What a process of its own, that reads no hostile files, gives up: every capability, and the way
//! to new ones.

use std::io;

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

#[cfg(test)]
mod tests {
    use super::*;

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
