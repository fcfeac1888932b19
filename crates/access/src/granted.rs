//! What a token is issued for, of what was asked.

use seaworthy_model::{PrincipalId, Scope};

use crate::{Identity, Permission, ResourceAccess, decision::Rights, snapshot::Snapshot};

/// The words of a repository's scope, and the rights of which one is enough to be granted the word. What a token is then
/// used for is decided by the right itself.
const WORDS: [(&str, &[Permission]); 5] = [
    ("pull", &[Permission::Pull]),
    ("push", &[Permission::Push]),
    ("delete", &[Permission::Delete]),
    ("metadata_read", &[Permission::MetadataRead]),
    ("metadata_write", &[Permission::MetadataWrite, Permission::QuarantineWrite]),
];

/// The part of one asked-for resource that the principal's roles give; `None` when it is nothing.
pub(crate) fn granted(
    snapshot: &Snapshot,
    principal: PrincipalId,
    asked: &ResourceAccess,
) -> Option<ResourceAccess> {
    let whole = || Some(ResourceAccess { actions: vec!["*".to_owned()], ..asked.clone() });
    if asked.is_exchange() {
        return whole();
    }
    if asked.kind == "registry" && asked.name == "catalog" {
        let root: Scope = "/repositories".parse().ok()?;
        return if snapshot.grants_below(principal, Permission::Catalog, &root) { whole() } else { None };
    }
    let repository = asked.name.parse().ok()?;
    let scope = Scope::repository(&repository);
    let all = asked.actions.iter().any(|action| action == "*");
    let wanted = |word: &str| all || asked.actions.iter().any(|action| action == word);
    let has = |permission: &Permission| snapshot.grant(principal, *permission, &scope).is_some();
    let actions: Vec<String> = WORDS
        .into_iter()
        .filter(|(word, rights)| wanted(word) && rights.iter().any(has))
        .map(|(word, _)| word.to_owned())
        .collect();
    (!actions.is_empty()).then(|| ResourceAccess { actions, ..asked.clone() })
}

impl Identity {
    /// What of `access` a token for this identity may hold: a token buys no more than it holds, and
    /// only a secret what may be exchanged.
    pub(crate) fn narrowed(&self, mut access: ResourceAccess) -> Option<ResourceAccess> {
        if access.is_exchange() {
            return self.has_secret().then_some(access);
        }
        if let Rights::Token(_, held) = &self.rights {
            access.actions.retain(|action| {
                held.iter().any(|held| {
                    held.kind == access.kind && held.name == access.name && held.actions.contains(action)
                })
            });
        }
        (!access.actions.is_empty()).then_some(access)
    }
}
