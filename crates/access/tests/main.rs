//! Rights hold where they were given, and end at the next request.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and reads as one story"
)]

mod people;
mod scope_maps;
mod tokens;

use std::sync::Arc;

use seaworthy_access::{Access, AccessError, DockerScope, Identity, Permission, PrincipalKind, limit};
use seaworthy_ledger::Action;
use seaworthy_model::{Actor, FixedClock, Scope, Timestamp};
use seaworthy_seal::Seal;
use seaworthy_store::{Db, args};
use seaworthy_testkit::{TestDb, db_tests};

db_tests!(&[seaworthy_seal::SCHEMA, seaworthy_ledger::SCHEMA, seaworthy_access::SCHEMA]; secrets_prove_and_rotate,
    tokens_are_a_subset_and_end_at_once, another_replica_sees_the_change, a_login_ends_after_twelve_hours,
    decisions_name_their_assignment, repository_roles_end_at_their_repositories, custom_roles_take_effect, custom_roles_end_at_their_limit, every_change_is_recorded,
    a_role_is_one_in_any_case, assignments_end_at_their_limit, a_first_role_comes_with_its_principal);

fn scope(text: &str) -> Scope {
    text.parse().expect("scope")
}

async fn open(test: &TestDb, db: &Db) -> Access {
    let seal = Seal::open(test.path()).expect("seal");
    Access::open(db.clone(), &seal, "registry.test").await.expect("access opens")
}

async fn service(access: &Access, name: &str) -> (String, String) {
    let new = access
        .create_principal(&Actor::system(), name.parse().expect("name"), PrincipalKind::ServicePrincipal)
        .await
        .expect("created");
    let secret = new.secret.expect("a service principal has a secret").secret.expose().clone();
    (new.principal.id.to_string(), secret)
}

async fn secrets_prove_and_rotate(test: TestDb) {
    let access = open(&test, &test.db).await;
    let (id, first) = service(&access, "ci").await;
    assert!(access.authenticate_secret("ci", &first, None).await.is_ok());
    assert!(access.authenticate_secret(&id, &first, None).await.is_ok(), "by client id");
    for (user, secret) in [("ci", "sws_wrong"), ("ci", ""), ("nobody", first.as_str()), ("", "")] {
        let refused = access.authenticate_secret(user, secret, None).await;
        assert!(matches!(refused, Err(AccessError::BadCredential)), "{user} {secret}");
    }
    let principal = access.principal("ci").await.expect("principal");
    let second = access.add_secret(&Actor::system(), &principal, "second").await.expect("second");
    assert!(access.authenticate_secret("ci", second.secret.expose(), None).await.is_ok());
    assert!(access.authenticate_secret("ci", &first, None).await.is_ok(), "both hold while rotating");
    let third = access.add_secret(&Actor::system(), &principal, "third").await;
    assert!(matches!(third, Err(AccessError::TooMany { limit: limit::CLIENT_SECRETS, .. })));
    let held = access.credentials(principal.id).await.expect("list");
    access.remove_credential(&Actor::system(), &principal, held[0].id).await.expect("removed");
    assert!(access.authenticate_secret("ci", &first, None).await.is_err());
    assert!(access.authenticate_secret("ci", second.secret.expose(), None).await.is_ok());
    access.disable(&Actor::system(), &principal).await.expect("disabled");
    assert!(access.authenticate_secret("ci", second.secret.expose(), None).await.is_err());
    let rows = test.db.fetch_all("SELECT hash, label FROM access_credentials", args![]).await.expect("query");
    assert!(rows.iter().all(|row| !format!("{row:?}").contains("sws_")), "no secret is stored");
    let again =
        access.create_principal(&Actor::system(), "ci".parse().expect("name"), PrincipalKind::User).await;
    assert!(matches!(again, Err(AccessError::Exists { .. })));
}

async fn tokens_are_a_subset_and_end_at_once(test: TestDb) {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
    let access = open(&test, &test.reopen(clock.clone()).await).await;
    let (_, secret) = service(&access, "ci").await;
    let actor = Actor::system();
    access.assign(&actor, "ci", "AcrPush", scope("/repositories/dev")).await.expect("assigned");
    access.assign(&actor, "ci", "AcrPull", scope("/repositories/prod")).await.expect("assigned");
    let ci = access.authenticate_secret("ci", &secret, None).await.expect("authenticated");
    let asked = "repository:dev/app:pull,push,delete repository:prod/web:push,pull repository:development:pull \
                 registry:catalog:* repository:UPPER:pull";
    let token =
        access.issue_token(&ci, &DockerScope::parse_all(std::iter::once(asked))).await.expect("token");
    let granted: Vec<_> =
        token.access.iter().map(|it| format!("{}:{}", it.name, it.actions.join(","))).collect();
    assert_eq!(granted, ["dev/app:pull,push", "prod/web:pull"]);

    let bearer = token.token.expose().clone();
    let use_it = async |permission, at: &str| {
        let identity = access.authenticate_token(&bearer, None).await?;
        access.allows(&identity, permission, &scope(at)).await
    };
    assert!(use_it(Permission::Push, "/repositories/dev/app").await.expect("valid"));
    assert!(!use_it(Permission::Push, "/repositories/dev/other").await.expect("valid"), "not asked for");
    assert!(!use_it(Permission::Push, "/repositories/prod/web").await.expect("valid"));
    assert!(!use_it(Permission::AccessWrite, "/").await.expect("valid"));

    access.unassign(&actor, "ci", "AcrPull", &scope("/repositories/prod")).await.expect("unassigned");
    assert!(matches!(
        use_it(Permission::Push, "/repositories/dev/app").await,
        Err(AccessError::BadCredential)
    ));

    let token = access.issue_token(&ci, &[]).await.expect("token").token;
    assert!(access.authenticate_token(token.expose(), None).await.is_ok());
    clock.advance(limit::TOKEN_SECONDS - 1);
    assert!(access.authenticate_token(token.expose(), None).await.is_ok());
    clock.advance(1);
    assert!(access.authenticate_token(token.expose(), None).await.is_err(), "ended");
    let other = Access::open(test.db.clone(), &Seal::open(test.path()).expect("seal"), "other.test")
        .await
        .expect("opens");
    let foreign = other.issue_token(&ci, &[]).await.expect("token").token;
    assert!(access.authenticate_token(foreign.expose(), None).await.is_err(), "another service's token");
    assert!(access.issue_token(&Identity::anonymous(None), &[]).await.is_err());
}

async fn another_replica_sees_the_change(test: TestDb) {
    if test.engine == seaworthy_testkit::Engine::Sqlite {
        return; // One process owns an SQLite file; `lock` sees to that.
    }
    let here = open(&test, &test.db).await;
    let there = open(&test, &test.reopen(test.db.clock()).await).await;
    let (_, secret) = service(&here, "ci").await;
    let ci = there.authenticate_secret("ci", &secret, None).await.expect("known there");
    let token = there.issue_token(&ci, &[]).await.expect("token").token;
    assert!(here.authenticate_token(token.expose(), None).await.is_ok(), "one key");
    let principal = here.principal("ci").await.expect("principal");
    here.disable(&Actor::system(), &principal).await.expect("disabled");
    assert!(there.authenticate_token(token.expose(), None).await.is_err(), "at the next request");
}

async fn a_login_ends_after_twelve_hours(test: TestDb) {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
    let access = open(&test, &test.reopen(clock.clone()).await).await;
    let operator = Actor::operator(0);
    let principal = access.operator_principal(&operator, 0).await.expect("operator");
    assert_eq!(principal.id, access.operator_principal(&operator, 0).await.expect("again").id);
    let login = access.add_login(&operator, &principal, "docker").await.expect("login");
    let user = principal.name.as_str();
    let identity = access.authenticate_secret(user, login.secret.expose(), None).await.expect("valid");
    assert!(
        access.allows(&identity, Permission::Push, &scope("/repositories/prod/web")).await.expect("decided")
    );
    assert!(
        !access
            .allows(&identity, Permission::Quarantine, &scope("/repositories/prod/web"))
            .await
            .expect("decided")
    );
    for _ in 0..limit::LOGINS {
        access.add_login(&operator, &principal, "docker").await.expect("the oldest gives way");
    }
    assert!(access.authenticate_secret(user, login.secret.expose(), None).await.is_err());
    let last = access.add_login(&operator, &principal, "docker").await.expect("login");
    clock.advance(limit::LOGIN_SECONDS - 1);
    assert!(access.authenticate_secret(user, last.secret.expose(), None).await.is_ok());
    clock.advance(1);
    assert!(access.authenticate_secret(user, last.secret.expose(), None).await.is_err());
}

/// Azure's roles of the mode that has conditions on repositories: none of them lists the catalog but the lister.
async fn repository_roles_end_at_their_repositories(test: TestDb) {
    use Permission::{Catalog, Delete, MetadataRead, MetadataWrite, Pull, Push};
    let access = open(&test, &test.db).await;
    let of_registry = [Pull, Push, Delete, MetadataRead, MetadataWrite, Catalog];
    for (role, permitted) in [
        ("Reader", vec![Pull, MetadataRead]),
        ("Writer", vec![Pull, Push, MetadataRead, MetadataWrite]),
        ("Contributor", vec![Pull, Push, Delete, MetadataRead, MetadataWrite]),
        ("Catalog Lister", vec![Catalog]),
    ] {
        let name = role.to_lowercase().replace(' ', "-");
        service(&access, &name).await;
        let role = format!("Container Registry Repository {role}");
        access.assign(&Actor::system(), &name, &role, scope("/repositories/dev")).await.expect("assigned");
        for permission in of_registry {
            let inside =
                access.explain(&name, permission, &scope("/repositories/dev/app")).await.expect("decided");
            assert_eq!(inside.allowed, permitted.contains(&permission), "{role}: {permission}");
            let beside =
                access.explain(&name, permission, &scope("/repositories/prod")).await.expect("decided");
            assert!(!beside.allowed, "{role}: {permission}");
        }
    }
}

async fn decisions_name_their_assignment(test: TestDb) {
    let access = open(&test, &test.db).await;
    service(&access, "ci").await;
    let assignment =
        access.assign(&Actor::system(), "ci", "acrpush", scope("/repositories/dev")).await.expect("assigned");
    let decision =
        access.explain("ci", Permission::Push, &scope("/repositories/dev/app")).await.expect("decided");
    assert_eq!(decision.by.map(|by| by.id), Some(assignment.id));
    assert_eq!(decision.reason, "role `AcrPush` at `/repositories/dev`");
    let denied =
        access.explain("ci", Permission::Push, &scope("/repositories/development")).await.expect("decided");
    assert!(!denied.allowed && denied.reason.contains("no role of `ci`"), "{}", denied.reason);
    assert!(matches!(
        access.explain("nobody", Permission::Push, &scope("/")).await,
        Err(AccessError::Unknown { kind: "principal", .. })
    ));
    let anonymous =
        access.decide(&Identity::anonymous(None), Permission::Pull, &scope("/repositories/x")).await;
    assert!(!anonymous.expect("decided").allowed);
    let operator =
        access.decide(&Identity::operator(0), Permission::Quarantine, &scope("/repositories/x")).await;
    assert!(!operator.expect("decided").allowed, "Owner does not include the inspector's right");
}

async fn custom_roles_take_effect(test: TestDb) {
    let access = open(&test, &test.db).await;
    service(&access, "audit").await;
    let actor = Actor::system();
    let refused = access.define_role(&actor, "Owner".parse().expect("name"), "", vec![]).await;
    assert!(matches!(refused, Err(AccessError::Exists { .. })));
    let name = || "Auditor".parse().expect("name");
    access
        .define_role(&actor, name(), "reads the ledger", vec![Permission::LedgerRead])
        .await
        .expect("defined");
    access.assign(&actor, "audit", "Auditor", scope("/ledger")).await.expect("assigned");
    let may = async |permission| {
        access.explain("audit", permission, &scope("/ledger")).await.expect("decided").allowed
    };
    assert!(may(Permission::LedgerRead).await);
    assert!(!may(Permission::AccessRead).await);
    access
        .define_role(&actor, name(), "reads access", vec![Permission::AccessRead])
        .await
        .expect("redefined");
    assert!(!may(Permission::LedgerRead).await);
    assert!(may(Permission::AccessRead).await);
}

async fn custom_roles_end_at_their_limit(test: TestDb) {
    let access = open(&test, &test.db).await;
    let actor = Actor::system();
    let define = async |at: usize| {
        let name = format!("role-{at:03}").parse().expect("name");
        access.define_role(&actor, name, "", vec![Permission::LedgerRead]).await
    };
    for at in 1..limit::ROLES {
        define(at).await.expect("below the limit");
    }
    // Two at the same time, and room for one.
    let both = tokio::join!(define(limit::ROLES), define(limit::ROLES + 1));
    let refused = match both {
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
        other => panic!("{other:?}"),
    };
    assert!(
        matches!(refused, AccessError::TooMany { kind: "roles", limit: limit::ROLES, .. }),
        "{refused:?}"
    );
    define(1).await.expect("a role that is there may change");
}

async fn a_role_is_one_in_any_case(test: TestDb) {
    let access = open(&test, &test.db).await;
    let actor = Actor::system();
    service(&access, "x").await;
    let define = async |name: &str, permission| {
        access.define_role(&actor, name.parse().expect("name"), "", vec![permission]).await.expect("defined")
    };
    let first = define("CI", Permission::LedgerRead).await;
    access.assign(&actor, "x", "ci", Scope::root()).await.expect("assigned");
    let again = define("ci", Permission::AccessRead).await;
    assert_eq!((again.id, again.name.as_str()), (first.id, "CI"), "it keeps its name");
    let custom = access.roles().await.expect("roles").into_iter().filter(|role| !role.built_in);
    assert_eq!(custom.map(|role| role.permissions).collect::<Vec<_>>(), [[Permission::AccessRead]]);
    let may =
        async |permission| access.explain("x", permission, &Scope::root()).await.expect("decided").allowed;
    assert!(may(Permission::AccessRead).await && !may(Permission::LedgerRead).await);
    // Two at the same time are one, too.
    let both = tokio::join!(define("Two", Permission::LedgerRead), define("TWO", Permission::LedgerRead));
    assert_eq!((both.0.id, both.0.name), (both.1.id, both.1.name));
}

async fn assignments_end_at_their_limit(test: TestDb) {
    let access = open(&test, &test.db).await;
    let actor = Actor::system();
    for name in ["ci", "other"] {
        service(&access, name).await;
    }
    let assign = async |who: &str, at: usize| {
        access.assign(&actor, who, "AcrPull", scope(&format!("/repositories/r{at}"))).await
    };
    for at in 1..=limit::ASSIGNMENTS {
        assign("ci", at).await.expect("up to the limit");
    }
    let refused = assign("ci", limit::ASSIGNMENTS + 1).await.expect_err("one past it");
    assert!(
        matches!(refused, AccessError::TooMany { kind: "role assignments", limit: limit::ASSIGNMENTS, .. }),
        "{refused:?}"
    );
    assign("ci", 1).await.expect("it has that one");
    assign("other", limit::ASSIGNMENTS + 1).await.expect("of somebody else");
    access.unassign(&actor, "ci", "AcrPull", &scope("/repositories/r1")).await.expect("taken back");
    assign("ci", limit::ASSIGNMENTS + 1).await.expect("room for one");
}

/// Who is killed between the two would leave a principal that nobody gives its role any more.
async fn a_first_role_comes_with_its_principal(test: TestDb) {
    let access = open(&test, &test.db).await;
    let rename = async |sql: &'static str| {
        let done = test.db.upkeep((), move |(), tx| Box::pin(async move { tx.execute(sql, args![]).await }));
        done.await.map_err(|error: seaworthy_store::DbError| error).expect("renamed");
    };
    let actor = Actor::operator(7);
    let role = access.role("Reader").await.expect("a role");
    let create = async || {
        let (name, kind) = ("ci".parse().expect("name"), PrincipalKind::ServicePrincipal);
        access.create_principal_as(&actor, name, kind, (role.clone(), scope("/ledger"))).await
    };
    rename("ALTER TABLE access_assignments RENAME TO away").await;
    assert!(access.operator_principal(&actor, 7).await.is_err());
    assert!(create().await.is_err());
    rename("ALTER TABLE away RENAME TO access_assignments").await;
    access.operator_principal(&actor, 7).await.expect("again");
    create().await.expect("again");
    for (name, role, at) in [("operator-7", "Owner", "/"), ("ci", "Reader", "/ledger")] {
        let principal = access.principal(name).await.expect("a principal");
        let held = access.assignments(principal.id).await.expect("assignments");
        let held: Vec<_> = held.iter().map(|it| (it.role.as_str(), it.scope.as_str())).collect();
        assert_eq!(held, [(role, at)], "{name}");
    }
    let sql = "SELECT action FROM ledger_leaves WHERE actor = 'uid:7' ORDER BY id";
    let rows = test.db.fetch_all(sql, args![]).await.expect("query");
    let found: Vec<_> = rows.iter().map(|row| row.text(0).expect("text").to_owned()).collect();
    let each = [Action::PrincipalCreate.word(), Action::RoleAssign.word()];
    assert_eq!(found, [each, each].concat());
}

async fn every_change_is_recorded(test: TestDb) {
    let access = open(&test, &test.db).await;
    let actor = Actor::operator(7);
    service(&access, "x").await;
    let new = access
        .create_principal(&actor, "ci".parse().expect("name"), PrincipalKind::ServicePrincipal)
        .await
        .expect("created")
        .principal;
    access.assign(&actor, "ci", "Reader", Scope::root()).await.expect("assigned");
    access.assign(&actor, "ci", "Reader", Scope::root()).await.expect("assigning again changes nothing");
    access.unassign(&actor, "ci", "Reader", &Scope::root()).await.expect("unassigned");
    access.add_secret(&actor, &new, "second").await.expect("added");
    access.delete(&actor, &new).await.expect("deleted");
    assert!(access.principal("ci").await.is_err());
    let rows = test
        .db
        .fetch_all("SELECT action FROM ledger_leaves WHERE actor = 'uid:7' ORDER BY id", args![])
        .await
        .expect("query");
    let found: Vec<_> = rows.iter().map(|row| row.text(0).expect("text").to_owned()).collect();
    let expected = [
        Action::PrincipalCreate,
        Action::RoleAssign,
        Action::RoleUnassign,
        Action::CredentialAdd,
        Action::PrincipalDelete,
    ];
    assert_eq!(found, expected.map(|action| action.word().to_owned()));
}
