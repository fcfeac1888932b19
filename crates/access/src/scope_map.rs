//! Scope maps: what tokens may do, in the words of Azure's registry.
//!
//! A token is a principal without roles: it may do what its one scope map says, repository by repository, and
//! nothing else. Repositories need not exist yet, and `dev` is `dev` alone: what lies below it is `dev/*`.

use std::{fmt, str::FromStr};

use seaworthy_ledger::{Act, Action};
use seaworthy_model::{Actor, PrincipalId, RoleAssignmentId, Scope, Timestamp};
use seaworthy_oci::RepoName;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Access, AccessError, Assignment, NewPrincipal, Permission, PrincipalKind, PrincipalName, RoleId,
    access::Endowment, db, limit, snapshot::Reach,
};

/// What a scope map allows in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MapAction {
    /// Pull.
    ContentRead,
    /// Push.
    ContentWrite,
    /// Delete.
    ContentDelete,
    /// Read attributes, list tags and manifests.
    MetadataRead,
    /// Lock and unlock.
    MetadataWrite,
}

impl MapAction {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::ContentRead,
        Self::ContentWrite,
        Self::ContentDelete,
        Self::MetadataRead,
        Self::MetadataWrite,
    ];

    /// The stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ContentRead => "content/read",
            Self::ContentWrite => "content/write",
            Self::ContentDelete => "content/delete",
            Self::MetadataRead => "metadata/read",
            Self::MetadataWrite => "metadata/write",
        }
    }

    /// What it permits.
    pub const fn permission(self) -> Permission {
        match self {
            Self::ContentRead => Permission::Pull,
            Self::ContentWrite => Permission::Push,
            Self::ContentDelete => Permission::Delete,
            Self::MetadataRead => Permission::MetadataRead,
            Self::MetadataWrite => Permission::MetadataWrite,
        }
    }
}

/// One line of a scope map: `repositories/dev/web/content/read`, or with `*` for all repositories, or for all
/// that lie below one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MapEntry {
    /// A repository; `None`: all.
    repository: Option<RepoName>,
    /// What lies below it, not itself.
    below: bool,
    action: MapAction,
}

impl MapEntry {
    /// What it allows.
    pub const fn action(&self) -> MapAction {
        self.action
    }

    /// Where.
    fn scope(&self) -> Result<Scope, AccessError> {
        Ok(match &self.repository {
            Some(repository) => Scope::repository(repository),
            None => "/repositories".parse()?,
        })
    }

    const fn reach(&self) -> Reach {
        if self.below { Reach::Below } else { Reach::Alone }
    }
}

impl fmt::Display for MapEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = self.action.word();
        match (&self.repository, self.below) {
            (None, _) => write!(f, "repositories/*/{action}"),
            (Some(repository), true) => write!(f, "repositories/{repository}/*/{action}"),
            (Some(repository), false) => write!(f, "repositories/{repository}/{action}"),
        }
    }
}

impl FromStr for MapEntry {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let wrong = || AccessError::MapEntry { entry: text.chars().take(100).collect() };
        let rest = text.strip_prefix("repositories/").ok_or_else(wrong)?;
        let found = MapAction::ALL
            .iter()
            .find_map(|action| Some((rest.strip_suffix(action.word())?.strip_suffix('/')?, *action)));
        let (name, action) = found.ok_or_else(wrong)?;
        if name == "*" {
            return Ok(Self { repository: None, below: true, action });
        }
        let below = name.strip_suffix("/*");
        let repository = below.unwrap_or(name).parse().map_err(|_| wrong())?;
        Ok(Self { repository: Some(repository), below: below.is_some(), action })
    }
}

impl TryFrom<String> for MapEntry {
    type Error = AccessError;

    fn try_from(text: String) -> Result<Self, AccessError> {
        text.parse()
    }
}

impl From<MapEntry> for String {
    fn from(entry: MapEntry) -> Self {
        entry.to_string()
    }
}

/// What the tokens that have it may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScopeMap {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Line by line.
    pub actions: Vec<MapEntry>,
    /// True for the ones that ship.
    pub built_in: bool,
}

impl ScopeMap {
    /// Its lines as assignments of a token.
    pub(crate) fn assignments(&self, token: PrincipalId, since: Timestamp) -> Vec<Assignment> {
        let assignment = |entry: &MapEntry| {
            Some(Assignment {
                // It is stored nowhere.
                id: RoleAssignmentId::from_u128(0),
                principal: token,
                role: entry.action.word().to_owned(),
                role_id: RoleId::of_action(entry.action),
                scope: entry.scope().ok()?,
                reach: entry.reach(),
                created_at: since,
            })
        };
        self.actions.iter().filter_map(assignment).collect()
    }
}

/// The scope maps that ship, under Azure's names.
pub(crate) fn built_in() -> Vec<ScopeMap> {
    use MapAction as A;
    let table: [(&str, &str, &[A]); 5] = [
        ("_repositories_admin", "do everything in every repository", A::ALL),
        ("_repositories_pull", "pull from every repository", &[A::ContentRead]),
        (
            "_repositories_pull_metadata_read",
            "pull from every repository, and list what is there",
            &[A::ContentRead, A::MetadataRead],
        ),
        ("_repositories_push", "push to and pull from every repository", &[A::ContentRead, A::ContentWrite]),
        (
            "_repositories_push_metadata_write",
            "push to and pull from every repository, list what is there, and lock it",
            &[A::ContentRead, A::ContentWrite, A::MetadataRead, A::MetadataWrite],
        ),
    ];
    let map = |(name, description, actions): (&str, &str, &[A])| ScopeMap {
        name: name.to_owned(),
        description: description.to_owned(),
        actions: actions
            .iter()
            .map(|action| MapEntry { repository: None, below: true, action: *action })
            .collect(),
        built_in: true,
    };
    table.into_iter().map(map).collect()
}

impl Access {
    /// All scope maps, by name.
    pub async fn scope_maps(&self) -> Result<Vec<ScopeMap>, AccessError> {
        Ok(self.snapshot().await?.scope_maps.values().cloned().collect())
    }

    /// One scope map.
    pub async fn scope_map(&self, name: &str) -> Result<ScopeMap, AccessError> {
        let found = self.snapshot().await?.scope_maps.get(name).cloned();
        found.ok_or_else(|| AccessError::Unknown { kind: "scope map", name: name.chars().take(80).collect() })
    }

    /// Creates a token of a scope map, with its first secret, which may end.
    pub async fn create_token(
        &self,
        actor: &Actor,
        name: PrincipalName,
        scope_map: &str,
        days: Option<u32>,
    ) -> Result<NewPrincipal, AccessError> {
        if name.is_operator() || name.is_anonymous() {
            return Err(AccessError::BadName { name: name.to_string() });
        }
        let map = self.scope_map(scope_map).await?;
        let ends = days.map(|days| self.in_days(days)).transpose()?;
        self.create(actor, name, Endowment { map: Some(map), ends, ..Endowment::of(PrincipalKind::Token) })
            .await
    }

    /// Sets a scope map, instead of the one of this name. Its tokens have what it says from their next request
    /// on.
    pub async fn set_scope_map(
        &self,
        actor: &Actor,
        name: PrincipalName,
        description: &str,
        mut actions: Vec<MapEntry>,
    ) -> Result<ScopeMap, AccessError> {
        // Those are the product's.
        if name.as_str().starts_with('_') {
            return Err(AccessError::Exists { kind: "built-in scope map", name: name.to_string() });
        }
        actions.sort();
        actions.dedup();
        if actions.is_empty() || actions.len() > limit::MAP_ENTRIES {
            return Err(AccessError::MapLength { length: actions.len(), limit: limit::MAP_ENTRIES });
        }
        let description = description.chars().take(500).collect();
        let map = ScopeMap { name: name.to_string(), description, actions, built_in: false };
        seaworthy_ledger::write(self.db(), actor, map.clone(), |map, tx| {
            Box::pin(async move {
                db::scope_maps::upsert(tx, map).await?;
                // Counted in the transaction: of two at the same time one is too many.
                if db::scope_maps::count(tx).await? > limit::SCOPE_MAPS {
                    return Err(AccessError::TooMany {
                        name: "this server".into(),
                        kind: "scope maps",
                        limit: limit::SCOPE_MAPS,
                    });
                }
                db::bump(tx, None).await?;
                let act = Act::new(Action::ScopeMapSet, format!("scope-maps/{}", map.name))
                    .details(json!({"actions": map.actions}));
                Ok::<_, AccessError>(((), vec![act]))
            })
        })
        .await?;
        self.reload().await?;
        Ok(map)
    }

    /// Deletes a scope map that no token has.
    pub async fn delete_scope_map(&self, actor: &Actor, name: &str) -> Result<(), AccessError> {
        let map = self.scope_map(name).await?;
        if map.built_in {
            return Err(AccessError::Exists { kind: "built-in scope map", name: map.name });
        }
        seaworthy_ledger::write(self.db(), actor, map.name, |name, tx| {
            Box::pin(async move {
                if let Some(token) = db::scope_maps::holder(tx, name).await? {
                    return Err(AccessError::InUse { kind: "scope map", name: name.clone(), by: token });
                }
                if !db::scope_maps::delete(tx, name).await? {
                    return Err(AccessError::Unknown { kind: "scope map", name: name.clone() });
                }
                db::bump(tx, None).await?;
                Ok(((), vec![Act::new(Action::ScopeMapDelete, format!("scope-maps/{name}"))]))
            })
        })
        .await?;
        self.reload().await.map(|_| ())
    }

    /// Gives a token another scope map; effective at its next request.
    pub async fn set_token_map(&self, actor: &Actor, token: &str, map: &str) -> Result<(), AccessError> {
        let (principal, map) = (self.principal(token).await?, self.scope_map(map).await?);
        if principal.scope_map.is_none() {
            return Err(AccessError::NoToken { name: principal.name.to_string() });
        }
        seaworthy_ledger::write(self.db(), actor, (principal, map.name), |(principal, map), tx| {
            Box::pin(async move {
                // It may be deleted meanwhile; those that ship are not.
                if !map.starts_with('_') && !db::scope_maps::exists(tx, map).await? {
                    return Err(AccessError::Unknown { kind: "scope map", name: map.clone() });
                }
                db::scope_maps::give(tx, principal.id, map).await?;
                db::bump(tx, Some(principal.id)).await?;
                let act = Act::new(Action::TokenMap, format!("principals/{}", principal.name));
                Ok::<_, AccessError>(((), vec![act.details(json!({"scope_map": map}))]))
            })
        })
        .await?;
        self.reload().await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_azures_words() {
        for text in [
            "repositories/dev/content/read",
            "repositories/dev/web/content/write",
            "repositories/dev/*/content/delete",
            "repositories/*/metadata/read",
            "repositories/content/read/metadata/write",
        ] {
            let entry: MapEntry = text.parse().expect(text);
            assert_eq!(entry.to_string(), text);
        }
        for text in [
            "",
            "repositories/content/read",
            "repositories//content/read",
            "repositories/Dev/content/read",
            "repositories/dev/content",
            "repositories/dev/content/execute",
            "repositories/*dev/content/read",
            "repositories/de*/content/read",
            "repositories/*/*/content/read",
            "dev/content/read",
            "registry/catalog/content/read",
        ] {
            assert!(text.parse::<MapEntry>().is_err(), "{text}");
        }
    }
}
