//! Sessions of browsers that logged in with an access token, kept as hashes only.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::ControllerDb;
use super::tokens::{self, TokenRow};
use crate::model::{Timestamp, TokenId};
use crate::store::error::Fault;
use crate::store::{StoreError, rows};

/// How many sessions one token may have; beyond that its oldest ends.
const MAX_OF_TOKEN: i64 = 32;

/// How many sessions there may be in all; beyond that the oldest ends.
const MAX_LOGINS: i64 = 1_000;

/// The table.
pub(super) const TABLES: &str = "
    CREATE TABLE logins (
        n INTEGER PRIMARY KEY AUTOINCREMENT, sha256 BLOB NOT NULL UNIQUE, token INTEGER NOT NULL,
        expires INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX logins_token ON logins (token, n);
";

/// A session of a browser, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRow {
    /// The token it was made with, whose rights it has.
    pub token: TokenRow,
    /// When it ends by itself.
    pub expires: Timestamp,
}

impl ControllerDb {
    /// Adds a session of `token` by the SHA-256 of its secret. Those that have expired by `now` go, and so do the oldest
    /// where there are too many.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the token was revoked meanwhile.
    pub async fn add_login(
        &self,
        sha256: [u8; 32],
        token: TokenId,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        self.db.write(move |tx| add(tx, &sha256, token, now, expires)).await
    }

    /// The session whose secret has this SHA-256, while it holds.
    pub async fn login(&self, sha256: [u8; 32], now: Timestamp) -> Result<Option<LoginRow>, StoreError> {
        self.db
            .read(move |conn| {
                let mut one = conn.prepare_cached(
                    "SELECT id, name, scope, created, expires FROM logins JOIN tokens ON tokens.id = logins.token
                     WHERE logins.sha256 = ?1 AND expires > ?2",
                )?;
                let found = one.query_row(params![sha256, now.millis()], |row| {
                    Ok(LoginRow { token: tokens::token(row)?, expires: rows::time(row, 4)? })
                });
                Ok(found.optional()?)
            })
            .await
    }

    /// Ends the session whose secret has this SHA-256.
    pub async fn end_login(&self, sha256: [u8; 32]) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                tx.execute("DELETE FROM logins WHERE sha256 = ?1", [sha256])?;
                Ok(())
            })
            .await
    }
}

fn add(
    conn: &Connection,
    sha256: &[u8; 32],
    token: TokenId,
    now: Timestamp,
    expires: Timestamp,
) -> Result<(), Fault> {
    let id = rows::int(token.0);
    if !conn.prepare_cached("SELECT 1 FROM tokens WHERE id = ?1")?.exists([id])? {
        return Err(Fault::Refused("this access token was revoked".to_owned()));
    }
    conn.execute("DELETE FROM logins WHERE expires <= ?1", [now.millis()])?;
    conn.execute(
        "INSERT INTO logins (sha256, token, expires) VALUES (?1, ?2, ?3)",
        params![sha256, id, expires.millis()],
    )?;
    conn.execute(
        "DELETE FROM logins WHERE token = ?1 AND n <= (
             SELECT n FROM logins WHERE token = ?1 ORDER BY n DESC LIMIT 1 OFFSET ?2)",
        [id, MAX_OF_TOKEN],
    )?;
    conn.execute(
        "DELETE FROM logins WHERE n <= (SELECT n FROM logins ORDER BY n DESC LIMIT 1 OFFSET ?1)",
        [MAX_LOGINS],
    )?;
    Ok(())
}

/// Ends every session of a token.
pub(super) fn end_all_of(conn: &Connection, token: TokenId) -> Result<()> {
    conn.execute("DELETE FROM logins WHERE token = ?1", [rows::int(token.0)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scope;
    use crate::store::fixture::{self, Dir};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn sessions_hold_until_they_expire_are_ended_or_lose_their_token() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            let first = db.add_token("first".into(), Scope::Write, [1; 32]).await.unwrap();
            let second = db.add_token("second".into(), Scope::Read, [2; 32]).await.unwrap();
            db.add_login([7; 32], first.id, at(0), at(100)).await.unwrap();
            db.add_login([8; 32], second.id, at(0), at(100)).await.unwrap();
            let row = LoginRow { token: second.clone(), expires: at(100) };
            assert_eq!(db.login([8; 32], at(99)).await.unwrap(), Some(row));
            assert_eq!(db.login([8; 32], at(100)).await.unwrap(), None, "expired");
            assert_eq!(db.login([9; 32], at(0)).await.unwrap(), None, "never was");
            db.revoke_token(second.id).await.unwrap();
            assert_eq!(db.login([8; 32], at(0)).await.unwrap(), None, "its token was revoked");
            let late = db.add_login([9; 32], second.id, at(0), at(100)).await;
            assert!(matches!(late, Err(StoreError::Refused(_))), "{late:?}");
            db.end_login([7; 32]).await.unwrap();
            assert_eq!(db.login([7; 32], at(0)).await.unwrap(), None, "ended");
        });
    }

    #[test]
    fn the_oldest_make_room() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            let busy = db.add_token("busy".into(), Scope::Write, [1; 32]).await.unwrap();
            let other = db.add_token("other".into(), Scope::Read, [2; 32]).await.unwrap();
            db.add_login([255; 32], other.id, at(0), at(100)).await.unwrap();
            let most = u8::try_from(MAX_OF_TOKEN).unwrap();
            for secret in 0..=most {
                db.add_login([secret; 32], busy.id, at(0), at(100)).await.unwrap();
            }
            assert_eq!(db.login([0; 32], at(0)).await.unwrap(), None, "the oldest of the token");
            for kept in [1, most, 255] {
                assert!(db.login([kept; 32], at(0)).await.unwrap().is_some(), "{kept}");
            }
        });
    }
}
