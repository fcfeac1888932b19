//! A control plane that stores batches, each number once.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use seaworthy_fleet::Fleet;
use seaworthy_link::{Ack, Batch, Container, Item};
use seaworthy_model::{HostId, SpoolId};
use tokio::{net::UnixListener, sync::Notify, task::JoinHandle};

pub(crate) struct Plane {
    pub(crate) socket: PathBuf,
    stored: Arc<Stored>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stored {
    forgotten: Mutex<HashSet<SpoolId>>,
    batches: Mutex<Vec<(Instant, Batch)>>,
    came: Notify,
    /// Whom it tells, as a server does.
    fleet: Option<(Fleet, HostId)>,
}

impl Plane {
    pub(crate) fn open(folder: &Path) -> Self {
        Self::with(folder, Stored::default())
    }

    /// One that is a server's fleet.
    pub(crate) fn of(folder: &Path, fleet: Fleet, host: HostId) -> Self {
        Self::with(folder, Stored { fleet: Some((fleet, host)), ..Stored::default() })
    }

    fn with(folder: &Path, stored: Stored) -> Self {
        let mut plane = Self { socket: folder.join("admin.sock"), stored: Arc::new(stored), task: None };
        plane.come_back();
        plane
    }

    /// Waits until something holds; asks again whenever a batch came.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let came = self.stored.came.notified();
            if holds().await {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timed = tokio::time::timeout(left, came).await;
            assert!(timed.is_ok(), "{what}: {:#?}", self.items());
        }
    }

    /// Delivers all batches to the fleet again.
    pub(crate) async fn repeat_all(&self) {
        let (fleet, host) = self.stored.fleet.as_ref().expect("a fleet");
        let batches = self.stored.batches.lock().expect("lock").clone();
        for (_, batch) in batches {
            fleet.receive(*host, batch).await.expect("an answer");
        }
    }

    pub(crate) async fn go_away(&mut self) {
        if let Some(task) = self.task.take() {
            crate::kill(task).await;
        }
        std::fs::remove_file(&self.socket).expect("a socket");
    }

    pub(crate) fn come_back(&mut self) {
        let listener = UnixListener::bind(&self.socket).expect("bind");
        let stored = Arc::clone(&self.stored);
        self.task = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let stored = Arc::clone(&stored);
                let service = service_fn(move |request| answer(Arc::clone(&stored), request));
                let serve = hyper::server::conn::http1::Builder::new();
                connections.spawn(serve.serve_connection(TokioIo::new(stream), service));
            }
        }));
    }

    /// It counts otherwise from now on, as after a backup was put back: no spool so far goes on.
    pub(crate) fn forget(&self) {
        let batches = self.stored.batches.lock().expect("lock");
        self.stored.forgotten.lock().expect("lock").extend(batches.iter().map(|(_, batch)| batch.spool));
    }

    /// All items stored so far, with the moment their batch came.
    pub(crate) fn items(&self) -> Vec<(Instant, Item)> {
        let batches = self.stored.batches.lock().expect("lock");
        let items = |(at, batch): &(Instant, Batch)| {
            let at = *at;
            batch.items.clone().into_iter().map(move |item| (at, item)).collect::<Vec<_>>()
        };
        batches.iter().flat_map(items).collect()
    }

    /// The first of those items from `skip` on that `find` wants, once it came.
    pub(crate) async fn wait<T>(
        &self,
        skip: usize,
        what: &str,
        find: impl Fn(&Item) -> Option<T>,
    ) -> (Instant, T) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let came = self.stored.came.notified();
            let found = self.items().into_iter().skip(skip).find_map(|(at, item)| Some((at, find(&item)?)));
            if let Some(found) = found {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timed = tokio::time::timeout(left, came).await;
            assert!(timed.is_ok(), "{what} did not come: {:#?}", self.items());
        }
    }

    /// A container of this name that `is` so.
    pub(crate) async fn container(
        &self,
        skip: usize,
        name: &str,
        is: impl Fn(&Container) -> bool,
    ) -> (Instant, Container) {
        self.wait(skip, name, |item| match item {
            Item::Container(it) if it.name == name && is(it) => Some(Container::clone(it)),
            _ => None,
        })
        .await
    }

    /// Numbers of each spool are 1, 2, 3, …
    pub(crate) fn check_numbers(&self) {
        let mut next = HashMap::new();
        for (_, batch) in self.stored.batches.lock().expect("lock").iter() {
            let next = next.entry(batch.spool).or_insert(1);
            assert_eq!(batch.number, *next, "of {}", batch.spool);
            *next += 1;
        }
    }
}

async fn answer(
    stored: Arc<Stored>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/api/v1/agent/batches"));
    let body = request.into_body().collect().await?.to_bytes();
    let batch = Batch::parse(&body).expect("a batch within its limits");
    if stored.forgotten.lock().expect("lock").contains(&batch.spool) {
        let mut refused = Response::new(Full::default());
        *refused.status_mut() = StatusCode::CONFLICT;
        return Ok(refused);
    }
    let ack = match &stored.fleet {
        Some((fleet, host)) => fleet.receive(*host, batch.clone()).await.expect("a stored batch"),
        None => Ack { spool: batch.spool, number: batch.number },
    };
    {
        let mut batches = stored.batches.lock().expect("lock");
        match batches.iter().find(|(_, it)| (it.spool, it.number) == (batch.spool, batch.number)) {
            Some((_, known)) => assert_eq!(*known, batch, "one number, two meanings"),
            None => batches.push((Instant::now(), batch)),
        }
    }
    stored.came.notify_waiters();
    Ok(Response::new(Full::new(serde_json::to_vec(&ack).expect("json").into())))
}
