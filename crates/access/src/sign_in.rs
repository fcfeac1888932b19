//! How people sign in: one-time links, passwords, and the sessions that both begin.

use std::str::FromStr;

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, AuthMethod, Secret, Timestamp};
use serde_json::json;

use crate::{
    Access, AccessError, Identity, Principal, PrincipalKind, Session, SignInError,
    access::actor_of,
    credential::{generate_secret, hash_of},
    db::{self, people},
    limit,
    password::{StoredPassword, weakness},
    refused::Key,
    session::{COOKIE, hash_of_proof},
    throttle::Counted,
};

const LINK: &str = "swl_";

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It signs an operator of this machine in.
    SignIn,
    /// It sets a person's password, and signs them in.
    Password,
}

impl Purpose {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Password => "password",
        }
    }
}

impl FromStr for Purpose {
    type Err = AccessError;

    fn from_str(word: &str) -> Result<Self, AccessError> {
        match word {
            "sign_in" => Ok(Self::SignIn),
            "password" => Ok(Self::Password),
            _ => Err(AccessError::Unreadable { what: "purpose of a link" }),
        }
    }
}

/// A one-time link's secret part, shown once.
#[derive(Debug)]
pub struct NewLink {
    /// The secret part.
    pub token: Secret<String>,
    /// Whom it signs in.
    pub principal: Principal,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a person shows to be signed in.
#[derive(Debug)]
pub enum Proof {
    /// A one-time link; a person's sets this password.
    Link {
        /// Its secret part.
        link: Secret<String>,
        /// The new password.
        password: Option<Secret<String>>,
    },
    /// A name and its password.
    Password {
        /// The name.
        name: String,
        /// The password.
        password: Secret<String>,
    },
}

/// A session that has just begun.
#[derive(Debug)]
pub struct SignedIn {
    /// What the cookie holds; shown once.
    pub cookie: Secret<String>,
    /// Who is signed in.
    pub principal: Principal,
    /// The session.
    pub session: Session,
}

/// What the transaction of a sign-in needs.
struct Beginning {
    principal: Principal,
    cookie_hash: Vec<u8>,
    /// The session of the same browser, which this one takes the place of.
    replaces: Option<Vec<u8>>,
    proved: Proved,
    now: Timestamp,
}

/// What was proved, to be held against the rows in the transaction.
enum Proved {
    Link(Vec<u8>),
    LinkAndPassword(Vec<u8>, StoredPassword),
    Password(StoredPassword),
}

impl Access {
    // --- Links -------------------------------------------------------------------------

    /// A link that signs the operator with this uid in, once, within [`limit::OPERATOR_LINK_SECONDS`].
    pub async fn operator_link(&self, actor: &Actor, uid: u32) -> Result<NewLink, SignInError> {
        let principal = self.operator_principal(actor, uid).await?;
        self.issue_link(actor, principal, Purpose::SignIn).await
    }

    /// A link with which a person sets a password, once, within [`limit::PASSWORD_LINK_SECONDS`].
    pub async fn person_link(&self, actor: &Actor, principal: &Principal) -> Result<NewLink, SignInError> {
        let reason = match principal.kind {
            PrincipalKind::ServicePrincipal | PrincipalKind::Token => Some("it is a program, not a person"),
            PrincipalKind::User if principal.name.is_operator() => {
                Some("operators of this machine sign in with `seaworthy console`")
            }
            PrincipalKind::User => None,
        };
        if let Some(reason) = reason {
            return Err(SignInError::NoLink { name: principal.name.to_string(), reason });
        }
        self.issue_link(actor, principal.clone(), Purpose::Password).await
    }

    async fn issue_link(
        &self,
        actor: &Actor,
        principal: Principal,
        purpose: Purpose,
    ) -> Result<NewLink, SignInError> {
        let token = generate_secret(LINK)?;
        let now = self.inner.clock.now();
        let seconds = match purpose {
            Purpose::SignIn => limit::OPERATOR_LINK_SECONDS,
            Purpose::Password => limit::PASSWORD_LINK_SECONDS,
        };
        let row = people::LinkRow { principal: principal.id, purpose, expires_at: now.plus_seconds(seconds) };
        let expires_at = row.expires_at;
        let context = (principal.clone(), hash_of(token.expose()), row, now);
        seaworthy_ledger::write(&self.inner.db, actor, context, |(principal, hash, row, now), tx| {
            Box::pin(async move {
                let name = || principal.name.to_string();
                if people::active_epoch(tx, principal.id).await?.is_none() {
                    return Err(SignInError::NoLink { name: name(), reason: "it is disabled" });
                }
                people::replace_link(tx, hash, row, *now).await?;
                let act = Act::new(Action::LinkIssue, format!("principals/{}", name()))
                    .details(json!({"for": row.purpose.word(), "expires_at": row.expires_at}));
                Ok(((), vec![act]))
            })
        })
        .await?;
        Ok(NewLink { token, principal, expires_at })
    }

    // --- Signing in and out ------------------------------------------------------------

    /// Begins a session; `caller` is who asks so far, whose own session ends with it. A refusal
    /// is in the ledger when this returns.
    pub async fn sign_in(&self, caller: &Identity, proof: Proof) -> Result<SignedIn, SignInError> {
        let source = caller.actor.source.clone();
        let name = match &proof {
            Proof::Link { .. } => None,
            Proof::Password { name, .. } => Some(name.clone()),
        };
        let address = Counted::source(source.as_deref());
        let counted: Vec<Counted<'_>> =
            std::iter::once(address).chain(name.as_deref().map(Counted::Name)).collect();
        let throttle = &self.inner.throttle;
        throttle
            .take(&counted, self.inner.clock.now())
            .map_err(|retry_after_seconds| SignInError::TooMany { retry_after_seconds })?;
        let outcome = match proof {
            Proof::Link { link, password } => self.by_link(caller, &link, password.as_ref()).await,
            Proof::Password { name, password } => self.by_password(caller, &name, &password).await,
        };
        if matches!(outcome, Err(SignInError::BadPassword | SignInError::BadLink)) {
            let known = match &name {
                Some(name) => self.snapshot().await?.principal(name).map(|it| it.name.clone()),
                None => None,
            };
            self.inner.refused.record(Key { name: known, source }).await?;
        } else {
            throttle.give_back(&counted);
        }
        outcome
    }

    async fn by_link(
        &self,
        caller: &Identity,
        link: &Secret<String>,
        password: Option<&Secret<String>>,
    ) -> Result<SignedIn, SignInError> {
        let hash = hash_of_proof(LINK, link.expose()).ok_or(SignInError::BadLink)?;
        let row = people::link(&self.inner.db, &hash).await?.ok_or(SignInError::BadLink)?;
        if row.expires_at <= self.inner.clock.now() {
            return Err(SignInError::BadLink);
        }
        let snapshot = self.snapshot().await?;
        let principal = snapshot.principals.get(&row.principal).ok_or(SignInError::BadLink)?;
        let name = || principal.name.to_string();
        let proved = match (row.purpose, password) {
            (Purpose::SignIn, None) => Proved::Link(hash),
            (Purpose::SignIn, Some(_)) => return Err(SignInError::PasswordNotTaken { name: name() }),
            (Purpose::Password, None) => return Err(SignInError::PasswordRequired { name: name() }),
            (Purpose::Password, Some(password)) => {
                if let Some(reason) = weakness(password.expose(), principal.name.as_str()) {
                    return Err(SignInError::WeakPassword { reason });
                }
                Proved::LinkAndPassword(hash, self.inner.hasher.make(password).await?)
            }
        };
        self.begin(caller, principal.clone(), proved).await
    }

    /// One hash and one read, whoever is named.
    async fn by_password(
        &self,
        caller: &Identity,
        name: &str,
        password: &Secret<String>,
    ) -> Result<SignedIn, SignInError> {
        if password.expose().len() > limit::PASSWORD_BYTES {
            return Err(SignInError::BadPassword);
        }
        let snapshot = self.snapshot().await?;
        // By name alone: an id would be counted apart from it.
        let principal = snapshot.principal(name).filter(|it| it.name.as_str() == name && !it.disabled);
        let id = principal.map_or(people::NOBODY, |principal| principal.id);
        let stored = people::password(&self.inner.db, id).await?;
        let fits = self.inner.hasher.fits(password, stored.as_ref()).await?;
        let (true, Some(principal), Some(stored)) = (fits, principal, stored) else {
            return Err(SignInError::BadPassword);
        };
        self.begin(caller, principal.clone(), Proved::Password(stored)).await
    }

    async fn begin(
        &self,
        caller: &Identity,
        principal: Principal,
        proved: Proved,
    ) -> Result<SignedIn, SignInError> {
        let cookie = generate_secret(COOKIE)?;
        let actor = actor_of(&principal, AuthMethod::Session, caller.actor.source.clone());
        let sets_password = matches!(proved, Proved::LinkAndPassword(..));
        let context = Beginning {
            principal: principal.clone(),
            cookie_hash: hash_of(cookie.expose()),
            replaces: caller.session().map(|session| session.hash.clone()),
            proved,
            now: self.inner.clock.now(),
        };
        let session =
            seaworthy_ledger::write(&self.inner.db, &actor, context, |it, tx| Box::pin(it.write(tx))).await?;
        if sets_password {
            self.reload().await?;
        }
        Ok(SignedIn { cookie, principal, session })
    }

    /// Ends the caller's session; false when there is none.
    pub async fn sign_out(&self, caller: &Identity) -> Result<bool, AccessError> {
        let Some(session) = caller.session() else { return Ok(false) };
        let context = (session.hash.clone(), caller.actor.name.clone());
        seaworthy_ledger::write(&self.inner.db, &caller.actor, context, |(hash, name), tx| {
            Box::pin(async move {
                let ended = people::delete_session(tx, hash).await?;
                let act = Act::new(Action::SessionEnd, format!("principals/{name}"));
                Ok::<_, AccessError>((ended, if ended { vec![act] } else { Vec::new() }))
            })
        })
        .await
    }
}

impl Beginning {
    async fn write(&self, tx: &mut seaworthy_store::Tx<'_>) -> Result<(Session, Vec<Act>), SignInError> {
        let id = self.principal.id;
        let object = format!("principals/{}", self.principal.name);
        let mut acts = Vec::new();
        // What was proved may have changed since: a link was used, a password set.
        let by = match &self.proved {
            Proved::Link(hash) => self.use_link(tx, hash).await?,
            Proved::LinkAndPassword(hash, password) => {
                self.use_link(tx, hash).await?;
                people::end_all(tx, id).await?;
                people::set_password(tx, id, password, self.now).await?;
                db::bump(tx, Some(id)).await?;
                acts.push(Act::new(Action::PasswordSet, object.clone()));
                "link"
            }
            Proved::Password(seen) => {
                if people::password_in(tx, id).await?.as_ref() != Some(seen) {
                    return Err(SignInError::BadPassword);
                }
                "password"
            }
        };
        let refused = || if by == "link" { SignInError::BadLink } else { SignInError::BadPassword };
        let epoch = people::active_epoch(tx, id).await?.ok_or_else(refused)?;
        if let Some(old) = &self.replaces {
            people::delete_session(tx, old).await?;
        }
        let session = Session {
            hash: self.cookie_hash.clone(),
            principal: id,
            epoch,
            proved_at: self.now,
            used_at: self.now,
            expires_at: self.now.plus_seconds(limit::SESSION_SECONDS),
        };
        people::insert_session(tx, &session).await?;
        acts.push(Act::new(Action::SessionBegin, object).details(json!({"by": by})));
        Ok((session, acts))
    }

    async fn use_link(
        &self,
        tx: &mut seaworthy_store::Tx<'_>,
        hash: &[u8],
    ) -> Result<&'static str, SignInError> {
        let used = people::take_link(tx, hash, self.now).await?;
        if used { Ok("link") } else { Err(SignInError::BadLink) }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::Ordering;

    use seaworthy_testkit::TestDb;

    use super::*;

    const ROOMS: &[seaworthy_store::schema::RoomSchema] =
        &[seaworthy_seal::SCHEMA, seaworthy_ledger::SCHEMA, crate::SCHEMA];

    /// Time tells nothing when the work is the same: one read, one hash, one record.
    async fn every_refusal_costs_one_hash(test: TestDb) {
        let seal = seaworthy_seal::Seal::open(test.path()).expect("seal");
        let access = Access::open(test.db.clone(), &seal, "test").await.expect("opens");
        let system = Actor::system();
        let mut people = Vec::new();
        for name in ["ann", "without", "disabled"] {
            let name = name.parse().expect("name");
            let new = access.create_principal(&system, name, PrincipalKind::User).await.expect("created");
            people.push(new.principal);
        }
        let nobody = Identity::anonymous(Some("192.0.2.1".into()));
        let password = || Secret::new("correct horse battery".to_owned());
        for person in [&people[0], &people[2]] {
            let link = access.person_link(&system, person).await.expect("link").token;
            access
                .sign_in(&nobody, Proof::Link { link, password: Some(password()) })
                .await
                .expect("signed in");
        }
        access.disable(&system, &people[2]).await.expect("disabled");
        let id = people[0].id.to_string();
        for name in ["ann", "without", "disabled", "nobody", "", id.as_str()] {
            let before = access.inner.hasher.hashed.load(Ordering::SeqCst);
            let wrong =
                if name == "disabled" { password() } else { Secret::new("wrong horse battery".into()) };
            let refused =
                access.sign_in(&nobody, Proof::Password { name: name.into(), password: wrong }).await;
            let Err(error @ SignInError::BadPassword) = refused else { panic!("{name}: {refused:?}") };
            assert_eq!(error.to_string(), "the name or the password is not right");
            assert_eq!(access.inner.hasher.hashed.load(Ordering::SeqCst), before + 1, "{name}");
        }
        let rows = test
            .db
            .fetch_all("SELECT object FROM ledger_leaves WHERE action = 'session.refuse' ORDER BY id", &[])
            .await
            .expect("query");
        let objects: Vec<_> = rows.iter().map(|row| row.text(0).expect("text").to_owned()).collect();
        assert_eq!(objects, ["principals/ann", "principals/without", "principals/disabled", "principals"]);
        // A link that is none costs no hash: nobody guesses 256 bits.
        let before = access.inner.hasher.hashed.load(Ordering::SeqCst);
        let link = Secret::new(format!("swl_{}", "A".repeat(43)));
        let refused = access.sign_in(&nobody, Proof::Link { link, password: Some(password()) }).await;
        assert!(matches!(refused, Err(SignInError::BadLink)));
        assert_eq!(access.inner.hasher.hashed.load(Ordering::SeqCst), before);
    }

    /// What was checked outside the transaction is held against the rows in it.
    async fn a_password_set_meanwhile_begins_nothing(test: TestDb) {
        let seal = seaworthy_seal::Seal::open(test.path()).expect("seal");
        let access = Access::open(test.db.clone(), &seal, "test").await.expect("opens");
        let (system, nobody) = (Actor::system(), Identity::anonymous(None));
        let name = "ann".parse().expect("name");
        let ann =
            access.create_principal(&system, name, PrincipalKind::User).await.expect("created").principal;
        let set = async |password: &str| {
            let link = access.person_link(&system, &ann).await.expect("link").token;
            let password = Some(Secret::new(password.to_owned()));
            access.sign_in(&nobody, Proof::Link { link, password }).await.expect("signed in")
        };
        let stored = async || people::password(&test.db, ann.id).await.expect("query").expect("a password");
        set("correct horse battery").await;
        let checked = stored().await;
        set("another horse battery").await;
        let refused = access.begin(&nobody, ann.clone(), Proved::Password(checked)).await;
        assert!(matches!(refused, Err(SignInError::BadPassword)), "{refused:?}");
        assert!(access.begin(&nobody, ann.clone(), Proved::Password(stored().await)).await.is_ok());
        let checked = stored().await;
        access.disable(&system, &ann).await.expect("disabled");
        let refused = access.begin(&nobody, ann.clone(), Proved::Password(checked)).await;
        assert!(matches!(refused, Err(SignInError::BadPassword)), "{refused:?}");
    }

    seaworthy_testkit::db_tests!(super::ROOMS; every_refusal_costs_one_hash, a_password_set_meanwhile_begins_nothing);
}
