//! Errors as clients read them: RFC 9457 problem details.

use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use warp::reply::Response;

use crate::bus::BusError;
use crate::model::IdError;

/// The most text of a client's own that a problem repeats, characters.
const QUOTED: usize = 80;

/// After how many seconds to try again what is not available.
const AGAIN: u64 = 2;

/// RFC 9457 problem details; `detail` says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What is wrong here, and what would be right.
    pub detail: String,
    /// The methods there are, for 405.
    #[serde(skip)]
    pub(crate) allow: Option<String>,
    /// Seconds after which a next try makes sense, where that is known.
    #[serde(skip)]
    pub(crate) retry_after: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            allow: None,
            retry_after: None,
        }
    }

    /// 400: the request cannot be read.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503: try again later.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 500: the log has the cause, the client does not.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "something failed inside; the controller's log says what",
        )
    }

    /// The problem as a response.
    pub(crate) fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("plain data becomes JSON");
        let mut response = Response::new(body.into());
        *response.status_mut() = StatusCode::from_u16(self.status).expect("made from a status");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.status {
            401 => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            // What is left of the body cannot be told from a next request.
            408 | 413 => drop(headers.insert(header::CONNECTION, HeaderValue::from_static("close"))),
            _ => {}
        }
        let retry_after = self.retry_after.or((self.status == 503).then_some(AGAIN));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self.allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

impl From<IdError> for Problem {
    fn from(error: IdError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<BusError> for Problem {
    fn from(error: BusError) -> Self {
        match error {
            BusError::NoAnswer(_) => Self::new(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
            BusError::Disconnected(_) => {
                Self::unavailable(format!("{error}; the controller reconnects by itself, try again"))
            }
            BusError::Refused(_) | BusError::TooLarge { .. } => {
                Self::unavailable(format!("{error}; check the controller's rights there"))
            }
            BusError::Malformed(_) => Self::new(StatusCode::BAD_GATEWAY, error.to_string()),
        }
    }
}

/// A client's text, safe to repeat to it.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", crate::model::clean(text, QUOTED))
}
