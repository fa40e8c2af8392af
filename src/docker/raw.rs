//! One HTTP request to the engine, for what the docker-api crate lacks: a body of any JSON, an answer read
//! tolerantly, a bound on its size, and a stream that is known to have begun.
//!
//! Each request has a connection of its own. On a Unix socket that costs some microseconds, and nothing has to be
//! repaired when the engine was restarted in between.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{EngineAddress, EngineError};
use crate::model::clean;

/// The largest answer that is read, bytes; a longer one is [`EngineError::Malformed`].
const LARGEST_ANSWER: usize = 16 << 20;

/// The longest part of the engine's own words that is passed on, characters.
const LONGEST_MESSAGE: usize = 300;

/// What is asked of the engine.
pub(super) struct Ask {
    method: Method,
    target: String,
    content: Option<(&'static str, Bytes)>,
    deadline: Duration,
}

impl Ask {
    /// Reads `target` (path and query, encoded) within `deadline`.
    pub(super) fn get(target: impl Into<String>, deadline: Duration) -> Self {
        Self { method: Method::GET, target: target.into(), content: None, deadline }
    }

    /// Posts nothing to `target`.
    pub(super) fn post(target: impl Into<String>, deadline: Duration) -> Self {
        Self { method: Method::POST, target: target.into(), content: None, deadline }
    }

    /// Removes `target`.
    pub(super) fn delete(target: impl Into<String>, deadline: Duration) -> Self {
        Self { method: Method::DELETE, target: target.into(), content: None, deadline }
    }

    /// With a JSON body.
    pub(super) fn json(mut self, body: &Value) -> Self {
        self.content = Some(("application/json", Bytes::from(body.to_string())));
        self
    }

    /// With a tar archive as its body.
    pub(super) fn tar(mut self, archive: Bytes) -> Self {
        self.content = Some(("application/x-tar", archive));
        self
    }
}

/// The answer's JSON; null when it has no body.
pub(super) async fn json(address: &EngineAddress, ask: Ask) -> Result<Value, EngineError> {
    let target = ask.target.clone();
    let body = bytes(address, ask).await?;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).map_err(|error| EngineError::Malformed(format!("{target}: {error}")))
}

/// The answer's body.
pub(super) async fn bytes(address: &EngineAddress, ask: Ask) -> Result<Bytes, EngineError> {
    let (deadline, target) = (ask.deadline, ask.target.clone());
    within(deadline, &target, async { collect(send(address, ask).await?).await }).await
}

/// The answer as it comes, once its head was received; the deadline is for the head alone.
pub(super) async fn open(address: &EngineAddress, ask: Ask) -> Result<Incoming, EngineError> {
    let (deadline, target) = (ask.deadline, ask.target.clone());
    within(deadline, &target, async { Ok(send(address, ask).await?.into_body()) }).await
}

/// What `work` comes to, or [`EngineError::TimedOut`] saying `what`.
pub(super) async fn within<T>(
    deadline: Duration,
    what: &str,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or_else(|_| Err(EngineError::TimedOut(deadline, clean(what, LONGEST_MESSAGE))))
}

/// What an answer other than a success means: 404 is [`EngineError::NoSuchContainer`] only when the engine says
/// that it is the container which is missing, for it may as well be a network or an image.
pub(super) fn refusal(status: u16, message: &str) -> EngineError {
    let words = clean(message.trim(), LONGEST_MESSAGE);
    if status == 404 && message.to_ascii_lowercase().contains("no such container") {
        EngineError::NoSuchContainer(words)
    } else if words.is_empty() {
        EngineError::Refused(format!("status {status}"))
    } else {
        EngineError::Refused(words)
    }
}

/// `text` as one segment of a path or one value of a query.
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
        out
    })
}

async fn send(address: &EngineAddress, ask: Ask) -> Result<Response<Incoming>, EngineError> {
    match address {
        EngineAddress::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| nobody_at(address, &error))?;
            exchange(stream, "docker", ask).await
        }
        EngineAddress::Tcp(authority) => {
            let stream = TcpStream::connect(authority).await.map_err(|error| nobody_at(address, &error))?;
            keep_alive(&stream).map_err(lost)?;
            exchange(stream, authority, ask).await
        }
    }
}

/// Makes the kernel notice within about a minute that the other side vanished, even on a silent stream of events.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let probes = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    socket2::SockRef::from(stream).set_tcp_keepalive(&probes)
}

async fn exchange<S>(stream: S, host: &str, ask: Ask) -> Result<Response<Incoming>, EngineError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // Ends with the answer's body, or as soon as that or the sender was dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::trace!(%error, "connection to the engine ended");
        }
    });
    let mut request = Request::builder().method(ask.method).uri(&ask.target).header("host", host);
    let body = ask.content.map(|(kind, body)| {
        request = std::mem::take(&mut request).header("content-type", kind);
        body
    });
    let request = request
        .body(Full::new(body.unwrap_or_default()))
        .map_err(|error| EngineError::Refused(format!("no valid request: {error}")))?;
    let response = sender.send_request(request).await.map_err(lost)?;
    let status = response.status();
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let body = collect(response).await.unwrap_or_default();
    let message = serde_json::from_slice::<Value>(&body)
        .ok()
        .and_then(|answer| answer.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    Err(refusal(status.as_u16(), &message))
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, EngineError> {
    match Limited::new(response.into_body(), LARGEST_ANSWER).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(EngineError::Malformed(format!("longer than {LARGEST_ANSWER} bytes")))
        }
        Err(error) => Err(lost(error)),
    }
}

/// Nobody listens there.
fn nobody_at(address: &EngineAddress, error: &io::Error) -> EngineError {
    EngineError::Unreachable(clean(&format!("{address}: {error}"), LONGEST_MESSAGE))
}

/// The connection did not hold.
pub(super) fn lost(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
    let error = error.into();
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    EngineError::Unreachable(clean(&words, LONGEST_MESSAGE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_secs(5);

    /// A server that reads one request and writes `answer`, then closes or stays silent.
    async fn answering(answer: Vec<u8>, close: bool) -> EngineAddress {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = EngineAddress::Tcp(listener.local_addr().unwrap().to_string());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            if !close {
                std::future::pending::<()>().await;
            }
        });
        address
    }

    fn response(head: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    async fn outcome(answer: Vec<u8>) -> Result<Value, EngineError> {
        json(&answering(answer, true).await, Ask::get("/x", SOON)).await
    }

    #[tokio::test]
    async fn each_answer_becomes_what_the_caller_does_next() {
        assert_eq!(outcome(response("200 OK", "{\"a\":1}")).await.unwrap()["a"], 1);
        assert_eq!(outcome(b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec()).await.unwrap(), Value::Null);
        let missing = outcome(response("404 Not Found", "{\"message\":\"No such container: x\"}")).await;
        assert!(matches!(missing, Err(EngineError::NoSuchContainer(_))), "{missing:?}");
        let network = outcome(response("404 Not Found", "{\"message\":\"network n not found\"}")).await;
        assert!(
            matches!(&network, Err(EngineError::Refused(m)) if m == "network n not found"),
            "{network:?}"
        );
        let hostile = outcome(response("500 Oh", "{\"message\":\"bad\\u001b[2J\"}")).await;
        assert!(matches!(&hostile, Err(EngineError::Refused(m)) if m == "bad?[2J"), "{hostile:?}");
        let bare = outcome(response("503 Oh", "")).await;
        assert!(matches!(&bare, Err(EngineError::Refused(m)) if m == "status 503"), "{bare:?}");
        let broken = outcome(response("200 OK", "{")).await;
        assert!(matches!(broken, Err(EngineError::Malformed(_))), "{broken:?}");
        let cut = outcome(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab".to_vec()).await;
        assert!(matches!(cut, Err(EngineError::Unreachable(_))), "{cut:?}");
        let closed = outcome(Vec::new()).await;
        assert!(matches!(closed, Err(EngineError::Unreachable(_))), "{closed:?}");
        let huge = outcome(response("200 OK", &"x".repeat(LARGEST_ANSWER + 1))).await;
        assert!(matches!(huge, Err(EngineError::Malformed(_))), "{huge:?}");
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable_and_silence_times_out() {
        let nowhere = EngineAddress::Unix("/nonexistent/docker.sock".into());
        let error = json(&nowhere, Ask::get("/x", SOON)).await.unwrap_err();
        assert!(matches!(&error, EngineError::Unreachable(m) if m.contains("No such file")), "{error:?}");
        let silent = answering(Vec::new(), false).await;
        let error = json(&silent, Ask::get("/x", Duration::from_millis(50))).await.unwrap_err();
        assert!(matches!(&error, EngineError::TimedOut(_, what) if what == "/x"), "{error:?}");
    }

    #[test]
    fn hostile_ids_stay_one_segment() {
        assert_eq!(encode("a/../b?c d\n"), "a%2F..%2Fb%3Fc%20d%0A");
    }
}
