//! Between SQLite's values and ours: integers are signed, times are milliseconds since 1970 UTC, names and words
//! are text, the rest is JSON.

use std::error::Error;
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Connection, Result, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::Timestamp;

/// A count as SQLite has it. No counter of ours comes near the limit; one from outside is checked where it enters.
pub(super) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Reads a count.
pub(super) fn count(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// Reads a time.
pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

/// Reads a time that may be absent.
pub(super) fn time_or_none(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column).map(|millis| millis.map(Timestamp::from_millis))
}

/// Reads a name or id and checks it.
pub(super) fn name<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|e: T::Err| unreadable(column, e))
}

/// Reads a name or id that may be absent.
pub(super) fn name_or_none<T>(row: &Row<'_>, column: usize) -> Result<Option<T>>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    match row.get_ref(column)?.as_str_or_null()? {
        Some(text) => text.parse().map(Some).map_err(|e: T::Err| unreadable(column, e)),
        None => Ok(None),
    }
}

/// JSON text of plain data.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data becomes JSON")
}

/// Reads JSON.
pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|e| unreadable(column, e))
}

/// Reads JSON that may be absent.
pub(super) fn from_json_or_none<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    match row.get_ref(column)?.as_str_or_null()? {
        Some(text) => serde_json::from_str(text).map(Some).map_err(|e| unreadable(column, e)),
        None => Ok(None),
    }
}

/// A kept sum, e.g. of bytes; 0 until first added to.
pub(super) fn counter(conn: &Connection, name: &str) -> Result<u64> {
    conn.prepare_cached("SELECT coalesce(max(value), 0) FROM counters WHERE name = ?1")?
        .query_row([name], |row| count(row, 0))
}

/// Adds to a kept sum.
pub(super) fn add_to_counter(conn: &Connection, name: &str, delta: i64) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO counters (name, value) VALUES (?1, max(0, ?2))
         ON CONFLICT (name) DO UPDATE SET value = max(0, value + ?2)",
    )?
    .execute(params![name, delta])?;
    Ok(())
}

fn unreadable(column: usize, error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
