//! Flags of the benches.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Verbs of `bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// Cold scans of a local image, each in a process of its own, beside a peer's
    Scan(BenchScanFlags),
    /// Matching and deciding, without a server
    Match(BenchMatchFlags),
    /// From push to verdict, on a server of its own in a directory of its own
    Clearance(BenchClearanceFlags),
    /// Lists and pages of many containers, on a server of its own in a directory of its own
    Fleet(BenchFleetFlags),
    /// From a package to every image that has it, in an index of very many images
    Sets(BenchSetsFlags),
    /// Many hosts that joined, each with a connection of its own, on a server of its own
    Agents(BenchAgentsFlags),
    /// Pages of very many findings, and one advisory's way to a container that runs
    Findings(BenchFindingsFlags),
    /// What a registry costs its machine: this one, or any that speaks plain HTTP
    Registry(BenchRegistryFlags),
    /// What an agent costs beside the Docker engine of `DOCKER_HOST`, and how soon it sees a start
    Engine(BenchEngineFlags),
    /// Run a command and print what it used
    #[command(hide = true)]
    Once {
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// Flags of `bench scan`.
#[derive(Debug, Args)]
pub(crate) struct BenchScanFlags {
    /// Image: docker:NAME, oci:DIR[:TAG], docker-archive:FILE
    pub(crate) target: String,
    /// Advisories: files or folders
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) advisories: Vec<PathBuf>,
    /// How often each side runs
    #[arg(long, value_name = "N", default_value = "5")]
    pub(crate) runs: u32,
    /// A command of another product, run alternately with ours
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) peer: Vec<String>,
}

/// Flags of `bench match`.
#[derive(Debug, Args)]
pub(crate) struct BenchMatchFlags {
    /// Image: docker:NAME, oci:DIR[:TAG], docker-archive:FILE
    pub(crate) target: String,
    /// Advisories: files or folders
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) advisories: Vec<PathBuf>,
}

/// Flags of `bench clearance`.
#[derive(Debug, Args)]
pub(crate) struct BenchClearanceFlags {
    /// Image: oci:DIR[:TAG]
    pub(crate) target: String,
    /// Advisories: files or folders
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) advisories: Vec<PathBuf>,
    /// How many servers live and die
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) runs: u32,
}

/// Flags of `bench fleet`.
#[derive(Debug, Args)]
pub(crate) struct BenchFleetFlags {
    /// Containers that one host reports
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) containers: u32,
}

/// Flags of `bench sets`.
#[derive(Debug, Args)]
pub(crate) struct BenchSetsFlags {
    /// Images in the index
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) images: u32,
}

/// Flags of `bench findings`.
#[derive(Debug, Args)]
pub(crate) struct BenchFindingsFlags {
    /// Images, no two of which have the same packages
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) images: u32,
    /// Packages of each image, all with one vulnerability
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) packages: u32,
    /// Versions of each package that are about: a remedy is for one of them
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) versions: u32,
}

/// Flags of `bench registry`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  seaworthy bench registry                          this binary, on a server of its own
  seaworthy bench registry --only pull,push         two of its workloads
  seaworthy bench registry http://localhost:5001 --pid 4711 --dir /var/lib/registry
  seaworthy bench registry http://localhost:5001 --pid 4711 --beside --runs 5   in turn with this binary
  seaworthy bench registry http://localhost:5001 --only kill,cold --start 'registry serve config.yml'
  seaworthy bench registry http://localhost:5001 --only collect --collect 'registry garbage-collect config.yml'
  seaworthy bench registry http://localhost:5001 --only pull-through --upstream 127.0.0.1:5999")]
pub(crate) struct BenchRegistryFlags {
    /// A registry's address; without one, a server of this binary is started in a directory of its own
    #[arg(value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The process of the registry at URL, for its processor time and memory
    #[arg(long, value_name = "PID", requires = "url")]
    pub(crate) pid: Option<u32>,
    /// The directory of the registry at URL, for files and bytes on disk
    #[arg(long, value_name = "DIR", requires = "url")]
    pub(crate) dir: Option<PathBuf>,
    /// Runs the registry at URL, which the bench starts, kills and starts again: for `kill` and `cold`, and in the place
    /// of `--pid`
    #[arg(long, value_name = "COMMAND", requires = "url", conflicts_with = "pid")]
    pub(crate) start: Option<String>,
    /// Collects at URL what nobody needs: for `collect`
    #[arg(long, value_name = "COMMAND", requires = "url")]
    pub(crate) collect: Option<String>,
    /// Where the bench is the upstream that the registry at URL is a cache of: for `pull-through`
    #[arg(long, value_name = "HOST:PORT", requires = "url")]
    pub(crate) upstream: Option<String>,
    /// What names of the upstream's repositories begin with at URL
    #[arg(long, value_name = "PREFIX", requires = "upstream", default_value = "")]
    pub(crate) cached_as: String,
    /// CA certificate to trust besides the system's (PEM)
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) ca: Option<PathBuf>,
    /// A server of this binary in turn with it, for what one costs in parts of the other
    #[arg(long, requires = "url")]
    pub(crate) beside: bool,
    /// Who asks; the password is read from `SEAWORTHY_BENCH_PASSWORD`
    #[arg(long, value_name = "NAME", requires = "url")]
    pub(crate) username: Option<String>,
    /// Runs of all workloads, each with names and bytes of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) runs: u32,
    /// Only these workloads, by comma
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Inspect nothing: what a push costs the registry alone
    #[arg(long)]
    pub(crate) no_inspection: bool,
    /// Fill the memory with cached nothing first: in a virtual machine, the host may have to find each page that is
    /// new, and that is measured too
    #[arg(long)]
    pub(crate) fill_memory: bool,
    /// Large blobs pushed; four times as many are pulled
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) blobs: u32,
    /// Size of a large blob, in MiB
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) blob_mib: u32,
    /// Requests of each small kind; a quarter as many pushes
    #[arg(long, value_name = "N", default_value = "8000", value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    pub(crate) requests: u32,
    /// Tags of one repository; a tenth as many repositories and referrers
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    pub(crate) rows: u32,
    /// Slow uploads, and as many slow downloads, at once
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) slow: u32,
    /// How often a server is killed while it is written to
    #[arg(long, value_name = "N", default_value = "30", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) kills: u32,
    /// How long each slow one takes, in seconds
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) slow_seconds: u32,
}

/// Flags of `bench engine`.
#[derive(Debug, Args)]
pub(crate) struct BenchEngineFlags {
    /// A tar file of a root directory with `/bin/sleep`, imported as the image of all containers
    #[arg(long, value_name = "FILE")]
    pub(crate) rootfs: PathBuf,
    /// Containers that run meanwhile
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) containers: u32,
    /// How long each state is watched, in seconds
    #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
}

/// Flags of `bench agents`.
#[derive(Debug, Args)]
pub(crate) struct BenchAgentsFlags {
    /// Hosts, each with ten containers
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) hosts: u32,
    /// How long they report, in seconds
    #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
}
