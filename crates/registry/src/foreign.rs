//! One image of another registry, for who looks at it and keeps nothing here: `scan` of what is not on this server.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustls::RootCertStore;
use seaworthy_model::{ErrorCode, Network, Problem, Secret, SystemClock};
use seaworthy_oci::{Descriptor, Digest, Hasher, ImageManifest, Manifest, Platform, Reference, RepoName};
use seaworthy_store::chain;
use tokio_rustls::TlsConnector;

use crate::{
    limit,
    path::ManifestName,
    registry::client_tls,
    remote::Far,
    upstream::{Login, Right, Upstream, UpstreamConfig, UpstreamError},
};

/// Networks besides the internet (RFC 1918, RFC 4193, RFC 6598), and this machine.
const PRIVATE: &[&str] =
    &["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1", "fc00::/7"];

/// A repository of another registry, whoever is asking there.
pub struct Foreign {
    upstream: Upstream,
    repository: RepoName,
    /// As somebody wrote it.
    named: String,
}

/// What a registry is asked with.
pub struct ForeignAccess {
    /// Whom we believe to be it.
    pub roots: RootCertStore,
    /// Who we are there.
    pub login: Option<(String, Secret<String>)>,
    /// Over HTTP: only for a registry on this machine.
    pub is_plain: bool,
}

impl Foreign {
    /// The repository of `reference`, which names a host. `docker.io/alpine` is Docker Hub's `library/alpine`.
    pub fn new(reference: &Reference, access: ForeignAccess) -> Result<Self, Problem> {
        let host = reference.host.as_deref().unwrap_or_default();
        let is_hub = matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io");
        let scheme = if access.is_plain { "http" } else { "https" };
        let known = crate::remote::known(if is_hub { "docker.io" } else { host });
        let to = known.map_or_else(|| format!("{scheme}://{host}"), str::to_owned);
        // Whoever asks is on this machine, and may reach what it reaches.
        let private: Result<Vec<Network>, _> = PRIVATE.iter().map(|network| network.parse()).collect();
        let private = private.map_err(|error| Problem::new(ErrorCode::Internal, format!("{error}")))?;
        let far = Far::named(&to, &[], &private)?;
        let mut repository = reference.repository.clone();
        if is_hub && !repository.as_str().contains('/') {
            let whole = format!("library/{repository}").parse();
            repository = whole.map_err(|error: seaworthy_oci::ReferenceError| {
                Problem::new(ErrorCode::NameInvalid, error.to_string())
            })?;
        }
        let tls = client_tls(access.roots)
            .map_err(|error| Problem::new(ErrorCode::Unavailable, format!("TLS cannot be used: {error}")))?;
        let upstream = Upstream::new(UpstreamConfig {
            origin: far.origin,
            realms: far.realms,
            networks: private,
            login: access.login.map(|(username, password)| Login { username, password }),
            tls: TlsConnector::from(tls),
            patience: Duration::from_secs(limit::UPSTREAM_SECONDS),
            clock: Arc::new(SystemClock),
        });
        Ok(Self { upstream, repository, named: reference.to_string() })
    }

    /// The manifest of the image that `reference` names: of one for several platforms that of `platform`, else the first.
    pub async fn image(&self, reference: &Reference, platform: &Platform) -> Result<ImageManifest, Problem> {
        let tag = || reference.tag.clone().unwrap_or_else(seaworthy_oci::Tag::latest);
        let mut name = reference.digest.map_or_else(|| ManifestName::Tag(tag()), ManifestName::Digest);
        for _ in 0..limit::FOREIGN_DEPTH {
            let index = match self.manifest(&name).await? {
                Manifest::Image(manifest) => return Ok(manifest),
                Manifest::Index(index) => index,
            };
            let child = index.manifest_for(platform);
            let child = child.ok_or_else(|| self.wrong(ErrorCode::NotFound, "an index with no image"))?;
            name = ManifestName::Digest(child.digest);
        }
        Err(self.wrong(ErrorCode::ManifestInvalid, "indexes that are nested too deep"))
    }

    async fn manifest(&self, name: &ManifestName) -> Result<Manifest, Problem> {
        let sent = self.upstream.manifest(&self.repository, name, Right::Pull).await;
        let sent = sent.map_err(|error| self.failed(&error))?;
        let told = match name {
            ManifestName::Digest(digest) => Some(*digest),
            ManifestName::Tag(_) => sent.digest,
        };
        let digest = told.unwrap_or_else(|| Digest::sha256(&sent.bytes));
        if !digest.is_of(&sent.bytes) {
            return Err(
                self.wrong(ErrorCode::DigestInvalid, "a manifest with other bytes than its digest names")
            );
        }
        let manifest = Manifest::parse(&sent.bytes, sent.content_type.as_deref());
        manifest.map_err(|error| self.wrong(ErrorCode::ManifestInvalid, &chain(&error)))
    }

    /// Writes a blob to `out`, and says of each piece how long it is. What broke off is taken up where it did.
    pub async fn blob(
        &self,
        blob: &Descriptor,
        out: &mut (dyn Write + Send),
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Problem> {
        let mut hasher = Hasher::new(blob.digest.algorithm());
        let mut at = 0;
        for attempt in 1_u32.. {
            let before = at;
            match self.pour(blob, (&mut hasher, &mut *out, told), &mut at).await {
                Ok(()) => break,
                // It broke off behind the last byte.
                Err(Poured::Broke(_)) if at == blob.size && at > before => break,
                Err(Poured::Broke(error)) if is_passing(&error) && attempt < limit::FOREIGN_ATTEMPTS => {
                    let wait = match &error {
                        UpstreamError::Resting { seconds, .. } => *seconds,
                        _ => error.retry_after().unwrap_or(u32::from(at == before)),
                    };
                    let wait = wait.min(limit::UPSTREAM_RETRY_SECONDS);
                    tokio::time::sleep(Duration::from_secs(u64::from(wait))).await;
                }
                Err(Poured::Broke(error)) => return Err(self.failed(&error)),
                Err(Poured::Wrong(why)) => return Err(self.wrong(ErrorCode::DigestInvalid, &why)),
                Err(Poured::Unwritten(error)) => {
                    let message = format!("failed to write a blob of `{}`: {error}", self.named);
                    return Err(Problem::new(ErrorCode::Unavailable, message));
                }
            }
        }
        let actual = hasher.finish();
        if at != blob.size || actual != blob.digest {
            return Err(
                self.wrong(ErrorCode::DigestInvalid, &format!("{at} bytes of {actual} for {}", blob.digest))
            );
        }
        Ok(())
    }

    /// A small blob, at most `most` bytes.
    pub async fn bytes(&self, blob: &Descriptor, most: usize) -> Result<Bytes, Problem> {
        if blob.size > most as u64 {
            return Err(
                self.wrong(ErrorCode::TooLarge, &format!("{} is longer than {most} bytes", blob.digest))
            );
        }
        let mut bytes = Vec::new();
        self.blob(blob, &mut bytes, &|_| {}).await?;
        Ok(bytes.into())
    }

    async fn pour(
        &self,
        blob: &Descriptor,
        (hasher, out, told): (&mut Hasher, &mut (dyn Write + Send), &(dyn Fn(u64) + Sync)),
        at: &mut u64,
    ) -> Result<(), Poured> {
        let mut arriving = self.upstream.blob(&self.repository, &blob.digest, *at).await?;
        // Who does not know ranges begins anew; what is here is passed over.
        let mut pass = at.saturating_sub(arriving.start);
        while let Some(mut piece) = arriving.flow.next().await? {
            let passed = usize::try_from(pass).unwrap_or(usize::MAX).min(piece.len());
            drop(piece.split_to(passed));
            pass -= passed as u64;
            *at += piece.len() as u64;
            if *at > blob.size {
                return Err(Poured::Wrong(format!("more than the {} bytes of {}", blob.size, blob.digest)));
            }
            hasher.update(&piece);
            out.write_all(&piece).map_err(Poured::Unwritten)?;
            told(piece.len() as u64);
        }
        Ok(())
    }

    fn wrong(&self, code: ErrorCode, why: &str) -> Problem {
        Problem::new(code, format!("`{}` cannot be read: {} sent {why}", self.named, self.upstream.host()))
    }

    fn failed(&self, error: &UpstreamError) -> Problem {
        let (message, host) =
            (format!("`{}` cannot be read: {}", self.named, chain(error)), self.upstream.host());
        match error {
            UpstreamError::NotFound { .. } => Problem::new(ErrorCode::NotFound, message),
            UpstreamError::Refused { .. } => Problem::new(ErrorCode::Denied, message)
                .hint(format!("`docker login {host}` keeps a user name and password for it")),
            UpstreamError::Astray { .. } => Problem::new(ErrorCode::Unavailable, message)
                .hint(format!("`docker pull {0}`, and look at `docker:{0}`", self.named)),
            _ => Problem::new(ErrorCode::Unavailable, message),
        }
    }
}

/// True of what may be over soon.
fn is_passing(error: &UpstreamError) -> bool {
    error.is_trouble() || matches!(error, UpstreamError::Resting { .. })
}

/// Why a blob did not come whole.
enum Poured {
    Broke(UpstreamError),
    Wrong(String),
    Unwritten(io::Error),
}

impl From<UpstreamError> for Poured {
    fn from(error: UpstreamError) -> Self {
        Self::Broke(error)
    }
}
