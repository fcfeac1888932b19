//! Tags go by the rules of their repository, and by nothing else.

use http::StatusCode;
use seaworthy_access::Identity;
use seaworthy_model::{Actor, Clock as _, ErrorCode, Presence, Problem};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_store::{DbError, args};
use seaworthy_testkit::{TestDb, db_tests};

use super::{
    DAY, Still,
    client::{IMAGE, INDEX, ROOMS, artifact},
    file,
};
use crate::{Collection, RetentionRules, db, limit, pauses::Point, retention::Newest};

db_tests!(super::ROOMS; retention_races_pull, rules_are_applied_every_day, the_preview_names_the_rules,
    removed_tags_come_back, rules_need_rights, prefixes_have_their_own_time_for_untagged,
    large_repositories_are_judged, what_was_set_last_is_asked_of_the_database, prefixes_are_counted, immutable_tags_stay, signatures_stay_with_their_images,
    a_rule_that_is_gone_removes_nothing, what_others_are_is_judged_anew, a_shorter_time_holds_for_what_waits);

fn rules(text: &str) -> RetentionRules {
    serde_json::from_str(text).expect("rules")
}

fn repo(name: &str) -> RepoName {
    name.parse().expect("name")
}

impl Still {
    async fn set_rules(&self, prefix: &str, text: &str) {
        let done = self.registry().set_retention(&Identity::operator(0), prefix, &rules(text)).await;
        done.expect("set");
    }

    async fn preview(&self, repository: &str, text: Option<&str>) -> Vec<(String, &'static str, String)> {
        let (mut out, mut after) = (Vec::new(), String::new());
        loop {
            let page = self
                .registry()
                .preview_retention(&Identity::operator(0), &repo(repository), text.map(rules), (&after, 2))
                .await
                .expect("previewed");
            let Some(last) = page.last() else { return out };
            after.clone_from(&last.tag);
            out.extend(page.into_iter().map(|it| (it.tag, it.action, it.rule)));
        }
    }
}

/// Whatever happens to a tag after it was judged counts.
async fn retention_races_pull(test: TestDb) {
    let still = Still::new(test).await;
    for (seed, name) in ["goes", "pulled", "moved", "locked", "started", "new"].into_iter().enumerate() {
        still.client.put_image(&format!("a:{name}"), &[&file(u8::try_from(seed).expect("small"))]).await;
    }
    let started =
        still.client.get("/v2/a/manifests/started").await.header("docker-content-digest").to_owned();
    still.pass(31 * DAY).await;
    still.set_rules("a", r#"{"remove_older_than_days":30,"keep_pulled_days":1}"#).await;
    assert!(still.preview("a", None).await.iter().all(|(_, action, _)| *action == "remove"));
    let (judged, go) = still.registry().hold_at(Point::Judged);
    let meanwhile = async {
        judged.await.expect("held");
        let answer = still.client.get("/v2/a/manifests/pulled").await;
        assert_eq!(answer.status, StatusCode::OK);
        still.client.put_image("a:moved", &[&file(99)]).await;
        still.client.send("PATCH", "/acr/v1/a/_tags/locked", &[], r#"{"deleteEnabled":false}"#).await;
        still.seen(("1", 1), Presence::Live, &[started.parse().expect("digest")]).await;
        go.send(()).expect("held");
    };
    futures_util::future::join(meanwhile, still.collect()).await;
    for name in ["pulled", "moved", "locked", "started"] {
        assert_eq!(still.get(&format!("a/manifests/{name}")).await, StatusCode::OK, "{name}");
    }
    for name in ["goes", "new"] {
        assert_eq!(still.get(&format!("a/manifests/{name}")).await, StatusCode::NOT_FOUND, "{name}");
    }
}

/// Who takes a rule back, or sets another, takes it back for what was judged by it.
async fn a_rule_that_is_gone_removes_nothing(test: TestDb) {
    let still = Still::new(test).await;
    for seed in 0..5 {
        still.client.put_image(&format!("a/b:{seed}"), &[&file(seed)]).await;
    }
    still.pass(31 * DAY).await;
    let operator = Identity::operator(0);
    for change in ["removed", "changed", "longer"] {
        still.set_rules("a", r#"{"remove_older_than_days":30}"#).await;
        let (judged, go) = still.registry().hold_at(Point::Judged);
        let meanwhile = async {
            judged.await.expect("held");
            match change {
                "removed" => still.registry().remove_retention(&operator, "a").await.expect("removed"),
                "changed" => still.set_rules("a", r#"{"remove_older_than_days":300}"#).await,
                _ => still.set_rules("a/b", r#"{"keep_last":5,"remove_older_than_days":30}"#).await,
            }
            go.send(()).expect("held");
        };
        futures_util::future::join(meanwhile, still.collect()).await;
        for seed in 0..5 {
            assert_eq!(still.get(&format!("a/b/manifests/{seed}")).await, StatusCode::OK, "{change}: {seed}");
        }
    }
}

/// What the last ones are is judged again and again while others are removed.
async fn what_others_are_is_judged_anew(test: TestDb) {
    let still = Still::new(test).await;
    let most = limit::EXPIRED_AT_ONCE;
    let (digest, _) = still.client.put_image("a:x", &[&file(1)]).await;
    let sql = format!(
        "WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {})
         INSERT INTO registry_tags (repository, name, digest, updated_at, created_at)
         SELECT 'a', 't' || (100000 + n), '{digest}', n, n FROM counted",
        most + 2
    );
    still.world.alter(sql).await;
    still.pass(31 * DAY).await;
    // The last one that is set is `x`; then those with the highest numbers.
    still.set_rules("a", r#"{"keep_last":1,"remove_older_than_days":30}"#).await;
    let (judged, go) = still.registry().hold_at(Point::Judged);
    let meanwhile = async {
        judged.await.expect("held");
        // It was judged by now, and is looked at once more behind those that go at once.
        still.delete("a/manifests/x").await;
        go.send(()).expect("held");
    };
    futures_util::future::join(meanwhile, still.collect()).await;
    let tags = still.client.get("/v2/a/tags/list").await.text();
    assert!(tags.contains(&format!(r#"["t{}"]"#, 100_000 + most + 2)), "one is the last: {tags}");
}

async fn rules_are_applied_every_day(test: TestDb) {
    let still = Still::new(test).await;
    for day in 0..6u8 {
        still.client.put_image(&format!("prod/web:{day}"), &[&file(day)]).await;
        still.client.put_image(&format!("production:{day}"), &[&file(day)]).await;
        still.pass(DAY).await;
    }
    still.set_rules("prod", r#"{"keep_last":2,"remove_older_than_days":3,"keep_tags":["0"]}"#).await;
    let left = async |name: &str| {
        let text = still.client.get(&format!("/v2/{name}/tags/list")).await.text();
        let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        list["tags"]
            .as_array()
            .expect("tags")
            .iter()
            .map(|it| it.as_str().expect("text").to_owned())
            .collect::<String>()
    };
    still.pass(0).await;
    assert_eq!(left("prod/web").await, "045", "set four days ago and longer");
    still.pass(DAY).await;
    still.client.put_image("prod/web:new", &[&file(9)]).await;
    still.pass(DAY).await;
    assert_eq!(left("prod/web").await, "05new");
    assert_eq!(left("production").await, "012345", "another name");
    // A repository that comes later is looked at as well.
    still.client.put_image("prod/late:1", &[&file(1)]).await;
    still.client.put_image("prod/late:2", &[&file(1)]).await;
    still.client.put_image("prod/late:3", &[&file(1)]).await;
    for _ in 0..4 {
        still.pass(DAY).await;
    }
    assert_eq!(left("prod/late").await, "23");
    // Without rules nothing goes.
    still.registry().remove_retention(&Identity::operator(0), "prod").await.expect("removed");
    for _ in 0..9 {
        still.pass(DAY).await;
    }
    assert_eq!(left("prod/late").await, "23");
    let again = still.registry().remove_retention(&Identity::operator(0), "prod").await.expect_err("none");
    assert_eq!(Problem::from(again).code, ErrorCode::NotFound);
    for (action, count) in [("retention.set", 1), ("retention.remove", 1), ("tag.expire", 5)] {
        assert_eq!(still.acts(action).await, count, "{action}");
    }
}

async fn the_preview_names_the_rules(test: TestDb) {
    let still = Still::new(test).await;
    let (signed, _) = still.client.put_image("a:old", &[&file(1)]).await;
    still.client.put_image("a:v1", &[&file(2)]).await;
    let (runs, _) = still.client.put_image("a:runs", &[&file(3)]).await;
    still.client.put_blob("a", b"{}").await;
    let signature = artifact(&signed, "application/sig", "{}");
    still.client.put_as("/v2/a/manifests/signature", IMAGE, &signature).await;
    // As cosign calls it, without a subject.
    let cosign = format!("sha256-{}.sig", signed.hex());
    still.client.put_image(&format!("a:{cosign}"), &[&file(4)]).await;
    still.seen(("1", 1), Presence::Live, &[runs]).await;
    still.pass(40 * DAY).await;
    still.client.put_image("a:new", &[&file(5)]).await;
    let text = r#"{"keep_last":1,"keep_tags":["v*"],"remove_older_than_days":30}"#;
    let expected = [
        ("new", "keep", "keep_last: 1"),
        ("old", "remove", "remove_older_than_days: 30"),
        ("runs", "keep", "container"),
        (&cosign, "keep", "subject"),
        ("signature", "keep", "subject"),
        ("v1", "keep", "keep_tags: v*"),
    ];
    let expected: Vec<_> =
        expected.into_iter().map(|(tag, action, rule)| (tag.to_owned(), action, rule.to_owned())).collect();
    assert_eq!(still.preview("a", Some(text)).await, expected, "before they are set");
    // What nobody may read would come back without its lock.
    for (allowed, first) in [(false, ("keep", "locked")), (true, ("remove", "remove_older_than_days: 30"))] {
        let lock = format!(r#"{{"readEnabled":{allowed}}}"#);
        for path in ["a/_tags/old".to_owned(), format!("a/_manifests/{signed}"), "a".to_owned()] {
            let answer = still.client.send("PATCH", &format!("/acr/v1/{path}"), &[], lock.clone()).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            let shown = still.preview("a", Some(text)).await;
            let (_, action, rule) = shown.iter().find(|it| it.0 == "old").expect("shown");
            let expected = if path == "a" { first } else { ("keep", "locked") };
            assert_eq!((*action, rule.as_str()), expected, "{path} {allowed}");
        }
    }
    let nothing = still.preview("a", None).await;
    assert!(
        nothing.iter().all(|(_, action, rule)| *action == "keep" && (rule == "no rule" || rule != "remove"))
    );
    still.set_rules("", text).await;
    assert_eq!(still.preview("a", None).await, expected);
    let told = still.leaf("retention.set").await;
    assert_eq!(told["object"], "repositories/*", "as rules of repositories are called");
    still.registry().remove_retention(&Identity::operator(0), "").await.expect("removed");
    assert_eq!(still.leaf("retention.remove").await["object"], "repositories/*");
    still.set_rules("", text).await;
    still.collect().await;
    assert_eq!(still.preview("a", None).await.len(), expected.len() - 1, "and so it is");
    assert_eq!(still.get("a/manifests/old").await, StatusCode::NOT_FOUND);
}

/// As cosign signs, and as clients list referrers where a registry cannot.
async fn signatures_stay_with_their_images(test: TestDb) {
    let still = Still::new(test).await;
    let mut hexes = Vec::new();
    for seed in 1..=3u8 {
        let (image, _) = still.client.put_image(&format!("a:v{seed}"), &[&file(seed)]).await;
        let hex = image.hex();
        still.client.put_image(&format!("a:sha256-{hex}.sig"), &[&file(10 + seed)]).await;
        let (at, manifest) =
            still.client.put_image(&format!("a:sha256-{hex}.att"), &[&file(20 + seed)]).await;
        let referrers = format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}",
                "manifests":[{{"mediaType":"{IMAGE}","digest":"{at}","size":{}}}]}}"#,
            manifest.len()
        );
        let path = format!("/v2/a/manifests/sha256-{hex}");
        assert_eq!(still.client.put_as(&path, INDEX, &referrers).await.status, StatusCode::CREATED);
        hexes.push(hex);
        still.pass(60).await;
    }
    still.set_rules("a", r#"{"keep_last":2,"remove_older_than_days":0,"untagged_days":7}"#).await;
    let shown = async |of: u8| {
        let hex = &hexes[usize::from(of) - 1];
        let names = [
            format!("v{of}"),
            format!("sha256-{hex}"),
            format!("sha256-{hex}.att"),
            format!("sha256-{hex}.sig"),
        ];
        let all = still.preview("a", None).await;
        let rule = |name: &String| {
            let found = all.iter().find(|(tag, ..)| tag == name);
            found.map_or("gone".to_owned(), |(_, action, rule)| format!("{action} by {rule}"))
        };
        names.iter().map(rule).collect::<Vec<_>>()
    };
    let (last, subject) = ("keep by keep_last: 2", "keep by subject");
    assert_eq!(shown(1).await, ["remove by remove_older_than_days: 0", subject, subject, subject]);
    assert_eq!(shown(2).await, [last, subject, subject, subject]);
    assert_eq!(shown(3).await, [last, subject, subject, subject]);
    still.collect().await;
    assert_eq!(shown(1).await, ["gone", subject, subject, subject], "the image is there by its digest");
    for _ in 0..8 {
        still.pass(DAY).await;
    }
    let image = format!("a/manifests/sha256:{}", hexes[0]);
    assert_eq!(still.get(&image).await, StatusCode::NOT_FOUND);
    assert_eq!(shown(1).await, ["gone", "gone", "gone", "gone"]);
    for of in [2, 3] {
        assert_eq!(shown(of).await, [last, subject, subject, subject]);
    }
    // What is signed anew after its image is gone takes no place from images.
    for seed in 0..3 {
        still.client.put_image(&format!("a:sha256-{}.s{seed}", hexes[0]), &[&file(30 + seed)]).await;
    }
    assert_eq!(shown(2).await, [last, subject, subject, subject]);
    for _ in 0..2 {
        still.pass(DAY).await;
    }
    for of in [2, 3] {
        assert_eq!(shown(of).await, [last, subject, subject, subject]);
    }
}

async fn removed_tags_come_back(test: TestDb) {
    let still = Still::with(test, Collection::default()).await;
    still.client.put_image("a:old", &[&file(1)]).await;
    still.pass(40 * DAY).await;
    still.set_rules("a", r#"{"remove_older_than_days":30,"untagged_days":0}"#).await;
    still.pass(0).await;
    assert_eq!(still.get("a/manifests/old").await, StatusCode::NOT_FOUND);
    still.pass(6 * DAY).await;
    let restored = still.restore("a", Ok("old".parse().expect("tag"))).await.expect("restored");
    assert_eq!(restored.tags.len(), 1);
    // It was set now, so it is not old.
    still.pass(3 * DAY).await;
    assert_eq!(still.get("a/manifests/old").await, StatusCode::OK);
    let acts = "SELECT leaf FROM ledger_leaves WHERE action = 'tag.expire'";
    let acts = still.world.test.db.fetch_all(acts, &[]).await.expect("query");
    assert!(
        acts[0].text(0).expect("leaf").contains("remove_older_than_days: 30"),
        "the rule is in the record"
    );
}

async fn rules_need_rights(test: TestDb) {
    let still = Still::new(test).await;
    let registry = still.registry();
    let deleter = still.world.identity("deleter", "AcrDelete", "/repositories/a").await;
    let pusher = still.world.identity("pusher", "AcrPush", "/repositories/a").await;
    let some = rules(r#"{"remove_older_than_days":30}"#);
    for (who, prefix, may) in [
        (&deleter, "a", true),
        (&deleter, "a/b", true),
        (&deleter, "", false),
        (&deleter, "ab", false),
        (&pusher, "a", false),
    ] {
        let set = registry.set_retention(who, prefix, &some).await;
        assert_eq!(set.is_ok(), may, "{prefix}");
        if let Err(error) = set {
            assert_eq!(Problem::from(error).code, ErrorCode::Denied, "{prefix}");
        }
    }
    for wrong in ["A", "a/", "/", "a b"] {
        let error =
            registry.set_retention(&Identity::operator(0), wrong, &some).await.expect_err("no prefix");
        assert_eq!(Problem::from(error).code, ErrorCode::NameInvalid, "{wrong}");
    }
    assert!(registry.set_retention(&Identity::operator(0), "a", &RetentionRules::default()).await.is_err());
    // One repository's right is none over those below it.
    let map = vec!["repositories/one/content/delete".parse().expect("a line")];
    let (access, actor) = (&still.world.access, Actor::system());
    access.set_scope_map(&actor, "one".parse().expect("a name"), "", map).await.expect("set");
    let token =
        access.create_token(&actor, "token".parse().expect("a name"), "one", None).await.expect("made");
    let secret = token.secret.expect("a secret").secret;
    let token = access.authenticate_secret("token", secret.expose(), None).await.expect("believed");
    let error = registry.set_retention(&token, "one", &some).await.expect_err("more than its own");
    assert_eq!(Problem::from(error).code, ErrorCode::Denied);
    let stranger = still.world.identity("stranger", "AcrPull", "/repositories/c").await;
    assert!(registry.retention(&stranger).await.expect("list").is_empty());
    assert_eq!(registry.retention(&Identity::operator(0)).await.expect("list").len(), 2);
    for (who, repository, why) in
        [(&stranger, "a", "not theirs"), (&Identity::operator(0), "nowhere", "not there")]
    {
        let error = registry.preview_retention(who, &repo(repository), None, ("", 1)).await.expect_err(why);
        assert_eq!(Problem::from(error).code, ErrorCode::NameUnknown, "{why}");
    }
}

async fn prefixes_have_their_own_time_for_untagged(test: TestDb) {
    let still = Still::new(test).await;
    still.set_rules("keep", r#"{"keep_untagged":true}"#).await;
    still.set_rules("short", r#"{"untagged_days":1}"#).await;
    let digests = [
        ("keep", still.untagged("keep", &file(1)).await),
        ("short", still.untagged("short", &file(1)).await),
        ("other", still.untagged("other", &file(1)).await),
    ];
    let there = async || {
        let mut there = Vec::new();
        for (name, digest) in &digests {
            let head = still.client.send("HEAD", &format!("/v2/{name}/manifests/{digest}"), &[], "").await;
            if head.status == StatusCode::OK {
                there.push(*name);
            }
        }
        there
    };
    still.pass(DAY).await;
    assert_eq!(there().await, ["keep", "other"]);
    still.pass(6 * DAY).await;
    assert_eq!(there().await, ["keep"]);
    still.pass(100 * DAY).await;
    assert_eq!(there().await, ["keep"]);
}

/// A rule that changed is seen by what waits by the old one.
async fn a_shorter_time_holds_for_what_waits(test: TestDb) {
    let still = Still::new(test).await;
    still.set_rules("a", r#"{"untagged_days":3650}"#).await;
    let digest = still.untagged("a", &file(1)).await;
    still.pass(2 * DAY).await;
    still.set_rules("a", r#"{"untagged_days":1}"#).await;
    still.pass(DAY).await;
    let head = still.client.send("HEAD", &format!("/v2/a/manifests/{digest}"), &[], "").await;
    assert_eq!(head.status, StatusCode::NOT_FOUND);
}

async fn immutable_tags_stay(test: TestDb) {
    let still = Still::new(test).await;
    still.client.put_image("a:v1", &[&file(1)]).await;
    still.client.put_image("a:v2", &[&file(2)]).await;
    still.client.put_image("a:dev", &[&file(3)]).await;
    still.pass(40 * DAY).await;
    let freeze = async |pattern: &str| {
        let rules = serde_json::json!({"prefix": "*", "promotion_only": false, "immutable": [pattern]});
        let rules = serde_json::from_value(rules).expect("rules");
        still.registry().set_rules(&Identity::operator(0), rules).await.expect("set");
    };
    freeze("v1").await;
    still.set_rules("a", r#"{"remove_older_than_days":30}"#).await;
    let shown = still.preview("a", None).await;
    let found = shown.iter().find(|(tag, ..)| tag == "v1").expect("shown");
    assert_eq!((found.1, found.2.as_str()), ("keep", "immutable"));
    // One that becomes so after it was judged stays as well.
    let (judged, go) = still.registry().hold_at(Point::Judged);
    let meanwhile = async {
        judged.await.expect("held");
        freeze("v*").await;
        go.send(()).expect("held");
    };
    futures_util::future::join(meanwhile, still.collect()).await;
    for (name, status) in [("v1", StatusCode::OK), ("v2", StatusCode::OK), ("dev", StatusCode::NOT_FOUND)] {
        assert_eq!(still.get(&format!("a/manifests/{name}")).await, status, "{name}");
    }
}

/// However many tags there are.
async fn large_repositories_are_judged(test: TestDb) {
    let still = Still::new(test).await;
    let (digest, _) = still.client.put_image("a:0", &[&file(1)]).await;
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $1)
         INSERT INTO registry_tags (repository, name, digest, updated_at)
         SELECT 'a', 't' || (1000000 + i), $2, $3 FROM n";
    let later = still.clock.now().as_micros();
    let insert = async |sql: &'static str, most: i64| {
        let context = (digest.to_string(), most);
        let done: Result<u64, DbError> = still
            .world
            .test
            .db
            .upkeep(context, move |(digest, most), tx| {
                Box::pin(async move { tx.execute(sql, args![*most, digest, later]).await })
            })
            .await;
        done.expect("inserted");
    };
    insert(many, 150_001).await;
    let old = "INSERT INTO registry_tags (repository, name, digest, updated_at)
         VALUES ('a', 'u' || $1, $2, $3 - 5184000000000)";
    insert(old, 1).await;
    let (who, text) = (Identity::operator(0), r#"{"keep_last":2,"remove_older_than_days":30}"#);
    let preview = async |after, most| {
        let page = (after, most);
        let shown = still.registry().preview_retention(&who, &repo("a"), Some(rules(text)), page).await;
        shown.expect("previewed").into_iter().map(|it| (it.tag, it.action, it.rule)).collect::<Vec<_>>()
    };
    let (last, age) = ("keep_last: 2".to_owned(), "remove_older_than_days: 30".to_owned());
    assert_eq!(preview("", u32::MAX).await.len(), limit::PAGE as usize);
    let end = [
        ("t1149999".to_owned(), "keep", last.clone()),
        ("t1150000".to_owned(), "keep", last),
        ("u1".to_owned(), "remove", age),
    ];
    assert_eq!(preview("t1149998", 10).await, end);
    still.set_rules("a", text).await;
    still.collect().await;
    assert_eq!(preview("t1149998", 10).await, end[..2]);
    assert_eq!(still.acts("tag.expire").await, 1);
}

/// And it says what all tags at once would say.
async fn what_was_set_last_is_asked_of_the_database(test: TestDb) {
    let still = Still::new(test).await;
    let (here, _) = still.client.put_image("a:here", &[&file(1)]).await;
    let (other, _) = still.client.put_image("a:other", &[&file(2)]).await;
    still.client.put_blob("a", b"{}").await;
    let signature = artifact(&here, "application/x", "{}");
    assert_eq!(still.client.put_manifest("a", "subject", &signature).await.status, StatusCode::CREATED);
    let (hex, gone) = (here.hex(), Digest::sha256(b"gone").hex());
    let long = Digest::sha256(b"sha512").hex();
    let names = [
        format!("sha256-{hex}"),
        format!("sha256-{hex}.sig"),
        format!("sha256-{gone}.sig"),
        format!("sha256-{gone}.v1.json"),
        format!("sha256-{gone}-sig"),
        format!("sha256-{gone}0"),
        format!("sha256-{}", gone.to_uppercase()),
        format!("SHA256-{gone}"),
        format!("sha512-{long}"),
        format!("sha384-{long}"),
        format!("sha256-{}", &gone[1..]),
        "sha256-.sig".to_owned(),
        "plain".to_owned(),
    ];
    for (number, name) in names.iter().enumerate() {
        for (digest, name) in [(&here, name.clone()), (&other, format!("{name}.2"))] {
            let sql = format!(
                "INSERT INTO registry_tags (repository, name, digest, updated_at)
                 VALUES ('a', '{name}', '{digest}', {})",
                number / 2
            );
            still.world.alter(sql).await;
        }
    }
    let tags = db::tags_to_judge(still.registry().db(), &repo("a"), "", 1_000).await.expect("tags");
    assert_eq!(tags.len(), 2 * names.len() + 3);
    let with_subject = tags.iter().filter(|tag| tag.has_subject).count();
    assert_eq!(with_subject, 3);
    for most in 0..=u32::try_from(tags.len() + 1).expect("small") {
        let newest = db::newest(still.registry().db(), &repo("a"), most).await.expect("asked");
        assert_eq!(newest, Newest::of(&tags, most), "{most}");
    }
}

async fn prefixes_are_counted(test: TestDb) {
    let still = Still::new(test).await;
    let most = limit::RETENTION_PREFIXES;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < $1)
         INSERT INTO registry_retention (prefix, rules, set_at, set_by)
         SELECT 'p' || i, '{\"keep_last\":1}', 0, 'x' FROM n";
    let done: Result<u64, DbError> = still
        .world
        .test
        .db
        .upkeep(most, move |most, tx| Box::pin(async move { tx.execute(fill, args![*most]).await }))
        .await;
    done.expect("filled");
    still.set_rules("one", r#"{"keep_last":1}"#).await;
    still.set_rules("one", r#"{"keep_last":2}"#).await;
    let over =
        still.registry().set_retention(&Identity::operator(0), "two", &rules(r#"{"keep_last":1}"#)).await;
    assert_eq!(Problem::from(over.expect_err("one past it")).code, ErrorCode::TooLarge);
}
