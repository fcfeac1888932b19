//! Who refers to what: lists, filters, pages, and what of a refused manifest they do not say.

use http::StatusCode;
use seaworthy_model::SystemClock;
use seaworthy_oci::Digest;
use seaworthy_registry::limit;
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::Value;

use crate::client::{Answer, Client, IMAGE, INDEX, ROOMS, World, artifact};

db_tests!(super::ROOMS; referrer_pushed_before_subject, referrers_are_filtered, referrers_100k, referrers_end_at_their_bytes, annotations_of_any_length_are_listed,
    nothing_of_a_refused_referrer_is_listed, referrers_are_for_who_may_pull, referrers_from_before_the_table);

async fn push(client: &Client, repository: &str, manifest: &str) -> Digest {
    client.put_blob(repository, b"{}").await;
    let digest = Digest::sha256(manifest.as_bytes());
    let answer = client.put_manifest(repository, &digest.to_string(), manifest).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    digest
}

/// The list's entries, after a look at its envelope.
fn entries(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, INDEX), "{}", answer.text());
    let json: Value = serde_json::from_slice(&answer.body).expect("json");
    assert_eq!((&json["schemaVersion"], &json["mediaType"]), (&2.into(), &INDEX.into()));
    json["manifests"].as_array().expect("a list").clone()
}

async fn list(client: &Client, subject: &Digest, query: &str) -> Vec<Value> {
    entries(&client.get(&format!("/v2/a/referrers/{subject}{query}")).await)
}

async fn referrer_pushed_before_subject(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    assert!(list(&client, &Digest::sha256(b"nothing"), "").await.is_empty(), "of nothing there is none");
    let (_, image) = client.put_image("b:1", &[b"layer"]).await;
    let subject = Digest::sha256(image.as_bytes());
    let signature = artifact(&subject, "x/signature", r#"{"k":"v"}"#);
    client.put_blob("a", b"{}").await;
    let put = client.put_manifest("a", "signature", &signature).await;
    assert_eq!(put.header("oci-subject"), subject.to_string());
    let digest = Digest::sha256(signature.as_bytes());
    let before = list(&client, &subject, "").await;
    assert_eq!(before.len(), 1);
    assert_eq!(before[0]["digest"], digest.to_string());
    assert_eq!(before[0]["size"], signature.len());
    assert_eq!(before[0]["mediaType"], IMAGE);
    assert_eq!(before[0]["artifactType"], "x/signature");
    assert_eq!(before[0]["annotations"]["k"], "v");
    client.put_image("a:1", &[b"layer"]).await;
    assert_eq!(list(&client, &subject, "").await, before, "the subject is here now");
    let elsewhere = client.get(&format!("/v2/b/referrers/{subject}")).await;
    assert!(entries(&elsewhere).is_empty(), "of another repository it has none");
    // The subject's end is not theirs; their own is.
    client.send("DELETE", &format!("/v2/a/manifests/{subject}"), &[], "").await;
    assert_eq!(list(&client, &subject, "").await, before);
    client.send("DELETE", &format!("/v2/a/manifests/{digest}"), &[], "").await;
    assert!(list(&client, &subject, "").await.is_empty());
    let sql = "SELECT COUNT(*) FROM registry_referrers";
    assert_eq!(world.test.db.fetch_all(sql, args![]).await.expect("query")[0].int(0).expect("count"), 0);
}

async fn referrers_are_filtered(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (subject, _) = client.put_image("a:1", &[b"layer"]).await;
    for (kind, note) in [("x/one", "1"), ("x/one", "2"), ("x/two+json", "3")] {
        push(&client, "a", &artifact(&subject, kind, &format!(r#"{{"note":"{note}"}}"#))).await;
    }
    // Without an artifact type the config's media type is it; an index has none.
    push(&client, "a", &artifact(&subject, "", "{}")).await;
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],
            "subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":1}}}}"#
    );
    let put = client.put_as("/v2/a/manifests/index", INDEX, &index).await;
    assert_eq!((put.status, put.header("oci-subject")), (StatusCode::CREATED, subject.to_string().as_str()));
    let all = list(&client, &subject, "").await;
    assert_eq!(all.len(), 5);
    let bare = all.iter().find(|entry| entry["mediaType"] == INDEX).expect("the index");
    assert!(bare.get("artifactType").is_none() && bare.get("annotations").is_none(), "{bare}");
    for (query, count, filtered) in [
        ("?artifactType=x%2Fone", 2, true),
        ("?artifactType=x/one", 2, true),
        ("?artifactType=x/two%2Bjson", 1, true),
        ("?artifactType=x/two+json", 0, true),
        ("?artifactType=application/vnd.oci.empty.v1%2Bjson", 1, true),
        ("?artifactType=x/ONE", 0, true),
        ("?artifactType=", 5, false),
        ("?other=x", 5, false),
    ] {
        let answer = client.get(&format!("/v2/a/referrers/{subject}{query}")).await;
        assert_eq!(entries(&answer).len(), count, "{query}");
        let applied = if filtered { "artifactType" } else { "" };
        assert_eq!(answer.header("oci-filters-applied"), applied, "{query}");
        assert_eq!(answer.header("link"), "", "{query}");
    }
}

/// A page costs what is on it, however many there are.
async fn referrers_100k(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (subject, _) = client.put_image("a:1", &[b"layer"]).await;
    let rows = 100_000;
    let sql = format!(
        "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})
         INSERT INTO registry_referrers
             (repository, subject, artifact_type, digest, media_type, size, annotations, annotation_bytes)
         SELECT 'a', '{subject}', CASE WHEN n % 1000 = 0 THEN 'x/rare' ELSE 'x/usual' END,
             'sha256:' || CAST(1000000 + n AS TEXT) || '{}', '{IMAGE}', 10, '{{}}', 2 FROM numbers",
        "0".repeat(57)
    );
    insert(&world, sql).await;
    let page = usize::try_from(limit::REFERRERS).expect("small");
    let mut path = format!("/v2/a/referrers/{subject}");
    for number in 1..=5 {
        let answer = client.get(&path).await;
        assert_eq!(entries(&answer).len(), page, "page {number}");
        assert!(answer.body.len() < 300 * page, "page {number}: {}", answer.body.len());
        path = answer.next();
    }
    let last = format!("sha256:{}{}", 1_000_000 + rows - page - 1, "0".repeat(57));
    let almost = client.get(&format!("/v2/a/referrers/{subject}?last={last}")).await;
    assert_eq!(entries(&almost).len(), page);
    let end = client.get(&almost.next()).await;
    assert_eq!((entries(&end).len(), end.header("link")), (1, ""));
    let rare = client.get(&format!("/v2/a/referrers/{subject}?artifactType=x/rare")).await;
    assert_eq!((entries(&rare).len(), rare.header("link")), (page, ""), "a filter looks at what it gives");
}

async fn insert(world: &World, sql: String) {
    let sql: &'static str = sql.leak();
    let done =
        world.test.db.upkeep((), move |(), tx| Box::pin(async move { tx.execute(sql, args![]).await })).await;
    done.map_err(|error: seaworthy_store::DbError| {
        panic!("{error}: {:?}", std::error::Error::source(&error))
    })
    .ok();
}

async fn referrers_end_at_their_bytes(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (subject, _) = client.put_image("a:1", &[b"layer"]).await;
    let most = usize::try_from(limit::REFERRERS_BYTES).expect("small");
    // `{"n":"…"}` and the type of exactly half the limit, twice; then one more byte.
    for (extra, pages) in [(0, vec![2]), (1, vec![1, 1])] {
        let mut found = Vec::new();
        for (letter, more) in [("a", 0), ("b", extra)] {
            let text = letter.repeat(most / 2 - r#"{"n":""}x/0"#.len() + more);
            push(&client, "a", &artifact(&subject, &format!("x/{extra}"), &format!(r#"{{"n":"{text}"}}"#)))
                .await;
        }
        let mut path = format!("/v2/a/referrers/{subject}?artifactType=x/{extra}");
        while !path.is_empty() {
            let answer = client.get(&path).await;
            found.push(entries(&answer).len());
            path = answer.next();
        }
        assert_eq!(found, pages, "{extra}");
    }
}

/// Short annotations come with their row, longer ones by themselves: neither is lost.
async fn annotations_of_any_length_are_listed(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (subject, _) = client.put_image("a:1", &[b"layer"]).await;
    let inline = usize::try_from(limit::REFERRER_INLINE_BYTES).expect("small") - r#"{"n":""}"#.len();
    let mut expected = Vec::new();
    for length in [0, 1, inline - 1, inline, inline + 1, 3 * inline] {
        let text = "あ".repeat(length / 3) + &"x".repeat(length % 3);
        push(&client, "a", &artifact(&subject, "x/y", &format!(r#"{{"n":"{text}"}}"#))).await;
        expected.push(text);
    }
    push(&client, "a", &artifact(&subject, "x/none", "{}")).await;
    for query in ["", "?artifactType=x/y"] {
        let listed = list(&client, &subject, query).await;
        let mut found: Vec<String> =
            listed.iter().filter_map(|entry| Some(entry["annotations"]["n"].as_str()?.to_owned())).collect();
        found.sort_by_key(String::len);
        assert_eq!(found, expected, "{query}");
    }
}

/// A list says of a refused manifest what HEAD says, and nothing of its content.
async fn nothing_of_a_refused_referrer_is_listed(test: TestDb) {
    let world = World::new(test).await;
    let operator = world.operator();
    let (subject, _) = operator.put_image("a:1", &[b"layer"]).await;
    let open = push(&operator, "a", &artifact(&subject, "x/open", r#"{"note":"open"}"#)).await;
    let hidden = push(&operator, "a", &artifact(&subject, "x/hidden", r#"{"note":"secret"}"#)).await;
    let refuse =
        |digest: Digest, verdict| world.gate.0.lock().expect("lock").insert(("a".into(), digest), verdict);
    refuse(hidden, "blocked");
    let client = world.service("ci", "AcrPull", "/repositories/a").await;
    for query in ["", "?artifactType=x/hidden"] {
        let answer = client.get(&format!("/v2/a/referrers/{subject}{query}")).await;
        assert!(!answer.text().contains("secret"), "{}", answer.text());
        let found = entries(&answer);
        let entry = found.iter().find(|entry| entry["digest"] == hidden.to_string()).expect("listed");
        assert!(entry.get("annotations").is_none());
    }
    let all = list(&client, &subject, "").await;
    let entry = all.iter().find(|entry| entry["digest"] == open.to_string()).expect("listed");
    assert_eq!(entry["annotations"]["note"], "open", "another's refusal is not its own");
    let path = format!("/v2/a/manifests/{hidden}");
    assert_eq!(client.get(&path).await.status, StatusCode::FORBIDDEN, "who asks for it is told why");
    let inspector = world.service("inspector", "AcrQuarantineReader", "/repositories/a").await;
    let seen = inspector.get(&format!("/v2/a/referrers/{subject}")).await;
    assert!(seen.text().contains("secret"), "who inspects may read it");
    refuse(open, "error");
    let answer = client.get(&format!("/v2/a/referrers/{subject}")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "what cannot be found out is not shown");
    assert_eq!(answer.header("retry-after"), limit::RETRY_SECONDS.to_string());
}

async fn referrers_are_for_who_may_pull(test: TestDb) {
    let world = World::new(test).await;
    let (subject, _) = world.operator().put_image("a:1", &[b"layer"]).await;
    push(&world.operator(), "a", &artifact(&subject, "x/y", "{}")).await;
    let stranger = world.service("stranger", "AcrPull", "/repositories/b").await;
    for subject in [subject, Digest::sha256(b"none")] {
        let answer = stranger.get(&format!("/v2/a/referrers/{subject}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "NAME_UNKNOWN"));
    }
    let nobody = world.as_identity(seaworthy_access::Identity::anonymous(None));
    let answer = nobody.get(&format!("/v2/a/referrers/{subject}")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").contains("repository:a:pull"));
    let post = world.operator().send("POST", &format!("/v2/a/referrers/{subject}"), &[], "").await;
    assert_eq!((post.status, post.code().as_str()), (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"));
}

/// What was pushed before the table existed is in it, and its annotations come from the manifest.
async fn referrers_from_before_the_table(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (subject, _) = client.put_image("a:1", &[b"layer"]).await;
    push(&client, "a", &artifact(&subject, "x/y", r#"{"k":"v"}"#)).await;
    let before = list(&client, &subject, "").await;
    // The table is dropped and the migration that made it runs again, over the rows of the first.
    for sql in [
        "DROP TABLE registry_referrers",
        "DROP INDEX registry_links_digest_principal_repository",
        "DELETE FROM store_migrations WHERE room = 'registry' AND id = 2",
    ] {
        insert(&world, sql.to_owned()).await;
    }
    let db = world.test.reopen(std::sync::Arc::new(SystemClock)).await;
    db.migrate(ROOMS).await.expect("migrated");
    assert_eq!(list(&client, &subject, "").await, before);
    assert_eq!(list(&client, &subject, "?artifactType=x/y").await.len(), 1);
}
