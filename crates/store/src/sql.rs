use sqlx::{Column as _, PgConnection, Postgres, Row as _, TypeInfo as _, ValueRef as _};

use crate::{
    error::{DbError, DriverError},
    sqlite::Connection,
    watch::Touched,
};

/// One argument of a statement. `NULL` keeps its type, which PostgreSQL asks for.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a> {
    /// BIGINT.
    Int(Option<i64>),
    /// TEXT.
    Text(Option<&'a str>),
    /// BLOB or BYTEA.
    Bytes(Option<&'a [u8]>),
}

impl From<i64> for Arg<'_> {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}
impl From<u32> for Arg<'_> {
    fn from(value: u32) -> Self {
        Self::Int(Some(value.into()))
    }
}
impl From<u64> for Arg<'_> {
    /// Values beyond `i64::MAX` saturate: no length or count here can reach them.
    fn from(value: u64) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}
impl From<Option<i64>> for Arg<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}
impl From<bool> for Arg<'_> {
    fn from(value: bool) -> Self {
        Self::Int(Some(value.into()))
    }
}
impl<'a> From<&'a str> for Arg<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(value))
    }
}
impl<'a> From<&'a String> for Arg<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(Some(value))
    }
}
impl<'a> From<Option<&'a str>> for Arg<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value)
    }
}
impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Bytes(Some(value))
    }
}
impl<'a> From<&'a Vec<u8>> for Arg<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}
impl<'a> From<Option<&'a [u8]>> for Arg<'a> {
    fn from(value: Option<&'a [u8]>) -> Self {
        Self::Bytes(value)
    }
}

/// The arguments of a statement, in `$1, $2, …` order: `args![repo.as_str(), now]`.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::Arg::from($value)),*] as &[$crate::Arg<'_>] };
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// One row of a result, by column position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    values: Vec<Value>,
    statement: &'static str,
}

impl Row {
    pub(crate) fn new(values: Vec<Value>, statement: &'static str) -> Self {
        Self { values, statement }
    }

    /// An integer column that is not `NULL`.
    pub fn int(&self, column: usize) -> Result<i64, DbError> {
        self.int_opt(column)?.ok_or_else(|| self.wrong(column, "an integer"))
    }

    /// An integer column.
    pub fn int_opt(&self, column: usize) -> Result<Option<i64>, DbError> {
        match self.values.get(column) {
            Some(Value::Int(value)) => Ok(Some(*value)),
            Some(Value::Null) => Ok(None),
            _ => Err(self.wrong(column, "an integer")),
        }
    }

    /// An integer column that counts: not `NULL`, not negative.
    pub fn count(&self, column: usize) -> Result<u64, DbError> {
        u64::try_from(self.int(column)?).map_err(|_| self.wrong(column, "a count"))
    }

    /// A text column that is not `NULL`.
    pub fn text(&self, column: usize) -> Result<&str, DbError> {
        self.text_opt(column)?.ok_or_else(|| self.wrong(column, "text"))
    }

    /// A text column.
    pub fn text_opt(&self, column: usize) -> Result<Option<&str>, DbError> {
        match self.values.get(column) {
            Some(Value::Text(value)) => Ok(Some(value)),
            Some(Value::Null) => Ok(None),
            _ => Err(self.wrong(column, "text")),
        }
    }

    /// A bytes column that is not `NULL`.
    pub fn bytes(&self, column: usize) -> Result<&[u8], DbError> {
        self.bytes_opt(column)?.ok_or_else(|| self.wrong(column, "bytes"))
    }

    /// A bytes column.
    pub fn bytes_opt(&self, column: usize) -> Result<Option<&[u8]>, DbError> {
        match self.values.get(column) {
            Some(Value::Bytes(value)) => Ok(Some(value)),
            Some(Value::Null) => Ok(None),
            _ => Err(self.wrong(column, "bytes")),
        }
    }

    /// A text column read as a typed word; a text that does not parse is a column error.
    pub fn parsed<T: std::str::FromStr>(&self, column: usize) -> Result<T, DbError> {
        self.text(column)?.parse().map_err(|_| self.wrong(column, std::any::type_name::<T>()))
    }

    /// A text column read as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<T, DbError> {
        serde_json::from_str(self.text(column)?).map_err(|_| self.wrong(column, std::any::type_name::<T>()))
    }

    /// The error for a column that is not what the room expects.
    pub fn wrong(&self, column: usize, expected: &'static str) -> DbError {
        DbError::Column { statement: head(self.statement), column, expected }
    }
}

/// A connection of either engine.
pub(crate) enum Conn<'c> {
    Sqlite(&'c mut Connection),
    Postgres(&'c mut PgConnection),
}

/// A transaction. All statements of the closure it was given to commit together or not at all.
pub struct Tx<'c> {
    conn: Conn<'c>,
    wakes: Vec<&'static str>,
    touched: Touched,
    lost_race: bool,
}

impl<'c> Tx<'c> {
    pub(crate) fn new(conn: Conn<'c>) -> Self {
        Self { conn, wakes: Vec::new(), touched: Touched::default(), lost_race: false }
    }

    /// Consumers to wake when the transaction has committed.
    pub(crate) fn take_wakes(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.wakes)
    }

    /// Tables that may be different when it has committed.
    pub(crate) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Rings the bell of `consumer` (see [`crate::Db::bell`]) when the transaction has committed.
    pub fn wake(&mut self, consumer: &'static str) {
        if !self.wakes.contains(&consumer) {
            self.wakes.push(consumer);
        }
    }

    /// True when a statement failed because another transaction won a race.
    pub(crate) const fn lost_race(&self) -> bool {
        self.lost_race
    }

    /// Runs a statement; returns how many rows it changed.
    pub async fn execute(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<u64, DbError> {
        tracing::trace!(sql, "a statement");
        self.touched.note(sql);
        match &mut self.conn {
            Conn::Sqlite(conn) => conn.execute(sql, args).map_err(|error| DbError::statement(sql, error)),
            Conn::Postgres(conn) => {
                let done = postgres_query(sql, args).execute(&mut **conn).await;
                done.map(|done| done.rows_affected()).map_err(|error| self.failed(sql, error))
            }
        }
    }

    /// All rows of a query.
    pub async fn fetch_all(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        tracing::trace!(sql, "a query of a transaction");
        self.touched.note(sql);
        match &mut self.conn {
            Conn::Sqlite(conn) => conn.fetch_all(sql, args),
            Conn::Postgres(conn) => match postgres_query(sql, args).fetch_all(&mut **conn).await {
                Ok(rows) => rows.iter().map(|row| postgres_row(sql, row)).collect(),
                Err(error) => Err(self.failed(sql, error)),
            },
        }
    }

    /// The first row of a query, if any.
    pub async fn fetch_optional(
        &mut self,
        sql: &'static str,
        args: &[Arg<'_>],
    ) -> Result<Option<Row>, DbError> {
        Ok(self.fetch_all(sql, args).await?.into_iter().next())
    }

    /// All rows of a query that ends in `FOR SHARE`, or in `FOR UPDATE` where this transaction is to change them. They
    /// stay as they are until it ends: who else would change them waits, or fails and tries again.
    ///
    /// Serialisable transactions may commit in another order than the one they are equal to. Who
    /// reads outside of them, after a commit, needs the order of commits: SQLite's one writer has
    /// it, without these words; PostgreSQL has it between a holder and a changer.
    pub async fn fetch_held(&mut self, sql: &'static str, args: &[Arg<'_>]) -> Result<Vec<Row>, DbError> {
        let sql = match self.conn {
            Conn::Sqlite(_) => sql.trim_end_matches("FOR SHARE").trim_end_matches("FOR UPDATE"),
            Conn::Postgres(_) => sql,
        };
        self.fetch_all(sql, args).await
    }

    /// Runs a `LOCK TABLE` until this transaction ends, on PostgreSQL: SQLite's one writer has all tables. It takes no
    /// snapshot, so who waits here sees what was committed meanwhile; behind a query, it would not.
    pub async fn lock_table(&mut self, sql: &'static str) -> Result<(), DbError> {
        match self.conn {
            Conn::Sqlite(_) => Ok(()),
            Conn::Postgres(_) => self.execute(sql, &[]).await.map(|_| ()),
        }
    }

    /// [`Tx::lock_table`] in a mode that others wait behind, as it waits for them: given up for a while when it does not
    /// come soon, so that one long transaction does not hold up all others through this one.
    pub async fn lock_table_alone(&mut self, sql: &'static str) -> Result<(), DbError> {
        self.lock_table(LOCK_TIMEOUT).await?;
        self.lock_table(sql).await
    }

    fn failed(&mut self, sql: &str, error: sqlx::Error) -> DbError {
        let source = DriverError::from(error);
        self.lost_race |= source.is_lost_race();
        DbError::statement(sql, source)
    }
}

/// For the rest of the transaction: row locks end by it as well, and are tried again as well.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '500ms'";

pub(crate) fn head(sql: &str) -> String {
    let mut words: String = sql.split_whitespace().take(5).collect::<Vec<_>>().join(" ");
    words.truncate(60);
    words
}

type PostgresQuery = sqlx::query::Query<'static, Postgres, <Postgres as sqlx::Database>::Arguments>;

pub(crate) fn postgres_query(sql: &'static str, args: &[Arg<'_>]) -> PostgresQuery {
    args.iter().fold(sqlx::query(sql), |query, arg| match *arg {
        Arg::Int(value) => query.bind(value),
        Arg::Text(value) => query.bind(value.map(str::to_owned)),
        Arg::Bytes(value) => query.bind(value.map(<[u8]>::to_vec)),
    })
}

pub(crate) fn postgres_row(statement: &'static str, row: &sqlx::postgres::PgRow) -> Result<Row, DbError> {
    let mut values = Vec::with_capacity(row.columns().len());
    for column in row.columns() {
        let at = column.ordinal();
        let failed = |error: sqlx::Error| DbError::statement(statement, error);
        let raw = row.try_get_raw(at).map_err(failed)?;
        let value = if raw.is_null() {
            Value::Null
        } else {
            match raw.type_info().name() {
                "INT8" => Value::Int(row.try_get(at).map_err(failed)?),
                "INT4" => Value::Int(row.try_get::<i32, _>(at).map_err(failed)?.into()),
                "BOOL" => Value::Int(row.try_get::<bool, _>(at).map_err(failed)?.into()),
                "BYTEA" => Value::Bytes(row.try_get(at).map_err(failed)?),
                _ => Value::Text(row.try_get_unchecked(at).map_err(failed)?),
            }
        };
        values.push(value);
    }
    Ok(Row { values, statement })
}

impl Tx<'_> {
    /// Runs rendered DDL: the one place where SQL is not a literal, and it holds no input.
    pub(crate) async fn execute_ddl(&mut self, sql: String) -> Result<(), DbError> {
        self.touched = Touched::everything();
        match &mut self.conn {
            Conn::Sqlite(conn) => conn.run(&sql).map_err(|error| DbError::statement(&sql, error)),
            Conn::Postgres(conn) => {
                let statement = head(&sql);
                let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut **conn).await;
                done.map(|_| ()).map_err(|error| self.failed(&statement, error))
            }
        }
    }
}
