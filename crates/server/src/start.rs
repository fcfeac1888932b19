use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{Extension, Router, extract::DefaultBodyLimit, middleware};
use seaworthy_access::Access;
use seaworthy_clearance::Clearance;
use seaworthy_findings::{FeedReader, Findings, FindingsConfig};
use seaworthy_fleet::{Fleet, FleetConfig};
use seaworthy_inspection::{Inspection, InspectionConfig, LayerReader};
use seaworthy_ledger::{LedgerError, Sequencer};
use seaworthy_model::{Actor, FeedState, SystemClock, consumer};
use seaworthy_registry::{Registry, RegistryConfig, UpstreamAccess};
use seaworthy_sandbox::{Confinement, Limits, ReaderFn, Sandbox};
use seaworthy_seal::{Seal, sealed_item};
use seaworthy_store::{Blobs, DataDir, Db, chain};
use seaworthy_telemetry::Telemetry;
use seaworthy_trust::Signer;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::oneshot,
};

use crate::{
    Config, StartError,
    adapt::{ClearanceGate, RegistryLayers},
    alerts::{Links, Post, PostConfig},
    api::{self, Rooms},
    auth,
    connections::{self, App, Door, Slots},
    console,
    group::{Accounts, OperatorGroup},
    limit,
    live::Live,
    local_ca::LocalCa,
    mail::Mail,
    rate::{self, Rates},
    speak,
    tasks::Tasks,
    tls, token, trusted,
    webhook::Webhook,
};

/// The policies that are active in a new installation.
pub const DEFAULT_POLICIES: &[&str] = &[
    include_str!("../../../examples/policies/prod.yaml"),
    include_str!("../../../examples/policies/everywhere.yaml"),
];

/// What the seed is sealed as that signs the ledger's checkpoints.
pub(crate) const SIGNING_KEY: &str = "ledger signing key";

/// The readers that a sandboxed child of this binary can run: `main` hands them to
/// [`seaworthy_sandbox::child`] before anything else.
pub fn readers() -> [(&'static str, ReaderFn); 3] {
    [
        (
            seaworthy_inventory::sandboxed_reader::NAME,
            seaworthy_inventory::sandboxed_reader::layer_reader as ReaderFn,
        ),
        (seaworthy_inspection::ARCHIVE_READER, seaworthy_inspection::archive_reader as ReaderFn),
        seaworthy_findings::READER,
    ]
}

/// A server that is up.
pub struct Running {
    /// `http://localhost:5000`.
    pub url: String,
    rooms: Rooms,
    tasks: Tasks,
    db: Db,
    socket: PathBuf,
    /// Told when the ledger is not what was signed.
    evidence: oneshot::Receiver<LedgerError>,
    _data: DataDir,
}

/// Opens the data directory, builds the rooms, binds the doors and starts the workers.
pub async fn start(data: DataDir, config: &Config) -> Result<Running, StartError> {
    let addresses = config.addresses()?;
    let group = operator_group(config)?;
    let mut listeners = Vec::new();
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 serves IPv4 alone; one without either does not start.
            Err(_) if !listeners.is_empty() => {}
            Err(source) => return Err(StartError::Listen { address, source }),
        }
    }
    // Port 0 is whichever was free.
    let bound = listeners.first().and_then(|listener| listener.local_addr().ok());
    let url = match (config.listen.strip_prefix("localhost:"), bound) {
        (Some(_), Some(bound)) => format!("http://localhost:{}", bound.port()),
        (None, Some(bound)) => format!("http://{bound}"),
        (_, None) => format!("http://{}", config.listen),
    };
    let host = url.trim_start_matches("http://").to_owned();
    let built = build(&data, config, host).await?;
    let tasks = Tasks::new();
    let Built { rooms, sequencer, db } = built;
    let doors = tls::open(&data, config, &rooms.ca).await?;
    let evidence = sequence(&tasks, sequencer);
    if config.inspectors > 0 {
        tasks.spawn("inspection", rooms.inspection.clone().run(tasks.cancel()));
    }
    tasks.spawn("findings", rooms.findings.clone().run(tasks.cancel()));
    tasks.spawn("clearance", rooms.clearance.clone().run(tasks.cancel()));
    tasks.spawn("fleet", rooms.fleet.clone().run(tasks.cancel()));
    tasks.spawn("live streams", rooms.live.clone().run(rooms.clone(), tasks.cancel()));
    tasks.spawn("access upkeep", rooms.access.clone().upkeep(tasks.cancel()));
    tasks.spawn("telemetry", rooms.telemetry.clone().run(tasks.cancel()));
    tasks.spawn("alerts", rooms.post.clone().run(tasks.cancel()));
    tasks.spawn("registry upkeep", rooms.registry.clone().upkeep(tasks.cancel()));
    tasks.spawn("registry", rooms.registry.clone().listen(tasks.cancel()));
    tasks.spawn("registry scrub", rooms.registry.clone().scrub(tasks.cancel()));
    tasks.spawn("registry caches", rooms.registry.clone().caching(tasks.cancel()));
    tasks.spawn("registry mirrors", rooms.registry.clone().mirroring(tasks.cancel()));
    tasks.spawn("registry replication", rooms.registry.clone().replicating(tasks.cancel()));
    tasks.spawn("registry collection", rooms.registry.clone().collection(tasks.cancel()));
    let app = application(&rooms);
    let socket = data.socket();
    let spoken = middleware::from_fn_with_state(rooms.language, speak::to_the_caller);
    let operators = app.clone().layer(middleware::from_fn_with_state(group, auth::operator)).layer(spoken);
    let listener = open_socket(&data, group)?;
    let operators = App { router: operators, language: rooms.language };
    let served = connections::serve_socket(listener, operators, tasks.cancel());
    tasks.spawn("requests at the operator socket", served);
    let rates = Rates::new(config.requests_per_minute, config.anonymous_requests_per_minute);
    let network = app
        .layer(middleware::from_fn_with_state(rates, rate::limited))
        .layer(middleware::from_fn_with_state(rooms.access.clone(), auth::network))
        .layer(middleware::from_fn_with_state(rooms.fleet.clone(), auth::host))
        .layer(middleware::from_fn_with_state(rooms.language, speak::to_the_caller));
    let plain = network.clone().layer(Extension(seaworthy_registry::SendsFiles));
    for listener in listeners {
        serve_network(&tasks, &rooms, &plain, (listener, Door::Plain));
    }
    for (listener, acceptor) in doors {
        serve_network(&tasks, &rooms, &network, (listener, Door::Tls(acceptor)));
    }
    Ok(Running { url, rooms, tasks, db, socket, evidence, _data: data })
}

/// Runs the sequencer; told is why it ended, when that is not because it was to.
fn sequence(tasks: &Tasks, sequencer: Sequencer) -> oneshot::Receiver<LedgerError> {
    let (tell, told) = oneshot::channel();
    let run = sequencer.run(tasks.cancel());
    tasks.spawn("ledger sequencer", async move {
        if let Err(error) = run.await {
            tracing::error!(error = %chain(&error), "the ledger cannot be continued");
            // Nobody listens when the server stops already.
            drop(tell.send(error));
        }
    });
    told
}

/// Where bytes are kept: below DATA, or in the directory that replicas share.
pub(crate) struct Places {
    blobs: PathBuf,
    pub(crate) ledger: PathBuf,
    pub(crate) keys: PathBuf,
}

impl Places {
    pub(crate) fn of(data: &DataDir, config: &Config) -> Self {
        if config.shared.is_empty() {
            return Self { blobs: data.path().to_owned(), ledger: data.ledger(), keys: data.keys() };
        }
        let root = PathBuf::from(&config.shared);
        Self { ledger: root.join("ledger"), keys: root.join("keys"), blobs: root }
    }

    /// Makes those that are not there yet.
    fn create(&self) -> Result<(), StartError> {
        for path in [&self.blobs, &self.ledger, &self.keys] {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700)
                .create(path)
                .map_err(|source| StartError::Shared { path: path.clone(), source })?;
        }
        Ok(())
    }
}

struct Built {
    rooms: Rooms,
    sequencer: Sequencer,
    db: Db,
}

async fn build(data: &DataDir, config: &Config, registry_host: String) -> Result<Built, StartError> {
    let db = open_database(data, config).await?;
    let places = Places::of(data, config);
    let blobs = Blobs::new(places.blobs.clone(), db.clone(), config.disk_floor_bytes);
    // Before anything is made or written that another database would have to undo.
    blobs.claim().await?;
    places.create()?;
    let seal = Arc::new(Seal::open(&places.keys)?);
    let seed = sealed_item(&db, &seal, SIGNING_KEY, || Ok(seaworthy_seal::random::<32>()?.to_vec())).await?;
    let signer = Arc::new(Signer::from_seed(&config.ledger_origin, seed.expose())?);
    let owner = format!("{}-{}", std::process::id(), db.now().as_micros());
    let sequencer = Sequencer::open(db.clone(), &places.ledger, signer.clone(), owner).await?;
    let ca = Arc::new(LocalCa::open(&db, &seal).await.map_err(StartError::Ca)?);
    let access = Access::open(db.clone(), &seal, "seaworthy").await?;
    let layers = sandbox(config);
    let probe = layers.clone();
    tokio::task::spawn_blocking(move || probe.probe()).await.map_or(Ok(()), |probed| probed.map(|_| ()))?;
    let clearance = Clearance::open(db.clone()).await?;
    clearance.install(DEFAULT_POLICIES).await?;
    let gate = Arc::new(ClearanceGate { clearance: clearance.clone(), language: config.language() });
    let registry = Registry::new(RegistryConfig {
        db: db.clone(),
        blobs: blobs.clone(),
        access: access.clone(),
        gate,
        sparse_indexes: config.sparse_indexes(),
        blob_consumers: &[consumer::INSPECTION],
        manifest_consumers: &[consumer::INSPECTION, consumer::CLEARANCE, consumer::FLEET],
        collection: config.registry.collection(),
        upstreams: upstreams(seal.clone(), config)?,
        hosts: names_of(&registry_host, config)?,
    });
    let source = RegistryLayers(std::sync::OnceLock::from(registry.clone()));
    let inspection = Inspection::new(InspectionConfig {
        db: db.clone(),
        blobs: blobs.clone(),
        source: Arc::new(source),
        reader: LayerReader::Sandboxed(layers),
        concurrency: config.inspectors,
    });
    let feeds = FeedReader::Sandboxed(sandbox(config));
    let findings = Findings::open(FindingsConfig { db: db.clone(), blobs, reader: feeds }).await?;
    let fleet = Fleet::new(FleetConfig { db: db.clone(), registry_hosts: names_of(&registry_host, config)? });
    let telemetry = Telemetry::new(db.clone());
    if config.database.is_empty() {
        // The lock on DATA says that whoever was sending these is gone.
        telemetry.reclaim().await?;
    }
    let post = post(telemetry.clone(), seal, config, &registry_host)?;
    let rooms = Rooms {
        db: db.clone(),
        access,
        registry,
        inspection,
        findings,
        clearance,
        fleet,
        telemetry,
        post,
        host_name: host_name(),
        ca,
        tls_url: tls_url(config)?,
        live: Live::new(),
        slots: Slots::for_files(connections::raise_files()),
        verifier: signer.verifier(),
        ledger: places.ledger,
        language: config.language(),
        registry_host,
    };
    Ok(Built { rooms, sequencer, db })
}

/// Where hostile bytes are read.
fn sandbox(config: &Config) -> Arc<Sandbox> {
    let confinement =
        if config.sandbox == "seccomp-only" { Confinement::SeccompOnly } else { Confinement::Full };
    Arc::new(Sandbox::new(Limits::default()).confinement(confinement))
}

/// How caches reach other registries, as configured.
fn upstreams(seal: Arc<Seal>, config: &Config) -> Result<UpstreamAccess, StartError> {
    let roots = trusted::roots(config.trusted_ca()).map_err(|problem| StartError::Room { problem })?;
    UpstreamAccess::new(seal, roots).map_err(|error| StartError::Tls { source: error })
}

/// What sends alerts, as configured.
fn post(
    telemetry: Telemetry,
    seal: Arc<Seal>,
    config: &Config,
    registry_host: &str,
) -> Result<Post, StartError> {
    let ca = config.trusted_ca();
    let unusable = |problem| StartError::Room { problem };
    let roots = trusted::roots(ca).map_err(unusable)?;
    let webhook = Webhook::new(roots, &config.networks()?);
    let webhook = webhook.map_err(|error| StartError::Tls { source: error })?;
    let mail = config.mail.is_set().then(|| Mail::new(&config.mail, ca)).transpose().map_err(unusable)?;
    let base = match config.public_url.as_str() {
        "" => format!("http://{registry_host}"),
        url => url.to_owned(),
    };
    let links = Links { base };
    Ok(Post::new(PostConfig { telemetry, seal, webhook, mail, language: config.language(), links }))
}

/// `https://registry.example.com:8443`, when the HTTPS door is open.
fn tls_url(config: &Config) -> Result<Option<String>, StartError> {
    let door = config.tls_addresses()?.first().copied();
    Ok(door.map(|address| format!("https://{}:{}", config.domain, address.port())))
}

/// What image references call this registry: who listens at `localhost` is `127.0.0.1` too, and the other way around.
fn names_of(registry_host: &str, config: &Config) -> Result<Vec<String>, StartError> {
    let mut names = vec![registry_host.to_owned()];
    names.extend(registry_host.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}")));
    names.extend(registry_host.strip_prefix("127.0.0.1:").map(|port| format!("localhost:{port}")));
    if let Some(url) = tls_url(config)? {
        let name = url.trim_start_matches("https://").to_owned();
        names.extend(name.strip_suffix(":443").map(str::to_owned));
        names.push(name);
    }
    Ok(names)
}

/// This machine's name, which its containers are listed under.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Opens the database with the schema of all rooms.
async fn open_database(data: &DataDir, config: &Config) -> Result<Db, StartError> {
    let clock = Arc::new(SystemClock);
    let embedded = config.database.is_empty();
    let db = if embedded {
        Db::open_sqlite(&data.database(), clock).await?
    } else {
        Db::open_postgres(&config.database, clock).await?
    };
    db.migrate(&[
        seaworthy_seal::SCHEMA,
        seaworthy_ledger::SCHEMA,
        seaworthy_access::SCHEMA,
        seaworthy_registry::SCHEMA,
        seaworthy_inspection::SCHEMA,
        seaworthy_findings::SCHEMA,
        seaworthy_clearance::SCHEMA,
        seaworthy_fleet::SCHEMA,
        seaworthy_telemetry::SCHEMA,
    ])
    .await?;
    if embedded {
        // The lock on DATA says that whoever had claimed anything is gone.
        db.reclaim().await?;
    }
    Ok(db)
}

/// All routes; who is asking is put in front by the door.
fn application(rooms: &Rooms) -> Router {
    Router::new()
        .merge(seaworthy_registry::router(rooms.registry.clone()))
        .merge(token::router(rooms.access.clone(), rooms.registry.clone()))
        .merge(api::routes().with_state(rooms.clone()).into_router())
        .fallback(console::serve)
        .layer(DefaultBodyLimit::max(limit::BODY_BYTES))
}

/// The group whose members are operators, by name or number.
fn operator_group(config: &Config) -> Result<Option<OperatorGroup>, StartError> {
    let name = config.operator_group.as_str();
    if name.is_empty() {
        return Ok(None);
    }
    let found = Accounts::read().group(name);
    found.map(Some).ok_or_else(|| StartError::Group { name: name.to_owned() })
}

/// Binds the socket for its owner, and for the operator group when there is one. The group may
/// pass through DATA and no more: the files in it are closed first.
fn open_socket(data: &DataDir, group: Option<OperatorGroup>) -> Result<UnixListener, StartError> {
    let path = data.socket();
    let failed = |source| StartError::Socket { path: path.clone(), source };
    // A socket left behind by a killed server: the data directory's lock is ours, so nobody listens.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    let allow = |place: &std::path::Path, mode: u32| {
        std::fs::set_permissions(place, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(failed)
    };
    allow(&path, 0o600)?;
    match group {
        None => allow(data.path(), 0o700)?,
        Some(group) => {
            close_files(data.path()).map_err(failed)?;
            // Given to the group before it is opened to it.
            for place in [data.path(), path.as_path()] {
                std::os::unix::fs::chown(place, None, Some(group.gid)).map_err(failed)?;
            }
            allow(data.path(), 0o710)?;
            allow(&path, 0o660)?;
        }
    }
    Ok(listener)
}

/// Takes everybody's rights but the owner's from the files in DATA. Files that the database makes
/// later get the mode of the database.
fn close_files(data: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(entry.path(), mode)?;
        }
    }
    Ok(())
}

fn serve_network(tasks: &Tasks, rooms: &Rooms, router: &Router, (listener, door): (TcpListener, Door)) {
    let name = listener.local_addr().map_or("a listener".to_owned(), |it| format!("requests at {it}"));
    let app = App { router: router.clone(), language: rooms.language };
    tasks.spawn(name, connections::serve(listener, door, app, rooms.slots.clone(), tasks.cancel()));
}

impl Running {
    /// Imports advisories in the background. Returns once verdicts know that an import is under
    /// way, so that none is final before it; the import itself may take as long as it takes.
    pub async fn import(&self, paths: Vec<PathBuf>) {
        if paths.is_empty() {
            return;
        }
        let findings = self.rooms.findings.clone();
        let import = self.tasks.spawn("advisories import", async move {
            match findings.import(&Actor::system(), &paths).await {
                Ok(report) => tracing::info!(feeds = report.feeds.len(), "imported advisories"),
                Err(error) => tracing::error!(error = %chain(&error), "importing advisories failed"),
            }
        });
        while !import.is_finished() {
            match self.rooms.findings.status().await {
                Ok(status) if status.state == FeedState::Settled => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                _ => return,
            }
        }
    }

    /// Why the server must stop by itself: the ledger is found not to be what was signed. Pending while it is.
    pub async fn failed(&mut self) -> StartError {
        match (&mut self.evidence).await {
            Ok(error) => error.into(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops taking requests, lets what runs finish, and closes the database. What does not
    /// finish in time is named in the log; it is taken up again by the next start.
    pub async fn stop(self) {
        let late = self.tasks.stop(Duration::from_secs(limit::SHUTDOWN_SECONDS)).await;
        if !late.is_empty() {
            tracing::warn!(?late, "tasks did not stop in time");
        }
        // A transaction that hangs must not hold the process: it is undone by the next start.
        let close = Duration::from_secs(limit::CLOSE_SECONDS);
        if tokio::time::timeout(close, self.db.close()).await.is_err() {
            tracing::warn!("the database did not close in time");
        }
        drop(std::fs::remove_file(&self.socket));
    }
}
