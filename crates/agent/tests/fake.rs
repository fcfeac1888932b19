//! An engine of the published contract, or one that breaks it at a chosen path.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::broadcast,
    task::JoinHandle,
};

/// What an engine answers to a path without its version.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// This JSON.
    Json(String),
    /// Half of what was promised, then an end.
    Half(String),
    /// Nothing, ever.
    Hang,
    /// A refusal.
    Status(u16),
    /// These objects, then those that are sent to [`FakeEngine::events`].
    Events(String),
}

type Answers = Arc<Mutex<Box<dyn Fn(&str) -> Reply + Send>>>;

pub(crate) struct FakeEngine {
    pub(crate) socket: PathBuf,
    answers: Answers,
    /// Events for whoever listens; `None` ends their streams.
    pub(crate) events: broadcast::Sender<Option<String>>,
    _task: JoinHandle<()>,
}

impl FakeEngine {
    pub(crate) fn open(folder: &Path, answers: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let socket = folder.join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("bind");
        let answers: Answers = Arc::new(Mutex::new(Box::new(answers)));
        let (events, _) = broadcast::channel(64);
        let (shared, sender) = (Arc::clone(&answers), events.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared), sender.subscribe()));
            }
        });
        Self { socket, answers, events, _task: task }
    }

    pub(crate) fn answer(&self, answers: impl Fn(&str) -> Reply + Send + 'static) {
        *self.answers.lock().expect("lock") = Box::new(answers);
    }
}

async fn serve(mut stream: UnixStream, answers: Answers, mut events: broadcast::Receiver<Option<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).expect("text");
    let path = head.split(' ').nth(1).expect("a path");
    let bare = path.strip_prefix("/v1.41").unwrap_or(path).split('?').next().expect("a path");
    let reply = answers.lock().expect("lock")(bare);
    let ok = |length: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let done = match reply {
        Reply::Json(json) => stream.write_all((ok(json.len()) + &json).as_bytes()).await,
        Reply::Half(json) => stream.write_all((ok(json.len() * 2) + &json).as_bytes()).await,
        Reply::Status(status) => {
            let text = format!("HTTP/1.1 {status} No\r\nContent-Length: 15\r\n\r\n{{\"message\":\"x\"}}");
            stream.write_all(text.as_bytes()).await
        }
        Reply::Hang => return std::future::pending().await,
        Reply::Events(first) => {
            // Without a length the body ends with the connection.
            drop(stream.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{first}").as_bytes()).await);
            while let Ok(Some(event)) = events.recv().await {
                drop(stream.write_all(event.as_bytes()).await);
            }
            Ok(())
        }
    };
    drop(done);
}
