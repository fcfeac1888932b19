//! A receiver of webhooks: reads a request, checks its signature by code that shares nothing with the
//! product's, and answers.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_oci::Digest;
use serde_json::Value;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The body, once its signature by `secret` is believed.
    pub(crate) fn believed(&self, secret: &str) -> Value {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a prefix")).expect("base64");
        let mut signed = format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp"));
        signed.push_str(std::str::from_utf8(&self.body).expect("UTF-8"));
        let expected = format!("v1,{}", STANDARD.encode(hmac(&key, signed.as_bytes())));
        assert_eq!(self.header("webhook-signature"), expected);
        let sent: u64 = self.header("webhook-timestamp").parse().expect("seconds");
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
        assert!(now.abs_diff(sent) < 300, "{sent} {now}");
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// HMAC-SHA256 as RFC 2104 writes it.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let inner = Digest::sha256(&[&pad(0x36), message].concat());
    Digest::sha256(&[&pad(0x5c), inner.hash()].concat()).hash().to_vec()
}

/// Answers every request with one status, for as long as the test runs; holds the first ones.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    pub(crate) fn answering(status: &'static str) -> Self {
        Self::holding(0, status)
    }

    /// Takes the first `held` requests and never answers them.
    pub(crate) fn holding(held: usize, status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let requests: Arc<Mutex<Vec<Received>>> = Arc::default();
        let kept = requests.clone();
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().flatten() {
                if let Some(request) = read(&stream) {
                    kept.lock().expect("no panic").push(request);
                }
                if silent.len() < held {
                    silent.push(stream);
                    continue;
                }
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                drop((&stream).write_all(answer.as_bytes()));
            }
        });
        Self { port, requests }
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.requests.lock().expect("no panic").clone()
    }
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut received = Received { target, headers, body: Vec::new() };
    received.body = vec![0; received.header("content-length").parse().ok()?];
    reader.read_exact(&mut received.body).ok()?;
    Some(received)
}
