//! Receivers of webhooks: an HTTP(S) server that checks signatures by code which shares nothing with
//! the product's, and some that misbehave.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, routing::any};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use seaworthy_oci::Digest;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    /// The body, once its signature by `secret` is believed.
    pub(crate) fn believed(&self, secret: &str) -> Value {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a prefix")).expect("base64");
        let head = format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp"));
        let signature = hmac(&key, &[head.as_bytes(), &self.body].concat());
        assert_eq!(self.header("webhook-signature"), format!("v1,{}", STANDARD.encode(signature)));
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// HMAC-SHA256 as RFC 2104 writes it.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let inner = Digest::sha256(&[&pad(0x36), message].concat());
    Digest::sha256(&[&pad(0x5c), inner.hash()].concat()).hash().to_vec()
}

#[derive(Default)]
struct Kept {
    requests: Mutex<Vec<Received>>,
    came: Notify,
}

/// A receiver that answers each request with the next of its statuses, and then with the last.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) port: u16,
    kept: Arc<Kept>,
}

impl Receiver {
    fn service(statuses: &[u16]) -> (Router, Arc<Kept>) {
        let kept = Arc::<Kept>::default();
        let (mine, statuses) = (kept.clone(), statuses.to_vec());
        let answer = move |headers: HeaderMap, body: Bytes| async move {
            let at = {
                let mut requests = mine.requests.lock().expect("no panic");
                requests.push(Received { headers, body });
                requests.len() - 1
            };
            mine.came.notify_waiters();
            let status = statuses.get(at).or(statuses.last()).copied().unwrap_or(204);
            if status == 0 {
                // No answer, for as long as the sender waits.
                std::future::pending::<()>().await;
            }
            let status = StatusCode::from_u16(status).expect("a status");
            (status, [("location", "http://127.0.0.1:1/elsewhere")], "x".repeat(100_000))
        };
        (Router::new().fallback(any(answer)), kept)
    }

    pub(crate) async fn http(statuses: &[u16]) -> Self {
        let (router, kept) = Self::service(statuses);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, kept }
    }

    pub(crate) async fn https(statuses: &[u16], certificate: &Path, key: &Path) -> Self {
        let (router, kept) = Self::service(statuses);
        let certificates: Vec<_> =
            CertificateDer::pem_file_iter(certificate).expect("PEM").collect::<Result<_, _>>().expect("PEM");
        let key = PrivateKeyDer::from_pem_file(key).expect("PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .expect("an identity");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    drop(
                        Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self { port, kept }
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.kept.requests.lock().expect("no panic").clone()
    }

    /// Waits for this many requests.
    pub(crate) async fn came(&self, count: usize) -> Vec<Received> {
        let all = async {
            loop {
                let came = self.kept.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                let requests = self.requests();
                if requests.len() >= count {
                    return requests;
                }
                came.await;
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), all).await;
        waited.unwrap_or_else(|_| panic!("{count} requests: {:?}", self.requests()))
    }
}

/// A server that reads a little and then says `bytes` again and again.
pub(crate) async fn babbling(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let SocketAddr::V4(address) = listener.local_addr().expect("its address") else { panic!("IPv4") };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut some = [0; 1_024];
                drop(stream.read(&mut some).await);
                while stream.write_all(bytes).await.is_ok() {}
            });
        }
    });
    address.port()
}
