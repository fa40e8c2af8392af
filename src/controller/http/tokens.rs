//! Access tokens: list, make, revoke.

use std::sync::Arc;

use http::StatusCode;

use super::auth::mint_token;
use super::dto::{NewToken, Token, TokenRequest};
use super::problem::{Problem, quoted};
use super::request::Request;
use super::{Answer, Api, json, no_content};
use crate::model::{Actor, EventDraft, EventKind, TokenId};

/// The longest name of a token, characters.
const LONGEST_NAME: usize = 64;

/// The access tokens, without their secrets.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "tokens",
    responses((status = 200, description = "The tokens, oldest first", body = Vec<Token>)),
    security(("token" = []))
)]
pub(super) async fn list(api: Arc<Api>, _request: Request) -> Answer {
    let tokens: Vec<Token> = api.db.tokens().await?.into_iter().map(Token::from).collect();
    Ok(json(StatusCode::OK, &tokens))
}

/// Make an access token. Its secret is shown this once.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "tokens",
    request_body = TokenRequest,
    responses(
        (status = 201, description = "Made", body = NewToken),
        (status = 400, description = "No name or scope", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn create(api: Arc<Api>, request: Request) -> Answer {
    let wanted: TokenRequest = request.json("{\"name\": \"ci\", \"scope\": \"read\"} (or \"write\")")?;
    let name = wanted.name.trim();
    let printable = crate::model::clean(name, LONGEST_NAME) == name;
    if name.is_empty() || !printable {
        let detail = format!("name: {} is not 1 to {LONGEST_NAME} printable characters", quoted(name));
        return Err(Problem::bad_request(detail));
    }
    let (row, token) = mint_token(&api.db, name, wanted.scope).await?;
    record(&api, format!("token {name:?} that may {} was made (by {})", row.scope, request.caller)).await;
    let made = NewToken { id: row.id, name: row.name, scope: row.scope, token };
    Ok(json(StatusCode::CREATED, &made))
}

/// Revoke an access token.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "tokens",
    params(("id" = u64, Path)),
    responses(
        (status = 204, description = "Revoked"),
        (status = 404, description = "No such token", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is the last that may write", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn revoke(api: Arc<Api>, request: Request) -> Answer {
    let text = request.segment(0);
    let unknown =
        || Problem::not_found(format!("there is no token {}; GET /api/v1/tokens lists them", quoted(text)));
    let id: TokenId = text.parse().map_err(|_| unknown())?;
    let token = api.db.revoke_token(id).await?.ok_or_else(unknown)?;
    api.revoked.send_replace(());
    record(&api, format!("token {:?} was revoked (by {})", token.name, request.caller)).await;
    Ok(no_content())
}

async fn record(api: &Api, reason: String) {
    let draft = EventDraft::new(EventKind::TokenChanged, Actor::Operator, reason);
    api.history.record(None, draft, api.clock.now().wall).await;
}
