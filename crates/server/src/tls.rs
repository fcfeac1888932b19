//! The HTTPS door: what it shows, and whom it believes. Agents prove who they are by the certificate that
//! they got when they joined.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use seaworthy_link::CONTROL_PLANE;
use seaworthy_model::{Clock, SystemClock};
use seaworthy_store::DataDir;
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    Config, StartError, limit,
    local_ca::{Issued, LocalCa},
};

/// SHA-256.
pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    /// True behind TLS.
    pub(crate) is_secure: bool,
    /// Hash of the certificate that it proved to hold; issued by the local CA.
    pub(crate) certificate: Option<[u8; 32]>,
}

/// What the other end of a connection proved to be.
pub(crate) fn certificate<S>(stream: &TlsStream<S>) -> Option<[u8; 32]> {
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    shown.map(|certificate| hash(certificate))
}

/// Opens the HTTPS door, if the configuration says so, and writes the CA's certificate where
/// people find it.
pub(crate) async fn open(
    data: &DataDir,
    config: &Config,
    ca: &Arc<LocalCa>,
) -> Result<Vec<(TcpListener, TlsAcceptor)>, StartError> {
    let addresses = config.tls_addresses()?;
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let path = data.path().join("ca.pem");
    std::fs::write(&path, ca.pem()).map_err(|source| StartError::Shared { path, source })?;
    let given = match (config.tls_certificate.as_str(), config.tls_key.as_str()) {
        ("", _) => None,
        (certificate, key) => Some(given(Path::new(certificate), Path::new(key))?),
    };
    let clock = Arc::new(SystemClock);
    let tls = server_config(Certificates::new(ca.clone(), clock, config.domain.clone(), given)?)?;
    let mut doors = Vec::new();
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => doors.push((listener, TlsAcceptor::from(tls.clone()))),
            // A machine without IPv6 serves IPv4 alone.
            Err(_) if !doors.is_empty() => {}
            Err(source) => return Err(StartError::Listen { address, source }),
        }
    }
    Ok(doors)
}

/// A certificate of somebody else's, with its key.
fn given(certificate: &Path, key: &Path) -> Result<Issued, StartError> {
    let unreadable = |path: &Path, why: &dyn std::fmt::Display| StartError::Certificate {
        path: path.to_owned(),
        message: why.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    Ok(Issued { chain, key })
}

/// What the door shows: to agents always what the local CA issued, to others what was given or issued
/// for the domain, which is made anew every month.
struct Certificates {
    ca: Arc<LocalCa>,
    clock: Arc<dyn Clock>,
    agents: Arc<CertifiedKey>,
    given: Option<Arc<CertifiedKey>>,
    domain: String,
    issued: RwLock<(i64, Arc<CertifiedKey>)>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("domain", &self.domain).finish_non_exhaustive()
    }
}

fn certified(issued: Issued) -> Result<Arc<CertifiedKey>, StartError> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = CertifiedKey::from_der(issued.chain, issued.key, &provider);
    key.map(Arc::new).map_err(|source| StartError::Tls { source })
}

impl Certificates {
    fn new(
        ca: Arc<LocalCa>,
        clock: Arc<dyn Clock>,
        domain: String,
        given: Option<Issued>,
    ) -> Result<Self, StartError> {
        let now = clock.now().as_micros() / 1_000_000;
        let agents = certified(ca.for_agents()?)?;
        let issued = RwLock::new((now, certified(ca.for_domain(&domain, now)?)?));
        Ok(Self { agents, given: given.map(certified).transpose()?, domain, issued, ca, clock })
    }

    fn for_domain(&self) -> Arc<CertifiedKey> {
        let now = self.clock.now().as_micros() / 1_000_000;
        let (made, current) = self.issued.read().unwrap_or_else(PoisonError::into_inner).clone();
        if now.abs_diff(made) < limit::CERTIFICATE_SECONDS {
            return current;
        }
        let fresh = self.ca.for_domain(&self.domain, now).map_err(StartError::from).and_then(certified);
        match fresh {
            Ok(fresh) => {
                *self.issued.write().unwrap_or_else(PoisonError::into_inner) = (now, fresh.clone());
                fresh
            }
            Err(error) => {
                tracing::error!(%error, "the certificate of the HTTPS door was not renewed");
                current
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.server_name() == Some(CONTROL_PLANE) {
            return Some(self.agents.clone());
        }
        Some(self.given.clone().unwrap_or_else(|| self.for_domain()))
    }
}

/// TLS 1.2 and 1.3; a client may show a certificate of the local CA, and no other.
fn server_config(certificates: Certificates) -> Result<Arc<ServerConfig>, StartError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = |source| StartError::Tls { source };
    let mut roots = RootCertStore::empty();
    roots.add(certificates.ca.certificate().clone()).map_err(tls)?;
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| tls(rustls::Error::General(error.to_string())))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(certificates));
    // See `connections.rs`.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
pub(crate) mod tests {
    use seaworthy_model::{FixedClock, Timestamp};
    use seaworthy_store::Db;

    use super::*;

    async fn ca() -> Arc<LocalCa> {
        let folder = tempfile::tempdir().expect("folder");
        let db = Db::open_sqlite(&folder.path().join("db"), Arc::new(SystemClock)).await.expect("db");
        db.migrate(&[seaworthy_seal::SCHEMA]).await.expect("tables");
        let seal = seaworthy_seal::Seal::open(folder.path()).expect("a key");
        let ca = LocalCa::open(&db, &seal).await.expect("a CA");
        let again = LocalCa::open(&db, &seal).await.expect("the same");
        assert_eq!(ca.certificate(), again.certificate(), "made once");
        Arc::new(ca)
    }

    /// What shakes hands at a door for `localhost`.
    pub(crate) async fn acceptor() -> TlsAcceptor {
        let shown = Certificates::new(ca().await, Arc::new(SystemClock), "localhost".to_owned(), None);
        TlsAcceptor::from(server_config(shown.expect("certificates")).expect("TLS"))
    }

    #[tokio::test]
    async fn the_certificate_is_made_anew_and_agents_see_their_own() {
        let ca = ca().await;
        let begin = Timestamp::from_micros(1_800_000_000_000_000);
        let clock = Arc::new(FixedClock::at(begin));
        let shown = Certificates::new(ca, clock.clone(), "r.example".to_owned(), None).expect("certificates");
        let first = shown.for_domain();
        let seconds = i64::try_from(limit::CERTIFICATE_SECONDS).expect("small");
        clock.advance(seconds - 1);
        assert_eq!(shown.for_domain().cert, first.cert);
        clock.advance(1);
        let second = shown.for_domain();
        assert_ne!(second.cert, first.cert);
        assert_eq!(shown.for_domain().cert, second.cert);
        assert_ne!(shown.agents.cert, second.cert);
    }
}
