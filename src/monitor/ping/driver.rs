//! The real [`Pinger`]: one task owns the sockets and the flight table; callers send it checks.

use std::collections::HashMap;
use std::future::pending;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Instant;

use async_trait::async_trait;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

use super::flight::{CheckId, Flight, Telling};
use super::inbox::Inbox;
use super::socket::{EchoSocket, Family, Waiting};
use super::{PingError, Pinger, ProbeOutcome, ProbePlan, SocketMode};

/// Checks that may wait for the task to take them up; further callers wait their turn.
const WAITING_CHECKS: usize = 64;
/// Probes sent before answers are read, so that answers which come inline (from bridged containers they do) never
/// fill the receive buffer.
const SEND_BURST: usize = 32;
/// Bursts sent in one turn of the task before it lets others run.
const BURSTS_PER_TURN: usize = 64;
/// Batches received from one socket at a time: more than its buffer holds, unless they come as fast as they are read.
const BATCHES_PER_TURN: usize = 256;

/// Pings over one ICMP socket per address family, shared by all concurrent checks. Its task ends with the last
/// clone.
#[derive(Debug, Clone)]
pub struct IcmpPinger {
    mode: SocketMode,
    requests: mpsc::Sender<Request>,
}

impl IcmpPinger {
    /// Opens raw sockets, or datagram sockets where raw ones are refused. A missing IPv6 is no error before an IPv6
    /// address is probed. Must be called within a tokio runtime.
    pub fn open() -> Result<Self, PingError> {
        match Self::open_as(SocketMode::Raw) {
            Err(PingError::NotPermitted(raw)) => match Self::open_as(SocketMode::Datagram) {
                Err(PingError::NotPermitted(datagram)) => {
                    Err(PingError::NotPermitted(format!("{raw}; {datagram}")))
                }
                opened => opened,
            },
            opened => opened,
        }
    }

    /// Opens sockets of this mode and no other.
    pub fn open_as(mode: SocketMode) -> Result<Self, PingError> {
        let mut random: StdRng = rand::make_rng();
        let identifier = random.random();
        let v4 = open_socket(Family::V4, mode, identifier)?;
        let (requests, waiting) = mpsc::channel(WAITING_CHECKS);
        let task = PingTask {
            mode,
            identifier,
            v4,
            v6: None,
            flight: Flight::new(random.random()),
            callers: HashMap::new(),
            inbox: Inbox::new(),
            random,
        };
        tokio::spawn(task.run(waiting));
        Ok(Self { mode, requests })
    }

    /// Which kind of sockets it uses.
    pub fn mode(&self) -> SocketMode {
        self.mode
    }
}

#[async_trait]
impl Pinger for IcmpPinger {
    async fn probe(&self, addresses: &[IpAddr], plan: ProbePlan) -> Result<Vec<ProbeOutcome>, PingError> {
        self.ask(addresses, plan, None).await
    }

    async fn probe_each(
        &self,
        addresses: &[IpAddr],
        plan: ProbePlan,
        outcomes: mpsc::Sender<ProbeOutcome>,
    ) -> Result<(), PingError> {
        self.ask(addresses, plan, Some(outcomes)).await.map(drop)
    }
}

impl IcmpPinger {
    /// Has the task probe; the answer comes when all is settled, and before it each address to whoever is told of each.
    async fn ask(
        &self,
        addresses: &[IpAddr],
        plan: ProbePlan,
        each: Option<mpsc::Sender<ProbeOutcome>>,
    ) -> Result<Vec<ProbeOutcome>, PingError> {
        let (whole, outcome) = oneshot::channel();
        let gone = || PingError::Io("the pinger's task has ended".into());
        let request = Request { addresses: addresses.to_vec(), plan, caller: Caller { each, whole } };
        self.requests.send(request).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

/// Who waits for a check.
#[derive(Debug)]
struct Caller {
    /// Is told of each address as it settles.
    each: Option<mpsc::Sender<ProbeOutcome>>,
    whole: oneshot::Sender<Result<Vec<ProbeOutcome>, PingError>>,
}

#[derive(Debug)]
struct Request {
    addresses: Vec<IpAddr>,
    plan: ProbePlan,
    caller: Caller,
}

/// The one owner of the sockets and the flight table.
struct PingTask {
    mode: SocketMode,
    identifier: u16,
    v4: AsyncFd<EchoSocket>,
    /// Opened when it is first needed.
    v6: Option<AsyncFd<EchoSocket>>,
    flight: Flight,
    callers: HashMap<CheckId, Caller>,
    inbox: Inbox,
    random: StdRng,
}

/// Whether a turn did all there was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Done,
    MoreToRead,
}

impl PingTask {
    async fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        let mut turn = Turn::Done;
        loop {
            let due = if turn == Turn::Done { self.flight.next_due() } else { Some(Instant::now()) };
            tokio::select! {
                request = waiting.recv() => match request {
                    Some(request) => self.begin(request),
                    None => return,
                },
                () = readable(Some(&self.v4)) => {}
                () = readable(self.v6.as_ref()) => {}
                () = sleep_until(due) => {}
            }
            turn = self.take_turn();
        }
    }

    fn begin(&mut self, request: Request) {
        let Request { addresses, plan, caller } = request;
        if let Err(error) = self.open_for(&addresses) {
            // The caller may have gone meanwhile; then nobody misses the answer.
            let _ = caller.whole.send(Err(error));
            return;
        }
        let telling = if caller.each.is_some() { Telling::Each } else { Telling::Whole };
        let id = self.flight.begin(&addresses, plan, telling, Instant::now());
        self.callers.insert(id, caller);
    }

    /// Opens the IPv6 socket when it is first needed. It is an error only where nothing else is asked for;
    /// otherwise the probes to IPv6 addresses become void.
    fn open_for(&mut self, addresses: &[IpAddr]) -> Result<(), PingError> {
        if self.v6.is_some() || addresses.iter().all(IpAddr::is_ipv4) {
            return Ok(());
        }
        match open_socket(Family::V6, self.mode, self.identifier) {
            Ok(socket) => self.v6 = Some(socket),
            Err(error) if addresses.iter().all(IpAddr::is_ipv6) => return Err(error),
            Err(error) => tracing::debug!(%error, "IPv6 addresses cannot be probed"),
        }
        Ok(())
    }

    /// Reads what arrived, lets deadlines pass, sends what is due, answers callers: in this order, so that an answer
    /// that waits in the socket is never taken for lost.
    fn take_turn(&mut self) -> Turn {
        let now = Instant::now();
        let mut turn = self.read();
        self.flight.advance(now);
        for _ in 0..BURSTS_PER_TURN {
            let sent = self.send_burst();
            if sent > 0 {
                turn = self.read();
            }
            if sent < SEND_BURST || turn == Turn::MoreToRead {
                break;
            }
        }
        for (id, outcome) in self.flight.take_settled() {
            if let Some(each) = self.callers.get(&id).and_then(|caller| caller.each.as_ref()) {
                // The caller made room for every address, or has gone meanwhile.
                let _ = each.try_send(outcome);
            }
        }
        while let Some((id, outcomes)) = self.flight.take_finished() {
            if let Some(caller) = self.callers.remove(&id) {
                // The caller may have gone meanwhile; then nobody misses the answer.
                let _ = caller.whole.send(Ok(outcomes));
            }
        }
        let flight = &mut self.flight;
        self.callers.retain(|&id, caller| {
            if caller.whole.is_closed() {
                flight.cancel(id);
            }
            !caller.whole.is_closed()
        });
        turn
    }

    /// Reads every answer that waits. Where they come faster than they can be read (a container that floods us with
    /// replies under our identifier could do that), other answers may be pushed out, so no open probe is trusted to
    /// be lost.
    fn read(&mut self) -> Turn {
        let mut turn = Turn::Done;
        for socket in [Some(&self.v4), self.v6.as_ref()].into_iter().flatten() {
            if read_all(socket.get_ref(), &mut self.inbox, &mut self.flight) == Turn::MoreToRead {
                self.flight.doubt_open_probes();
                turn = Turn::MoreToRead;
            }
        }
        turn
    }

    /// Sends up to a burst of what is due; returns how many.
    fn send_burst(&mut self) -> usize {
        let mut sent = 0;
        while sent < SEND_BURST
            && let Some(probe) = self.flight.next_probe(Instant::now(), self.random.random())
        {
            sent += 1;
            let socket = match Family::of(probe.address) {
                Family::V4 => Some(&self.v4),
                Family::V6 => self.v6.as_ref(),
            };
            let result = socket.map_or(Err(ErrorKind::AddrNotAvailable.into()), |socket| {
                socket.get_ref().send(probe.address, probe.sequence, probe.tag)
            });
            if let Err(error) = result {
                tracing::debug!(%error, address = %probe.address, "an echo request could not be sent");
                self.flight.not_sent(probe.tag);
            }
        }
        sent
    }
}

/// Reads until the socket is empty, or as often as one turn may.
fn read_all(socket: &EchoSocket, inbox: &mut Inbox, flight: &mut Flight) -> Turn {
    for _ in 0..BATCHES_PER_TURN {
        let received = socket.receive(inbox, |answer| {
            flight.answer(answer.tag, answer.sequence, answer.source, answer.arrived);
        });
        match received {
            Ok(Waiting::Perhaps) => {}
            Ok(Waiting::Nothing) => return Turn::Done,
            // What may be left is read in the next turn, before any deadline passes.
            Err(error) => {
                tracing::debug!(%error, "receiving echo replies");
                return Turn::Done;
            }
        }
    }
    Turn::MoreToRead
}

fn open_socket(family: Family, mode: SocketMode, identifier: u16) -> Result<AsyncFd<EchoSocket>, PingError> {
    let socket = EchoSocket::open(family, mode, identifier)?;
    // SAFETY: an EchoSocket's descriptor is that of the socket it owns, which is neither replaced nor closed before
    // the EchoSocket is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    registered.map_err(|error| PingError::Io(error.to_string()))
}

/// Waits until the socket may hold packets; never ends without a socket.
async fn readable(socket: Option<&AsyncFd<EchoSocket>>) {
    let Some(socket) = socket else { return pending().await };
    match socket.readable().await {
        // Everything is read after this, so only a later packet may make it ready again.
        Ok(mut guard) => guard.clear_ready(),
        // The runtime is shutting down and will drop this task.
        Err(_) => pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}
