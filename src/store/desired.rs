//! Desired state as rows of the table `desired`, alike in both databases: keys and values as the bus has them.

use rusqlite::{Connection, Result, params};

use crate::bus::{DesiredChange, decode_entry, encode_entry, key_of, parse_key};
use crate::model::{DesiredState, clean};

/// Reads all of it. A row that cannot be read (of another version) is passed over, with a warning.
pub(super) fn load(conn: &Connection) -> Result<DesiredState> {
    let mut state = DesiredState::default();
    let mut rows = conn.prepare_cached("SELECT key, value FROM desired")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let text = row.get_ref(0)?.as_str()?;
        let Some(key) = parse_key(text) else {
            tracing::warn!(key = clean(text, 200), "desired state: unknown key, passed over");
            continue;
        };
        match decode_entry(key, row.get_ref(1)?.as_blob()?) {
            Ok(change) => change.apply(&mut state),
            Err(error) => tracing::warn!(key = clean(text, 200), %error, "desired state: passed over"),
        }
    }
    Ok(state)
}

/// Writes or removes one entry.
pub(super) fn save(conn: &Connection, change: &DesiredChange) -> Result<()> {
    let key = key_of(&change.key());
    match encode_entry(change) {
        Some(value) => conn
            .prepare_cached("INSERT OR REPLACE INTO desired (key, value) VALUES (?1, ?2)")?
            .execute(params![key, value])?,
        None => conn.prepare_cached("DELETE FROM desired WHERE key = ?1")?.execute([key])?,
    };
    Ok(())
}

/// Makes the rows those of `state`.
pub(super) fn replace(conn: &Connection, state: &DesiredState) -> Result<()> {
    conn.execute("DELETE FROM desired", [])?;
    DesiredChange::all_of(state).iter().try_for_each(|change| save(conn, change))
}
