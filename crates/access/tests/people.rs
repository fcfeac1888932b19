//! People: links that hold once, passwords, and sessions that end.

use std::sync::Arc;

use seaworthy_access::{
    Access, AccessError, Identity, NewLink, Permission, Principal, PrincipalKind, Proof, SignInError,
    SignedIn, limit,
};
use seaworthy_model::{Actor, AuthMethod, FixedClock, Problem, Scope, Secret, Timestamp};
use seaworthy_store::args;
use seaworthy_testkit::{Engine, TestDb, db_tests};

use crate::open;

db_tests!(&[seaworthy_seal::SCHEMA, seaworthy_ledger::SCHEMA, seaworthy_access::SCHEMA];
    an_operators_link_signs_in_once, of_two_with_one_link_one_gets_in, links_end_and_are_replaced,
    a_persons_link_sets_a_password, who_gets_no_link, sessions_end_with_their_time, sessions_end_with_rights,
    a_session_is_never_taken_over, sessions_are_bounded, failures_are_throttled, approving_needs_a_fresh_proof,
    another_replica_ends_a_session_too, sign_ins_are_recorded_and_no_secret_is_stored);

const PASSWORD: &str = "correct horse battery";

struct House {
    access: Access,
    clock: Arc<FixedClock>,
}

impl House {
    async fn new(test: &TestDb) -> Self {
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
        let access = open(test, &test.reopen(clock.clone()).await).await;
        Self { access, clock }
    }

    async fn person(&self, name: &str) -> Principal {
        let name = name.parse().expect("name");
        let created = self.access.create_principal(&Actor::system(), name, PrincipalKind::User).await;
        created.expect("created").principal
    }

    async fn link(&self, person: &Principal) -> NewLink {
        self.access.person_link(&Actor::system(), person).await.expect("link")
    }

    async fn console(&self) -> NewLink {
        self.access.operator_link(&Actor::operator(7), 7).await.expect("link")
    }

    async fn by_link(&self, link: &Secret<String>, password: Option<&str>) -> Result<SignedIn, SignInError> {
        let password = password.map(|it| Secret::new(it.to_owned()));
        self.access.sign_in(&nobody(), Proof::Link { link: link.clone(), password }).await
    }

    async fn by_password(&self, name: &str, password: &str) -> Result<SignedIn, SignInError> {
        self.by_password_as(&nobody(), name, password).await
    }

    async fn by_password_as(
        &self,
        caller: &Identity,
        name: &str,
        password: &str,
    ) -> Result<SignedIn, SignInError> {
        let password = Secret::new(password.to_owned());
        self.access.sign_in(caller, Proof::Password { name: name.into(), password }).await
    }

    /// A person with [`PASSWORD`], signed in.
    async fn signed_in(&self, name: &str) -> SignedIn {
        let link = self.link(&self.person(name).await).await;
        self.by_link(&link.token, Some(PASSWORD)).await.expect("signed in")
    }

    async fn who(&self, cookie: &Secret<String>) -> Option<Identity> {
        self.access.authenticate_session(cookie.expose(), Some("192.0.2.9".into())).await.expect("answered")
    }
}

fn nobody() -> Identity {
    Identity::anonymous(Some("192.0.2.1".into()))
}

async fn an_operators_link_signs_in_once(test: TestDb) {
    let house = House::new(&test).await;
    let link = house.console().await;
    assert_eq!(link.principal.name.as_str(), "operator-7");
    let refused = house.by_link(&link.token, Some(PASSWORD)).await;
    assert!(matches!(refused, Err(SignInError::PasswordNotTaken { .. })), "{refused:?}");
    let signed = house.by_link(&link.token, None).await.expect("signed in");
    let who = house.who(&signed.cookie).await.expect("a session");
    assert_eq!((who.actor.name.as_str(), who.actor.method), ("operator-7", AuthMethod::Session));
    assert_eq!(who.actor.person(), "uid:7", "one person on the socket and in the console");
    assert!(house.access.allows(&who, Permission::AccessWrite, &Scope::root()).await.expect("decided"));
    let again = house.by_link(&link.token, None).await;
    assert!(matches!(again, Err(SignInError::BadLink)), "{again:?}");
    for text in ["", "swl_", "swc_x", &format!("swl_{}", "A".repeat(limit::PROOF_BYTES))] {
        let refused = house.by_link(&Secret::new(text.to_owned()), None).await;
        assert!(matches!(refused, Err(SignInError::BadLink)), "{text}");
    }
}

async fn of_two_with_one_link_one_gets_in(test: TestDb) {
    let house = House::new(&test).await;
    for round in 0..5 {
        let link = house.console().await.token;
        let (one, two) = tokio::join!(house.by_link(&link, None), house.by_link(&link, None));
        let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
        assert!(won.is_ok() && matches!(lost, Err(SignInError::BadLink)), "{round}: {won:?} {lost:?}");
        // The same with a password: the loser's is not set.
        let person = house.person(&format!("p{round}")).await;
        let link = house.link(&person).await.token;
        let (one, two) = tokio::join!(
            house.by_link(&link, Some("the first of two words")),
            house.by_link(&link, Some("the second of two words"))
        );
        assert!(one.is_ok() != two.is_ok(), "{round}: {one:?} {two:?}");
        let set = if one.is_ok() { "the first of two words" } else { "the second of two words" };
        assert!(house.by_password(person.name.as_str(), set).await.is_ok());
    }
}

async fn links_end_and_are_replaced(test: TestDb) {
    let house = House::new(&test).await;
    let person = house.person("ann").await;
    for (seconds, console) in [(limit::OPERATOR_LINK_SECONDS, true), (limit::PASSWORD_LINK_SECONDS, false)] {
        let issue = async || if console { house.console().await } else { house.link(&person).await };
        let password = (!console).then_some(PASSWORD);
        let (late, in_time) = (issue().await, issue().await);
        assert!(house.by_link(&late.token, password).await.is_err(), "a newer one was issued");
        house.clock.advance(seconds - 1);
        assert!(house.by_link(&in_time.token, password).await.is_ok());
        let late = issue().await;
        house.clock.advance(seconds);
        assert!(matches!(house.by_link(&late.token, password).await, Err(SignInError::BadLink)));
        house.access.sweep().await.expect("swept");
        let left = test.db.fetch_all("SELECT hash FROM access_links", args![]).await.expect("query");
        assert!(left.is_empty());
    }
}

async fn a_persons_link_sets_a_password(test: TestDb) {
    let house = House::new(&test).await;
    let ann = house.person("ann").await;
    assert!(matches!(house.by_password("ann", "").await, Err(SignInError::BadPassword)), "there is none yet");
    let link = house.link(&ann).await.token;
    let asked = house.by_link(&link, None).await;
    assert!(matches!(&asked, Err(SignInError::PasswordRequired { name }) if name == "ann"), "{asked:?}");
    assert_eq!(Problem::from(asked.expect_err("asked")).code.status(), 409);
    for weak in ["short", "ann", "aaaaaaaaaaaaaaaa", "annannannannann"] {
        let refused = house.by_link(&link, Some(weak)).await;
        assert!(matches!(refused, Err(SignInError::WeakPassword { .. })), "{weak}: {refused:?}");
    }
    let first = house.by_link(&link, Some(PASSWORD)).await.expect("asking and weak ones do not use it up");
    assert!(house.who(&first.cookie).await.is_some());
    assert!(house.by_password("ann", PASSWORD).await.is_ok());
    assert!(matches!(house.by_password("ann", "wrong horse battery").await, Err(SignInError::BadPassword)));
    assert!(matches!(house.by_password("Ann", PASSWORD).await, Err(SignInError::BadPassword)));
    let standing = house.access.standing(ann.id).await.expect("standing");
    assert_eq!(standing, (Some(test_now(&house)), 2));
    // A password is for people: docker does not take it.
    let refused = house.access.authenticate_secret("ann", PASSWORD, None).await;
    assert!(matches!(refused, Err(AccessError::BadCredential)));

    // Another link sets another password; the old sessions and the old password end.
    let link = house.link(&ann).await.token;
    assert!(house.who(&first.cookie).await.is_some(), "issuing a link changes nothing");
    let reset = house.by_link(&link, Some("another horse battery")).await.expect("reset");
    assert!(house.who(&first.cookie).await.is_none() && house.who(&reset.cookie).await.is_some());
    assert!(house.by_password("ann", PASSWORD).await.is_err());
    assert!(house.by_password("ann", "another horse battery").await.is_ok());
}

fn test_now(house: &House) -> Timestamp {
    use seaworthy_model::Clock as _;
    house.clock.now()
}

async fn who_gets_no_link(test: TestDb) {
    let house = House::new(&test).await;
    let (system, ann) = (Actor::system(), house.person("ann").await);
    house.access.disable(&system, &ann).await.expect("disabled");
    let name = "ci".parse().expect("name");
    let ci = house.access.create_principal(&system, name, PrincipalKind::ServicePrincipal).await.expect("ci");
    let operator = house.console().await.principal;
    for (principal, word) in [(&ann, "disabled"), (&ci.principal, "program"), (&operator, "console")] {
        let refused = house.access.person_link(&system, principal).await.expect_err("refused");
        assert!(refused.to_string().contains(word), "{refused}");
    }
    house.access.disable(&system, &operator).await.expect("disabled");
    assert!(
        house.access.operator_link(&Actor::operator(7), 7).await.is_err(),
        "disabled holds for operators"
    );
    // Nobody else is called what an operator is called, whatever the kind.
    for (name, reserved) in [
        ("operator-8", true),
        ("operator-08", true),
        ("operator-", false),
        ("operator-x", false),
        ("operator-1x", false),
    ] {
        for kind in [PrincipalKind::User, PrincipalKind::ServicePrincipal] {
            let made = house.access.create_principal(&system, name.parse().expect("name"), kind).await;
            assert_eq!(matches!(made, Err(AccessError::BadName { .. })), reserved, "{name}: {made:?}");
        }
    }
}

async fn sessions_end_with_their_time(test: TestDb) {
    let house = House::new(&test).await;
    let idle = house.signed_in("idle").await;
    let used = house.signed_in("used").await;
    house.clock.advance(limit::SESSION_IDLE_SECONDS - 1);
    assert!(house.who(&used.cookie).await.is_some());
    assert!(house.who(&idle.cookie).await.is_some(), "just in time");
    // That use was written down, so another hour begins.
    house.clock.advance(limit::SESSION_IDLE_SECONDS - 1);
    assert!(house.who(&used.cookie).await.is_some());
    house.clock.advance(1);
    assert!(house.who(&idle.cookie).await.is_none(), "an hour without a request");
    let began = used.session.proved_at.as_seconds();
    while test_now(&house).as_seconds() < began + limit::SESSION_SECONDS - 600 {
        house.clock.advance(600);
        assert!(house.who(&used.cookie).await.is_some(), "at {}", test_now(&house).as_seconds() - began);
    }
    house.clock.advance(began + limit::SESSION_SECONDS - 1 - test_now(&house).as_seconds());
    assert!(house.who(&used.cookie).await.is_some());
    house.clock.advance(1);
    assert!(house.who(&used.cookie).await.is_none(), "twelve hours, used or not");
    house.access.sweep().await.expect("swept");
    let left = test.db.fetch_all("SELECT hash FROM access_sessions", args![]).await.expect("query");
    assert!(left.is_empty());

    // A use is written once a minute.
    let used_at = async || {
        let rows = test.db.fetch_all("SELECT used_at FROM access_sessions", args![]).await.expect("query");
        Timestamp::from_micros(rows[0].int(0).expect("time"))
    };
    let signed = house.by_password("used", PASSWORD).await.expect("signed in");
    let began = used_at().await;
    house.clock.advance(limit::SESSION_TOUCH_SECONDS - 1);
    assert!(house.who(&signed.cookie).await.is_some());
    assert_eq!(used_at().await, began);
    house.clock.advance(1);
    assert!(house.who(&signed.cookie).await.is_some());
    assert_eq!(used_at().await, began.plus_seconds(limit::SESSION_TOUCH_SECONDS));
}

async fn sessions_end_with_rights(test: TestDb) {
    let house = House::new(&test).await;
    let (access, system) = (&house.access, Actor::system());
    let ends = async |signed: &SignedIn| {
        assert!(house.who(&signed.cookie).await.is_none(), "{}", signed.principal.name);
    };
    let disabled = house.signed_in("disabled").await;
    let live = house.who(&disabled.cookie).await.expect("a session");
    assert!(access.still_holds(&live).await.expect("answered"));
    let pending = house.link(&disabled.principal).await.token;
    access.disable(&system, &disabled.principal).await.expect("disabled");
    ends(&disabled).await;
    assert!(!access.still_holds(&live).await.expect("answered"), "what goes on ends too");
    for sql in ["SELECT hash FROM access_sessions", "SELECT hash FROM access_links"] {
        assert!(
            test.db.fetch_all(sql, args![]).await.expect("query").is_empty(),
            "nothing is left to come back"
        );
    }
    assert!(matches!(house.by_link(&pending, Some(PASSWORD)).await, Err(SignInError::BadLink)));
    assert!(matches!(house.by_password("disabled", PASSWORD).await, Err(SignInError::BadPassword)));

    let deleted = house.signed_in("deleted").await;
    access.delete(&system, &deleted.principal).await.expect("deleted");
    ends(&deleted).await;
    let again = house.person("deleted").await;
    assert!(house.by_password("deleted", PASSWORD).await.is_err(), "another person of that name");
    assert_eq!(access.standing(again.id).await.expect("standing"), (None, 0));

    // A lost right is another epoch, as for tokens; a new one ends nothing, whoever gives it.
    let assigned = house.signed_in("assigned").await;
    access.assign(&system, "assigned", "Reader", Scope::root()).await.expect("assigned");
    let live = house.who(&assigned.cookie).await.expect("it goes on");
    assert!(access.allows(&live, Permission::LedgerRead, &Scope::root()).await.expect("decided"));
    access.unassign(&system, "assigned", "Reader", &Scope::root()).await.expect("taken back");
    ends(&assigned).await;
    assert!(!access.still_holds(&live).await.expect("answered"));
    assert_eq!(access.standing(assigned.principal.id).await.expect("standing").1, 0);

    let out = house.signed_in("out").await;
    let other = house.by_password("out", PASSWORD).await.expect("signed in");
    let who = house.who(&out.cookie).await.expect("a session");
    assert!(access.sign_out(&who).await.expect("ended"));
    assert!(!access.sign_out(&who).await.expect("answered"), "it is over");
    assert!(!access.sign_out(&nobody()).await.expect("answered"));
    ends(&out).await;
    assert!(house.who(&other.cookie).await.is_some(), "of another browser");
}

async fn a_session_is_never_taken_over(test: TestDb) {
    let house = House::new(&test).await;
    let planted = house.signed_in("mallory").await;
    let ann = house.signed_in("ann").await;
    // A browser that holds somebody else's cookie gets another one, and that session ends.
    let caller = house.who(&planted.cookie).await.expect("a session");
    let signed = house.by_password_as(&caller, "ann", PASSWORD).await.expect("signed in");
    assert_ne!(signed.cookie, planted.cookie);
    assert!(house.who(&planted.cookie).await.is_none());
    assert_eq!(house.who(&signed.cookie).await.expect("a session").actor.name, "ann");
    assert!(house.who(&ann.cookie).await.is_some());
    // A cookie that was never ours begins nothing.
    let made_up = Secret::new(format!("swc_{}", "A".repeat(43)));
    assert!(house.who(&made_up).await.is_none());
    // A refused attempt leaves the session as it was.
    let caller = house.who(&signed.cookie).await.expect("a session");
    assert!(house.by_password_as(&caller, "ann", "wrong horse battery").await.is_err());
    assert!(house.who(&signed.cookie).await.is_some());
}

async fn sessions_are_bounded(test: TestDb) {
    let house = House::new(&test).await;
    let first = house.signed_in("ann").await;
    let mut others = Vec::new();
    for _ in 1..limit::SESSIONS {
        house.clock.advance(1);
        others.push(house.by_password("ann", PASSWORD).await.expect("signed in"));
    }
    assert!(house.who(&first.cookie).await.is_some(), "at the limit");
    house.clock.advance(1);
    others.push(house.by_password("ann", PASSWORD).await.expect("signed in"));
    assert!(house.who(&first.cookie).await.is_none(), "the oldest gives way");
    for other in &others {
        assert!(house.who(&other.cookie).await.is_some());
    }
}

async fn failures_are_throttled(test: TestDb) {
    let house = House::new(&test).await;
    house.signed_in("ann").await;
    let from = |number: i64| Identity::anonymous(Some(format!("192.0.2.{number}")));
    // Success is free.
    for _ in 0..limit::NAME_FAILURES + 2 {
        assert!(house.by_password("ann", PASSWORD).await.is_ok());
    }
    // A name that nobody has is throttled as any other.
    for name in ["ann", "nobody"] {
        for at in 0..limit::NAME_FAILURES {
            let refused = house.by_password_as(&from(at), name, "wrong horse battery").await;
            assert!(matches!(refused, Err(SignInError::BadPassword)), "{name} {at}: {refused:?}");
        }
        let refused = house.by_password_as(&from(99), name, PASSWORD).await.expect_err("one past the limit");
        let problem = Problem::from(refused);
        assert_eq!(problem.code.status(), 429);
        assert!(
            problem.retry_after_seconds.is_some_and(|it| i64::from(it) <= limit::NAME_RECOVERY_SECONDS + 1)
        );
    }
    house.clock.advance(limit::NAME_RECOVERY_SECONDS);
    assert!(house.by_password_as(&from(99), "ann", PASSWORD).await.is_ok(), "nobody is locked out for good");
    for at in 0..limit::ADDRESS_FAILURES {
        let refused = house.by_password_as(&from(200), &format!("n{at}"), "wrong horse battery").await;
        assert!(matches!(refused, Err(SignInError::BadPassword)), "{at}: {refused:?}");
    }
    let refused = house.by_password_as(&from(200), "another", "wrong horse battery").await;
    assert!(matches!(refused, Err(SignInError::TooMany { .. })), "{refused:?}");
    let link = Secret::new(format!("swl_{}", "A".repeat(43)));
    let refused = house.access.sign_in(&from(200), Proof::Link { link, password: None }).await;
    assert!(matches!(refused, Err(SignInError::TooMany { .. })), "links too: {refused:?}");
}

async fn approving_needs_a_fresh_proof(test: TestDb) {
    let house = House::new(&test).await;
    let signed = house.signed_in("ann").await;
    let who = house.who(&signed.cookie).await.expect("a session");
    house.clock.advance(limit::STEP_UP_SECONDS - 1);
    assert!(house.access.require_fresh(&who).is_ok());
    house.clock.advance(1);
    let refused = house.access.require_fresh(&who).expect_err("too long ago");
    assert_eq!(Problem::from(refused).code.status(), 403);
    let renewed = house.by_password_as(&who, "ann", PASSWORD).await.expect("signed in");
    let who = house.who(&renewed.cookie).await.expect("a session");
    assert!(house.access.require_fresh(&who).is_ok());
    assert!(house.who(&signed.cookie).await.is_none(), "one session, not two");
    assert!(house.access.require_fresh(&Identity::operator(0)).is_ok(), "no session, nothing to renew");
}

async fn another_replica_ends_a_session_too(test: TestDb) {
    if test.engine == Engine::Sqlite {
        return; // One process owns an SQLite file; `lock` sees to that.
    }
    let here = House::new(&test).await;
    let there = House {
        access: open(&test, &test.reopen(here.clock.clone()).await).await,
        clock: here.clock.clone(),
    };
    let signed = here.signed_in("ann").await;
    let who = there.who(&signed.cookie).await.expect("known there");
    here.access.disable(&Actor::system(), &signed.principal).await.expect("disabled");
    assert!(there.who(&signed.cookie).await.is_none(), "at the next request");
    assert!(!there.access.still_holds(&who).await.expect("answered"));
}

async fn sign_ins_are_recorded_and_no_secret_is_stored(test: TestDb) {
    let house = House::new(&test).await;
    let ann = house.person("ann").await;
    let link = house.link(&ann).await.token;
    let signed = house.by_link(&link, Some(PASSWORD)).await.expect("signed in");
    drop(house.by_password("ann", "wrong horse battery").await);
    drop(house.by_password("not a name but a password", PASSWORD).await);
    let who = house.who(&signed.cookie).await.expect("a session");
    house.access.sign_out(&who).await.expect("ended");
    let pending = house.link(&ann).await.token;
    let held = house.by_password("ann", PASSWORD).await.expect("signed in");
    let sql = "SELECT action, actor, leaf FROM ledger_leaves ORDER BY id";
    let rows = test.db.fetch_all(sql, args![]).await.expect("query");
    let said: Vec<_> = rows
        .iter()
        .map(|row| format!("{} {}", row.text(0).expect("text"), row.text(1).expect("text")))
        .collect();
    assert_eq!(
        said,
        [
            "principal.create system",
            "link.issue system",
            "password.set ann",
            "session.begin ann",
            "session.refuse anonymous",
            "session.refuse anonymous",
            "session.end ann",
            "link.issue system",
            "session.begin ann",
        ]
    );
    let mut stored = Vec::new();
    for sql in
        [sql, "SELECT * FROM access_links", "SELECT * FROM access_sessions", "SELECT * FROM access_passwords"]
    {
        for row in test.db.fetch_all(sql, args![]).await.expect("query") {
            stored.push(format!("{row:?}"));
        }
    }
    for secret in [
        link,
        pending,
        signed.cookie,
        held.cookie,
        Secret::new(PASSWORD.into()),
        Secret::new("not a name".into()),
    ] {
        assert!(!stored.iter().any(|row| row.contains(secret.expose())), "a secret is stored");
    }
}
