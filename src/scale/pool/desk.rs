//! Where requests and containers meet: the dispatcher behind a handle. One lock, held for as long as a decision takes and
//! never across a wait.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::dispatch::{Called, Dispatch, MemberId, Placed, Rules, Seat, Ticket};
use super::tally::{Counted, Outcome, Tally};
use crate::model::ContainerName;
use crate::scale::control::Micros;
use crate::scale::proxy::Connections;

/// A container that requests can be sent to.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) member: MemberId,
    pub(crate) name: ContainerName,
    pub(crate) address: SocketAddr,
    /// Cancelled when the container is gone: no answer will come from it.
    pub(crate) gone: CancellationToken,
    pub(crate) connections: Connections,
}

/// The dispatcher's handle.
#[derive(Debug)]
pub(crate) struct Desk {
    inner: Mutex<Inner>,
    news: Notify,
    origin: Instant,
}

#[derive(Debug)]
struct Inner {
    /// What a request took in the last period in which any ended, seconds.
    service: Option<f64>,
    dispatch: Dispatch,
    endpoints: HashMap<MemberId, Arc<Endpoint>>,
    waiters: HashMap<Ticket, oneshot::Sender<Arc<Endpoint>>>,
}

/// What a request is told at the desk.
#[derive(Debug)]
pub(crate) enum Told {
    /// To go to a container.
    Go(Lease),
    /// To wait for one.
    Wait(Waiting),
    /// That there is no place.
    Full,
}

impl Desk {
    pub(crate) fn new(rules: Rules) -> Arc<Self> {
        let inner = Inner {
            service: None,
            dispatch: Dispatch::new(rules, Micros::ZERO),
            endpoints: HashMap::new(),
            waiters: HashMap::new(),
        };
        Arc::new(Self { inner: Mutex::new(inner), news: Notify::new(), origin: Instant::now() })
    }

    /// The time since the desk was opened.
    pub(crate) fn now(&self) -> Micros {
        self.origin.elapsed().into()
    }

    /// A request comes.
    pub(crate) fn arrive(self: &Arc<Self>) -> Told {
        let now = self.now();
        let mut inner = self.inner();
        let placed = inner.dispatch.arrive(now);
        self.tell(&mut inner, placed, now, now)
    }

    /// A container is ready.
    pub(crate) fn add(&self, endpoint: Endpoint) {
        let now = self.now();
        let mut inner = self.inner();
        let member = endpoint.member;
        inner.endpoints.insert(member, Arc::new(endpoint));
        let called = inner.dispatch.add(member, now);
        inner.deliver(called, now);
    }

    /// A container is gone; requests it works on fail now.
    pub(crate) fn remove(&self, member: MemberId) {
        let now = self.now();
        let mut inner = self.inner();
        inner.dispatch.remove(member, now);
        if let Some(endpoint) = inner.endpoints.remove(&member) {
            endpoint.gone.cancel();
        }
    }

    /// A container gets no more requests.
    pub(crate) fn drain(&self, member: MemberId) {
        self.inner().dispatch.drain(member);
    }

    /// It does again.
    pub(crate) fn undrain(&self, member: MemberId) {
        let now = self.now();
        let mut inner = self.inner();
        let called = inner.dispatch.undrain(member, now);
        inner.deliver(called, now);
    }

    /// It was looked at and is well.
    pub(crate) fn trust(&self, member: MemberId) {
        let now = self.now();
        let mut inner = self.inner();
        let called = inner.dispatch.trust(member, now);
        inner.deliver(called, now);
    }

    /// What CPU containers were seen to use, percent of one core.
    pub(crate) fn cpu(&self, seen: &[(MemberId, f64)]) {
        let now = self.now();
        let mut inner = self.inner();
        let called = inner.dispatch.cpu(seen, now);
        inner.deliver(called, now);
    }

    /// Takes no request any more; those that wait are refused.
    pub(crate) fn close(&self) {
        let now = self.now();
        let mut inner = self.inner();
        for ticket in inner.dispatch.close(now) {
            inner.waiters.remove(&ticket);
        }
    }

    /// Gives up on every container: what they work on is answered without them.
    pub(crate) fn abandon(&self) {
        for endpoint in self.inner().endpoints.values() {
            endpoint.gone.cancel();
        }
    }

    /// What was counted since the last time it was taken.
    pub(crate) fn take(&self) -> Tally {
        let now = self.now();
        let mut inner = self.inner();
        let tally = inner.dispatch.take(now);
        inner.service = tally.services.mean().or(inner.service);
        tally
    }

    /// How long those that wait now will take, seconds; `None` while nobody knows.
    pub(crate) fn wait_guess(&self) -> Option<f64> {
        let inner = self.inner();
        let ready = inner.dispatch.seats().values().filter(|seat| !seat.draining).count();
        inner.service.map(|service| service * f64::from(inner.dispatch.queued()) / ready.max(1) as f64)
    }

    /// How things stand.
    pub(crate) fn look(&self) -> Look {
        let inner = self.inner();
        Look {
            seats: inner.dispatch.seats().iter().map(|(member, seat)| (*member, *seat)).collect(),
            queued: inner.dispatch.queued(),
            in_flight: inner.dispatch.in_flight(),
            tally: inner.dispatch.tally().clone(),
        }
    }

    /// Returns when a container that drains became idle, or one became suspect, since it returned last.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(self: &Arc<Self>, inner: &mut Inner, placed: Placed, arrived: Micros, now: Micros) -> Told {
        match placed {
            Placed::At(member) => {
                let endpoint =
                    inner.endpoints.get(&member).expect("whoever has a seat has an endpoint").clone();
                Told::Go(Lease { desk: self.clone(), endpoint, arrived, begun: now, ended: false })
            }
            Placed::Waits(ticket) => {
                let (waiter, called) = oneshot::channel();
                inner.waiters.insert(ticket, waiter);
                Told::Wait(Waiting { desk: self.clone(), ticket, arrived, called, over: false })
            }
            Placed::Refused => Told::Full,
        }
    }
}

/// How things stand at a desk.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) seats: Vec<(MemberId, Seat)>,
    pub(crate) queued: u32,
    pub(crate) in_flight: u32,
    pub(crate) tally: Tally,
}

impl Inner {
    /// Tells those who waited where to go.
    fn deliver(&mut self, called: Vec<Called>, now: Micros) {
        let mut called = called;
        while let Some(Called { ticket, member }) = called.pop() {
            let endpoint = self.endpoints.get(&member).expect("whoever has a seat has an endpoint").clone();
            let told = self.waiters.remove(&ticket).map(|waiter| waiter.send(endpoint));
            if !matches!(told, Some(Ok(()))) {
                // It left at this very moment.
                let left = Counted { arrived: now, begun: now, outcome: Outcome::Left };
                called.extend(self.dispatch.done(member, left, now));
            }
        }
    }
}

/// A request's place in the queue; given up when dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    desk: Arc<Desk>,
    ticket: Ticket,
    arrived: Micros,
    called: oneshot::Receiver<Arc<Endpoint>>,
    over: bool,
}

impl Waiting {
    /// Waits until it is called; `None` when it is refused instead, for the pool ends.
    pub(crate) async fn called(&mut self) -> Option<Lease> {
        let endpoint = (&mut self.called).await;
        self.over = true;
        let begun = self.desk.now();
        let lease = |endpoint| Lease {
            desk: self.desk.clone(),
            endpoint,
            arrived: self.arrived,
            begun,
            ended: false,
        };
        endpoint.ok().map(lease)
    }

    /// It waited too long.
    pub(crate) fn too_long(mut self) {
        self.leave(Outcome::Refused);
    }

    fn leave(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let now = self.desk.now();
        let mut inner = self.desk.inner();
        if inner.dispatch.leave(self.ticket, outcome, now) {
            inner.waiters.remove(&self.ticket);
        } else if let Ok(endpoint) = self.called.try_recv() {
            // It was called and has not heard it.
            let counted = Counted { arrived: self.arrived, begun: now, outcome };
            let called = inner.dispatch.done(endpoint.member, counted, now);
            inner.deliver(called, now);
            self.desk.tell_if_idle(&inner, endpoint.member);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.leave(Outcome::Left);
    }
}

/// A request's place at a container; given back when dropped, as one whose client left.
#[derive(Debug)]
pub(crate) struct Lease {
    desk: Arc<Desk>,
    endpoint: Arc<Endpoint>,
    arrived: Micros,
    begun: Micros,
    ended: bool,
}

impl Lease {
    /// The container.
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// How long the request waited.
    pub(crate) fn waited(&self) -> Micros {
        self.begun.saturating_sub(self.arrived)
    }

    /// The request is through.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    /// The container broke the request off: it is not to be trusted until it was looked at.
    pub(crate) fn broke(mut self) {
        let suspect = self.endpoint.member;
        self.desk.inner().dispatch.suspect(suspect);
        self.finish(Outcome::Failed);
        self.desk.news.notify_one();
    }

    /// The container failed it and it may be repeated; where to go now.
    pub(crate) fn again(mut self) -> Told {
        self.ended = true;
        let (desk, member, arrived) = (self.desk.clone(), self.endpoint.member, self.arrived);
        let now = desk.now();
        let mut inner = desk.inner();
        let (placed, called) = inner.dispatch.again(member, now);
        inner.deliver(called, now);
        let told = desk.tell(&mut inner, placed, arrived, now);
        drop(inner);
        desk.news.notify_one();
        told
    }

    fn finish(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = self.desk.now();
        let counted = Counted { arrived: self.arrived, begun: self.begun, outcome };
        let mut inner = self.desk.inner();
        let called = inner.dispatch.done(self.endpoint.member, counted, now);
        inner.deliver(called, now);
        self.desk.tell_if_idle(&inner, self.endpoint.member);
    }
}

impl Desk {
    /// Tells the runner of a container that drains and has nothing left to do.
    fn tell_if_idle(&self, inner: &Inner, member: MemberId) {
        let idle = |seat: &Seat| seat.draining && seat.in_flight == 0;
        if inner.dispatch.seats().get(&member).is_none_or(idle) {
            self.news.notify_one();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.finish(Outcome::Left);
    }
}
