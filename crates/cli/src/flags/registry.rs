//! Flags of images, and of what the registry keeps.

use clap::{Args, Subcommand};

use super::{CacheVerb, ImageList, ReplicationVerb, RulesVerb};

/// Verbs of `image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// List images
    List(ImageList),
    /// What is known about one: digests, platforms, layers, who pushed it, verdicts, findings
    #[command(after_help = "Example: seaworthy image show prod/web:1")]
    Show {
        /// REPOSITORY:TAG or REPOSITORY@DIGEST
        reference: String,
    },
    /// Copy an image to another repository, if its clearance there allows it
    #[command(
        after_help = "The digest stays, and what refers to it (signatures, SBOMs) goes along. Without a tag the copy gets that of
SRC; of an image named by digest it gets none.
Examples:
  seaworthy image promote dev/app@sha256:9c1e... prod/app:1.4
  seaworthy image promote dev/app:1.4 prod/app"
    )]
    Promote {
        /// REPOSITORY:TAG or REPOSITORY@DIGEST
        source: String,
        /// REPOSITORY or REPOSITORY:TAG
        destination: String,
        #[command(flatten)]
        copy: CopyFlags,
    },
    /// Write images to an OCI layout: an archive or a folder, for a machine that this one does not reach
    #[command(
        after_help = "All platforms of each image, and what refers to it (signatures, SBOMs, attestations). What the registry does not give
out (blocked, pending, in quarantine) is not exported. docker, podman, skopeo and containerd read the archive.
Examples:
  seaworthy image export prod/web:1 prod/db:7 --to web.tar
  seaworthy image export prod/web@sha256:9c1e… --to oci:./layout --platform linux/arm64
  seaworthy image export prod/web:1 --to - | ssh host docker load"
    )]
    Export(ExportFlags),
    /// Copy an image from another registry through the cache that answers for it, or images from an OCI layout
    #[command(
        after_help = "From another registry all of it is fetched, and copied if its clearance there allows it. A layout is pushed as it is, and judged as
everything that is pushed: each image goes where its name says, or to DESTINATION. The digests stay.
Examples:
  seaworthy image import docker.io/library/debian:12 base/debian:12
  seaworthy image import hub/library/debian@sha256:9c1e… base/debian
  seaworthy image import web.tar --dry-run
  seaworthy image import oci:./layout --below air
  seaworthy image import oci-archive:web.tar:latest prod/web:1"
    )]
    Import {
        /// HOST/REPOSITORY:TAG, what a cache here calls it, FILE, oci-archive:FILE[:NAME] or oci:DIR[:NAME]
        source: String,
        /// REPOSITORY or REPOSITORY:TAG; without it each image of a layout goes where its name says
        destination: Option<String>,
        #[command(flatten)]
        copy: CopyFlags,
        /// Of layouts alone.
        #[command(flatten)]
        layout: LayoutFlags,
    },
    /// Let an image out of quarantine, with all images of an index
    #[command(after_help = "`registry rules set PREFIX --quarantine` hides what is pushed there until then.
Example: seaworthy image release prod/web@sha256:9c1e… --details 'scanned by hand'")]
    Release {
        /// REPOSITORY:TAG or REPOSITORY@DIGEST
        reference: String,
        /// Why
        #[arg(long, default_value = "")]
        details: String,
    },
    /// Say that an image stays in quarantine
    Reject {
        /// REPOSITORY:TAG or REPOSITORY@DIGEST
        reference: String,
        /// Why
        #[arg(long, default_value = "")]
        details: String,
    },
    /// Forbid changes of a repository, a tag or a manifest, whoever asks
    #[command(
        after_help = "A tag, its manifest and their repository have locks of their own. With no flag it is --write and --delete.
`seaworthy image show prod/web:1` shows the locks of an image.
Examples:
  seaworthy image lock prod/web:1
  seaworthy image lock prod/web@sha256:9c1e… --delete
  seaworthy image lock prod/web --read"
    )]
    Lock(LockFlags),
    /// Take locks away
    #[command(after_help = "With no flag it is --write and --delete.
Examples:
  seaworthy image unlock prod/web:1
  seaworthy image unlock prod/web --read")]
    Unlock(LockFlags),
    /// Delete a tag, or a manifest by digest with all its tags
    #[command(
        visible_alias = "remove",
        after_help = "What was deleted can be restored for some days: seaworthy image restore prod/web:1"
    )]
    Delete {
        /// REPOSITORY:TAG or REPOSITORY@DIGEST
        reference: String,
    },
    /// List what was deleted and can be restored
    #[command(after_help = "Example: seaworthy image deleted --repo prod/")]
    Deleted(ImageList),
    /// Bring a deleted tag back with its manifest, or a deleted manifest with its tags
    #[command(after_help = "Examples:
  seaworthy image restore prod/web:1
  seaworthy image restore prod/web:1@sha256:9c1e…
  seaworthy image restore prod/web@sha256:9c1e…")]
    Restore {
        /// REPOSITORY:TAG, REPOSITORY:TAG@DIGEST or REPOSITORY@DIGEST
        reference: String,
    },
    /// Why a blob or manifest is still here, and who uses it
    #[command(after_help = "Example: seaworthy image explain sha256:9c1e…")]
    Explain {
        /// DIGEST of a manifest, an index, a config or a layer
        digest: String,
    },
}

/// Flags of `image promote`, and of `image import` from a registry.
#[derive(Debug, Args)]
pub(crate) struct CopyFlags {
    /// How long to wait while its inspection is under way
    #[arg(long, default_value = "30s")]
    pub(crate) wait: String,
    /// Leave out what refers to the images
    #[arg(long)]
    pub(crate) no_referrers: bool,
}

/// What is locked or unlocked.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct LockFlags {
    /// REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST
    pub(crate) reference: String,
    /// Pushing to it, moving and deleting it
    #[arg(long)]
    pub(crate) write: bool,
    /// Deleting it
    #[arg(long)]
    pub(crate) delete: bool,
    /// Pulling it
    #[arg(long)]
    pub(crate) read: bool,
    /// Showing it in lists
    #[arg(long)]
    pub(crate) list: bool,
}

/// Flags of `image export`.
#[derive(Debug, Args)]
pub(crate) struct ExportFlags {
    /// REPOSITORY:TAG or REPOSITORY@DIGEST
    #[arg(value_name = "REFERENCE", required = true)]
    pub(crate) references: Vec<String>,
    /// FILE for a tar archive, oci:DIR for a folder, to which images are added, or `-` for an archive on stdout
    #[arg(long, value_name = "DEST")]
    pub(crate) to: String,
    /// Of each index the image for this platform alone, such as linux/arm64
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Leave out what refers to the images
    #[arg(long)]
    pub(crate) no_referrers: bool,
}

/// Flags of `image import` for layouts.
#[derive(Debug, Args)]
pub(crate) struct LayoutFlags {
    /// Put all images of a layout below this prefix
    #[arg(long, value_name = "PREFIX")]
    pub(crate) below: Option<String>,
    /// Say what a layout would bring where, and push nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Verbs of `registry`.
#[derive(Debug, Subcommand)]
pub(crate) enum RegistryVerb {
    /// Compare what is stored with what is known; exits 1 when they do not agree
    #[command(after_help = "Examples:
  seaworthy registry verify
  seaworthy registry verify --deep -o json")]
    Verify {
        /// Read all bytes, too
        #[arg(long)]
        deep: bool,
    },
    /// Show what a repair would do: keep damaged blobs from readers, remove files that nobody knows
    #[command(after_help = "Examples:
  seaworthy registry repair
  seaworthy registry repair --deep --apply
A damaged blob is healed when somebody pushes it again.")]
    Repair {
        /// Read all bytes, too
        #[arg(long)]
        deep: bool,
        /// Do it
        #[arg(long)]
        apply: bool,
    },
    /// What would be collected, when, and why; collection itself needs no command
    #[command(after_help = "Example: seaworthy registry gc --dry-run")]
    Gc {
        /// Change nothing
        #[arg(long, required = true)]
        dry_run: bool,
    },
    /// Rules of which tags repositories keep
    #[command(subcommand)]
    Retention(RetentionVerb),
    /// What is used of quotas
    #[command(after_help = "A quota is set by `registry rules set PREFIX --quota-bytes N`.
Example: seaworthy registry usage")]
    Usage,
    /// Which repositories promotion alone writes, which tags never move, and how much is kept
    #[command(subcommand)]
    Rules(RulesVerb),
    /// Prefixes that hold what other registries have, fetched when it is asked for
    #[command(subcommand)]
    Cache(CacheVerb),
    /// Prefixes that are copied to other registries, and kept there as they are here
    #[command(subcommand)]
    Replication(ReplicationVerb),
}

/// Verbs of `registry retention`.
#[derive(Debug, Subcommand)]
pub(crate) enum RetentionVerb {
    /// List rules
    List,
    /// Set the rules of repositories at and below a prefix, in place of those it had
    #[command(after_help = "Examples:
  seaworthy registry retention set dev --keep-last 10 --remove-older-than 30
  seaworthy registry retention set prod --keep-tag 'v*' --keep-pulled 90 --remove-older-than 180
  seaworthy registry retention set '*' --untagged 14")]
    Set {
        /// Repositories at and below it, such as prod or team/app; `*` is all
        prefix: String,
        /// The rules.
        #[command(flatten)]
        rules: RuleFlags,
    },
    /// Remove the rules of a prefix
    #[command(visible_alias = "delete")]
    Remove {
        /// Repositories at and below it, such as prod or team/app; `*` is all
        prefix: String,
    },
    /// What becomes of each tag, and by which rule; nothing is removed
    #[command(after_help = "Examples:
  seaworthy registry retention preview prod/web
  seaworthy registry retention preview prod/web --keep-last 5 --remove-older-than 30")]
    Preview {
        /// Repository
        repository: String,
        /// Other rules than those that hold.
        #[command(flatten)]
        rules: RuleFlags,
    },
}

/// Rules of what is kept.
#[derive(Debug, Args)]
pub(crate) struct RuleFlags {
    /// Keep the tags that were set last
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<u32>,
    /// Keep what was pulled within so many days
    #[arg(long, value_name = "DAYS")]
    pub(crate) keep_pulled: Option<u32>,
    /// Keep tags of this name; `*` stands for any characters
    #[arg(long, value_name = "PATTERN")]
    pub(crate) keep_tag: Vec<String>,
    /// Remove other tags that were set longer ago
    #[arg(long, value_name = "DAYS")]
    pub(crate) remove_older_than: Option<u32>,
    /// Collect manifests that nothing leads to after so many days
    #[arg(long, value_name = "DAYS", conflicts_with = "keep_untagged")]
    pub(crate) untagged: Option<u32>,
    /// Keep manifests that nothing leads to
    #[arg(long)]
    pub(crate) keep_untagged: bool,
}
