//! Access tokens: 256 random bits, kept as SHA-256 only.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};

use super::problem::Problem;
use super::session;
use crate::controller::StartError;
use crate::model::{Scope, Timestamp, TokenId, clean};
use crate::store::{ControllerDb, StoreError, TokenRow};

/// What every token begins with, so that one is recognised where it was leaked.
const PREFIX: &str = "dh_";

/// The name of tokens made at start.
const FIRST_NAME: &str = "first token";

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: it tells nothing of the fleet.
    Open,
    /// A token, unless the caller is on this machine.
    Read,
    /// A token of this scope, always.
    Token(Scope),
}

/// What the caller of a request showed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// No token.
    Nothing,
    /// Something that is no token of ours.
    Unknown,
    /// The cookie of a session that is over.
    Ended,
    /// A token, and how.
    Token(TokenRow, Pass),
}

/// What lets a caller in; it may end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pass {
    /// A token in the Authorization header.
    Bearer(TokenId),
    /// The cookie of a session.
    Login {
        /// The SHA-256 of its secret.
        sha256: [u8; 32],
        /// What changes must repeat in `X-CSRF-Token`.
        csrf: String,
        /// When it ends by itself.
        expires: Timestamp,
    },
}

impl Pass {
    /// Whether it still lets in at `now`.
    pub(crate) async fn holds(&self, db: &ControllerDb, now: Timestamp) -> Result<bool, StoreError> {
        match self {
            Self::Bearer(token) => db.has_token(*token).await,
            Self::Login { sha256, .. } => Ok(db.login(*sha256, now).await?.is_some()),
        }
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This machine.
    Local,
    /// Elsewhere.
    Remote,
}

/// Whether a caller who showed `shown` gets `access`.
pub(crate) fn admit(access: Access, shown: &Shown, origin: Origin) -> Result<(), Problem> {
    let needed = match access {
        Access::Open => return Ok(()),
        Access::Read => Scope::Read,
        Access::Token(scope) => scope,
    };
    match shown {
        Shown::Token(token, _) if token.scope.allows(needed) => Ok(()),
        Shown::Token(token, _) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("the token {:?} may only {}; this needs one that may {needed}", token.name, token.scope),
        )),
        Shown::Nothing | Shown::Ended if access == Access::Read && origin == Origin::Local => Ok(()),
        Shown::Ended => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "this session is over: log in again, with a token that was not revoked",
        )),
        Shown::Nothing => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            format!(
                "this needs a token that may {needed}, as `Authorization: Bearer TOKEN`; the first is in the file \
                 `token` in the controller's data directory"
            ),
        )),
        Shown::Unknown => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "the Authorization header holds no valid token: write `Authorization: Bearer TOKEN`, with one that was \
             not revoked",
        )),
    }
}

/// What the request's headers show: where there is an Authorization header, no cookie counts.
pub(crate) async fn shown(
    headers: &HeaderMap,
    db: &ControllerDb,
    now: Timestamp,
) -> Result<Shown, StoreError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return session::shown(headers, db, now).await };
    let secret = value.to_str().ok().and_then(bearer).filter(|_| values.next().is_none());
    let Some(secret) = secret else { return Ok(Shown::Unknown) };
    let found = db.token_by_hash(hash(secret)).await?;
    Ok(found.map_or(Shown::Unknown, |token| {
        let pass = Pass::Bearer(token.id);
        Shown::Token(token, pass)
    }))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, secret) = value.split_once(' ')?;
    let secret = secret.trim();
    (scheme.eq_ignore_ascii_case("bearer") && secret.starts_with(PREFIX)).then_some(secret)
}

pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// In hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(digits, "{byte:02x}").expect("a String takes all");
    }
    digits
}

fn new_secret() -> String {
    format!("{PREFIX}{}", hex(&rand::random::<[u8; 32]>()))
}

/// Makes a token and stores its hash; gives its row and its secret, which is kept nowhere. The name is cleaned.
pub async fn mint_token(
    db: &ControllerDb,
    name: &str,
    scope: Scope,
) -> Result<(TokenRow, String), StoreError> {
    let secret = new_secret();
    let row = db.add_token(clean(name, 64), scope, hash(&secret)).await?;
    Ok((row, secret))
}

/// Makes the first token where there is none yet, and writes it to `file`, readable by its owner only. Where there
/// are tokens, a missing file is left alone, since whoever removed it meant to; an empty one asks for a new token,
/// which is how one who lost them all gets in again.
pub(crate) async fn first_token(db: &ControllerDb, file: &Path) -> Result<(), StartError> {
    let asked_for = std::fs::metadata(file).is_ok_and(|meta| meta.len() == 0);
    if !asked_for && !db.tokens().await?.is_empty() {
        if !file.exists() {
            let file = file.display();
            tracing::info!(
                "{file} is gone; tokens made before still hold. For a new one: POST /api/v1/tokens with one that may \
                 write; or make an empty file {file} and start the controller again"
            );
        }
        return Ok(());
    }
    // The file first: a crash between the two leaves a file whose token is unknown, never one that nobody has.
    let secret = new_secret();
    write_private(file, &secret).map_err(|source| {
        let what = format!("cannot write an access token to {}", file.display());
        StartError::Io { what, source }
    })?;
    db.add_token(FIRST_NAME.into(), Scope::Write, hash(&secret)).await?;
    tracing::info!("an access token that may write is in {}", file.display());
    Ok(())
}

fn write_private(file: &Path, secret: &str) -> std::io::Result<()> {
    let fresh = file.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut writer = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    writeln!(writer, "{secret}")?;
    writer.sync_all()?;
    std::fs::rename(&fresh, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_in() {
        let token = |scope| {
            let (id, created) = (TokenId(1), Timestamp::from_millis(0));
            Shown::Token(TokenRow { id, name: "t".into(), scope, created }, Pass::Bearer(id))
        };
        let (read, write) = (Access::Read, Access::Token(Scope::Write));
        let (local, remote) = (Origin::Local, Origin::Remote);
        for (access, shown, origin, status) in [
            (Access::Open, Shown::Nothing, remote, 200),
            (Access::Open, Shown::Unknown, remote, 200),
            (read, Shown::Nothing, local, 200),
            (read, Shown::Nothing, remote, 401),
            (read, Shown::Unknown, local, 401),
            (read, Shown::Ended, local, 200),
            (read, Shown::Ended, remote, 401),
            (write, Shown::Ended, local, 401),
            (read, token(Scope::Read), remote, 200),
            (read, token(Scope::Write), remote, 200),
            (write, Shown::Nothing, local, 401),
            (write, Shown::Unknown, local, 401),
            (write, token(Scope::Read), local, 403),
            (write, token(Scope::Write), remote, 200),
        ] {
            let got = admit(access, &shown, origin).map_or_else(|p| p.status, |()| 200);
            assert_eq!(got, status, "{access:?} {shown:?} {origin:?}");
        }
    }

    #[test]
    fn only_bearer_tokens_of_ours_are_looked_up() {
        let secret = new_secret();
        assert_eq!(secret.len(), PREFIX.len() + 64);
        assert_ne!(secret, new_secret());
        assert_eq!(bearer(&format!("bearer {secret}")), Some(secret.as_str()));
        for bad in ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer something", &secret] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_file_is_private_and_replaces_what_was_there() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "old").unwrap();
        write_private(&file, "dh_new").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "dh_new\n");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
