//! The data plane of Azure's registry: what it says, page by page, and to whom.

use http::StatusCode;
use seaworthy_oci::Digest;
use seaworthy_registry::limit;
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client, IMAGE, INDEX, ROOMS, World, until},
    upstream::{CONFIG, Upstream, is_filled},
};

db_tests!(super::ROOMS; attributes_as_acr_says_them, attributes_of_what_came_through_a_cache, pages_in_every_order, pages_of_manifests_are_bounded,
    a_repository_goes_with_all_it_holds, deleted_names_are_bounded, strangers_learn_nothing, tokens_do_what_their_map_says, what_is_in_quarantine_is_hidden, an_index_leaves_quarantine_with_its_images, an_index_lets_nothing_out_that_was_rejected, a_list_of_manifests_is_bounded, a_config_of_two_meanings_says_nothing, challenges_ask_for_the_least);

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

async fn attributes_as_acr_says_them(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, manifest) = client.put_image("library/app:1", &[b"layer"]).await;
    client.put_manifest("library/app", "latest", &manifest).await;
    let free = json!({"deleteEnabled":true,"writeEnabled":true,"listEnabled":true,"readEnabled":true});
    // The SDK encodes the slashes of names.
    let repository = json_of(&client.get("/acr/v1/library%2Fapp?api-version=2021-07-01").await);
    for (field, expected) in [
        ("registry", json!("localhost:5000")),
        ("imageName", json!("library/app")),
        ("manifestCount", json!(1)),
        ("tagCount", json!(2)),
        ("changeableAttributes", free.clone()),
    ] {
        assert_eq!(repository[field], expected, "{field}");
    }
    assert!(repository["createdTime"].as_str().expect("time").ends_with('Z'), "{repository}");
    assert!(repository["lastUpdateTime"].is_string());
    let encoded = digest.to_string().replace(':', "%3A");
    let one = json_of(&client.get(&format!("/acr/v1/library%2Fapp/_manifests/{encoded}")).await);
    assert_eq!((&one["registry"], &one["imageName"]), (&json!("localhost:5000"), &json!("library/app")));
    let one = &one["manifest"];
    let size = manifest.len() + br#"{"os":"linux","architecture":"amd64"}"#.len() + b"layer".len();
    for (field, expected) in [
        ("digest", json!(digest)),
        ("imageSize", json!(size)),
        ("architecture", json!("amd64")),
        ("os", json!("linux")),
        ("mediaType", json!("application/vnd.oci.image.manifest.v1+json")),
        ("configMediaType", json!("application/vnd.oci.image.config.v1+json")),
        ("tags", json!(["1", "latest"])),
        ("changeableAttributes", free.clone()),
    ] {
        assert_eq!(one[field], expected, "{field}");
    }
    let all = json_of(&client.get("/acr/v1/library/app/_manifests").await);
    assert_eq!(all["manifests"], json!([one]));
    let tag = json_of(&client.get("/acr/v1/library/app/_tags/1").await);
    assert_eq!((&tag["tag"]["name"], &tag["tag"]["digest"]), (&json!("1"), &json!(digest)));
    assert_eq!(tag["tag"]["changeableAttributes"], free);
    let tags = json_of(&client.get("/acr/v1/library/app/_tags").await);
    assert_eq!((tags["tags"].as_array().map(Vec::len), &tags["tags"][0]), (Some(2), &tag["tag"]));
    let none = format!("/acr/v1/library/app/_tags?digest={}", Digest::sha256(b"other"));
    assert_eq!(json_of(&client.get(&none).await)["tags"], json!([]));
    let catalog = json_of(&client.get("/acr/v1/_catalog").await);
    assert_eq!(catalog, json!({"repositories":["library/app"]}));
    let child = |platform: &str| {
        format!(r#"{{"mediaType":"{IMAGE}","digest":"{digest}","size":{}{platform}}}"#, manifest.len())
    };
    let platform = r#","platform":{"os":"linux","architecture":"arm64","variant":"v8"}"#;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{},{}]}}"#,
        child(platform),
        child("")
    );
    let put = client.put_as("/v2/library/app/manifests/all", INDEX, &index).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    let path = format!("/acr/v1/library/app/_manifests/{}", Digest::sha256(index.as_bytes()));
    let described = json_of(&client.get(&path).await);
    let references = json!([{"digest": digest, "architecture": "arm64", "os": "linux"}, {"digest": digest}]);
    assert_eq!(described["manifest"]["references"], references);
    assert!(described["manifest"].get("configMediaType").is_none(), "an index has no config");
}

/// The size is that of what is here, and a config that is not here says nothing.
async fn attributes_of_what_came_through_a_cache(test: TestDb) {
    let (world, upstream) = (World::new(test).await, Upstream::new().await);
    let layers: [&[u8]; 2] = [&[7; 10_000], b"small"];
    let image = upstream.put_image("a:1", &layers);
    let child = json!({"mediaType": IMAGE, "digest": image.digest, "size": image.manifest.len(),
        "platform": {"os": "linux", "architecture": "amd64"}});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]}).to_string();
    let all = upstream.put_manifest("a", "all", INDEX, &index);
    upstream.cached(&world, json!({"check_seconds": 3600})).await;
    let client = world.operator();
    let described = async |digest: &Digest| {
        let path = format!("/acr/v1/hub%2Fa/_manifests/{}", digest.to_string().replace(':', "%3A"));
        let one = json_of(&client.get(&path).await)["manifest"].clone();
        let listed = json_of(&client.get("/acr/v1/hub/a/_manifests").await);
        assert!(listed["manifests"].as_array().expect("a list").contains(&one), "{listed}");
        one
    };
    let head = client.send("HEAD", "/v2/hub/a/manifests/1", &[], "").await;
    assert_eq!(head.status, StatusCode::OK);
    let bare = described(&image.digest).await;
    assert_eq!((&bare["imageSize"], bare.get("os")), (&json!(image.manifest.len()), None));
    assert_eq!((&bare["mediaType"], &bare["tags"]), (&json!(IMAGE), &json!(["1"])));
    for tag in ["1", "all"] {
        assert_eq!(client.get(&format!("/v2/hub/a/manifests/{tag}")).await.status, StatusCode::OK);
    }
    until(async || is_filled(&world, &image.digest).await).await;
    let whole = described(&image.digest).await;
    let size = image.manifest.len() + CONFIG.len() + layers.concat().len();
    for (field, expected) in [
        ("digest", json!(image.digest)),
        ("imageSize", json!(size)),
        ("architecture", json!("amd64")),
        ("os", json!("linux")),
        ("mediaType", json!(IMAGE)),
        ("configMediaType", json!(CONFIG_TYPE)),
    ] {
        assert_eq!(whole[field], expected, "{field}");
    }
    let all = described(&all).await;
    assert_eq!((&all["imageSize"], &all["mediaType"]), (&json!(index.len()), &json!(INDEX)));
    let references = json!([{"digest": image.digest, "architecture": "amd64", "os": "linux"}]);
    assert_eq!(all["references"], references);
}

async fn names(client: &Client, first: &str, field: &str, key: &str) -> Vec<String> {
    let (mut path, mut all) = (first.to_owned(), Vec::new());
    while !path.is_empty() {
        let answer = client.get(&path).await;
        let page = json_of(&answer);
        let items = page[field].as_array().expect("items");
        assert!(items.len() <= 2, "{path}");
        all.extend(items.iter().map(|item| item[key].as_str().or(item.as_str()).expect("name").to_owned()));
        path = answer.next();
    }
    all
}

async fn pages_in_every_order(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let mut digests = Vec::new();
    for tag in ["c", "a", "d.1", "b", "e"] {
        digests.push(client.put_image(&format!("r:{tag}"), &[tag.as_bytes()]).await.0.to_string());
    }
    let tags = async |query: &str| names(&client, &format!("/acr/v1/r/_tags?{query}"), "tags", "name").await;
    assert_eq!(tags("n=2").await, ["a", "b", "c", "d.1", "e"]);
    assert_eq!(tags("n=2&last=b").await, ["c", "d.1", "e"]);
    assert_eq!(tags("n=2&orderby=timeasc").await, ["c", "a", "d.1", "b", "e"]);
    assert_eq!(tags("n=2&orderby=timedesc").await, ["e", "b", "d.1", "a", "c"]);
    let by_digest = format!("n=2&orderby=timedesc&digest={}", digests[0]);
    assert_eq!(tags(&by_digest).await, ["c"]);
    let manifests = async |query: &str| {
        names(&client, &format!("/acr/v1/r/_manifests?{query}"), "manifests", "digest").await
    };
    assert_eq!(manifests("n=2&orderby=timeasc").await, digests);
    let mut sorted = digests.clone();
    sorted.sort();
    assert_eq!(manifests("n=2").await, sorted);
    digests.reverse();
    assert_eq!(manifests("n=2&orderby=timedesc").await, digests);
    for query in ["orderby=size", "orderby=timeasc&last=c", "n=many"] {
        assert_eq!(client.get(&format!("/acr/v1/r/_tags?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(tags("n=0").await, [""; 0]);
    // Some were set at the same time.
    world.alter("UPDATE registry_tags SET updated_at = 7 WHERE name <> 'b'".to_owned()).await;
    assert_eq!(tags("n=1&orderby=timeasc").await, ["a", "c", "d.1", "e", "b"]);
    assert_eq!(tags("n=1&orderby=timedesc").await, ["b", "e", "d.1", "c", "a"]);
    for number in 0..4 {
        client.put_image(&format!("s/{number}:1"), &[b"x"]).await;
    }
    let catalog = names(&client, "/acr/v1/_catalog?n=2", "repositories", "").await;
    assert_eq!(catalog, ["r", "s/0", "s/1", "s/2", "s/3"]);
}

async fn pages_of_manifests_are_bounded(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (_, manifest) = client.put_image("r:1", &[b"x"]).await;
    let most = limit::MANIFESTS_PAGE as usize;
    for spaces in 1..most {
        client.put_manifest("r", "1", &format!("{manifest}{}", " ".repeat(spaces))).await;
    }
    let whole = client.get("/acr/v1/r/_manifests?n=5000").await;
    let count = |answer: &Answer| json_of(answer)["manifests"].as_array().map(Vec::len);
    assert_eq!((count(&whole), whole.next().as_str()), (Some(most), ""), "at the limit");
    client.put_manifest("r", "1", &format!("{manifest}\n")).await;
    let first = client.get("/acr/v1/r/_manifests?n=5000").await;
    assert_eq!(count(&first), Some(most), "one past it");
    assert_eq!(count(&client.get(&first.next()).await), Some(1));
}

async fn a_repository_goes_with_all_it_holds(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, manifest) = client.put_image("gone/app:1", &[b"layer"]).await;
    client.put_manifest("gone/app", "2", &manifest).await;
    client.put_image("kept:1", &[b"layer"]).await;
    let answer = client.send("DELETE", "/acr/v1/gone%2Fapp", &[], "").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    let said: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(said, json!({"manifestsDeleted":[digest],"tagsDeleted":["1","2"]}));
    for path in ["/v2/gone/app/manifests/1", "/v2/gone/app/tags/list", "/acr/v1/gone/app"] {
        assert_eq!(client.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let blob = format!("/v2/gone/app/blobs/{}", Digest::sha256(b"layer"));
    assert_eq!(client.get(&blob).await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.get("/v2/kept/manifests/1").await.text(), manifest, "equal bytes elsewhere stay");
    assert_eq!(client.send("DELETE", "/acr/v1/gone/app", &[], "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.send("DELETE", "/acr/v1/kept", &[], "").await.status, StatusCode::ACCEPTED);
    let rows = world.test.db.fetch_all("SELECT digest FROM registry_manifest_bytes", args![]).await;
    assert_eq!(rows.expect("query").len(), 0, "no bytes are left behind");
    let sql = "SELECT action FROM ledger_leaves WHERE action = 'repository.delete'";
    assert_eq!(world.test.db.fetch_all(sql, args![]).await.expect("query").len(), 2);
}

async fn deleted_names_are_bounded(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let fill = async |from: i64, to: i64| {
        world
            .test
            .db
            .upkeep((from, to), |(from, to), tx| {
                Box::pin(async move {
                    tx.execute(
                        "WITH RECURSIVE n(i) AS (SELECT $1 + 0 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
                         INSERT INTO registry_tags (repository, name, digest, updated_at)
                         SELECT 'r', 't' || i, 'sha256:none', 0 FROM n",
                        args![*from, *to],
                    )
                    .await
                })
            })
            .await
            .map_err(|error: seaworthy_store::DbError| error.to_string())
            .expect("filled");
    };
    client.put_image("r:1", &[b"x"]).await;
    fill(1, limit::DELETED_NAMES - 1).await;
    let over = client.send("DELETE", "/acr/v1/r", &[], "").await;
    assert_eq!(over.status, StatusCode::PAYLOAD_TOO_LARGE, "a manifest and 10,000 tags: one past the limit");
    client.send("DELETE", "/acr/v1/r/_tags/1", &[], "").await;
    let at = client.send("DELETE", "/acr/v1/r", &[], "").await;
    assert_eq!(at.status, StatusCode::ACCEPTED, "at the limit: {}", at.text());
}

async fn strangers_learn_nothing(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, _) = client.put_image("secret/app:1", &[b"x"]).await;
    let stranger = world.service("stranger", "AcrPull", "/repositories/other").await;
    let manifest = format!("/_manifests/{digest}");
    for rest in ["", "/_tags", "/_tags/1", "/_manifests", &manifest] {
        let there = stranger.get(&format!("/acr/v1/secret/app{rest}")).await;
        let absent = stranger.get(&format!("/acr/v1/secret/ape{rest}")).await;
        assert_eq!((there.status, there.code().as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"), "{rest}");
        assert_eq!(there.text(), absent.text().replace("/ape", "/app"));
    }
    let reader = world.service("reader", "Reader", "/repositories/secret").await;
    client.put_image("other/app:1", &[b"x"]).await;
    let catalog = json_of(&reader.get("/acr/v1/_catalog").await);
    assert_eq!(catalog, json!({"repositories":["secret/app"]}));
    for (method, path) in [("DELETE", "/acr/v1/secret/app"), ("DELETE", "/acr/v1/secret/app/_tags/1")] {
        let answer = reader.send(method, path, &[], "").await;
        let said = (answer.status, answer.code());
        assert_eq!(said, (StatusCode::UNAUTHORIZED, "UNAUTHORIZED".to_owned()), "{path}: as Azure's says it");
        assert!(answer.header("www-authenticate").contains("scope=\"repository:secret/app:delete\""));
    }
    let own = client.get("/acr/v1/_deleted/_catalog").await;
    assert_eq!((own.status, own.code().as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"));
    assert_eq!(client.send("POST", "/acr/v1/secret/app", &[], "").await.status, 405);
    assert_eq!(client.get("/acr/v1/Secret").await.code(), "NAME_INVALID");
}

async fn challenges_ask_for_the_least(test: TestDb) {
    let world = World::new(test).await;
    let nobody = world.as_identity(seaworthy_access::Identity::anonymous(None));
    for client in [nobody, world.rejected()] {
        for (method, path, scope) in [
            ("GET", "/acr/v1/_catalog", "registry:catalog:*"),
            ("GET", "/acr/v1/a%2Fb", "repository:a/b:metadata_read"),
            ("GET", "/acr/v1/a/b/_tags", "repository:a/b:metadata_read"),
            ("PATCH", "/acr/v1/a/b/_tags/1", "repository:a/b:metadata_write"),
            ("DELETE", "/acr/v1/a/b", "repository:a/b:delete"),
        ] {
            let answer = client.send(method, path, &[], "{}").await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            let challenge = answer.header("www-authenticate").to_owned();
            assert!(challenge.contains(&format!("scope=\"{scope}\"")), "{method} {path}: {challenge}");
        }
    }
}

/// The five actions of a scope map at the doors that they open.
async fn tokens_do_what_their_map_says(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (digest, manifest) = client.put_image("team/web:1", &[b"layer"]).await;
    let actor = seaworthy_model::Actor::system();
    let token = async |action: &str| {
        let name = action.replace('/', "-");
        let lines = vec![format!("repositories/team/*/{action}").parse().expect("a line")];
        world.access.set_scope_map(&actor, name.parse().expect("name"), "", lines).await.expect("set");
        let made =
            world.access.create_token(&actor, name.parse().expect("name"), &name, None).await.expect("made");
        let secret = made.secret.expect("a secret").secret;
        let identity =
            world.access.authenticate_secret(&name, secret.expose(), None).await.expect("believed");
        world.as_identity(identity)
    };
    let lock = r#"{"deleteEnabled":true}"#;
    // Deletion last: each is tried by all before the next.
    let doors: [(&str, &str, &str, String, &str); 6] = [
        ("content/read", "GET", "/v2/team/web/manifests/1", String::new(), ""),
        ("content/write", "PUT", "/v2/team/web/manifests/2", manifest.clone(), IMAGE),
        ("content/write", "POST", "/v2/team/new/blobs/uploads/", String::new(), ""),
        ("metadata/read", "GET", "/acr/v1/team%2Fweb/_tags", String::new(), ""),
        ("metadata/write", "PATCH", "/acr/v1/team%2Fweb/_tags/1", lock.to_owned(), "application/json"),
        ("content/delete", "DELETE", "/v2/team/web/manifests/1", String::new(), ""),
    ];
    let words = ["content/read", "content/write", "metadata/read", "metadata/write", "content/delete"];
    let mut tokens = Vec::new();
    for word in words {
        tokens.push((word, token(word).await));
    }
    for (needed, method, path, body, kind) in &doors {
        for (held, client) in tokens.iter().rev() {
            let headers: &[(&str, &str)] = if kind.is_empty() { &[] } else { &[("content-type", kind)] };
            let answer = client.send(method, path, headers, body.clone()).await;
            assert_eq!(
                answer.status.is_success(),
                held == needed,
                "{held} {method} {path}: {}",
                answer.text()
            );
            let outside = path.replace("team", "other");
            assert!(
                !client.send(method, &outside, headers, body.clone()).await.status.is_success(),
                "{outside}"
            );
            assert!(!client.get("/v2/_catalog").await.status.is_success(), "no token lists the catalog");
        }
    }
    assert_eq!(client.get(&format!("/v2/team/web/manifests/{digest}")).await.status, StatusCode::OK);
}

async fn quarantine(world: &World, prefix: &str, on: bool) {
    let rules = serde_json::from_value(json!({"prefix": prefix, "quarantine": on})).expect("rules");
    world.registry.set_rules(&seaworthy_access::Identity::operator(0), rules).await.expect("set");
}

pub(crate) async fn acts(world: &World, action: &str) -> usize {
    let sql = "SELECT 1 FROM ledger_leaves WHERE action = $1";
    world.test.db.fetch_all(sql, seaworthy_store::args![action]).await.expect("query").len()
}

async fn what_is_in_quarantine_is_hidden(test: TestDb) {
    let world = World::new(test).await;
    let operator = world.operator();
    let (old, _) = operator.put_image("team/web:old", &[b"from before"]).await;
    quarantine(&world, "team", true).await;
    let pusher = world.service("ci", "AcrPush", "/repositories/team").await;
    let reader = world.service("node", "AcrPull", "/repositories/team").await;
    let scanner = world.service("scanner", "AcrQuarantineReader", "/repositories/team").await;
    let writer = world.service("judge", "AcrQuarantineWriter", "/repositories/team").await;
    let (digest, _) = pusher.put_image("team/web:1", &[b"layer"]).await;
    let (layer, config) =
        (Digest::sha256(b"layer"), Digest::sha256(br#"{"os":"linux","architecture":"amd64"}"#));
    assert_eq!((acts(&world, "manifest.quarantine").await, acts(&world, "manifest.push").await), (1, 1));
    let by_digest = format!("/v2/team/web/manifests/{digest}");
    let blob = format!("/v2/team/web/blobs/{layer}");
    for (client, may_push) in [(&reader, false), (&operator, true)] {
        let tagged = client.get("/v2/team/web/manifests/1").await;
        // Who pushes there is told why; for others it is not there.
        let expected = if may_push {
            (StatusCode::METHOD_NOT_ALLOWED, "DENIED")
        } else {
            (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN")
        };
        assert_eq!((tagged.status, tagged.code().as_str()), expected);
        assert_eq!(
            client.get(&format!("/v2/team/web/manifests/{old}")).await.status,
            StatusCode::METHOD_NOT_ALLOWED
        );
        let answer = client.get(&by_digest).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "DENIED"));
        assert!(answer.text().contains("operation is disallowed"), "{}", answer.text());
    }
    assert_eq!(reader.send("HEAD", "/v2/team/web/manifests/1", &[], "").await.status, StatusCode::NOT_FOUND);
    for path in [&blob, &format!("/v2/team/web/blobs/{config}")] {
        assert_eq!(reader.get(path).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(scanner.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(
        pusher.send("HEAD", "/v2/team/web/manifests/1", &[], "").await.status,
        StatusCode::OK,
        "it pushed it"
    );
    assert_eq!(
        pusher.get("/v2/team/web/manifests/1").await.status,
        StatusCode::METHOD_NOT_ALLOWED,
        "and may not pull it"
    );
    assert_eq!(scanner.get("/v2/team/web/manifests/1").await.status, StatusCode::OK);

    // Who may not read it there does not read it elsewhere.
    let other = world.identity("mounter", "AcrPull", "/repositories/team").await;
    world
        .access
        .assign(
            &seaworthy_model::Actor::system(),
            "mounter",
            "AcrPush",
            "/repositories/mine".parse().expect("a scope"),
        )
        .await
        .expect("assigned");
    let other = world.as_identity(other);
    for from in ["&from=team/web", ""] {
        let mount = format!("/v2/mine/blobs/uploads/?mount={layer}{from}");
        assert_eq!(other.send("POST", &mount, &[], "").await.status, StatusCode::ACCEPTED, "{mount}");
    }
    let attributes = format!("/acr/v1/team%2Fweb/_manifests/{digest}");
    let state =
        async || json_of(&operator.get(&attributes).await)["manifest"]["changeableAttributes"].clone();
    assert_eq!(state().await["quarantineState"], "Quarantined");
    let say =
        |word: &str| json!({"quarantineState": word, "quarantineDetails": "{\"result\":\"ok\"}"}).to_string();
    for client in [&scanner, &reader, &pusher] {
        let answer = client.send("PATCH", &attributes, &[], say("Passed")).await;
        assert!(!answer.status.is_success(), "{}", answer.text());
    }
    assert_eq!(writer.send("PATCH", &attributes, &[], say("Failed")).await.status, StatusCode::OK);
    assert_eq!(state().await["quarantineState"], "Failed");
    assert_eq!(reader.get(&by_digest).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(writer.send("PATCH", &attributes, &[], say("Nonsense")).await.status, StatusCode::BAD_REQUEST);
    let twice = r#"{"quarantineState":"Failed","quarantineState":"Passed"}"#;
    let answer = writer.send("PATCH", &attributes, &[], twice).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    assert!(answer.text().contains("key `quarantineState` occurs twice"), "{}", answer.text());
    let locks = json!({"deleteEnabled": false, "quarantineState": "Passed"}).to_string();
    assert_eq!(
        writer.send("PATCH", &attributes, &[], locks).await.status,
        StatusCode::UNAUTHORIZED,
        "locks are not theirs"
    );
    assert_eq!(writer.send("PATCH", &attributes, &[], say("Passed")).await.status, StatusCode::OK);
    let now = state().await;
    assert_eq!(
        (&now["quarantineState"], &now["quarantineDetails"]),
        (&json!("Passed"), &json!("{\"result\":\"ok\"}"))
    );
    for path in [&by_digest, &blob, &"/v2/team/web/manifests/1".to_owned()] {
        assert_eq!(reader.get(path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!((acts(&world, "manifest.reject").await, acts(&world, "manifest.release").await), (1, 1));
    // What passed is known to be good, whoever pushes it again; and it comes back so when it was deleted.
    pusher.put_image("team/web:2", &[b"layer"]).await;
    assert_eq!(reader.get("/v2/team/web/manifests/2").await.status, StatusCode::OK);
    // Quarantine is off: everything is as it was. The gate was asked all the time.
    world.gate.0.lock().expect("lock").insert(("team/web".to_owned(), digest), "blocked");
    assert_eq!(reader.get(&by_digest).await.status, StatusCode::FORBIDDEN);
    quarantine(&world, "team", false).await;
    assert_eq!(reader.get("/v2/team/web/manifests/old").await.status, StatusCode::OK);
}

const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// What somebody wrote into configs and indexes makes no list of them long.
async fn a_list_of_manifests_is_bounded(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let long = "x".repeat(limit::TYPE_BYTES + 1);
    let config = json!({"os": long, "architecture": "amd64"}).to_string();
    let config = (client.put_blob("a", config.as_bytes()).await, config.len());
    let manifest = |artifact_type: Option<&str>, config_type: &str| {
        let mut manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": [],
            "config": {"mediaType": config_type, "digest": config.0.to_string(), "size": config.1}});
        if let Some(artifact_type) = artifact_type {
            manifest["artifactType"] = json!(artifact_type);
            manifest["subject"] = json!({"mediaType": IMAGE, "digest": config.0.to_string(), "size": 1});
        }
        manifest.to_string()
    };
    let put = async |manifest: &str| client.put_manifest("a", "1", manifest).await.code();
    assert_eq!(put(&manifest(Some(&long), CONFIG_TYPE)).await, "MANIFEST_INVALID");
    assert_eq!(put(&manifest(None, &long)).await, "MANIFEST_INVALID");
    let longest = &long[1..];
    assert_eq!(
        client.put_manifest("a", "2", &manifest(Some(longest), CONFIG_TYPE)).await.status,
        StatusCode::CREATED
    );
    let pushed = client.put_manifest("a", "1", &manifest(None, CONFIG_TYPE)).await;
    let path = format!("/acr/v1/a/_manifests/{}", pushed.header("docker-content-digest"));
    assert_eq!(json_of(&client.get(&path).await)["manifest"]["os"], json!(longest));
    let children = |number: usize| {
        let all = (0..limit::ATTRIBUTES_NAMES).map(|child| {
            let digest = Digest::sha256(format!("{number}-{child}").as_bytes());
            json!({"mediaType": IMAGE, "digest": digest.to_string(), "size": 1})
        });
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all.collect::<Vec<_>>()}).to_string()
    };
    for number in 0..3 {
        let put = client.put_as(&format!("/v2/b/manifests/{number}"), INDEX, &children(number)).await;
        assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
    }
    let (mut path, mut pages) = ("/acr/v1/b/_manifests?n=2".to_owned(), Vec::new());
    loop {
        let page = client.get(&path).await;
        pages.push(json_of(&page)["manifests"].as_array().expect("a list").len());
        path = page.next();
        if path.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [1, 1, 1]);
}

async fn an_index_lets_nothing_out_that_was_rejected(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    quarantine(&world, "*", true).await;
    let (one, first) = client.put_image("a:one", &[b"1"]).await;
    let (two, second) = client.put_image("a:two", &[b"2"]).await;
    let children = [(one, first.len()), (two, second.len())]
        .map(|(digest, size)| json!({"mediaType": IMAGE, "digest": digest, "size": size}));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string();
    assert_eq!(client.put_as("/v2/a/manifests/all", INDEX, &index).await.status, StatusCode::CREATED);
    let all = Digest::sha256(index.as_bytes());
    let say = async |digest: &Digest, word: &str, details: &str| {
        let body = json!({"quarantineState": word, "quarantineDetails": details}).to_string();
        client.send("PATCH", &format!("/acr/v1/a/_manifests/{digest}"), &[], body).await
    };
    let pulls = async || {
        let mut got = Vec::new();
        for name in ["all", "one", "two"] {
            got.push(client.get(&format!("/v2/a/manifests/{name}")).await.status == StatusCode::OK);
        }
        got
    };
    assert_eq!(say(&two, "Failed", "malware").await.status, StatusCode::OK);
    let refused = say(&all, "Passed", "").await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text());
    assert!(refused.text().contains(&format!("`a@{two}` was rejected by itself")), "{}", refused.text());
    assert_eq!(
        (pulls().await, acts(&world, "manifest.release").await),
        (vec![false; 3], 0),
        "nothing changed"
    );
    // What was rejected with its index goes with it, and not what was rejected again since.
    assert_eq!(say(&all, "Failed", "unsigned").await.status, StatusCode::OK);
    let words = async |digest: &Digest| {
        let shown = json_of(&client.get(&format!("/acr/v1/a/_manifests/{digest}")).await);
        shown["manifest"]["changeableAttributes"]["quarantineDetails"].as_str().map(str::to_owned)
    };
    assert_eq!((words(&one).await, words(&two).await), (Some("unsigned".into()), Some("malware".into())));
    assert_eq!(say(&all, "Passed", "signed").await.status, StatusCode::CONFLICT);
    assert_eq!(say(&all, "Failed", "still unsigned").await.status, StatusCode::OK);
    assert_eq!(
        (words(&one).await, words(&two).await),
        (Some("still unsigned".into()), Some("malware".into()))
    );
    assert_eq!(say(&two, "Failed", "malware").await.status, StatusCode::OK);
    assert_eq!(say(&all, "Passed", "signed").await.status, StatusCode::CONFLICT);
    assert_eq!(say(&two, "Passed", "no malware").await.status, StatusCode::OK);
    assert_eq!(say(&all, "Passed", "signed").await.status, StatusCode::OK);
    assert_eq!(pulls().await, [true; 3]);
}

/// Engines read JSON as Go does: they would see another system than the list says.
async fn a_config_of_two_meanings_says_nothing(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    for (name, config, os) in [
        ("plain", r#"{"os":"linux","x":[{"OS":"b"}]}"#, Some("linux")),
        ("twice", r#"{"os":"linux","os":"windows"}"#, None),
        ("case", r#"{"os":"linux","OS":"windows"}"#, None),
    ] {
        let digest = client.put_blob(name, config.as_bytes()).await;
        let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": [],
            "config": {"mediaType": CONFIG_TYPE, "digest": digest, "size": config.len()}});
        client.put_manifest(name, "1", &manifest.to_string()).await;
        let listed = json_of(&client.get(&format!("/acr/v1/{name}/_manifests")).await);
        assert_eq!(listed["manifests"][0]["os"].as_str(), os, "{name}");
    }
}

async fn an_index_leaves_quarantine_with_its_images(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    quarantine(&world, "*", true).await;
    let (one, first) = client.put_image("a:one", &[b"1"]).await;
    let (two, second) = client.put_image("a:two", &[b"2"]).await;
    let children = [(one, first.len()), (two, second.len())]
        .map(|(digest, size)| json!({"mediaType": IMAGE, "digest": digest.to_string(), "size": size}));
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).to_string();
    assert_eq!(client.put_as("/v2/a/manifests/all", INDEX, &index).await.status, StatusCode::CREATED);
    let digest = Digest::sha256(index.as_bytes());
    let passed = json!({"quarantineState": "Passed"}).to_string();
    let path = format!("/acr/v1/a/_manifests/{digest}");
    assert_eq!(client.send("PATCH", &path, &[], passed.clone()).await.status, StatusCode::OK);
    for name in ["all", "one", "two"] {
        assert_eq!(client.get(&format!("/v2/a/manifests/{name}")).await.status, StatusCode::OK, "{name}");
    }
    // A record names some of its tags, however many there are.
    let tags: String = (0..=limit::TOLD_TAGS).fold(String::new(), |all, n| format!("{all}&tag=t{n}"));
    for part in tags.split_inclusive("&tag=t49").filter(|part| !part.is_empty()) {
        let put = format!("/v2/a/manifests/{digest}?{}", part.trim_start_matches('&'));
        assert_eq!(client.put_as(&put, INDEX, &index).await.status, StatusCode::CREATED, "{put}");
    }
    // What was said before is said once; other details are news that change nothing for who pulls.
    let releases = async || {
        let sql = "SELECT leaf FROM ledger_leaves WHERE action = 'manifest.release' ORDER BY id";
        let rows = world.test.db.fetch_all(sql, &[]).await.expect("query");
        let leaves =
            rows.iter().map(|row| row.json::<Value>(0).expect("a leaf")["details"]["effective"].clone());
        leaves.collect::<Vec<_>>()
    };
    assert_eq!(releases().await, [true, true, true]);
    for (details, count) in [("", 3), ("looked at", 6), ("looked at", 6)] {
        let again = json!({"quarantineState": "Passed", "quarantineDetails": details}).to_string();
        assert_eq!(client.send("PATCH", &path, &[], again).await.status, StatusCode::OK);
        let told = releases().await;
        assert_eq!((told.len(), told[3..].iter().all(|it| it == false)), (count, true), "{details}");
    }
    let sql = "SELECT leaf FROM ledger_leaves WHERE action = 'manifest.release' AND object LIKE $1 ORDER BY id DESC LIMIT 1";
    let like = format!("%{digest}");
    let rows = world.test.db.fetch_all(sql, seaworthy_store::args![&like]).await.expect("query");
    let leaf: Value = rows[0].json(0).expect("a leaf");
    let told = leaf["details"]["tags"].as_array().expect("tags").len();
    assert_eq!(i64::try_from(told).expect("small"), limit::TOLD_TAGS);
    // Each of many indexes names each of the next: all ways through them are one way.
    let mut below = vec![(one, first.len()), (two, second.len())];
    for level in 0..6 {
        let mut these = Vec::new();
        for number in 0..10 {
            let children: Vec<Value> = below
                .iter()
                .map(|(digest, size)| json!({"mediaType": INDEX, "digest": digest.to_string(), "size": size}))
                .collect();
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children,
                "annotations": {"number": format!("{level}-{number}")}});
            let (index, path) = (index.to_string(), Digest::sha256(index.to_string().as_bytes()));
            let put = client.put_as(&format!("/v2/a/manifests/{path}"), INDEX, &index).await;
            assert_eq!(put.status, StatusCode::CREATED, "{}", put.text());
            these.push((path, index.len()));
        }
        below = these;
    }
    let path = format!("/acr/v1/a/_manifests/{}", below[0].0);
    assert_eq!(client.send("PATCH", &path, &[], passed.clone()).await.status, StatusCode::OK);
    // Nor is anything let out where nothing is held.
    quarantine(&world, "*", false).await;
    let path = format!("/acr/v1/a/_manifests/{}", below[1].0);
    assert_eq!(client.send("PATCH", &path, &[], passed.clone()).await.status, StatusCode::OK);
    assert_eq!(releases().await.last(), Some(&json!(false)));
    let none = format!("/acr/v1/a/_manifests/{}", Digest::sha256(b"none"));
    assert_eq!(client.send("PATCH", &none, &[], passed).await.status, StatusCode::NOT_FOUND);
}
