//! TLS to a remote server: the system's certificates, and those of `--ca FILE`.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use seaworthy_model::{ErrorCode, Problem};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Where distributions keep the certificates that they trust, first found.
const BUNDLES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Shakes hands on a connection.
pub(crate) async fn connect(
    stream: TcpStream,
    host: &str,
    ca: Option<&Path>,
) -> Result<TlsStream<TcpStream>, Problem> {
    let failed = |what: String| Problem::new(ErrorCode::Unavailable, what);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(format!("TLS cannot be used: {error}")))?
        .with_root_certificates(roots(ca)?)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| failed(format!("TLS cannot be used: {error}")))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
        failed(format!("the server at `{host}` is not believed: {error}"))
            .hint("if its certificate is your own, add `--ca FILE` to `seaworthy login`")
    })
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    let system = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let system = system.or_else(|| BUNDLES.iter().map(Path::new).find(|path| path.exists()).map(Into::into));
    // Damaged certificates of the system are left out; a damaged `--ca` is an error.
    if let Some(bundle) = system
        && let Ok(certificates) = CertificateDer::pem_file_iter(&bundle)
    {
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    }
    if let Some(path) = ca {
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
