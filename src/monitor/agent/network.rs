//! Measures the containers' network: looks every second who is here and what is wanted, ends an interval at each multiple of
//! the rules' length in unix time, pushes it, and keeps of it what ticks and `why` tell.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Message;
use crate::bus::{Bus, NetworkReport, PROTOCOL_VERSION, Subject, encode_network};
use crate::model::{ContainerName, HostName, MeasureWay, MetricTick, Timestamp};
use crate::net::{NetworkMonitor, NetworkSeries, NetworkSettings, NetworkView, Seen, series};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the last interval came to.
#[derive(Clone, Default)]
pub(super) struct Measured {
    series: Arc<NetworkSeries>,
    seen: Arc<Seen>,
    /// Until when the series are news.
    until: Option<Instant>,
}

/// Follows what is measured.
pub(super) type Newest = watch::Receiver<Measured>;

impl Measured {
    /// Adds the series to a tick.
    pub(super) fn complete(&self, tick: &mut MetricTick) {
        if self.until.is_none_or(|until| until <= Instant::now()) {
            return;
        }
        let put = |to: &mut crate::model::Values, from: &crate::model::Values| {
            from.iter().for_each(|(name, value)| to.insert(name.clone(), *value));
        };
        put(&mut tick.host, &self.series.host);
        for (name, values) in &self.series.containers {
            if let Some(known) = tick.containers.get_mut(name) {
                put(known, values);
            }
        }
    }

    /// What may explain why probes of a container are lost.
    pub(super) fn why(&self, name: &ContainerName) -> Option<crate::bus::WhyNetwork> {
        self.seen.of(name)
    }
}

/// What the task is wired to.
pub(super) struct Wiring {
    pub(super) host: HostName,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) owner: mpsc::Sender<Message>,
    pub(super) measured: watch::Sender<Measured>,
}

/// Starts the task.
pub(super) fn spawn(
    tracker: &TaskTracker,
    settings: NetworkSettings,
    wiring: Wiring,
    shutdown: &CancellationToken,
) {
    tracker.spawn(shutdown.clone().run_until_cancelled_owned(run(settings, wiring)));
}

async fn run(settings: NetworkSettings, wiring: Wiring) {
    // Whatever the kernel does is done beside the runtime's own threads, which others wait for.
    let Some((view, _)) = ask(&wiring.owner).await else { return };
    let started = tokio::task::spawn_blocking(move || {
        let mut monitor = NetworkMonitor::start(settings);
        monitor.look(&view);
        monitor
    });
    let Ok(mut monitor) = started.await else { return };
    let capability = monitor.capability();
    tracing::info!(works = capability.works, "the containers' network is measured by {}", capability.detail);
    if wiring.owner.send(Message::Capability(capability)).await.is_err()
        || monitor.measured_by() == MeasureWay::Off
    {
        return;
    }
    let (mut seq, mut start) = (0, Timestamp::now());
    loop {
        let Some((view, nonce)) = ask(&wiring.owner).await else { return };
        let length = view.rules.interval;
        let now = Timestamp::now();
        let ends = next_end(start, length, now);
        let pause = ends.since(now).min(LOOK_EVERY);
        let Some(looked) = beside(monitor, move |monitor| monitor.look(&view)).await else { return };
        monitor = looked.0;
        sleep(pause).await;
        let now = Timestamp::now();
        if now < ends {
            continue;
        }
        let Some((rolled, interval)) = beside(monitor, move |monitor| monitor.roll(start, now)).await else {
            return;
        };
        monitor = rolled;
        (seq, start) = (seq + 1, now);
        let table_bytes = monitor.table_bytes();
        wiring.measured.send_modify(|measured| {
            measured.series = Arc::new(series(&interval, table_bytes));
            Arc::make_mut(&mut measured.seen).add(&interval);
            measured.until = Some(Instant::now() + length * 2);
        });
        let report = NetworkReport { v: PROTOCOL_VERSION, host: wiring.host.clone(), nonce, seq, interval };
        let payload = encode_network(&report);
        if let Err(error) = wiring.bus.publish(&Subject::Network(wiring.host.clone()), payload).await {
            tracing::debug!(%error, "a report of the network was not sent");
        }
    }
}

/// Does `work` on a thread that may wait; `None` when it ended badly, so that nothing is measured any more.
async fn beside<T: Send + 'static>(
    mut monitor: NetworkMonitor,
    work: impl FnOnce(&mut NetworkMonitor) -> T + Send + 'static,
) -> Option<(NetworkMonitor, T)> {
    let done = tokio::task::spawn_blocking(move || {
        let answer = work(&mut monitor);
        (monitor, answer)
    });
    done.await.inspect_err(|error| tracing::error!(%error, "the network is not measured any more")).ok()
}

/// When the interval that began at `start` ends: at the next multiple of its length in unix time, but not within the first
/// quarter of it. With a clock that was set back it ends at once.
fn next_end(start: Timestamp, length: Duration, now: Timestamp) -> Timestamp {
    let length = i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1);
    if now < start {
        return now;
    }
    let least = start.millis().saturating_add(length / 4);
    let ends = least.div_euclid(length).saturating_add(1).saturating_mul(length);
    Timestamp::from_millis(ends)
}

/// Who is here and what is wanted; `None` when the agent ends.
async fn ask(owner: &mpsc::Sender<Message>) -> Option<(NetworkView, uuid::Uuid)> {
    let (answer, answered) = oneshot::channel();
    owner.send(Message::Network(answer)).await.ok()?;
    answered.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_end_at_multiples_of_their_length() {
        let at = Timestamp::from_millis;
        for (start, now, expected) in [
            (10_000, 10_001, 20_000),
            (10_013, 12_000, 20_000),
            (19_000, 19_001, 30_000),
            (12_500, 12_500, 20_000),
            (30_000, 9_000, 9_000),
        ] {
            assert_eq!(next_end(at(start), Duration::from_secs(10), at(now)), at(expected), "{start} {now}");
        }
    }
}
