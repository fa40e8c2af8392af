//! The owner of what is known of the fleet's network: hears what agents measured, and puts the hosts' views together.

mod figures;
mod fold;
mod node;
mod pair;
mod project;
mod resolve;
mod state;
#[cfg(test)]
mod tests;
mod window;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::counters::{Counter, Counters};
use super::fleet::Fleet;
use super::listen::listen;
use crate::bus::{Bus, Incoming, NetworkReport, Subject, decode_network};
use crate::model::{Interval, MeasurementStatus};

pub(crate) use figures::{Figures, LatencyKind, figures};
pub(crate) use fold::{Fold, fold};
pub(crate) use node::{Node, NodeKind};
pub(crate) use pair::{BothEnds, Pair, Reasons};
pub(crate) use project::Traffics;
use state::NetworkState;
pub(crate) use state::{HostNetwork, NetworkView};
pub(crate) use window::{COARSE, FINE, FINE_SPAN, SPAN};

/// How often what has waited is looked for, while nothing comes.
const TICK: Duration = Duration::from_secs(1);

/// Whether `interval` says that its host measures `what`.
fn measures(interval: &Interval, what: &str) -> bool {
    interval.measurements.iter().any(|m| m.name == what && m.status == MeasurementStatus::Works)
}

/// A handle of the network.
#[derive(Clone)]
pub(crate) struct Network(watch::Receiver<Arc<NetworkView>>);

impl Network {
    /// What is known now.
    pub(crate) fn view(&self) -> Arc<NetworkView> {
        self.0.borrow().clone()
    }
}

/// What the owner needs.
pub(crate) struct NetworkParts {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) fleet: Fleet,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
}

/// Makes the handle and the owner's task, which ends with `shutdown`.
pub(crate) fn network(
    parts: NetworkParts,
    shutdown: CancellationToken,
) -> (Network, impl Future<Output = ()> + Send) {
    let (publish, view) = watch::channel(Arc::default());
    let owner = Owner { parts, state: NetworkState::default(), publish };
    (Network(view), owner.run(shutdown))
}

struct Owner {
    parts: NetworkParts,
    state: NetworkState,
    publish: watch::Sender<Arc<NetworkView>>,
}

impl Owner {
    async fn run(mut self, shutdown: CancellationToken) {
        let mut reports = pin!(listen(self.parts.bus.clone(), Subject::AllNetworks, None));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(message) = reports.next() => self.take(message).await,
                _ = ticks.tick() => self.settle(None).await,
            }
        }
    }

    async fn take(&mut self, message: Incoming) {
        // Reading takes long enough to keep others of this thread waiting.
        let read = tokio::task::spawn_blocking(move || read(&message)).await;
        match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(report) => self.settle(Some(report)).await,
            Err(why) => self.refuse(&why),
        }
    }

    fn refuse(&self, why: &str) {
        self.parts.counters.count(Counter::NetworkReportsRefused);
        tracing::debug!("a report of a host's network was refused: {why}");
    }

    /// Takes in `report`, and puts together what need not wait any longer.
    async fn settle(&mut self, report: Option<NetworkReport>) {
        let now = self.parts.clock.now();
        if report.is_none() && self.state.next().is_none_or(|next| next > now.mono) {
            return;
        }
        let (fleet, mut state) = (self.parts.fleet.view(), std::mem::take(&mut self.state));
        let work = tokio::task::spawn_blocking(move || {
            let heard = report.map(|report| state.hear(report, &fleet, now));
            let settled = state.settle(&fleet, now);
            (state, heard, settled)
        });
        let Ok((state, heard, settled)) = work.await else {
            tracing::error!("what was known of the network is lost: putting it together failed");
            return;
        };
        self.state = state;
        match heard {
            Some(Ok(())) => self.parts.counters.count(Counter::NetworkReports),
            Some(Err(why)) => self.refuse(&why),
            None => {}
        }
        self.parts.counters.add(Counter::NetworkPairsLeftOut, settled.unwrap_or(0));
        self.publish.send_replace(Arc::new(self.state.view()));
    }
}

fn read(message: &Incoming) -> Result<NetworkReport, String> {
    let report = decode_network(&message.payload).map_err(|error| format!("{}: {error}", message.subject))?;
    if message.subject.host() == Some(&report.host) {
        return Ok(report);
    }
    Err(format!("a report of {} came on {}", report.host, message.subject))
}
