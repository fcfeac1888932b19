//! Images: list, delete, scan, check.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use seaworthy_clearance::{PolicyRef, Unrecorded};
use seaworthy_findings::{FeedCache, FeedReader};
use seaworthy_model::{
    Clock as _, ErrorCode, FeedState, FeedsChanged, FindingsChanged, InventoryReady, Problem, SystemClock,
};
use seaworthy_oci::Reference;
use seaworthy_package::InstalledPackage;
use seaworthy_policy::{Facts, InventoryFacts, Policy, Settling, WorkloadSettings, decide};
use seaworthy_sandbox::{Limits, Sandbox};
use seaworthy_server::{DEFAULT_POLICIES, report};
use serde_json::{Value, json};

use crate::{
    client::{Server, encode},
    failure::{Failure, Outcome, unable, usage},
    flags::{CheckFlags, Global, ScanFlags},
    image::{self, Target},
    render::{self, Amount},
    text::{Text, language},
};

pub(crate) async fn list(global: &Global, repository: &str) -> Outcome {
    let server = Server::of(global)?;
    let mut all: Vec<Value> = Vec::new();
    loop {
        let last = |key: &str| all.last().and_then(|row| row.get(key)).and_then(Value::as_str).unwrap_or("");
        let path = format!(
            "/api/v1/images?repository={}&after_repository={}&after_tag={}",
            encode(repository),
            encode(last("repository")),
            encode(last("tag"))
        );
        // A page that is not full is no sign of the end to who does not know how long one is.
        match server.get(&path).await? {
            Value::Array(page) if !page.is_empty() => all.extend(page),
            _ => break,
        }
    }
    let answer = Value::Array(all);
    let columns = [
        ("REPOSITORY", "/repository"),
        ("TAG", "/tag"),
        ("VERDICT", "/verdict"),
        ("DIGEST", "/digest"),
        ("PUSHED", "/pushed_at"),
        ("BY", "/pushed_by"),
    ];
    render::list(global, &answer, "/digest", &columns);
    Ok(())
}

pub(crate) async fn delete(global: &Global, reference: &str) -> Outcome {
    let answer = Server::of(global)?.delete(&format!("/api/v1/images?image={}", encode(reference))).await?;
    render::record(global, &answer);
    Ok(())
}

pub(crate) async fn findings(global: &Global, cve: &str) -> Outcome {
    let answer = Server::of(global)?.get(&format!("/api/v1/findings?cve={}", encode(cve))).await?;
    render::list(
        global,
        &answer,
        "/digest",
        &[("REPOSITORY", "/repository"), ("TAG", "/tag"), ("DIGEST", "/digest")],
    );
    Ok(())
}

/// `30s`, `2m`, `1h`, as seconds.
pub(super) fn seconds(text: &str) -> Result<u64, Failure> {
    let units = [('s', 1), ('m', 60), ('h', 3_600)];
    let found = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    found
        .and_then(|(number, seconds)| number.parse::<u64>().ok()?.checked_mul(seconds))
        .ok_or_else(|| usage(format!("`{text}` is not a time like `30s` or `2m`")))
}

/// A question to the server.
enum Ask<'a> {
    Get(&'a str),
    Post(&'a str, &'a Value),
}

/// Asks the server for what it may have to wait for.
async fn waited(global: &Global, wait: u64, ask: Ask<'_>) -> Result<Value, Problem> {
    let server = Server::of(global)?;
    let bar = render::progress(global, Text::Inspecting, Amount::SecondsOf(wait));
    let answer = match ask {
        Ask::Get(path) => server.get(path).await,
        Ask::Post(path, body) => server.post(path, body).await,
    };
    bar.finish_and_clear();
    answer
}

pub(crate) async fn check(global: &Global, flags: CheckFlags) -> Outcome {
    let wait = seconds(&flags.wait)?;
    let target = Target::parse(&flags.target);
    let settings = settings(&flags)?;
    // What the server is asked besides the image.
    let more = settings.as_ref().map(|it| json!({"purpose": "deploy", "settings": it.text}));
    if let Target::Reference(reference) = &target {
        if flags.as_reference.is_some() {
            return Err(usage("`--as` is for local images: `docker:NAME`, `oci:DIR`, `docker-archive:FILE`"));
        }
        let value = match more {
            None => {
                let path = format!("/api/v1/check?image={}&wait={wait}", encode(reference));
                waited(global, wait, Ask::Get(&path)).await?
            }
            Some(more) => {
                let body = with(more, json!({"reference": reference, "wait": wait}));
                waited(global, wait, Ask::Post("/api/v1/check", &body)).await?
            }
        };
        return render::check(global, &value);
    }
    let Some(reference) = &flags.as_reference else {
        return Err(usage("a local image is judged as if it stood somewhere: add `--as prod/web:1`"));
    };
    let parsed: Reference =
        reference.parse().map_err(|error: seaworthy_oci::ReferenceError| usage(error.to_string()))?;
    let value = if flags.local.advisories.is_empty() {
        let server = Server::of(global)?;
        let ready = image::inspect(global, &target).await?;
        let body = with(more.unwrap_or_else(|| json!({})), json!({"reference": reference, "ready": ready}));
        server.post("/api/v1/check", &body).await?
    } else {
        let place = place(parsed, Server::of(global)?.registry().as_deref())?;
        let ready = image::inspect(global, &target).await?;
        let alone = Alone::new(global, &flags.local.advisories, &ready).await?;
        alone.check(&place, &flags.policy, &ready, settings.as_ref().map(|it| &it.read))?
    };
    render::check(global, &value)
}

/// Where an image is judged with no server to ask: what is read as a host is the registry's, and only its port or `--server`
/// makes sure of that. Else it may be the first part of a repository, with other policies.
fn place(reference: Reference, registry: Option<&str>) -> Result<Reference, Failure> {
    match &reference.host {
        Some(host) if !host.contains(':') && !registry.is_some_and(|it| it.eq_ignore_ascii_case(host)) => {
            let message = format!("without a server nobody knows whose name `{host}` is");
            Err(Problem::new(ErrorCode::Invalid, message)
                .hint(format!(
                    "leave it out, `--as {}`, or add `--server`",
                    Reference { host: None, ..reference }
                ))
                .into())
        }
        _ => Ok(reference),
    }
}

/// One object with the members of two.
fn with(mut first: Value, second: Value) -> Value {
    if let (Value::Object(first), Value::Object(second)) = (&mut first, second) {
        first.extend(second);
    }
    first
}

/// How a container is to run, as written and as read.
struct Given {
    /// `None` for a plain one.
    text: Option<String>,
    read: WorkloadSettings,
}

/// What `--settings` says; `None` for a pull. Refused here with the file's name, before a server is asked.
fn settings(flags: &CheckFlags) -> Result<Option<Given>, Failure> {
    let Some(file) = &flags.settings else {
        let plain = Given { text: None, read: WorkloadSettings::default() };
        return Ok((flags.purpose == "deploy").then_some(plain));
    };
    if flags.purpose != "deploy" {
        return Err(usage("`--settings` is for a container: add `--purpose deploy`"));
    }
    let name = if file.as_os_str() == "-" { "stdin".into() } else { file.display().to_string() };
    let text = settings_text(file).map_err(|error| unable(format!("failed to read `{name}`: {error}")))?;
    let read = report::settings(&text).map_err(|mut problem| {
        problem.message = format!("{name}: {}", problem.message);
        problem
    })?;
    Ok(Some(Given { text: Some(text), read }))
}

/// One byte more than may be, so that the parser refuses what is too long.
fn settings_text(file: &Path) -> std::io::Result<String> {
    let source: Box<dyn Read> =
        if file.as_os_str() == "-" { Box::new(std::io::stdin()) } else { Box::new(File::open(file)?) };
    let mut text = String::new();
    source.take(seaworthy_policy::limit::FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) async fn scan(global: &Global, flags: ScanFlags) -> Outcome {
    let wait = seconds(&flags.wait)?;
    let target = Target::parse(&flags.target);
    let fail_on = flags.fail_on.as_deref();
    let value = match &target {
        Target::Reference(reference) => {
            let mut path = format!("/api/v1/scan?image={}&wait={wait}", encode(reference));
            if let Some(word) = fail_on {
                path.push_str("&fail_on=");
                path.push_str(word);
            }
            match waited(global, wait, Ask::Get(&path)).await {
                Ok(value) => value,
                Err(problem) => match foreign(global, &flags, &problem).await {
                    Some(target) => inspected(global, &flags, &target).await?,
                    None => return Err(problem.into()),
                },
            }
        }
        _ => inspected(global, &flags, &target).await?,
    };
    let value = match &flags.explain {
        Some(id) => only(value, id)?,
        None => value,
    };
    match (&flags.explain, value.get("findings").and_then(Value::as_array)) {
        (None, _) if render::is_table(global) => render::scan(&value),
        (Some(_), Some(rows)) if render::is_table(global) => {
            rows.iter().for_each(|row| render::record(global, row));
        }
        _ => render::json(&value),
    }
    let problems =
        value.get("problems").and_then(Value::as_array).is_some_and(|problems| !problems.is_empty());
    let failed = value.pointer("/fail_on/failed") == Some(&Value::Bool(true));
    if problems || failed { Err(Failure::No) } else { Ok(()) }
}

/// An image that the server does not have, because its name is one of another registry; also when nobody is needed who
/// could know it.
async fn foreign(global: &Global, flags: &ScanFlags, problem: &Problem) -> Option<Target> {
    let is_away = problem.code == ErrorCode::Unavailable && !flags.local.advisories.is_empty();
    let reference: Reference = flags.target.parse().ok()?;
    let host = reference.host.clone()?;
    if problem.code != ErrorCode::NotFound && !is_away {
        return None;
    }
    let names = super::transfer::names(&Server::of(global).ok()?, &[&flags.target]).await;
    (!names.iter().any(|name| name.eq_ignore_ascii_case(&host))).then_some(Target::Foreign(reference))
}

/// What the server, or the feeds that were named, say of an image that is looked at here.
async fn inspected(global: &Global, flags: &ScanFlags, target: &Target) -> Result<Value, Failure> {
    let fail_on = flags.fail_on.as_deref();
    let ready = image::inspect(global, target).await?;
    if flags.local.advisories.is_empty() {
        let body = json!({"reference": flags.target, "ready": ready, "fail_on": fail_on});
        return Ok(Server::of(global)?.post("/api/v1/scan", &body).await?);
    }
    Alone::new(global, &flags.local.advisories, &ready).await?.scan(&flags.target, fail_on, &ready)
}

/// The report with the findings of one vulnerability alone.
fn only(mut value: Value, id: &str) -> Result<Value, Failure> {
    let Some(findings) = value.get_mut("findings").and_then(Value::as_array_mut) else { return Ok(value) };
    findings.retain(|row| {
        let alias = |value: &Value| value.as_str() == Some(id);
        row.get("id").is_some_and(alias)
            || row.get("aliases").and_then(Value::as_array).is_some_and(|all| all.iter().any(alias))
    });
    if findings.is_empty() {
        return Err(Problem::new(ErrorCode::NotFound, format!("the image has no finding `{id}`")).into());
    }
    Ok(value)
}

/// Feeds compiled before: `$XDG_CACHE_HOME/seaworthy/feeds`, else below `~/.cache`.
fn feed_cache() -> FeedCache {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.map_or_else(FeedCache::none, |base| FeedCache::at(&base.join("seaworthy/feeds")))
}

/// Judging with no server: the same index, the same facts, the same decision.
struct Alone {
    findings: FindingsChanged,
    feeds: FeedsChanged,
}

impl Alone {
    async fn new(global: &Global, paths: &[PathBuf], ready: &InventoryReady) -> Result<Self, Failure> {
        let paths = paths.to_vec();
        let bar = render::progress(global, Text::Importing, Amount::Unknown);
        let now = SystemClock.now();
        let built = tokio::task::spawn_blocking(move || {
            let reader = FeedReader::Sandboxed(std::sync::Arc::new(Sandbox::new(Limits::default())));
            seaworthy_findings::index_of_paths(&paths, &reader, &feed_cache(), now)
        })
        .await;
        bar.finish_and_clear();
        let (index, coverage, _) = built.map_err(|_| unable("the import ended unexpectedly"))??;
        let packages: Vec<InstalledPackage> =
            ready.inventory.packages.iter().map(|row| row.package.clone()).collect();
        let set = index.find(ready.os(), &packages);
        let feeds = FeedsChanged {
            generation: 0,
            revision: 0,
            index_hash: set.index_hash.clone(),
            feeds: coverage,
            state: FeedState::Settled,
        };
        Ok(Self { findings: FindingsChanged { set, content_ids: Vec::new(), generation: 0 }, feeds })
    }

    fn scan(&self, name: &str, fail_on: Option<&str>, ready: &InventoryReady) -> Result<Value, Failure> {
        let scanned = report::Scanned {
            reference: name,
            digest: None,
            ready,
            set: &self.findings.set,
            feeds: &self.feeds,
            now: SystemClock.now(),
            language: language(),
        };
        let mut value = report::scan(&scanned);
        if let (Some(word), Value::Object(map)) = (fail_on, &mut value) {
            map.insert("fail_on".into(), report::fail_on(word, &scanned).map_err(usage)?);
        }
        Ok(value)
    }

    fn check(
        &self,
        reference: &Reference,
        files: &[PathBuf],
        ready: &InventoryReady,
        settings: Option<&WorkloadSettings>,
    ) -> Result<Value, Failure> {
        let repository = &reference.repository;
        let mut sources: Vec<String> = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(file)
                .map_err(|error| unable(format!("`{}`: {error}", file.display())))?;
            sources.push(text);
        }
        if sources.is_empty() {
            sources = DEFAULT_POLICIES.iter().map(|source| (*source).to_owned()).collect();
        }
        let mut policies = Vec::new();
        for source in &sources {
            policies.push(Policy::parse(source).map_err(super::policies::refused)?);
        }
        // In the server's order, so that both print the same reasons in the same places.
        policies.sort_by(|lhs, rhs| lhs.name.cmp(&rhs.name));
        let inventory = InventoryFacts::from_event(ready);
        let facts = Facts::from_events(
            repository,
            Some(&inventory),
            Some(&self.findings),
            Some(&self.feeds),
            Settling::Settled,
        );
        let workload = settings.map(|settings| settings.facts(reference, ready.user()));
        let facts = Facts { workload, ..facts };
        let all: Vec<&Policy> = policies.iter().collect();
        let decision = decide(&all, &facts, &[], SystemClock.now());
        let applied = policies.iter().filter(|policy| policy.selects(repository));
        let policies = applied
            .map(|policy| PolicyRef { name: policy.name.clone(), version: 0, hash: policy.hash.clone() })
            .collect();
        let answer = Unrecorded { facts, decision, policies };
        Ok(report::check_unrecorded(&answer, None, settings, language()))
    }
}
