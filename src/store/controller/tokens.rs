//! Access tokens, kept as hashes only.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::{ControllerDb, logins};
use crate::model::{Scope, Timestamp, TokenId};
use crate::store::error::Fault;
use crate::store::{StoreError, rows};

/// How many tokens there may be.
pub const MAX_TOKENS: u64 = 1000;

/// An access token, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Names it.
    pub id: TokenId,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made.
    pub created: Timestamp,
}

const COLUMNS: &str = "id, name, scope, created";

impl ControllerDb {
    /// Every token, oldest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.db
            .read(|conn| {
                let mut all = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM tokens ORDER BY id"))?;
                Ok(all.query_map([], token)?.collect::<Result<_>>()?)
            })
            .await
    }

    /// Adds a token by the SHA-256 of its secret; an id is never used twice.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there are [`MAX_TOKENS`] already, or one with this secret.
    pub async fn add_token(
        &self,
        name: String,
        scope: Scope,
        sha256: [u8; 32],
    ) -> Result<TokenRow, StoreError> {
        let created = Timestamp::now();
        self.db.write(move |tx| add(tx, name, scope, created, &sha256)).await
    }

    /// Removes a token, ends its sessions and gives what it was; `None` when there is none of this id.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it is the last that may write.
    pub async fn revoke_token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        self.db.write(move |tx| revoke(tx, id)).await
    }

    /// Whether there is a token of this id.
    pub async fn has_token(&self, id: TokenId) -> Result<bool, StoreError> {
        self.db
            .read(move |conn| {
                let mut one = conn.prepare_cached("SELECT 1 FROM tokens WHERE id = ?1")?;
                Ok(one.exists([rows::int(id.0)])?)
            })
            .await
    }

    /// The token whose secret has this SHA-256.
    pub async fn token_by_hash(&self, sha256: [u8; 32]) -> Result<Option<TokenRow>, StoreError> {
        self.db
            .read(move |conn| {
                let mut one =
                    conn.prepare_cached(&format!("SELECT {COLUMNS} FROM tokens WHERE sha256 = ?1"))?;
                Ok(one.query_row([sha256], token).optional()?)
            })
            .await
    }
}

fn add(
    conn: &Connection,
    name: String,
    scope: Scope,
    created: Timestamp,
    sha256: &[u8; 32],
) -> Result<TokenRow, Fault> {
    let there = conn.query_row("SELECT count(*) FROM tokens", [], |row| rows::count(row, 0))?;
    if there >= MAX_TOKENS {
        return Err(Fault::Refused(format!("there are {there} access tokens already: revoke some")));
    }
    let added = conn.execute(
        "INSERT OR IGNORE INTO tokens (name, scope, created, sha256) VALUES (?1, ?2, ?3, ?4)",
        params![name, rows::json(&scope), created.millis(), sha256],
    )?;
    if added == 0 {
        return Err(Fault::Refused("this access token exists already".to_owned()));
    }
    let id = TokenId(conn.last_insert_rowid().unsigned_abs());
    Ok(TokenRow { id, name, scope, created })
}

fn revoke(conn: &Connection, id: TokenId) -> Result<Option<TokenRow>, Fault> {
    let one = format!("SELECT {COLUMNS} FROM tokens WHERE id = ?1");
    let Some(found) = conn.query_row(&one, [rows::int(id.0)], token).optional()? else { return Ok(None) };
    let of_scope = "SELECT count(*) FROM tokens WHERE scope = ?1";
    let writers = conn.query_row(of_scope, [rows::json(&Scope::Write)], |row| rows::count(row, 0))?;
    if found.scope == Scope::Write && writers == 1 {
        return Err(Fault::Refused("this is the last token that may write: make another first".to_owned()));
    }
    logins::end_all_of(conn, id)?;
    conn.execute("DELETE FROM tokens WHERE id = ?1", [rows::int(id.0)])?;
    Ok(Some(found))
}

pub(super) fn token(row: &Row<'_>) -> Result<TokenRow> {
    Ok(TokenRow {
        id: TokenId(rows::count(row, 0)?),
        name: row.get(1)?,
        scope: rows::from_json(row, 2)?,
        created: rows::time(row, 3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{self, Dir};

    #[test]
    fn tokens_are_found_by_hash_until_revoked_and_ids_are_not_reused() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            let first = db.add_token("first".into(), Scope::Write, [1; 32]).await.unwrap();
            let second = db.add_token("second".into(), Scope::Read, [2; 32]).await.unwrap();
            let twice = db.add_token("again".into(), Scope::Write, [2; 32]).await;
            assert!(matches!(twice, Err(StoreError::Refused(_))));
            assert_eq!(db.token_by_hash([2; 32]).await.unwrap(), Some(second.clone()));
            assert!(db.has_token(second.id).await.unwrap());
            assert_eq!(db.revoke_token(second.id).await.unwrap(), Some(second.clone()));
            assert_eq!(db.revoke_token(second.id).await.unwrap(), None);
            assert!(!db.has_token(second.id).await.unwrap());
            assert_eq!(db.token_by_hash([2; 32]).await.unwrap(), None);
            let third = db.add_token("third".into(), Scope::Read, [3; 32]).await.unwrap();
            assert!(third.id > second.id);
            assert_eq!(db.tokens().await.unwrap(), [first, third]);
        });
    }

    #[test]
    fn one_token_that_may_write_is_left_whoever_revokes_at_once() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            db.add_token("reader".into(), Scope::Read, [0; 32]).await.unwrap();
            let one = db.add_token("one".into(), Scope::Write, [1; 32]).await.unwrap();
            let two = db.add_token("two".into(), Scope::Write, [2; 32]).await.unwrap();
            let both = tokio::join!(db.revoke_token(one.id), db.revoke_token(two.id));
            assert!(matches!(both, (Ok(Some(_)), Err(StoreError::Refused(_)))), "{both:?}");
            assert!(db.has_token(two.id).await.unwrap());
        });
    }
}
