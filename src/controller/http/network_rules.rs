//! The rules of network monitoring: read, set, and where to start from.

use std::sync::Arc;

use http::{StatusCode, header};
use serde::Serialize;

use super::problem::Problem;
use super::request::Request;
use super::{Answer, Api, json, no_content, typed};
use crate::controller::desired::{Change, ChangeError};
use crate::model::{NetworkRules, RulesTemplate};

const TOML: &str = "application/toml";

/// A set of rules to start from.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct TemplateView {
    /// Its name: `template = "bridge"` as the first line of rules takes the rest from it.
    name: &'static str,
    /// What it is for.
    help: &'static str,
    /// The rules, every field said.
    rules: NetworkRules,
    /// The same as TOML.
    toml: String,
}

/// A form of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Toml,
}

impl Form {
    fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Toml => "toml",
        }
    }
}

/// The rules of network monitoring that hold: what is traced and measured, on all hosts.
#[utoipa::path(
    get, path = "/api/v1/network/rules", tag = "network",
    params(("format" = Option<String>, Query, description = "json or toml; by the header Accept when absent")),
    responses(
        (status = 200, description = "The rules, every field said", content((NetworkRules = "application/json"), (String = "application/toml"))),
        (status = 503, description = "The bus is down", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(api: Arc<Api>, request: Request) -> Answer {
    let given = request.query.words("format", &[Form::Json, Form::Toml], Form::as_str)?;
    let accepts = |wanted: &str| {
        let accept = request.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains(wanted))
    };
    let form = match given.as_deref() {
        Some([form]) => *form,
        Some(_) => return Err(Problem::bad_request("query parameter format: give one word")),
        None if accepts(TOML) => Form::Toml,
        None => Form::Json,
    };
    let rules = api.desired.state().ok_or(ChangeError::NotRead)?.rules.clone().unwrap_or_default();
    Ok(match form {
        Form::Json => json(StatusCode::OK, &rules),
        Form::Toml => typed(TOML, rules.to_toml()),
    })
}

/// Set the rules of network monitoring.
///
/// What is not said is as in `template`, where one is named, or by default. All agents follow at once, and keep the rules
/// while the bus is down.
#[utoipa::path(
    put, path = "/api/v1/network/rules", tag = "network",
    request_body(content((NetworkRules = "application/json"), (String = "application/toml")), description = "The rules; at most 32 KiB"),
    responses(
        (status = 200, description = "Stored; the rules with every field said", body = NetworkRules),
        (status = 400, description = "Not such rules; the detail names the field", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The bus is down", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn set(api: Arc<Api>, request: Request) -> Answer {
    let text = std::str::from_utf8(&request.body)
        .map_err(|_| Problem::bad_request("the body must be rules as JSON or TOML: it is not UTF-8"))?;
    let told =
        request.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = match told {
        told if told.contains("toml") => Form::Toml,
        told if told.contains("json") => Form::Json,
        _ if text.trim_start().starts_with('{') => Form::Json,
        _ => Form::Toml,
    };
    if text.trim().is_empty() {
        return Err(Problem::bad_request(
            "the body must be rules as JSON or TOML: it is empty; DELETE has the defaults hold again",
        ));
    }
    let rules = match form {
        Form::Json => NetworkRules::from_json(text),
        Form::Toml => NetworkRules::from_toml(text),
    };
    let rules = rules.map_err(|error| Problem::bad_request(error.to_string()))?;
    api.desired.change(Change::Rules(Some(Box::new(rules.clone()))), &request.caller).await?;
    Ok(json(StatusCode::OK, &rules))
}

/// Have the default rules of network monitoring hold again.
#[utoipa::path(
    delete, path = "/api/v1/network/rules", tag = "network",
    responses(
        (status = 204, description = "The defaults hold"),
        (status = 503, description = "The bus is down", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = []))
)]
pub(super) async fn unset(api: Arc<Api>, request: Request) -> Answer {
    api.desired.change(Change::Rules(None), &request.caller).await?;
    Ok(no_content())
}

/// Rules to start from, for common setups.
#[utoipa::path(
    get, path = "/api/v1/network/rules/templates", tag = "network",
    responses((status = 200, description = "The templates", body = Vec<TemplateView>))
)]
pub(super) async fn templates(_api: Arc<Api>, _request: Request) -> Answer {
    let templates = RulesTemplate::ALL.map(|template| {
        let rules = template.rules();
        TemplateView { name: template.as_str(), help: template.help(), toml: rules.to_toml(), rules }
    });
    Ok(json(StatusCode::OK, &templates))
}
