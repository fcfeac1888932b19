//! `image import` of a layout: its images to the registry, byte for byte.

use std::{
    collections::{BTreeSet, HashMap},
    io::Read as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use indicatif::ProgressBar;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Descriptor, Digest, Manifest, Reference, RepoName};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    export::pause,
    local, names,
    plan::{Image, Part, Plan, Wish},
};
use crate::{
    client::{Body, Server},
    distribution::{Begun, Name, Remote},
    failure::{Failure, Outcome, usage},
    flags::{Global, LayoutFlags},
    layout::{Blob, Layout, Place, Source, Verified, limit},
    render::{self, Amount},
    text::{Text, language},
};

/// Where somebody wants an image to be.
///
/// What begins with a host that is not the registry's is a place where there is such a repository, as for `image promote`:
/// else whoever names the registry by another name would have it judged by other policies.
async fn place(server: &Server, text: &str, names: &[String]) -> Result<Place, Failure> {
    let reference = local(text, names)?;
    if reference.digest.is_some() {
        return Err(usage(format!("`{text}` is neither REPOSITORY nor REPOSITORY:TAG")));
    }
    let repository = reference.repository;
    let is_whole = text.parse().is_ok_and(|typed: Reference| typed.repository != repository);
    if is_whole {
        let path = format!("/api/v1/registry/repositories?prefix={repository}&n=1");
        let found = server.get(&path).await?;
        if found.pointer("/repositories/0/repository").and_then(Value::as_str) != Some(repository.as_str()) {
            return Err(usage(format!("`{text}` is an image of another registry")));
        }
    }
    Ok(Place { repository, tag: reference.tag })
}

/// Bytes of one piece of an upload.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces of one upload that are in memory.
const PIECES: usize = 4;

pub(crate) async fn import(
    global: &Global,
    source: Source,
    destination: Option<&str>,
    flags: &LayoutFlags,
) -> Outcome {
    let server = Server::of(global)?;
    let names = names(&server, destination.as_slice()).await;
    let destination = match destination {
        Some(text) => Some(place(&server, text, &names).await?),
        None => None,
    };
    let below =
        flags.below.as_deref().map(|text| text.parse::<RepoName>().map_err(|error| usage(error.to_string())));
    let wish = Wish { name: source.name.clone(), destination, below: below.transpose()? };
    let read = tokio::task::spawn_blocking(move || {
        let layout = Layout::open(&source)?;
        let plan = Plan::read(&layout, &wish)?;
        Ok::<_, Problem>((layout, plan))
    });
    let (layout, plan) = read
        .await
        .map_err(|_| Problem::new(ErrorCode::Internal, "the layout's reader ended unexpectedly"))??;
    let absent: BTreeSet<Digest> = plan.images.iter().flat_map(|image| plan.absent_of(image)).collect();
    for (why, left) in [
        (Text::ReferrersLeftOut, plan.left.clone()),
        (Text::AbsentLeftOut, absent.into_iter().collect::<Vec<_>>()),
    ] {
        if !left.is_empty() {
            let left: Vec<String> = left.iter().map(Digest::to_string).collect();
            render::note(&format!("{} {}", why.say(language()), left.join(", ")));
        }
    }
    if flags.dry_run {
        say(global, &plan, &plan.images.iter().map(|image| plan.bytes_of(image)).collect::<Vec<_>>());
        return Ok(());
    }
    let total = plan.images.iter().map(|image| plan.bytes_of(image)).sum();
    let bar = render::progress(global, Text::ImportingImages, Amount::BytesOf(total));
    let mut pusher =
        Pusher { layout: Arc::new(layout), server, idle: Vec::new(), sources: HashMap::new(), bar };
    let uploaded = pusher.push_all(&plan).await;
    pusher.bar.finish_and_clear();
    say(global, &plan, &uploaded?);
    if let Some(image) = plan.images.first() {
        let hint = format!("{} seaworthy check {}", Text::Judge.say(language()), name(image));
        render::note(&hint);
    }
    Ok(())
}

fn name(image: &Image) -> String {
    match image.place.tag {
        Some(_) => image.place.to_string(),
        None => format!("{}@{}", image.place.repository, image.digest),
    }
}

fn say(global: &Global, plan: &Plan, bytes: &[u64]) {
    let rows = plan.images.iter().zip(bytes).map(|(image, bytes)| {
        json!({
            "reference": name(image), "digest": image.digest, "bytes": bytes,
            "manifests": image.pushes.len(), "referrers": image.referrers, "absent": plan.absent_of(image),
        })
    });
    let columns = [
        ("REFERENCE", "/reference"),
        ("DIGEST", "/digest"),
        ("BYTES", "/bytes"),
        ("MANIFESTS", "/manifests"),
        ("REFERRERS", "/referrers"),
    ];
    render::list(global, &Value::Array(rows.collect()), "/digest", &columns);
}

/// Pushes images one after another, the blobs of each at once.
struct Pusher {
    layout: Arc<Layout>,
    server: Server,
    /// Connections that nobody uses.
    idle: Vec<Remote>,
    /// Which repository has a blob, as this run has seen.
    sources: HashMap<Digest, Vec<RepoName>>,
    bar: ProgressBar,
}

/// How a blob is brought in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// What is there stays there; what another repository has is taken from it.
    Sparing,
    /// Sent, whatever is there: who has the bytes may name them.
    Sent,
}

impl Pusher {
    /// The bytes that were uploaded of each image.
    async fn push_all(&mut self, plan: &Plan) -> Result<Vec<u64>, Problem> {
        let mut uploaded = Vec::new();
        for image in &plan.images {
            uploaded.push(self.push(plan, image).await?);
        }
        Ok(uploaded)
    }

    /// Pushes an image with all that comes along; returns the bytes that were uploaded.
    async fn push(&mut self, plan: &Plan, image: &Image) -> Result<u64, Problem> {
        let repository = &image.place.repository;
        let mut uploaded = 0;
        for digest in &image.pushes {
            let Some(part) = plan.manifests.get(digest) else { continue };
            uploaded += self.bring(repository, part, Way::Sparing).await?;
            self.bar.inc(part.bytes.len() as u64);
            let tag = image.place.tag.as_ref().filter(|_| *digest == image.digest);
            let wanted = tag.map_or(Name::Digest(*digest), |tag| Name::Tag(tag.clone()));
            let mut remote = self.remote().await?;
            if remote.digest_of(repository, &wanted).await? == Some(*digest) {
                self.idle.push(remote);
                continue;
            }
            let content = || (part.manifest.media_type(), part.bytes.clone());
            let put = remote.put_manifest(repository, (digest, tag), content()).await;
            let is_artifact = matches!(&part.manifest, Manifest::Image(image) if !image.is_image());
            let put = match put {
                // Its blobs are parts of images that may not be pulled; we have the bytes.
                Err(problem) if problem.code == ErrorCode::Denied && is_artifact => {
                    uploaded += self.bring(repository, part, Way::Sent).await?;
                    remote.put_manifest(repository, (digest, tag), content()).await
                }
                put => put,
            };
            let warning = put.map_err(|problem| refused(problem, &self.layout, digest, part))?;
            if let Some(warning) = warning {
                render::note(&warning);
            }
            uploaded += part.bytes.len() as u64;
            self.idle.push(remote);
        }
        Ok(uploaded)
    }

    async fn remote(&mut self) -> Result<Remote, Problem> {
        match self.idle.pop() {
            Some(remote) => Ok(remote),
            None => Remote::connect(&self.server).await,
        }
    }

    /// Brings in the blobs of a manifest; returns the bytes that were uploaded.
    async fn bring(&mut self, repository: &RepoName, part: &Part, way: Way) -> Result<u64, Problem> {
        let mut waiting: Vec<Descriptor> = Vec::new();
        for blob in part.blobs() {
            let known = self.sources.get(&blob.digest).is_some_and(|all| all.contains(repository));
            let twice = waiting.iter().any(|other| other.digest == blob.digest);
            if (known && way == Way::Sparing) || twice {
                self.bar.inc(blob.size);
            } else {
                waiting.push(blob.clone());
            }
        }
        let (mut tasks, mut uploaded) = (JoinSet::new(), 0);
        loop {
            while tasks.len() < limit::UPLOADS
                && let Some(blob) = waiting.pop()
            {
                let from = self.sources.get(&blob.digest).and_then(|all| all.first()).cloned();
                let (layout, repository) = (self.layout.clone(), repository.clone());
                let (mut remote, bar) = (self.remote().await?, self.bar.clone());
                tasks.spawn(async move {
                    let carried =
                        Carried { layout: &layout, repository: &repository, blob: &blob, bar: &bar };
                    let sent = carried.bring(&mut remote, from.as_ref(), way).await;
                    (remote, blob.digest, sent)
                });
            }
            let Some(done) = tasks.join_next().await else { return Ok(uploaded) };
            let (remote, digest, sent) =
                done.map_err(|_| Problem::new(ErrorCode::Internal, "an upload ended unexpectedly"))?;
            uploaded += sent?;
            self.idle.push(remote);
            self.sources.entry(digest).or_default().push(repository.clone());
        }
    }
}

/// An index that names what the layout does not have is the registry's to take or not.
fn refused(problem: Problem, layout: &Layout, digest: &Digest, part: &Part) -> Problem {
    let Some(one) = part.absent.first() else { return problem };
    if problem.code != ErrorCode::ManifestBlobUnknown {
        return problem;
    }
    let message = format!("index {digest} names {one}, which `{}` does not have", layout.path().display());
    Problem::new(problem.code, message).hint("export it again with all its platforms, or with `--platform`")
}

/// One blob on its way.
struct Carried<'c> {
    layout: &'c Layout,
    repository: &'c RepoName,
    blob: &'c Descriptor,
    bar: &'c ProgressBar,
}

impl Carried<'_> {
    /// Returns the bytes that were uploaded. What breaks off or is refused for a while is begun anew, as long as the
    /// registry may be waited for.
    async fn bring(&self, remote: &mut Remote, from: Option<&RepoName>, way: Way) -> Result<u64, Problem> {
        remote.wait_anew();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let problem = match self.try_once(remote, from, way).await {
                Ok(uploaded) => return Ok(uploaded),
                Err(problem) => problem,
            };
            let passes = matches!(problem.code, ErrorCode::Unavailable | ErrorCode::TooManyRequests);
            if !passes || attempt >= limit::ATTEMPTS {
                return Err(problem);
            }
            let asked = problem.retry_after_seconds.map(|it| Duration::from_secs(it.into()));
            if !remote.wait(asked.unwrap_or_else(|| pause(attempt))).await {
                return Err(self.given_up(problem));
            }
            // It may be away for longer: the next attempt says so.
            drop(remote.reconnect().await);
        }
    }

    fn given_up(&self, problem: Problem) -> Problem {
        let (digest, seconds, why) = (self.blob.digest, limit::WAIT_SECONDS, &problem.message);
        let message = format!("gave {digest} up: the registry is waited for {seconds} s at most: {why}");
        Problem { message, ..problem }.hint("import it again later: what is there is not sent again")
    }

    async fn try_once(&self, remote: &mut Remote, from: Option<&RepoName>, way: Way) -> Result<u64, Problem> {
        let digest = &self.blob.digest;
        if way == Way::Sparing && remote.has_blob(self.repository, digest).await? {
            self.bar.inc(self.blob.size);
            return Ok(0);
        }
        let from = from.filter(|from| way == Way::Sparing && *from != self.repository);
        match remote.begin(self.repository, digest, from).await? {
            Begun::Mounted => {
                self.bar.inc(self.blob.size);
                Ok(0)
            }
            Begun::Upload(place) => self.upload(remote, &place).await,
        }
    }

    async fn upload(&self, remote: &mut Remote, place: &str) -> Result<u64, Problem> {
        let Descriptor { digest, size, .. } = *self.blob;
        let failed = |code, why: &dyn std::fmt::Display| {
            Problem::new(code, format!("failed to upload {digest}: {why}"))
        };
        let Some(blob) = self.layout.described(self.blob)? else {
            return Err(failed(ErrorCode::NotFound, &"it is not there any more"));
        };
        let (sender, receiver) = mpsc::channel(PIECES);
        let bar = self.bar.clone();
        let reading = tokio::task::spawn_blocking(move || pieces(&blob, digest, &sender, &bar));
        let body: Body = Pieces { receiver, left: size }.boxed();
        let sent = remote.upload(place, (&digest, size), body).await;
        match reading.await {
            Ok(Err(error)) => {
                remote.cancel(place).await;
                Err(failed(ErrorCode::DigestInvalid, &error))
            }
            Ok(Ok(read)) => match sent {
                Ok(()) => Ok(size),
                Err(problem) => {
                    self.bar.dec(read);
                    remote.cancel(place).await;
                    Err(Problem { message: failed(problem.code, &problem.message).message, ..problem })
                }
            },
            Err(error) => Err(failed(ErrorCode::Internal, &error)),
        }
    }
}

/// Reads a blob piece by piece; how many bytes that were. One that is not its digest ends in an error before its last
/// piece.
fn pieces(
    blob: &Blob,
    digest: Digest,
    sender: &mpsc::Sender<std::io::Result<Bytes>>,
    bar: &ProgressBar,
) -> std::io::Result<u64> {
    let mut all = 0;
    let mut reader = Verified::new(blob.reader(), digest, blob.bytes);
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let count = match reader.read(&mut piece) {
            Ok(0) => return Ok(all),
            Ok(count) => count,
            Err(error) => {
                // The request ends here, so that the registry does not take it for whole.
                drop(
                    sender.blocking_send(Err(std::io::Error::other("the blob is not what it is said to be"))),
                );
                return Err(error);
            }
        };
        piece.truncate(count);
        if sender.blocking_send(Ok(piece.into())).is_err() {
            // The server has answered already; its answer says why.
            return Ok(all);
        }
        all += count as u64;
        bar.inc(count as u64);
    }
}

/// The pieces as the body of a request.
struct Pieces {
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
    left: u64,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.receiver.poll_recv(context).map(|next| {
            let next = next?;
            if let Ok(bytes) = &next {
                self.left = self.left.saturating_sub(bytes.len() as u64);
            }
            Some(next.map(Frame::data))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use http::{Method, Request, Response, StatusCode, header};
    use hyper::{body::Incoming, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{net::UnixListener, sync::Barrier};

    use super::*;
    use crate::verbs::transfer::made::{Made, named};

    /// A registry that has nothing, and keeps uploads waiting until as many as may be are there.
    struct Waiting {
        barrier: Barrier,
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Waiting {
        async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
            let is_blob = request.uri().path().contains("/blobs/uploads/");
            let status = match *request.method() {
                Method::POST => StatusCode::ACCEPTED,
                Method::PUT if is_blob => {
                    let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
                    self.most.fetch_max(now, Ordering::SeqCst);
                    request.into_body().collect().await.expect("a body");
                    self.barrier.wait().await;
                    self.now.fetch_sub(1, Ordering::SeqCst);
                    StatusCode::CREATED
                }
                Method::PUT => StatusCode::CREATED,
                _ => StatusCode::NOT_FOUND,
            };
            let mut response = Response::new(crate::client::whole(Bytes::new()));
            *response.status_mut() = status;
            let place = header::HeaderValue::from_static("/v2/a/blobs/uploads/1");
            response.headers_mut().insert(header::LOCATION, place);
            Ok(response)
        }
    }

    async fn serve(listener: UnixListener, registry: Arc<Waiting>) {
        while let Ok((stream, _)) = listener.accept().await {
            let registry = registry.clone();
            tokio::spawn(async move {
                let answer = service_fn(|request| registry.answer(request));
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await
            });
        }
    }

    /// How a registry refuses: so often, and then no more.
    #[derive(Clone)]
    struct Refusals {
        count: usize,
        /// What is refused.
        method: Method,
        /// Busy, or broken; `None`: it cuts the connection.
        status: Option<StatusCode>,
        retry_after: &'static str,
    }

    async fn pushed_to_a_registry_that_fails(count: usize, status: Option<StatusCode>) -> Option<u64> {
        let refusals = Refusals { count, method: Method::PUT, status, retry_after: "0" };
        pushed_to_a_registry_with(refusals).await.ok()
    }

    async fn pushed_to_a_registry_with(refusals: Refusals) -> Result<u64, Problem> {
        let made = Made::new();
        let layout = made.listing(&[named(made.image(&[], None), "a:1")]);
        let plan = Plan::read(&layout, &Wish::default()).expect("a plan");
        let listener = UnixListener::bind(made.socket()).expect("a socket");
        let left = Arc::new(AtomicUsize::new(refusals.count));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let left = left.clone();
                let refusals = refusals.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (left, refusals) = (left.clone(), refusals.clone());
                    async move {
                        let is_blob = request.uri().path().contains("/blobs/uploads/");
                        let method = request.method().clone();
                        request.into_body().collect().await.expect("a body");
                        let is_refused = is_blob
                            && method == refusals.method
                            && left
                                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1))
                                .is_ok();
                        let mut response = Response::new(crate::client::whole(Bytes::new()));
                        *response.status_mut() = match (method, refusals.status) {
                            (_, Some(status)) if is_refused => status,
                            (_, None) if is_refused => return Err("cut"),
                            (Method::POST, _) => StatusCode::ACCEPTED,
                            (Method::PUT, _) => StatusCode::CREATED,
                            _ => StatusCode::NOT_FOUND,
                        };
                        let headers = response.headers_mut();
                        headers.insert(
                            header::LOCATION,
                            header::HeaderValue::from_static("/v2/a/blobs/uploads/1"),
                        );
                        let retry_after = header::HeaderValue::from_static(refusals.retry_after);
                        headers.insert(header::RETRY_AFTER, retry_after);
                        Ok(response)
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
                );
            }
        });
        let bar = ProgressBar::new(1_000);
        let mut pusher = Pusher {
            layout: Arc::new(layout),
            server: Server::Socket(made.socket()),
            idle: Vec::new(),
            sources: HashMap::new(),
            bar: bar.clone(),
        };
        let image = plan.images.first().expect("an image");
        let uploaded = pusher.push(&plan, image).await?;
        assert_eq!((uploaded, bar.position()), (plan.bytes_of(image), plan.bytes_of(image)), "told once");
        Ok(uploaded)
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_registry_is_waited_for_so_long() {
        let most = usize::try_from(limit::WAIT_SECONDS / limit::RETRY_SECONDS).expect("small");
        let busy = Some(StatusCode::TOO_MANY_REQUESTS);
        for (count, is_sent) in [(most, true), (most + 1, false), (usize::MAX, false)] {
            let begun = tokio::time::Instant::now();
            // Longer than it is waited for at once.
            let refusals = Refusals { count, method: Method::POST, status: busy, retry_after: "3600" };
            let pushed = pushed_to_a_registry_with(refusals).await;
            assert_eq!(begun.elapsed().as_secs(), limit::WAIT_SECONDS, "{count}");
            assert_eq!(pushed.is_ok(), is_sent, "{count}");
            let why = pushed.err().map(|problem| problem.message).unwrap_or_default();
            assert_eq!(why.contains("the registry is waited for 300 s at most"), !is_sent, "{why}");
        }
    }

    #[tokio::test]
    async fn what_fails_for_a_while_is_sent_again() {
        let last = limit::ATTEMPTS as usize - 1;
        assert!(pushed_to_a_registry_that_fails(1, None).await.is_some());
        for status in [Some(StatusCode::TOO_MANY_REQUESTS), Some(StatusCode::SERVICE_UNAVAILABLE)] {
            assert!(pushed_to_a_registry_that_fails(last, status).await.is_some(), "{status:?}");
            assert!(pushed_to_a_registry_that_fails(last + 1, status).await.is_none(), "{status:?}");
        }
        let refused = Some(StatusCode::INSUFFICIENT_STORAGE);
        assert!(pushed_to_a_registry_that_fails(1, refused).await.is_none(), "that does not pass");
    }

    #[tokio::test]
    async fn so_many_blobs_are_uploaded_at_once_and_no_more() {
        let made = Made::new();
        // With the config two full rounds.
        let layers: Vec<Vec<u8>> = (1..2 * limit::UPLOADS).map(|number| vec![7; number]).collect();
        let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        let layout = made.listing(&[named(made.image(&layers, None), "a:1")]);
        let plan = Plan::read(&layout, &Wish::default()).expect("a plan");
        let registry = Arc::new(Waiting {
            barrier: Barrier::new(limit::UPLOADS),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let listener = UnixListener::bind(made.socket()).expect("a socket");
        tokio::spawn(serve(listener, registry.clone()));
        let mut pusher = Pusher {
            layout: Arc::new(layout),
            server: Server::Socket(made.socket()),
            idle: Vec::new(),
            sources: HashMap::new(),
            bar: ProgressBar::hidden(),
        };
        let image = plan.images.first().expect("an image");
        let uploaded = pusher.push(&plan, image).await.expect("pushed");
        assert_eq!(uploaded, plan.bytes_of(image));
        assert_eq!(registry.most.load(Ordering::SeqCst), limit::UPLOADS);
    }
}
