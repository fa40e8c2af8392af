//! The REST interface, blocking.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::sse::SseReader;
use crate::model::clean;
use crate::outbound;

/// Lists of large fleets stay below this, bytes.
const LONGEST_BODY: u64 = 64 * 1024 * 1024;
/// A list waits 4 s for the hosts, an action for one agent; more than this is a fault.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// The longest silence on a stream: the server sends a sign of life more often.
const STREAM_SILENCE: Duration = Duration::from_mins(1);

/// What a server that speaks plain HTTP looks like to TLS.
const NO_TLS: &str = "received corrupt message of type InvalidContentType";

/// Where the server is and how to come in.
#[derive(Debug, Clone, Default)]
pub struct ApiOptions {
    /// `http://host:port` or `https://host:port`.
    pub server: http::Uri,
    /// The access token.
    pub token: Option<String>,
    /// Authorities to trust instead of the public ones, PEM.
    pub ca_pem: Option<Vec<u8>>,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Adds or does.
    Post,
    /// Sets.
    Put,
    /// Takes away.
    Delete,
}

impl From<Method> for http::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::GET,
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Delete => Self::DELETE,
        }
    }
}

/// Why a request came to nothing, by what its caller does next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// Nobody answers there.
    #[error("cannot reach the controller at {server}: {why}")]
    Unreachable {
        /// The server as named.
        server: String,
        /// The system's own words.
        why: String,
    },
    /// The server said no; its own words, cleaned.
    #[error("{detail}")]
    Problem {
        /// The HTTP status.
        status: u16,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// What came back is no answer of a controller.
    #[error("{server} answers, but not as a dockhealth controller does: {why}")]
    Malformed {
        /// The server as named.
        server: String,
        /// What is wrong with it.
        why: String,
    },
}

/// An answer that was not an error.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status, 200 to 299.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's text; `None` when it is absent or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The REST interface of one controller.
pub struct Api {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

impl Api {
    /// Prepares to speak to a server; nothing is sent yet. Fails when `ca_pem` holds no certificate.
    pub fn new(options: ApiOptions) -> Result<Self, String> {
        let agent = outbound::agent(&options.server, options.ca_pem.as_deref())?;
        let base = options.server.to_string().trim_end_matches('/').to_owned();
        Ok(Self { agent, base, token: options.token })
    }

    /// Whether a token is sent along.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Reads `path`, which begins after `/api/v1`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.read(&self.send(Method::Get, path, None)?)
    }

    /// Reads an answer's JSON.
    pub fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ApiError> {
        serde_json::from_slice(&answer.body).map_err(|error| self.malformed(error.to_string()))
    }

    /// Sends a request to `path`, which begins after `/api/v1`.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, ApiError> {
        let body = body.map(serde_json::Value::to_string);
        let request = self.request(method, path);
        let answer = match body {
            Some(json) => {
                self.run(request.header("Content-Type", "application/json"), json, Some(ANSWER_WITHIN))
            }
            None => self.run(request, (), Some(ANSWER_WITHIN)),
        }?;
        self.check(answer)
    }

    /// Opens the stream at `path`, from after `last` where one is given.
    pub fn stream(&self, path: &str, last: Option<&str>) -> Result<SseReader, ApiError> {
        let mut request = self.request(Method::Get, path).header("Accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = self.run(request, (), None)?;
        if !answer.status().is_success() {
            return Err(self.check(answer).err().unwrap_or_else(|| self.malformed("no stream".into())));
        }
        Ok(SseReader::new(answer.into_body().into_reader()))
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = http::Request::builder()
            .method(http::Method::from(method))
            .uri(format!("{}/api/v1{path}", self.base));
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn run(
        &self,
        request: http::request::Builder,
        body: impl ureq::AsSendBody,
        within: Option<Duration>,
    ) -> Result<http::Response<ureq::Body>, ApiError> {
        let request = request.body(body).map_err(|error| self.malformed(error.to_string()))?;
        let silence = if within.is_none() { Some(STREAM_SILENCE) } else { None };
        let request =
            self.agent.configure_request(request).timeout_global(within).timeout_per_read(silence).build();
        self.agent.run(request).map_err(|error| self.failed(&error))
    }

    fn check(&self, mut answer: http::Response<ureq::Body>) -> Result<Answer, ApiError> {
        let status = answer.status().as_u16();
        let body = answer
            .body_mut()
            .with_config()
            .limit(LONGEST_BODY)
            .read_to_vec()
            .map_err(|error| self.failed(&error))?;
        if (200..300).contains(&status) {
            return Ok(Answer { status, headers: answer.headers().clone(), body });
        }
        let problem: Option<Problem> = serde_json::from_slice(&body).ok();
        let detail = problem
            .and_then(|problem| problem.detail.or(problem.title))
            .map_or_else(|| format!("{} answers with HTTP status {status}", self.base), |d| clean(&d, 1_000));
        Err(ApiError::Problem { status, detail })
    }

    fn failed(&self, error: &ureq::Error) -> ApiError {
        match error {
            ureq::Error::BodyExceedsLimit(_) | ureq::Error::Protocol(_) => self.malformed(error.to_string()),
            _ => {
                let why = error.to_string();
                let why = match why.strip_prefix("io: ").unwrap_or(&why) {
                    NO_TLS => "it does not speak TLS there; is it http:// and not https://?".to_owned(),
                    why => why.to_owned(),
                };
                ApiError::Unreachable { server: self.base.clone(), why }
            }
        }
    }

    fn malformed(&self, why: String) -> ApiError {
        ApiError::Malformed { server: self.base.clone(), why }
    }
}
