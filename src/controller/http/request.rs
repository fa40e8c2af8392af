//! A request, read whole and checked: path, query and body.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::auth::{Origin, Shown};
use super::problem::{Problem, quoted};
use crate::model::{ContainerKey, HostName};

/// The longest body that is read, bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// The same of a drill's report.
pub(crate) const MAX_REPORT: usize = 1024 * 1024;

/// How long a client may take to send its body.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Both ends of the connection a request came over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// The client's address, from TCP itself.
    pub(crate) peer: SocketAddr,
    /// Ours.
    pub(crate) local: SocketAddr,
    /// Whether it is encrypted.
    pub(crate) scheme: Scheme,
}

/// How a connection is spoken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

/// How a request arrived, beside what warp itself hands on.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) link: Link,
    /// The target as the client wrote it.
    pub(crate) uri: Uri,
}

/// A request after routing: `path` holds the values of the route's placeholders.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) path: Vec<String>,
    pub(crate) query: Query,
    pub(crate) body: Bytes,
    /// Who asks: the name of the token, or the address.
    pub(crate) caller: String,
    /// What the caller showed.
    pub(crate) shown: Shown,
    /// Whether it was made on this machine.
    pub(crate) origin: Origin,
    /// The address it came from; before a proxy on this machine, where there is one.
    pub(crate) place: IpAddr,
    /// What the caller spoke; to a proxy, where there is one.
    pub(crate) scheme: Scheme,
}

impl Request {
    /// The host and container the path names.
    pub(crate) fn container(&self) -> Result<ContainerKey, Problem> {
        Ok(ContainerKey { host: self.host()?, name: self.segment(1).parse()? })
    }

    /// The host the path names.
    pub(crate) fn host(&self) -> Result<HostName, Problem> {
        Ok(self.segment(0).parse()?)
    }

    /// The value of the placeholder at `index`.
    pub(crate) fn segment(&self, index: usize) -> &str {
        self.path.get(index).map_or("", String::as_str)
    }

    /// The body as JSON; `shape` says what it should be. Its content type does not matter.
    pub(crate) fn json<T: DeserializeOwned>(&self, shape: &str) -> Result<T, Problem> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let found = if self.body.is_empty() { "it is empty".into() } else { error.to_string() };
            Problem::bad_request(format!("the body must be {shape}: {}", crate::model::clean(&found, 200)))
        })
    }
}

/// The query's parameters, each at most once, all of them known to the route.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `raw`; only `known` parameters are taken.
    pub(crate) fn parse(raw: &str, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text = |part: &str| {
                percent_decode(&part.replace('+', " ")).ok_or_else(|| {
                    Problem::bad_request(format!("query: {} is not percent-encoded UTF-8", quoted(part)))
                })
            };
            let (name, value) = (text(name)?, text(value)?);
            if !known.contains(&name.as_str()) {
                let valid = match known {
                    [] => "this path takes none".to_owned(),
                    known => format!("valid here: {}", known.join(", ")),
                };
                return Err(Problem::bad_request(format!(
                    "unknown query parameter {}; {valid}",
                    quoted(&name)
                )));
            }
            if pairs.iter().any(|(given, _)| *given == name) {
                return Err(Problem::bad_request(format!(
                    "query parameter {name} is given twice; give it once"
                )));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The parameter's text; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The parameter read by `read`; its error says what would be right.
    pub(crate) fn read<T, E: ToString>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let wrong = |e: E| Problem::bad_request(format!("query parameter {name}: {}", e.to_string()));
        self.get(name).map(read).transpose().map_err(wrong)
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.read(name, |text| text.parse().map_err(|_| format!("{} is not a whole number", quoted(text))))
    }

    /// How many are wanted at most, of 1 to `most`.
    pub(crate) fn limit(&self, default: usize, most: usize) -> Result<usize, Problem> {
        let limit = self.number("limit")?.map_or(Ok(default), usize::try_from);
        match limit {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(Problem::bad_request(format!("query parameter limit: give a number from 1 to {most}"))),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        self.read(name, |text| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("{} is neither true nor false", quoted(text))),
        })
    }

    /// One word of a closed set, or several separated by commas.
    pub(crate) fn words<T: Copy>(
        &self,
        name: &str,
        all: &[T],
        word: impl Fn(T) -> &'static str,
    ) -> Result<Option<Vec<T>>, Problem> {
        self.read(name, |text| {
            text.split(',')
                .map(|part| {
                    all.iter().copied().find(|each| word(*each) == part).ok_or_else(|| {
                        let valid: Vec<_> = all.iter().map(|each| word(*each)).collect();
                        format!("{} is unknown; valid: {}", quoted(part), valid.join(", "))
                    })
                })
                .collect::<Result<Vec<T>, String>>()
        })
    }
}

/// Reads a body of at most `longest` bytes.
pub(crate) async fn read_body<S, B, E>(body: S, longest: usize) -> Result<Bytes, Problem>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    let mut body = pin!(body);
    let whole = async {
        let mut read = Vec::new();
        while let Some(part) = body.next().await {
            let mut part = part.map_err(|_| Problem::bad_request("the body ended early"))?;
            if read.len() + part.remaining() > longest {
                let detail = format!("the body is longer than {longest} bytes");
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
            }
            while part.has_remaining() {
                let chunk = part.chunk();
                read.extend_from_slice(chunk);
                let length = chunk.len();
                part.advance(length);
            }
        }
        Ok(Bytes::from(read))
    };
    tokio::time::timeout(BODY_WITHIN, whole).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_WITHIN.as_secs());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
    })
}

/// Undoes percent-encoding; `None` when it is broken or no UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_is_read_or_refused_with_what_is_valid() {
        let query = Query::parse("host=a%2Eb&flag=true&empty=", &["host", "flag", "empty"]).unwrap();
        assert_eq!(query.get("host"), Some("a.b"));
        assert_eq!(query.flag("flag"), Ok(Some(true)));
        assert_eq!(query.get("empty"), None);
        for (raw, says) in [
            ("hots=a", "valid here: host, flag"),
            ("host=a&host=b", "given twice"),
            ("host=%ff", "not percent-encoded UTF-8"),
            ("host=%4", "not percent-encoded UTF-8"),
        ] {
            let problem = Query::parse(raw, &["host", "flag"]).unwrap_err();
            assert!(problem.detail.contains(says), "{raw}: {}", problem.detail);
        }
        assert!(Query::parse("x", &[]).unwrap_err().detail.contains("takes none"));
    }

    #[test]
    fn closed_sets_name_their_words() {
        let query = Query::parse("colour=red,blue", &["colour"]).unwrap();
        let all = ["red", "green"];
        let problem = query.words("colour", &all, |c| c).unwrap_err();
        assert_eq!(problem.detail, "query parameter colour: \"blue\" is unknown; valid: red, green");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_bounded_in_length_and_time() {
        use futures_util::stream;
        type Part = Result<Bytes, std::io::Error>;
        let parts = |count| stream::iter((0..count).map(|_| -> Part { Ok(Bytes::from(vec![b'x'; 1024])) }));
        assert_eq!(read_body(parts(64), MAX_BODY).await.map(|body| body.len()), Ok(MAX_BODY));
        assert_eq!(read_body(parts(65), MAX_BODY).await.map_err(|problem| problem.status), Err(413));
        let stalled = parts(1).chain(stream::pending());
        assert_eq!(read_body(stalled, MAX_BODY).await.map_err(|problem| problem.status), Err(408));
    }

    proptest! {
        #[test]
        fn no_query_panics(raw in ".*") {
            let _ = Query::parse(&raw, &["host"]);
            let _ = percent_decode(&raw);
        }

        #[test]
        fn what_is_encoded_reads_back(text in ".*") {
            let encoded: Vec<_> = text.bytes().map(|b| format!("%{b:02X}")).collect();
            prop_assert_eq!(percent_decode(&encoded.concat()), Some(text));
        }
    }
}
