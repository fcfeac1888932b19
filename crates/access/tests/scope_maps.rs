//! A token may do what its scope map says, there and nowhere else, from the next request on.

use std::sync::Arc;

use seaworthy_access::{
    Access, AccessError, DockerScope, Identity, MapAction, MapEntry, Permission, PrincipalKind, Reach, limit,
};
use seaworthy_model::{Actor, ErrorCode, FixedClock, Problem, Timestamp};
use seaworthy_testkit::{TestDb, db_tests};

use crate::{open, scope, service};

db_tests!(&[seaworthy_seal::SCHEMA, seaworthy_ledger::SCHEMA, seaworthy_access::SCHEMA];
    a_token_may_do_what_its_map_says, a_changed_map_holds_at_once, a_map_in_use_stays, maps_end_at_their_limits,
    tokens_have_no_roles, what_holds_below_a_prefix_needs_all_of_it, a_token_is_disabled_and_enabled, secrets_of_tokens_end);

fn lines(texts: &[&str]) -> Vec<MapEntry> {
    texts.iter().map(|text| text.parse().expect("a line")).collect()
}

async fn set(access: &Access, name: &str, texts: &[&str]) {
    let name = name.parse().expect("a name");
    access.set_scope_map(&Actor::system(), name, "", lines(texts)).await.expect("set");
}

/// A token; its secret.
async fn token(access: &Access, name: &str, map: &str) -> String {
    let made = access.create_token(&Actor::system(), name.parse().expect("a name"), map, None).await;
    made.expect("created").secret.expect("a secret").secret.expose().clone()
}

async fn signed_in(access: &Access, name: &str, secret: &str) -> Identity {
    access.authenticate_secret(name, secret, None).await.expect("believed")
}

async fn may(access: &Access, who: &Identity, permission: Permission, repository: &str) -> bool {
    let at = scope(&format!("/repositories/{repository}"));
    access.allows(who, permission, &at).await.expect("decided")
}

async fn a_token_may_do_what_its_map_says(test: TestDb) {
    let access = open(&test, &test.db).await;
    set(
        &access,
        "ci",
        &[
            "repositories/dev/web/content/read",
            "repositories/dev/web/content/write",
            "repositories/base/*/content/read",
            "repositories/old/content/delete",
            "repositories/old/metadata/read",
            "repositories/old/metadata/write",
        ],
    )
    .await;
    let secret = token(&access, "ci-token", "ci").await;
    let it = signed_in(&access, "ci-token", &secret).await;
    let all = [
        Permission::Pull,
        Permission::Push,
        Permission::Delete,
        Permission::MetadataRead,
        Permission::MetadataWrite,
    ];
    for (repository, expected) in [
        ("dev/web", [true, true, false, false, false]),
        ("dev/web/a", [false; 5]),
        ("dev", [false; 5]),
        ("dev/website", [false; 5]),
        ("base", [false; 5]),
        ("base/debian", [true, false, false, false, false]),
        ("base/debian/slim", [true, false, false, false, false]),
        ("basement/x", [false; 5]),
        ("old", [false, false, true, true, true]),
    ] {
        for (permission, expected) in all.into_iter().zip(expected) {
            assert_eq!(
                may(&access, &it, permission, repository).await,
                expected,
                "{permission} {repository}"
            );
        }
    }
    // Nothing else, whatever it is asked for.
    for permission in Permission::ALL.iter().filter(|it| !all.contains(it)) {
        for at in ["/", "/repositories", "/repositories/old", "/repositories/dev/web"] {
            assert!(
                !access.allows(&it, *permission, &scope(at)).await.expect("decided"),
                "{permission} {at}"
            );
        }
    }
    assert!(!access.may_list(&it).await.expect("decided"), "no catalog");
    let asked = "repository:dev/web:pull,push,delete repository:base/x:pull,push repository:base:pull \
                 registry:catalog:* repository:old:delete,metadata_read";
    let issued =
        access.issue_token(&it, &DockerScope::parse_all(std::iter::once(asked))).await.expect("token");
    let granted: Vec<_> =
        issued.access.iter().map(|it| format!("{}:{}", it.name, it.actions.join(","))).collect();
    assert_eq!(granted, ["dev/web:pull,push", "base/x:pull", "old:delete,metadata_read"]);
    let why =
        access.explain("ci-token", Permission::Pull, &scope("/repositories/base/a")).await.expect("told");
    assert_eq!(
        (why.allowed, why.reason.as_str()),
        (true, "its scope map has `content/read` at `/repositories/base`")
    );
    // Those that ship.
    for (map, count) in [
        ("_repositories_pull", 1),
        ("_repositories_push", 2),
        ("_repositories_pull_metadata_read", 2),
        ("_repositories_push_metadata_write", 4),
        ("_repositories_admin", MapAction::ALL.len()),
    ] {
        let name = format!("of{map}");
        let secret = token(&access, &name, map).await;
        let it = signed_in(&access, &name, &secret).await;
        let mut held = 0;
        for permission in all {
            held += usize::from(may(&access, &it, permission, "any/where").await);
        }
        assert_eq!(held, count, "{map}");
        assert!(!may(&access, &it, Permission::Catalog, "any/where").await);
    }
}

async fn a_changed_map_holds_at_once(test: TestDb) {
    let (access, replica) = (open(&test, &test.db).await, open(&test, &test.db).await);
    set(&access, "ci", &["repositories/a/content/read", "repositories/a/content/write"]).await;
    let secret = token(&access, "t", "ci").await;
    let it = signed_in(&replica, "t", &secret).await;
    let asked = DockerScope::parse_all(std::iter::once("repository:a:pull,push"));
    let bearer = replica.issue_token(&it, &asked).await.expect("token").token.expose().clone();
    assert!(replica.authenticate_token(&bearer, None).await.is_ok());
    set(&access, "ci", &["repositories/a/content/read"]).await;
    let refused = replica.authenticate_token(&bearer, None).await;
    assert!(matches!(refused, Err(AccessError::BadCredential)), "tokens from before are over");
    assert!(
        !may(&replica, &it, Permission::Push, "a").await && may(&replica, &it, Permission::Pull, "a").await
    );
    set(&access, "none", &["repositories/b/content/read"]).await;
    access.set_token_map(&Actor::system(), "t", "none").await.expect("given");
    assert!(
        !may(&replica, &it, Permission::Pull, "a").await && may(&replica, &it, Permission::Pull, "b").await
    );
}

async fn a_map_in_use_stays(test: TestDb) {
    let access = open(&test, &test.db).await;
    let actor = Actor::system();
    set(&access, "ci", &["repositories/a/content/read"]).await;
    token(&access, "t", "ci").await;
    let refused = access.delete_scope_map(&actor, "ci").await;
    assert!(matches!(&refused, Err(AccessError::InUse { by, .. }) if by == "t"), "{refused:?}");
    let principal = access.principal("t").await.expect("there");
    access.delete(&actor, &principal).await.expect("deleted");
    access.delete_scope_map(&actor, "ci").await.expect("deleted");
    assert!(matches!(access.delete_scope_map(&actor, "ci").await, Err(AccessError::Unknown { .. })));
    for name in ["_repositories_pull", "_mine"] {
        let set = access.set_scope_map(
            &actor,
            name.parse().expect("name"),
            "",
            lines(&["repositories/*/content/read"]),
        );
        assert!(matches!(set.await, Err(AccessError::Exists { .. })), "{name}");
    }
    assert!(access.delete_scope_map(&actor, "_repositories_pull").await.is_err());
    let none = access.create_token(&actor, "u".parse().expect("name"), "gone", None).await;
    assert!(matches!(none, Err(AccessError::Unknown { .. })));
}

async fn maps_end_at_their_limits(test: TestDb) {
    let access = open(&test, &test.db).await;
    let actor = Actor::system();
    let entries = |count: usize| {
        (0..count)
            .map(|n| format!("repositories/r{n}/content/read").parse().expect("a line"))
            .collect::<Vec<MapEntry>>()
    };
    let set = async |name: &str, entries| {
        access.set_scope_map(&actor, name.parse().expect("a name"), "", entries).await
    };
    assert!(matches!(set("m", vec![]).await, Err(AccessError::MapLength { length: 0, .. })));
    assert!(set("m", entries(limit::MAP_ENTRIES)).await.is_ok());
    assert!(matches!(set("m", entries(limit::MAP_ENTRIES + 1)).await, Err(AccessError::MapLength { .. })));
    // Their names are longer than a record of the ledger may be.
    let long = (0..limit::MAP_ENTRIES).map(|at| {
        let name = format!("{}/{at}", vec!["n"; 60].join("/"));
        format!("repositories/{name}/content/read").parse().expect("an entry")
    });
    let refused = Problem::from(set("long", long.collect()).await.expect_err("too long"));
    assert_eq!(refused.code, ErrorCode::TooLarge, "{refused:?}");
    assert!(refused.message.contains("65535"), "{refused:?}");
    assert_eq!(set("m", [entries(2), entries(2)].concat()).await.expect("set").actions.len(), 2, "each once");
    let sql = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
        INSERT INTO access_scope_maps (name, description, actions) SELECT 'filling-' || i, '', '[]' FROM n";
    test.db
        .upkeep((), move |(), tx| {
            Box::pin(async move {
                let most = i64::try_from(limit::SCOPE_MAPS).unwrap_or(i64::MAX);
                tx.execute(sql, seaworthy_store::args![most - 1]).await
            })
        })
        .await
        .map_err(|error: seaworthy_store::DbError| panic!("{error}"))
        .ok();
    assert!(set("last", entries(1)).await.is_ok());
    assert!(matches!(set("more", entries(1)).await, Err(AccessError::TooMany { .. })));
    assert!(set("last", entries(2)).await.is_ok(), "it is there already");
}

/// A right at a prefix that is a repository too is none over those below it.
async fn what_holds_below_a_prefix_needs_all_of_it(test: TestDb) {
    let access = open(&test, &test.db).await;
    let delete = |of: &str| format!("repositories/{of}/content/delete");
    let of_map = ["a", "b", "b/*", "c/*", "d/*"].map(delete);
    set(&access, "m", &of_map.each_ref().map(String::as_str)).await;
    let secret = token(&access, "t", "m").await;
    let by_map = signed_in(&access, "t", &secret).await;
    let (_, secret) = service(&access, "s").await;
    let by_role = signed_in(&access, "s", &secret).await;
    access.assign(&Actor::system(), "s", "AcrDelete", scope("/repositories/e")).await.expect("assigned");
    let all = async |who: &Identity, of: &str| {
        let at = scope(&format!("/repositories/{of}"));
        access.allows_within(who, Permission::Delete, &at).await.expect("decided")
    };
    for (of, expected) in
        [("a", false), ("a/x", false), ("b", true), ("b/x", true), ("c", false), ("d/x", true)]
    {
        assert_eq!(all(&by_map, of).await, expected, "{of}");
    }
    assert!(all(&by_role, "e").await && all(&by_role, "e/x").await && !all(&by_role, "ee").await);
    assert!(all(&Identity::operator(0), "e").await && !all(&Identity::anonymous(None), "e").await);
    // Nor do lists look below what is one repository.
    let spans = async |who: &Identity| {
        let spans = access.repository_scopes(who, Permission::Delete).await.expect("decided").expect("some");
        spans.into_iter().map(|it| (it.scope.to_string(), it.reach)).collect::<Vec<_>>()
    };
    let span = |of: &str, reach| (format!("/repositories/{of}"), reach);
    let expected = [
        span("a", Reach::Alone),
        span("b", Reach::Alone),
        span("b", Reach::Below),
        span("c", Reach::Below),
        span("d", Reach::Below),
    ];
    assert_eq!(spans(&by_map).await, expected);
    assert_eq!(spans(&by_role).await, [span("e", Reach::Within)]);
    // What was issued for repositories one by one is none over what lies below them.
    for (who, of) in [(&by_map, "b"), (&by_role, "e")] {
        let asked = format!("repository:{of}:delete");
        let asked = DockerScope::parse_all(std::iter::once(asked.as_str()));
        let issued = access.issue_token(who, &asked).await.expect("token");
        let bearer = access.authenticate_token(issued.token.expose(), None).await.expect("believed");
        assert!(may(&access, &bearer, Permission::Delete, of).await && !all(&bearer, of).await, "{of}");
    }
}

async fn tokens_have_no_roles(test: TestDb) {
    let access = open(&test, &test.db).await;
    let actor = Actor::system();
    token(&access, "t", "_repositories_pull").await;
    let refused = access.assign(&actor, "t", "Owner", scope("/")).await;
    assert!(matches!(refused, Err(AccessError::HasMap { .. })));
    let principal = access.principal("t").await.expect("there");
    assert_eq!(
        (principal.kind, principal.scope_map.as_deref()),
        (PrincipalKind::Token, Some("_repositories_pull"))
    );
    assert!(access.assignments(principal.id).await.expect("list").is_empty());
    assert!(
        access.roles().await.expect("roles").iter().all(|role| !role.name.contains('/')),
        "lines are no roles"
    );
    service(&access, "ci").await;
    let given = access.set_token_map(&actor, "ci", "_repositories_admin").await;
    assert!(matches!(given, Err(AccessError::NoToken { .. })), "who has roles gets no map");
    for name in ["anonymous", "operator-0"] {
        let made = access.create_token(&actor, name.parse().expect("name"), "_repositories_pull", None).await;
        assert!(matches!(made, Err(AccessError::BadName { .. })), "{name}");
    }
}

async fn a_token_is_disabled_and_enabled(test: TestDb) {
    let access = open(&test, &test.db).await;
    let actor = Actor::system();
    let secret = token(&access, "t", "_repositories_pull").await;
    let it = signed_in(&access, "t", &secret).await;
    let bearer = access.issue_token(&it, &[]).await.expect("token").token.expose().clone();
    let principal = access.principal("t").await.expect("there");
    access.disable(&actor, &principal).await.expect("disabled");
    assert!(access.authenticate_secret("t", &secret, None).await.is_err());
    access.enable(&actor, &principal).await.expect("enabled");
    assert!(access.authenticate_secret("t", &secret, None).await.is_ok());
    assert!(access.authenticate_token(&bearer, None).await.is_err(), "what ended stays ended");
}

async fn secrets_of_tokens_end(test: TestDb) {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
    let access = open(&test, &test.reopen(clock.clone()).await).await;
    let actor = Actor::system();
    let name = |name: &str| name.parse().expect("a name");
    let made = access.create_token(&actor, name("t"), "_repositories_pull", Some(7)).await.expect("made");
    let first = made.secret.expect("a secret").secret.expose().clone();
    let second = access.add_secret_for(&actor, &made.principal, "second", Some(30)).await.expect("added");
    let third = access.add_secret_for(&actor, &made.principal, "third", None).await;
    assert!(matches!(third, Err(AccessError::TooMany { .. })), "two at a time");
    assert!(access.authenticate_secret("t", &first, None).await.is_ok());
    clock.advance(7 * 24 * 3600 - 1);
    assert!(access.authenticate_secret("t", &first, None).await.is_ok());
    clock.advance(1);
    assert!(access.authenticate_secret("t", &first, None).await.is_err(), "remembered or not");
    assert!(access.authenticate_secret("t", second.secret.expose(), None).await.is_ok());
    for days in [0, limit::SECRET_DAYS + 1] {
        let made = access.create_token(&actor, name("u"), "_repositories_pull", Some(days)).await;
        assert!(matches!(made, Err(AccessError::SecretDays { .. })), "{days}");
    }
    assert!(
        access.create_token(&actor, name("u"), "_repositories_pull", Some(limit::SECRET_DAYS)).await.is_ok()
    );
}
