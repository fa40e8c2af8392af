//! Measures the host: one tick of samples each `--metrics-interval`, at multiples of it in unix time. Beside that it asks
//! the engine for sizes now and then, and reads the identity card.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Message;
use super::network::Newest;
use super::pool_meter::PoolMeter;
use crate::bus::Capability;
use crate::metrics::{Machine, Sensors, SizeBook, SizeSource, Sizes, StatsSource, Subject, host_identity};
use crate::model::{ContainerId, HostIdentity, MetricTick, PoolStatus, SeriesName, Timestamp};

/// Between two questions about sizes. Each makes the engine work.
const SIZES_PACE: Duration = Duration::from_secs(10);
/// How long the engine may take to add up one container's files.
const SIZES_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks at the identity card: addresses come and go.
const IDENTITY_EVERY: Duration = Duration::from_mins(10);

/// How a host is measured.
#[derive(Clone)]
pub struct Sampling {
    /// Seconds between two ticks, above 0.
    pub step: u32,
    /// The engine, asked about containers whose files cannot be read.
    pub stats: Arc<dyn StatsSource>,
    /// The engine, asked for sizes.
    pub sizes: Arc<dyn SizeSource>,
}

type KnownSizes = HashMap<ContainerId, Sizes>;

/// What the tasks are wired to.
pub(super) struct Wiring {
    pub(super) owner: mpsc::Sender<Message>,
    /// Where each tick goes.
    pub(super) ticks: mpsc::Sender<MetricTick>,
    /// What is measured of the containers' network, which ticks carry too.
    pub(super) network: Newest,
    /// How the host's pools are, likewise.
    pub(super) pools: watch::Receiver<Vec<PoolStatus>>,
}

/// Starts the tasks.
pub(super) fn spawn(
    tracker: &TaskTracker,
    machine: &Machine,
    sampling: Sampling,
    wiring: Wiring,
    shutdown: &CancellationToken,
) {
    let Wiring { owner, ticks, network, pools } = wiring;
    let sensors = match Sensors::start(machine, sampling.stats.clone()) {
        Ok(sensors) => sensors,
        Err(error) => {
            tracing::error!(%error, "nothing is measured: the sensors' thread does not start");
            return;
        }
    };
    let (known, sizes) = watch::channel(Arc::new(KnownSizes::new()));
    let asking = ask_sizes(sampling.sizes, owner.clone(), known);
    tracker.spawn(shutdown.clone().run_until_cancelled_owned(asking));
    let sampler = Sampler {
        sensors,
        step: sampling.step,
        owner,
        ticks,
        network,
        pools,
        pool_meter: PoolMeter::default(),
        sizes,
        samples_dropped: 0,
        said: None,
        asked_in_a_row: 0,
    };
    tracker.spawn(shutdown.clone().run_until_cancelled_owned(sampler.run()));
}

/// Tells the owner the identity card, and again when it changed.
pub(super) fn spawn_identity(
    tracker: &TaskTracker,
    machine: &Machine,
    owner: &mpsc::Sender<Message>,
    shutdown: &CancellationToken,
) {
    // Of a machine elsewhere only its engine tells.
    let Machine::Here(root) = machine.clone() else { return };
    let owner = owner.clone();
    tracker.spawn(shutdown.clone().run_until_cancelled_owned(async move {
        let mut told = HostIdentity::default();
        let mut looks = interval(IDENTITY_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let card = host_identity(&root);
            if card != told {
                told = card.clone();
                if owner.send(Message::Identity(Box::new(card))).await.is_err() {
                    return;
                }
            }
        }
    }));
}

struct Sampler {
    sensors: Sensors,
    step: u32,
    owner: mpsc::Sender<Message>,
    ticks: mpsc::Sender<MetricTick>,
    network: Newest,
    pools: watch::Receiver<Vec<PoolStatus>>,
    pool_meter: PoolMeter,
    sizes: watch::Receiver<Arc<KnownSizes>>,
    /// Samples of ticks that found no place, since this process began.
    samples_dropped: u64,
    /// Where it was last said that samples come from.
    said: Option<Way>,
    /// Ticks in a row for which the engine was asked.
    asked_in_a_row: u32,
}

/// Where the samples of containers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Files,
    Both,
    Engine,
}

/// A container that just starts or ends has no files for a moment; for so many ticks in a row none has.
const UNSEEN: u32 = 3;

impl Sampler {
    async fn run(mut self) {
        let mut last = None;
        let mut hung = false;
        loop {
            let time = next_time(self.step, last, || Timestamp::now().millis()).await;
            last = Some(time);
            let Some(mut subjects) = ask_subjects(&self.owner).await else { return };
            let running = subjects.iter().filter(|subject| subject.runs()).count();
            for subject in &mut subjects {
                subject.sizes = self.sizes.borrow().get(&subject.id).copied().unwrap_or_default();
            }
            let Some(mut tick) = self.sensors.tick(time, self.step, subjects).await else {
                if !std::mem::replace(&mut hung, true) {
                    tracing::warn!("the kernel's files are not read in time: nothing is measured meanwhile");
                }
                continue;
            };
            hung = false;
            if !self.say(running).await {
                return;
            }
            tick.host.insert(SeriesName::of("samples_dropped"), self.samples_dropped as f64);
            self.network.borrow().complete(&mut tick);
            self.pool_meter.sample(&self.pools.borrow(), &mut tick.host);
            self.hand_over(tick);
        }
    }

    /// Says in the log and in the host's capabilities where samples come from, once, and when that gets worse; `false`
    /// when the agent ends.
    async fn say(&mut self, running: usize) -> bool {
        let (asked, cgroups) = (self.sensors.asked_engine(), self.sensors.cgroups());
        self.asked_in_a_row = if asked > 0 { self.asked_in_a_row.saturating_add(1) } else { 0 };
        let way = match asked {
            _ if running == 0 => return true,
            0 => Way::Files,
            _ if self.asked_in_a_row < UNSEEN => return true,
            asked if asked < running => Way::Both,
            _ => Way::Engine,
        };
        if self.said >= Some(way) {
            return true;
        }
        self.said = Some(way);
        let capability = capability(way, cgroups);
        tracing::info!(works = capability.works, "containers are measured by {}", capability.detail);
        self.owner.send(Message::Capability(capability)).await.is_ok()
    }

    fn hand_over(&mut self, tick: MetricTick) {
        if let Err(mpsc::error::TrySendError::Full(tick)) = self.ticks.try_send(tick) {
            let samples = tick.samples();
            self.samples_dropped += samples as u64;
            tracing::debug!(samples, "a tick was dropped: those before it are not kept yet");
        }
    }
}

fn capability(way: Way, cgroups: Option<&'static str>) -> Capability {
    let files = format!("cgroup {} and /proc", cgroups.unwrap_or("files"));
    let (works, detail) = match way {
        Way::Files => (true, files),
        Way::Both => {
            (true, format!("{files}; some containers have no files here: the engine's statistics for those"))
        }
        Way::Engine => {
            let lacking = "the engine's statistics, which cost it much and tell less: the containers' files in \
                           /sys/fs/cgroup and /proc cannot be seen from here";
            (false, lacking.to_owned())
        }
    };
    Capability { name: "cgroup".to_owned(), works, detail }
}

/// Waits until the next multiple of `step` seconds in unix time, after `last`, and gives it. When the clock was set back,
/// the times before it are there again. `clock` gives unix milliseconds.
async fn next_time(step: u32, last: Option<i64>, clock: impl Fn() -> i64) -> i64 {
    loop {
        sleep(until_next(clock(), step)).await;
        // A timer may fire a moment early by this clock, which is not the one that it waits by.
        let now = clock() + EARLY_MS;
        let time = now.div_euclid(1000 * i64::from(step)) * i64::from(step);
        if Some(time) != last {
            return time;
        }
    }
}

/// What a timer may be early by.
const EARLY_MS: i64 = 20;

/// From `now`, unix milliseconds, to the next multiple of `step` seconds.
fn until_next(now: i64, step: u32) -> Duration {
    let step = 1000 * i64::from(step);
    Duration::from_millis((step - now.rem_euclid(step)).unsigned_abs())
}

/// Every container, as the owner knows it; `None` when the agent ends.
async fn ask_subjects(owner: &mpsc::Sender<Message>) -> Option<Vec<Subject>> {
    let (answer, answered) = oneshot::channel();
    owner.send(Message::Subjects(answer)).await.ok()?;
    answered.await.ok()
}

/// Asks for the sizes of one container after the other.
async fn ask_sizes(
    engine: Arc<dyn SizeSource>,
    owner: mpsc::Sender<Message>,
    known: watch::Sender<Arc<KnownSizes>>,
) {
    let (start, mut book) = (Instant::now(), SizeBook::default());
    loop {
        sleep(SIZES_PACE).await;
        let Some(subjects) = ask_subjects(&owner).await else { return };
        let ids = subjects.iter().map(|subject| &subject.id);
        let Some(id) = book.next(ids, start.elapsed()) else { continue };
        let sizes = match timeout(SIZES_WITHIN, engine.sizes(&id)).await {
            Ok(Ok(sizes)) => Some(sizes),
            Ok(Err(error)) => {
                tracing::debug!(%error, container = id.short(), "no sizes");
                None
            }
            Err(_) => {
                tracing::debug!(container = id.short(), "the engine takes too long to add up its files");
                None
            }
        };
        book.note(&id, sizes);
        known.send_replace(Arc::new(book.known()));
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::docker::EngineError;
    use crate::metrics::NetworkUse;
    use crate::model::RunState;

    #[test]
    fn ticks_are_aligned_to_unix_time() {
        for (now, step, expected) in [
            (0, 10, 10_000),
            (1, 10, 9999),
            (9_999, 10, 1),
            (10_000, 10, 10_000),
            (1_500, 1, 500),
            (-1, 10, 1),
        ] {
            assert_eq!(until_next(now, step), Duration::from_millis(expected), "{now} {step}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_second_is_told_once_and_none_is_left_out() {
        // The clock runs as timers do, or up to 1 % slower or faster.
        for drift in [-10, -3, 0, 3, 10] {
            let start = Instant::now();
            let clock = || {
                let passed = i64::try_from(start.elapsed().as_millis()).unwrap();
                1_800_000_000_250 + passed + passed * drift / 1000
            };
            let mut last = None;
            for _ in 0..500 {
                let time = next_time(1, last, clock).await;
                assert!(last.is_none_or(|last| time == last + 1), "{time} after {last:?}, drift {drift}");
                last = Some(time);
            }
        }
    }

    struct Engine;

    #[async_trait]
    impl StatsSource for Engine {
        async fn stats(&self, _: &ContainerId) -> Result<serde_json::Value, EngineError> {
            Ok(serde_json::json!({"pids_stats": {"current": 9}}))
        }
    }

    #[async_trait]
    impl SizeSource for Engine {
        async fn sizes(&self, _: &ContainerId) -> Result<Sizes, EngineError> {
            Ok(Sizes::default())
        }
    }

    fn subject() -> Subject {
        Subject {
            id: ContainerId::new("aaaaaaaaaaaa").unwrap(),
            name: "web".parse().unwrap(),
            state: RunState::Running,
            pid: None,
            network: NetworkUse::Namespace,
            started_at: None,
            exit_code: None,
            restarts: Some(0),
            loss_percent: None,
            rtt_ms: None,
            sizes: Sizes::default(),
        }
    }

    #[tokio::test]
    async fn a_tick_comes_each_second_and_what_finds_no_place_is_counted() {
        let (owner, mut asked) = mpsc::channel(8);
        let (ticks, mut ticked) = mpsc::channel(1);
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let sampling = Sampling { step: 1, stats: Arc::new(Engine), sizes: Arc::new(Engine) };
        let network = watch::channel(super::super::network::Measured::default()).1;
        let pools = watch::channel(Vec::new()).1;
        spawn(&tracker, &Machine::Elsewhere, sampling, Wiring { owner, ticks, network, pools }, &shutdown);
        let said = loop {
            match asked.recv().await.unwrap() {
                Message::Subjects(answer) => answer.send(vec![subject()]).unwrap(),
                Message::Capability(said) => break said,
                _ => panic!("that is not the sampler's to tell"),
            }
        };
        assert_eq!((said.name.as_str(), said.works), ("cgroup", false), "{said:?}");
        let dropped = |tick: &MetricTick| tick.host[&SeriesName::of("samples_dropped")];
        let first = ticked.recv().await.unwrap();
        let pids = first.containers[&"web".parse().unwrap()].get(&SeriesName::of("pids"));
        assert_eq!((first.step, pids), (1, Some(9.0)));
        assert!(dropped(&first) < 1.0, "{first:?}");
        let later = loop {
            tokio::select! {
                tick = ticked.recv() => break tick.unwrap(),
                message = asked.recv() => match message {
                    Some(Message::Subjects(answer)) => answer.send(vec![subject()]).unwrap(),
                    _ => panic!("it was said once"),
                },
            }
        };
        assert!(later.time >= first.time + 2 && dropped(&later) > 0.0, "{first:?} {later:?}");
        shutdown.cancel();
        tracker.close();
        tracker.wait().await;
    }

    #[test]
    fn what_cannot_be_seen_is_no_capability() {
        assert!(capability(Way::Files, Some("v2")).works);
        assert_eq!(capability(Way::Files, Some("v2")).detail, "cgroup v2 and /proc");
        assert!(!capability(Way::Engine, Some("v2")).works, "cgroups of its own are not the containers'");
    }
}
