//! Probes the host's own addresses regularly, beside a sequential test, which has no rounds of checks to go with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Message, sweep};
use crate::monitor::decide::Input;
use crate::monitor::ping::Pinger;

/// Between two rounds: with the time they take, sooner than the soonest verdict on a container.
const EVERY: Duration = Duration::from_secs(1);
/// Echo requests to each.
const PROBES: u32 = 5;

/// Starts the task.
pub(super) fn spawn(
    tracker: &TaskTracker,
    pinger: Arc<dyn Pinger>,
    inbox: mpsc::Sender<Message>,
    shutdown: &CancellationToken,
) {
    let rounds = async move {
        let mut rounds = interval(EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let Some(addresses) = ask(&inbox).await else { return };
            let outcomes = sweep::references(pinger.as_ref(), PROBES, &addresses).await;
            if inbox.send(Message::Input(Input::References(outcomes))).await.is_err() {
                return;
            }
        }
    };
    tracker.spawn(shutdown.clone().run_until_cancelled_owned(rounds));
}

/// `None`: the agent is ending.
async fn ask(inbox: &mpsc::Sender<Message>) -> Option<Vec<IpAddr>> {
    let (answer, answered) = oneshot::channel();
    inbox.send(Message::References(answer)).await.ok()?;
    answered.await.ok()
}
