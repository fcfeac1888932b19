use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::MapAction;

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {
        /// One verb on one kind of resource. The words are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Permission {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Permission {
            /// All permissions.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable word.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

permissions! {
    /// Read manifests, blobs and tags of a repository.
    Pull = "pull";
    /// Write blobs, manifests and tags of a repository.
    Push = "push";
    /// Delete manifests, tags and blobs of a repository.
    Delete = "delete";
    /// Read the attributes of repositories, manifests and tags.
    MetadataRead = "metadata/read";
    /// Lock and unlock repositories, manifests and tags.
    MetadataWrite = "metadata/write";
    /// Pull what is blocked or pending: the inspector's right.
    Quarantine = "quarantine/read";
    /// Let images out of quarantine, or say that they stay.
    QuarantineWrite = "quarantine/write";
    /// List the catalog.
    Catalog = "catalog/read";
    /// Read clearances, findings and inventories.
    ClearanceRead = "clearance/read";
    /// Read policies and exceptions.
    PolicyRead = "policy/read";
    /// Apply policies.
    PolicyWrite = "policy/write";
    /// Ask for an exception.
    ExceptionRequest = "exception/request";
    /// Approve or revoke an exception somebody else asked for.
    ExceptionApprove = "exception/approve";
    /// Import advisories.
    AdvisoryImport = "advisory/import";
    /// Read principals, roles and assignments.
    AccessRead = "access/read";
    /// Create, disable and delete principals, credentials and role assignments.
    AccessWrite = "access/write";
    /// Read and verify the ledger.
    LedgerRead = "ledger/read";
    /// Invite hosts into the fleet, and remove them.
    HostWrite = "host/write";
    /// Read alerts, their targets, and what was not delivered.
    AlertRead = "alert/read";
    /// Create, test and delete alert targets; send again what was given up.
    AlertWrite = "alert/write";
    /// Let an alert target lie in a private network.
    AlertNetwork = "alert/network";
}

impl Permission {
    /// True for what is done with repositories through the registry.
    pub(crate) const fn is_of_registry(self) -> bool {
        self.is_of_anybody()
            || matches!(
                self,
                Self::Push
                    | Self::Delete
                    | Self::MetadataWrite
                    | Self::Quarantine
                    | Self::QuarantineWrite
                    | Self::ClearanceRead
            )
    }

    /// True for what may be given to everybody.
    pub(crate) const fn is_of_anybody(self) -> bool {
        matches!(self, Self::Pull | Self::MetadataRead | Self::Catalog)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(word: &str) -> Result<Self, UnknownPermission> {
        let found = Self::ALL.iter().find(|permission| permission.word() == word);
        found.copied().ok_or_else(|| UnknownPermission { word: word.chars().take(40).collect() })
    }
}

/// A word that names no permission.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{word}` is not a permission")]
pub struct UnknownPermission {
    /// What was given, shortened.
    pub word: String,
}

/// A role definition's id: Azure's for the built-in ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleId(Uuid);

impl RoleId {
    /// What a line of a scope map is to decisions: a role of one permission.
    pub(crate) const fn of_action(action: MapAction) -> Self {
        Self(Uuid::from_u128(action as u128))
    }

    /// A new id for a custom role.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The 16 bytes, as stored in SQL.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The id from its stored bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }
}

impl fmt::Display for RoleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A named permission set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its id.
    pub id: RoleId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it permits.
    pub permissions: Vec<Permission>,
    /// True for the ones that ship.
    pub built_in: bool,
}

impl Role {
    /// True when the role permits `permission`.
    pub fn permits(&self, permission: Permission) -> bool {
        self.permissions.contains(&permission)
    }
}

/// The roles that the lines of scope maps stand for.
pub(crate) fn of_actions() -> impl Iterator<Item = Role> {
    MapAction::ALL.iter().map(|action| Role {
        id: RoleId::of_action(*action),
        name: action.word().to_owned(),
        description: String::new(),
        permissions: vec![action.permission()],
        built_in: true,
    })
}

/// What Contributor may do.
const CONTRIBUTOR: &[Permission] = &[
    Permission::Pull,
    Permission::Push,
    Permission::Delete,
    Permission::MetadataRead,
    Permission::MetadataWrite,
    Permission::Catalog,
    Permission::ClearanceRead,
    Permission::PolicyRead,
    Permission::PolicyWrite,
    Permission::ExceptionRequest,
    Permission::AdvisoryImport,
    Permission::AccessRead,
    Permission::LedgerRead,
    Permission::HostWrite,
    Permission::AlertRead,
    Permission::AlertWrite,
];

/// A built-in role: its id, its name, what it is for, and what it permits.
type Definition<'d> = (u128, &'d str, &'d str, &'d [Permission]);

/// Azure's roles of a registry. Those of repositories never list the catalog.
const OF_REGISTRY: &[Definition<'_>] = &[
    (
        0x7f95_1dda_4ed3_4680_a7ca_43fe_172d_538d,
        "AcrPull",
        "pull images",
        &[Permission::Pull, Permission::MetadataRead, Permission::ClearanceRead],
    ),
    (
        0x8311_e382_0749_4cb8_b61a_304f_252e_45ec,
        "AcrPush",
        "push and pull images",
        &[
            Permission::Pull,
            Permission::Push,
            Permission::MetadataRead,
            Permission::ClearanceRead,
            Permission::ExceptionRequest,
        ],
    ),
    (0xc2f4_ef07_c644_48eb_af81_4b1b_4947_fb11, "AcrDelete", "delete images", &[Permission::Delete]),
    (
        0xcdda_3590_29a3_44f6_95f2_9f98_0659_eb04,
        "AcrQuarantineReader",
        "pull blocked and pending images for inspection",
        &[Permission::Pull, Permission::MetadataRead, Permission::Quarantine, Permission::ClearanceRead],
    ),
    (
        0xc8d4_ff99_41c3_41a8_9f60_21df_dad5_9608,
        "AcrQuarantineWriter",
        "pull blocked and pending images, and let them out of quarantine",
        &[
            Permission::Pull,
            Permission::MetadataRead,
            Permission::Quarantine,
            Permission::QuarantineWrite,
            Permission::ClearanceRead,
        ],
    ),
    (
        0xb93a_a761_3e63_49ed_ac28_beff_a264_f7ac,
        "Container Registry Repository Reader",
        "pull images; the catalog is not listed",
        &[Permission::Pull, Permission::MetadataRead, Permission::ClearanceRead],
    ),
    (
        0x2a1e_307c_b015_4ebd_883e_5b76_98a0_7328,
        "Container Registry Repository Writer",
        "push, pull and lock images; the catalog is not listed",
        &[
            Permission::Pull,
            Permission::Push,
            Permission::MetadataRead,
            Permission::MetadataWrite,
            Permission::ClearanceRead,
            Permission::ExceptionRequest,
        ],
    ),
    (
        0x2efd_daa5_3f1f_4df3_97df_af3f_1381_8f4c,
        "Container Registry Repository Contributor",
        "push, pull, lock and delete images; the catalog is not listed",
        &[
            Permission::Pull,
            Permission::Push,
            Permission::Delete,
            Permission::MetadataRead,
            Permission::MetadataWrite,
            Permission::ClearanceRead,
            Permission::ExceptionRequest,
        ],
    ),
    (
        0xbfdb_9389_c9a5_478a_bb2f_ba9c_a092_c3c7,
        "Container Registry Repository Catalog Lister",
        "list the catalog",
        &[Permission::Catalog],
    ),
];

/// The built-in roles under Azure's names and ids (Azure built-in roles, "Containers" and
/// "General"). Owner does not include [`Permission::Quarantine`]: seeing blocked images is
/// the inspector's right alone. Contributor may send alerts to the internet; letting the server
/// send into networks behind its walls is the owner's decision.
pub(crate) fn built_in() -> Vec<Role> {
    use Permission as P;
    let reader = [
        P::Pull,
        P::MetadataRead,
        P::Catalog,
        P::ClearanceRead,
        P::PolicyRead,
        P::AccessRead,
        P::LedgerRead,
        P::AlertRead,
    ];
    let owner: Vec<P> = P::ALL.iter().copied().filter(|permission| *permission != P::Quarantine).collect();
    let general: [Definition<'_>; 3] = [
        (0xacdd_72a7_3385_48ef_bd42_f606_fba8_1ae7, "Reader", "see everything", &reader),
        (
            0xb249_88ac_6180_42a0_ab88_20f7_382d_d24c,
            "Contributor",
            "do everything but grant access",
            CONTRIBUTOR,
        ),
        (
            0x8e3a_f657_a8ff_443c_a75c_2fe8_c4bc_b635,
            "Owner",
            "do everything but pull what is blocked",
            &owner,
        ),
    ];
    OF_REGISTRY
        .iter()
        .copied()
        .chain(general)
        .map(|(id, name, description, permissions)| Role {
            id: RoleId(Uuid::from_u128(id)),
            name: name.to_owned(),
            description: description.to_owned(),
            permissions: permissions.to_vec(),
            built_in: true,
        })
        .collect()
}
