//! Who has which role: given and taken back; and the roles that are defined here.

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, PrincipalId, RoleAssignmentId, Scope, Timestamp};
use serde_json::json;

use crate::{
    Access, AccessError, Assignment, Permission, PrincipalName, Role, RoleId, db, limit, snapshot::Reach,
};

/// Of `role` to `principal`, as yet unwritten.
pub(crate) fn new(principal: PrincipalId, role: &Role, scope: Scope, created_at: Timestamp) -> Assignment {
    Assignment {
        id: RoleAssignmentId::generate(),
        principal,
        role: role.name.clone(),
        role_id: role.id,
        scope,
        reach: Reach::Within,
        created_at,
    }
}

/// What the ledger keeps of it.
pub(crate) fn act(assignment: &Assignment, name: &str) -> Act {
    Act::new(Action::RoleAssign, format!("principals/{name}"))
        .details(json!({"role": assignment.role, "scope": assignment.scope}))
}

impl Access {
    /// Assigns a role. Assigning it again changes nothing. There are at most [`limit::ASSIGNMENTS`] of one principal.
    /// Its tokens and sessions go on: none does more than it did.
    pub async fn assign(
        &self,
        actor: &Actor,
        who: &str,
        role: &str,
        scope: Scope,
    ) -> Result<Assignment, AccessError> {
        let principal = self.principal(who).await?;
        if principal.scope_map.is_some() {
            return Err(AccessError::HasMap { name: principal.name.to_string() });
        }
        let role = self.role(role).await?;
        let assignment = new(principal.id, &role, scope, self.inner.clock.now());
        let context = (assignment.clone(), principal.name.to_string());
        seaworthy_ledger::write(&self.inner.db, actor, context, |(assignment, name), tx| {
            Box::pin(async move {
                if !db::insert_assignment(tx, assignment).await? {
                    return Ok::<_, AccessError>(((), vec![]));
                }
                // Counted in the transaction: of two at the same time one is too many.
                if db::count_assignments(tx, assignment.principal).await? > limit::ASSIGNMENTS {
                    return Err(AccessError::TooMany {
                        name: name.clone(),
                        kind: "role assignments",
                        limit: limit::ASSIGNMENTS,
                    });
                }
                db::bump(tx, None).await?;
                Ok(((), vec![act(assignment, name)]))
            })
        })
        .await?;
        self.reload().await?;
        Ok(assignment)
    }

    /// Takes a role assignment back; effective at the principal's next request.
    pub async fn unassign(
        &self,
        actor: &Actor,
        who: &str,
        role: &str,
        scope: &Scope,
    ) -> Result<(), AccessError> {
        let principal = self.principal(who).await?;
        let role = self.role(role).await?;
        let context = (principal, role, scope.clone());
        seaworthy_ledger::write(&self.inner.db, actor, context, |(principal, role, scope), tx| {
            Box::pin(async move {
                if !db::delete_assignment(tx, principal.id, role.id, scope.as_str()).await? {
                    let name = format!("{} {} {scope}", principal.name, role.name);
                    return Err(AccessError::Unknown { kind: "role assignment", name });
                }
                db::bump(tx, Some(principal.id)).await?;
                let act = Act::new(Action::RoleUnassign, format!("principals/{}", principal.name))
                    .details(json!({"role": role.name, "scope": scope}));
                Ok(((), vec![act]))
            })
        })
        .await?;
        self.reload().await.map(|_| ())
    }

    /// Defines or redefines a custom role. A built-in name is refused. A role is found by its name in any case, and keeps
    /// the one that it has.
    pub async fn define_role(
        &self,
        actor: &Actor,
        name: PrincipalName,
        description: &str,
        permissions: Vec<Permission>,
    ) -> Result<Role, AccessError> {
        if self.role(name.as_str()).await.is_ok_and(|role| role.built_in) {
            return Err(AccessError::Exists { kind: "built-in role", name: name.to_string() });
        }
        let description = description.chars().take(500).collect();
        let wanted = Role {
            id: RoleId::generate(),
            name: name.to_string(),
            description,
            permissions,
            built_in: false,
        };
        let role = seaworthy_ledger::write(&self.inner.db, actor, wanted, |wanted, tx| {
            Box::pin(async move {
                // Looked for in the transaction: two may define it at the same time.
                let present = db::custom_roles(tx).await?;
                let present = present.into_iter().find(|(_, name)| name.eq_ignore_ascii_case(&wanted.name));
                let (id, name) = present.unwrap_or_else(|| (wanted.id, wanted.name.clone()));
                let role = Role { id, name, ..wanted.clone() };
                db::upsert_role(tx, &role).await?;
                // Counted in the transaction, too: one of the two is too many.
                if db::count_roles(tx).await? > limit::ROLES {
                    return Err(AccessError::TooMany {
                        name: "this server".into(),
                        kind: "roles",
                        limit: limit::ROLES,
                    });
                }
                db::bump(tx, None).await?;
                let act = Act::new(Action::RoleDefine, format!("roles/{}", role.name))
                    .details(json!({"permissions": role.permissions}));
                Ok::<_, AccessError>((role, vec![act]))
            })
        })
        .await?;
        self.reload().await?;
        Ok(role)
    }
}
