use std::sync::Arc;

use seaworthy_model::Scope;
use seaworthy_oci::RepoName;

use crate::{
    Access, AccessError, Identity, Permission,
    access::{by_roles, without_roles},
    snapshot::Snapshot,
};

/// What the roles said at one moment. A list asks it about each name on a page: asked one by one, each would cost a look
/// at the database that several servers share. What changes meanwhile holds for the next page.
#[derive(Clone, Debug)]
pub struct RolesNow {
    snapshot: Arc<Snapshot>,
}

impl Access {
    /// What the roles say now.
    pub async fn roles_now(&self) -> Result<RolesNow, AccessError> {
        Ok(RolesNow { snapshot: self.snapshot().await? })
    }
}

impl RolesNow {
    /// May `identity` do `permission` in `repository`?
    pub fn allow(&self, identity: &Identity, permission: Permission, repository: &RepoName) -> bool {
        let scope = Scope::repository(repository);
        match without_roles(identity, permission, &scope) {
            Ok(principal) => by_roles(&self.snapshot, identity, principal, (permission, &scope)).allowed,
            Err(decision) => decision.allowed,
        }
    }

    /// Does a catalog for `identity` show `repository`?
    pub fn show(&self, identity: &Identity, repository: &RepoName) -> bool {
        match identity.principal() {
            None => self.allow(identity, Permission::Catalog, repository),
            Some(id) => {
                self.snapshot.grant(id, Permission::Catalog, &Scope::repository(repository)).is_some()
            }
        }
    }
}
