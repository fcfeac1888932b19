//! The registry that is copied to: one of ours at the end of a real connection, which does what a test says.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{body::Body, extract::Request, response::Response};
use http::HeaderValue;
use tokio::sync::Notify;

use crate::client::{Client, World};

/// What it does instead of answering.
pub(crate) enum Fault {
    Status(u16),
    /// Asks to be left alone for so many seconds.
    Busy(u32),
    /// Leads elsewhere.
    Elsewhere(String),
    /// Does it, says that it did, and never answers.
    Mute(Arc<Notify>),
    /// Waits until it is let go on, and tells that it waits.
    Wait(Arc<Notify>, Arc<Notify>),
    /// Answers, with another header.
    Header(&'static str, String),
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) calls: Vec<(String, Option<HeaderValue>)>,
    pub(crate) faults: HashMap<String, Vec<Fault>>,
    pub(crate) down: Option<u16>,
    pub(crate) at_once: usize,
    pub(crate) most_at_once: usize,
}

/// The same registry through a connection, so that both sides can be looked at.
#[derive(Clone)]
pub(crate) struct Far {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
}

impl Far {
    pub(crate) async fn of(world: &World) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let far = Self { address: listener.local_addr().expect("an address"), state: Arc::default() };
        let (it, client) = (far.clone(), world.operator());
        let router = axum::Router::new().fallback(move |request: Request| {
            let (it, client) = (it.clone(), client.clone());
            async move { it.answer(&client, request).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        far
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    async fn answer(&self, client: &Client, request: Request) -> Response {
        let call = format!("{} {}", request.method(), request.uri().path());
        let fault = {
            let mut state = self.lock();
            state.calls.push((call.clone(), request.headers().get("authorization").cloned()));
            state.at_once += 1;
            state.most_at_once = state.most_at_once.max(state.at_once);
            let down = state.down.map(Fault::Status);
            down.or_else(|| state.faults.get_mut(&call).and_then(Vec::pop))
        };
        let plain = |status: u16| Response::builder().status(status).body(Body::empty()).expect("an answer");
        let answer = match fault {
            Some(Fault::Status(status)) => plain(status),
            Some(Fault::Busy(seconds)) => {
                let mut answer = plain(429);
                answer.headers_mut().insert("retry-after", seconds.into());
                answer
            }
            Some(Fault::Elsewhere(place)) => {
                let mut answer = plain(307);
                answer.headers_mut().insert("location", place.parse().expect("a header"));
                answer
            }
            Some(Fault::Mute(done)) => {
                client.open(request).await;
                done.notify_one();
                std::future::pending().await
            }
            Some(Fault::Wait(waits, go)) => {
                waits.notify_one();
                go.notified().await;
                client.open(request).await
            }
            Some(Fault::Header(name, value)) => {
                let mut answer = client.open(request).await;
                answer.headers_mut().insert(name, value.parse().expect("a header"));
                answer
            }
            None => client.open(request).await,
        };
        self.lock().at_once -= 1;
        answer
    }

    /// The next request of this kind.
    pub(crate) fn fault(&self, call: &str, fault: Fault) {
        self.lock().faults.entry(call.to_owned()).or_default().push(fault);
    }

    /// Requests that write, since it was asked last.
    pub(crate) fn writes(&self) -> Vec<String> {
        let calls = std::mem::take(&mut self.lock().calls);
        calls.into_iter().map(|(call, _)| call).filter(|call| !call.starts_with("HEAD")).collect()
    }
}
