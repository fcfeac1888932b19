use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_setfl},
    process::{Pid, PidfdFlags, Signal, pidfd_open},
};

use crate::{
    Limits, SandboxError, TimeLimit,
    child::{ORDER, Order, PROBE, READER},
    frame::{Outcome, Source, Status},
    limit,
};

/// What must hold before a child reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Landlock and seccomp; without Landlock nothing is read.
    Full,
    /// Seccomp alone will do. For kernels without Landlock, when the operator says so.
    SeccompOnly,
}

/// What a reader reads, on its standard input.
#[derive(Debug)]
pub enum Input {
    /// An open file, from its current offset. The child gets the descriptor itself.
    File(File),
    /// So many bytes of an open file, from its current offset. The child gets the descriptor itself.
    Part {
        /// Nobody else may read it meanwhile: its offset is the child's.
        file: File,
        /// How many bytes the reader is given.
        bytes: u64,
    },
    /// Bytes, through a pipe.
    Bytes(Vec<u8>),
}

/// What the kernel really enforced on a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// Version of Landlock's interface; `None` without Landlock.
    pub landlock_abi: Option<u8>,
}

/// Starts confined children of this very binary. Cheap to clone; holds no process.
#[derive(Clone, Debug)]
pub struct Sandbox {
    limits: Limits,
    confinement: Confinement,
    test: Option<&'static str>,
}

impl Sandbox {
    /// Children with these limits, fully confined, of a binary whose `main` opens with
    /// [`crate::child`].
    pub const fn new(limits: Limits) -> Self {
        Self { limits, confinement: Confinement::Full, test: None }
    }

    /// What must hold before a child reads.
    #[must_use]
    pub const fn confinement(mut self, confinement: Confinement) -> Self {
        self.confinement = confinement;
        self
    }

    /// For test binaries: the full name of the `#[test]` that calls [`crate::child`]. The
    /// child then runs that test alone.
    #[must_use]
    pub const fn through_test(mut self, name: &'static str) -> Self {
        self.test = Some(name);
        self
    }

    /// Starts a child that reads nothing, to see that confinement works here. Asked once at
    /// the start of a server.
    pub fn probe(&self) -> Result<Enforced, SandboxError> {
        let answer = self.run(PROBE, &[], Input::Bytes(Vec::new()))?;
        Ok(Enforced { landlock_abi: answer.first().copied() })
    }

    /// Runs `reader` over `input` and gives all its output. Blocks the calling thread, at
    /// most [`Limits::wall`]; the child dies with that thread.
    pub fn run(&self, reader: &str, request: &[u8], input: Input) -> Result<Vec<u8>, SandboxError> {
        if request.len() > limit::REQUEST_BYTES {
            return Err(SandboxError::RequestTooLarge { reader: reader.to_owned(), bytes: request.len() });
        }
        let failed = |source| SandboxError::Spawn { reader: reader.to_owned(), source };
        let watched = self.start(reader, request, input).and_then(|mut running| {
            running.watch(self.limits.wall)?;
            running.end()
        });
        self.judge(reader, watched.map_err(failed)?)
    }

    fn start(&self, reader: &str, request: &[u8], input: Input) -> io::Result<Running> {
        // Not the path on disk: an upgrade may have replaced that file.
        let mut command = Command::new("/proc/self/exe");
        if let Some(name) = self.test {
            command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
        }
        let (stdin, bytes, input_bytes) = match input {
            Input::File(file) => (Stdio::from(file), Vec::new(), u64::MAX),
            Input::Part { file, bytes } => (Stdio::from(file), Vec::new(), bytes),
            Input::Bytes(bytes) => (Stdio::piped(), bytes, u64::MAX),
        };
        let order = Order {
            parent: i32::try_from(std::process::id()).unwrap_or_default(),
            memory_bytes: self.limits.memory_bytes,
            cpu_seconds: self.limits.cpu_seconds,
            input_bytes,
            needs_landlock: self.confinement == Confinement::Full,
            request: request.to_vec(),
        };
        command.arg0("seaworthy-reader").env_clear().current_dir("/");
        command.env(READER, reader).env(ORDER, order.to_line());
        let mut child = Guard(command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?);
        let pid = i32::try_from(child.0.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the child has no process id"))?;
        let exited = pidfd_open(pid, PidfdFlags::empty())?;
        let stdin = child.0.stdin.take().filter(|_| !bytes.is_empty());
        if let Some(stdin) = &stdin {
            fcntl_setfl(stdin, OFlags::NONBLOCK)?;
        }
        Ok(Running {
            stdin,
            stdout: child.0.stdout.take(),
            stderr: child.0.stderr.take(),
            child,
            exited,
            bytes,
            written: 0,
            frame: Source::new(self.limits.output_bytes),
            said: Vec::new(),
            stop: None,
        })
    }

    fn judge(&self, reader: &str, ended: Ended) -> Result<Vec<u8>, SandboxError> {
        let reader = reader.to_owned();
        let stderr: String = ended.said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if ended.stop == Some(StoppedBy::Deadline) {
            return Err(SandboxError::Timeout { reader, limit: TimeLimit::Wall });
        }
        if ended.outcome == Outcome::TooLarge {
            return Err(SandboxError::OutputTooLarge { reader, at_most: self.limits.output_bytes });
        }
        if let Some(signal) = ended.status.signal().filter(|_| ended.stop.is_none()) {
            let out_of_memory = signal == Signal::ABORT.as_raw() && stderr.contains("memory allocation of");
            // Nobody here sent SIGKILL, so the kernel did: for want of memory, or CPU past the hard limit.
            return Err(match signal {
                _ if out_of_memory || signal == Signal::KILL.as_raw() => SandboxError::Memory { reader },
                _ if signal == Signal::XCPU.as_raw() => {
                    SandboxError::Timeout { reader, limit: TimeLimit::Cpu }
                }
                signal => SandboxError::Killed { reader, signal, stderr },
            });
        }
        match ended.outcome {
            Outcome::Complete(Status::Ok, output) if ended.status.success() => Ok(output),
            Outcome::Complete(Status::Failed, message) => {
                let message = String::from_utf8_lossy(&message).into_owned();
                Err(SandboxError::Reader { reader, message })
            }
            Outcome::Complete(Status::NoLandlock, _) => Err(SandboxError::NoLandlock),
            _ => Err(SandboxError::Protocol { reader, stderr }),
        }
    }
}

/// Kills and reaps on every way out.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoppedBy {
    Deadline,
    /// The frame is broken or too large: more of it helps nobody.
    Frame,
}

struct Running {
    child: Guard,
    exited: OwnedFd,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    bytes: Vec<u8>,
    written: usize,
    frame: Source,
    said: Vec<u8>,
    stop: Option<StoppedBy>,
}

struct Ended {
    status: ExitStatus,
    outcome: Outcome,
    said: String,
    stop: Option<StoppedBy>,
}

/// Which descriptors have something to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Exit,
    Stdin,
    Stdout,
    Stderr,
}

impl Running {
    /// Feeds and drains the child until it has exited and its pipes are empty, or must stop.
    fn watch(&mut self, wall: std::time::Duration) -> io::Result<()> {
        let deadline = Instant::now() + wall;
        let mut exited = false;
        while !(exited && self.stdout.is_none() && self.stderr.is_none()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.stop = Some(StoppedBy::Deadline);
                return Ok(());
            }
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            for ready in self.wait(exited, left)? {
                match ready {
                    Ready::Exit => exited = true,
                    Ready::Stdin => self.feed(),
                    Ready::Stderr => self.drain_words()?,
                    Ready::Stdout => {
                        if !self.drain_frame()? {
                            self.stop = Some(StoppedBy::Frame);
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn end(mut self) -> io::Result<Ended> {
        if self.stop.is_some() {
            let _ = self.child.0.kill();
        }
        Ok(Ended {
            status: self.child.0.wait()?,
            outcome: self.frame.finish(),
            said: String::from_utf8_lossy(&self.said).into_owned(),
            stop: self.stop,
        })
    }

    /// Sleeps until a descriptor has something to do, or `left` is over.
    fn wait(&self, exited: bool, left: Timespec) -> io::Result<Vec<Ready>> {
        let mut fds = Vec::with_capacity(4);
        let mut which = Vec::with_capacity(4);
        for (fd, flags, ready) in [
            (Some(self.exited.as_fd()).filter(|_| !exited), PollFlags::IN, Ready::Exit),
            (self.stdin.as_ref().map(AsFd::as_fd), PollFlags::OUT, Ready::Stdin),
            (self.stdout.as_ref().map(AsFd::as_fd), PollFlags::IN, Ready::Stdout),
            (self.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN, Ready::Stderr),
        ] {
            if let Some(fd) = fd {
                fds.push(PollFd::from_borrowed_fd(fd, flags));
                which.push(ready);
            }
        }
        match poll(&mut fds, Some(&left)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let events = fds.iter().zip(which).filter(|(fd, _)| !fd.revents().is_empty());
        Ok(events.map(|(_, ready)| ready).collect())
    }

    /// A child need not read all of its input: a closed pipe is no error.
    fn feed(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        let rest = self.bytes.get(self.written..).unwrap_or_default();
        match stdin.write(rest) {
            Ok(written) => self.written += written,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.written = self.bytes.len(),
        }
        if self.written >= self.bytes.len() {
            self.stdin = None;
            self.bytes = Vec::new();
        }
    }

    fn drain_frame(&mut self) -> io::Result<bool> {
        let Some(stdout) = &mut self.stdout else { return Ok(true) };
        let mut buffer = vec![0; 64 * 1024];
        let read = read_some(stdout, &mut buffer)?;
        if read == Some(0) {
            self.stdout = None;
        }
        let new = buffer.get(..read.unwrap_or(0)).unwrap_or_default();
        Ok(new.is_empty() || self.frame.push(new))
    }

    fn drain_words(&mut self) -> io::Result<()> {
        let Some(stderr) = &mut self.stderr else { return Ok(()) };
        let mut buffer = [0; 4096];
        match read_some(stderr, &mut buffer)? {
            Some(0) => self.stderr = None,
            read => {
                self.said.extend(buffer.iter().take(read.unwrap_or(0)));
                let surplus = self.said.len().saturating_sub(limit::STDERR_BYTES);
                self.said.drain(..surplus);
            }
        }
        Ok(())
    }
}

/// One read; `None` when interrupted.
fn read_some(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match from.read(buffer) {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}
