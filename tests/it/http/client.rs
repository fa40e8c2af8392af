//! A small HTTP client: one request a connection, and a reader of server-sent events.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::DEADLINE;

/// A request to be sent.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Ask {
    pub(super) fn new(method: &'static str, path: &str) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn token(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(super) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it over a new connection to `address`.
    pub(super) async fn send(self, address: SocketAddr) -> Answer {
        let stream = TcpStream::connect(address).await.expect("the server accepts");
        self.send_over(stream, &address.to_string()).await
    }

    /// Sends it over `stream`; `host` is the default Host header.
    pub(super) async fn send_over<S>(self, stream: S, host: &str) -> Answer
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let what = format!("{} {}", self.method, self.path);
        let whole = async {
            let response = self.open(stream, host).await;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.expect("the body ends well").to_bytes();
            Answer { status: parts.status.as_u16(), headers: parts.headers, body }
        };
        tokio::time::timeout(DEADLINE, whole).await.unwrap_or_else(|_| panic!("{what}: no answer"))
    }

    /// Sends it and leaves the body to be read.
    pub(super) async fn open<S>(self, stream: S, host: &str) -> http::Response<Incoming>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a fresh connection");
        tokio::spawn(connection);
        let mut request = http::Request::builder().method(self.method).uri(self.path);
        if !self.headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", host);
        }
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(self.body))).expect("a valid request");
        sender.send_request(request).await.expect("an answer")
    }
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("plain text"))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The status, which must be `status`; shows the body otherwise.
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// The detail of the problem, which must have `status`.
    pub(super) fn problem(self, status: u16) -> String {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!((problem["type"].as_str(), &problem["status"]), (Some("about:blank"), &status.into()));
        assert!(problem["title"].is_string());
        problem["detail"].as_str().expect("a detail").to_owned()
    }
}

/// A server-sent event.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sse {
    pub(super) id: String,
    pub(super) event: String,
    pub(super) data: String,
}

impl Sse {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("JSON")
    }
}

/// Reads server-sent events; comments are passed over.
pub(super) struct SseReader {
    body: Incoming,
    read: String,
}

impl SseReader {
    pub(super) async fn open(address: SocketAddr, ask: Ask) -> Self {
        // A small buffer, so that a client that reads nothing is soon felt.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8192).expect("a buffer");
        let stream = socket.connect(address).await.expect("the server accepts");
        let response = ask.open(stream, &address.to_string()).await;
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), read: String::new() }
    }

    /// The next event; `None` when the stream ended.
    pub(super) async fn next(&mut self) -> Option<Sse> {
        tokio::time::timeout(DEADLINE, self.read_next()).await.expect("an event in time")
    }

    async fn read_next(&mut self) -> Option<Sse> {
        loop {
            while let Some(end) = self.read.find("\n\n") {
                let block: String = self.read.drain(..end + 2).collect();
                let mut sse = Sse::default();
                for line in block.lines() {
                    match line.split_once(':') {
                        Some(("id", value)) => sse.id = value.into(),
                        Some(("event", value)) => sse.event = value.into(),
                        Some(("data", value)) => sse.data = value.into(),
                        _ => {}
                    }
                }
                if !sse.event.is_empty() {
                    return Some(sse);
                }
            }
            let frame = self.body.frame().await?.ok()?;
            let data = frame.into_data().expect("no trailers");
            self.read.push_str(std::str::from_utf8(&data).expect("UTF-8"));
        }
    }

    /// The next event named `name`.
    pub(super) async fn next_named(&mut self, name: &str) -> Sse {
        loop {
            let sse = self.next().await.unwrap_or_else(|| panic!("the stream ended before {name}"));
            if sse.event == name {
                return sse;
            }
        }
    }
}
