//! Whether the agent itself got to run: where its own timers are late while it probes (no CPU left, or its own share
//! throttled), what is lost says nothing of anyone.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Message;
use crate::monitor::decide::Input;
use crate::monitor::ping::{PingError, Pinger, ProbeOutcome, ProbePlan};

/// Between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Timers later than this void what is probed meanwhile: half of the timeout that probes have by default.
const LATE: Duration = Duration::from_millis(500);

/// A pinger whose probes are void when this process did not get to run meanwhile.
pub(super) struct Wakeful {
    inner: Arc<dyn Pinger>,
    inbox: mpsc::Sender<Message>,
    said: AtomicBool,
}

impl Wakeful {
    pub(super) fn new(inner: Arc<dyn Pinger>, inbox: mpsc::Sender<Message>) -> Self {
        Self { inner, inbox, said: AtomicBool::new(false) }
    }

    /// Tells of it, if it was starved.
    async fn tell(&self, lateness: &Lateness) {
        let Some(late) = lateness.too_late() else { return };
        if self.said.swap(true, Ordering::Relaxed) {
            tracing::debug!(?late, "starved");
        } else {
            tracing::warn!(
                ?late,
                "this process does not get to run in time, so what it probed does not count"
            );
        }
        // Nobody listens when the agent ends.
        let _ = self.inbox.send(Message::Input(Input::Starved(late))).await;
    }
}

#[async_trait]
impl Pinger for Wakeful {
    async fn probe(&self, addresses: &[IpAddr], plan: ProbePlan) -> Result<Vec<ProbeOutcome>, PingError> {
        let lateness = Lateness::default();
        let outcomes = lateness.during(self.inner.probe(addresses, plan)).await?;
        self.tell(&lateness).await;
        Ok(outcomes.into_iter().map(|outcome| lateness.judge(outcome)).collect())
    }

    async fn probe_each(
        &self,
        addresses: &[IpAddr],
        plan: ProbePlan,
        outcomes: mpsc::Sender<ProbeOutcome>,
    ) -> Result<(), PingError> {
        let lateness = Lateness::default();
        let (tell, mut told) = mpsc::channel(addresses.len().max(1));
        let relay = async {
            while let Some(outcome) = told.recv().await {
                // Whoever asked may have gone.
                let _ = outcomes.send(lateness.judge(outcome)).await;
            }
        };
        let probing = async { tokio::join!(self.inner.probe_each(addresses, plan, tell), relay).0 };
        let probed = lateness.during(probing).await;
        self.tell(&lateness).await;
        probed
    }
}

/// How late timers were, milliseconds at most.
#[derive(Debug, Default)]
struct Lateness(AtomicU64);

impl Lateness {
    /// Measures while `work` goes on.
    async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let look = async {
            loop {
                let due = Instant::now() + LOOK_EVERY;
                sleep_until(due).await;
                self.note(due.elapsed());
            }
        };
        tokio::select! {
            // First the clock: what made it late must be known before its outcome is taken.
            biased;
            () = look => unreachable!("it looks for ever"),
            done = work => done,
        }
    }

    fn note(&self, late: Duration) {
        self.0.fetch_max(u64::try_from(late.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn too_late(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.0.load(Ordering::Relaxed))).filter(|late| *late > LATE)
    }

    fn judge(&self, outcome: ProbeOutcome) -> ProbeOutcome {
        if self.too_late().is_none() {
            return outcome;
        }
        let void = outcome.sent + outcome.void;
        ProbeOutcome { sent: 0, received: 0, void, rtts: Vec::new(), ..outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::ping::fake::FakePinger;

    const PLAN: ProbePlan =
        ProbePlan { count: 5, spacing: Duration::ZERO, timeout: Duration::from_secs(1), threshold: None };

    /// Answers after a while, in which nobody else on this thread gets to run if it is `busy`.
    struct Slow {
        inner: FakePinger,
        busy: Duration,
    }

    #[async_trait]
    impl Pinger for Slow {
        async fn probe(&self, addresses: &[IpAddr], plan: ProbePlan) -> Result<Vec<ProbeOutcome>, PingError> {
            tokio::time::sleep(LOOK_EVERY / 2).await;
            std::thread::sleep(self.busy);
            tokio::time::sleep(LOOK_EVERY * 2).await;
            self.inner.probe(addresses, plan).await
        }

        async fn probe_each(
            &self,
            addresses: &[IpAddr],
            plan: ProbePlan,
            outcomes: mpsc::Sender<ProbeOutcome>,
        ) -> Result<(), PingError> {
            for outcome in self.probe(addresses, plan).await? {
                outcomes.send(outcome).await.expect("somebody waits for it");
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_a_starved_process_probed_is_void_and_it_is_told() {
        let address = [IpAddr::from([10, 0, 0, 1])];
        for (busy, counts) in [(Duration::ZERO, true), (LATE * 2, false)] {
            let (inbox, mut messages) = mpsc::channel(4);
            let pinger = Wakeful::new(Arc::new(Slow { inner: FakePinger::new(), busy }), inbox);
            let whole = pinger.probe(&address, PLAN).await.unwrap().remove(0);
            let (tell, mut told) = mpsc::channel(1);
            pinger.probe_each(&address, PLAN, tell).await.unwrap();
            for outcome in [whole, told.recv().await.unwrap()] {
                assert_eq!((outcome.sent, outcome.void), if counts { (5, 0) } else { (0, 5) }, "{busy:?}");
            }
            assert_eq!(messages.try_recv().is_err(), counts, "{busy:?}");
        }
    }
}
