//! One request: a place at a container, the request there, the answer back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{Either, Empty, Full};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::connections::{Connections, Outgoing, Sender};
use super::headers::{CONTAINER, WAIT, is_idempotent, strip_hop_by_hop, towards_container};
use super::relay::{Answer, Relay};
use crate::scale::pool::{Desk, Endpoint, Lease, Told};

/// Containers that are tried for one request at most.
const TRIES: u32 = 3;
/// What a refused client is told to wait, seconds: at least and at most.
const RETRY_AFTER: (f64, f64) = (1.0, 60.0);

/// How long a request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For its place at a container.
    pub(crate) queue: Duration,
    /// Until its container begins to answer, and between two parts of the answer.
    pub(crate) silence: Duration,
}

/// Takes requests to the containers of a pool.
#[derive(Debug)]
pub(crate) struct Proxy {
    desk: Arc<Desk>,
    limits: Limits,
}

/// What one try came to.
enum Tried {
    /// The container answers.
    Answered(Response<Incoming>, Sender),
    /// Nothing reached the container; the request is whole.
    Unsent(Request<Outgoing>),
    /// The connection broke before it answered; it may have begun to work.
    Broken,
    /// It was silent for too long.
    Silent,
}

impl Proxy {
    pub(crate) fn new(desk: Arc<Desk>, limits: Limits) -> Self {
        Self { desk, limits }
    }

    /// Answers all that waits or is being worked on with an error, now: there is no more time for it.
    pub(super) fn give_up(&self) {
        self.desk.close();
        self.desk.abandon();
    }

    /// Answers a request of `client`.
    pub(crate) async fn answer(&self, request: Request<Incoming>, client: IpAddr) -> Response<Answer> {
        if *request.method() == Method::CONNECT {
            return own(StatusCode::NOT_IMPLEMENTED, "this proxy opens no tunnels");
        }
        let told = self.desk.arrive();
        let lease = match self.placed(told).await {
            Ok(lease) => lease,
            Err(refusal) => return refusal,
        };
        self.forward(request_to_container(request, client), lease).await
    }

    /// The place of a request that was told so, once it is called.
    async fn placed(&self, told: Told) -> Result<Lease, Response<Answer>> {
        let mut waiting = match told {
            Told::Go(lease) => return Ok(lease),
            Told::Full => {
                return Err(self.refused("every container is busy, and as many requests wait as may"));
            }
            Told::Wait(waiting) => waiting,
        };
        match timeout(self.limits.queue, waiting.called()).await {
            Ok(Some(lease)) => Ok(lease),
            Ok(None) => Err(self.refused("the pool ends")),
            Err(_) => {
                waiting.too_long();
                Err(self.refused("no container became free in time"))
            }
        }
    }

    async fn forward(&self, request: Request<Outgoing>, lease: Lease) -> Response<Answer> {
        // To repeat it is safe when that does no more than to do it once, and there is no body that was read.
        let spare =
            (is_idempotent(request.method()) && request.body().is_end_stream()).then(|| copy(&request));
        let (mut request, mut lease) = (request, lease);
        for last in [false, false, true].into_iter().take(TRIES as usize) {
            let tried = self.send(request, lease.endpoint()).await;
            let next = match tried {
                Tried::Answered(response, sender) => return self.relay(response, lease, sender),
                Tried::Unsent(request) => Some(request),
                Tried::Broken => spare.as_ref().map(copy),
                Tried::Silent => {
                    lease.broke();
                    return own(StatusCode::GATEWAY_TIMEOUT, "the container did not answer in time");
                }
            };
            request = match next {
                Some(request) if !last => request,
                _ => break,
            };
            lease = match self.placed(lease.again()).await {
                Ok(lease) => lease,
                Err(refusal) => return refusal,
            };
            // What is left when this returns early is told as failed: see below.
        }
        lease.broke();
        own(StatusCode::BAD_GATEWAY, "the container broke the request off")
    }

    /// Sends it to a container, over a connection that is kept or a new one.
    async fn send(&self, mut request: Request<Outgoing>, endpoint: &Endpoint) -> Tried {
        while let Some(sender) = endpoint.connections.kept() {
            match self.exchange(sender, request, endpoint).await {
                // The container had closed it; the next one, or a new one, will do.
                Tried::Unsent(unsent) => request = unsent,
                tried => return tried,
            }
        }
        let opened = tokio::select! {
            opened = Connections::open(endpoint.address) => opened,
            () = endpoint.gone.cancelled() => return Tried::Unsent(request),
        };
        match opened {
            Ok(sender) => self.exchange(sender, request, endpoint).await,
            Err(error) => {
                tracing::debug!(container = %endpoint.name, %error, "no connection");
                Tried::Unsent(request)
            }
        }
    }

    async fn exchange(&self, mut sender: Sender, request: Request<Outgoing>, endpoint: &Endpoint) -> Tried {
        if sender.ready().await.is_err() {
            return Tried::Unsent(request);
        }
        let answer = tokio::select! {
            answer = timeout(self.limits.silence, sender.try_send_request(request)) => answer,
            () = endpoint.gone.cancelled() => return Tried::Broken,
        };
        match answer {
            Ok(Ok(response)) => Tried::Answered(response, sender),
            Ok(Err(mut error)) => {
                if let Some(request) = error.take_message() {
                    return Tried::Unsent(request);
                }
                tracing::debug!(container = %endpoint.name, error = %error.error(), "no answer");
                Tried::Broken
            }
            Err(_) => Tried::Silent,
        }
    }

    fn relay(&self, response: Response<Incoming>, lease: Lease, sender: Sender) -> Response<Answer> {
        let (mut parts, body) = response.into_parts();
        strip_hop_by_hop(&mut parts.headers);
        parts.version = Version::HTTP_11;
        let wait = format!("{:.3}", lease.waited().seconds() * 1000.0);
        parts.headers.insert(WAIT, HeaderValue::try_from(wait).expect("digits are a header's text"));
        let name = HeaderValue::try_from(lease.endpoint().name.as_str());
        parts.headers.insert(CONTAINER, name.expect("names of containers are plain"));
        let relay = Relay::new(body, lease, sender, self.limits.silence);
        Response::from_parts(parts, Answer::Relayed(relay))
    }

    /// 503, with what waits now as the measure of when to come again.
    fn refused(&self, why: &'static str) -> Response<Answer> {
        let seconds = self.desk.wait_guess().unwrap_or_default().clamp(RETRY_AFTER.0, RETRY_AFTER.1);
        let mut response = own(StatusCode::SERVICE_UNAVAILABLE, why);
        let seconds = HeaderValue::try_from(format!("{seconds:.0}"));
        response.headers_mut().insert(header::RETRY_AFTER, seconds.expect("digits are a header's text"));
        response
    }
}

fn request_to_container(request: Request<Incoming>, client: IpAddr) -> Request<Outgoing> {
    let (mut parts, body) = request.into_parts();
    towards_container(&mut parts.headers, client);
    parts.version = Version::HTTP_11;
    parts.uri = origin_form(&parts.uri);
    // HTTP/1.0 clients may name no host.
    parts.headers.entry(header::HOST).or_insert(HeaderValue::from_static("pool"));
    Request::from_parts(parts, Either::Left(body))
}

/// A target without scheme and host, as servers that are no proxies take it.
fn origin_form(uri: &Uri) -> Uri {
    match (uri.scheme(), uri.path_and_query()) {
        (Some(_), Some(path)) => Uri::from(path.clone()),
        _ => uri.clone(),
    }
}

/// The same request again, which had no body.
fn copy(request: &Request<Outgoing>) -> Request<Outgoing> {
    let mut copy = Request::new(Either::Right(Empty::new()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// An answer of the proxy's own.
fn own(status: StatusCode, why: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::Own(Full::new(Bytes::from_static(why.as_bytes()))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
