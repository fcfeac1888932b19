//! What a child takes from itself before it reads: privileges, limits, files, system calls.

use std::{collections::BTreeMap, io};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
    RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use crate::limit;

/// Dies with the thread that waits for it; a parent that is gone already is noticed too.
pub(crate) fn follow_parent(parent: i32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if now == Some(parent) { Ok(()) } else { Err(io::Error::other("the parent is gone")) }
}

/// No way to more privileges, and the numbers of [`crate::Limits`].
pub(crate) fn limit_resources(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    for (resource, soft, hard) in [
        (Resource::As, memory_bytes, memory_bytes),
        // SIGXCPU at the soft limit tells the parent why; SIGKILL a second later is for who ignores it.
        (Resource::Cpu, cpu_seconds, cpu_seconds.saturating_add(1)),
        (Resource::Fsize, 0, 0),
        (Resource::Nofile, limit::OPEN_FILES, limit::OPEN_FILES),
        (Resource::Core, 0, 0),
        (Resource::Nproc, 0, 0),
    ] {
        rustix::process::setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })?;
    }
    Ok(())
}

/// Denies every file system and network access that this kernel's Landlock knows. Gives the
/// version of its interface; `None` when nothing is enforced.
pub(crate) fn close_files() -> io::Result<Option<u8>> {
    let enforce = || {
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
        ruleset
            .handle_access(AccessFs::from_all(ABI::V6))?
            .handle_access(AccessNet::from_all(ABI::V6))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .restrict_self()
    };
    let status = enforce().map_err(io::Error::other)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } if status.ruleset != RulesetStatus::NotEnforced => {
            u8::try_from(effective_abi as i32).ok()
        }
        _ => None,
    })
}

/// System calls of a reader: its open descriptors, its memory, its own threads and clocks.
/// No socket, no exec, no fork. Any other call ends the process (SIGSYS).
const ALLOWED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_ppoll,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Refused with an error, not with death: glibc itself looks at
/// `/proc/sys/vm/overcommit_memory` when the heap of a thread shrinks, and is content without.
const REFUSED: &[i64] = &[
    libc::SYS_openat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
];

/// Applies both lists to every thread of the process. Of two filters the kernel takes the
/// stricter answer: the first refuses, the second ends what neither names.
pub(crate) fn close_system_calls() -> io::Result<()> {
    for program in [refusals(), filter()] {
        let program = program.map_err(io::Error::other)?;
        seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn refusals() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let refused = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(REFUSED).map(|call| (*call, Vec::new())).collect();
    // Memory may be mapped, never made executable (PROT_EXEC of mman.h).
    let no_exec = || {
        let exec = 4;
        SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(exec), 0)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    rules.insert(libc::SYS_mmap, vec![no_exec()?]);
    rules.insert(libc::SYS_mprotect, vec![no_exec()?]);
    // `abort` signals its own thread; signalling anyone else stays forbidden.
    let own =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
    // `std` asks whether a descriptor is open before it closes it, in checked builds (F_GETFD of fcntl.h).
    let get_flags = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 1)?;
    rules.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![get_flags])?]);
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Landlock confines the calling thread alone, so it can be seen at work without seccomp,
    /// which would hide it in a child.
    #[test]
    fn landlock_denies_files_and_connections() {
        let thread = std::thread::spawn(|| {
            std::fs::read("/proc/self/status").expect("before");
            assert!(close_files().expect("landlock").is_some());
            let file = std::fs::read("/proc/self/status").expect_err("after");
            let made = std::fs::write("/tmp/seaworthy-landlock", b"x").expect_err("after");
            (file.kind(), made.kind())
        });
        let denied = io::ErrorKind::PermissionDenied;
        assert_eq!(thread.join().expect("thread"), (denied, denied));
    }
}
