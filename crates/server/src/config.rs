use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use seaworthy_model::{ErrorCode, Network, Problem};
use seaworthy_policy::Language;
use seaworthy_registry::{Collection, SparseIndexes, Untagged};
use serde::{Deserialize, Serialize};

/// One setting, as the reference shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in `seaworthy.toml`.
    pub key: &'static str,
    /// Its doc comment, line by line.
    pub lines: &'static [&'static str],
}

/// A setting's doc comment is its documentation everywhere: rustdoc and docs/reference/config.md.
macro_rules! settings {
    ($(#[doc = $about:literal])+ $section:ident:
     $($(#[doc = $line:literal])+ $key:ident: $kind:ty = $default:expr;)*) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $section {
            $($(#[doc = $line])+ pub $key: $kind,)*
        }

        impl $section {
            /// Every setting, in the order of the reference.
            pub const SETTINGS: &[Setting] =
                &[$(Setting { key: stringify!($key), lines: &[$($line),+] }),*];
        }

        impl Default for $section {
            fn default() -> Self {
                Self { $($key: $default),* }
            }
        }
    };
}

settings! {
    /// `seaworthy.toml`: every key is optional, unknown keys are refused before a port opens.
    Config:
    /// Address of the plain-HTTP door: `localhost:PORT` (both IPv4 and IPv6) or a loopback address.
    listen: String = "localhost:5000".into();
    /// Name of this installation for other machines. Any other than `localhost` opens the HTTPS door to them.
    domain: String = "localhost".into();
    /// Address of the HTTPS door, which has everything and lets agents of other machines in. Empty: closed while
    /// `domain` is `localhost`, else `[::]:8443`. While it is, loopback only, such as `localhost:8443`.
    tls_listen: String = String::new();
    /// PEM file with the certificate of the HTTPS door and those between it and its CA. Empty: the local CA
    /// issues one, and `DATA/ca.pem` is what clients have to trust. Agents trust the local CA alone.
    tls_certificate: String = String::new();
    /// PEM file with the key of `tls_certificate`.
    tls_key: String = String::new();
    /// Metadata database: empty for the SQLite file below DATA, else `postgres://USER@HOST/DB`.
    database: String = String::new();
    /// Directory that all replicas of one installation see: blobs, uploads, ledger and keys are kept
    /// there instead of below DATA. Needs `database`, because the SQLite file is never shared.
    shared: String = String::new();
    /// Language of refusals and reasons for clients that send no `Accept-Language`: `en` or `ja`.
    language: String = "en".into();
    /// Uploads are refused while less than this many bytes are free on the data disk.
    disk_floor_bytes: u64 = seaworthy_store::limit::DISK_FLOOR_BYTES;
    /// Requests a minute that each principal may send over the network, with bursts of ten seconds of them; more
    /// are answered with 429 and `Retry-After`. `0`: as many as it likes.
    requests_per_minute: u32 = 0;
    /// The same for each network address that nobody signs in from. Reads of the registry that are answered with where to
    /// sign in do not count.
    anonymous_requests_per_minute: u32 = 0;
    /// Indexes that name manifests their repository does not have: `allow` stores them and warns the pusher,
    /// `refuse` wants every child pushed before.
    sparse_indexes: String = "allow".into();
    /// Layers inspected at the same time, up to 64. `0`: none here; what is pushed stays undecided until a server that
    /// shares the database inspects it.
    inspectors: usize = 2;
    /// `required`: refuse to inspect when the kernel has no Landlock. `seccomp-only`: go on without it.
    sandbox: String = "required".into();
    /// Origin of the ledger's checkpoints: a name that stays with this installation.
    ledger_origin: String = "seaworthy/ledger".into();
    /// Group, by name or number, whose members are operators on `DATA/admin.sock`, as root and the
    /// server's own user are. Empty: nobody else. The server must be root or a member itself.
    operator_group: String = String::new();
    /// What links in alerts begin with, such as `https://seaworthy.example.com`. Empty: the address of
    /// the plain-HTTP door, which leads here from this machine only.
    public_url: String = String::new();
    /// Private networks that webhooks of alerts may be sent into, besides the internet: `10.0.0.0/8`,
    /// `127.0.0.1`. A metadata address of a cloud has to be listed by itself.
    webhook_networks: Vec<String> = Vec::new();
    /// PEM file with certificates to trust besides the system's: of webhooks, mail, and the registries that are cached,
    /// mirrored or copied to.
    trusted_ca: String = String::new();
    /// The section `[mail]`: where mails of alerts are handed in.
    mail: MailConfig = MailConfig::default();
    /// The section `[registry]`: what goes by itself, and how long what went can come back.
    registry: RegistrySettings = RegistrySettings::default();
}

settings! {
    /// The section `[registry]`.
    RegistrySettings:
    /// Days for which a deleted manifest or tag can be restored, 0 to 90. With 0 it is gone at once.
    soft_delete_days: u32 = 7;
    /// Days after which a manifest is collected that no tag and no index leads to, that no container runs,
    /// and that nobody pushed or pulled meanwhile. With 0 it is one hour.
    untagged_days: u32 = 7;
    /// Whether such manifests are kept for ever instead.
    keep_untagged: bool = false;
}

impl RegistrySettings {
    pub(crate) const fn collection(&self) -> Collection {
        let untagged = if self.keep_untagged { Untagged::Keep } else { Untagged::Days(self.untagged_days) };
        Collection { untagged, soft_delete_days: self.soft_delete_days }
    }
}

settings! {
    /// The section `[mail]`.
    MailConfig:
    /// Name of the mail server that takes mails for everybody. Empty: no mails are sent.
    host: String = String::new();
    /// Its port: usually 587 with `starttls`, 465 with `tls`, 25 on this machine.
    port: u16 = 587;
    /// `starttls` or `tls`, both with a certificate that has to be valid; `none` for a mail server on
    /// this machine.
    tls: String = "starttls".into();
    /// User to sign in as. Empty: nobody.
    user: String = String::new();
    /// File with the user's password, and nothing else but a line end.
    password_file: String = String::new();
    /// Address that mails come from, `seaworthy@example.com` or `Seaworthy <seaworthy@example.com>`.
    from: String = String::new();
}

impl Config {
    /// The settings of a section.
    fn section(name: &str) -> &'static [Setting] {
        match name {
            "mail" => MailConfig::SETTINGS,
            "registry" => RegistrySettings::SETTINGS,
            _ => &[],
        }
    }

    /// docs/reference/config.md: every setting with its default and its doc comment.
    pub fn reference() -> String {
        let mut page = String::from(
            "# Configuration\n\nGenerated by `cargo xtask codegen`.\n\n\
             `DATA/seaworthy.toml`, or the file of `--config`. Every key is optional; an unknown key is refused\n\
             before a port opens.\n",
        );
        let defaults = toml::Table::try_from(Self::default()).unwrap_or_default();
        let mut write = |section: &str, setting: &Setting, defaults: &toml::Table| {
            let default = defaults.get(setting.key).map(ToString::to_string).unwrap_or_default();
            let doc: Vec<&str> = setting.lines.iter().map(|line| line.trim()).collect();
            let doc = doc.join("\n");
            let _ = write!(page, "\n## `{section}{}`\n\nDefault: `{default}`\n\n{doc}\n", setting.key);
        };
        for setting in Self::SETTINGS {
            match defaults.get(setting.key).and_then(toml::Value::as_table) {
                None => write("", setting, &defaults),
                Some(section) => {
                    let name = format!("{}.", setting.key);
                    Self::section(setting.key).iter().for_each(|it| write(&name, it, section));
                }
            }
        }
        page
    }
}

/// What the command line sets over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--tls-listen`.
    pub tls_listen: Option<String>,
    /// `--domain`.
    pub domain: Option<String>,
    /// `--config FILE`; else `DATA/seaworthy.toml` when it is there.
    pub file: Option<PathBuf>,
    /// `SEAWORTHY_LANG`.
    pub language: Option<String>,
}

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read configuration `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("configuration `{path}` is refused: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A value that is not valid.
    #[error("setting `{key}` cannot be `{value}`")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorCode::Invalid, seaworthy_store::chain(&error)).hint("see docs/reference/config.md")
    }
}

impl Config {
    /// Reads the file, applies the overrides, and checks every value.
    pub fn load(data: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let default_file = data.join("seaworthy.toml");
        let mut config = match &overrides.file {
            Some(file) => read(file)?,
            None if default_file.exists() => read(&default_file)?,
            None => Self::default(),
        };
        if let Some(listen) = &overrides.listen {
            config.listen.clone_from(listen);
        }
        if let Some(listen) = &overrides.tls_listen {
            config.tls_listen.clone_from(listen);
        }
        if let Some(domain) = &overrides.domain {
            config.domain.clone_from(domain);
        }
        if let Some(language) = &overrides.language {
            config.language.clone_from(language);
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bad = |key, value: &str| ConfigError::Value { key, value: value.to_owned() };
        if !matches!(self.language.as_str(), "en" | "ja") {
            return Err(bad("language", &self.language));
        }
        if !matches!(self.sandbox.as_str(), "required" | "seccomp-only") {
            return Err(bad("sandbox", &self.sandbox));
        }
        if !matches!(self.sparse_indexes.as_str(), "allow" | "refuse") {
            return Err(bad("sparse_indexes", &self.sparse_indexes));
        }
        let days = self.registry.soft_delete_days;
        if days > seaworthy_registry::limit::SOFT_DELETE_DAYS {
            return Err(bad("registry.soft_delete_days", &days.to_string()));
        }
        if self.inspectors > 64 {
            return Err(bad("inspectors", &self.inspectors.to_string()));
        }
        if !(self.database.is_empty()
            || self.database.starts_with("postgres://")
            || self.database.starts_with("postgresql://"))
        {
            return Err(bad("database", "(not shown)"));
        }
        if !self.shared.is_empty() && (self.database.is_empty() || !Path::new(&self.shared).is_absolute()) {
            return Err(bad("shared", &self.shared));
        }
        let origin = &self.ledger_origin;
        if origin.is_empty() || origin.len() > 100 || origin.contains(|c: char| c.is_whitespace() || c == '+')
        {
            return Err(bad("ledger_origin", origin));
        }
        if !(self.public_url.is_empty()
            || self.public_url.starts_with("https://")
            || self.public_url.starts_with("http://"))
        {
            return Err(bad("public_url", &self.public_url));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if self.domain.is_empty() || self.domain.len() > 253 || !self.domain.chars().all(is_name) {
            return Err(bad("domain", &self.domain));
        }
        if self.tls_certificate.is_empty() != self.tls_key.is_empty() {
            return Err(bad("tls_key", &self.tls_key));
        }
        self.tls_addresses()?;
        self.networks()?;
        self.mail.check()?;
        self.addresses().map(|_| ())
    }

    /// Private networks that webhooks may be sent into.
    pub fn networks(&self) -> Result<Vec<Network>, ConfigError> {
        let parsed = self.webhook_networks.iter().map(|text| {
            let bad = |_| ConfigError::Value { key: "webhook_networks", value: text.clone() };
            text.parse::<Network>().map_err(bad)
        });
        parsed.collect()
    }

    /// The file with certificates to trust besides the system's.
    pub fn trusted_ca(&self) -> Option<&Path> {
        (!self.trusted_ca.is_empty()).then(|| Path::new(&self.trusted_ca))
    }

    /// Loopback addresses to listen on. Anything else is refused: plain HTTP leaves this machine never.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, ConfigError> {
        let bad = || ConfigError::Value { key: "listen", value: self.listen.clone() };
        let addresses = addresses(&self.listen).ok_or_else(bad)?;
        if addresses.iter().all(|address| address.ip().is_loopback()) { Ok(addresses) } else { Err(bad()) }
    }

    /// Addresses of the HTTPS door; none when it is closed. Loopback only until the installation has a name.
    pub fn tls_addresses(&self) -> Result<Vec<SocketAddr>, ConfigError> {
        let is_local = self.domain == "localhost";
        let listen = match self.tls_listen.as_str() {
            "" if is_local => return Ok(Vec::new()),
            "" => "[::]:8443",
            given => given,
        };
        let bad = || ConfigError::Value { key: "tls_listen", value: listen.to_owned() };
        let addresses = addresses(listen).ok_or_else(bad)?;
        let is_allowed = !is_local || addresses.iter().all(|address| address.ip().is_loopback());
        if is_allowed { Ok(addresses) } else { Err(bad()) }
    }

    /// The language of refusals.
    pub fn language(&self) -> Language {
        if self.language == "ja" { Language::Japanese } else { Language::English }
    }

    /// What becomes of an index with absent children.
    pub(crate) fn sparse_indexes(&self) -> SparseIndexes {
        if self.sparse_indexes == "refuse" { SparseIndexes::Refuse } else { SparseIndexes::Allow }
    }
}

impl MailConfig {
    /// True when mails are sent.
    pub fn is_set(&self) -> bool {
        !self.host.is_empty()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bad = |key, value: &str| ConfigError::Value { key, value: value.to_owned() };
        if !matches!(self.tls.as_str(), "starttls" | "tls" | "none") {
            return Err(bad("mail.tls", &self.tls));
        }
        // Without TLS a mail, and a password before it, may only go to this machine itself.
        let is_here = self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if self.is_set() && self.tls == "none" && !is_here {
            return Err(bad("mail.tls", "none"));
        }
        if self.is_set() && self.from.parse::<lettre::message::Mailbox>().is_err() {
            return Err(bad("mail.from", &self.from));
        }
        if self.user.is_empty() != self.password_file.is_empty() {
            return Err(bad("mail.password_file", &self.password_file));
        }
        Ok(())
    }
}

/// `localhost:PORT` is both loopback addresses.
fn addresses(listen: &str) -> Option<Vec<SocketAddr>> {
    match listen.strip_prefix("localhost:") {
        Some(port) => {
            let port: u16 = port.parse().ok()?;
            Some(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()])
        }
        None => listen.parse().ok().map(|address| vec![address]),
    }
}

fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("seaworthy.toml"), text).expect("write");
        Config::load(dir.path(), &Overrides::default())
    }

    #[test]
    fn the_reference_has_every_setting_with_its_default() {
        let table = toml::Table::try_from(Config::default()).expect("a table");
        let page = Config::reference();
        assert_eq!(table.len(), Config::SETTINGS.len());
        let (sections, keys): (Vec<_>, Vec<_>) = table.into_iter().partition(|(_, value)| value.is_table());
        let below = sections.into_iter().flat_map(|(section, value)| {
            let toml::Value::Table(keys) = value else { panic!("a section") };
            assert_eq!(keys.len(), Config::section(&section).len());
            keys.into_iter().map(move |(key, value)| (format!("{section}.{key}"), value))
        });
        for (key, value) in keys.into_iter().chain(below) {
            let text = format!("\n## `{key}`\n\nDefault: `{value}`\n\n");
            let rest =
                page.split_once(&text).unwrap_or_else(|| panic!("`{key}` = {value} is not in {page}")).1;
            assert!(rest.lines().next().is_some_and(|line| line.len() > 20), "{key}: {rest}");
        }
        // The page's defaults are accepted as they are written there.
        let file: String = toml::to_string(&Config::default()).expect("TOML");
        assert!(load(&file).is_ok(), "{file}");
    }

    #[test]
    fn complete_or_refused() {
        assert!(load("").is_ok());
        let days = |days: u32| load(&format!("[registry]\nsoft_delete_days = {days}")).is_ok();
        let most = seaworthy_registry::limit::SOFT_DELETE_DAYS;
        assert!(days(0) && days(most) && !days(most + 1));
        let doors = |text| load(text).expect("valid").tls_addresses().expect("addresses").len();
        assert_eq!(doors(""), 0);
        assert_eq!(doors("tls_listen = \"localhost:8443\""), 2);
        assert_eq!(doors("domain = \"registry.example.com\""), 1);
        assert_eq!(doors("domain = \"h\"\ntls_listen = \"0.0.0.0:443\""), 1);
        assert_eq!(load("language = \"ja\"").expect("valid").language(), Language::Japanese);
        assert_eq!(load("").expect("valid").sparse_indexes(), SparseIndexes::Allow);
        let strict = load("sparse_indexes = \"refuse\"").expect("valid");
        assert_eq!(strict.sparse_indexes(), SparseIndexes::Refuse);
        for bad in [
            "listn = \"x\"",
            "listen = \"0.0.0.0:5000\"",
            "listen = \"localhost:99999\"",
            "language = \"fr\"",
            "tls_listen = \"0.0.0.0:8443\"",
            "tls_listen = \"8443\"",
            "domain = \"a b\"",
            "domain = \"\"",
            "tls_key = \"/k.pem\"",
            "shared = \"/srv/seaworthy\"",
            "shared = \"relative\"\ndatabase = \"postgres://u@h/d\"",
            "sandbox = \"off\"",
            "inspectors = 65",
            "inspectors = -1",
            "sparse_indexes = \"sometimes\"",
            "database = \"mysql://x\"",
            "ledger_origin = \"a b\"",
            "listen = 5000",
            "public_url = \"seaworthy.example.com\"",
            "webhook_networks = [\"10.0.0.1/8\"]",
            "webhook_networks = [\"0.0.0.0/0\"]",
            "mail = 5",
            "[mail]\nhosst = \"mail\"",
            "[mail]\nhost = \"mail.example.com\"",
            "[mail]\nhost = \"mail.example.com\"\nfrom = \"nobody\"",
            "[mail]\nhost = \"mail.example.com\"\nfrom = \"a@b.example\\r\\nBcc: c@d.example\"",
            "[mail]\nhost = \"mail.example.com\"\nfrom = \"a@b.example\"\ntls = \"none\"",
            "[mail]\nhost = \"mail.example.com\"\nfrom = \"a@b.example\"\ntls = \"maybe\"",
            "[mail]\nhost = \"mail.example.com\"\nfrom = \"a@b.example\"\nuser = \"a\"",
        ] {
            assert!(load(bad).is_err(), "{bad}");
        }
        let mail = "[mail]\nhost = \"127.0.0.1\"\nfrom = \"Seaworthy <a@b.example>\"\ntls = \"none\"";
        assert!(load(mail).is_ok(), "{:?}", load(mail));
        let networks = load("webhook_networks = [\"10.0.0.0/8\", \"::1\"]").expect("valid").networks();
        assert_eq!(networks.map(|it| it.len()).ok(), Some(2));
    }
}
