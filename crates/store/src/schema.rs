//! One description of every table, rendered for each engine; and the migrations that apply it.
//!
//! A migration that has run is never edited: its checksum is stored and compared. Growth is
//! expand-then-contract, so that two versions can run side by side.

use std::fmt::Write as _;

use seaworthy_oci::Digest;

use crate::{Db, DbError, args, limit, sql::Tx};

/// What a column holds, on both engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// INTEGER / BIGINT: counts, booleans as 0 and 1, times as microseconds.
    Int,
    /// TEXT, compared as bytes.
    Text,
    /// BLOB / BYTEA: 16-byte ids and raw bytes.
    Bytes,
}

/// One column; `NOT NULL` unless made with [`Column::optional`].
#[derive(Clone, Copy, Debug)]
pub struct Column {
    name: &'static str,
    kind: Kind,
    required: bool,
}

impl Column {
    /// An integer column.
    pub const fn int(name: &'static str) -> Self {
        Self { name, kind: Kind::Int, required: true }
    }
    /// A text column.
    pub const fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Text, required: true }
    }
    /// A bytes column.
    pub const fn bytes(name: &'static str) -> Self {
        Self { name, kind: Kind::Bytes, required: true }
    }
    /// The same column, `NULL` allowed.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.required = false;
        self
    }
}

/// An index. Its name is the table's and the columns'.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    columns: &'static [&'static str],
    unique: bool,
}

impl Index {
    /// An index over `columns`.
    pub const fn on(columns: &'static [&'static str]) -> Self {
        Self { columns, unique: false }
    }
    /// An index over `columns` that also forbids two equal rows.
    pub const fn unique(columns: &'static [&'static str]) -> Self {
        Self { columns, unique: true }
    }
}

/// A table. Its name begins with its room's name and an underscore.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Name.
    pub name: &'static str,
    /// Columns, in order.
    pub columns: &'static [Column],
    /// Primary key.
    pub primary_key: &'static [&'static str],
    /// Further indexes.
    pub indexes: &'static [Index],
}

/// One step of a migration.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Makes a table with its indexes.
    Create(Table),
    /// Adds an optional column.
    AddColumn(&'static str, Column),
    /// Keeps a table's rows in the tree of its primary key, where the engine has another for them (SQLite): each change
    /// then touches one tree less. All rows are copied: for tables whose rows come and go.
    Cluster(Table),
    /// Adds an index to a table.
    AddIndex(&'static str, Index),
    /// A statement in the common dialect.
    Sql(&'static str),
}

/// One migration of one room, numbered from 1 without gaps.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Number.
    pub id: i64,
    /// Its steps, in order.
    pub steps: &'static [Step],
}

/// A room's migrations.
#[derive(Clone, Copy, Debug)]
pub struct RoomSchema {
    /// The room; its tables begin with `room_`.
    pub room: &'static str,
    /// The migrations, in order.
    pub migrations: &'static [Migration],
}

/// Which dialect to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite, STRICT tables.
    Sqlite,
    /// PostgreSQL, text `COLLATE "C"`.
    Postgres,
}

impl Migration {
    /// The SQL statements of this migration.
    pub fn render(&self, dialect: Dialect) -> Vec<String> {
        let mut out = Vec::new();
        for step in self.steps {
            match step {
                Step::Create(table) => {
                    out.push(render_table(table, dialect));
                    out.extend(table.indexes.iter().map(|index| render_index(table.name, index)));
                }
                Step::AddColumn(table, column) => {
                    out.push(format!("ALTER TABLE {table} ADD COLUMN {}", render_column(column, dialect)));
                }
                Step::Cluster(table) if dialect == Dialect::Sqlite => out.extend(render_cluster(table)),
                Step::Cluster(_) => {}
                Step::AddIndex(table, index) => out.push(render_index(table, index)),
                Step::Sql(sql) => out.push((*sql).to_owned()),
            }
        }
        out
    }

    /// The same on both engines: hashed over the SQLite rendering.
    fn checksum(&self) -> String {
        Digest::sha256(self.render(Dialect::Sqlite).join(";\n").as_bytes()).hex()
    }
}

fn render_table(table: &Table, dialect: Dialect) -> String {
    render_columns(table.name, table, dialect)
}

fn render_cluster(table: &Table) -> Vec<String> {
    let (name, new) = (table.name, format!("{}_clustered", table.name));
    let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let columns = columns.join(", ");
    let create = render_columns(&new, table, Dialect::Sqlite);
    let mut out = vec![
        format!("{create}, WITHOUT ROWID"),
        format!("INSERT INTO {new} ({columns}) SELECT {columns} FROM {name}"),
        format!("DROP TABLE {name}"),
        format!("ALTER TABLE {new} RENAME TO {name}"),
    ];
    out.extend(table.indexes.iter().map(|index| render_index(name, index)));
    out
}

fn render_columns(name: &str, table: &Table, dialect: Dialect) -> String {
    let mut sql = format!("CREATE TABLE {name} (");
    for column in table.columns {
        let _ = write!(sql, "{}, ", render_column(column, dialect));
    }
    let _ = write!(sql, "PRIMARY KEY ({}))", table.primary_key.join(", "));
    if dialect == Dialect::Sqlite {
        sql.push_str(" STRICT");
    }
    sql
}

fn render_column(column: &Column, dialect: Dialect) -> String {
    let kind = match (column.kind, dialect) {
        (Kind::Int, Dialect::Sqlite) => "INTEGER",
        (Kind::Int, Dialect::Postgres) => "BIGINT",
        (Kind::Text, Dialect::Sqlite) => "TEXT",
        (Kind::Text, Dialect::Postgres) => "TEXT COLLATE \"C\"",
        (Kind::Bytes, Dialect::Sqlite) => "BLOB",
        (Kind::Bytes, Dialect::Postgres) => "BYTEA",
    };
    format!("{} {kind}{}", column.name, if column.required { " NOT NULL" } else { "" })
}

fn render_index(table: &str, index: &Index) -> String {
    let unique = if index.unique { "UNIQUE " } else { "" };
    format!(
        "CREATE {unique}INDEX {table}_{} ON {table} ({})",
        index.columns.join("_"),
        index.columns.join(", ")
    )
}

/// The store's own tables.
pub(crate) const SCHEMA: RoomSchema = RoomSchema {
    room: "store",
    migrations: &[
        Migration {
            id: 1,
            steps: &[
                Step::Create(DELIVERIES),
                Step::Create(Table {
                    name: "store_leases",
                    columns: &[
                        Column::text("name"),
                        Column::text("owner"),
                        Column::int("epoch"),
                        Column::int("until"),
                    ],
                    primary_key: &["name"],
                    indexes: &[],
                }),
                Step::Create(Table {
                    name: "store_small_blobs",
                    columns: &[Column::text("room"), Column::text("digest"), Column::bytes("bytes")],
                    primary_key: &["room", "digest"],
                    indexes: &[],
                }),
            ],
        },
        Migration { id: 2, steps: &[Step::Cluster(DELIVERIES)] },
        Migration {
            id: 3,
            steps: &[Step::Create(Table {
                // One row: what the directory of the blobs is marked by.
                name: "store_installation",
                columns: &[Column::int("one"), Column::text("id"), Column::int("marked")],
                primary_key: &["one"],
                indexes: &[],
            })],
        },
    ],
};

const DELIVERIES: Table = Table {
    name: "store_deliveries",
    columns: &[
        Column::bytes("id"),
        Column::text("consumer"),
        Column::text("kind"),
        Column::text("payload"),
        Column::int("created_at"),
        Column::int("due_at"),
        Column::int("attempts"),
        Column::int("epoch"),
        Column::text("failed").optional(),
    ],
    primary_key: &["id"],
    indexes: &[Index::on(&["consumer", "due_at"])],
};

const MIGRATIONS: Table = Table {
    name: "store_migrations",
    columns: &[Column::text("room"), Column::int("id"), Column::text("checksum"), Column::int("applied_at")],
    primary_key: &["room", "id"],
    indexes: &[],
};

/// Brings the schema of all `rooms` up to this version, in one transaction per migration.
/// Refuses a database that is newer, or whose past reads differently. Of servers that start together one does each
/// migration; the others fail on what it made, and look again.
pub async fn migrate(db: &Db, rooms: &[RoomSchema]) -> Result<(), DbError> {
    for _ in 1..limit::MIGRATE_ATTEMPTS {
        match migrate_once(db, rooms).await {
            Err(error) if error.is_made_already() => {}
            done => return done,
        }
    }
    migrate_once(db, rooms).await
}

async fn migrate_once(db: &Db, rooms: &[RoomSchema]) -> Result<(), DbError> {
    let create =
        render_table(&MIGRATIONS, db.dialect()).replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1);
    db.run_ddl(vec![create]).await?;
    for room in std::iter::once(&SCHEMA).chain(rooms) {
        let done = applied(db, room.room).await?;
        let known = room.migrations.last().map_or(0, |migration| migration.id);
        if let Some((found, _)) = done.last().filter(|(id, _)| *id > known) {
            return Err(DbError::Newer { room: room.room.into(), found: *found, known });
        }
        for migration in room.migrations {
            match done.iter().find(|(id, _)| *id == migration.id) {
                Some((_, checksum)) if *checksum == migration.checksum() => {}
                Some(_) => return Err(DbError::Changed { room: room.room.into(), id: migration.id }),
                None => apply(db, room.room, *migration).await?,
            }
        }
    }
    Ok(())
}

async fn applied(db: &Db, room: &'static str) -> Result<Vec<(i64, String)>, DbError> {
    db.fetch_all("SELECT id, checksum FROM store_migrations WHERE room = $1 ORDER BY id", args![room])
        .await?
        .iter()
        .map(|row| Ok((row.int(0)?, row.text(1)?.to_owned())))
        .collect()
}

async fn apply(db: &Db, room: &'static str, migration: Migration) -> Result<(), DbError> {
    // The row first: who comes second waits, and fails on the primary key.
    let dialect = db.dialect();
    let now = db.now().as_micros();
    db.transact((room, migration, now), move |(room, migration, now), tx: &mut Tx<'_>| {
        Box::pin(async move {
            tx.execute(
                "INSERT INTO store_migrations (room, id, checksum, applied_at) VALUES ($1, $2, $3, $4)",
                args![*room, migration.id, &migration.checksum(), *now],
            )
            .await?;
            for sql in migration.render(dialect) {
                tx.execute_ddl(sql).await?;
            }
            Ok::<_, DbError>(())
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_both_dialects() {
        const THING: Table = Table {
            name: "room_things",
            columns: &[Column::bytes("id"), Column::text("name"), Column::int("n").optional()],
            primary_key: &["id"],
            indexes: &[Index::unique(&["name", "n"])],
        };
        let migration = Migration { id: 1, steps: &[Step::Create(THING)] };
        assert_eq!(
            migration.render(Dialect::Sqlite),
            [
                "CREATE TABLE room_things (id BLOB NOT NULL, name TEXT NOT NULL, n INTEGER, PRIMARY KEY (id)) STRICT",
                "CREATE UNIQUE INDEX room_things_name_n ON room_things (name, n)"
            ]
        );
        assert_eq!(
            Migration { id: 2, steps: &[Step::Cluster(THING)] }.render(Dialect::Sqlite),
            [
                "CREATE TABLE room_things_clustered (id BLOB NOT NULL, name TEXT NOT NULL, n INTEGER, PRIMARY KEY (id)) STRICT, WITHOUT ROWID",
                "INSERT INTO room_things_clustered (id, name, n) SELECT id, name, n FROM room_things",
                "DROP TABLE room_things",
                "ALTER TABLE room_things_clustered RENAME TO room_things",
                "CREATE UNIQUE INDEX room_things_name_n ON room_things (name, n)"
            ]
        );
        assert!(Migration { id: 2, steps: &[Step::Cluster(THING)] }.render(Dialect::Postgres).is_empty());
        assert_eq!(
            migration.render(Dialect::Postgres)[0],
            "CREATE TABLE room_things (id BYTEA NOT NULL, name TEXT COLLATE \"C\" NOT NULL, n BIGINT, PRIMARY KEY (id))"
        );
    }
}
