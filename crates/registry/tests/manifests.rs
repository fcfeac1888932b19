//! Manifests: their bytes, their names, and what a client may say and not say about them.

use http::StatusCode;
use seaworthy_oci::{Digest, limit as oci};
use seaworthy_registry::{SparseIndexes, limit};
use seaworthy_store::args;
use seaworthy_testkit::{Engine, TestDb, db_tests};
use serde_json::json;

use crate::client::{IMAGE, INDEX, ROOMS, World, sha512};

db_tests!(super::ROOMS; what_engines_start_is_told_as_an_image, a_field_in_another_case_is_refused, a_manifest_has_one_media_type,
    a_manifest_that_rotted_is_not_served, what_is_acknowledged_is_what_is_read, manifest_bytes_exact, accept_many_header_lines, accept_missing, manifest_4mib_ok_5mib_413,
    manifest_100k_layers, media_type_confusion, tags_by_parameter, tags_of_a_push_are_bounded,
    absent_children_by_policy, foreign_layers_need_no_blob);

/// Whatever JSON allows and a rewriter would change comes back as it was sent.
async fn manifest_bytes_exact(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, whole) = client.put_image("dev/app:1", &[&vec![7u8; 100_000], b"small"]).await;
    let spaced = format!("\r\n\t {} \n", whole.replace(':', " : \n"));
    let variants = [
        whole.clone(),
        whole.replace(['\n', ' '], ""),
        spaced.replace("sha256 : \n", "sha256:"),
        whole.replace("\"layers\":", "\"zeta\": 1.0, \"alpha\": [1e0, 0.10], \"layers\":"),
        whole.replace("\"layers\":", "\"\\u0061\": \"\\u00e9\\/é\", \"layers\":"),
        whole.replace("application/vnd.oci.image.config", "application\\/vnd.oci.image.config"),
    ];
    for manifest in &variants {
        let digest = Digest::sha256(manifest.as_bytes());
        let put = client.put_manifest("dev/app", "exact", manifest).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}: {manifest}", put.text());
        assert_eq!(put.header("location"), format!("/v2/dev/app/manifests/{digest}"));
        for reference in ["exact".to_owned(), digest.to_string()] {
            for method in ["GET", "HEAD"] {
                let answer =
                    client.send(method, &format!("/v2/dev/app/manifests/{reference}"), &[], "").await;
                assert_eq!(answer.status, StatusCode::OK);
                assert_eq!(answer.header("docker-content-digest"), digest.to_string());
                assert_eq!(answer.header("content-type"), IMAGE);
                assert_eq!(answer.header("content-length"), manifest.len().to_string());
                assert_eq!(answer.text(), if method == "GET" { manifest.as_str() } else { "" });
            }
        }
    }
    // Two readers would read two documents: refused, not repaired.
    let twice = whole.replacen("\"schemaVersion\": 2,", "\"schemaVersion\": 2, \"schemaVersion\": 2,", 1);
    for (name, bytes) in [("a key twice", twice), ("a byte order mark", format!("\u{feff}{whole}"))] {
        let answer = client.put_manifest("dev/app", "exact", &bytes).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            "{name}"
        );
    }
    let missing = client.get("/v2/dev/app/manifests/2").await;
    assert_eq!((missing.status, missing.code().as_str()), (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"));
}

/// skopeo and podman send one line for each type; what is stored is answered, whatever they say.
/// Readers who ask all the time never see what was before the last change that its maker was told of.
async fn what_is_acknowledged_is_what_is_read(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (first, manifest) = client.put_image("a:tag", &[b"x"]).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, stop) = (client.clone(), stop.clone());
        readers.spawn(async move {
            let mut read = 0_u64;
            while !stop.is_cancelled() {
                for name in ["tag".to_owned(), first.to_string()] {
                    let answer = client.get(&format!("/v2/a/manifests/{name}")).await;
                    assert!(!answer.status.is_server_error(), "{}", answer.text());
                    read += 1;
                }
                tokio::task::yield_now().await;
            }
            read
        });
    }
    let seen = async |name: &str| {
        let answer = client.get(&format!("/v2/a/manifests/{name}")).await;
        answer.header("docker-content-digest").to_owned()
    };
    for turn in 0..40 {
        let other = manifest.replacen('{', &format!("{{{}", " ".repeat(turn + 1)), 1);
        let moved = Digest::sha256(other.as_bytes()).to_string();
        assert_eq!(client.put_manifest("a", "tag", &other).await.status, StatusCode::CREATED);
        assert_eq!(seen("tag").await, moved);
        assert_eq!(seen(&moved).await, moved);
        // A lock, which is in a row beside it.
        let lock = |reads: bool| format!(r#"{{"readEnabled":{reads}}}"#);
        let path = format!("/acr/v1/a/_manifests/{moved}");
        assert_eq!(client.send("PATCH", &path, &[], lock(false)).await.status, StatusCode::OK);
        assert_eq!(seen("tag").await, "", "it is locked");
        assert_eq!(client.send("PATCH", &path, &[], lock(true)).await.status, StatusCode::OK);
        assert_eq!(seen("tag").await, moved);
        let gone = client.send("DELETE", &format!("/v2/a/manifests/{moved}"), &[], "").await;
        assert_eq!(gone.status, StatusCode::ACCEPTED);
        assert_eq!((seen("tag").await, seen(&moved).await), (String::new(), String::new()));
        assert_eq!(client.put_manifest("a", "tag", &manifest).await.status, StatusCode::CREATED);
        assert_eq!(seen("tag").await, first.to_string());
    }
    stop.cancel();
    assert!(readers.join_all().await.into_iter().all(|read| read > 0));
}

async fn accept_many_header_lines(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, manifest) = client.put_image("a:1", &[b"x"]).await;
    let lines = [
        ("accept", "application/vnd.docker.distribution.manifest.v2+json"),
        ("accept", "application/vnd.docker.distribution.manifest.list.v2+json"),
        ("accept", INDEX),
        ("accept", IMAGE),
    ];
    for accept in
        [&lines[..], &lines[..2], &lines[2..], &[("accept", "text/nonsense")], &[("accept", "\u{e9}")]]
    {
        for method in ["GET", "HEAD"] {
            let answer = client.send(method, "/v2/a/manifests/1", accept, "").await;
            assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, IMAGE), "{accept:?}");
            assert_eq!(answer.text(), if method == "GET" { manifest.as_str() } else { "" });
        }
    }
}

async fn accept_missing(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (child, manifest) = client.put_image("a:1", &[b"x"]).await;
    let index = index_of(&[(child, manifest.len())]);
    client.put_as("/v2/a/manifests/multi", INDEX, &index).await;
    for (tag, media_type, body) in [("1", IMAGE, &manifest), ("multi", INDEX, &index)] {
        let answer = client.get(&format!("/v2/a/manifests/{tag}")).await;
        assert_eq!((answer.header("content-type"), &answer.text()), (media_type, body));
    }
}

fn index_of(children: &[(Digest, usize)]) -> String {
    let children: Vec<String> = children
        .iter()
        .map(|(digest, size)| format!(r#"{{"mediaType":"{IMAGE}","digest":"{digest}","size":{size}}}"#))
        .collect();
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, children.join(","))
}

async fn manifest_4mib_ok_5mib_413(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, whole) = client.put_image("a:1", &[b"layer"]).await;
    let padded = |length: usize| format!("{whole}{}", " ".repeat(length - whole.len()));
    let fits = padded(oci::MANIFEST_BYTES);
    assert_eq!(client.put_manifest("a", "long", &fits).await.status, StatusCode::CREATED, "at the limit");
    assert!(client.get("/v2/a/manifests/long").await.text() == fits);
    for length in [oci::MANIFEST_BYTES + 1, 5 * 1024 * 1024] {
        let answer = client.put_manifest("a", "longer", &padded(length)).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"));
    }
    // Its length is enough to be told so: no body is waited for.
    let length = [("content-type", IMAGE), ("content-length", "5242880")];
    let never =
        axum::body::Body::from_stream(futures_util::stream::pending::<std::io::Result<bytes::Bytes>>());
    let answer = client.send("PUT", "/v2/a/manifests/longer", &length, never).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(client.get("/v2/a/manifests/longer").await.status, StatusCode::NOT_FOUND);
}

async fn manifest_100k_layers(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, whole) = client.put_image("a:1", &[b"layer"]).await;
    let layer = format!(r#"{{"mediaType":"a","digest":"{}","size":5}}"#, Digest::sha256(b"layer"));
    let (head, tail) = whole.split_once("\"layers\": [").expect("layers");
    let many = |count: usize| format!("{head}\"layers\": [{}{tail}", format!("{layer},").repeat(count - 1));
    assert_eq!(client.put_manifest("a", "2", &many(oci::LAYERS)).await.status, StatusCode::CREATED);
    let answer = client.put_manifest("a", "3", &many(oci::LAYERS + 1)).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"));
    let answer = client.put_manifest("a", "3", &many(30_000)).await;
    assert_eq!(answer.code(), "MANIFEST_INVALID", "as many as fit");
    assert_eq!(client.put_manifest("a", "3", &many(100_000)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(client.get("/v2/a/manifests/3").await.status, StatusCode::NOT_FOUND);
}

/// One document must not be an image to one reader and an index to another (CVE-2021-41190).
async fn media_type_confusion(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (child, image) = client.put_image("a:1", &[b"layer"]).await;
    let index = index_of(&[(child, image.len())]);
    let untyped =
        |text: &str, media_type: &str| text.replace(&format!("\"mediaType\":\"{media_type}\","), "");
    let bare_index = untyped(&index, INDEX);
    let bare_image = image.replace(&format!("\"mediaType\": \"{IMAGE}\","), "");
    assert_ne!(bare_image, image);
    let both = image.replacen("\"layers\":", "\"manifests\": [], \"layers\":", 1);
    let nulls = image.replacen("\"layers\":", "\"manifests\": null, \"layers\":", 1);
    for (name, media_type, manifest, stored) in [
        ("an image as an index", INDEX, &image, false),
        ("an index as an image", IMAGE, &index, false),
        ("an untyped image as an index", INDEX, &bare_image, false),
        ("an untyped index as an image", IMAGE, &bare_index, false),
        ("both", IMAGE, &both, false),
        ("both", INDEX, &both, false),
        ("schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", &image, false),
        ("a config's type", "application/vnd.oci.image.config.v1+json", &image, false),
        ("json", "application/json", &image, false),
        ("an untyped image", IMAGE, &bare_image, true),
        ("an untyped index", INDEX, &bare_index, true),
        ("null is absent", IMAGE, &nulls, true),
    ] {
        let answer = client.put_as("/v2/a/manifests/2", media_type, manifest).await;
        if stored {
            assert_eq!(answer.status, StatusCode::CREATED, "{name}: {}", answer.text());
            let got = client.get("/v2/a/manifests/2").await;
            assert_eq!(got.header("content-type"), media_type, "{name}");
        } else {
            let found = (answer.status, answer.code());
            assert_eq!(found, (StatusCode::BAD_REQUEST, "MANIFEST_INVALID".to_owned()), "{name}");
        }
    }
}

async fn tags_by_parameter(test: TestDb) {
    let world = World::new(test).await;
    let client = world.service("ci", "AcrPush", "/repositories/a").await;
    let (_, manifest) = client.put_image("a:old", &[b"x"]).await;
    let told = |answer: &crate::client::Answer| {
        let values = answer.headers.get_all("oci-tag").iter();
        values.map(|value| value.to_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    for digest in [Digest::sha256(manifest.as_bytes()), sha512(manifest.as_bytes())] {
        let path = format!("{digest}?tag=one&tag=two&tag=one&tag=v1.0_x-y");
        let answer = client.put_manifest("a", &path, &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        assert_eq!(told(&answer), ["one", "two", "v1.0_x-y"]);
        for tag in ["one", "two", "v1.0_x-y"] {
            let answer = client.get(&format!("/v2/a/manifests/{tag}")).await;
            assert_eq!(answer.header("docker-content-digest"), digest.to_string(), "{tag}");
        }
    }
    assert!(told(&client.put_manifest("a", "old", &manifest).await).is_empty());
    let both = client.put_manifest("a", "path?tag=query", &manifest).await;
    assert_eq!(told(&both), ["query"]);
    assert_eq!(client.get("/v2/a/manifests/path").await.status, StatusCode::OK);
    let sql = "SELECT leaf FROM ledger_leaves WHERE action = 'manifest.push' AND leaf LIKE '%v1.0_x-y%'";
    let rows = world.test.db.fetch_all(sql, args![]).await.expect("query");
    assert!(
        rows[0].text(0).expect("leaf").contains(r#""tags":["one","two","v1.0_x-y"]"#),
        "all are recorded"
    );
    // One that is none, or a body that is none: nothing is set.
    let digest = Digest::sha256(manifest.as_bytes());
    for wrong in ["?tag=new&tag=-x", "?tag=new&tag=", "?tag=new&tag=a%2Fb", "?tag=new&tag=%zz"] {
        let answer = client.put_manifest("a", &format!("{digest}{wrong}"), &manifest).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let answer = client.put_manifest("a", &format!("{digest}?tag=new"), &manifest.replace('}', " }")).await;
    assert_eq!(answer.code(), "DIGEST_INVALID");
    assert_eq!(client.get("/v2/a/manifests/new").await.status, StatusCode::NOT_FOUND);
}

async fn tags_of_a_push_are_bounded(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, manifest) = client.put_image("a:1", &[b"x"]).await;
    let path = |count: usize| {
        let tags: Vec<String> = (0..count).map(|number| format!("tag=t{number:03}")).collect();
        format!("{digest}?{}", tags.join("&"))
    };
    let refused = client.put_manifest("a", &path(limit::TAGS_PER_PUSH + 1), &manifest).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::URI_TOO_LONG, "UNSUPPORTED"));
    assert_eq!(client.get("/v2/a/manifests/t000").await.status, StatusCode::NOT_FOUND);
    let fits = client.put_manifest("a", &path(limit::TAGS_PER_PUSH), &manifest).await;
    assert_eq!(fits.status, StatusCode::CREATED, "{}", fits.text());
    assert_eq!(fits.headers.get_all("oci-tag").iter().count(), limit::TAGS_PER_PUSH);
}

/// An index may come before its children, with a warning, unless the setting says otherwise.
async fn absent_children_by_policy(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (child, manifest) = client.put_image("a:1", &[b"x"]).await;
    let absent = Digest::sha256(b"not here");
    let complete = index_of(&[(child, manifest.len())]);
    let sparse = index_of(&[(child, manifest.len()), (absent, 3)]);
    let put = async |client: &crate::client::Client, index: &str| {
        client.put_as("/v2/a/manifests/multi", INDEX, index).await
    };
    let warned = put(&client, &sparse).await;
    assert_eq!(warned.status, StatusCode::CREATED);
    let warning = warned.header("warning");
    assert!(warning.starts_with("299 - \"") && warning.ends_with('"'), "{warning}");
    assert!(warning.contains(&absent.to_string()) && warning.contains("does not have 1 of"), "{warning}");
    assert_eq!(put(&client, &complete).await.header("warning"), "");
    // Of what is here the length is known: nobody could pull what has another. So it is of blobs.
    let blob = client.put_blob("a", b"layer").await;
    for (listed, length) in [(child, manifest.len()), (blob, 5)] {
        for (claimed, status) in [(length, StatusCode::CREATED), (length + 1, StatusCode::BAD_REQUEST)] {
            let index = index_of(&[(listed, claimed), (absent, 3)]);
            let index = if listed == blob { index.replace(IMAGE, "application/x") } else { index };
            let answer = put(&client, &index).await;
            assert_eq!(answer.status, status, "{claimed}: {}", answer.text());
        }
    }
    put(&client, &complete).await;
    let strict = world.replica(|config| config.sparse_indexes = SparseIndexes::Refuse);
    let refused = put(&strict, &sparse.replace('}', " }")).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN"),
        "{}",
        refused.text()
    );
    assert!(refused.text().contains(&absent.to_string()));
    assert_eq!(client.get("/v2/a/manifests/multi").await.text(), complete, "nothing was changed");
    assert_eq!(put(&strict, &complete).await.status, StatusCode::CREATED);
    // Present in another repository is not present here.
    client.put_image("b:1", &[b"elsewhere"]).await;
    let (elsewhere, bytes) = client.put_image("b:2", &[b"elsewhere", b"too"]).await;
    let refused = put(&strict, &index_of(&[(elsewhere, bytes.len())])).await;
    assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN");
}

async fn foreign_layers_need_no_blob(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, whole) = client.put_image("a:1", &[b"layer"]).await;
    let absent = Digest::sha256(b"elsewhere");
    for (layer, stored) in [
        (r#""mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip","#, true),
        (r#""mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","#, true),
        (r#""mediaType":"application/vnd.oci.image.layer.v1.tar","urls":["https://example.com/x"],"#, true),
        (r#""mediaType":"application/vnd.oci.image.layer.v1.tar","urls":[],"#, false),
    ] {
        let layer = format!(r#"{{{layer}"digest":"{absent}","size":123456}},"#);
        let manifest = whole.replace("\"layers\": [", &format!("\"layers\": [{layer}"));
        let answer = client.put_manifest("a", "2", &manifest).await;
        if stored {
            assert_eq!(answer.status, StatusCode::CREATED, "{layer}: {}", answer.text());
        } else {
            assert_eq!(answer.code(), "MANIFEST_BLOB_UNKNOWN", "{layer}");
        }
    }
    assert_eq!(client.get(&format!("/v2/a/blobs/{absent}")).await.status, StatusCode::NOT_FOUND);
}

/// Whether what was pushed last was told as an image.
async fn told_as_image(world: &World) -> bool {
    let sql = "SELECT payload FROM store_deliveries WHERE consumer = 'clearance' ORDER BY id DESC LIMIT 1";
    let row = world.test.db.fetch_optional(sql, args![]).await.expect("a row").expect("a delivery");
    row.text(0).expect("text").contains(r#""is_image":true"#)
}

/// By the media type of its config, and nothing that it says besides.
async fn what_engines_start_is_told_as_an_image(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let layer = client.put_blob("prod/web", b"layer").await;
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    for text in ["{}", r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["/x"]}}"#] {
        let config = client.put_blob("prod/web", text.as_bytes()).await;
        for (of, config_type, expected) in [
            (IMAGE, "application/vnd.oci.image.config.v1+json", true),
            (IMAGE, "application/vnd.docker.container.image.v1+json", true),
            (docker, "application/vnd.docker.container.image.v1+json", true),
            (docker, "application/x", true),
            (IMAGE, "application/x", false),
        ] {
            let manifest = json!({"schemaVersion": 2, "mediaType": of, "artifactType": "application/y",
                "config": {"mediaType": config_type, "digest": config, "size": text.len()},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 5}]});
            let answer = client.put_as("/v2/prod/web/manifests/runs", of, &manifest.to_string()).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
            assert_eq!(told_as_image(&world).await, expected, "{of} {config_type} {text}");
        }
    }
}

/// Engines would take the second list of layers.
async fn a_field_in_another_case_is_refused(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, manifest) = client.put_image("prod/web:1", &[b"layer"]).await;
    let with = |manifest: &str, fields: &str| {
        format!("{}{fields}}}", manifest.trim_end().strip_suffix('}').expect("an object"))
    };
    let more = |fields: &str| with(&manifest, fields);
    for fields in [r#","Layers":[]"#, r#","Config":null"#, r#","layer\u017f":[]"#, r#","MANIFESTS":[]"#] {
        let answer = client.put_manifest("prod/web", "2", &more(fields)).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            "{fields}"
        );
    }
    assert_eq!(
        client.put_manifest("prod/web", "2", &more(r#","labels":[]"#)).await.status,
        StatusCode::CREATED
    );
    // One that was taken before is given to nobody.
    let (digest, before) = client.put_image("prod/web:3", &[b"before"]).await;
    let twisted = with(&before, r#","Layers":[]"#);
    let named = Digest::sha256(twisted.as_bytes());
    for table in ["registry_manifests", "registry_manifest_bytes", "registry_tags"] {
        world.alter(format!("UPDATE {table} SET digest = '{named}' WHERE digest = '{digest}'")).await;
    }
    let hex: String = twisted.bytes().map(|byte| format!("{byte:02x}")).collect();
    let bytes =
        if world.test.engine == Engine::Sqlite { format!("X'{hex}'") } else { format!("'\\x{hex}'::bytea") };
    world.alter(format!("UPDATE registry_manifest_bytes SET bytes = {bytes} WHERE digest = '{named}'")).await;
    for name in ["3".to_owned(), named.to_string()] {
        let answer = client.get(&format!("/v2/prod/web/manifests/{name}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::FORBIDDEN, "DENIED"),
            "{}",
            answer.text()
        );
    }
    // Nor is what it names.
    let reader = world.service("reader", "AcrPull", "/repositories/prod").await;
    let layer = format!("/v2/prod/web/blobs/{}", Digest::sha256(b"before"));
    world
        .alter(format!("UPDATE registry_references SET manifest = '{named}' WHERE manifest = '{digest}'"))
        .await;
    assert_eq!(reader.get(&layer).await.status, StatusCode::NOT_FOUND);
    client.put_image("prod/web:4", &[b"before", b"more"]).await;
    assert_eq!(reader.get(&layer).await.status, StatusCode::OK);
}

/// Whoever pushes second must not be told that it is what they sent.
async fn a_manifest_has_one_media_type(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let config = client.put_blob("a", b"{}").await;
    let manifest = json!({"schemaVersion": 2, "layers": [],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2}})
    .to_string();
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    for (of, expected) in
        [(IMAGE, StatusCode::CREATED), (docker, StatusCode::BAD_REQUEST), (IMAGE, StatusCode::CREATED)]
    {
        let answer = client.put_as("/v2/a/manifests/1", of, &manifest).await;
        assert_eq!(answer.status, expected, "{of}: {}", answer.text());
    }
    assert_eq!(
        client.put_as("/v2/b/manifests/1", docker, &manifest).await.status,
        StatusCode::BAD_REQUEST,
        "no config"
    );
    client.put_blob("b", b"{}").await;
    assert_eq!(client.put_as("/v2/b/manifests/1", docker, &manifest).await.status, StatusCode::CREATED);
}

async fn a_manifest_that_rotted_is_not_served(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, manifest) = client.put_image("a:1", &[b"layer"]).await;
    let other = if world.test.engine == Engine::Sqlite { "X'7b7d'" } else { "'\\x7b7d'::bytea" };
    world
        .alter(format!("UPDATE registry_manifest_bytes SET bytes = {other} WHERE digest = '{digest}'"))
        .await;
    let fresh = world.replica(|_| {});
    for name in ["1".to_owned(), digest.to_string()] {
        let path = format!("/v2/a/manifests/{name}");
        // Who looks first must not be told that it is here.
        assert_eq!(fresh.send("HEAD", &path, &[], "").await.status, StatusCode::NOT_FOUND);
        let answer = fresh.get(&path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"));
    }
    client.put_manifest("a", "1", &manifest).await;
    assert_eq!(fresh.get("/v2/a/manifests/1").await.text(), manifest);
    // Nor is a pusher told who looks for what is in quarantine.
    let rules = serde_json::from_value(json!({"prefix": "a", "quarantine": true})).expect("rules");
    world.registry.set_rules(&seaworthy_access::Identity::operator(0), rules).await.expect("set");
    let head = async || world.replica(|_| {}).send("HEAD", "/v2/a/manifests/1", &[], "").await.status;
    assert_eq!(head().await, StatusCode::OK);
    world
        .alter(format!("UPDATE registry_manifest_bytes SET bytes = {other} WHERE digest = '{digest}'"))
        .await;
    assert_eq!(head().await, StatusCode::NOT_FOUND);
}
