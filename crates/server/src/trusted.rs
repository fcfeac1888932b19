//! Whom TLS connections that this program opens believe: the system's certificates, and one's own.

use std::path::{Path, PathBuf};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use seaworthy_model::{ErrorCode, Problem};

/// Where distributions keep the certificates that they trust, first found.
const BUNDLES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The system's file of certificates: `SSL_CERT_FILE`, else where distributions keep it.
pub(crate) fn bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.or_else(|| BUNDLES.iter().map(Path::new).find(|path| path.exists()).map(Into::into))
}

/// The system's certificates and those of the PEM file `extra`. Damaged certificates of the system
/// are left out; a damaged `extra` is refused.
pub fn roots(extra: Option<&Path>) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    if let Some(bundle) = bundle()
        && let Ok(certificates) = CertificateDer::pem_file_iter(&bundle)
    {
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    }
    if let Some(path) = extra {
        let bad = |why: String| {
            Problem::new(ErrorCode::Unavailable, format!("failed to read `{}`: {why}", path.display()))
        };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))? {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
    }
    Ok(roots)
}
