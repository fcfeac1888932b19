use std::fmt;

use seaworthy_model::{Actor, LeafId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{LedgerError, limit};

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// What was done. The words are stable; a new act gets a new word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Action {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Action {
            /// All acts, for help and completions.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

actions! {
    /// A manifest was pushed, and its tag set if it had one.
    ManifestPush = "manifest.push";
    /// A manifest was pushed into quarantine.
    ManifestQuarantine = "manifest.quarantine";
    /// A manifest was let out of quarantine.
    ManifestRelease = "manifest.release";
    /// A manifest was found to stay in quarantine.
    ManifestReject = "manifest.reject";
    /// A manifest was deleted.
    ManifestDelete = "manifest.delete";
    /// A manifest that nothing led to was collected.
    ManifestCollect = "manifest.collect";
    /// A deleted manifest was restored.
    ManifestRestore = "manifest.restore";
    /// A deleted tag was restored.
    TagRestore = "tag.restore";
    /// A tag was removed by a rule of its repository.
    TagExpire = "tag.expire";
    /// Rules were set of what a repository keeps.
    RetentionSet = "retention.set";
    /// Rules of what a repository keeps were removed.
    RetentionRemove = "retention.remove";
    /// Blobs' files and rows were brought to agree.
    RegistryRepair = "registry.repair";
    /// A tag was deleted.
    TagDelete = "tag.delete";
    /// A repository's link to a blob was deleted.
    BlobDelete = "blob.delete";
    /// A repository was deleted, with all its manifests and tags.
    RepositoryDelete = "repository.delete";
    /// A repository, a manifest or a tag was locked or unlocked.
    LockChange = "lock.change";
    /// An image was copied to another repository because its clearance there allows it.
    ImagePromote = "image.promote";
    /// Rules were set for the repositories below a prefix.
    RepositoryRuleSet = "repository.rule.set";
    /// The rules of a prefix were removed.
    RepositoryRuleRemove = "repository.rule.remove";
    /// A prefix was made a cache of another registry, or its settings were changed.
    CacheSet = "cache.set";
    /// A prefix is no cache any more.
    CacheRemove = "cache.remove";
    /// A manifest came from the upstream of a cache.
    ManifestCache = "manifest.cache";
    /// A prefix is copied to another registry, or how it is was changed.
    ReplicationSet = "replication.set";
    /// A prefix is not copied to another registry any more.
    ReplicationRemove = "replication.remove";
    /// Everything of a replication is looked at again.
    ReplicationRun = "replication.run";
    /// An image was copied to another registry.
    ManifestReplicate = "manifest.replicate";
    /// A tag that is gone was deleted at another registry.
    ReplicaDelete = "replica.delete";
    /// A pull was refused.
    PullRefuse = "pull.refuse";
    /// Repeats of a refused pull within the minute, counted.
    PullRefuseRepeat = "pull.refuse.repeat";
    /// A verdict was recorded.
    ClearanceDecide = "clearance.decide";
    /// A blocked image runs.
    ClearanceViolation = "clearance.violation";
    /// A policy became active.
    PolicyApply = "policy.apply";
    /// An exception was requested.
    ExceptionRequest = "exception.request";
    /// An exception was approved.
    ExceptionApprove = "exception.approve";
    /// An exception was revoked.
    ExceptionRevoke = "exception.revoke";
    /// Advisories were imported.
    FeedImport = "feed.import";
    /// A principal was created.
    PrincipalCreate = "principal.create";
    /// A principal was disabled.
    PrincipalDisable = "principal.disable";
    /// A principal that was disabled was enabled.
    PrincipalEnable = "principal.enable";
    /// A scope map was set.
    ScopeMapSet = "scope-map.set";
    /// A scope map was deleted.
    ScopeMapDelete = "scope-map.delete";
    /// A token was given another scope map.
    TokenMap = "token.scope-map";
    /// A principal was deleted.
    PrincipalDelete = "principal.delete";
    /// A credential was added.
    CredentialAdd = "credential.add";
    /// A credential was removed.
    CredentialRemove = "credential.remove";
    /// A one-time sign-in link was issued.
    LinkIssue = "link.issue";
    /// A person set a password.
    PasswordSet = "password.set";
    /// A session began.
    SessionBegin = "session.begin";
    /// A session was ended by its person.
    SessionEnd = "session.end";
    /// A sign-in was refused.
    SessionRefuse = "session.refuse";
    /// Repeats of a refused sign-in within the minute, counted.
    SessionRefuseRepeat = "session.refuse.repeat";
    /// A role was assigned.
    RoleAssign = "role.assign";
    /// A role was unassigned.
    RoleUnassign = "role.unassign";
    /// A custom role was defined.
    RoleDefine = "role.define";
    /// A token was made that lets one host join.
    HostInvite = "host.invite";
    /// A host joined the fleet.
    HostJoin = "host.join";
    /// A host was removed from the fleet.
    HostRemove = "host.remove";
    /// An alert target was created.
    AlertTargetCreate = "alert.target.create";
    /// An alert target was deleted, with the messages that waited for it.
    AlertTargetDelete = "alert.target.delete";
    /// A test was sent to an alert target: before, and how it went.
    AlertTargetTest = "alert.target.test";
    /// A message that was given up is sent again.
    AlertResend = "alert.resend";
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One act, to be recorded with the change it made.
#[derive(Clone, Debug)]
pub struct Act {
    /// What was done.
    pub action: Action,
    /// To what: `repositories/prod/web@sha256:…`, `policies/prod`, `principals/ci`, …
    pub object: String,
    /// How it ended, and what a reader will ask about. Keys are ASCII, numbers are integers.
    pub details: Value,
}

impl Act {
    /// An act without details.
    pub fn new(action: Action, object: impl Into<String>) -> Self {
        Self { action, object: object.into(), details: Value::Null }
    }

    /// Adds details.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}

/// One record as the ledger keeps it: the leaf is its RFC 8785 JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Leaf format, 1.
    pub v: u32,
    /// Its id, in time order.
    pub id: LeafId,
    /// When, by the server's clock.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// To what.
    pub object: String,
    /// More.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl Record {
    /// The canonical leaf: sorted keys, no spaces (RFC 8785; our keys are ASCII and our numbers
    /// integers, for which sorting by bytes and serde's number text are the canonical ones).
    pub(crate) fn to_leaf(&self) -> Result<String, LedgerError> {
        // `Value` keeps object keys sorted.
        let leaf = serde_json::to_value(self).map(|value| value.to_string()).unwrap_or_default();
        if leaf.is_empty() || leaf.len() > limit::LEAF_BYTES {
            return Err(LedgerError::LeafTooLong { action: self.action, bytes: leaf.len() });
        }
        Ok(leaf)
    }
}
