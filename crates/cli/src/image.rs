//! Images outside the registry: an engine's, an OCI layout, an archive.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use indicatif::ProgressBar;
use seaworthy_agent::{
    Scratch,
    engine::{Engine, EngineError},
};
use seaworthy_inspection::{ArchiveError, ImageArchive, LayerReader, LocalConfig, inspect_local};
use seaworthy_model::{ErrorCode, InventoryProblem, InventoryReady, Problem, ProblemCode};
use seaworthy_oci::{Digest, ImageManifest, Manifest, Platform, Reference, limit};
use seaworthy_registry::{Foreign, ForeignAccess};
use seaworthy_sandbox::{Input, Limits, Sandbox};

use crate::{
    docker_login,
    flags::Global,
    layout::{blob_path, unreadable},
    render::{self, Amount},
    text::Text,
};

/// What a target names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An image of the server.
    Reference(String),
    /// An image of the local engine.
    Docker(String),
    /// A directory in the OCI image layout, and a tag in it.
    Layout(PathBuf, Option<String>),
    /// What `docker save` wrote.
    Archive(PathBuf),
    /// An image of another registry.
    Foreign(Reference),
}

impl Target {
    /// Reads a target as typed.
    pub(crate) fn parse(text: &str) -> Self {
        if let Some(name) = text.strip_prefix("docker:") {
            return Self::Docker(name.to_owned());
        }
        if let Some(path) = text.strip_prefix("docker-archive:") {
            return Self::Archive(path.into());
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            // A directory whose name has a colon wins over a tag.
            return match rest.rsplit_once(':') {
                Some((path, tag)) if !Path::new(rest).exists() => {
                    Self::Layout(path.into(), Some(tag.to_owned()))
                }
                _ => Self::Layout(rest.into(), None),
            };
        }
        Self::Reference(text.to_owned())
    }
}

/// Inspects a local image in sandboxed children of this binary.
pub(crate) async fn inspect(global: &Global, target: &Target) -> Result<InventoryReady, Problem> {
    match target {
        Target::Reference(name) => {
            Err(Problem::new(ErrorCode::Invalid, format!("`{name}` is not a local image"))
                .hint("use `docker:NAME`, `oci:DIR` or `docker-archive:FILE`"))
        }
        Target::Docker(name) => {
            let engine = Engine::from_env().map_err(|error| engine_problem(&error))?;
            let mut archive =
                tempfile::tempfile().map_err(|error| unreadable(Path::new("temporary file"), error))?;
            let bytes = engine.image_bytes(name).await.map_err(|error| engine_problem(&error))?;
            let amount = bytes.map_or(Amount::Bytes, Amount::BytesOf);
            let bar = render::progress(global, Text::Exporting, amount);
            let exported = engine.export(name, &mut bar.wrap_write(&mut archive)).await;
            bar.finish_and_clear();
            exported.map_err(|error| engine_problem(&error))?;
            let bar = of_file(global, &archive);
            blocking(bar, move |bar| archived(archive, Path::new("image archive"), bar)).await
        }
        Target::Foreign(reference) => foreign(global, reference).await,
        Target::Archive(path) => {
            let (path, file) = (path.clone(), File::open(path).map_err(|error| unreadable(path, error))?);
            let bar = of_file(global, &file);
            blocking(bar, move |bar| archived(file, &path, bar)).await
        }
        Target::Layout(path, tag) => {
            let (path, tag) = (path.clone(), tag.clone());
            let bar = render::progress(global, Text::Inspecting, Amount::BytesOf(0));
            blocking(bar, move |bar| layout(&path, tag.as_deref(), bar)).await
        }
    }
}

/// Inspects an image of another registry: that of this host's platform, else the first.
async fn foreign(global: &Global, reference: &Reference) -> Result<InventoryReady, Problem> {
    let host = reference.host.as_deref().unwrap_or_default();
    let login = docker_login::of(host)?;
    let registry = |is_plain| {
        let roots = seaworthy_server::trusted::roots(None)?;
        Foreign::new(reference, ForeignAccess { roots, login: login.clone(), is_plain })
    };
    let mut there = registry(false)?;
    let mut image = there.image(reference, &Platform::host()).await;
    // As engines do: on this machine a registry may do without TLS.
    if is_this_machine(host) && image.as_ref().is_err_and(|problem| problem.code == ErrorCode::Unavailable) {
        there = registry(true)?;
        image = there.image(reference, &Platform::host()).await;
    }
    let image = image?;
    let bytes = image.layers.iter().map(|it| it.size).sum();
    let bar = render::progress(global, Text::Pulling, Amount::BytesOf(bytes));
    let pulled = pull(&there, &image, &bar).await;
    bar.finish_and_clear();
    let (config, layers) = pulled?;
    let bar = render::progress(global, Text::Inspecting, Amount::BytesOf(bytes));
    blocking(bar, move |bar| {
        let layers = layers.into_iter().map(|layer| told(bar, layer.map(Input::File)));
        Ok(inspect_local(LocalConfig::Bytes(&config), layers, &reader()))
    })
    .await
}

/// True of the names that engines take for this machine.
fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

type Layers = Vec<Result<File, InventoryProblem>>;

/// Brings the config and the layers here, into files without names.
async fn pull(
    there: &Foreign,
    image: &ImageManifest,
    bar: &ProgressBar,
) -> Result<(bytes::Bytes, Layers), Problem> {
    let config = there.bytes(&image.config, limit::CONFIG_BYTES).await?;
    let mut layers = Vec::new();
    for layer in &image.layers {
        if layer.is_foreign() {
            layers.push(Err(missing(&format!("`{}` is not in a registry", layer.digest))));
            continue;
        }
        let mut file =
            tempfile::tempfile().map_err(|error| unreadable(Path::new("temporary file"), error))?;
        there.blob(layer, &mut file, &|bytes| bar.inc(bytes)).await?;
        file.rewind().map_err(|error| unreadable(Path::new("temporary file"), error))?;
        layers.push(Ok(file));
    }
    Ok((config, layers))
}

/// Inspects an image of an engine, with nobody to watch; the engine has `most` to give it out.
pub(crate) async fn of_engine(engine: &Engine, id: &str, most: Duration) -> Result<InventoryReady, Problem> {
    let mut archive = tempfile::tempfile().map_err(|error| unreadable(Path::new("temporary file"), error))?;
    let mut scratch = Scratch::new(&mut archive);
    let exported = tokio::time::timeout(most, engine.export(id, &mut scratch)).await;
    exported
        .map_err(|_| {
            let message = format!("the engine did not give out `{id}` within {} seconds", most.as_secs());
            Problem::new(ErrorCode::Unavailable, message)
        })?
        .map_err(|error| engine_problem(&error))?;
    blocking(ProgressBar::hidden(), move |bar| archived(archive, Path::new("image archive"), bar)).await
}

fn engine_problem(error: &EngineError) -> Problem {
    let message = seaworthy_store::chain(error);
    match error {
        EngineError::Refused { status, .. } if status.as_u16() == 404 => {
            Problem::new(ErrorCode::NotFound, message).hint("`docker images` lists what there is")
        }
        EngineError::Host { .. } => Problem::new(ErrorCode::Invalid, message),
        EngineError::Connect { .. } => {
            Problem::new(ErrorCode::Unavailable, message).hint("start Docker, or set DOCKER_HOST=unix://…")
        }
        _ => Problem::new(ErrorCode::Unavailable, message),
    }
}

fn of_file(global: &Global, file: &File) -> ProgressBar {
    let bytes = file.metadata().map_or(0, |data| data.len());
    render::progress(global, Text::Inspecting, Amount::BytesOf(bytes))
}

async fn blocking(
    bar: ProgressBar,
    work: impl FnOnce(&ProgressBar) -> Result<InventoryReady, Problem> + Send + 'static,
) -> Result<InventoryReady, Problem> {
    let inner = bar.clone();
    let done = tokio::task::spawn_blocking(move || work(&inner)).await;
    bar.finish_and_clear();
    done.unwrap_or_else(|_| Err(Problem::new(ErrorCode::Internal, "the inspection ended unexpectedly")))
}

fn reader() -> LayerReader {
    LayerReader::Sandboxed(Arc::new(Sandbox::new(Limits::default())))
}

fn missing(what: &str) -> InventoryProblem {
    InventoryProblem { code: ProblemCode::LayerMissing, layer: None, message: what.to_owned() }
}

/// An image in the OCI image layout (image spec, "OCI Image Layout Specification").
fn layout(root: &Path, tag: Option<&str>, bar: &ProgressBar) -> Result<InventoryReady, Problem> {
    let (_, _, image) = layout_image(root, tag)?;
    let config = read_bounded(&blob_path(root, &image.config.digest), limit::CONFIG_BYTES)?;
    bar.set_length(image.layers.iter().map(|layer| layer.size).sum());
    let layers = image.layers.iter().map(|layer| told(bar, open_blob(root, &layer.digest)));
    Ok(inspect_local(LocalConfig::Bytes(&config), layers, &reader()))
}

/// The one image that a layout and a tag name: digest, bytes and manifest. Of a multi-platform
/// image the one for this host, else the first.
pub(crate) fn layout_image(
    root: &Path,
    tag: Option<&str>,
) -> Result<(Digest, Vec<u8>, ImageManifest), Problem> {
    let index = read_bounded(&root.join("index.json"), limit::MANIFEST_BYTES)?;
    let Ok(Manifest::Index(index)) = Manifest::parse(&index, Some(seaworthy_oci::media::OCI_INDEX)) else {
        return Err(unreadable(&root.join("index.json"), "it is not an image index"));
    };
    let named = index.manifests.iter().filter(|it| match tag {
        None => true,
        Some(tag) => it
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get("org.opencontainers.image.ref.name"))
            .is_some_and(|name| name == tag),
    });
    let mut candidates: Vec<Digest> = named.map(|it| it.digest).collect();
    for _ in 0..4 {
        let digest = only(root, &candidates)?;
        let path = blob_path(root, &digest);
        let bytes = read_bounded(&path, limit::MANIFEST_BYTES)?;
        match Manifest::parse(&bytes, None)
            .map_err(|error| unreadable(&path, seaworthy_store::chain(&error)))?
        {
            Manifest::Image(image) => return Ok((digest, bytes, image)),
            Manifest::Index(nested) => {
                let chosen = nested.manifest_for(&Platform::host());
                candidates = chosen.map(|it| it.digest).into_iter().collect();
            }
        }
    }
    Err(unreadable(root, "indexes are nested too deep"))
}

fn only(root: &Path, candidates: &[Digest]) -> Result<Digest, Problem> {
    match candidates {
        [only] => Ok(*only),
        [] => Err(Problem::new(ErrorCode::NotFound, format!("`{}` has no such image", root.display()))),
        _ => Err(Problem::new(ErrorCode::Invalid, format!("`{}` has several images", root.display()))
            .hint("name one with `oci:DIR:TAG`")),
    }
}

/// A layer that is about to be read, its bytes counted.
fn told(bar: &ProgressBar, layer: Result<Input, InventoryProblem>) -> Result<Input, InventoryProblem> {
    match &layer {
        Ok(Input::File(file)) => bar.inc(file.metadata().map_or(0, |data| data.len())),
        Ok(Input::Part { bytes, .. }) => bar.inc(*bytes),
        _ => {}
    }
    layer
}

fn open_blob(root: &Path, digest: &Digest) -> Result<Input, InventoryProblem> {
    File::open(blob_path(root, digest))
        .map(Input::File)
        .map_err(|_| missing(&format!("`{digest}` is not there")))
}

fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, Problem> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, error))?;
    if bytes.len() > limit {
        return Err(unreadable(path, format!("it is longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// An archive of `docker save`.
fn archived(file: File, name: &Path, bar: &ProgressBar) -> Result<InventoryReady, Problem> {
    let bad = |error: &ArchiveError| unreadable(name, seaworthy_store::chain(error));
    let sandbox = Arc::new(Sandbox::new(Limits::default()));
    let archive = ImageArchive::open(file, &sandbox).map_err(|error| bad(&error))?;
    let config = archive.config().map_err(|error| bad(&error))?;
    bar.set_length(archive.layer_bytes());
    let layers = archive.layers().map(|layer| told(bar, layer.map_err(|why| missing(&why))));
    Ok(inspect_local(LocalConfig::Bytes(&config), layers, &LayerReader::Sandboxed(sandbox)))
}
