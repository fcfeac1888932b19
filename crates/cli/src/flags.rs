//! Flags, as the user types them; help, completions and the reference come from here.

mod alert;
mod bench;
mod cache;
mod fleet;
mod registry;
mod remote;
mod replication;
mod rules;
mod scope_map;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use alert::{AlertDeadVerb, AlertTargetVerb, AlertVerb};
pub(crate) use bench::{
    BenchAgentsFlags, BenchClearanceFlags, BenchEngineFlags, BenchFindingsFlags, BenchFleetFlags,
    BenchMatchFlags, BenchRegistryFlags, BenchScanFlags, BenchSetsFlags, BenchVerb,
};
pub(crate) use cache::{CacheFlags, CacheVerb};
pub(crate) use fleet::{ContainerList, ContainerVerb, HostVerb};
pub(crate) use registry::{
    CopyFlags, ExportFlags, ImageVerb, LayoutFlags, LockFlags, RegistryVerb, RetentionVerb, RuleFlags,
};
pub(crate) use remote::RemoteFlags;
pub(crate) use replication::{ReplicationFlags, ReplicationVerb};
pub(crate) use rules::RulesVerb;
pub(crate) use scope_map::{ScopeMapVerb, TokenVerb};

/// May this container image run here, and how do we know?
#[derive(Debug, Parser)]
#[command(
    name = "seaworthy",
    version,
    after_help = "Examples:
  seaworthy up --advisories ./feeds          registry, inspection and clearance on this machine
  seaworthy login --docker                   sign docker and podman in
  seaworthy check prod/web:1                 may it be pulled from there, and why
  seaworthy check docker:web:1 --as prod/web:1   the same answer before the push
  seaworthy scan prod/web:1 --fail-on high   findings and remedies
  seaworthy ps                               what runs, and what is known of it
  seaworthy container explain web            may it run here, and how do we know

Exit codes: 0 yes, 1 the answer is no, 2 wrong use, 3 could not do it."
)]
pub(crate) struct Cli {
    /// Options every verb takes.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options every verb takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Data directory of the server on this machine [default: /var/lib/seaworthy as root, else below `XDG_DATA_HOME`]
    #[arg(long, global = true, env = "SEAWORTHY_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Talk to this server, with the login of `seaworthy login URL`, instead of the operator socket
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Output: a table for people, or one JSON document [default: table on a terminal, else json]
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Output>,
    /// Configuration file [default: DATA/seaworthy.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// On lists: ids only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say more on stderr
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns.
    Table,
    /// One JSON document.
    Json,
}

/// The verbs, noun first.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start everything on this machine
    #[command(after_help = "Example: seaworthy up --advisories ../feeds/debian --advisories ../feeds/kev")]
    Up(UpFlags),
    /// Start the control plane
    Serve(ServeFlags),
    /// Report this machine's containers to its server, or to the one it joined; `up` starts one
    #[command(after_help = "Examples:
  seaworthy agent --data /var/lib/seaworthy --docker-host unix:///run/docker.sock
  seaworthy host join https://registry.example.com:8443 < token && seaworthy agent")]
    Agent(AgentFlags),
    /// What the server is doing
    Status,
    /// Sign in
    #[command(after_help = "Examples:
  seaworthy login --docker && docker push localhost:5000/dev/app:1
  seaworthy login https://registry.example.com -u ci --password-stdin < secret.txt
  seaworthy --server https://registry.example.com check prod/web:1")]
    Login(LoginFlags),
    /// Forget a login: a server's, or docker's for the registry of this machine
    #[command(after_help = "Example: seaworthy logout https://registry.example.com")]
    Logout {
        /// The server; without it docker's credential is forgotten
        #[arg(value_name = "URL")]
        url: Option<String>,
    },
    /// Who the server takes you for
    Whoami,
    /// Print a link that signs you in to the console, once
    #[command(after_help = "Example: xdg-open \"$(seaworthy console)\"")]
    Console,
    /// Principals and their credentials
    #[command(subcommand)]
    Principal(PrincipalVerb),
    /// Roles and their assignments
    #[command(subcommand)]
    Role(RoleVerb),
    /// Tokens: principals of one scope map, for the registry alone
    #[command(subcommand)]
    Token(TokenVerb),
    /// Scope maps: what tokens may do
    #[command(subcommand)]
    ScopeMap(ScopeMapVerb),
    /// Who may do what, and which assignment says so
    #[command(subcommand)]
    Access(AccessVerb),
    /// Images in the registry
    #[command(subcommand)]
    Image(ImageVerb),
    /// List images
    Images(ImageList),
    /// What the registry keeps, and whether it is all there
    #[command(subcommand)]
    Registry(RegistryVerb),
    /// Containers on all hosts
    #[command(subcommand)]
    Container(ContainerVerb),
    /// List containers with the verdict and the findings of their images
    #[command(after_help = "Examples:
  seaworthy ps
  seaworthy ps --vulnerable -q")]
    Ps(ContainerList),
    /// Machines whose containers are known
    #[command(subcommand)]
    Host(HostVerb),
    /// May this be pulled from there, or run, and how do we know?
    #[command(after_help = "Targets: REF, docker:NAME, oci:DIR[:TAG], docker-archive:FILE
Examples:
  seaworthy check prod/web:1
  seaworthy check docker:web:1 --as prod/web:1
  seaworthy check oci:./build --as prod/web:1 --advisories ./feeds --policy ./policies/prod.yaml
  seaworthy check prod/web:1 --purpose deploy --settings ./web.yaml
  echo 'user: 1000' | seaworthy check prod/web:1 --purpose deploy --settings -")]
    Check(CheckFlags),
    /// Findings of an image, with remedies
    #[command(after_help = "Targets: REF, docker:NAME, oci:DIR[:TAG], docker-archive:FILE
A REF of another registry is pulled with docker's credentials.
Examples:
  seaworthy scan localhost:5000/prod/web:1
  seaworthy scan docker.io/library/nginx:latest
  seaworthy scan docker:web:1 --fail-on any-fixable
  seaworthy scan oci:./build --advisories ./feeds -o json")]
    Scan(ScanFlags),
    /// Findings over all images
    #[command(subcommand)]
    Finding(FindingVerb),
    /// Advisory feeds
    #[command(subcommand)]
    Advisories(AdvisoriesVerb),
    /// Policies
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Time-limited accepted risks
    #[command(subcommand)]
    Exception(ExceptionVerb),
    /// What people are told, and where it is sent
    #[command(subcommand)]
    Alert(AlertVerb),
    /// The tamper-evident record of who did what
    #[command(subcommand)]
    Ledger(LedgerVerb),
    /// Measure this installation, or another product beside it
    #[command(
        subcommand,
        after_help = "Examples:
  seaworthy bench scan oci:./web --advisories ./feeds
  seaworthy bench scan oci:./web --advisories ./feeds -- trivy image --input ./web
  seaworthy bench match oci:./web --advisories ./feeds -o json
  seaworthy bench clearance oci:./web --advisories ./feeds --runs 3
  seaworthy bench fleet --containers 10000"
    )]
    Bench(BenchVerb),
    /// Print a completion script
    #[command(after_help = "Example: seaworthy completion bash > /etc/bash_completion.d/seaworthy")]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print a page of the reference
    #[command(hide = true)]
    Reference {
        /// Which page
        page: Page,
    },
}

/// Pages of the generated reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Page {
    /// Verbs and flags.
    Cli,
    /// Verbs and flags, in Japanese.
    #[value(name = "cli.ja")]
    CliJapanese,
    /// Settings of the server.
    Config,
    /// Error codes.
    Errors,
}

/// Flags of `up`.
#[derive(Debug, Args)]
pub(crate) struct UpFlags {
    /// What `serve` takes too.
    #[command(flatten)]
    pub(crate) serve: ServeFlags,
    /// Start no agent: this machine's containers stay unknown
    #[arg(long)]
    pub(crate) no_agent: bool,
}

/// Flags of `agent`.
#[derive(Debug, Args)]
pub(crate) struct AgentFlags {
    /// The container engine's socket [default: `DOCKER_HOST`, else `unix:///var/run/docker.sock`]
    #[arg(long, value_name = "URL")]
    pub(crate) docker_host: Option<String>,
    /// End with this process, which has started the agent.
    #[arg(long, value_name = "PID", hide = true)]
    pub(crate) parent: Option<i32>,
}

/// Flags of `up` and `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeFlags {
    /// Address of the plain-HTTP door; loopback only [default: localhost:5000]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Address of the HTTPS door, which agents of other machines use [default: [::]:8443 with `--domain`, else closed]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) tls_listen: Option<String>,
    /// Name of this installation for other machines
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: Option<String>,
    /// Import these advisories in the background
    #[arg(long, value_name = "PATH")]
    pub(crate) advisories: Vec<PathBuf>,
}

/// Flags of `login`.
#[derive(Debug, Args)]
pub(crate) struct LoginFlags {
    /// The server to sign in to; https, or http on this machine
    #[arg(value_name = "URL", required_unless_present = "docker", conflicts_with = "docker")]
    pub(crate) url: Option<String>,
    /// Give docker and podman a credential for this registry, valid for 12 hours
    #[arg(long)]
    pub(crate) docker: bool,
    /// Client id or name of a principal
    #[arg(short, long, value_name = "NAME", requires = "url")]
    pub(crate) username: Option<String>,
    /// Read the client secret from stdin
    #[arg(long, requires = "url")]
    pub(crate) password_stdin: bool,
    /// Trust the certificates of this PEM file for the server
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) ca: Option<PathBuf>,
}

/// Verbs of `principal`.
#[derive(Debug, Subcommand)]
pub(crate) enum PrincipalVerb {
    /// Create a service principal, or a person; the secret or link is shown once
    #[command(after_help = "Examples:
  seaworthy principal create ci --role AcrPush --scope /repositories/dev
  seaworthy principal create ann --user --role Reader --scope /")]
    Create {
        /// Name
        name: String,
        /// A person, who gets a link to set a password, not a client secret
        #[arg(long)]
        user: bool,
        /// Role to assign
        #[arg(long, requires = "scope")]
        role: Option<String>,
        /// Where the role holds
        #[arg(long, requires = "role")]
        scope: Option<String>,
    },
    /// List principals
    List,
    /// Show one with its assignments and credentials
    Show {
        /// Name or id
        name: String,
    },
    /// Print a link with which a person sets a password, once
    #[command(after_help = "Example: seaworthy principal link ann")]
    Link {
        /// Name or id
        name: String,
    },
    /// Disable one; effective at its next request
    Disable {
        /// Name or id
        name: String,
    },
    /// Enable one that was disabled
    Enable {
        /// Name or id
        name: String,
    },
    /// Delete one with its credentials and assignments
    #[command(visible_alias = "remove")]
    Delete {
        /// Name or id
        name: String,
    },
    /// Client secrets: two, so that one can be rotated
    #[command(subcommand)]
    Credential(CredentialVerb),
}

/// Verbs of `principal credential`.
#[derive(Debug, Subcommand)]
pub(crate) enum CredentialVerb {
    /// Add a client secret, shown once
    Add {
        /// Principal
        name: String,
        /// A word to know it by
        #[arg(long, default_value = "")]
        label: String,
        /// How long it lasts [default: until it is removed]
        #[arg(long)]
        days: Option<u32>,
    },
    /// List credentials, without their secrets
    List {
        /// Principal
        name: String,
    },
    /// Remove a credential
    #[command(visible_alias = "delete")]
    Remove {
        /// Principal
        name: String,
        /// Credential id
        id: String,
    },
}

/// Verbs of `role`.
#[derive(Debug, Subcommand)]
pub(crate) enum RoleVerb {
    /// List roles
    List,
    /// Show one
    Show {
        /// Name or id
        name: String,
    },
    /// Define a custom role
    Define {
        /// Name
        name: String,
        /// What it permits
        #[arg(long = "permission", required = true)]
        permissions: Vec<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Assign a role
    Assign(AssignmentFlags),
    /// Take an assignment back; effective at the next request
    Unassign(AssignmentFlags),
}

/// Who, which role, where.
#[derive(Debug, Args)]
pub(crate) struct AssignmentFlags {
    /// Principal
    #[arg(long)]
    pub(crate) principal: String,
    /// Role
    #[arg(long)]
    pub(crate) role: String,
    /// Scope, such as /repositories/dev
    #[arg(long)]
    pub(crate) scope: String,
}

/// Verbs of `access`.
#[derive(Debug, Subcommand)]
pub(crate) enum AccessVerb {
    /// May a principal do something somewhere, and which assignment says so?
    #[command(after_help = "Example: seaworthy access explain ci push /repositories/prod/web")]
    Explain {
        /// Principal
        principal: String,
        /// Action, such as pull or push
        action: String,
        /// Scope
        scope: String,
    },
}

/// Flags of `image list`.
#[derive(Debug, Args)]
pub(crate) struct ImageList {
    /// Only repositories that begin with this
    #[arg(long, default_value = "")]
    pub(crate) repo: String,
}

/// Where an image outside the server is judged.
#[derive(Debug, Args)]
pub(crate) struct LocalFlags {
    /// Use these advisories and no server
    #[arg(long, value_name = "PATH")]
    pub(crate) advisories: Vec<PathBuf>,
}

/// Flags of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckFlags {
    /// Image
    pub(crate) target: String,
    /// Judge a local image as if it stood there
    #[arg(long = "as", value_name = "REF")]
    pub(crate) as_reference: Option<String>,
    /// What is to be done with it
    #[arg(long, default_value = "pull", value_parser = ["pull", "deploy"])]
    pub(crate) purpose: String,
    /// How the container is to run, YAML or JSON, `-` for stdin [default: a plain `docker run IMAGE`]
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Use these policies and no server
    #[arg(long, value_name = "FILE", requires = "advisories")]
    pub(crate) policy: Vec<PathBuf>,
    /// Wait this long for a pending answer, such as 30s or 2m
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub(crate) wait: String,
    /// Advisories without a server.
    #[command(flatten)]
    pub(crate) local: LocalFlags,
}

/// Flags of `scan`.
#[derive(Debug, Args)]
pub(crate) struct ScanFlags {
    /// Image
    pub(crate) target: String,
    /// Exit 1 when there is a finding like this
    #[arg(long, value_parser = ["low", "medium", "high", "critical", "any-fixable"])]
    pub(crate) fail_on: Option<String>,
    /// Show everything known about one vulnerability
    #[arg(long, value_name = "CVE")]
    pub(crate) explain: Option<String>,
    /// Wait this long for the inspection
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(crate) wait: String,
    /// Advisories without a server.
    #[command(flatten)]
    pub(crate) local: LocalFlags,
}

/// Verbs of `finding`.
#[derive(Debug, Subcommand)]
pub(crate) enum FindingVerb {
    /// Images that have a vulnerability
    List {
        /// Vulnerability, by any of its names
        #[arg(long)]
        cve: String,
    },
}

/// Verbs of `advisories`.
#[derive(Debug, Subcommand)]
pub(crate) enum AdvisoriesVerb {
    /// Import files, folders, .tar.zst and .zip; formats are recognised by content
    Import {
        /// What to import
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Loaded feeds
    Status,
    /// Past imports
    History,
    /// Compare two versions: prints <, =, > or `invalid: why`
    #[command(after_help = "With `-` reads tab-separated pairs from stdin, one answer a line.
Example: seaworthy advisories compare --type deb 1.0~rc1 1.0")]
    Compare {
        /// Whose rules, such as deb
        #[arg(long = "type", value_name = "TYPE")]
        ecosystem: String,
        /// First version, or - for stdin
        #[arg(allow_hyphen_values = true)]
        first: String,
        /// Second version
        #[arg(allow_hyphen_values = true)]
        second: Option<String>,
    },
}

/// Verbs of `policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    /// Make a policy file the active version of its name
    Apply {
        /// The file
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
    /// List active policies
    List,
    /// Show one with its source
    Show {
        /// Name
        name: String,
    },
    /// What changes from one policy to another; exit 1 when something does
    #[command(after_help = "OLD and NEW are files, or names of active policies: NAME or NAME@VERSION.
Examples:
  seaworthy policy diff prod ./prod.yaml
  seaworthy policy diff prod ./prod.yaml --images")]
    Diff {
        /// File, or name of an active policy
        old: String,
        /// File, or name of an active policy
        new: String,
        /// Also name the stored images whose verdict would change
        #[arg(long)]
        images: bool,
    },
    /// Run cases written as files against the policies of a folder
    #[command(after_help = "DIR holds policies (*.yaml) and cases (tests/*.yaml).
Example: seaworthy policy test examples/policies")]
    Test {
        /// The folder
        dir: PathBuf,
        /// Judge as if it were this moment
        #[arg(long, value_name = "TIME")]
        now: Option<String>,
    },
}

/// Verbs of `exception`.
#[derive(Debug, Subcommand)]
pub(crate) enum ExceptionVerb {
    /// Ask for an exception; somebody else approves it
    #[command(
        after_help = "Example: seaworthy exception request --repo prod/web --rule prod/vulns --advisory CVE-2026-1111 \\
  --owner team-web --reason 'parser not reachable' --expires 2026-12-31"
    )]
    Request {
        /// Repository or pattern
        #[arg(long)]
        repo: String,
        /// Rule, such as prod/vulns
        #[arg(long)]
        rule: String,
        /// Only this vulnerability
        #[arg(long)]
        advisory: Option<String>,
        /// Only this source package
        #[arg(long)]
        package: Option<String>,
        /// Who answers for the risk
        #[arg(long)]
        owner: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// Until when, at most 90 days
        #[arg(long, value_name = "DATE")]
        expires: String,
    },
    /// Approve one that somebody else asked for
    Approve {
        /// Exception id
        id: String,
    },
    /// List exceptions
    List,
    /// Take one back
    Revoke {
        /// Exception id
        id: String,
    },
}

/// Verbs of `ledger`.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerVerb {
    /// List records, newest first
    List {
        /// Only this actor
        #[arg(long)]
        actor: Option<String>,
        /// Only this act, such as manifest.push
        #[arg(long)]
        action: Option<String>,
        /// Only objects that begin with this
        #[arg(long)]
        object: Option<String>,
        /// Only since this moment
        #[arg(long)]
        since: Option<String>,
        /// At most so many
        #[arg(short, default_value_t = 50)]
        n: u32,
    },
    /// Compare everything that is kept twice; exit 1 names what differs
    #[command(after_help = "A server that does not run is not needed: its data directory is read instead.

Examples:
  seaworthy ledger verify
  seaworthy ledger verify --data /srv/seaworthy -o json")]
    Verify {
        /// Everything is compared with or without it
        #[arg(long)]
        deep: bool,
    },
    /// Print a record with the proof that it is in the signed ledger
    Proof {
        /// Its index
        index: u64,
    },
}
