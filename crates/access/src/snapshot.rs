use std::collections::{BTreeMap, HashMap};

use seaworthy_model::{PrincipalId, RoleAssignmentId, Scope, Timestamp};
use serde::Serialize;

use crate::{Permission, Principal, Role, RoleId, ScopeMap, role, scope_map};

/// Principal + role + scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assignment {
    /// Its id.
    pub id: RoleAssignmentId,
    /// Who.
    pub principal: PrincipalId,
    /// Which role, by name.
    pub role: String,
    #[serde(skip)]
    pub(crate) role_id: RoleId,
    /// Where.
    pub scope: Scope,
    #[serde(skip)]
    pub(crate) reach: Reach,
    /// Since when.
    pub created_at: Timestamp,
}

/// A scope, and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Where.
    pub scope: Scope,
    /// What of it.
    pub reach: Reach,
}

/// How far a scope goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It, and what lies below it.
    #[default]
    Within,
    /// It alone.
    Alone,
    /// What lies below it.
    Below,
}

impl Assignment {
    fn covers(&self, scope: &Scope) -> bool {
        match self.reach {
            Reach::Within => self.scope.covers(scope),
            Reach::Alone => self.scope == *scope,
            Reach::Below => self.scope.covers(scope) && self.scope != *scope,
        }
    }
}

/// Everything a decision needs, in memory; replaced as a whole when anything changes.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) revision: i64,
    pub(crate) principals: HashMap<PrincipalId, Principal>,
    pub(crate) by_name: HashMap<String, PrincipalId>,
    pub(crate) roles: HashMap<RoleId, Role>,
    pub(crate) scope_maps: BTreeMap<String, ScopeMap>,
    /// What the lines of scope maps stand for.
    actions: HashMap<RoleId, Role>,
    pub(crate) assignments: HashMap<PrincipalId, Vec<Assignment>>,
}

impl Snapshot {
    pub(crate) fn new(
        revision: i64,
        principals: Vec<Principal>,
        custom: Vec<Role>,
        assignments: Vec<Assignment>,
        maps: Vec<ScopeMap>,
    ) -> Self {
        let mut snapshot = Self { revision, ..Self::default() };
        snapshot.actions = role::of_actions().map(|role| (role.id, role)).collect();
        let maps = scope_map::built_in().into_iter().chain(maps);
        snapshot.scope_maps = maps.map(|map| (map.name.clone(), map)).collect();
        for role in role::built_in().into_iter().chain(custom) {
            snapshot.roles.insert(role.id, role);
        }
        for principal in principals {
            // A map that is gone gives nothing.
            if let Some(map) = principal.scope_map.as_ref().and_then(|name| snapshot.scope_maps.get(name)) {
                let lines = map.assignments(principal.id, principal.created_at);
                snapshot.assignments.insert(principal.id, lines);
            }
            snapshot.by_name.insert(principal.name.as_str().to_owned(), principal.id);
            snapshot.principals.insert(principal.id, principal);
        }
        for mut assignment in assignments {
            // An assignment of a role that this version does not know grants nothing.
            if let Some(role) = snapshot.roles.get(&assignment.role_id) {
                assignment.role.clone_from(&role.name);
                snapshot.assignments.entry(assignment.principal).or_default().push(assignment);
            }
        }
        snapshot
    }

    /// A principal by name or by id.
    pub(crate) fn principal(&self, name_or_id: &str) -> Option<&Principal> {
        let id = self.by_name.get(name_or_id).copied().or_else(|| name_or_id.parse().ok())?;
        self.principals.get(&id)
    }

    /// The assignment that gives `permission` at `scope`, the one with the widest scope first: of `principal`, or
    /// of everybody.
    pub(crate) fn grant(
        &self,
        principal: PrincipalId,
        permission: Permission,
        scope: &Scope,
    ) -> Option<&Assignment> {
        let mut holders = self.holders(principal, permission);
        holders.find_map(|holder| self.grant_of(holder, permission, scope))
    }

    fn grant_of(&self, holder: PrincipalId, permission: Permission, scope: &Scope) -> Option<&Assignment> {
        self.assignments
            .get(&holder)?
            .iter()
            .filter(|assignment| assignment.covers(scope))
            .filter(|assignment| self.permits(assignment, permission))
            .min_by_key(|assignment| assignment.scope.as_str().len())
    }

    /// True when `principal` has `permission` at `scope` and everywhere below it.
    pub(crate) fn grants_within(
        &self,
        principal: PrincipalId,
        permission: Permission,
        scope: &Scope,
    ) -> bool {
        let mut assignments =
            self.holders(principal, permission).filter_map(|holder| self.assignments.get(&holder)).flatten();
        self.grant(principal, permission, scope).is_some()
            && assignments
                .any(|it| it.reach != Reach::Alone && it.scope.covers(scope) && self.permits(it, permission))
    }

    /// True when `principal` has `permission` anywhere below `scope`: enough to be shown a list
    /// that is then filtered item by item.
    pub(crate) fn grants_below(&self, principal: PrincipalId, permission: Permission, scope: &Scope) -> bool {
        let mut assignments =
            self.holders(principal, permission).filter_map(|holder| self.assignments.get(&holder)).flatten();
        assignments.any(|assignment| {
            (scope.covers(&assignment.scope) || assignment.covers(scope))
                && self.permits(assignment, permission)
        })
    }

    /// Where `principal` has `permission`, in no order.
    pub(crate) fn spans(&self, principal: PrincipalId, permission: Permission) -> Vec<Span> {
        let assignments =
            self.holders(principal, permission).filter_map(|holder| self.assignments.get(&holder)).flatten();
        let permitting = assignments.filter(|it| self.permits(it, permission));
        permitting.map(|it| Span { scope: it.scope.clone(), reach: it.reach }).collect()
    }

    /// Whose assignments count for `principal`: its own, and those of `anonymous`. Nobody gets less by signing in.
    fn holders(&self, principal: PrincipalId, permission: Permission) -> impl Iterator<Item = PrincipalId> {
        let is_known = self.principals.get(&principal).is_some_and(|principal| !principal.disabled);
        let everybody = self.by_name.get("anonymous").copied().filter(|id| *id != principal);
        let all = [Some(principal), everybody].into_iter().flatten();
        all.filter(move |holder| is_known && self.may_hold(*holder, permission))
    }

    fn permits(&self, assignment: &Assignment, permission: Permission) -> bool {
        let role = self.roles.get(&assignment.role_id).or_else(|| self.actions.get(&assignment.role_id));
        role.is_some_and(|role| role.permits(permission))
    }

    /// False for who is disabled, and for everybody beyond reading.
    fn may_hold(&self, principal: PrincipalId, permission: Permission) -> bool {
        self.principals.get(&principal).is_some_and(|principal| {
            !principal.disabled && (permission.is_of_anybody() || !principal.name.is_anonymous())
        })
    }
}
