use std::path::{Path, PathBuf};

use seaworthy_model::{ErrorCode, Problem};
use seaworthy_policy::Language;
use serde::Deserialize;

/// `seaworthy.toml`: every key is optional, unknown keys are refused before a port opens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the plain-HTTP door: `localhost:PORT` (both IPv4 and IPv6) or a loopback address.
    pub listen: String,
    /// Metadata database: empty for the SQLite file below DATA, else `postgres://USER@HOST/DB`.
    pub database: String,
    /// Directory that all replicas of one installation see: blobs, uploads, ledger and keys are kept
    /// there instead of below DATA. Needs `database`, because the SQLite file is never shared.
    pub shared: String,
    /// Language of refusals and reasons: `en` or `ja`.
    pub language: String,
    /// Uploads are refused while less than this many bytes are free on the data disk.
    pub disk_floor_bytes: u64,
    /// Layers inspected at the same time.
    pub inspectors: usize,
    /// `required`: refuse to inspect when the kernel has no Landlock. `seccomp-only`: go on without it.
    pub sandbox: String,
    /// Origin of the ledger's checkpoints: a name that stays with this installation.
    pub ledger_origin: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "localhost:5000".into(),
            database: String::new(),
            shared: String::new(),
            language: "en".into(),
            disk_floor_bytes: seaworthy_store::limit::DISK_FLOOR_BYTES,
            inspectors: 2,
            sandbox: "required".into(),
            ledger_origin: "seaworthy/ledger".into(),
        }
    }
}

/// What the command line sets over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`.
    pub listen: Option<String>,
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
        if !(1..=64).contains(&self.inspectors) {
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
        self.addresses().map(|_| ())
    }

    /// Loopback addresses to listen on. Anything else is refused: plain HTTP leaves this machine never.
    pub fn addresses(&self) -> Result<Vec<std::net::SocketAddr>, ConfigError> {
        let bad = || ConfigError::Value { key: "listen", value: self.listen.clone() };
        if let Some(port) = self.listen.strip_prefix("localhost:") {
            let port: u16 = port.parse().map_err(|_| bad())?;
            return Ok(vec![
                std::net::SocketAddr::from(([127, 0, 0, 1], port)),
                std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)),
            ]);
        }
        let address: std::net::SocketAddr = self.listen.parse().map_err(|_| bad())?;
        if address.ip().is_loopback() { Ok(vec![address]) } else { Err(bad()) }
    }

    /// The language of refusals.
    pub fn language(&self) -> Language {
        if self.language == "ja" { Language::Japanese } else { Language::English }
    }
}

fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|error| ConfigError::Parse { path: path.to_owned(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("seaworthy.toml"), text).expect("write");
        Config::load(dir.path(), &Overrides::default())
    }

    #[test]
    fn complete_or_refused() {
        assert!(load("").is_ok());
        assert_eq!(load("language = \"ja\"").expect("valid").language(), Language::Japanese);
        for bad in [
            "listn = \"x\"",
            "listen = \"0.0.0.0:5000\"",
            "listen = \"localhost:99999\"",
            "language = \"fr\"",
            "shared = \"/srv/seaworthy\"",
            "shared = \"relative\"\ndatabase = \"postgres://u@h/d\"",
            "sandbox = \"off\"",
            "inspectors = 0",
            "database = \"mysql://x\"",
            "ledger_origin = \"a b\"",
            "listen = 5000",
        ] {
            assert!(load(bad).is_err(), "{bad}");
        }
    }
}
