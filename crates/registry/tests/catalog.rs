//! Repositories, tags and referrers as people look through them, on both databases.

use http::StatusCode;
use seaworthy_access::{DockerScope, Identity};
use seaworthy_model::Actor;
use seaworthy_oci::{Digest, RepoName};
use seaworthy_registry::{ReferrersShown, RepositoryRules, RepositoryShown, RetentionRules, limit};
use seaworthy_store::args;
use seaworthy_testkit::{TestDb, db_tests};
use serde_json::json;

use crate::{
    client::{ROOMS, World, artifact},
    queries,
};

db_tests!(super::ROOMS; pages_are_complete_and_in_order,
    a_catalog_is_what_its_caller_may_see, nobody_sees_what_they_may_not_pull,
    a_repository_says_what_it_holds, counting_is_bounded, tags_come_in_pages, referrers_open_level_by_level);

/// Of names around those that are covered, on pages of any size.
async fn a_catalog_is_what_its_caller_may_see(test: TestDb) {
    let world = World::new(test).await;
    let there = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "ab", "b/c", "b/c-d", "b/c/d", "c"];
    for repository in there {
        insert(
            &world,
            format!("INSERT INTO registry_repositories (path, created_at) VALUES ('{repository}', 0)"),
        )
        .await;
    }
    let client = world.service("some", "Reader", "/repositories/a").await;
    for scope in ["/repositories/b/c/d", "/repositories/a/b", "/repositories/c", "/repositories/none"] {
        let scope = scope.parse().expect("a scope");
        world.access.assign(&Actor::system(), "some", "Reader", scope).await.expect("assigned");
    }
    let nobody = world.service("nobody", "Reader", "/repositories/elsewhere").await;
    for most in [1, 2, 3, 5, 100] {
        for (client, visible) in
            [(&client, &["a", "a/b", "a/b/c", "b/c/d", "c"][..]), (&nobody, &[]), (&world.operator(), &there)]
        {
            let (mut names, mut path) = (Vec::new(), format!("/v2/_catalog?n={most}"));
            while !path.is_empty() {
                let answer = client.get(&path).await;
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
                let page: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
                let page = page["repositories"].as_array().expect("a list").clone();
                assert!(page.len() <= most, "{page:?}");
                names.extend(page.iter().map(|it| it.as_str().expect("a name").to_owned()));
                path = answer.next();
            }
            assert_eq!(names, visible, "{most}");
        }
    }
}

fn name(text: &str) -> RepoName {
    text.parse().expect("a name")
}

async fn insert(world: &World, sql: String) {
    let sql: &'static str = sql.leak();
    let done =
        world.test.db.upkeep((), move |(), tx| Box::pin(async move { tx.execute(sql, args![]).await }));
    done.await.map_err(|error: seaworthy_store::DbError| panic!("{error}")).ok();
}

/// `count` repositories named `PREFIX` and a number of five digits.
async fn repositories(world: &World, prefix: &str, count: usize) {
    insert(
        world,
        format!(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
             INSERT INTO registry_repositories (path, created_at)
             SELECT '{prefix}' || CAST(10000 + n AS TEXT), 0 FROM numbers"
        ),
    )
    .await;
}

async fn page(
    world: &World,
    who: &Identity,
    (prefix, after, most): (&str, &str, u32),
) -> (Vec<String>, Option<String>) {
    let page = world.registry.repositories_shown(who, prefix, after, most).await.expect("a page");
    let names = page.0.iter().map(|row| row.repository.to_string()).collect();
    (names, page.1.map(|next| next.to_string()))
}

/// All names, page by page.
async fn all(world: &World, who: &Identity, prefix: &str, most: u32) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let (more, next) = page(world, who, (prefix, &after, most)).await;
        assert!(more.len() <= most as usize && (next.is_none() || more.len() == most as usize));
        names.extend(more);
        match next {
            Some(next) => {
                assert!(next > after, "it goes on");
                after = next;
            }
            None => return names,
        }
    }
}

async fn pages_are_complete_and_in_order(test: TestDb) {
    let world = World::new(test).await;
    let operator = Identity::operator(0);
    assert_eq!(page(&world, &operator, ("", "", 10)).await, (vec![], None));
    let client = world.operator();
    for name in ["b", "a/b", "a", "a.b", "a-b", "a0", "a/b/c", "ab"] {
        client.put_image(&format!("{name}:1"), &[b"layer"]).await;
    }
    let sorted = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "ab", "b"];
    for most in [1, 2, 3, 7, 8, 9] {
        assert_eq!(all(&world, &operator, "", most).await, sorted, "{most} at once");
    }
    assert_eq!(all(&world, &operator, "a/", 1).await, ["a/b", "a/b/c"]);
    assert_eq!(page(&world, &operator, ("a", "a/b", 2)).await.0, ["a/b/c", "a0"]);
    assert_eq!(page(&world, &operator, ("", "", 8)).await.1, None, "a full page is no promise");
    assert_eq!(page(&world, &operator, ("", "", 0)).await, (vec![], None));

    let most = limit::REPOSITORIES_PAGE;
    repositories(&world, "many/", most as usize + 1).await;
    let (names, next) = page(&world, &operator, ("many/", "", u32::MAX)).await;
    assert_eq!((names.len(), next.as_ref()), (most as usize, names.last()), "a larger page is this one");
    let (rest, next) = page(&world, &operator, ("many/", &next.expect("more"), u32::MAX)).await;
    assert_eq!((rest.len(), next), (1, None));

    let before = all(&world, &operator, "a", 3).await;
    let hidden = r#"{"listEnabled":false}"#.to_owned();
    assert_eq!(client.send("PATCH", "/acr/v1/ab", &[], hidden).await.status, StatusCode::OK);
    assert!(!client.get("/v2/_catalog").await.text().contains(r#""ab""#), "clients do not see it");
    assert_eq!(all(&world, &operator, "a", 3).await, before, "no lock hides it from who looks through all");
}

async fn nobody_sees_what_they_may_not_pull(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    for name in ["a/b/mine", "a/other", "a", "a0", "z", "team", "team/one", "team.x", "team/two", "closed0"] {
        client.put_image(&format!("{name}:1"), &[b"layer"]).await;
    }
    // More than are read at once, below one namespace and beside it.
    repositories(&world, "closed/", limit::PAGE as usize + 5).await;
    repositories(&world, "flat", limit::PAGE as usize + 5).await;
    let puller = world.identity("puller", "AcrPull", "/repositories/team").await;
    let both = world.identity("both", "AcrPull", "/repositories/a/b").await;
    // The next name after all that lies below `closed`.
    let scope = "/repositories/closed0".parse().expect("a scope");
    world.access.assign(&Actor::system(), "both", "AcrPull", scope).await.expect("assigned");
    for most in [1, 2, 100] {
        assert_eq!(all(&world, &puller, "", most).await, ["team", "team/one", "team/two"]);
        assert_eq!(all(&world, &both, "", most).await, ["a/b/mine", "closed0"]);
    }
    assert!(all(&world, &Identity::anonymous(None), "", 10).await.is_empty());
    let (images, deleted) = (
        async |who: &Identity| {
            let rows = world.registry.images(who, "", ("", ""), 100).await.expect("images");
            assert_eq!(rows.len(), if who.is_anonymous() { 0 } else { 3 });
        },
        async |who: &Identity| {
            let rows = world.registry.deleted(who, "", ("", "", ""), 100).await.expect("what was deleted");
            assert_eq!(rows.len(), 0);
        },
    );
    // Nor is what is hidden looked at: the roles say where to look.
    let tags = "INSERT INTO registry_tags (repository, name, digest, updated_at)
         SELECT path, 't', (SELECT digest FROM registry_manifests WHERE repository = 'z'), 0
         FROM registry_repositories WHERE path > 'closed/' AND path < 'g'";
    insert(&world, tags.to_owned()).await;
    let gone =
        "INSERT INTO registry_deleted (repository, kind, name, digest, deleted_at, deleted_by, reason, until)
         SELECT path, 'tag', 't', 'sha256:' || path, 0, 'x', 'request', 0
         FROM registry_repositories WHERE path > 'closed/' AND path < 'g'";
    insert(&world, gone.to_owned()).await;
    let reading =
        |queries: Vec<String>, table: &str| queries.iter().filter(|sql| sql.contains(table)).count();
    for (who, most) in [(&Identity::anonymous(None), 0), (&puller, 2)] {
        assert_eq!(reading(queries::of(images(who)).await, "FROM registry_tags"), most);
        assert_eq!(reading(queries::of(deleted(who)).await, "FROM registry_deleted"), most);
        for (prefix, most) in [("", most), ("none", 0)] {
            let names = queries::of(async { drop(all(&world, who, prefix, 10).await) }).await;
            assert_eq!(reading(names, "SELECT path FROM registry_repositories"), most, "{prefix}");
        }
    }
    // Of all that an owner may see, a token for one repository looks there alone.
    let owner = world.identity("owner", "Owner", "/repositories").await;
    let asked = DockerScope::parse_all(std::iter::once("repository:team:pull"));
    let token = world.access.issue_token(&owner, &asked).await.expect("token").token;
    let bearer = world.access.authenticate_token(token.expose(), None).await.expect("valid");
    let listed = queries::of(async {
        let rows = world.registry.images(&bearer, "", ("", ""), 100).await.expect("images");
        assert_eq!(rows.iter().map(|row| row.repository.as_str()).collect::<Vec<_>>(), ["team"]);
    });
    assert_eq!(reading(listed.await, "FROM registry_tags"), 1);
    assert_eq!(reading(queries::of(deleted(&bearer)).await, "FROM registry_deleted"), 1);
    let names = queries::of(async { assert_eq!(all(&world, &bearer, "", 10).await, ["team"]) });
    assert_eq!(reading(names.await, "SELECT path FROM registry_repositories"), 1);
    let (_, next) = page(&world, &puller, ("", "", 3)).await;
    assert_eq!(next, None, "nothing follows that they may see");

    let digest = Digest::sha256(b"x");
    let unknown = |error: seaworthy_registry::RegistryError| error.to_string();
    for hidden in ["z", "never/was"] {
        let repository = name(hidden);
        let expected = format!("repository `{hidden}` is not known");
        let tags = world.registry.tags_shown(&puller, &repository, ("", 10)).await.map_err(unknown);
        assert_eq!(tags.expect_err("hidden"), expected);
        let tree = world.registry.referrers_shown(&puller, &repository, &digest, "").await.map_err(unknown);
        assert_eq!(tree.expect_err("hidden"), expected);
    }
    let acts = |row: &RepositoryShown| row.may.iter().map(|it| it.word()).collect::<Vec<_>>();
    let rows = world.registry.repositories_shown(&puller, "", "", 1).await.expect("a page").0;
    assert_eq!(acts(&rows[0]), ["metadata/read"]);
    let owner = world.registry.repositories_shown(&Identity::operator(0), "", "", 1).await.expect("a page").0;
    assert_eq!(acts(&owner[0]), ["push", "delete", "metadata/read", "policy/write"]);
    let somewhere = world.registry.acts_somewhere(&puller).await.expect("acts");
    assert_eq!(somewhere.iter().map(|it| it.word()).collect::<Vec<_>>(), ["metadata/read"]);
}

async fn one(world: &World, repository: &str) -> RepositoryShown {
    let operator = Identity::operator(0);
    let page = world.registry.repositories_shown(&operator, repository, "", 1).await.expect("a page");
    page.0.into_iter().next().expect("a repository")
}

async fn a_repository_says_what_it_holds(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let operator = Identity::operator(0);
    let rules = |value: serde_json::Value| serde_json::from_value::<RepositoryRules>(value).expect("rules");
    for it in [
        json!({"prefix": "*", "quota": {"bytes": 1_000_000}}),
        json!({"prefix": "prod", "immutable": ["v*"]}),
        json!({"prefix": "prod/web2", "promotion_only": true}),
    ] {
        world.registry.set_rules(&operator, rules(it)).await.expect("set");
    }
    let kept = RetentionRules { keep_last: Some(1), ..RetentionRules::default() };
    world.registry.set_retention(&operator, "", &kept).await.expect("set");
    let (_, first) = client.put_image("prod/web:1", &[b"one", b"shared"]).await;
    client.put_manifest("prod/web", "v1", &first).await;
    let (_, second) = client.put_image("prod/web:2", &[b"shared"]).await;
    client.put_image("prod/web/below:1", &[b"elsewhere"]).await;
    let shown = one(&world, "prod/web").await;
    let config = br#"{"os":"linux","architecture":"amd64"}"#.len();
    let bytes = first.len() + second.len() + config + b"one".len() + b"shared".len();
    assert_eq!((shown.repository.as_str(), shown.tags, shown.manifests), ("prod/web", 3, 2));
    assert_eq!((shown.bytes, shown.complete), (bytes as u64, true), "a blob counts once");
    let now = world.test.db.now();
    assert!(shown.pushed_at.is_some_and(|at| at <= now && at.plus_seconds(600) > now));
    let held: Vec<_> = shown
        .rules
        .iter()
        .map(|it| (it.prefix.to_string(), it.promotion_only, it.immutable, it.quota))
        .collect();
    assert_eq!(held, [("*".to_owned(), false, false, true), ("prod".to_owned(), false, true, false)]);
    assert_eq!(shown.retention.map(|prefix| prefix.to_string()).as_deref(), Some("*"));
    world.registry.set_retention(&operator, "prod", &kept).await.expect("set");
    let shown = one(&world, "prod/web").await;
    assert_eq!(shown.retention.map(|prefix| prefix.to_string()).as_deref(), Some("prod"), "the longest");
}

async fn counting_is_bounded(test: TestDb) {
    let world = World::new(test).await;
    world.operator().put_image("a:1", &[b"layer"]).await;
    let counted = limit::COUNTED;
    let more = counted - 1;
    insert(
        &world,
        format!(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {more})
             INSERT INTO registry_tags (repository, name, digest, updated_at)
             SELECT 'a', 't' || CAST(n AS TEXT), 'sha256:{}', 0 FROM numbers",
            "0".repeat(64)
        ),
    )
    .await;
    let shown = one(&world, "a").await;
    assert_eq!((shown.tags, shown.complete), (counted.unsigned_abs(), true), "at the limit");
    for name in ["x", "y"] {
        let digest = "0".repeat(64);
        insert(
            &world,
            format!(
                "INSERT INTO registry_tags (repository, name, digest, updated_at)
                 VALUES ('a', '{name}', 'sha256:{digest}', 0)"
            ),
        )
        .await;
        let shown = one(&world, "a").await;
        assert_eq!((shown.tags, shown.complete), (counted.unsigned_abs() + 1, false), "past it, and no more");
    }
}

async fn tags_come_in_pages(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let operator = Identity::operator(0);
    let repository = name("prod/web");
    let (digest, manifest) = client.put_image("prod/web:v1", &[b"one"]).await;
    for tag in ["latest", "v2", "v10", "Z", "hidden", "held"] {
        client.put_manifest("prod/web", tag, &manifest).await;
    }
    client.put_image("prod/web2:1", &[b"two"]).await;
    for (tag, locks) in [("hidden", r#"{"listEnabled":false}"#), ("held", r#"{"writeEnabled":false}"#)] {
        let path = format!("/acr/v1/prod/web/_tags/{tag}");
        assert_eq!(client.send("PATCH", &path, &[], locks.to_owned()).await.status, StatusCode::OK);
    }
    let rules: RepositoryRules =
        serde_json::from_value(json!({"prefix": "prod", "immutable": ["v*"]})).expect("rules");
    world.registry.set_rules(&operator, rules).await.expect("set");
    let expected = ["Z", "held", "hidden", "latest", "v1", "v10", "v2"];
    let listed = client.get("/v2/prod/web/tags/list").await.text();
    assert!(!listed.contains("hidden"), "only clients do not see it: {listed}");
    for most in [1, 4, 7, 8] {
        let (mut names, mut after) = (Vec::new(), String::new());
        loop {
            let (rows, next) =
                world.registry.tags_shown(&operator, &repository, (&after, most)).await.expect("a page");
            assert!(rows.len() <= most as usize);
            for row in &rows {
                assert_eq!((row.digest, row.manifest_bytes), (digest, manifest.len() as u64));
                assert_eq!(
                    (row.locked, row.immutable),
                    (row.tag == "held", row.tag.starts_with('v')),
                    "{row:?}"
                );
            }
            names.extend(rows.into_iter().map(|row| row.tag));
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(names, expected, "{most} at once");
    }
    // What is hidden until it is let out is said to be.
    let quarantined = async || {
        let tags = world.registry.tags_shown(&operator, &repository, ("", 9)).await.expect("tags").0;
        let images = world.registry.images(&operator, "prod/web", ("", ""), 99).await.expect("images");
        let of = world.registry.images_of(&operator, &repository, &digest).await.expect("images");
        assert!(of.iter().all(|row| row.quarantined == tags[0].quarantined), "{of:?}");
        let tags: Vec<bool> = tags.iter().map(|row| row.quarantined).collect();
        let (own, others): (Vec<_>, Vec<_>) = images.iter().partition(|row| row.repository == repository);
        assert_eq!(own.iter().map(|row| row.quarantined).collect::<Vec<_>>(), tags);
        assert!(others.len() == 1 && !others[0].quarantined, "{others:?}");
        tags
    };
    assert_eq!(quarantined().await, [false; 7]);
    let rules = json!({"prefix": "prod/web", "quarantine": true});
    let rules: RepositoryRules = serde_json::from_value(rules).expect("rules");
    world.registry.set_rules(&operator, rules).await.expect("set");
    assert_eq!(quarantined().await, [true; 7]);
    let passed = json!({"quarantineState": "Passed"}).to_string();
    let path = format!("/acr/v1/prod/web/_manifests/{digest}");
    assert_eq!(client.send("PATCH", &path, &[], passed).await.status, StatusCode::OK);
    assert_eq!(quarantined().await, [false; 7]);
    let closed = r#"{"readEnabled":false}"#.to_owned();
    assert_eq!(client.send("PATCH", "/acr/v1/prod/web", &[], closed).await.status, StatusCode::OK);
    assert!(world.registry.tags_shown(&operator, &repository, ("", 1)).await.is_err(), "reading is locked");
}

async fn referrers_open_level_by_level(test: TestDb) {
    let world = World::new(test).await;
    let client = world.operator();
    let (image, _) = client.put_image("a:1", &[b"layer"]).await;
    client.put_blob("a", b"{}").await;
    let put = async |subject: &Digest, artifact_type: &str, annotations: &str| {
        let manifest = artifact(subject, artifact_type, annotations);
        let digest = Digest::sha256(manifest.as_bytes());
        let answer = client.put_manifest("a", &digest.to_string(), &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        digest
    };
    let sbom = put(&image, "application/spdx+json", r#"{"tool":"one"}"#).await;
    let signature = put(&sbom, "application/vnd.example.signature", "{}").await;
    let repository = name("a");
    let shown = async |who: &Identity, subject: &Digest| -> ReferrersShown {
        world.registry.referrers_shown(who, &repository, subject, "").await.expect("a level")
    };
    let operator = Identity::operator(0);
    let first = shown(&operator, &image).await;
    let [only] = first.referrers.as_slice() else { panic!("{first:?}") };
    assert_eq!((only.digest, only.artifact_type.as_deref()), (sbom, Some("application/spdx+json")));
    assert_eq!((only.annotations["tool"].as_str(), only.has_referrers, only.cut), ("one", true, false));
    assert!(only.pushed_at.is_some() && only.pushed_by.is_some());
    let second = shown(&operator, &sbom).await;
    assert_eq!((second.referrers[0].digest, second.referrers[0].has_referrers), (signature, false));
    assert!(shown(&operator, &signature).await.referrers.is_empty());

    // The rules of the list at /v2/: what is blocked is there, without its content.
    world.gate.0.lock().expect("lock").insert(("a".to_owned(), sbom), "blocked");
    let blocked = shown(&operator, &image).await;
    assert!(blocked.referrers[0].annotations.is_empty(), "{blocked:?}");
    let reader = world.identity("reader", "AcrQuarantineReader", "/repositories/a").await;
    let scope = "/repositories/a".parse().expect("a scope");
    world.access.assign(&Actor::system(), "reader", "AcrPull", scope).await.expect("assigned");
    assert_eq!(shown(&reader, &image).await.referrers[0].annotations["tool"], "one");

    let most = usize::try_from(limit::REFERRERS).expect("small");
    for number in 0..most {
        put(&image, "application/vnd.example.note", &format!(r#"{{"n":"{number}"}}"#)).await;
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let level =
            world.registry.referrers_shown(&operator, &repository, &image, &after).await.expect("a level");
        assert!(level.referrers.len() <= most);
        seen.extend(level.referrers.iter().map(|it| it.digest.to_string()));
        match level.next {
            Some(next) => after = next.to_string(),
            None => break,
        }
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (most + 1, &sorted), "once each, in order");
}
