//! `up` and `serve`.

use std::{
    path::{Path, PathBuf},
    pin::pin,
};

use seaworthy_model::Problem;
use seaworthy_server::{Config, Overrides, StartError};
use seaworthy_store::DataDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::agent_child;
use crate::{
    client,
    failure::{Outcome, usage},
    flags::{Global, ServeFlags, UpFlags},
    render::{note, out},
    text::{Text, language},
};

/// What runs beside the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    Agent,
}

/// Everything on this machine.
pub(crate) async fn up(global: &Global, flags: UpFlags) -> Outcome {
    let beside = if flags.no_agent { Beside::Nothing } else { Beside::Agent };
    run(global, flags.serve, beside).await
}

/// The control plane.
pub(crate) async fn serve(global: &Global, flags: ServeFlags) -> Outcome {
    run(global, flags, Beside::Nothing).await
}

async fn run(global: &Global, flags: ServeFlags, beside: Beside) -> Outcome {
    logging(global);
    let data_path = client::data_dir(global)?;
    let overrides = Overrides {
        listen: flags.listen.clone(),
        tls_listen: flags.tls_listen.clone(),
        domain: flags.domain.clone(),
        file: global.config.clone(),
        language: std::env::var("SEAWORTHY_LANG").ok().filter(|language| !language.is_empty()),
    };
    // The configuration is complete or refused before anything is made or opened.
    let config = Config::load(&data_path, &overrides)?;
    let paths = absolute(&flags.advisories)?;
    let data = DataDir::open(&data_path).map_err(|error| Problem::from(StartError::from(error)))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| usage(error.to_string()))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| usage(error.to_string()))?;
    let mut running = seaworthy_server::start(data, &config).await.map_err(Problem::from)?;
    let with_feeds = !paths.is_empty();
    running.import(paths).await;
    out(&format!("ready {}\n", running.url));
    next_steps(global, &running.url, with_feeds);
    let stop = CancellationToken::new();
    let mut agent = pin!(async {
        match beside {
            Beside::Agent => agent_child::keep(global, &data_path, &stop).await,
            Beside::Nothing => stop.cancelled().await,
        }
    });
    let outcome = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        () = &mut agent => Ok(()),
        error = running.failed() => Err(Problem::from(error).into()),
    };
    note(Text::Stopping.say(language()));
    stop.cancel();
    // It keeps what it has not delivered on its disk.
    agent.await;
    running.stop().await;
    outcome
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, crate::failure::Failure> {
    paths
        .iter()
        .map(|path| path.canonicalize().map_err(|error| usage(format!("`{}`: {error}", path.display()))))
        .collect()
}

pub(super) fn logging(global: &Global) {
    let level = if global.verbose { "info" } else { "warn" };
    // What PostgreSQL notices while transactions race is no news.
    let usual = format!("{level},sqlx::postgres::notice=error");
    let filter = EnvFilter::try_from_env("SEAWORTHY_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // A second start in one process (tests) keeps the first's.
    drop(subscriber.try_init());
}

/// What to type next, as it must be typed from this shell.
fn next_steps(global: &Global, url: &str, with_feeds: bool) {
    let language = language();
    let me = how_to_call_me();
    let data = global.data.as_ref().map(|data| format!(" --data {}", quote(data))).unwrap_or_default();
    let registry = url.strip_prefix("http://").unwrap_or(url);
    note(Text::Next.say(language));
    let mut steps = vec![
        (Text::SignIn, format!("{me} login --docker{data}")),
        (Text::Push, format!("docker push {registry}/prod/web:1")),
        (Text::MayItRun, format!("{me} check prod/web:1{data}")),
        (Text::OpenConsole, format!("{me} console{data}")),
    ];
    if !with_feeds {
        steps.insert(0, (Text::ImportFeeds, format!("{me} advisories import PATH{data}")));
    }
    for (what, command) in steps {
        note(&format!("  {command}    # {}", what.say(language)));
    }
    note(&format!("  {}", Text::Stop.say(language)));
}

/// `seaworthy` when that is what PATH finds, else the full path of this binary.
fn how_to_call_me() -> String {
    let Ok(me) = std::env::current_exe() else { return "seaworthy".into() };
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .any(|directory| directory.join("seaworthy").canonicalize().is_ok_and(|there| there == me))
    });
    if found { "seaworthy".into() } else { quote(&me) }
}

/// A path as one word of a shell.
fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ':' | '@');
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
