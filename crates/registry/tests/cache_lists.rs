//! Lists of tags and of referrers below a cache: what the upstream says, whose word holds how long, and what of it is
//! not believed.

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_oci::Digest;
use seaworthy_registry::limit;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::{Value, json};

use crate::{
    cache::still,
    client::{Answer, Client, IMAGE, INDEX, ROOMS, World, artifact, sha512},
    upstream::{Fault, Image, Upstream, until},
};

db_tests!(super::ROOMS; a_signature_is_listed_and_pulled, referrers_are_listed_by_a_tag, many_clients_ask_for_a_list_once,
    a_list_holds_for_a_while, a_list_is_served_when_its_upstream_is_away, what_nobody_knows_is_not_empty, lists_of_referrers_are_not_believed,
    lists_of_referrers_are_bounded, what_is_here_is_known_better, types_are_those_of_what_is_here, annotations_are_for_who_may_pull, tags_are_in_our_order, tags_that_are_here,
    lists_of_tags_are_not_believed, so_many_lists_are_read_at_once);

pub(crate) const SIGNATURE: &str = "application/vnd.example.signature";

/// Puts what refers to `subject` where it is pulled from, and nowhere on a list.
pub(crate) fn put_artifact(
    upstream: &Upstream,
    repository: &str,
    subject: &Digest,
    note: &str,
) -> (Digest, String) {
    let manifest = artifact(subject, SIGNATURE, &format!(r#"{{"note":"{note}"}}"#));
    upstream.put_blob(repository, b"{}");
    (upstream.put_manifest(repository, "unused", IMAGE, &manifest), manifest)
}

pub(crate) fn entry(digest: &Digest, size: usize, artifact_type: &str) -> Value {
    json!({"mediaType": IMAGE, "digest": digest, "size": size, "artifactType": artifact_type})
}

pub(crate) fn index(manifests: &[Value]) -> String {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string()
}

pub(crate) fn list(upstream: &Upstream, image: &Image, manifests: &[Value]) {
    upstream.put(&format!("/v2/a/referrers/{}", image.digest), INDEX, index(manifests));
}

pub(crate) fn digests(answer: &Answer) -> Vec<String> {
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, INDEX), "{}", answer.text());
    let json: Value = serde_json::from_slice(&answer.body).expect("json");
    let all = json["manifests"].as_array().expect("a list");
    all.iter().map(|it| it["digest"].as_str().expect("a digest").to_owned()).collect()
}

fn tags(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let json: Value = serde_json::from_slice(&answer.body).expect("json");
    serde_json::from_value(json["tags"].clone()).expect("tags")
}

/// All pages, one after the other.
async fn pages(client: &Client, path: &str, read: impl Fn(&Answer) -> Vec<String>) -> Vec<Vec<String>> {
    let (mut all, mut path) = (Vec::new(), path.to_owned());
    while !path.is_empty() {
        let answer = client.get(&path).await;
        all.push(read(&answer));
        path = answer.next();
    }
    all
}

fn sorted(digests: &[Digest]) -> Vec<String> {
    let mut all: Vec<String> = digests.iter().map(ToString::to_string).collect();
    all.sort();
    all
}

/// What a client does that verifies: it lists, pulls what it finds by digest, and looks whether that is about the image.
async fn a_signature_is_listed_and_pulled(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    let (signature, manifest) = put_artifact(&upstream, "a", &image.digest, "s");
    let mut listed = entry(&signature, manifest.len(), SIGNATURE);
    listed["annotations"] = json!({"note": "s"});
    let sbom = entry(&Digest::sha256(b"sbom"), 4, "x/sbom+json");
    list(&upstream, &image, &[sbom.clone(), listed.clone()]);
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let client = world.service("ci", "AcrPull", "/repositories/hub").await;
    let path = format!("/v2/hub/a/referrers/{}", image.digest);
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    let answer = client.get(&path).await;
    assert_eq!(digests(&answer), sorted(&[signature, Digest::sha256(b"sbom")]));
    assert_eq!(
        (answer.header("warning"), answer.header("cache-status")),
        ("", "seaworthy; fwd=miss; stored")
    );
    let filtered = client.get(&format!("{path}?artifactType={SIGNATURE}")).await;
    assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
    assert_eq!(filtered.header("cache-status"), "seaworthy; hit");
    let json: Value = serde_json::from_slice(&filtered.body).expect("json");
    assert_eq!(json["manifests"], json!([listed]), "as the upstream says");
    let plus = client.get(&format!("{path}?artifactType=x%2Fsbom%2Bjson")).await;
    assert_eq!(digests(&plus), sorted(&[Digest::sha256(b"sbom")]));

    let pulled = client.get(&format!("/v2/hub/a/manifests/{signature}")).await;
    assert_eq!((pulled.status, pulled.text()), (StatusCode::OK, manifest));
    let json: Value = serde_json::from_slice(&pulled.body).expect("json");
    assert_eq!(json["subject"]["digest"], image.digest.to_string());
    let config = client.get(&format!("/v2/hub/a/blobs/{}", Digest::sha256(b"{}"))).await;
    assert_eq!((config.status, config.text().as_str()), (StatusCode::OK, "{}"));
    // It is here now, and listed once.
    assert_eq!(digests(&client.get(&path).await).len(), 2);
    assert_eq!(upstream.count(&format!("GET /v2/a/referrers/{}", image.digest)), 1);
    // Who may not pull there has nothing asked for.
    let other = world.service("other", "AcrPull", "/repositories/dev").await;
    let before = upstream.seen().len();
    for path in [path.as_str(), "/v2/hub/b/tags/list"] {
        let answer = other.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"));
    }
    assert_eq!(upstream.seen().len(), before);
}

async fn referrers_are_listed_by_a_tag(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    let referrer = Digest::sha256(b"referrer");
    for (number, (subject, status)) in
        [(Digest::sha256(b"subject"), 404), (sha512(b"subject"), 404), (Digest::sha256(b"other"), 405)]
            .into_iter()
            .enumerate()
    {
        let path = format!("/v2/hub/a{number}/referrers/{subject}");
        assert!(digests(&client.get(&path).await).is_empty(), "nor is there such a tag");
        // No longer than a tag may be, whatever the digest is ("Referrers Tag Schema").
        let tag = format!("{}-{}", subject.algorithm().name(), &subject.hex()[..64]);
        let list = index(&[entry(&referrer, 8, SIGNATURE)]);
        upstream.put(&format!("/v2/a{number}/manifests/{tag}"), INDEX, list);
        upstream.fault(&format!("GET /v2/a{number}/referrers/{subject}"), Fault::Status(status, vec![]));
        let answer = client.get(&path).await;
        assert_eq!(
            (digests(&answer), answer.header("warning")),
            (vec![referrer.to_string()], ""),
            "{status}"
        );
    }
    // Whoever answers for a registry that is away has not said that there are none.
    let subject = Digest::sha256(b"subject");
    upstream.down(Some(404));
    let stale = client.get(&format!("/v2/hub/a0/referrers/{subject}")).await;
    assert_eq!(digests(&stale), [referrer.to_string()]);
    assert!(stale.header("warning").contains("stale"), "{}", stale.header("warning"));
    let unsaid = client.get(&format!("/v2/hub/new/referrers/{subject}")).await;
    assert!(digests(&unsaid).is_empty());
    assert!(unsaid.header("warning").contains("may have more"), "{}", unsaid.header("warning"));
}

async fn many_clients_ask_for_a_list_once(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    let entries = index(&[entry(&Digest::sha256(b"x"), 1, SIGNATURE)]);
    let names = json!({"name": "a", "tags": ["1"]}).to_string();
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let client = world.operator();
    for (path, body) in [(format!("referrers/{}", image.digest), entries), ("tags/list".to_owned(), names)] {
        let (ours, theirs) = (format!("/v2/hub/a/{path}"), format!("/v2/a/{path}"));
        upstream.put(&theirs, INDEX, body.clone());
        let (send, source) = tokio::sync::mpsc::channel(1);
        upstream.fault(&format!("GET {theirs}"), Fault::Drip(source));
        let all = (0..32).map(|_| {
            let (client, ours) = (client.clone(), ours.clone());
            tokio::spawn(async move { client.get(&ours).await })
        });
        let all: Vec<_> = all.collect();
        // The first of them is not answered before others have come.
        until(async || upstream.count(&format!("GET {theirs}")) > 0).await;
        send.send(body.into()).await.expect("asked for");
        drop(send);
        for one in all {
            let answer = one.await.expect("served");
            assert_eq!((answer.status, answer.header("warning")), (StatusCode::OK, ""), "{}", answer.text());
        }
        assert_eq!(upstream.count(&format!("GET {theirs}")), 1);
    }
}

async fn a_list_holds_for_a_while(test: TestDb) {
    let (world, clock) = still(test).await;
    let upstream = Upstream::new().await;
    let image = upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let client = world.operator();
    let (one, two) = (entry(&Digest::sha256(b"1"), 1, "x/y"), entry(&Digest::sha256(b"2"), 1, "x/y"));
    let referrers = async || {
        let answer = client.get(&format!("/v2/hub/a/referrers/{}", image.digest)).await;
        (digests(&answer).len(), answer.header("cache-status").to_owned())
    };
    let names = async || {
        let answer = client.get("/v2/hub/a/tags/list").await;
        (tags(&answer).len(), answer.header("cache-status").to_owned())
    };
    let (asked, kept) = ("seaworthy; fwd=miss; stored".to_owned(), "seaworthy; hit".to_owned());
    list(&upstream, &image, std::slice::from_ref(&one));
    upstream.list_tags("a", &["1"]);
    assert_eq!((referrers().await, names().await), ((1, asked.clone()), (1, asked.clone())));
    list(&upstream, &image, &[one, two]);
    upstream.list_tags("a", &["1", "2"]);
    clock.advance(59);
    assert_eq!((referrers().await, names().await), ((1, kept.clone()), (1, kept)));
    // A server beside this one knows of its own.
    let beside = world.replica(|_| {});
    assert_eq!(tags(&beside.get("/v2/hub/a/tags/list").await).len(), 2);
    clock.advance(1);
    assert_eq!((referrers().await, names().await), ((2, asked.clone()), (2, asked.clone())));
    // What is no list holds as long: it is not asked for again and again.
    clock.advance(60);
    upstream.put("/v2/a/tags/list", "text/html", "no list");
    for _ in 0..3 {
        let answer = client.get("/v2/hub/a/tags/list").await;
        assert!(tags(&answer).len() == 2 && answer.header("warning").contains("stale"));
    }
    assert_eq!(upstream.count("GET /v2/a/tags/list"), 4);
    // Another upstream at the same prefix is asked itself.
    let other = Upstream::new().await;
    other.list_tags("a", &["3"]);
    other.cached(&world, json!({"check_seconds": 60})).await;
    assert_eq!(tags(&client.get("/v2/hub/a/tags/list").await), ["3"]);
}

async fn a_list_is_served_when_its_upstream_is_away(test: TestDb) {
    let patience = std::time::Duration::from_millis(200);
    let world = World::set_up(test, |config| config.upstreams.patience = patience).await;
    let upstream = Upstream::new().await;
    let image = upstream.put_image("a:1", &[b"layer"]);
    let (held, _) = put_artifact(&upstream, "a", &image.digest, "pulled");
    let (gone, _) = put_artifact(&upstream, "a", &image.digest, "gone");
    let other = Digest::sha256(b"other");
    let client = world.operator();
    let path = format!("/v2/a/referrers/{}", image.digest);
    for (number, status) in [429, 500, 503, 401, 403, 418, 0].into_iter().enumerate() {
        let at = |what: &str| format!("/v2/c{number}/a/{what}");
        upstream.down(None);
        upstream.cached(&world, json!({"prefix": format!("c{number}")})).await;
        let referrers = at(&format!("referrers/{}", image.digest));
        list(&upstream, &image, &[entry(&held, 1, SIGNATURE), entry(&other, 1, SIGNATURE)]);
        upstream.list_tags("a", &["1", "old"]);
        for name in ["1", &held.to_string(), &gone.to_string()] {
            assert_eq!(client.get(&at(&format!("manifests/{name}"))).await.status, StatusCode::OK);
        }
        let fresh = client.get(&referrers).await;
        assert_eq!(digests(&fresh), sorted(&[held, other]), "the upstream's list is all there is");
        assert_eq!(tags(&client.get(&at("tags/list")).await), ["1", "old"]);
        if status == 0 {
            upstream.fault(&format!("GET {path}"), Fault::Hang);
            upstream.fault("GET /v2/a/tags/list", Fault::Hang);
        } else {
            upstream.down(Some(status));
        }
        let stale = client.get(&referrers).await;
        assert_eq!(digests(&stale), sorted(&[held, other, gone]), "what is here is not lost: {status}");
        let listed = client.get(&at("tags/list")).await;
        assert_eq!(tags(&listed), ["1", "old"]);
        for answer in [&stale, &listed] {
            let (warning, status) = (answer.header("warning"), answer.header("cache-status"));
            assert!(warning.starts_with("299 - \"this may be stale: upstream"), "{warning}");
            assert!(status.starts_with("seaworthy; hit; detail=\"stale: "), "{status}");
            assert!(!answer.text().contains("words of the upstream"));
        }
    }
}

async fn what_nobody_knows_is_not_empty(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    let unknown = client.get("/v2/hub/none/tags/list").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"));
    assert_eq!(client.get("/v2/hub/a/manifests/1").await.status, StatusCode::OK);
    // It does not say: this is what is here.
    let unsaid = client.get("/v2/hub/a/tags/list").await;
    assert_eq!(tags(&unsaid), ["1"]);
    assert!(unsaid.header("warning").contains("may have more"), "{}", unsaid.header("warning"));
    upstream.down(Some(429));
    for path in ["tags/list".to_owned(), format!("referrers/{}", image.digest)] {
        let known = client.get(&format!("/v2/hub/a/{path}")).await;
        assert!(known.status == StatusCode::OK && known.header("warning").contains("stale"), "{path}");
    }
    let subject = Digest::sha256(b"nothing");
    for path in ["b/tags/list".to_owned(), format!("a/referrers/{subject}"), format!("b/referrers/{subject}")]
    {
        // After three failures it is left alone.
        upstream.cached(&world, json!({})).await;
        let answer = client.get(&format!("/v2/hub/{path}")).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{path}: {}", answer.text());
        assert_eq!(answer.header("retry-after"), limit::UPSTREAM_RETRY_SECONDS.to_string());
    }
}

async fn lists_of_referrers_are_not_believed(test: TestDb) {
    let (world, upstream, foreign) = (World::new(test).await, Upstream::new().await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    let (ours, theirs) =
        (format!("/v2/hub/a/referrers/{}", image.digest), format!("/v2/a/referrers/{}", image.digest));
    let call = format!("GET {theirs}");
    let known = Digest::sha256(b"known");
    list(&upstream, &image, &[entry(&known, 5, SIGNATURE)]);
    foreign.put(&theirs, INDEX, index(&[entry(&Digest::sha256(b"foreign"), 5, SIGNATURE)]));
    assert_eq!(digests(&client.get(&ours).await), [known.to_string()]);
    let good = entry(&Digest::sha256(b"new"), 3, SIGNATURE);
    let changed = |field: &str, value: Value| {
        let mut bad = good.clone();
        bad[field] = value;
        index(&[good.clone(), bad])
    };
    let without = |field: &str| {
        let mut bad = good.clone();
        bad.as_object_mut().expect("an object").remove(field);
        index(&[bad])
    };
    let twice = index(&[]).replacen('{', r#"{"manifests":[],"#, 1);
    for body in [
        String::new(),
        "no list".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        index(&[]).replace(':', "::"),
        index(&[]).replacen('2', "1", 1),
        index(&[]).replace(INDEX, IMAGE),
        image.manifest.clone(),
        format!("{}1", index(&[])),
        twice,
        "[".repeat(100_000),
        changed("digest", json!("sha256:00")),
        changed("digest", json!("md5:d41d8cd98f00b204e9800998ecf8427e")),
        changed("digest", json!("../../etc/passwd")),
        changed("digest", json!(1)),
        changed("size", json!(-1)),
        changed("size", json!(u64::MAX)),
        changed("size", json!(1.5)),
        changed("size", json!("3")),
        changed("mediaType", json!("")),
        changed("mediaType", json!("text")),
        changed("mediaType", json!("a/b\r\nc: d")),
        changed("artifactType", json!(["x"])),
        changed("annotations", json!({"a": 1})),
        changed("data", json!("AAAA")),
        without("digest"),
        without("size"),
        without("mediaType"),
    ] {
        upstream.fault(&call, Fault::Other(body.clone().into()));
        let answer = client.get(&ours).await;
        assert_eq!(digests(&answer), [known.to_string()], "{body:.200}");
        let warning = answer.header("warning");
        assert!(
            warning.contains("stale") && warning.contains("sent something wrong"),
            "{warning}: {body:.200}"
        );
    }
    // What cannot be pulled from here is left out; what is told twice is one.
    let older = "application/vnd.oci.artifact.manifest.v1+json";
    let mut large = good.clone();
    (large["digest"], large["size"]) = (json!(Digest::sha256(b"large")), json!(i64::MAX));
    let mut layer = good.clone();
    (layer["digest"], layer["mediaType"]) = (json!(Digest::sha256(b"layer")), json!(older));
    upstream.fault(&call, Fault::Other(index(&[large, good.clone(), layer, good.clone()]).into()));
    let answer = client.get(&ours).await;
    assert_eq!((digests(&answer), answer.header("warning")), (vec![Digest::sha256(b"new").to_string()], ""));
    // A next page elsewhere is not asked for.
    for place in [
        format!("{}{theirs}", foreign.url()),
        format!("//{}{theirs}", foreign.address),
        format!("http://{}@{}{theirs}", upstream.address, foreign.address),
        "file:///etc/passwd".to_owned(),
    ] {
        upstream.fault(&call, Fault::With("link", format!("<{place}>; rel=\"next\"")));
        let answer = client.get(&ours).await;
        assert!(answer.header("warning").contains("a next page elsewhere"), "{}", answer.header("warning"));
        assert_eq!(digests(&answer).len(), 1);
    }
    assert!(foreign.seen().is_empty());
}

async fn lists_of_referrers_are_bounded(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    let (ours, theirs) =
        (format!("/v2/hub/a/referrers/{}", image.digest), format!("/v2/a/referrers/{}", image.digest));
    let call = format!("GET {theirs}");
    let refused = async |why: &str| {
        let answer = client.get(&ours).await;
        let warning = answer.header("warning");
        assert_eq!(warning.is_empty(), why.is_empty(), "{warning}");
        assert!(warning.contains(why), "{warning}");
        digests(&answer)
    };
    let digest = |number: usize| Digest::sha256(number.to_string().as_bytes());
    let all: Vec<Digest> = (0..=limit::LISTED_REFERRERS).map(digest).collect();
    let entries: Vec<Value> = all.iter().map(|digest| entry(digest, 1, "x/y")).collect();
    let (most, one) = entries.split_at(limit::LISTED_REFERRERS);
    let more = |to: &str| Fault::With("link", format!("<{to}>; rel=\"next\""));
    // As many as there may be, in pages of ours.
    list(&upstream, &image, most);
    refused("").await;
    let got = pages(&client, &ours, digests).await;
    let page = usize::try_from(limit::REFERRERS).expect("small");
    assert!(got.iter().all(|page_of| page_of.len() == page), "full pages");
    assert_eq!(got.concat(), sorted(&all[..limit::LISTED_REFERRERS]));
    let next = "/v2/a/more";
    upstream.put(next, INDEX, index(one));
    upstream.fault(&call, more(next));
    refused("more than 10000 referrers").await;

    list(&upstream, &image, one);
    let endless = |count: usize| {
        (0..count).for_each(|page| upstream.fault(&call, more(&format!("{theirs}?page={page}"))));
    };
    endless(limit::LIST_PAGES - 1);
    let before = upstream.count(&call);
    assert_eq!(refused("").await.len(), 1);
    assert_eq!(upstream.count(&call) - before, limit::LIST_PAGES);
    endless(limit::LIST_PAGES);
    refused("a list without an end").await;

    let padded = |bytes: usize| {
        let list = index(one);
        format!("{list}{}", " ".repeat(bytes - list.len()))
    };
    upstream.fault(&call, Fault::Other(padded(limit::LIST_BYTES).into()));
    refused("").await;
    upstream.fault(&call, Fault::Other(padded(limit::LIST_BYTES + 1).into()));
    refused("longer than").await;
    // All pages together.
    upstream.put(&theirs, INDEX, padded(limit::LIST_BYTES));
    let full = limit::LIST_BYTES_MAX / limit::LIST_BYTES;
    endless(full - 1);
    refused("").await;
    upstream.put(next, INDEX, index(&[]));
    endless(full - 1);
    upstream.fault(&call, more(next));
    refused("longer than").await;
}

/// What an upstream says of a manifest that is here counts for nothing, and neither does it show what a lock hides.
async fn what_is_here_is_known_better(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    let (held, manifest) = put_artifact(&upstream, "a", &image.digest, "true");
    let mut lie = entry(&held, 7, SIGNATURE);
    lie["annotations"] = json!({"note": "a lie"});
    list(&upstream, &image, &[lie]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    let listed = async || {
        let answer = client.get(&format!("/v2/hub/a/referrers/{}", image.digest)).await;
        let json: Value = serde_json::from_slice(&answer.body).expect("json");
        json["manifests"].clone()
    };
    assert_eq!(listed().await[0]["annotations"]["note"], "a lie");
    assert_eq!(client.get(&format!("/v2/hub/a/manifests/{held}")).await.status, StatusCode::OK);
    let known = listed().await;
    assert_eq!(
        (&known[0]["annotations"]["note"], &known[0]["size"]),
        (&json!("true"), &json!(manifest.len()))
    );
    let lock = json!({"listEnabled": false}).to_string();
    let path = format!("/acr/v1/hub%2Fa/_manifests/{held}");
    assert_eq!(client.send("PATCH", &path, &[], lock).await.status, StatusCode::OK);
    assert_eq!(listed().await, json!([]));
    upstream.down(Some(500));
    assert_eq!(listed().await, json!([]));
}

async fn types_are_those_of_what_is_here(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    let (held, _) = put_artifact(&upstream, "a", &image.digest, "true");
    // Here for itself, and it refers to nothing here: the upstream says that it does.
    let other = upstream.put_image("a:2", &[b"other"]);
    let config_type = "application/vnd.oci.image.config.v1+json";
    let claim = |digest: &Digest, artifact_type: &str| {
        let mut claimed = entry(digest, 7, artifact_type);
        claimed["annotations"] = json!({"note": "a lie"});
        claimed
    };
    let claims = [claim(&held, "x/claimed"), claim(&other.digest, "x/claimed")];
    list(&upstream, &image, &claims);
    upstream.cached(&world, json!({})).await;
    let client = world.service("ci", "AcrPull", "/repositories/hub").await;
    let path = format!("/v2/hub/a/referrers/{}", image.digest);
    let typed = async |artifact_type: &str| {
        digests(&client.get(&format!("{path}?artifactType={}", artifact_type.replace('+', "%2B"))).await)
    };
    assert_eq!(typed("x/claimed").await, sorted(&[held, other.digest]));
    for digest in [held, other.digest] {
        assert_eq!(client.get(&format!("/v2/hub/a/manifests/{digest}")).await.status, StatusCode::OK);
    }
    let (signature, second) = ([held.to_string()], [other.digest.to_string()]);
    assert_eq!((typed(SIGNATURE).await, typed(config_type).await), (signature.to_vec(), second.to_vec()));
    assert!(typed("x/claimed").await.is_empty(), "what is here is known better");
    // An upstream that does not say any.
    let mut untyped = claims.clone();
    for claim in &mut untyped {
        claim.as_object_mut().expect("an object").remove("artifactType");
    }
    list(&upstream, &image, &untyped);
    assert_eq!((typed(SIGNATURE).await, typed(config_type).await), (signature.to_vec(), second.to_vec()));
    list(&upstream, &image, &claims);

    let notes = async || {
        let answer = client.get(&path).await;
        let json: Value = serde_json::from_slice(&answer.body).expect("json");
        let all = json["manifests"].as_array().expect("a list").iter();
        all.filter_map(|it| it["annotations"]["note"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(notes().await, ["true"]);
    for digest in [held, other.digest] {
        world.gate.0.lock().expect("lock").insert(("hub/a".into(), digest), "blocked");
    }
    assert!(notes().await.is_empty());
    let operator = world.operator();
    for digest in [held, other.digest] {
        let path = format!("/acr/v1/hub%2Fa/_manifests/{digest}");
        let lock = json!({"listEnabled": false}).to_string();
        assert_eq!(operator.send("PATCH", &path, &[], lock).await.status, StatusCode::OK);
    }
    for listed in [typed("x/claimed").await, typed(SIGNATURE).await, typed(config_type).await] {
        assert!(listed.is_empty());
    }
    assert!(digests(&client.get(&path).await).is_empty());
}

async fn annotations_are_for_who_may_pull(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let image = upstream.put_image("a:1", &[b"layer"]);
    let mut told = entry(&Digest::sha256(b"x"), 1, SIGNATURE);
    told["annotations"] = json!({"note": "s"});
    list(&upstream, &image, &[told]);
    upstream.cached(&world, json!({})).await;
    let client = world.service("ci", "AcrPull", "/repositories/hub").await;
    let note = async || {
        let answer = client.get(&format!("/v2/hub/a/referrers/{}", image.digest)).await;
        let json: Value = serde_json::from_slice(&answer.body).expect("json");
        assert_eq!(digests(&answer).len(), 1);
        json["manifests"][0]["annotations"]["note"].clone()
    };
    assert_eq!(note().await, "s");
    // What is not here is judged as its subject is, which is not waited for where nobody judges it.
    for verdict in ["blocked", "pending", "soon"] {
        world.gate.0.lock().expect("lock").insert(("hub/a".into(), image.digest), verdict);
        assert_eq!(note().await, Value::Null, "{verdict}");
    }
    let pulled = client.get(&format!("/v2/hub/a/manifests/{}", image.digest)).await;
    assert_eq!(pulled.status, StatusCode::OK, "{}", pulled.text());
    assert_eq!(note().await, "s", "it is here, and is judged soon");
}

/// An upstream may sort without a look at the case, page by page; ours are sorted by bytes.
async fn tags_are_in_our_order(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    upstream.list_tags("a", &["a", "B", "c", "not a tag", "", "v1"]);
    upstream.put("/v2/a/next", "application/json", r#"{"name":"a","tags":["D","e","V1","v1",".x","x/y"]}"#);
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let links =
        "</v2/a/about>; rel=\"about\"\n</v2/a/tags/list?p=0>; rel=\"first\", </v2/a/next>; rel=\"next\"";
    upstream.fault("GET /v2/a/tags/list", Fault::With("link", links.to_owned()));
    let client = world.service("ci", "AcrPull", "/repositories/hub").await;
    let all = ["B", "D", "V1", "a", "c", "e", "v1"].map(str::to_owned);
    for n in [1, 2, 3, 7, 8, 1_000] {
        let pages = pages(&client, &format!("/v2/hub/a/tags/list?n={n}"), tags).await;
        assert!(pages.iter().all(|page| page.len() <= n), "{pages:?}");
        assert_eq!(pages.concat(), all, "{n}");
    }
    assert_eq!(tags(&client.get("/v2/hub/a/tags/list").await), all);
    assert_eq!(tags(&client.get("/v2/hub/a/tags/list?n=2&last=Z").await), ["a", "c"]);
    assert!(tags(&client.get("/v2/hub/a/tags/list?n=0").await).is_empty());
    assert_eq!(upstream.count("GET /v2/a/tags/list"), 1);
    // Several steps, with as many here.
    let many: Vec<String> = (0..=2 * limit::PAGE).map(|number| format!("t{number:05}")).collect();
    upstream.list_tags("b", &many.iter().map(String::as_str).collect::<Vec<_>>());
    let pages = pages(&client, "/v2/hub/b/tags/list", tags).await;
    assert_eq!((pages.len(), pages.concat()), (3, many));
}

async fn tags_that_are_here(test: TestDb) {
    let (world, clock) = still(test).await;
    let upstream = Upstream::new().await;
    for tag in ["gone", "hidden", "listed", "locked", "v1"] {
        upstream.put_image(&format!("a:{tag}"), &[b"layer"]);
    }
    upstream.cached(&world, json!({"check_seconds": 60})).await;
    let rules = serde_json::from_value(json!({"prefix": "hub", "immutable": ["v*"]})).expect("rules");
    world.registry.set_rules(&Identity::operator(0), rules).await.expect("set");
    let client = world.operator();
    for tag in ["gone", "hidden", "listed", "locked", "v1"] {
        assert_eq!(client.get(&format!("/v2/hub/a/manifests/{tag}")).await.status, StatusCode::OK);
    }
    for (tag, lock) in
        [("hidden", json!({"listEnabled": false})), ("locked", json!({"deleteEnabled": false}))]
    {
        let path = format!("/acr/v1/hub%2Fa/_tags/{tag}");
        assert_eq!(client.send("PATCH", &path, &[], lock.to_string()).await.status, StatusCode::OK);
    }
    upstream.list_tags("a", &["hidden", "listed", "new"]);
    let listed = async || tags(&client.get("/v2/hub/a/tags/list").await);
    clock.advance(1);
    assert_eq!(listed().await, ["listed", "locked", "new", "v1"], "what stays here, and what is there");
    for n in [1, 2, 5] {
        let pages = pages(&client, &format!("/v2/hub/a/tags/list?n={n}"), tags).await;
        assert_eq!(pages.concat(), ["listed", "locked", "new", "v1"], "{n}");
    }
    // What is known since is known better than the list.
    clock.advance(1);
    upstream.put_image("a:newer", &[b"layer"]);
    assert_eq!(client.get("/v2/hub/a/manifests/newer").await.status, StatusCode::OK);
    assert_eq!(client.get("/v2/hub/a/manifests/new").await.status, StatusCode::NOT_FOUND);
    assert_eq!(listed().await, ["listed", "locked", "newer", "v1"]);
    assert_eq!(upstream.count("GET /v2/a/tags/list"), 1);
    clock.advance(60);
    upstream.down(Some(500));
    assert_eq!(listed().await, ["gone", "listed", "locked", "newer", "v1"], "nothing that is here is lost");
}

async fn lists_of_tags_are_not_believed(test: TestDb) {
    let (world, upstream, foreign) = (World::new(test).await, Upstream::new().await, Upstream::new().await);
    upstream.list_tags("a", &["known"]);
    upstream.cached(&world, json!({})).await;
    let client = world.operator();
    let listed = async |why: &str| {
        let answer = client.get("/v2/hub/a/tags/list?n=3").await;
        let warning = answer.header("warning");
        assert_eq!(warning.is_empty(), why.is_empty(), "{warning}");
        assert!(warning.contains(why), "{warning}");
        tags(&answer)
    };
    assert_eq!(listed("").await, ["known"]);
    let call = "GET /v2/a/tags/list";
    for body in ["no list", "{}", r#"{"tags":["a"],"tags":["b"]}"#, r#"{"tags":["a",1]}"#, r#"["a",["b"]]"#] {
        upstream.fault(call, Fault::Other(body.into()));
        assert_eq!(listed("a list of tags that is none").await, ["known"], "{body}");
    }
    let more = |to: &str| Fault::With("link", format!("<{to}>; rel=\"next\""));
    upstream.fault(call, more(&format!("{}/v2/a/tags/list", foreign.url())));
    assert_eq!(listed("a next page elsewhere").await, ["known"]);
    assert!(foreign.seen().is_empty());
    (0..limit::LIST_PAGES).for_each(|page| upstream.fault(call, more(&format!("/v2/a/tags/list?p={page}"))));
    assert_eq!(listed("a list without an end").await, ["known"]);
    let before = upstream.count(call);
    (0..2).for_each(|_| upstream.fault(call, more("?p=0")));
    assert_eq!(listed("a next page that was read").await, ["known"]);
    assert_eq!(upstream.count(call) - before, 2);
    upstream.fault(call, Fault::Other(vec![b' '; limit::LIST_BYTES + 1].into()));
    assert_eq!(listed("longer than").await, ["known"]);
    let many: Vec<String> = (0..=limit::LISTED_TAGS).map(|number| format!("t{number:06}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    upstream.list_tags("a", &many);
    assert_eq!(listed("more than 100000 tags").await, ["known"]);
    // Nor is any more of it looked at.
    let endless = json!({"tags": many}).to_string().replace("]}", ", no list");
    upstream.fault(call, Fault::Other(endless.into()));
    assert_eq!(listed("more than 100000 tags").await, ["known"]);
    upstream.list_tags("a", &many[1..]);
    assert_eq!(listed("").await, ["t000001", "t000002", "t000003"], "as many as there may be");
}

async fn so_many_lists_are_read_at_once(test: TestDb) {
    let world = World::new(test).await;
    let upstreams = limit::LISTS_AT_ONCE / limit::CACHE_LISTS_AT_ONCE + 1;
    let mut held = Vec::new();
    let asked =
        |upstream: &Upstream| upstream.seen().iter().filter(|seen| seen.call.ends_with("/tags/list")).count();
    for prefix in 0..upstreams {
        let upstream = Upstream::new().await;
        upstream.cached(&world, json!({"prefix": format!("hub{prefix}")})).await;
        let mut sources = Vec::new();
        for number in 0..=limit::CACHE_LISTS_AT_ONCE {
            upstream.list_tags(&format!("a{number}"), &["1"]);
            let (send, source) = tokio::sync::mpsc::channel(1);
            upstream.fault(&format!("GET /v2/a{number}/tags/list"), Fault::Drip(source));
            sources.push(send);
            let client = world.operator();
            tokio::spawn(async move { client.get(&format!("/v2/hub{prefix}/a{number}/tags/list")).await });
        }
        // All turns that are left are taken: the last has the one that each has besides.
        let most = limit::LISTS_AT_ONCE - held.len() * limit::CACHE_LISTS_AT_ONCE;
        let most = most.clamp(1, limit::CACHE_LISTS_AT_ONCE);
        until(async || asked(&upstream) >= most).await;
        for number in 0..20 {
            // What else is asked has its turn meanwhile.
            let answer = world.operator().get(&format!("/v2/hub{prefix}/b/manifests/{number}")).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
        }
        assert_eq!(asked(&upstream), most, "{prefix}");
        held.push((upstream, sources));
    }
    // When some end, those have their turn that waited for it first.
    let (first, sources) = held.remove(0);
    drop(sources);
    let (last, _) = held.last().expect("one");
    until(async || asked(last) == limit::CACHE_LISTS_AT_ONCE).await;
    held.clear();
    until(async || asked(&first) > limit::CACHE_LISTS_AT_ONCE).await;
}
