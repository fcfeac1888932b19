use seaworthy_store::schema::{Column, Index, Migration, RoomSchema, Step, Table};

/// The registry's tables.
pub const SCHEMA: RoomSchema = RoomSchema {
    room: "registry",
    migrations: &[
        FIRST,
        REFERRERS,
        LOCKS,
        RULES,
        COLLECTION,
        DELETED_LOCKS,
        QUOTA,
        CACHES,
        REPLICATIONS,
        MIRRORS,
        FEWER_INDEXES,
        CLUSTERED,
        BOOTS,
        SENT,
        FOUND,
        REREAD,
        TIMES,
    ],
};

const FIRST: Migration = Migration {
    id: 1,
    steps: &[
        Step::Create(Table {
            name: "registry_repositories",
            columns: &[Column::text("path"), Column::int("created_at")],
            primary_key: &["path"],
            indexes: &[],
        }),
        Step::Create(Table {
            name: "registry_blobs",
            columns: &[
                Column::text("digest"),
                Column::int("size"),
                Column::text("state"),
                Column::int("generation"),
                Column::int("pinned_until"),
                Column::int("stored_at"),
            ],
            primary_key: &["digest"],
            indexes: &[],
        }),
        Step::Create(Table {
            name: "registry_links",
            columns: &[
                Column::text("repository"),
                Column::text("digest"),
                Column::text("principal"),
                // 1 when the principal brought or could read the bytes; 0 when it mounted what
                // it may name and not read.
                Column::int("reader"),
                Column::int("linked_at"),
            ],
            primary_key: &["repository", "digest", "principal"],
            indexes: &[Index::on(&["digest"])],
        }),
        Step::Create(Table {
            name: "registry_manifests",
            columns: &[
                Column::text("repository"),
                Column::text("digest"),
                Column::text("media_type"),
                Column::text("artifact_type").optional(),
                Column::text("subject").optional(),
                Column::int("size"),
                Column::int("pushed_at"),
                Column::text("pushed_by"),
            ],
            primary_key: &["repository", "digest"],
            indexes: &[Index::on(&["digest"]), Index::on(&["repository", "subject", "artifact_type"])],
        }),
        Step::Create(Table {
            name: "registry_manifest_bytes",
            columns: &[Column::text("digest"), Column::bytes("bytes")],
            primary_key: &["digest"],
            indexes: &[],
        }),
        Step::Create(Table {
            name: "registry_references",
            columns: &[
                Column::text("repository"),
                Column::text("manifest"),
                Column::text("kind"),
                Column::text("digest"),
            ],
            primary_key: &["repository", "manifest", "kind", "digest"],
            indexes: &[Index::on(&["repository", "digest", "manifest"])],
        }),
        Step::Create(Table {
            name: "registry_tags",
            columns: &[
                Column::text("repository"),
                Column::text("name"),
                Column::text("digest"),
                Column::int("updated_at"),
            ],
            primary_key: &["repository", "name"],
            indexes: &[Index::on(&["repository", "digest"])],
        }),
        Step::Create(Table { indexes: &[Index::on(&["expires_at"]), Index::on(&["principal"])], ..UPLOADS }),
    ],
};

/// Referrers in a table of their own, with what a list of them shows; and the ways from a blob to
/// the repositories that have it. Rows from before have no annotations: those are read from the
/// manifest when they are listed.
const REFERRERS: Migration = Migration {
    id: 2,
    steps: &[
        Step::Create(Table {
            name: "registry_referrers",
            columns: &[
                Column::text("repository"),
                Column::text("subject"),
                // Empty when it has none.
                Column::text("artifact_type"),
                Column::text("digest"),
                Column::text("media_type"),
                Column::int("size"),
                // JSON; NULL: not known, read the manifest.
                Column::text("annotations").optional(),
                Column::int("annotation_bytes"),
            ],
            primary_key: &["repository", "subject", "digest"],
            indexes: &[Index::on(&["repository", "subject", "artifact_type", "digest"])],
        }),
        Step::Sql(
            "INSERT INTO registry_referrers
                 (repository, subject, artifact_type, digest, media_type, size, annotation_bytes)
             SELECT repository, subject, COALESCE(artifact_type, ''), digest, media_type, size, size
             FROM registry_manifests WHERE subject IS NOT NULL",
        ),
        Step::AddIndex("registry_links", Index::on(&["digest", "principal", "repository"])),
        Step::AddIndex("registry_references", Index::on(&["digest", "repository"])),
    ],
};

/// What may not be done with a repository, a manifest or a tag, as bits; and since when there is a
/// tag. Rows from before have no locks, and are as old as their last change.
const LOCKS: Migration = Migration {
    id: 3,
    steps: &[
        Step::AddColumn("registry_repositories", Column::int("locks").optional()),
        Step::AddColumn("registry_manifests", Column::int("locks").optional()),
        Step::AddColumn("registry_tags", Column::int("locks").optional()),
        Step::AddColumn("registry_tags", Column::int("created_at").optional()),
    ],
};

/// Rules of the repositories below a prefix; `*` is all of them.
const RULES: Migration = Migration {
    id: 4,
    steps: &[Step::Create(Table {
        name: "registry_rules",
        columns: &[
            Column::text("prefix"),
            Column::int("promotion_only"),
            // JSON: patterns of tags.
            Column::text("immutable"),
        ],
        primary_key: &["prefix"],
        indexes: &[],
    })],
};

/// What may go is looked at when it is due; what went can come back for a while. All that is there from
/// before is looked at once.
const COLLECTION: Migration = Migration {
    id: 5,
    steps: &[
        // The upload that a copy is called by; NULL: called by the digest alone, from before.
        Step::AddColumn("registry_blobs", Column::bytes("copy").optional()),
        // When the state became this.
        Step::AddColumn("registry_blobs", Column::int("changed_at").optional()),
        // Why the bytes cannot be served, found by looking; NULL: nothing is known against them.
        Step::AddColumn("registry_blobs", Column::text("damage").optional()),
        Step::AddColumn("registry_blobs", Column::int("scrubbed_at").optional()),
        // When it was last pushed, or lost a tag.
        Step::AddColumn("registry_manifests", Column::int("touched_at").optional()),
        Step::Create(REVIEWS),
        Step::Create(super::running::RUNNING),
        Step::Create(super::retention::RETENTION),
        Step::Create(DELETED),
        Step::Create(Table {
            name: "registry_deleted_references",
            columns: &[
                Column::text("repository"),
                Column::text("manifest"),
                Column::text("kind"),
                Column::text("digest"),
            ],
            primary_key: &["repository", "manifest", "kind", "digest"],
            indexes: &[Index::on(&["digest", "repository"])],
        }),
        Step::Create(Table {
            name: "registry_pulls",
            columns: &[
                Column::text("repository"),
                Column::text("digest"),
                Column::int("count"),
                Column::int("last_pull"),
            ],
            primary_key: &["repository", "digest"],
            indexes: &[],
        }),
        Step::Sql(
            "INSERT INTO registry_reviews (kind, repository, digest, due, tries, reason, epoch)
             SELECT 'blob', '', digest, 0, 0, 'upgrade', 0 FROM registry_blobs",
        ),
        Step::Sql(
            "INSERT INTO registry_reviews (kind, repository, digest, due, tries, reason, epoch)
             SELECT 'manifest', m.repository, m.digest, 0, 0, 'upgrade', 0 FROM registry_manifests AS m
             WHERE NOT EXISTS (SELECT 1 FROM registry_tags AS t
                 WHERE t.repository = m.repository AND t.digest = m.digest)",
        ),
    ],
};

/// What was locked comes back locked. Of what was deleted before, the locks are not known.
const DELETED_LOCKS: Migration =
    Migration { id: 6, steps: &[Step::AddColumn("registry_deleted", Column::int("locks").optional())] };

/// Quarantine. What each repository holds, and what is used of quotas: one row for each prefix that has one. Blobs that
/// were brought before and are named by nothing are not counted.
const QUOTA: Migration = Migration {
    id: 7,
    steps: &[
        Step::AddColumn("registry_rules", Column::int("quota_bytes").optional()),
        Step::AddColumn("registry_rules", Column::int("quota_tags").optional()),
        Step::AddColumn("registry_rules", Column::int("quota_repositories").optional()),
        Step::AddColumn("registry_rules", Column::int("quarantine").optional()),
        // What was said of it in quarantine; the state is among the locks.
        Step::AddColumn("registry_manifests", Column::text("quarantine_details").optional()),
        Step::Create(Table {
            name: "registry_holdings",
            columns: &[Column::text("repository"), Column::text("digest"), Column::int("size")],
            primary_key: &["repository", "digest"],
            indexes: &[Index::on(&["digest"])],
        }),
        Step::Create(Table {
            name: "registry_usage",
            columns: &[
                Column::text("prefix"),
                Column::int("bytes"),
                Column::int("tags"),
                Column::int("repositories"),
            ],
            primary_key: &["prefix"],
            indexes: &[],
        }),
        Step::Sql(
            "INSERT INTO registry_holdings (repository, digest, size)
             SELECT DISTINCT f.repository, f.digest, b.size FROM registry_references AS f
             JOIN registry_blobs AS b ON b.digest = f.digest WHERE f.kind <> 'child'",
        ),
    ],
};

/// Prefixes that stand in front of another registry, and the manifests that came from one: their blobs are
/// opened by them only where a link says that somebody had the bytes, and are inspected when all are here.
const CACHES: Migration = Migration {
    id: 8,
    steps: &[
        Step::Create(Table {
            name: "registry_caches",
            columns: &[
                Column::text("prefix"),
                // JSON: all but the password.
                Column::text("settings"),
                // The user name and password, sealed for this prefix and upstream.
                Column::bytes("sealed").optional(),
                Column::int("changed_at"),
            ],
            primary_key: &["prefix"],
            indexes: &[],
        }),
        Step::Create(Table {
            name: "registry_cached",
            columns: &[
                Column::text("repository"),
                Column::text("digest"),
                // 1 when all its blobs are here, and inspection was told.
                Column::int("filled"),
                // When to fetch what is not here; NULL: nobody asked for it, or it is done.
                Column::int("due").optional(),
                Column::int("tries"),
            ],
            primary_key: &["repository", "digest"],
            indexes: &[Index::on(&["due"])],
        }),
    ],
};

/// Prefixes that are copied to another registry, and the names that are to be there, or are.
const REPLICATIONS: Migration = Migration {
    id: 9,
    steps: &[
        Step::Create(Table {
            name: "registry_replications",
            columns: &[
                Column::text("name"),
                Column::text("prefix"),
                // JSON: all but the password.
                Column::text("settings"),
                // The user name and password, sealed for this name and registry.
                Column::bytes("sealed").optional(),
                Column::int("changed_at"),
                // The last tag that was looked at since everything is to be looked at; NULL: nothing is.
                Column::text("seed_repository").optional(),
                Column::text("seed_tag").optional(),
            ],
            primary_key: &["name"],
            indexes: &[],
        }),
        Step::Create(Table {
            name: "registry_outgoing",
            columns: &[
                Column::text("replication"),
                Column::text("repository"),
                // A tag, or the digest of what refers to another manifest.
                Column::text("name"),
                // When to look at it; NULL: it is there as it is here.
                Column::int("due").optional(),
                Column::int("tries"),
                // Grows with each change here: who settles knows nothing came in between.
                Column::int("epoch"),
                // Why it is not there.
                Column::text("error").optional(),
                // What is there.
                Column::text("digest").optional(),
                Column::int("done_at").optional(),
            ],
            primary_key: &["replication", "repository", "name"],
            indexes: &[Index::on(&["replication", "due"])],
        }),
    ],
};

/// What caches fetch without being asked.
const MIRRORS: Migration = Migration {
    id: 10,
    steps: &[Step::Create(Table {
        name: "registry_mirrors",
        columns: &[
            // Of the cache.
            Column::text("prefix"),
            // The repository as the upstream calls it, and the pattern of its tags.
            Column::text("mirror"),
            // When it was set: who looked by other settings settles nothing.
            Column::int("set_at"),
            Column::int("due"),
            Column::int("tries"),
            Column::int("looked_at").optional(),
            // How many tags fitted then.
            Column::int("tags").optional(),
            // Why not all of them are here.
            Column::text("error").optional(),
        ],
        primary_key: &["prefix", "mirror"],
        indexes: &[Index::on(&["due"])],
    })],
};

/// One index does the work of two on references and on links, and nothing asks manifests for their subject since
/// referrers have a table: each index is a page somewhere that a push changes.
const FEWER_INDEXES: Migration = Migration {
    id: 11,
    steps: &[
        Step::AddIndex("registry_references", Index::on(&["digest", "repository", "manifest"])),
        Step::Sql("DROP INDEX registry_references_digest_repository"),
        Step::Sql("DROP INDEX registry_references_repository_digest_manifest"),
        Step::Sql("DROP INDEX registry_links_digest"),
        Step::Sql("DROP INDEX registry_manifests_repository_subject_artifact_type"),
    ],
};

/// Uploads and reviews come and go: with fewer trees, each of which a push changes. All uploads that have expired are
/// found by looking at all.
const CLUSTERED: Migration = Migration {
    id: 12,
    steps: &[
        Step::Sql("DROP INDEX registry_uploads_expires_at"),
        Step::Sql("DROP INDEX registry_uploads_principal"),
        Step::AddIndex("registry_uploads", UPLOADS_OF_PRINCIPAL),
        Step::Cluster(UPLOADS),
        Step::Cluster(REVIEWS),
    ],
};

/// Which run of which machine wrote an upload's bytes; NULL: not known. And deleted tags of manifests that stay are looked
/// at when their time is over.
const BOOTS: Migration = Migration {
    id: 13,
    steps: &[
        Step::AddColumn("registry_uploads", Column::text("boot").optional()),
        Step::Sql(
            "INSERT INTO registry_reviews (kind, repository, digest, due, tries, reason, epoch)
             SELECT 'manifest', repository, digest, MIN(until), 0, 'deleted', 0 FROM registry_deleted
             WHERE kind = 'tag' GROUP BY repository, digest ON CONFLICT (kind, repository, digest) DO NOTHING",
        ),
    ],
};

/// What a replication puts there is known before it is there: a server may be killed in between, and the tag deleted here.
const SENT: Migration = Migration {
    id: 14,
    steps: &[
        // What was sent there last, as long as nobody knows whether it is there.
        Step::AddColumn("registry_outgoing", Column::text("sent").optional()),
    ],
};

/// What an engine may start is an image, whatever it calls itself: those that were taken for artifacts are told anew.
const REREAD: Migration = Migration {
    id: 16,
    steps: &[Step::Sql(
        "INSERT INTO registry_reviews (kind, repository, digest, due, tries, reason, epoch)
         SELECT 'reread', repository, digest, 0, 0, 'upgrade', 0 FROM registry_manifests
         WHERE media_type IN ('application/vnd.oci.image.manifest.v1+json',
             'application/vnd.docker.distribution.manifest.v2+json')",
    )],
};

const FOUND: Migration = Migration {
    id: 15,
    steps: &[
        // 1 when what is there stood there already: it is not to be deleted there.
        Step::AddColumn("registry_outgoing", Column::int("found").optional()),
    ],
};

/// Tags by time, for lists and for what keeps the last ones. In the tree of the primary key, a push changes as many trees
/// as before. Manifests have no such index: each push would pay for it, and only Azure's lists by time sort them.
const TIMES: Migration =
    Migration { id: 17, steps: &[Step::AddIndex("registry_tags", TAGS_BY_TIME), Step::Cluster(TAGS)] };

const TAGS_BY_TIME: Index = Index::on(&["repository", "updated_at", "name"]);

const TAGS: Table = Table {
    name: "registry_tags",
    columns: &[
        Column::text("repository"),
        Column::text("name"),
        Column::text("digest"),
        Column::int("updated_at"),
        Column::int("locks").optional(),
        Column::int("created_at").optional(),
    ],
    primary_key: &["repository", "name"],
    indexes: &[Index::on(&["repository", "digest"]), TAGS_BY_TIME],
};

const UPLOADS_OF_PRINCIPAL: Index = Index::on(&["principal", "expires_at"]);

const UPLOADS: Table = Table {
    name: "registry_uploads",
    columns: &[
        Column::bytes("id"),
        Column::text("repository"),
        Column::text("principal"),
        Column::int("received"),
        Column::bytes("hash_state"),
        Column::int("version"),
        Column::int("expires_at"),
    ],
    primary_key: &["id"],
    indexes: &[UPLOADS_OF_PRINCIPAL],
};

const REVIEWS: Table = Table {
    name: "registry_reviews",
    columns: &[
        Column::text("kind"),
        // Empty for blobs, which are the same everywhere.
        Column::text("repository"),
        Column::text("digest"),
        Column::int("due"),
        Column::int("tries"),
        Column::text("reason"),
        // Grows with each claim and each new reason: who settles knows nothing came in between.
        Column::int("epoch"),
    ],
    primary_key: &["kind", "repository", "digest"],
    indexes: &[Index::on(&["due"])],
};

/// Manifests and tags that were deleted and can be restored: a manifest with what its row said, a tag
/// with the manifest that it pointed at.
const DELETED: Table = Table {
    name: "registry_deleted",
    columns: &[
        Column::text("repository"),
        // `manifest` or `tag`.
        Column::text("kind"),
        // Of a tag; else empty.
        Column::text("name"),
        Column::text("digest"),
        Column::text("media_type").optional(),
        Column::int("pushed_at").optional(),
        Column::text("pushed_by").optional(),
        Column::int("deleted_at"),
        Column::text("deleted_by"),
        Column::text("reason"),
        Column::int("until"),
    ],
    primary_key: &["repository", "kind", "name", "digest"],
    indexes: &[Index::on(&["digest", "repository"])],
};
