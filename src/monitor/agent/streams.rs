//! Probes as the sequential detector wants it: asks the owner whom, sends volleys, brings what comes of them back.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Message;
use super::clock::Clock;
use crate::model::CheckKind;
use crate::monitor::decide::{ErrorRates, Input, Target};
use crate::monitor::detect::{Decision, Event, Streams, Volley};
use crate::monitor::ping::{PingError, Pinger, ProbeOutcome, ProbePlan};

/// Between two questions whom to probe.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Outcomes that wait at most; whoever has more waits.
const WAITING: usize = 1024;
/// The probes of one volley go out within this time.
const WITHIN: Duration = Duration::from_millis(5);
/// The longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What the task is wired to.
pub(super) struct Wiring {
    pub(super) pinger: Arc<dyn Pinger>,
    pub(super) probe_timeout: Duration,
    pub(super) clock: Clock,
    pub(super) inbox: mpsc::Sender<Message>,
}

/// Starts the task.
pub(super) fn spawn(tracker: &TaskTracker, rates: ErrorRates, wiring: Wiring, shutdown: &CancellationToken) {
    let (outcomes, ended) = mpsc::channel(WAITING);
    let task = Task {
        streams: Streams::new(rates),
        wiring,
        outcomes,
        tracker: tracker.clone(),
        shutdown: shutdown.clone(),
        warned: false,
    };
    tracker.spawn(shutdown.clone().run_until_cancelled_owned(task.run(ended)));
}

/// What comes of a volley.
enum News {
    Ended(u64, ProbeOutcome),
    /// Nothing could be probed.
    Failed(PingError),
}

struct Task {
    streams: Streams,
    wiring: Wiring,
    outcomes: mpsc::Sender<News>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
    /// It was said that nothing can be probed.
    warned: bool,
}

impl Task {
    async fn run(mut self, mut ended: mpsc::Receiver<News>) {
        let mut questions = interval(ASK_EVERY);
        questions.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let latest = tokio::time::Instant::now() + LONGEST_SLEEP;
            let wake = self.streams.wake_at().map_or(latest, |at| self.wiring.clock.instant(at).min(latest));
            let event = tokio::select! {
                _ = questions.tick() => match self.targets().await {
                    Some(targets) => Event::Targets(targets),
                    // The agent is ending.
                    None => return,
                },
                Some(news) = ended.recv() => match news {
                    News::Ended(volley, outcome) => Event::Ended(volley, outcome),
                    News::Failed(error) => {
                        if !std::mem::replace(&mut self.warned, true) {
                            tracing::warn!(%error, "nothing could be probed");
                        }
                        continue;
                    }
                },
                () = sleep_until(wake) => Event::Tick,
            };
            for decision in self.streams.on(event, self.wiring.clock.now().mono) {
                match decision {
                    Decision::Probe(volley) => self.send(volley),
                    Decision::Judge(checked) => {
                        tracing::debug!(containers = checked.len(), "tested");
                        let swept = Input::Swept(CheckKind::Sweep, checked);
                        if self.wiring.inbox.send(Message::Input(swept)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    async fn targets(&self) -> Option<Vec<Target>> {
        let (answer, answered) = oneshot::channel();
        self.wiring.inbox.send(Message::Targets(answer)).await.ok()?;
        answered.await.ok()
    }

    fn send(&self, volley: Volley) {
        let (pinger, outcomes) = (self.wiring.pinger.clone(), self.outcomes.clone());
        let timeout = self.wiring.probe_timeout;
        let flight = async move { fly(pinger.as_ref(), volley, timeout, &outcomes).await };
        self.tracker.spawn(self.shutdown.clone().run_until_cancelled_owned(flight));
    }
}

/// Sends a volley; tells of each of its addresses once, whatever happens.
async fn fly(pinger: &dyn Pinger, volley: Volley, timeout: Duration, news: &mpsc::Sender<News>) {
    let Volley { id, addresses } = volley;
    let plan = ProbePlan { count: 1, spacing: WITHIN, timeout, threshold: None };
    let (tell, mut told) = mpsc::channel::<ProbeOutcome>(addresses.len().max(1));
    let mut open: BTreeSet<IpAddr> = addresses.iter().copied().collect();
    let relay = async {
        while let Some(outcome) = told.recv().await {
            open.remove(&outcome.address);
            // Nobody waits for it when the agent ends.
            let _ = news.send(News::Ended(id, outcome)).await;
        }
    };
    let (probed, ()) = tokio::join!(pinger.probe_each(&addresses, plan, tell), relay);
    for address in open {
        let void = ProbeOutcome { address, sent: 0, received: 0, void: 1, rtts: Vec::new() };
        let _ = news.send(News::Ended(id, void)).await;
    }
    if let Err(error) = probed {
        let _ = news.send(News::Failed(error)).await;
    }
}
