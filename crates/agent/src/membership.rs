//! How this host came into a fleet, and how it proves to be itself from then on.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::KeyPair;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use seaworthy_link::{Join, JoinToken, Joined};
use serde::{Deserialize, Serialize};

use crate::{door::DoorError, remote};

const FILE: &str = "membership.json";
/// Until it is a member.
const KEY: &str = "membership.key";

/// Why a host did not join, or is not a member.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The file cannot be read or kept.
    #[error("failed to keep `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Others can read the host's key.
    #[error("`{path}` can be read by others")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// What is kept is damaged.
    #[error("`{path}` is damaged: {message}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        message: String,
    },
    /// No key could be made.
    #[error("failed to make a key")]
    Key(#[from] rcgen::Error),
    /// TLS cannot be used.
    #[error("TLS cannot be used")]
    Tls(#[from] rustls::Error),
    /// The control plane did not answer, or refused.
    #[error("the control plane does not let this host in")]
    Door(#[from] DoorError),
    /// Its answer is not what was pinned.
    #[error("the control plane answered with another CA than its token names")]
    Ca,
}

/// What a host keeps of its joining. The key never leaves it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Host of the control plane's HTTPS door.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// This host's name in the fleet.
    pub name: String,
    certificate: String,
    key: String,
    ca: String,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = format!("{}:{}", self.server, self.port);
        f.debug_struct("Membership").field("server", &place).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Writes a file of `folder` for its owner alone: whole, and on disk when this returns.
fn keep(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = folder.join(format!("{name}.new"));
    drop(fs::remove_file(&fresh));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// SHA-256.
fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Membership {
    /// The key to join with, kept in `folder` before anything is asked: the answer may be lost, and the
    /// same key may ask again.
    pub fn key(folder: &Path) -> Result<KeyPair, MembershipError> {
        let path = folder.join(KEY);
        let failed = |source| MembershipError::File { path: path.clone(), source };
        match fs::read_to_string(&path) {
            // What a crash left half written is made anew: nobody was shown it.
            Ok(text) => {
                if let Ok(key) = KeyPair::from_pem(&text) {
                    return Ok(key);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let key = KeyPair::generate()?;
        keep(folder, KEY, key.serialize_pem().as_bytes()).map_err(failed)?;
        Ok(key)
    }

    /// Joins the fleet of the control plane at `server`, which has to prove that it is the one that made
    /// the token before it is shown it.
    pub async fn join(
        (server, port): (&str, u16),
        token: &JoinToken,
        name: &str,
        key: &KeyPair,
    ) -> Result<Self, MembershipError> {
        let request = rcgen::CertificateParams::default().serialize_request(key)?.pem()?;
        let pinned = Pinned { ca: token.ca, provider: provider(), found: Mutex::default() };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pinned))
            .with_no_client_auth();
        let remote = remote::Remote::new(server, port, config);
        let join = Join { token: token.text().expose().clone(), name: name.to_owned(), request };
        let joined: Joined = remote.join(&join).await?;
        let ca = CertificateDer::from_pem_slice(joined.ca.as_bytes()).map_err(|_| MembershipError::Ca)?;
        if hash(&ca) != token.ca {
            return Err(MembershipError::Ca);
        }
        let member = Self {
            server: server.to_owned(),
            port,
            name: joined.name,
            certificate: joined.certificate,
            key: key.serialize_pem(),
            ca: joined.ca,
        };
        member.config().map_err(|_| MembershipError::Ca)?;
        Ok(member)
    }

    /// What `folder` holds; `None` of a host that has joined nothing.
    pub fn read(folder: &Path) -> Result<Option<Self>, MembershipError> {
        let path = folder.join(FILE);
        let failed = |source| MembershipError::File { path: path.clone(), source };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).map_err(failed)?);
        if mode & 0o077 != 0 {
            return Err(MembershipError::Exposed { path });
        }
        let member: Self = serde_json::from_slice(&bytes)
            .map_err(|error| MembershipError::Damaged { path: path.clone(), message: error.to_string() })?;
        let message = |error: rustls::Error| MembershipError::Damaged { path, message: error.to_string() };
        member.config().map_err(message)?;
        Ok(Some(member))
    }

    /// Keeps it in `folder`, for its owner alone; on disk when this returns.
    pub fn write(&self, folder: &Path) -> Result<(), MembershipError> {
        let path = folder.join(FILE);
        let write = || {
            keep(folder, FILE, &serde_json::to_vec_pretty(self).map_err(io::Error::other)?)?;
            fs::remove_file(folder.join(KEY)).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
        };
        write().map_err(|source| MembershipError::File { path: path.clone(), source })
    }

    /// Mutual TLS with the pinned CA alone.
    pub(crate) fn config(&self) -> Result<ClientConfig, rustls::Error> {
        let wrong = |_| rustls::Error::General("not PEM".to_owned());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).map_err(wrong)?)?;
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(wrong)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(wrong)?;
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
    }
}

/// Believes the one CA whose certificate has this hash, and nothing that it did not issue.
#[derive(Debug)]
struct Pinned {
    ca: [u8; 32],
    provider: Arc<CryptoProvider>,
    found: Mutex<Option<Arc<WebPkiServerVerifier>>>,
}

impl Pinned {
    fn verifier(&self, shown: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let ca = shown.iter().find(|certificate| hash(certificate) == self.ca).ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn found(&self) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        found.ok_or_else(|| rustls::Error::General("no certificate was shown".to_owned()))
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = self.verifier(intermediates)?;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(verifier.clone());
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.found()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.found()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
