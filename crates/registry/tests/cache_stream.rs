//! Blobs through a cache, as they come.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{Request, StatusCode};
use seaworthy_registry::{SendsFiles, limit};
use seaworthy_store::{args, map::file_behind};
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use crate::{
    client::{Client, ROOMS, World},
    upstream::{Fault, Upstream, until},
};

db_tests!(super::ROOMS; pull_through_streams_from_the_first_byte, a_wrong_digest_is_never_served_whole,
    a_cut_upstream_goes_on_where_it_stood, a_reader_that_goes_away_ends_nothing, ranges_wait_for_all_of_it,
    a_fetch_that_gets_nowhere_ends, an_upstream_without_ranges_is_not_asked_in_vain, so_many_are_fetched_at_once,
    who_follows_another_fetch_takes_no_turn, so_many_are_filled_at_once,
    a_slow_upstream_holds_no_other_up, an_upstream_that_drips_is_given_up, what_had_no_turn_is_filled_later, lengths_are_what_the_manifest_says, a_head_downloads_nothing);

const SIZE: usize = 600_000;

fn layer() -> Vec<u8> {
    (0..SIZE).map(|at| u8::try_from(at % 251).expect("small")).collect()
}

/// A cached manifest of one layer; nothing of the layer is here.
async fn begun(world: &World, upstream: &Upstream) -> (Client, String, String) {
    let image = upstream.put_image("a:1", &[&layer()]);
    upstream.cached(world, json!({"check_seconds": 60})).await;
    let client = world.operator();
    // A HEAD brings the manifest and has nothing fetched behind it.
    let head = client.send("HEAD", "/v2/hub/a/manifests/1", &[], "").await;
    assert_eq!(head.status, StatusCode::OK);
    let digest = image.layers[0];
    (client, format!("/v2/hub/a/blobs/{digest}"), format!("GET /v2/a/blobs/{digest}"))
}

fn request(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost").body(Body::empty()).expect("request")
}

/// The same at a door that sends files without reading them.
fn sending(path: &str) -> Request<Body> {
    let mut request = request(path);
    request.extensions_mut().insert(SendsFiles);
    request
}

async fn rows(world: &World) -> usize {
    let sql = "SELECT 1 FROM registry_blobs WHERE size > 1000";
    world.test.db.fetch_all(sql, args![]).await.expect("rows").len()
}

fn dripping(upstream: &Upstream, call: &str) -> mpsc::Sender<Bytes> {
    let (drops, source) = mpsc::channel(1);
    upstream.fault(call, Fault::Drip(source));
    drops
}

/// Reads until so many bytes have come.
async fn read(
    body: &mut (impl futures_util::Stream<Item = Result<Bytes, axum::Error>> + Unpin),
    least: usize,
) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < least {
        all.extend_from_slice(&body.next().await.expect("more").expect("bytes"));
    }
    all
}

async fn pull_through_streams_from_the_first_byte(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let (client, path, call) = begun(&world, &upstream).await;
    let (drops, all) = (dripping(&upstream, &call), Bytes::from(layer()));
    drops.send(all.slice(..1)).await.expect("asked for");
    let response = client.open(sending(&path)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-length"], SIZE.to_string().as_str());
    assert_eq!(response.headers()["cache-status"], "seaworthy; fwd=miss; stored");
    let mut body = response.into_body().into_data_stream();
    assert_eq!(read(&mut body, 1).await, &all[..1], "the first byte is here, and no other");
    drops.send(all.slice(1..100_000)).await.expect("asked for");
    let mut got = all[..1].to_vec();
    got.extend(read(&mut body, 99_999).await);
    // Another comes when it is under way, and begins at the beginning.
    let second = client.open(request(&path)).await;
    assert_eq!(second.headers()["cache-status"], "seaworthy; fwd=miss; collapsed");
    let mut second = second.into_body().into_data_stream();
    let mut other = read(&mut second, 100_000).await;
    // All but the last byte is sent: the end is withheld from everybody.
    drops.send(all.slice(100_000..SIZE - 1)).await.expect("asked for");
    let given = SIZE - usize::try_from(limit::WITHHELD_BYTES).expect("small");
    got.extend(read(&mut body, given - got.len()).await);
    other.extend(read(&mut second, given - other.len()).await);
    assert_eq!(got.len(), given);
    for _ in 0..5 {
        // Not because it lets others go first.
        assert!(
            futures_util::poll!(body.next()).is_pending() && futures_util::poll!(second.next()).is_pending()
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(rows(&world).await, 0);
    drops.send(all.slice(SIZE - 1..)).await.expect("asked for");
    drop(drops);
    for (mut body, mut got) in [(body, got), (second, std::mem::take(&mut other))] {
        while let Some(bytes) = body.next().await {
            got.extend_from_slice(&bytes.expect("bytes"));
            assert!(got.len() < SIZE || got.len() == SIZE);
        }
        assert!(got == all, "all of it, as it is");
    }
    assert_eq!((rows(&world).await, upstream.count(&call)), (1, 1));
}

async fn a_wrong_digest_is_never_served_whole(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let (client, path, call) = begun(&world, &upstream).await;
    let mut wrong = layer();
    wrong[SIZE - 1] ^= 1;
    for (ask, sends) in [(request as fn(&str) -> Request<Body>, false), (sending, true)] {
        upstream.fault(&call, Fault::Other(wrong.clone().into()));
        let response = client.open(ask(&path)).await;
        // All of it may be here, and found out, before it is answered.
        let is_given = response.status() == StatusCode::OK;
        let mut body = response.into_body().into_data_stream();
        let (mut got, mut files) = (0, 0);
        let failed = loop {
            match body.next().await {
                Some(Ok(bytes)) => {
                    got += bytes.len();
                    files += usize::from(file_behind(&bytes).is_some());
                }
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!((failed || !is_given) && got < SIZE, "{got}");
        assert!(sends || files == 0, "read");
        assert!(!is_given || !sends || files > 0 || got <= limit::HEAD_BYTES, "sent from the file");
    }
    assert_eq!(rows(&world).await, 0);
    let uploads = world.test.path().join("uploads/registry");
    assert_eq!(std::fs::read_dir(uploads).map_or(0, Iterator::count), 0, "nothing is kept");
    assert!(client.get(&path).await.body == layer(), "the next one brings it");

    // A manifest under a name that is not its own.
    let other = upstream.put_image("b:1", &[b"other"]);
    let named = seaworthy_oci::Digest::sha256(b"another");
    upstream.put(&format!("/v2/b/manifests/{named}"), crate::client::IMAGE, other.manifest.clone());
    let answer = client.get(&format!("/v2/hub/b/manifests/{named}")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    upstream.fault("GET /v2/b/manifests/1", Fault::Other(other.manifest.replace('{', "{ ").into()));
    assert_eq!(client.get("/v2/hub/b/manifests/1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    upstream.put_manifest("b", "junk", crate::client::IMAGE, "no manifest");
    assert_eq!(client.get("/v2/hub/b/manifests/junk").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

async fn a_cut_upstream_goes_on_where_it_stood(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let (client, path, call) = begun(&world, &upstream).await;
    upstream.fault(&call, Fault::Cut(100_000));
    upstream.fault(&call, Fault::Cut(50_000));
    let answer = client.get(&path).await;
    assert!(answer.status == StatusCode::OK && answer.body == layer());
    let from: Vec<usize> = upstream
        .seen()
        .iter()
        .filter(|seen| seen.call == call)
        .map(|seen| {
            let range = seen.headers.get("range").map_or("bytes=0-", |it| it.to_str().expect("text"));
            range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a place")
        })
        .collect();
    assert_eq!(from.len(), 3);
    assert_eq!(from[0], 0);
    assert!(from[1] > 0 && from[1] <= 100_000 && from[2] >= from[1] && from[2] <= 150_000, "{from:?}");
}

async fn a_reader_that_goes_away_ends_nothing(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let (client, path, call) = begun(&world, &upstream).await;
    let (drops, all) = (dripping(&upstream, &call), Bytes::from(layer()));
    drops.send(all.slice(..100_000)).await.expect("asked for");
    let mut body = client.open(request(&path)).await.into_body().into_data_stream();
    read(&mut body, 100_000).await;
    drop(body);
    drops.send(all.slice(100_000..)).await.expect("still asked for");
    drop(drops);
    assert!(client.get(&path).await.body == all);
    assert_eq!(upstream.count(&call), 1);
}

async fn ranges_wait_for_all_of_it(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let (client, path, call) = begun(&world, &upstream).await;
    let (drops, all) = (dripping(&upstream, &call), Bytes::from(layer()));
    drops.send(all.slice(..SIZE - 1)).await.expect("asked for");
    let mut part = Box::pin(client.send("GET", &path, &[("range", "bytes=5-9")], ""));
    let mut whole = client.open(request(&path)).await.into_body().into_data_stream();
    read(&mut whole, 1).await;
    assert!(futures_util::poll!(&mut part).is_pending(), "nothing of it is verified");
    drops.send(all.slice(SIZE - 1..)).await.expect("asked for");
    drop(drops);
    let part = part.await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &all[5..10]));
    let rest: Vec<Bytes> = whole.try_collect().await.expect("the rest");
    assert!(!rest.is_empty());
}

async fn a_fetch_that_gets_nowhere_ends(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let (client, path, call) = begun(&world, &upstream).await;
    for _ in 0..limit::FETCH_ATTEMPTS {
        upstream.fault(&call, Fault::Cut(0));
    }
    let answer = client.get(&path).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(upstream.count(&call) as u64, u64::from(limit::FETCH_ATTEMPTS));
    assert!(client.get(&path).await.body == layer());
    // One that brings a little each time is ended, too.
    let other = vec![8u8; SIZE];
    let image = upstream.put_image("b:1", &[&other]);
    client.send("HEAD", "/v2/hub/b/manifests/1", &[], "").await;
    let (path, call) =
        (format!("/v2/hub/b/blobs/{}", image.layers[0]), format!("GET /v2/b/blobs/{}", image.layers[0]));
    for _ in 0..limit::FETCH_ATTEMPTS_MAX {
        upstream.fault(&call, Fault::Cut(1));
    }
    let response = client.open(request(&path)).await;
    let is_given = response.status() == StatusCode::OK;
    let body: Result<Vec<Bytes>, _> = response.into_body().into_data_stream().try_collect().await;
    assert!(!is_given || body.is_err());
    assert_eq!(upstream.count(&call) as u64, u64::from(limit::FETCH_ATTEMPTS_MAX));
}

/// The address of a place that answers once, knows no ranges, and ends the connection after so many bytes of `all`: those
/// arrive, which a server that fails does not promise.
async fn breaking_off(all: &[u8], after: usize) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", all.len()).into_bytes();
    answer.extend_from_slice(&all[..after]);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.expect("a request"));
        }
        stream.write_all(&answer).await.expect("sent");
        stream.shutdown().await.expect("ended");
        // Until the other side has read it.
        stream.read_to_end(&mut asked).await.ok();
    });
    format!("http://{address}/")
}

async fn an_upstream_without_ranges_is_not_asked_in_vain(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let (client, path, call) = begun(&world, &upstream).await;
    let anew = usize::try_from(limit::FETCHES_ANEW).expect("small");
    let further: Vec<usize> = (1..=anew + 1).map(|time| 20_000 * time).collect();
    // How far it comes each time.
    for reaches in [
        // Where it was, or not even there: nothing is gained by asking for all of it again.
        vec![20_000, 20_000],
        vec![20_000, 10_000],
        // Further each time: as often as it may, and once more.
        further.clone(),
        [&further[..anew], &[SIZE]].concat(),
    ] {
        let before = upstream.count(&call);
        for reach in &reaches {
            let place = breaking_off(&layer(), *reach).await;
            upstream.fault(&call, Fault::Status(307, vec![("location", place)]));
        }
        let response = client.open(request(&path)).await;
        // What failed before it was answered is refused, and what fails later breaks off.
        let is_given = response.status() == StatusCode::OK;
        let got: Result<Vec<Bytes>, _> = response.into_body().into_data_stream().try_collect().await;
        let (is_got, is_whole) = (is_given && got.is_ok(), reaches.contains(&SIZE));
        assert_eq!((is_got, rows(&world).await), (is_whole, usize::from(is_whole)), "{reaches:?}");
        assert_eq!(upstream.count(&call) - before, reaches.len());
    }
}

async fn lengths_are_what_the_manifest_says(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let (client, path, call) = begun(&world, &upstream).await;
    for length in [SIZE - 1, SIZE + 1, 0] {
        let mut other = layer();
        other.resize(length, 0);
        upstream.fault(&call, Fault::Other(other.into()));
        let response = client.open(request(&path)).await;
        let status = response.status();
        let got: Result<Vec<Bytes>, _> = response.into_body().into_data_stream().try_collect().await;
        assert!(status != StatusCode::OK || got.is_err(), "{length}");
    }
    assert_eq!(rows(&world).await, 0);
}

/// Layers of a few bytes, each other than all before.
fn layers(count: usize, of: &str) -> Vec<Vec<u8>> {
    (0..count).map(|number| format!("{of} {number}").into_bytes()).collect()
}

/// How many blobs were asked for.
fn asked(upstream: &Upstream, wanted: &[seaworthy_oci::Digest]) -> usize {
    let seen = upstream.seen();
    let is_wanted = |call: &str| wanted.iter().any(|digest| call.ends_with(&format!("/blobs/{digest}")));
    seen.iter().filter(|seen| seen.call.starts_with("GET ") && is_wanted(&seen.call)).count()
}

/// A cache of its own whose upstream holds back so many blobs, all of which somebody waits for; their digests, and what
/// lets them go.
async fn held(
    world: &World,
    prefix: &str,
    count: usize,
) -> (Upstream, Vec<seaworthy_oci::Digest>, Vec<mpsc::Sender<Bytes>>) {
    let upstream = Upstream::new().await;
    let bytes = layers(count, "layer");
    let image = upstream.put_image("a:1", &bytes.iter().map(Vec::as_slice).collect::<Vec<_>>());
    upstream.cached(world, json!({"prefix": prefix})).await;
    let client = world.operator();
    client.send("HEAD", &format!("/v2/{prefix}/a/manifests/1"), &[], "").await;
    let hold = |digest| dripping(&upstream, &format!("GET /v2/a/blobs/{digest}"));
    let held = image.layers.iter().map(hold).collect();
    for digest in &image.layers {
        let (client, path) = (client.clone(), format!("/v2/{prefix}/a/blobs/{digest}"));
        tokio::spawn(async move { client.get(&path).await });
    }
    (upstream, image.layers, held)
}

async fn so_many_are_fetched_at_once(test: TestDb) {
    let world = World::new(test).await;
    let (own, caches) = (limit::CACHE_FETCHES, limit::FETCHES / limit::CACHE_FETCHES);
    let mut all = Vec::new();
    for number in 0..=caches {
        let (upstream, layers, held) = held(&world, &format!("hub{number}"), own + 1).await;
        // All turns that are left are taken: the last has the one that each has besides.
        let most = if number < caches { own } else { 1 };
        until(async || asked(&upstream, &layers) >= most).await;
        // What else is asked goes on meanwhile, and what others want, too.
        for number in 0..=number {
            let answer = world.operator().get(&format!("/v2/hub{number}/b/manifests/1")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
        }
        assert_eq!(asked(&upstream, &layers), most, "{number}");
        all.push((upstream, layers, held));
    }
    // When one ends, whichever it was, another's turn of that cache has come; when those of one cache do, that of the
    // last.
    let (first, layers, mut held) = all.remove(0);
    while let Some(one) = held.pop() {
        drop(one);
        if asked(&first, &layers) > own {
            break;
        }
    }
    until(async || asked(&first, &layers) > own).await;
    held.clear();
    let (last, layers, _) = all.last().expect("one");
    until(async || asked(last, layers) == own).await;
}

/// Many images have a layer in common: it comes once, and has one turn.
async fn who_follows_another_fetch_takes_no_turn(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let client = world.operator();
    upstream.cached(&world, json!({})).await;
    let mut asking = Vec::new();
    let ask = |number: usize, layer: seaworthy_oci::Digest| {
        let (client, path) = (client.clone(), format!("/v2/hub/a{number}/blobs/{layer}"));
        tokio::spawn(async move { client.get(&path).await })
    };
    let mut drops = None;
    for number in 0..limit::CACHE_FETCHES {
        let layer = upstream.put_image(&format!("a{number}:1"), &[&layer()]).layers[0];
        client.send("HEAD", &format!("/v2/hub/a{number}/manifests/1"), &[], "").await;
        let call = format!("/v2/a{number}/blobs/{layer}");
        drops.get_or_insert_with(|| dripping(&upstream, &format!("GET {call}")));
        asking.push(ask(number, layer));
        let first = if number == 0 { "GET" } else { "HEAD" };
        until(async || upstream.count(&format!("{first} {call}")) == 1).await;
    }
    let other = upstream.put_image("b:1", &[b"other"]).layers[0];
    client.send("HEAD", "/v2/hub/b/manifests/1", &[], "").await;
    let path = format!("/v2/hub/b/blobs/{other}");
    let other = tokio::spawn({
        let client = client.clone();
        async move { client.get(&path).await }
    });
    until(async || other.is_finished()).await;
    assert_eq!(other.await.expect("an answer").body, &b"other"[..]);
    let drops = drops.expect("one comes");
    drops.send(layer().into()).await.expect("still asked for");
    drop(drops);
    for one in asking {
        assert!(one.await.expect("an answer").body == layer());
    }
    let seen = upstream.seen();
    let gets = seen.iter().filter(|it| it.call.starts_with("GET /v2/a") && it.call.contains("/blobs/"));
    assert_eq!(gets.count(), 1);
}

/// However slow one is, and whoever waits for it.
async fn a_slow_upstream_holds_no_other_up(test: TestDb) {
    let world = World::set_up(test, |config| {
        config.upstreams.turn_patience = std::time::Duration::from_millis(50);
    })
    .await;
    let (slow, layers, _held) = held(&world, "slow", limit::CACHE_FETCHES).await;
    until(async || asked(&slow, &layers) == limit::CACHE_FETCHES).await;
    let client = world.operator();
    let more = slow.put_image("b:1", &[b"more"]);
    client.send("HEAD", "/v2/slow/b/manifests/1", &[], "").await;
    let late = tokio::spawn({
        let (client, path) = (client.clone(), format!("/v2/slow/b/blobs/{}", more.layers[0]));
        async move { client.get(&path).await.status }
    });
    // The other gives all that it has, also what nobody waits for.
    let upstream = Upstream::new().await;
    let bytes = self::layers(limit::FILLS_PER_IMAGE + 1, "well");
    let image = upstream.put_image("a:1", &bytes.iter().map(Vec::as_slice).collect::<Vec<_>>());
    upstream.cached(&world, json!({})).await;
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    for (digest, bytes) in image.layers.iter().zip(bytes) {
        assert!(client.get(&format!("/v2/hub/a/blobs/{digest}")).await.body == bytes);
    }
    until(async || crate::upstream::is_filled(&world, &image.digest).await).await;
    assert!(!late.is_finished(), "it waits for a turn of its own upstream");
    late.abort();
}

async fn an_upstream_that_drips_is_given_up(test: TestDb) {
    let world = World::set_up(test, |config| {
        config.upstreams.patience = std::time::Duration::from_millis(100);
    })
    .await;
    let upstream = Upstream::new().await;
    let (client, path, call) = begun(&world, &upstream).await;
    let drops = dripping(&upstream, &call);
    let drip = tokio::spawn(async move {
        let mut turns = tokio::time::interval(std::time::Duration::from_millis(20));
        while drops.send(Bytes::from_static(b"x")).await.is_ok() {
            turns.tick().await;
        }
    });
    let asked = tokio::spawn(async move { client.send("GET", &path, &[("range", "bytes=0-9")], "").await });
    until(async || asked.is_finished()).await;
    let answer = asked.await.expect("an answer");
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().contains("in time"), "{}", answer.text());
    assert_eq!(upstream.count(&call), 1, "it is not asked for the rest");
    drip.await.expect("nobody listens any more");
}

/// Has `count` images of a new cache fetched whose layers its upstream holds back.
async fn held_images(
    world: &World,
    prefix: &str,
    count: usize,
) -> (Upstream, Vec<seaworthy_oci::Digest>, Vec<mpsc::Sender<Bytes>>) {
    let upstream = Upstream::new().await;
    upstream.cached(world, json!({"prefix": prefix})).await;
    let (mut held, mut all) = (Vec::new(), Vec::new());
    for number in 0..count {
        let bytes = layers(limit::FILLS_PER_IMAGE + 1, &format!("image {number}"));
        let image =
            upstream.put_image(&format!("a{number}:1"), &bytes.iter().map(Vec::as_slice).collect::<Vec<_>>());
        for digest in &image.layers {
            held.push(dripping(&upstream, &format!("GET /v2/a{number}/blobs/{digest}")));
        }
        all.extend(image.layers);
        let answer = world.operator().get(&format!("/v2/{prefix}/a{number}/manifests/1")).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    (upstream, all, held)
}

async fn so_many_are_filled_at_once(test: TestDb) {
    let world = World::new(test).await;
    let (own, caches) = (limit::CACHE_FILLS, limit::FILLS / limit::CACHE_FILLS);
    let mut all = Vec::new();
    for number in 0..=caches {
        let (upstream, layers, held) = held_images(&world, &format!("hub{number}"), own + 1).await;
        let most = if number < caches { own * limit::FILLS_PER_IMAGE } else { limit::FILLS_PER_IMAGE };
        until(async || asked(&upstream, &layers) >= most).await;
        assert_eq!(asked(&upstream, &layers), most, "{number}");
        all.push((upstream, layers, held));
    }
    all.remove(0).2.clear();
    let (last, layers, _) = all.last().expect("one");
    until(async || asked(last, layers) == own * limit::FILLS_PER_IMAGE).await;
}

/// It is due by the clock, behind others.
async fn what_had_no_turn_is_filled_later(test: TestDb) {
    let world = World::set_up(test, |config| {
        config.upstreams.turn_patience = std::time::Duration::from_millis(50);
    })
    .await;
    let (_upstream, _, _held) = held_images(&world, "hub", limit::CACHE_FILLS + 1).await;
    until(async || {
        let sql = "SELECT 1 FROM registry_cached WHERE due IS NOT NULL AND tries = 0";
        world.test.db.fetch_all(sql, args![]).await.expect("rows").len() == 1
    })
    .await;
}

async fn a_head_downloads_nothing(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let (client, path, call) = begun(&world, &upstream).await;
    let answer = client.send("HEAD", &path, &[], "").await;
    assert_eq!((answer.status, answer.header("content-length")), (StatusCode::OK, SIZE.to_string().as_str()));
    assert_eq!(upstream.count(&call), 0);
    assert_eq!(rows(&world).await, 0);
}
