//! TLS to a remote server: the system's certificates, and those of `--ca FILE`.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use seaworthy_model::{ErrorCode, Problem};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

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
        .with_root_certificates(seaworthy_server::trusted::roots(ca)?)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| failed(format!("TLS cannot be used: {error}")))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
        failed(format!("the server at `{host}` is not believed: {error}"))
            .hint("if its certificate is your own, add `--ca FILE` to `seaworthy login`")
    })
}
