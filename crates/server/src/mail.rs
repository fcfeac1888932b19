//! Mails of alerts, handed in at the configured mail server (RFC 5321, RFC 8314).

use std::{fs, io::Read as _, path::Path, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    address::AddressError,
    message::{
        Mailbox,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use seaworthy_model::{AlertMessageId, ErrorCode, Problem, Secret, Timestamp};
use seaworthy_store::chain;
use seaworthy_telemetry::{Failure, Retry};
use tokio::time::timeout;

use crate::{MailConfig, alerts::Letter, limit, trusted};

/// Why a mail was not handed in.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The target's address.
    #[error("`{address}` is not a mail address")]
    Address {
        /// The address.
        address: String,
        /// Why.
        source: AddressError,
    },
    /// The mail cannot be put together.
    #[error("failed to put a mail together")]
    Message {
        /// Why.
        source: lettre::error::Error,
    },
    /// The mail server.
    #[error("mail server `{host}` did not take the mail")]
    Refused {
        /// Its name.
        host: String,
        /// Its answer, or why there is none.
        source: lettre::transport::smtp::Error,
    },
    /// Too late.
    #[error("mail server `{host}` gave no answer within {} seconds", patience.as_secs())]
    Late {
        /// Its name.
        host: String,
        /// How long was waited.
        patience: Duration,
    },
}

impl From<MailError> for Failure {
    fn from(error: MailError) -> Self {
        // Also what the server refuses for good: its configuration, or ours, can be mended meanwhile.
        let retry = if matches!(error, MailError::Address { .. }) { Retry::Never } else { Retry::Later };
        Self { reason: chain(&error), retry }
    }
}

/// Hands mails in. Cheap to clone.
#[derive(Clone)]
pub struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    host: String,
    patience: Duration,
}

/// Says that nobody should answer by machine (RFC 3834, section 5).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// A mail address without a name, as targets have it.
pub fn is_address(text: &str) -> bool {
    text.parse::<lettre::Address>().is_ok()
}

impl Mail {
    /// The mail server of `config`, believed by the system's certificates and those of `ca`.
    pub fn new(config: &MailConfig, ca: Option<&Path>) -> Result<Self, Problem> {
        let unusable = |what: String| Problem::new(ErrorCode::Invalid, what);
        let from = config.from.parse::<Mailbox>();
        let from = from.map_err(|error| unusable(format!("`mail.from` is refused: {error}")))?;
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port)
            .timeout(Some(Duration::from_secs(limit::MAIL_SECONDS)))
            .tls(match config.tls.as_str() {
                "none" => Tls::None,
                "tls" => Tls::Wrapper(parameters(&config.host, ca)?),
                _ => Tls::Required(parameters(&config.host, ca)?),
            });
        if !config.user.is_empty() {
            let password = password(Path::new(&config.password_file))?;
            transport =
                transport.credentials(Credentials::new(config.user.clone(), password.expose().clone()));
        }
        let patience = Duration::from_secs(limit::MAIL_SECONDS);
        Ok(Self { transport: transport.build(), from, host: config.host.clone(), patience })
    }

    /// The same with another limit than [`limit::MAIL_SECONDS`].
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Hands one mail in. Its id is made of the message's: a repetition can be told.
    pub async fn send(
        &self,
        to: &str,
        id: AlertMessageId,
        letter: &Letter,
        now: Timestamp,
    ) -> Result<(), MailError> {
        let message = self.message(to, id, letter, now)?;
        let host = || self.host.clone();
        let sending = self.transport.send(message);
        match timeout(self.patience, sending).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(MailError::Refused { host: host(), source }),
            Err(_) => Err(MailError::Late { host: host(), patience: self.patience }),
        }
    }

    fn message(
        &self,
        to: &str,
        id: AlertMessageId,
        letter: &Letter,
        now: Timestamp,
    ) -> Result<Message, MailError> {
        let address: lettre::Address =
            to.parse().map_err(|source| MailError::Address { address: to.to_owned(), source })?;
        let seconds = u64::try_from(now.as_seconds()).unwrap_or(0);
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, address))
            .date(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(format!("<{id}@{}>", self.from.email.domain())))
            .header(AutoSubmitted)
            .subject(letter.subject.clone())
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.clone())
            .map_err(|source| MailError::Message { source })
    }
}

fn parameters(host: &str, ca: Option<&Path>) -> Result<TlsParameters, Problem> {
    let unusable = |what: String| Problem::new(ErrorCode::Unavailable, what);
    // The library's own list of authorities is left aside for the system's, which its owner keeps.
    let mut builder = TlsParameters::builder(host.to_owned()).certificate_store(CertificateStore::None);
    let read = |path: &Path| -> Result<Certificate, Problem> {
        let bad = |why: String| unusable(format!("failed to read `{}`: {why}", path.display()));
        let pem = fs::read(path).map_err(|error| bad(error.to_string()))?;
        Certificate::from_pem(&pem).map_err(|error| bad(error.to_string()))
    };
    if let Some(bundle) = trusted::bundle() {
        builder = builder.add_root_certificate(read(&bundle)?);
    }
    if let Some(ca) = ca {
        builder = builder.add_root_certificate(read(ca)?);
    }
    builder.build_rustls().map_err(|error| unusable(format!("TLS cannot be used: {error}")))
}

fn password(path: &Path) -> Result<Secret<String>, Problem> {
    let bad = |why: String| {
        Problem::new(ErrorCode::Unavailable, format!("failed to read `{}`: {why}", path.display()))
    };
    let file = fs::File::open(path).map_err(|error| bad(error.to_string()))?;
    let mut text = String::new();
    file.take(limit::PASSWORD_BYTES + 1).read_to_string(&mut text).map_err(|error| bad(error.to_string()))?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > limit::PASSWORD_BYTES {
        return Err(bad(format!("it is longer than {} bytes", limit::PASSWORD_BYTES)));
    }
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
