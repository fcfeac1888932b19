//! Each confinement is tried by a reader that wants out. This binary is its own child.
#![forbid(unsafe_code)]
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    reason = "the whole crate is tests: its helpers fail as tests do"
)]

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    time::Duration,
};

use seaworthy_sandbox::{
    Confinement, Enforced, Input, Limits, ReaderFn, Sandbox, SandboxError, TimeLimit, limit,
};

type Answer = Result<(), String>;

const READERS: &[(&str, ReaderFn)] = &[
    ("echo", echo),
    ("environment", environment),
    ("open", open),
    ("socket", socket),
    ("exec", exec),
    ("thread", thread),
    ("write", write),
    ("kill", kill),
    ("hoard", hoard),
    ("spin", spin),
    ("sleep", sleep),
    ("panic", panics),
    ("refuse", refuse),
    ("vanish", vanish),
    ("chatter", chatter),
    ("flood", flood),
    ("abort", abort),
    ("deep", deep),
    ("say", say),
    ("cry", cry),
    ("shrink", shrink),
];

/// The door of the child: returns at once in a normal test run.
#[test]
fn sandbox_child() {
    seaworthy_sandbox::child(READERS);
}

fn limits() -> Limits {
    Limits { wall: Duration::from_secs(20), cpu_seconds: 10, memory_bytes: 256 << 20, output_bytes: 8 << 20 }
}

fn sandbox() -> Sandbox {
    Sandbox::new(limits()).through_test("sandbox_child")
}

fn run(reader: &str, request: &[u8], input: &[u8]) -> Result<Vec<u8>, SandboxError> {
    sandbox().run(reader, request, Input::Bytes(input.to_vec()))
}

/// SIGSYS: a forbidden system call.
fn is_forbidden(reader: &str) {
    for confinement in [Confinement::Full, Confinement::SeccompOnly] {
        let answer = sandbox().confinement(confinement).run(reader, b"", Input::Bytes(Vec::new()));
        assert!(matches!(answer, Err(SandboxError::Killed { signal: 31, .. })), "{reader}: {answer:?}");
    }
}

/// EACCES, told by the reader.
fn is_refused(reader: &str) {
    for confinement in [Confinement::Full, Confinement::SeccompOnly] {
        let answer = sandbox().confinement(confinement).run(reader, b"", Input::Bytes(Vec::new()));
        let Err(SandboxError::Reader { message, .. }) = &answer else { panic!("{reader}: {answer:?}") };
        assert!(message.contains("Permission denied"), "{reader}: {message}");
    }
}

fn echo(request: &[u8], input: &mut dyn Read, output: &mut dyn Write) -> Answer {
    output.write_all(request).map_err(|error| error.to_string())?;
    io::copy(input, output).map(drop).map_err(|error| error.to_string())
}

#[test]
fn a_reader_reads() {
    assert_eq!(run("echo", b"re:", b"bytes").expect("echo"), b"re:bytes");
    let big = vec![7; 4 << 20];
    assert_eq!(run("echo", b"", &big).expect("echo"), big);
    assert_eq!(run("echo", b"", b"").expect("echo"), b"");
}

#[test]
fn a_file_is_read_from_its_offset() {
    let path = std::env::temp_dir().join(format!("sandbox-input-{}", std::process::id()));
    fs::write(&path, b"0123456789").expect("write");
    let mut file = File::open(&path).expect("open");
    fs::remove_file(&path).expect("remove");
    file.seek(SeekFrom::Start(4)).expect("seek");
    assert_eq!(sandbox().run("echo", b">", Input::File(file)).expect("echo"), b">456789");
}

#[test]
fn requests_are_bounded() {
    let most = vec![1; limit::REQUEST_BYTES];
    assert_eq!(run("echo", &most, b"").expect("at the limit"), most);
    let more = vec![1; most.len() + 1];
    assert!(matches!(run("echo", &more, b""), Err(SandboxError::RequestTooLarge { .. })));
}

#[test]
fn output_is_bounded() {
    let sandbox = Sandbox::new(Limits { output_bytes: 100_000, ..limits() }).through_test("sandbox_child");
    let echo = |bytes| sandbox.run("echo", b"", Input::Bytes(vec![1; bytes]));
    assert_eq!(echo(100_000).expect("at the limit").len(), 100_000);
    assert!(matches!(echo(100_001), Err(SandboxError::OutputTooLarge { at_most: 100_000, .. })));
}

fn flood(_: &[u8], _: &mut dyn Read, output: &mut dyn Write) -> Answer {
    loop {
        output.write_all(&vec![0; 65536]).map_err(|error| error.to_string())?;
    }
}

#[test]
fn a_flood_is_cut_off() {
    assert!(matches!(run("flood", b"", b""), Err(SandboxError::OutputTooLarge { .. })));
}

fn environment(_: &[u8], _: &mut dyn Read, output: &mut dyn Write) -> Answer {
    let names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    output.write_all(names.join(" ").as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn the_environment_is_empty() {
    let names = String::from_utf8(run("environment", b"", b"").expect("names")).expect("text");
    let mut names: Vec<&str> = names.split(' ').collect();
    names.sort_unstable();
    assert_eq!(names, ["SEAWORTHY_SANDBOX", "SEAWORTHY_SANDBOX_ORDER"]);
}

fn open(_: &[u8], _: &mut dyn Read, output: &mut dyn Write) -> Answer {
    let bytes = fs::read("/etc/passwd").map_err(|error| error.to_string())?;
    output.write_all(&bytes).map_err(|error| error.to_string())
}

#[test]
fn files_cannot_be_opened() {
    is_refused("open");
}

fn write(_: &[u8], _: &mut dyn Read, _: &mut dyn Write) -> Answer {
    fs::write("/tmp/escaped", b"x").map_err(|error| error.to_string())
}

#[test]
fn files_cannot_be_written() {
    is_refused("write");
    assert!(!fs::exists("/tmp/escaped").expect("look"));
}

fn socket(_: &[u8], _: &mut dyn Read, _: &mut dyn Write) -> Answer {
    std::net::TcpStream::connect("127.0.0.1:9").map(drop).map_err(|error| error.to_string())
}

#[test]
fn the_network_is_away() {
    is_forbidden("socket");
}

fn exec(_: &[u8], _: &mut dyn Read, _: &mut dyn Write) -> Answer {
    std::process::Command::new("/bin/true").status().map(drop).map_err(|error| error.to_string())
}

#[test]
fn nothing_else_can_be_run() {
    is_forbidden("exec");
}

fn thread(_: &[u8], _: &mut dyn Read, _: &mut dyn Write) -> Answer {
    std::thread::Builder::new().spawn(|| ()).map(drop).map_err(|error| error.to_string())
}

#[test]
fn threads_and_forks_are_forbidden() {
    is_forbidden("thread");
}

fn kill(_: &[u8], _: &mut dyn Read, _: &mut dyn Write) -> Answer {
    let parent = rustix::process::getppid();
    parent.map_or(Ok(()), |pid| {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(|error| error.to_string())
    })
}

#[test]
fn the_parent_cannot_be_signalled() {
    is_forbidden("kill");
}

fn hoard(_: &[u8], _: &mut dyn Read, output: &mut dyn Write) -> Answer {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    for n in 0..64u8 {
        hoard.push(vec![n; 16 << 20]);
    }
    output.write_all(&[hoard.iter().fold(0, |sum, part| sum ^ part[0])]).map_err(|error| error.to_string())
}

#[test]
fn memory_is_bounded() {
    assert!(matches!(run("hoard", b"", b""), Err(SandboxError::Memory { .. })));
    let roomy = Sandbox::new(Limits { memory_bytes: 2 << 30, ..limits() }).through_test("sandbox_child");
    roomy.run("hoard", b"", Input::Bytes(Vec::new())).expect("with enough memory it passes");
}

fn spin(_: &[u8], _: &mut dyn Read, _: &mut dyn Write) -> Answer {
    loop {
        std::hint::spin_loop();
    }
}

#[test]
fn processor_time_is_bounded() {
    let sandbox = Sandbox::new(Limits { cpu_seconds: 1, ..limits() }).through_test("sandbox_child");
    let answer = sandbox.run("spin", b"", Input::Bytes(Vec::new()));
    assert!(matches!(answer, Err(SandboxError::Timeout { limit: TimeLimit::Cpu, .. })), "{answer:?}");
}

fn sleep(_: &[u8], _: &mut dyn Read, _: &mut dyn Write) -> Answer {
    loop {
        std::thread::park();
    }
}

#[test]
fn wall_time_is_bounded() {
    let sandbox = Sandbox::new(Limits { wall: Duration::from_millis(300), ..limits() });
    let answer = sandbox.through_test("sandbox_child").run("sleep", b"", Input::Bytes(Vec::new()));
    assert!(matches!(answer, Err(SandboxError::Timeout { limit: TimeLimit::Wall, .. })), "{answer:?}");
}

fn panics(_: &[u8], _: &mut dyn Read, output: &mut dyn Write) -> Answer {
    let _ = output.write_all(b"half an answer");
    panic!("of no use");
}

/// Fails with as many characters as the request says.
fn say(request: &[u8], _: &mut dyn Read, _: &mut dyn Write) -> Answer {
    let count = std::str::from_utf8(request).map_err(|error| error.to_string())?;
    Err("x".repeat(count.parse().map_err(|_| "no number".to_owned())?))
}

/// Says as many bytes as the request on standard error, the first an `a`, and dies.
fn cry(request: &[u8], _: &mut dyn Read, _: &mut dyn Write) -> Answer {
    let count: usize = std::str::from_utf8(request).ok().and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut words = vec![b'b'; count];
    words[0] = b'a';
    let _ = io::stderr().write_all(&words);
    std::process::abort();
}

#[test]
fn the_last_words_are_kept() {
    for (bytes, first) in [(limit::STDERR_BYTES, true), (limit::STDERR_BYTES + 1, false)] {
        let answer = run("cry", bytes.to_string().as_bytes(), b"");
        let Err(SandboxError::Killed { stderr, .. }) = answer else { panic!("{answer:?}") };
        let from = stderr.find(['a', 'b']).expect("words");
        assert_eq!(stderr[from..].starts_with('a'), first, "{bytes}");
        assert!(stderr.len() <= limit::STDERR_BYTES, "{bytes}");
    }
}

fn refuse(_: &[u8], _: &mut dyn Read, output: &mut dyn Write) -> Answer {
    let _ = output.write_all(&vec![1; 100_000]);
    Err("é".repeat(1000))
}

#[test]
fn a_reader_that_fails_says_why() {
    let Err(SandboxError::Reader { message, .. }) = run("panic", b"", b"") else { panic!("panic") };
    assert_eq!(message, "the reader panicked");
    let Err(SandboxError::Reader { message, .. }) = run("refuse", b"", b"") else { panic!("refuse") };
    assert_eq!(message, "é".repeat(512));
    assert_eq!(message.len(), limit::MESSAGE_BYTES);
    for bytes in [limit::MESSAGE_BYTES, limit::MESSAGE_BYTES + 1] {
        let answer = run("say", bytes.to_string().as_bytes(), b"");
        let Err(SandboxError::Reader { message, .. }) = answer else { panic!("{answer:?}") };
        assert_eq!(message, "x".repeat(limit::MESSAGE_BYTES), "{bytes}");
    }
    let Err(SandboxError::Reader { message, .. }) = run("nobody", b"", b"") else { panic!("nobody") };
    assert_eq!(message, "no reader is called `nobody`");
}

fn vanish(_: &[u8], _: &mut dyn Read, output: &mut dyn Write) -> Answer {
    let _ = output.write_all(&vec![1; 200_000]);
    std::process::exit(0);
}

#[test]
fn a_child_that_stops_half_way_is_no_success() {
    assert!(matches!(run("vanish", b"", b""), Err(SandboxError::Protocol { .. })));
}

fn chatter(_: &[u8], _: &mut dyn Read, output: &mut dyn Write) -> Answer {
    for n in 0..20_000 {
        println!("not a frame {n}");
    }
    output.write_all(b"frame").map_err(|error| error.to_string())
}

#[test]
fn prints_do_not_reach_the_frame() {
    assert_eq!(run("chatter", b"", b"").expect("chatter"), b"frame");
}

fn abort(_: &[u8], _: &mut dyn Read, _: &mut dyn Write) -> Answer {
    std::process::abort();
}

#[expect(unconditional_recursion, reason = "the stack must overflow")]
fn dig(depth: u64) -> u64 {
    let room = [depth; 512];
    dig(depth + 1) + std::hint::black_box(room)[(depth % 512) as usize]
}

fn deep(_: &[u8], _: &mut dyn Read, output: &mut dyn Write) -> Answer {
    output.write_all(&dig(0).to_le_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_death_is_a_result() {
    assert!(matches!(run("abort", b"", b""), Err(SandboxError::Killed { signal: 6, .. })));
    let answer = run("deep", b"", b"");
    assert!(matches!(answer, Err(SandboxError::Killed { .. })), "{answer:?}");
}

#[test]
fn the_probe_tells_what_is_enforced() {
    let Enforced { landlock_abi } = sandbox().probe().expect("probe");
    assert!(landlock_abi.is_some_and(|abi| abi >= 1), "{landlock_abi:?}");
}

#[test]
fn many_children_at_once() {
    std::thread::scope(|scope| {
        for n in 0..8u8 {
            scope.spawn(move || {
                assert_eq!(run("echo", &[n], &vec![n; 300_000]).expect("echo"), vec![n; 300_001]);
            });
        }
    });
}

/// Gives memory of a thread's heap back, which makes glibc look at a file.
fn shrink(_: &[u8], _: &mut dyn Read, output: &mut dyn Write) -> Answer {
    let mut blocks: Vec<Vec<u8>> = (0..64).map(|_| vec![1; 100 * 1024]).collect();
    while let Some(block) = blocks.pop() {
        drop(std::hint::black_box(block));
    }
    output.write_all(b"done").map_err(|error| error.to_string())
}

/// The test harness runs the door on a thread, whose heap is not the first one.
#[test]
fn a_heap_may_shrink() {
    assert_eq!(run("shrink", b"", b"").expect("shrunk"), b"done");
}
