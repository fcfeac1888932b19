//! Tokens buy no more than they hold, at no other service, and no longer than their principal lasts.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_access::{
    Access, AccessError, DockerScope, Identity, Permission, PrincipalKind, REFRESH_USER, ResourceAccess,
    limit,
};
use seaworthy_model::{Actor, FixedClock, Timestamp};
use seaworthy_seal::Seal;
use seaworthy_testkit::{TestDb, db_tests};

use crate::{open, scope, service};

db_tests!(&[seaworthy_seal::SCHEMA, seaworthy_ledger::SCHEMA, seaworthy_access::SCHEMA]; token_scope_subset,
    token_replay_other_service, refresh_token_revoked, refresh_tokens_are_for_the_registry,
    everybody_reads_what_anonymous_may, a_token_is_no_longer_than_is_looked_at, a_secret_that_was_right_is_right_no_longer_than_it_is,
    what_goes_on_ends_with_its_token, who_judges_quarantine_does_so_by_token);

fn asked(text: &str) -> Vec<DockerScope> {
    DockerScope::parse_all(std::iter::once(text))
}

async fn issued(access: &Access, identity: &Identity, scopes: &str) -> (String, Vec<String>) {
    let token = access.issue_token(identity, &asked(scopes)).await.expect("token");
    let granted = token.access.iter().map(|it| format!("{}:{}", it.name, it.actions.join(","))).collect();
    (token.token.expose().clone(), granted)
}

async fn exchanged(access: &Access, identity: &Identity) -> Result<String, AccessError> {
    let exchange = [DockerScope { access: ResourceAccess::exchange() }];
    let token = access.issue_token(identity, &exchange).await?;
    let identity = access.authenticate_exchange(token.token.expose(), None).await?;
    Ok(access.issue_refresh_token(&identity).await?.expose().clone())
}

fn refused<T>(result: &Result<T, AccessError>) -> bool {
    matches!(result, Err(AccessError::BadCredential))
}

async fn token_scope_subset(test: TestDb) {
    let access = open(&test, &test.db).await;
    let (_, secret) = service(&access, "ci").await;
    access.assign(&Actor::system(), "ci", "Contributor", scope("/repositories/dev")).await.expect("assigned");
    let ci = access.authenticate_secret("ci", &secret, None).await.expect("authenticated");
    let wide =
        "repository:dev/a:pull,push,metadata_read,metadata_write repository:dev/b:pull repository:prod:pull";
    let (_, granted) = issued(&access, &ci, wide).await;
    assert_eq!(granted, ["dev/a:pull,push,metadata_read,metadata_write", "dev/b:pull"]);
    // A token buys what it holds, and not what its principal may.
    let (narrow, _) = issued(&access, &ci, "repository:dev/a:pull registry:catalog:*").await;
    let bearer = access.authenticate_token(&narrow, None).await.expect("valid");
    let more = format!("{wide} repository:dev/a:* registry:catalog:* registry:exchange:*");
    let (_, granted) = issued(&access, &bearer, &more).await;
    assert_eq!(granted, ["dev/a:pull", "dev/a:pull", "catalog:*"]);
    assert!(refused(&access.authenticate_exchange(&narrow, None).await), "it is no proof of a secret");
    assert!(refused(&access.issue_refresh_token(&bearer).await));
    // The one that may be exchanged is of no other use.
    let exchange = [DockerScope { access: ResourceAccess::exchange() }];
    let token = access.issue_token(&ci, &exchange).await.expect("token");
    let bearer = access.authenticate_token(token.token.expose(), None).await.expect("valid");
    let at = scope("/repositories/dev/a");
    assert!(!access.allows(&bearer, Permission::Pull, &at).await.expect("decided"));
    let (_, granted) = issued(&access, &bearer, &more).await;
    assert!(granted.is_empty(), "{granted:?}");
    let refresh = exchanged(&access, &ci).await.expect("a refresh token");
    let refreshed = access.authenticate_refresh(&refresh, None).await.expect("valid");
    let (_, granted) = issued(&access, &refreshed, wide).await;
    assert_eq!(granted, ["dev/a:pull,push,metadata_read,metadata_write", "dev/b:pull"]);
    assert!(refused(&exchanged(&access, &refreshed).await), "no token prolongs itself");
}

/// The word is that of locks, as in Azure's registry; each right is asked for where it is used.
async fn who_judges_quarantine_does_so_by_token(test: TestDb) {
    let access = open(&test, &test.db).await;
    let actor = Actor::system();
    let at = scope("/repositories/dev/a");
    let both = [Permission::QuarantineWrite, Permission::MetadataWrite];
    access
        .define_role(&actor, "Locker".parse().expect("name"), "", vec![Permission::MetadataWrite])
        .await
        .expect("defined");
    for (name, role, granted, may) in [
        ("judge", "AcrQuarantineWriter", vec!["dev/a:metadata_write"], [true, false]),
        ("locker", "Locker", vec!["dev/a:metadata_write"], [false, true]),
        ("owner", "Owner", vec!["dev/a:metadata_write"], [true, true]),
        ("reader", "AcrQuarantineReader", vec![], [false, false]),
    ] {
        let (_, secret) = service(&access, name).await;
        access.assign(&actor, name, role, scope("/repositories/dev")).await.expect("assigned");
        let who = access.authenticate_secret(name, &secret, None).await.expect("authenticated");
        let (token, got) = issued(&access, &who, "repository:dev/a:metadata_write").await;
        assert_eq!(got, granted, "{name}");
        let bearer = access.authenticate_token(&token, None).await.expect("valid");
        for (permission, may) in both.into_iter().zip(may) {
            assert_eq!(
                access.allows(&bearer, permission, &at).await.expect("decided"),
                may,
                "{name} {permission}"
            );
            let other = scope("/repositories/dev/b");
            assert!(!access.allows(&bearer, permission, &other).await.expect("decided"), "{name}");
        }
        let (token, _) = issued(&access, &who, "repository:dev/a:pull,metadata_read").await;
        let bearer = access.authenticate_token(&token, None).await.expect("valid");
        for permission in both {
            assert!(!access.allows(&bearer, permission, &at).await.expect("decided"), "{name} {permission}");
        }
    }
}

/// As the live stream does.
async fn what_goes_on_ends_with_its_token(test: TestDb) {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
    let access = open(&test, &test.reopen(clock.clone()).await).await;
    let actor = Actor::system();
    let (_, secret) = service(&access, "ci").await;
    access.assign(&actor, "ci", "AcrPull", scope("/repositories/dev")).await.expect("assigned");
    let ci = access.authenticate_secret("ci", &secret, None).await.expect("authenticated");
    let refresh = exchanged(&access, &ci).await.expect("a refresh token");
    let begun = async || {
        let (token, _) = issued(&access, &ci, "repository:dev/a:pull").await;
        access.authenticate_token(&token, None).await.expect("valid")
    };
    let holds = async |who: &Identity| access.still_holds(who).await.expect("answered");
    let bearer = begun().await;
    let refreshed = access.authenticate_refresh(&refresh, None).await.expect("valid");
    clock.advance(limit::TOKEN_SECONDS - 1);
    assert!(holds(&bearer).await && holds(&refreshed).await);
    clock.advance(1);
    assert!(!holds(&bearer).await && holds(&refreshed).await, "its time is over");
    let bearer = begun().await;
    access.unassign(&actor, "ci", "AcrPull", &scope("/repositories/dev")).await.expect("taken back");
    assert!(!holds(&bearer).await && !holds(&refreshed).await, "it lost a right");
    let again = access.authenticate_secret("ci", &secret, None).await.expect("authenticated");
    assert!(holds(&again).await && !holds(&ci).await);
}

/// Builds collect scopes: a token that the server does not take would be fetched again for ever.
async fn a_token_is_no_longer_than_is_looked_at(test: TestDb) {
    let access = open(&test, &test.db).await;
    let (_, secret) = service(&access, "ci").await;
    access.assign(&Actor::system(), "ci", "Contributor", scope("/repositories/dev")).await.expect("assigned");
    let ci = access.authenticate_secret("ci", &secret, None).await.expect("authenticated");
    for length in [1, 60, 200] {
        let names = (0..limit::TOKEN_SCOPES).map(|number| format!("dev/{number:0>length$}"));
        let scopes: Vec<String> = names.map(|name| format!("repository:{name}:pull,push,delete")).collect();
        let (token, granted) = issued(&access, &ci, &scopes.join(" ")).await;
        assert!(token.len() <= limit::TOKEN_BYTES, "{length}: {}", token.len());
        assert!(access.authenticate_token(&token, None).await.is_ok(), "{length}");
        let most = granted.len();
        assert!(
            most >= 10 && granted[0].starts_with(&format!("dev/{:0>length$}", 0)),
            "the first: {granted:?}"
        );
        let all = length == 1 || token.len() + 400 > limit::TOKEN_BYTES;
        assert!(all, "{length}: no fewer than fit: {most} in {}", token.len());
    }
}

async fn token_replay_other_service(test: TestDb) {
    let access = open(&test, &test.db).await;
    let (_, secret) = service(&access, "ci").await;
    let seal = Seal::open(test.path()).expect("seal");
    let other = Access::open(test.db.clone(), &seal, "other.test").await.expect("opens");
    let ci = access.authenticate_secret("ci", &secret, None).await.expect("authenticated");
    other.authenticate_secret("ci", &secret, None).await.expect("the same principals");
    let refresh = exchanged(&access, &ci).await.expect("a refresh token");
    let (token, _) = issued(&access, &ci, "").await;
    assert!(access.authenticate_refresh(&refresh, None).await.is_ok());
    assert!(access.authenticate_token(&token, None).await.is_ok());
    assert!(refused(&other.authenticate_refresh(&refresh, None).await));
    assert!(refused(&other.authenticate_token(&token, None).await));
    let exchange = [DockerScope { access: ResourceAccess::exchange() }];
    let foreign = other.issue_token(&ci, &exchange).await.expect("token");
    assert!(refused(&access.authenticate_exchange(foreign.token.expose(), None).await));
    // Neither kind is taken for the other.
    assert!(refused(&access.authenticate_token(&refresh, None).await));
    assert!(refused(&access.authenticate_refresh(&token, None).await));
}

async fn refresh_token_revoked(test: TestDb) {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
    let access = open(&test, &test.reopen(clock.clone()).await).await;
    let actor = Actor::system();
    let (_, secret) = service(&access, "ci").await;
    let ci = access.authenticate_secret("ci", &secret, None).await.expect("authenticated");
    let principal = access.principal("ci").await.expect("principal");
    let holds = async |token: &str| access.authenticate_secret(REFRESH_USER, token, None).await.is_ok();

    let ended = exchanged(&access, &ci).await.expect("a refresh token");
    clock.advance(limit::REFRESH_SECONDS - 1);
    assert!(holds(&ended).await, "at the limit");
    clock.advance(1);
    assert!(!holds(&ended).await, "one past it");

    let (_, _) = service(&access, "brief").await;
    let brief = access.principal("brief").await.expect("principal");
    let lasting = access.credentials(brief.id).await.expect("credentials").remove(0);
    let short = access.add_secret_for(&actor, &brief, "short", Some(1)).await.expect("a secret");
    access.remove_credential(&actor, &brief, lasting.id).await.expect("removed");
    clock.advance(24 * 3_600 - 60);
    let identity = access.authenticate_secret("brief", short.secret.expose(), None).await.expect("valid");
    let with_it = exchanged(&access, &identity).await.expect("a refresh token");
    clock.advance(59);
    assert!(holds(&with_it).await);
    clock.advance(1);
    assert!(!holds(&with_it).await, "the secret that bought it ended");
    assert!(refused(&exchanged(&access, &identity).await), "and buys no more");

    let second = access.add_secret(&actor, &principal, "second").await.expect("second");
    let revoked = exchanged(&access, &ci).await.expect("a refresh token");
    let (token, _) = {
        let bearer = access.authenticate_refresh(&revoked, None).await.expect("valid");
        issued(&access, &bearer, "").await
    };
    assert!(holds(&revoked).await);
    access.remove_credential(&actor, &principal, second.credential.id).await.expect("removed");
    assert!(!holds(&revoked).await, "its principal lost a credential");
    assert!(refused(&access.authenticate_token(&token, None).await), "and so did what it bought");

    let revoked = exchanged(&access, &ci).await.expect("a refresh token");
    access.disable(&actor, &principal).await.expect("disabled");
    assert!(!holds(&revoked).await, "its principal is disabled");
    access.delete(&actor, &principal).await.expect("deleted");
    assert!(!holds(&revoked).await, "its principal is gone");
}

async fn refresh_tokens_are_for_the_registry(test: TestDb) {
    let access = open(&test, &test.db).await;
    let (_, secret) = service(&access, "root").await;
    access.assign(&Actor::system(), "root", "Owner", scope("/")).await.expect("assigned");
    let root = access.authenticate_secret("root", &secret, None).await.expect("authenticated");
    let refresh = exchanged(&access, &root).await.expect("a refresh token");
    let bearer = access.authenticate_secret(REFRESH_USER, &refresh, None).await.expect("valid");
    for (permission, expected) in [
        (Permission::Push, true),
        (Permission::MetadataWrite, true),
        (Permission::AccessWrite, false),
        (Permission::PolicyWrite, false),
    ] {
        for identity in [&root, &bearer] {
            let allowed =
                access.allows(identity, permission, &scope("/repositories/a")).await.expect("decided");
            let below = access.allows_below(identity, permission, &scope("/")).await.expect("decided");
            let expected = expected || identity.actor.method == root.actor.method;
            assert_eq!((allowed, below), (expected, expected), "{permission} {:?}", identity.actor.method);
        }
    }
    for _ in 0..50 {
        // As the Python client reads it.
        let token = exchanged(&access, &root).await.expect("a refresh token");
        let payload = token.split('.').nth(1).expect("a payload");
        let padded = format!("{payload}{}", "=".repeat((4 - payload.len() % 4) % 4));
        let claims: serde_json::Value =
            serde_json::from_slice(&STANDARD.decode(padded).expect("standard base64")).expect("JSON");
        assert!(claims["exp"].is_i64() && claims["permissions"]["actions"].is_array(), "{claims}");
    }
}

async fn everybody_reads_what_anonymous_may(test: TestDb) {
    let access = open(&test, &test.db).await;
    let actor = Actor::system();
    let nobody = Identity::anonymous(None);
    assert!(
        matches!(
            access.issue_token(&nobody, &asked("repository:public/a:pull")).await,
            Err(AccessError::NobodySignedIn)
        ),
        "unless there is one"
    );
    let new = access
        .create_principal(&actor, "anonymous".parse().expect("name"), PrincipalKind::ServicePrincipal)
        .await
        .expect("created");
    assert!(new.secret.is_none(), "everybody proves nothing");
    assert!(access.add_secret(&actor, &new.principal, "x").await.is_err());
    access.assign(&actor, "anonymous", "Owner", scope("/repositories/public")).await.expect("assigned");
    let wanted = "repository:public/a:* repository:private:pull registry:catalog:* registry:exchange:*";
    let (token, granted) = issued(&access, &nobody, wanted).await;
    assert_eq!(granted, ["public/a:pull,metadata_read", "catalog:*"], "and no more than reading");
    let bearer = access.authenticate_token(&token, None).await.expect("valid");
    assert_eq!(bearer.actor.name, "anonymous");
    assert!(
        access.allows(&bearer, Permission::Pull, &scope("/repositories/public/a")).await.expect("decided")
    );
    assert!(
        !access.allows(&nobody, Permission::Pull, &scope("/repositories/public/a")).await.expect("decided")
    );
    // A list that is then filtered, with a right below it.
    let all = scope("/repositories");
    assert!(access.allows_below(&bearer, Permission::Catalog, &all).await.expect("decided"));
    assert!(!access.allows_below(&bearer, Permission::Push, &all).await.expect("decided"));
    let (unlisted, _) = issued(&access, &nobody, "repository:public/a:pull").await;
    let unlisted = access.authenticate_token(&unlisted, None).await.expect("valid");
    assert!(!access.allows_below(&unlisted, Permission::Catalog, &all).await.expect("decided"));
    assert!(refused(&access.issue_refresh_token(&bearer).await));
    // Nobody gets less by signing in, as long as they may sign in.
    let (id, secret) = service(&access, "ci").await;
    let ci = access.authenticate_secret(&id, &secret, None).await.expect("ci");
    let (_, granted) = issued(&access, &ci, wanted).await;
    assert_eq!(granted, ["public/a:pull,metadata_read", "catalog:*", "exchange:*"]);
    let at = scope("/repositories/public/a");
    let decision = access.decide(&ci, Permission::Pull, &at).await.expect("decided");
    assert_eq!(decision.reason, "role `Owner` at `/repositories/public` of everybody");
    assert!(!access.allows(&ci, Permission::Push, &at).await.expect("decided"));
    assert!(access.allows_below(&ci, Permission::Catalog, &all).await.expect("decided"));
    assert!(!access.allows_below(&ci, Permission::Push, &all).await.expect("decided"));
    let other = access.principal("ci").await.expect("ci");
    access.disable(&actor, &other).await.expect("disabled");
    assert!(!access.allows(&ci, Permission::Pull, &at).await.expect("decided"));
    assert!(!access.allows_below(&ci, Permission::Catalog, &all).await.expect("decided"));
    access.disable(&actor, &new.principal).await.expect("disabled");
    assert!(matches!(access.issue_token(&nobody, &[]).await, Err(AccessError::NobodySignedIn)));
    assert!(refused(&access.authenticate_token(&token, None).await));
}

async fn a_secret_that_was_right_is_right_no_longer_than_it_is(test: TestDb) {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
    let own = test.reopen(clock.clone()).await;
    let access = open(&test, &own).await;
    let actor = Actor::system();
    let (_, secret) = service(&access, "ci").await;
    let principal = access.principal("ci").await.expect("principal");
    // Twice: the second time it is remembered.
    let right = async |user: &str, secret: &str| {
        let first = access.authenticate_secret(user, secret, None).await.is_ok();
        assert_eq!(first, access.authenticate_secret(user, secret, None).await.is_ok());
        first
    };
    assert!(right("ci", &secret).await);
    assert!(!right("ci", &format!("{secret}x")).await && !right("cis", &secret).await);

    // One that gives way to newer ones.
    let oldest = access.add_login(&actor, &principal, "oldest").await.expect("a login");
    assert!(right("ci", oldest.secret.expose()).await);
    for _ in 1..limit::LOGINS {
        access.add_login(&actor, &principal, "newer").await.expect("a login");
    }
    assert!(right("ci", oldest.secret.expose()).await, "at the limit");
    let newest = access.add_login(&actor, &principal, "newest").await.expect("a login");
    assert!(!right("ci", oldest.secret.expose()).await, "one past it");

    // One that ends, and with it what was bought with it.
    assert!(right("ci", newest.secret.expose()).await);
    clock.advance(limit::LOGIN_SECONDS - 10);
    assert!(right("ci", newest.secret.expose()).await);
    let ci = access.authenticate_secret("ci", newest.secret.expose(), None).await.expect("right");
    let token = access.issue_token(&ci, &[]).await.expect("a token");
    assert_eq!(token.expires_in, 10);
    let refresh =
        [exchanged(&access, &ci).await, access.issue_refresh_token(&ci).await.map(|it| it.expose().clone())]
            .map(|token| token.expect("a refresh token"));
    for token in &refresh {
        assert!(access.authenticate_refresh(token, None).await.is_ok());
    }
    clock.advance(9);
    assert!(access.authenticate_token(token.token.expose(), None).await.is_ok());
    clock.advance(1);
    assert!(!right("ci", newest.secret.expose()).await);
    assert!(refused(&access.authenticate_token(token.token.expose(), None).await));
    assert!(refused(&access.issue_token(&ci, &[]).await));
    for token in &refresh {
        assert!(refused(&access.authenticate_refresh(token, None).await), "another secret goes on");
    }

    // A token that buys another, again and again, buys no time.
    let ci = access.authenticate_secret("ci", &secret, None).await.expect("right");
    let mut token = access.issue_token(&ci, &[]).await.expect("a token");
    for left in (1..limit::TOKEN_SECONDS).rev().step_by(100) {
        let bearer = access.authenticate_token(token.token.expose(), None).await.expect("in time");
        clock.advance(token.expires_in - left);
        token = access.issue_token(&bearer, &[]).await.expect("a token");
        assert_eq!(token.expires_in, left);
    }
    let bearer = access.authenticate_token(token.token.expose(), None).await.expect("in time");
    clock.advance(token.expires_in);
    assert!(refused(&access.issue_token(&bearer, &[]).await));

    // One that is taken away by somebody who does not reload for us: another server over PostgreSQL, or one
    // who was gone before the commit was there.
    let db = if test.db.dialect() == seaworthy_store::schema::Dialect::Postgres { &test.db } else { &own };
    let other = open(&test, db).await;
    let second = access.add_secret(&actor, &principal, "second").await.expect("second");
    assert!(right("ci", second.secret.expose()).await);
    other.remove_credential(&actor, &principal, second.credential.id).await.expect("removed");
    assert!(!right("ci", second.secret.expose()).await);

    // One whose principal is disabled, and one that is removed.
    let (_, theirs) = service(&access, "cd").await;
    assert!(right("cd", &theirs).await);
    access.disable(&actor, &access.principal("cd").await.expect("principal")).await.expect("disabled");
    assert!(!right("cd", &theirs).await);
    assert!(right("ci", &secret).await);
    for held in access.credentials(principal.id).await.expect("credentials") {
        access.remove_credential(&actor, &principal, held.id).await.expect("removed");
    }
    assert!(!right("ci", &secret).await);
}
