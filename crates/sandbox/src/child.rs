use std::{
    fs::File,
    io::{self, Read, Write},
    panic::{self, AssertUnwindSafe},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    confine,
    frame::{Sink, Status},
    limit,
};

/// A reader: request and input in, output out. It may use memory, time and these three
/// arguments, nothing else; it must not start threads.
pub type ReaderFn = fn(request: &[u8], input: &mut dyn Read, output: &mut dyn Write) -> Result<(), String>;

/// Which reader a child is to run. Present only in children.
pub(crate) const READER: &str = "SEAWORTHY_SANDBOX";
/// Request and limits of a child.
pub(crate) const ORDER: &str = "SEAWORTHY_SANDBOX_ORDER";
/// The reader that does nothing, for [`crate::Sandbox::probe`].
pub(crate) const PROBE: &str = "probe";

/// Opens `main`: returns at once in a normal process. In a child it confines itself, runs
/// the reader it was started for over standard input, and never returns.
///
/// A test binary calls it in one `#[test]`, whose name [`crate::Sandbox::through_test`] is told.
pub fn child(readers: &[(&str, ReaderFn)]) {
    let Ok(name) = std::env::var(READER) else { return };
    let code = match run(&name, readers) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "sandbox: {error}");
            3
        }
    };
    #[expect(clippy::exit, reason = "a child is nothing but its reader")]
    std::process::exit(code)
}

fn run(name: &str, readers: &[(&str, ReaderFn)]) -> io::Result<()> {
    let order = Order::from_environment()?;
    confine::follow_parent(order.parent)?;
    // The frame gets a descriptor of its own; stray prints go to standard error.
    let out = File::from(rustix::io::dup(rustix::stdio::stdout())?);
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    let mut input = File::from(rustix::io::dup(rustix::stdio::stdin())?).take(order.input_bytes);
    let mut sink = Sink::open(out)?;
    // Made before the door closes: the message of a panic must not need a file.
    panic::set_hook(Box::new(|info| {
        let _ = writeln!(io::stderr(), "{info}");
    }));

    confine::limit_resources(order.memory_bytes, order.cpu_seconds)?;
    let enforced = confine::close_files()?;
    if enforced.is_none() && order.needs_landlock {
        return sink.close(Status::NoLandlock);
    }
    confine::close_system_calls()?;

    let reader = readers.iter().find(|(known, _)| *known == name).map(|(_, reader)| *reader);
    let answer = match reader {
        None if name == PROBE => {
            enforced.map_or(Ok(()), |abi| sink.write_all(&[abi])).map_err(|error| error.to_string())
        }
        None => Err(format!("no reader is called `{name}`")),
        Some(reader) => {
            panic::catch_unwind(AssertUnwindSafe(|| reader(&order.request, &mut input, &mut sink)))
                .unwrap_or_else(|_| Err("the reader panicked".to_owned()))
        }
    };
    match answer {
        Ok(()) => sink.close(Status::Ok),
        Err(message) => {
            let end = message.floor_char_boundary(limit::MESSAGE_BYTES);
            let message = message.get(..end).unwrap_or_default();
            // Output already given is void: the message alone must fill the frame.
            sink.replace(message.as_bytes())?;
            sink.close(Status::Failed)
        }
    }
}

/// What the parent wants, in one line: `PARENT MEMORY CPU INPUT landlock|seccomp BASE64`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) parent: i32,
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_seconds: u64,
    /// Bytes that the reader is given.
    pub(crate) input_bytes: u64,
    pub(crate) needs_landlock: bool,
    pub(crate) request: Vec<u8>,
}

impl Order {
    pub(crate) fn to_line(&self) -> String {
        let landlock = if self.needs_landlock { "landlock" } else { "seccomp" };
        format!(
            "{} {} {} {} {landlock} {}",
            self.parent,
            self.memory_bytes,
            self.cpu_seconds,
            self.input_bytes,
            STANDARD.encode(&self.request)
        )
    }

    fn from_environment() -> io::Result<Self> {
        let line = std::env::var(ORDER).map_err(io::Error::other)?;
        Self::from_line(&line).ok_or_else(|| io::Error::other("the order is malformed"))
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Self {
            parent: words.next()?.parse().ok()?,
            memory_bytes: words.next()?.parse().ok()?,
            cpu_seconds: words.next()?.parse().ok()?,
            input_bytes: words.next()?.parse().ok()?,
            needs_landlock: match words.next()? {
                "landlock" => true,
                "seccomp" => false,
                _ => return None,
            },
            request: STANDARD.decode(words.next()?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_round_trip() {
        for needs_landlock in [true, false] {
            let order = Order {
                parent: 7,
                memory_bytes: 1,
                cpu_seconds: 2,
                input_bytes: 3,
                needs_landlock,
                request: vec![0, 255, b' '],
            };
            assert_eq!(Order::from_line(&order.to_line()), Some(order));
        }
        assert_eq!(Order::from_line("1 2 3 4 maybe "), None);
    }
}
