use std::collections::HashMap;

use seaworthy_model::{PrincipalId, RoleAssignmentId, Scope, Timestamp};
use serde::Serialize;

use crate::{Permission, Principal, Role, RoleId, role};

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
    /// Since when.
    pub created_at: Timestamp,
}

/// Everything a decision needs, in memory; replaced as a whole when anything changes.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) revision: i64,
    pub(crate) principals: HashMap<PrincipalId, Principal>,
    pub(crate) by_name: HashMap<String, PrincipalId>,
    pub(crate) roles: HashMap<RoleId, Role>,
    pub(crate) assignments: HashMap<PrincipalId, Vec<Assignment>>,
}

impl Snapshot {
    pub(crate) fn new(
        revision: i64,
        principals: Vec<Principal>,
        custom: Vec<Role>,
        assignments: Vec<Assignment>,
    ) -> Self {
        let mut snapshot = Self { revision, ..Self::default() };
        for role in role::built_in().into_iter().chain(custom) {
            snapshot.roles.insert(role.id, role);
        }
        for principal in principals {
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

    /// The assignment that gives `permission` at `scope`, the one with the widest scope first.
    pub(crate) fn grant(
        &self,
        principal: PrincipalId,
        permission: Permission,
        scope: &Scope,
    ) -> Option<&Assignment> {
        if !self.may_hold(principal, permission) {
            return None;
        }
        self.assignments
            .get(&principal)?
            .iter()
            .filter(|assignment| assignment.scope.covers(scope))
            .filter(|assignment| {
                self.roles.get(&assignment.role_id).is_some_and(|role| role.permits(permission))
            })
            .min_by_key(|assignment| assignment.scope.as_str().len())
    }

    /// True when `principal` has `permission` anywhere below `scope`: enough to be shown a list
    /// that is then filtered item by item.
    pub(crate) fn grants_below(&self, principal: PrincipalId, permission: Permission, scope: &Scope) -> bool {
        self.assignments.get(&principal).is_some_and(|assignments| {
            assignments.iter().any(|assignment| {
                (scope.covers(&assignment.scope) || assignment.scope.covers(scope))
                    && self.roles.get(&assignment.role_id).is_some_and(|role| role.permits(permission))
            })
        }) && self.may_hold(principal, permission)
    }

    /// False for who is disabled, and for everybody beyond reading.
    fn may_hold(&self, principal: PrincipalId, permission: Permission) -> bool {
        self.principals.get(&principal).is_some_and(|principal| {
            !principal.disabled && (permission.is_of_anybody() || !principal.name.is_anonymous())
        })
    }
}
