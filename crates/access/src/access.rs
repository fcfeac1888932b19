use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, ActorKind, AuthMethod, Clock, CredentialId, PrincipalId, Scope, Timestamp};
use seaworthy_oci::{Digest, RepoName};
use seaworthy_seal::{Seal, sealed_item};
use seaworthy_store::{Db, Watch};
use serde_json::json;

use crate::{
    AccessError, Assignment, Credential, CredentialKind, Decision, DockerScope, Identity, NewCredential,
    Permission, Principal, PrincipalKind, PrincipalName, REFRESH_USER, ResourceAccess, Role, ScopeMap, Token,
    assignments,
    db::{self, people},
    decision::Rights,
    granted::granted,
    limit,
    password::Hasher,
    refused::RefusedSignIns,
    snapshot::{Reach, Snapshot, Span},
    throttle::Throttle,
    token::{self, Claims, TokenKey},
};

/// Identity and access: cheap to clone, one per server.
#[derive(Clone)]
pub struct Access {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: TokenKey,
    /// Issuer and audience of tokens: the registry's service name.
    service: String,
    snapshot: RwLock<Arc<Snapshot>>,
    /// Counts the commits that may have made the snapshot old, where it can be known without asking.
    watch: Option<Watch>,
    /// The count at which the snapshot was read.
    read_at: AtomicU64,
    /// Claims of verified tokens by the token's hash; epochs are checked on every use.
    verified: quick_cache::sync::Cache<Digest, Arc<Claims>>,
    /// Secrets that were right, by a hash of name and secret.
    proved: quick_cache::sync::Cache<Digest, Proved>,
    pub(crate) hasher: Hasher,
    pub(crate) throttle: Throttle,
    pub(crate) refused: RefusedSignIns,
}

/// A name and a secret that were right.
#[derive(Clone, Copy, Debug)]
struct Proved {
    /// Nothing about anybody's credentials has changed since.
    revision: i64,
    expires_at: Option<Timestamp>,
}

impl Proved {
    fn holds(&self, revision: i64, now: Timestamp) -> bool {
        self.revision == revision && self.expires_at.is_none_or(|end| now < end)
    }
}

/// What a principal begins with.
pub(crate) struct Endowment {
    pub(crate) kind: PrincipalKind,
    /// Of a token.
    pub(crate) map: Option<ScopeMap>,
    /// When its first secret ends.
    pub(crate) ends: Option<Timestamp>,
    /// Its first role, and where.
    pub(crate) role: Option<(Role, Scope)>,
}

impl Endowment {
    pub(crate) const fn of(kind: PrincipalKind) -> Self {
        Self { kind, map: None, ends: None, role: None }
    }
}

/// A principal that was just created, with its first secret if it has one.
#[derive(Debug)]
pub struct NewPrincipal {
    /// The principal.
    pub principal: Principal,
    /// Its first client secret; people get none.
    pub secret: Option<NewCredential>,
}

impl Access {
    /// Loads principals and unlocks the token key, which all replicas share.
    pub async fn open(db: Db, seal: &Seal, service: &str) -> Result<Self, AccessError> {
        let pkcs8 = sealed_item(&db, seal, "access token key", || {
            TokenKey::generate().map_err(|_| seaworthy_seal::SealError::Random)
        })
        .await?;
        let pepper =
            sealed_item(&db, seal, "access password pepper", || Ok(seaworthy_seal::random::<32>()?.to_vec()))
                .await?;
        // Before the rows, as at each reload.
        let watch = db.watch(db::REVISED_BY);
        let read_at = AtomicU64::new(watch.as_ref().map_or(0, Watch::count));
        let snapshot = db::snapshot(&db).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                clock: db.clock(),
                key: TokenKey::from_pkcs8(pkcs8.expose())?,
                service: service.to_owned(),
                snapshot: RwLock::new(Arc::new(snapshot)),
                watch,
                read_at,
                verified: quick_cache::sync::Cache::new(limit::TOKEN_CACHE),
                proved: quick_cache::sync::Cache::new(limit::SECRET_CACHE),
                hasher: Hasher::new(pepper)?,
                throttle: Throttle::new(),
                refused: RefusedSignIns::new(db.clone()),
                db,
            }),
        })
    }

    /// The service name tokens are issued for.
    pub fn service(&self) -> &str {
        &self.inner.service
    }

    pub(crate) fn db(&self) -> &Db {
        &self.inner.db
    }

    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, AccessError> {
        let current = self.inner.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Whoever made a change may be gone before it reloads, and with PostgreSQL it may be another
        // replica: revocation must hold at the next request, so look.
        let is_new = match &self.inner.watch {
            Some(watch) => watch.count() == self.inner.read_at.load(Ordering::Acquire),
            None => db::revision(&self.inner.db).await? == current.revision,
        };
        if is_new { Ok(current) } else { self.reload().await }
    }

    pub(crate) async fn reload(&self) -> Result<Arc<Snapshot>, AccessError> {
        let count = self.inner.watch.as_ref().map_or(0, Watch::count);
        let fresh = Arc::new(db::snapshot(&self.inner.db).await?);
        let mut slot = self.inner.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        if fresh.revision >= slot.revision {
            *slot = fresh.clone();
        }
        self.inner.read_at.fetch_max(count, Ordering::Release);
        Ok(slot.clone())
    }

    // --- Proving who it is -------------------------------------------------------------

    /// Checks a name (or client id) and secret, or [`REFRESH_USER`] and a refresh token.
    pub async fn authenticate_secret(
        &self,
        user: &str,
        secret: &str,
        source: Option<String>,
    ) -> Result<Identity, AccessError> {
        if user == REFRESH_USER {
            return self.authenticate_refresh(secret, source).await;
        }
        let snapshot = self.snapshot().await?;
        let principal = snapshot.principal(user).filter(|principal| !principal.disabled);
        let now = self.inner.clock.now();
        let key = Digest::sha256(format!("{} {user}{secret}", user.len()).as_bytes());
        let proved = self.inner.proved.get(&key).filter(|proved| proved.holds(snapshot.revision, now));
        let ends = if let Some(proved) = proved {
            proved.expires_at
        } else {
            // How long it takes must not tell who is known.
            let id = principal.map_or(people::NOBODY, |principal| principal.id);
            let held = db::credentials(&self.inner.db, id).await?;
            // Every credential is compared: how long it takes must not tell which one nearly fits.
            let accepts = |found, credential: &Credential| {
                let accepted = credential.accepts(secret, now);
                if accepted { Some(credential.expires_at) } else { found }
            };
            let found = held.iter().fold(None, accepts);
            let expires_at = found.ok_or(AccessError::BadCredential)?;
            self.inner.proved.insert(key, Proved { revision: snapshot.revision, expires_at });
            expires_at
        };
        let principal = principal.ok_or(AccessError::BadCredential)?;
        let actor = actor_of(principal, AuthMethod::ClientSecret, source);
        let identity = Identity::new(actor, Rights::Principal(principal.id)).at_epoch(principal.epoch);
        Ok(Identity { ends, secret_ends: ends, ..identity })
    }

    /// Checks a bearer token: signature, times, audience, and that nothing about its principal
    /// changed since it was issued.
    pub async fn authenticate_token(
        &self,
        token: &str,
        source: Option<String>,
    ) -> Result<Identity, AccessError> {
        let key = Digest::sha256(token.as_bytes());
        let claims = if let Some(claims) = self.inner.verified.get(&key) {
            claims
        } else {
            let claims: Arc<Claims> = Arc::new(self.inner.key.open(token).ok_or(AccessError::BadCredential)?);
            self.inner.verified.insert(key, claims.clone());
            claims
        };
        let now = self.inner.clock.now().as_seconds();
        let in_time = claims.nbf <= now && now < claims.exp;
        if !in_time || claims.aud != self.inner.service || claims.iss != self.inner.service {
            return Err(AccessError::BadCredential);
        }
        let snapshot = self.snapshot().await?;
        let principal = snapshot
            .principals
            .get(&claims.sub)
            .filter(|principal| !principal.disabled && principal.epoch == claims.epoch)
            .ok_or(AccessError::BadCredential)?;
        let actor = if principal.name.is_anonymous() {
            Actor::anonymous(source)
        } else {
            actor_of(principal, AuthMethod::Token, source)
        };
        let rights = Rights::Token(principal.id, claims.access.clone());
        let identity = Identity::new(actor, rights).at_epoch(claims.epoch);
        Ok(Identity {
            ends: Some(Timestamp::from_seconds(claims.exp)),
            secret_ends: claims.secret_ends.map(Timestamp::from_seconds),
            ..identity
        })
    }

    /// Issues a token for what `identity` may do of what is asked: a subset, never a failure. Who is
    /// nobody gets one for what the principal `anonymous` may read, if there is one; who shows a token
    /// gets no wider one. None outlasts the secret or the token that it was bought with. What would make it longer than
    /// [`limit::TOKEN_BYTES`] is left out, the last first.
    pub async fn issue_token(
        &self,
        identity: &Identity,
        asked: &[DockerScope],
    ) -> Result<Token, AccessError> {
        let snapshot = self.snapshot().await?;
        let everybody = || snapshot.by_name.get("anonymous").copied().filter(|_| identity.is_anonymous());
        let missing = || {
            if identity.is_anonymous() { AccessError::NobodySignedIn } else { AccessError::BadCredential }
        };
        let sub = identity.principal().or_else(everybody).ok_or_else(missing)?;
        let principal = snapshot.principals.get(&sub).filter(|principal| !principal.disabled);
        let principal = principal.ok_or_else(missing)?;
        let access: Vec<ResourceAccess> = asked
            .iter()
            .filter_map(|scope| granted(&snapshot, sub, &scope.access))
            .filter_map(|access| identity.narrowed(access))
            .collect();
        let now = self.inner.clock.now();
        let lasts = limit::TOKEN_SECONDS;
        let left = identity.ends.map_or(lasts, |ends| ends.as_seconds() - now.as_seconds());
        let expires_in = Some(left.min(lasts)).filter(|left| *left > 0).ok_or(AccessError::BadCredential)?;
        let mut claims = Claims {
            iss: self.inner.service.clone(),
            aud: self.inner.service.clone(),
            sub,
            exp: now.as_seconds() + expires_in,
            // A client's clock is not asked, but a replica's may be a little behind.
            nbf: now.as_seconds() - 60,
            iat: now.as_seconds(),
            jti: CredentialId::generate().to_string(),
            epoch: principal.epoch,
            access,
            secret_ends: identity.secret_ends.map(Timestamp::as_seconds),
        };
        while !token::fits(&claims) && claims.access.pop().is_some() {}
        let token = self.inner.key.sign(&claims)?;
        Ok(Token { token, expires_in, issued_at: now, access: claims.access })
    }

    // --- Deciding ----------------------------------------------------------------------

    /// May `identity` do `permission` at `scope`, and which assignment says so?
    pub async fn decide(
        &self,
        identity: &Identity,
        permission: Permission,
        scope: &Scope,
    ) -> Result<Decision, AccessError> {
        match without_roles(identity, permission, scope) {
            Ok(principal) => {
                let snapshot = self.snapshot().await?;
                Ok(by_roles(&snapshot, identity, principal, (permission, scope)))
            }
            Err(decision) => Ok(decision),
        }
    }

    /// Those of `repositories` where `identity` may do `permission`. How many it may not see there is told by nothing,
    /// not by the time that this takes either: roles are looked at once.
    pub async fn allowed_among(
        &self,
        identity: &Identity,
        permission: Permission,
        repositories: Vec<RepoName>,
    ) -> Result<Vec<RepoName>, AccessError> {
        let roles = self.roles_now().await?;
        let is_allowed = |repository: &RepoName| roles.allow(identity, permission, repository);
        Ok(repositories.into_iter().filter(is_allowed).collect())
    }

    /// [`Access::decide`] without the reason.
    pub async fn allows(
        &self,
        identity: &Identity,
        permission: Permission,
        scope: &Scope,
    ) -> Result<bool, AccessError> {
        Ok(self.decide(identity, permission, scope).await?.allowed)
    }

    /// Would `identity` be allowed if its token had been issued for this? True tells the client to
    /// fetch another token; for anything but a token it is the plain answer.
    pub async fn allows_with_wider_token(
        &self,
        identity: &Identity,
        permission: Permission,
        scope: &Scope,
    ) -> Result<bool, AccessError> {
        let Rights::Token(id, _) = &identity.rights else {
            return self.allows(identity, permission, scope).await;
        };
        Ok(self.snapshot().await?.grant(*id, permission, scope).is_some())
    }

    /// Would `identity` be allowed anything of a repository's own with a token for it? Who is knows that it is there.
    pub async fn knows(&self, identity: &Identity, repository: &RepoName) -> Result<bool, AccessError> {
        let Some(id) = identity.principal() else { return Ok(identity.is_operator()) };
        let (snapshot, scope) = (self.snapshot().await?, Scope::repository(repository));
        let mut all = Permission::ALL.iter().filter(|it| it.is_of_registry());
        Ok(all.any(|it| snapshot.grant(id, *it, &scope).is_some()))
    }

    /// Would `identity` be allowed to list the catalog with a token for it?
    pub async fn may_list(&self, identity: &Identity) -> Result<bool, AccessError> {
        let Some(id) = identity.principal() else { return Ok(false) };
        let all = "/repositories".parse()?;
        Ok(self.snapshot().await?.grants_below(id, Permission::Catalog, &all))
    }

    /// Where repositories may be in which `identity` has `permission`, in order; `None` for everywhere. Lists look
    /// nowhere else, and ask about each that they find. A catalog is of what the roles say, whatever repositories the
    /// token was issued for.
    pub async fn repository_scopes(
        &self,
        identity: &Identity,
        permission: Permission,
    ) -> Result<Option<Vec<Span>>, AccessError> {
        let id = match &identity.rights {
            Rights::Operator => return Ok(None),
            Rights::Anonymous => return Ok(Some(Vec::new())),
            Rights::Principal(id) | Rights::Refresh(id) | Rights::Token(id, _) => *id,
        };
        let snapshot = self.snapshot().await?;
        if let Rights::Token(_, access) = &identity.rights
            && permission != Permission::Catalog
        {
            let named = access.iter().filter_map(|it| it.repository_of(permission));
            let alone = |scope| Span { scope, reach: Reach::Alone };
            let held: BTreeSet<Span> =
                named.filter(|scope| snapshot.grant(id, permission, scope).is_some()).map(alone).collect();
            return Ok(Some(held.into_iter().collect()));
        }
        let all: Scope = "/repositories".parse()?;
        let spans: BTreeSet<Span> = snapshot.spans(id, permission).into_iter().collect();
        if spans.iter().any(|it| it.reach != Reach::Alone && it.scope.covers(&all)) {
            return Ok(None);
        }
        Ok(Some(spans.into_iter().filter(|it| all.covers(&it.scope)).collect()))
    }

    /// May `identity` do `permission` at `scope` and everywhere below it? What is set for a prefix holds there. A token
    /// is issued for single repositories.
    pub async fn allows_within(
        &self,
        identity: &Identity,
        permission: Permission,
        scope: &Scope,
    ) -> Result<bool, AccessError> {
        match without_roles(identity, permission, scope) {
            Ok(_) if !matches!(identity.rights, Rights::Principal(_)) => Ok(false),
            Ok(principal) => Ok(self.snapshot().await?.grants_within(principal, permission, scope)),
            Err(decision) => Ok(decision.allowed),
        }
    }

    /// May `identity` do `permission` somewhere below `scope`?
    pub async fn allows_below(
        &self,
        identity: &Identity,
        permission: Permission,
        scope: &Scope,
    ) -> Result<bool, AccessError> {
        match &identity.rights {
            Rights::Operator => Ok(permission != Permission::Quarantine),
            Rights::Anonymous => Ok(false),
            Rights::Principal(id) | Rights::Refresh(id) | Rights::Token(id, _) => {
                if !identity.within_token(permission, scope) {
                    return Ok(false);
                }
                Ok(self.snapshot().await?.grants_below(*id, permission, scope))
            }
        }
    }

    /// The decision for somebody else, for `access explain`.
    pub async fn explain(
        &self,
        who: &str,
        permission: Permission,
        scope: &Scope,
    ) -> Result<Decision, AccessError> {
        let principal = self.principal(who).await?;
        if principal.disabled {
            let reason = format!("`{}` is disabled", principal.name);
            return Ok(Decision { allowed: false, by: None, reason });
        }
        let actor = actor_of(&principal, AuthMethod::None, None);
        let identity = Identity::new(actor, Rights::Principal(principal.id));
        self.decide(&identity, permission, scope).await
    }

    // --- Reading -----------------------------------------------------------------------

    /// All principals, by name.
    pub async fn principals(&self) -> Result<Vec<Principal>, AccessError> {
        let mut all: Vec<_> = self.snapshot().await?.principals.values().cloned().collect();
        all.sort_by(|lhs, rhs| lhs.name.cmp(&rhs.name));
        Ok(all)
    }

    /// One principal, by name or id.
    pub async fn principal(&self, name_or_id: &str) -> Result<Principal, AccessError> {
        let found = self.snapshot().await?.principal(name_or_id).cloned();
        found.ok_or_else(|| AccessError::Unknown { kind: "principal", name: name_or_id.to_owned() })
    }

    /// The role assignments of one principal; a token has none.
    pub async fn assignments(&self, principal: PrincipalId) -> Result<Vec<Assignment>, AccessError> {
        let snapshot = self.snapshot().await?;
        let is_token = snapshot.principals.get(&principal).is_some_and(|it| it.scope_map.is_some());
        let held = snapshot.assignments.get(&principal).filter(|_| !is_token);
        Ok(held.cloned().unwrap_or_default())
    }

    /// The credentials of one principal, without their secrets.
    pub async fn credentials(&self, principal: PrincipalId) -> Result<Vec<Credential>, AccessError> {
        Ok(db::credentials(&self.inner.db, principal).await?)
    }

    /// All roles, by name.
    pub async fn roles(&self) -> Result<Vec<Role>, AccessError> {
        let mut all: Vec<_> = self.snapshot().await?.roles.values().cloned().collect();
        all.sort_by(|lhs, rhs| lhs.name.cmp(&rhs.name));
        Ok(all)
    }

    /// One role, by name or id.
    pub async fn role(&self, name: &str) -> Result<Role, AccessError> {
        let snapshot = self.snapshot().await?;
        let found = snapshot
            .roles
            .values()
            .find(|role| role.name.eq_ignore_ascii_case(name) || role.id.to_string() == name);
        found.cloned().ok_or_else(|| AccessError::Unknown { kind: "role", name: name.to_owned() })
    }

    // --- Changing ----------------------------------------------------------------------

    /// Creates a principal; a service principal gets its first secret. The names of operators are
    /// refused: who acts as `operator-1000` is that user of this machine.
    pub async fn create_principal(
        &self,
        actor: &Actor,
        name: PrincipalName,
        kind: PrincipalKind,
    ) -> Result<NewPrincipal, AccessError> {
        if name.is_operator() {
            return Err(AccessError::BadName { name: name.to_string() });
        }
        self.create(actor, name, Endowment::of(kind)).await
    }

    /// [`Access::create_principal`] with its first role, both or neither.
    pub async fn create_principal_as(
        &self,
        actor: &Actor,
        name: PrincipalName,
        kind: PrincipalKind,
        (role, scope): (Role, Scope),
    ) -> Result<NewPrincipal, AccessError> {
        if name.is_operator() {
            return Err(AccessError::BadName { name: name.to_string() });
        }
        self.create(actor, name, Endowment { role: Some((role, scope)), ..Endowment::of(kind) }).await
    }

    pub(crate) async fn create(
        &self,
        actor: &Actor,
        name: PrincipalName,
        with: Endowment,
    ) -> Result<NewPrincipal, AccessError> {
        let created_at = self.inner.clock.now();
        let Endowment { kind, map, ends, role } = with;
        let scope_map = map.as_ref().map(|map| map.name.clone());
        let id = PrincipalId::generate();
        let principal = Principal { id, name, kind, disabled: false, epoch: 1, scope_map, created_at };
        let secret = match kind {
            // Everybody proves nothing.
            PrincipalKind::ServicePrincipal if principal.name.is_anonymous() => None,
            PrincipalKind::ServicePrincipal | PrincipalKind::Token => {
                let mut new = self.new_credential(principal.id, CredentialKind::ClientSecret, "first")?;
                new.credential.expires_at = ends;
                Some(new)
            }
            PrincipalKind::User => None,
        };
        let credential = secret.as_ref().map(|secret| secret.credential.clone());
        let stored_map = map.filter(|map| !map.built_in);
        let assignment = role.map(|(role, scope)| assignments::new(id, &role, scope, created_at));
        let context = (principal.clone(), credential, stored_map, assignment);
        seaworthy_ledger::write(&self.inner.db, actor, context, |context, tx| {
            let (principal, credential, map, assignment) = context;
            Box::pin(async move {
                // It may be deleted meanwhile.
                if let Some(map) = map
                    && !db::scope_maps::exists(tx, &map.name).await?
                {
                    return Err(AccessError::Unknown { kind: "scope map", name: map.name.clone() });
                }
                if !db::insert_principal(tx, principal).await? {
                    return Err(AccessError::Exists { kind: "principal", name: principal.name.to_string() });
                }
                if let Some(credential) = credential {
                    db::insert_credential(tx, credential).await?;
                }
                let act = Act::new(Action::PrincipalCreate, format!("principals/{}", principal.name));
                let mut acts = vec![act.details(details_of(principal))];
                if let Some(assignment) = assignment {
                    db::insert_assignment(tx, assignment).await?;
                    acts.push(assignments::act(assignment, principal.name.as_str()));
                }
                db::bump(tx, None).await?;
                Ok(((), acts))
            })
        })
        .await?;
        self.reload().await?;
        Ok(NewPrincipal { principal, secret })
    }

    /// The principal behind an operator's uid, made Owner of everything on first use.
    pub async fn operator_principal(&self, actor: &Actor, uid: u32) -> Result<Principal, AccessError> {
        let name = format!("operator-{uid}");
        if let Ok(principal) = self.principal(&name).await {
            return Ok(principal);
        }
        let role = Some((self.role("Owner").await?, Scope::root()));
        let with = Endowment { role, ..Endowment::of(PrincipalKind::User) };
        match self.create(actor, name.parse()?, with).await {
            Ok(new) => Ok(new.principal),
            // Another request was first.
            Err(AccessError::Exists { .. }) => self.principal(&name).await,
            Err(error) => Err(error),
        }
    }

    /// Disables a principal; effective at its next request.
    pub async fn disable(&self, actor: &Actor, principal: &Principal) -> Result<(), AccessError> {
        seaworthy_ledger::write(&self.inner.db, actor, principal.clone(), |principal, tx| {
            Box::pin(async move {
                db::disable_principal(tx, principal.id).await?;
                db::bump(tx, Some(principal.id)).await?;
                Ok::<_, AccessError>((
                    (),
                    vec![Act::new(Action::PrincipalDisable, format!("principals/{}", principal.name))],
                ))
            })
        })
        .await?;
        self.reload().await.map(|_| ())
    }

    /// Enables a principal that was disabled. Its old tokens stay ended.
    pub async fn enable(&self, actor: &Actor, principal: &Principal) -> Result<(), AccessError> {
        seaworthy_ledger::write(&self.inner.db, actor, principal.clone(), |principal, tx| {
            Box::pin(async move {
                db::enable_principal(tx, principal.id).await?;
                db::bump(tx, Some(principal.id)).await?;
                let act = Act::new(Action::PrincipalEnable, format!("principals/{}", principal.name));
                Ok::<_, AccessError>(((), vec![act]))
            })
        })
        .await?;
        self.reload().await.map(|_| ())
    }

    /// Deletes a principal with its credentials and assignments.
    pub async fn delete(&self, actor: &Actor, principal: &Principal) -> Result<(), AccessError> {
        seaworthy_ledger::write(&self.inner.db, actor, principal.clone(), |principal, tx| {
            Box::pin(async move {
                db::delete_principal(tx, principal.id).await?;
                db::bump(tx, None).await?;
                let act = Act::new(Action::PrincipalDelete, format!("principals/{}", principal.name))
                    .details(json!({"id": principal.id}));
                Ok::<_, AccessError>(((), vec![act]))
            })
        })
        .await?;
        self.reload().await.map(|_| ())
    }
}

/// What the ledger keeps of a new principal.
fn details_of(principal: &Principal) -> serde_json::Value {
    match &principal.scope_map {
        Some(map) => json!({"id": principal.id, "kind": principal.kind, "scope_map": map}),
        None => json!({"id": principal.id, "kind": principal.kind}),
    }
}

pub(crate) fn actor_of(principal: &Principal, method: AuthMethod, source: Option<String>) -> Actor {
    let kind = match principal.kind {
        PrincipalKind::User => ActorKind::User,
        PrincipalKind::ServicePrincipal | PrincipalKind::Token => ActorKind::ServicePrincipal,
    };
    Actor { kind, principal: Some(principal.id), name: principal.name.to_string(), method, source }
}

/// Who is to be asked for roles, or what is decided without them.
pub(crate) fn without_roles(
    identity: &Identity,
    permission: Permission,
    scope: &Scope,
) -> Result<PrincipalId, Decision> {
    let decided = |allowed, reason: String| Err(Decision { allowed, by: None, reason });
    let principal = match &identity.rights {
        // The operator is the owner of this machine, and Owner does not see blocked images.
        Rights::Operator if permission == Permission::Quarantine => {
            return decided(false, "needs role `AcrQuarantineReader`".to_owned());
        }
        Rights::Operator => return decided(true, "operator of this machine".to_owned()),
        Rights::Anonymous => return decided(false, "nobody is signed in".to_owned()),
        Rights::Principal(id) | Rights::Refresh(id) | Rights::Token(id, _) => *id,
    };
    if !identity.within_token(permission, scope) {
        return decided(false, format!("the token was not issued for `{permission}` at `{scope}`"));
    }
    Ok(principal)
}

pub(crate) fn by_roles(
    snapshot: &Snapshot,
    identity: &Identity,
    principal: PrincipalId,
    (permission, scope): (Permission, &Scope),
) -> Decision {
    match snapshot.grant(principal, permission, scope) {
        Some(assignment) if assignment.reach != Reach::Within => Decision {
            allowed: true,
            by: None,
            reason: format!("its scope map has `{}` at `{}`", assignment.role, assignment.scope),
        },
        Some(assignment) => {
            let whose = if assignment.principal == principal { "" } else { " of everybody" };
            Decision {
                allowed: true,
                by: Some(assignment.clone()),
                reason: format!("role `{}` at `{}`{whose}", assignment.role, assignment.scope),
            }
        }
        None => Decision {
            allowed: false,
            by: None,
            reason: format!("no role of `{}` permits `{permission}` at `{scope}`", identity.actor.name),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_were_right_are_bounded() {
        let proved = quick_cache::sync::Cache::new(limit::SECRET_CACHE);
        for number in 0..2 * limit::SECRET_CACHE {
            let key = Digest::sha256(&number.to_be_bytes());
            proved.insert(key, Proved { revision: 1, expires_at: None });
        }
        assert!(proved.len() <= limit::SECRET_CACHE);
    }
}
