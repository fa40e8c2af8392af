//! Logging in with a token, for browsers: a cookie that scripts cannot read stands for it.
//!
//! A session lasts seven days and is kept as SHA-256 of its secret only. A page of another site cannot use it: the cookie
//! is `SameSite=Strict`, the door checks `Origin`, and every change must repeat a word in `X-CSRF-Token` that only our own
//! pages can read. The word follows from the secret, which does not follow from the word.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use warp::reply::Response;

use super::attempts::Attempts;
use super::auth::{Access, Origin, Pass, Shown, admit, hash, hex};
use super::problem::Problem;
use super::request::{Request, Scheme};
use super::{Answer, Api, json, no_content};
use crate::model::{Mono, Scope, Timestamp};
use crate::store::{ControllerDb, StoreError};

/// The cookie's name.
const COOKIE: &str = "dockhealth_session";

/// What every session's secret begins with.
const PREFIX: &str = "dhs_";

/// The header in which every change repeats the session's word.
const CSRF: &str = "x-csrf-token";

/// How long a session lasts, whatever is done in it.
const LASTS: Duration = Duration::from_hours(7 * 24);

/// Who is logged in, and what may be done from here without.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Session {
    /// What the session, or the token of the Authorization header, allows; null: nobody is logged in.
    scope: Option<Scope>,
    /// The token's name; null: nobody is logged in.
    name: Option<String>,
    /// What every request that changes something must repeat in the header `X-CSRF-Token`; null without a session.
    csrf: Option<String>,
    /// When the session ends by itself; null without a session.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires: Option<Timestamp>,
    /// Whether reading needs no token from here: the caller is on this machine.
    local_read: bool,
    /// The controller's version; null for those who may not read.
    version: Option<&'static str>,
}

/// Who wants to log in.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// The access token.
    token: String,
}

/// Wrong tokens tried lately.
#[derive(Debug, Default)]
pub(crate) struct Logins(std::sync::Mutex<Attempts>);

impl Logins {
    fn begin(&self, place: IpAddr, now: Mono) -> Result<(), Problem> {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.begin(place, now).map_err(|wait| {
            let seconds = wait.as_secs() + 1;
            let detail = format!("too many wrong tokens were tried from {place}: try again in {seconds} s");
            let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail);
            problem.retry_after = Some(seconds);
            problem
        })
    }

    fn succeeded(&self, place: IpAddr, now: Mono) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).succeeded(place, now);
    }
}

/// Who is logged in.
///
/// Always 200: null where nobody is, and whether reading needs a login from here.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "session",
    responses((status = 200, description = "Who is logged in", body = Session))
)]
pub(super) async fn show(_api: Arc<Api>, request: Request) -> Answer {
    Ok(json(StatusCode::OK, &view(&request.shown, request.origin)))
}

/// Log in with a token, for browsers: sets the cookie `dockhealth_session`.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "session",
    request_body = Login,
    responses(
        (status = 200, description = "Logged in, for seven days", body = Session),
        (status = 400, description = "No token", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "Not a token that holds", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong tokens from there", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn login(api: Arc<Api>, request: Request) -> Answer {
    let login: Login = request.json("{\"token\": \"dh_...\"}")?;
    let now = api.clock.now();
    api.logins.begin(request.place, now.mono)?;
    let Some(token) = api.db.token_by_hash(hash(login.token.trim())).await? else {
        tracing::info!("a login from {} was refused: no such token", request.place);
        let detail = "this is not an access token that holds: the first is in the file `token` in the controller's \
                      data directory; one that may write makes others";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
    };
    api.logins.succeeded(request.place, now.mono);
    let secret = format!("{PREFIX}{}", hex(&rand::random::<[u8; 32]>()));
    let expires = now.wall.after(LASTS);
    api.db.add_login(hash(&secret), token.id, now.wall, expires).await?;
    tracing::info!("a browser at {} logged in with the token {:?}", request.place, token.name);
    let csrf = csrf_of(&secret);
    let shown = Shown::Token(token, Pass::Login { sha256: hash(&secret), csrf, expires });
    let mut response = json(StatusCode::OK, &view(&shown, request.origin));
    set_cookie(&mut response, &secret, LASTS, request.scheme);
    Ok(response)
}

/// Log out: ends the session and its streams, and removes the cookie.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "session",
    params(("X-CSRF-Token" = Option<String>, Header, description = "The session's word; needed where there is a session")),
    responses((status = 204, description = "Logged out; so it is where nobody was logged in"))
)]
pub(super) async fn logout(api: Arc<Api>, request: Request) -> Answer {
    check_csrf(&request.headers, &request.shown)?;
    if let Shown::Token(_, Pass::Login { sha256, .. }) = request.shown {
        api.db.end_login(sha256).await?;
        api.revoked.send_replace(());
    }
    let mut response = no_content();
    set_cookie(&mut response, "", Duration::ZERO, request.scheme);
    Ok(response)
}

fn view(shown: &Shown, origin: Origin) -> Session {
    let local_read = admit(Access::Read, &Shown::Nothing, origin).is_ok();
    let token = if let Shown::Token(token, _) = shown { Some(token) } else { None };
    let (csrf, expires) = match shown {
        Shown::Token(_, Pass::Login { csrf, expires, .. }) => (Some(csrf.clone()), Some(*expires)),
        _ => (None, None),
    };
    Session {
        scope: token.map(|token| token.scope),
        name: token.map(|token| token.name.clone()),
        csrf,
        expires,
        local_read,
        version: (local_read || token.is_some()).then_some(env!("CARGO_PKG_VERSION")),
    }
}

/// What the request's cookie shows.
pub(super) async fn shown(
    headers: &HeaderMap,
    db: &ControllerDb,
    now: Timestamp,
) -> Result<Shown, StoreError> {
    let Some(secret) = cookie(headers) else { return Ok(Shown::Nothing) };
    let sha256 = hash(secret);
    let found = db.login(sha256, now).await?;
    Ok(found.map_or(Shown::Ended, |login| {
        Shown::Token(login.token, Pass::Login { sha256, csrf: csrf_of(secret), expires: login.expires })
    }))
}

/// Refuses what a session is to change without its word.
pub(super) fn check_csrf(headers: &HeaderMap, shown: &Shown) -> Result<(), Problem> {
    let Shown::Token(_, Pass::Login { csrf, .. }) = shown else { return Ok(()) };
    let given = headers.get(CSRF).map_or(&b""[..], HeaderValue::as_bytes);
    if given.ct_eq(csrf.as_bytes()).into() {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "a change by a logged in browser must repeat the session's `csrf` in the header X-CSRF-Token; \
         GET /api/v1/session tells it",
    ))
}

fn csrf_of(secret: &str) -> String {
    let word = Sha256::new().chain_update("csrf ").chain_update(secret).finalize();
    hex(&word)
}

/// The secret in the session's cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, value)| *name == COOKIE && value.starts_with(PREFIX)).map(|(_, value)| value)
}

fn set_cookie(response: &mut Response, secret: &str, lasts: Duration, scheme: Scheme) {
    let mut cookie =
        format!("{COOKIE}={secret}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict", lasts.as_secs());
    if scheme == Scheme::Https {
        cookie.push_str("; Secure");
    }
    let value = HeaderValue::from_str(&cookie).expect("hexadecimal digits and plain words");
    response.headers_mut().insert(header::SET_COOKIE, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let find = |values: &[&'static str]| {
            let pairs = values.iter().map(|v| (header::COOKIE, HeaderValue::from_static(v)));
            cookie(&pairs.collect::<HeaderMap>()).map(str::to_owned)
        };
        assert_eq!(find(&["a=b; dockhealth_session=dhs_1; c=d"]).as_deref(), Some("dhs_1"));
        assert_eq!(find(&["a=b", "dockhealth_session=dhs_2"]).as_deref(), Some("dhs_2"));
        for none in [
            "",
            "dockhealth_session",
            "dockhealth_session=",
            "dockhealth_session=dh_x",
            "xdockhealth_session=dhs_1",
        ] {
            assert_eq!(find(&[none]), None, "{none:?}");
        }
    }

    #[test]
    fn the_word_does_not_show_the_secret_or_its_hash() {
        let (one, other) = (csrf_of("dhs_1"), csrf_of("dhs_2"));
        assert_eq!(one.len(), 64);
        assert_ne!(one, other);
        assert_ne!(one, hex(&hash("dhs_1")));
    }
}
