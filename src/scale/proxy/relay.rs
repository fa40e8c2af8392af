//! A container's answer on its way to the client.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::sleep;

use super::connections::Sender;
use crate::scale::pool::{Lease, Outcome};

/// What a client is answered.
pub(crate) enum Answer {
    /// By a container.
    Relayed(Relay),
    /// By the proxy itself.
    Own(Full<Bytes>),
}

/// Why an answer breaks off.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A container's answer. Gives the place back as soon as the container is through, also when the client still reads.
pub(crate) struct Relay {
    inner: Incoming,
    /// `None` once it was given back.
    place: Option<(Lease, Sender)>,
    silence: Duration,
    /// What ends the waiting for more; made anew each time there is something to wait for.
    patience: Option<Pin<Box<dyn Future<Output = &'static str> + Send>>>,
}

impl Relay {
    /// Of `inner`, which may be silent for so long.
    pub(super) fn new(inner: Incoming, lease: Lease, sender: Sender, silence: Duration) -> Self {
        let mut relay = Self { inner, place: Some((lease, sender)), silence, patience: None };
        if relay.inner.is_end_stream() {
            relay.through();
        }
        relay
    }

    /// The container is through.
    fn through(&mut self) {
        if let Some((lease, sender)) = self.place.take() {
            lease.endpoint().connections.keep(sender);
            lease.end(Outcome::Served);
        }
    }

    /// It broke off: its container is suspect.
    fn broken(&mut self, why: Broken) -> Broken {
        if let Some((lease, _)) = self.place.take() {
            tracing::debug!(container = %lease.endpoint().name, %why, "an answer broke off");
            lease.broke();
        }
        why
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            this.patience = None;
            return Poll::Ready(match frame {
                Some(Ok(frame)) => {
                    if this.inner.is_end_stream() {
                        this.through();
                    }
                    Some(Ok(frame))
                }
                Some(Err(error)) => Some(Err(this.broken(error.into()))),
                None => {
                    this.through();
                    None
                }
            });
        }
        let Some((lease, _)) = &this.place else { return Poll::Pending };
        let (gone, silence) = (&lease.endpoint().gone, this.silence);
        let patience = this.patience.get_or_insert_with(|| {
            let gone = gone.clone();
            Box::pin(async move {
                tokio::select! {
                    () = gone.cancelled() => "the container is gone",
                    () = sleep(silence) => "the container was silent for too long",
                }
            })
        });
        let why = ready!(patience.as_mut().poll(context));
        this.patience = None;
        Poll::Ready(Some(Err(this.broken(why.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Relayed(relay) => Pin::new(relay).poll_frame(context),
            Self::Own(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Relayed(relay) => relay.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Relayed(relay) => relay.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}
