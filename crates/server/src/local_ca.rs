//! The certificate authority of this installation: it issues what agents and the HTTPS door show.
//!
//! Its key is sealed in the database, so all replicas have the same. Certificates of agents, and the
//! one that agents are shown, last for ever (RFC 5280 section 4.1.2.5): which host a certificate
//! stands for is a row that is asked at every request, so removing a host ends its certificate at
//! once, and a host whose clock is wrong is still heard.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use seaworthy_link::CONTROL_PLANE;
use seaworthy_seal::{Seal, SealError, sealed_item};
use seaworthy_store::Db;

use crate::tls::hash;

/// Its name in the certificates that it issues.
const NAME: &str = "Seaworthy local CA";

/// Why it could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// Its key cannot be read or kept.
    #[error("failed to open the key of the local CA")]
    Seal(#[from] SealError),
    /// What is kept cannot be used, or a certificate cannot be made.
    #[error("failed to issue a certificate")]
    Issue(#[from] rcgen::Error),
    /// What is kept is damaged.
    #[error("the certificate of the local CA is damaged")]
    Damaged,
}

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// A signing request whose sender has proved to have its key.
pub(crate) struct Request(CertificateSigningRequestParams);

impl Request {
    /// Reads PEM and checks the proof.
    pub(crate) fn parse(pem: &str) -> Result<Self, rcgen::Error> {
        CertificateSigningRequestParams::from_pem(pem).map(Self)
    }

    /// Hash of its public key.
    pub(crate) fn key(&self) -> [u8; 32] {
        hash(self.0.public_key.der_bytes())
    }
}

/// The authority.
pub(crate) struct LocalCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl LocalCa {
    /// The one of this installation, made on first use.
    pub(crate) async fn open(db: &Db, seal: &Seal) -> Result<Self, CaError> {
        let fresh = generate()?;
        let kept = sealed_item(db, seal, "local CA", || Ok(fresh.into_bytes())).await?;
        let certificate = CertificateDer::from_pem_slice(kept.expose()).map_err(|_| CaError::Damaged)?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(kept.expose()).map_err(|_| CaError::Damaged)?;
        let key = KeyPair::try_from(&key)?;
        Ok(Self { issuer: Issuer::from_ca_cert_der(&certificate, key)?, certificate })
    }

    /// Its certificate, in DER.
    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate, in PEM.
    pub(crate) fn pem(&self) -> String {
        pem(&self.certificate)
    }

    /// What agents are shown.
    pub(crate) fn for_agents(&self) -> Result<Issued, CaError> {
        self.serve(for_ever(CertificateParams::new([CONTROL_PLANE.to_owned()])?))
    }

    /// What everybody else is shown at `domain` and on this machine, for 397 days from `now`
    /// (seconds since 1970): the longest that browsers take.
    pub(crate) fn for_domain(&self, domain: &str, now: i64) -> Result<Issued, CaError> {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        if !names.iter().any(|name| name == domain) {
            names.insert(0, domain.to_owned());
        }
        let mut params = CertificateParams::new(names)?;
        let day = 24 * 3_600;
        let begin = time::OffsetDateTime::from_unix_timestamp(now - day).map_err(|_| CaError::Damaged)?;
        params.not_before = begin;
        params.not_after = begin + time::Duration::days(397);
        self.serve(params)
    }

    fn serve(&self, mut params: CertificateParams) -> Result<Issued, CaError> {
        let key = KeyPair::generate()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = DistinguishedName::new();
        let leaf = params.signed_by(&key, &self.issuer)?;
        let chain = vec![leaf.der().clone(), self.certificate.clone()];
        Ok(Issued { chain, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() })
    }

    /// A certificate for a host's key: in DER. Of its request nothing else is taken.
    pub(crate) fn for_host(&self, name: &str, request: &Request) -> Result<CertificateDer<'static>, CaError> {
        let mut params = for_ever(CertificateParams::default());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        Ok(params.signed_by(&request.0.public_key, &self.issuer)?.der().clone())
    }
}

/// PEM of a certificate.
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

fn for_ever(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

/// A key and its own certificate, both in PEM.
fn generate() -> Result<String, CaError> {
    let key = KeyPair::generate()?;
    let mut params = for_ever(CertificateParams::default());
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
}
