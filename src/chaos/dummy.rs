//! The dummy: a container's worth of nothing to practise on. It tells the time and, as an antagonist of itself, loses
//! packets on its own interface.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{InjectError, LossInjector, LossPhase, LossPlan};
use crate::model::Timestamp;

/// What a dummy does.
#[derive(Debug, Clone)]
pub struct DummyConfig {
    /// How often it tells the time; above zero.
    pub every: Duration,
    /// How it loses packets; `None` does not.
    pub loss: Option<LossPlan>,
    /// The interface it loses them on: a container's first is `eth0`.
    pub interface: String,
}

/// What the dummy has to say, a line each.
#[derive(Debug)]
pub enum DummyNews {
    /// When it started and what time it is.
    Time {
        /// Its start.
        started: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// It will lose packets: by which backend, and with which seed.
    Armed {
        /// The injector's own description.
        backend: String,
        /// The seed to repeat it with, where chance plays a part.
        seed: Option<u64>,
    },
    /// It can't lose packets and goes on without.
    Unarmed(InjectError),
    /// It changed its loss.
    Phase(LossPhase),
    /// A change failed; the next is tried in its time.
    Fault(InjectError),
    /// It ended, and loses no packets any more.
    Ended,
}

impl fmt::Display for DummyNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time { started, now } => write!(f, "started at {started}, it is {now}"),
            Self::Armed { backend, seed: Some(seed) } => write!(f, "loses packets by {backend}, seed {seed}"),
            Self::Armed { backend, seed: None } => write!(f, "loses packets by {backend}"),
            Self::Unarmed(error) => write!(f, "goes on without losing packets: {error}"),
            Self::Phase(LossPhase { loss: Some(loss), lasts }) => {
                write!(f, "loses {loss} of its packets for {:.1}s", lasts.as_secs_f64())
            }
            Self::Phase(LossPhase { loss: None, lasts }) => {
                write!(f, "loses no packets for {:.1}s", lasts.as_secs_f64())
            }
            Self::Fault(error) => write!(f, "could not change its packet loss: {error}"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// Runs until `shutdown`, then ends what loss there is. `open` finds the injector for an interface
/// ([`best_injector`](super::best_injector)); without one it goes on as a plain dummy and says why.
pub async fn run_dummy(
    config: &DummyConfig,
    open: impl FnOnce(&str) -> Result<Box<dyn LossInjector>, InjectError>,
    shutdown: &CancellationToken,
    mut say: impl FnMut(DummyNews),
) {
    let started = Timestamp::now();
    let mut times = tokio::time::interval(config.every);
    times.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut weapon = config.loss.as_ref().and_then(|plan| match open(&config.interface) {
        Ok(injector) => {
            say(DummyNews::Armed { backend: injector.describe().to_owned(), seed: plan.seed() });
            Some((injector, plan.phases()))
        }
        Err(error) => {
            say(DummyNews::Unarmed(error));
            None
        }
    });
    let mut change = Instant::now();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = times.tick() => say(DummyNews::Time { started, now: Timestamp::now() }),
            () = sleep_until(change), if weapon.is_some() => {
                let (injector, phases) = weapon.as_mut().expect("the branch's condition");
                let phase = phases.next().expect("phases never end");
                change += phase.lasts;
                let done = match phase.loss {
                    Some(loss) => injector.set(loss),
                    None => injector.clear(),
                };
                say(done.map_or_else(DummyNews::Fault, |()| DummyNews::Phase(phase)));
            }
        }
    }
    if let Some((mut injector, _)) = weapon
        && let Err(error) = injector.clear()
    {
        say(DummyNews::Fault(error));
    }
    say(DummyNews::Ended);
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::model::LossPercent;

    /// Records what it was told; refuses the second change.
    #[derive(Clone, Default)]
    struct FakeInjector(Arc<Mutex<Vec<Option<LossPercent>>>>);

    impl FakeInjector {
        fn record(&self, loss: Option<LossPercent>) -> Result<(), InjectError> {
            let mut told = self.0.lock().unwrap();
            told.push(loss);
            if told.len() == 2 { Err(InjectError::NotPermitted) } else { Ok(()) }
        }
    }

    impl LossInjector for FakeInjector {
        fn set(&mut self, loss: LossPercent) -> Result<(), InjectError> {
            self.record(Some(loss))
        }
        fn clear(&mut self) -> Result<(), InjectError> {
            self.record(None)
        }
        fn describe(&self) -> &'static str {
            "a fake on eth0"
        }
    }

    fn config(loss: Option<LossPlan>) -> DummyConfig {
        DummyConfig { every: Duration::from_secs(10), loss, interface: "eth0".into() }
    }

    /// What a dummy says until its clock has told the time `ticks` times.
    async fn lines(
        config: &DummyConfig,
        ticks: usize,
        open: impl FnOnce(&str) -> Result<Box<dyn LossInjector>, InjectError>,
    ) -> Vec<String> {
        let shutdown = CancellationToken::new();
        let (mut lines, mut told) = (Vec::new(), 0);
        run_dummy(config, open, &shutdown, |news| {
            told += usize::from(matches!(news, DummyNews::Time { .. }));
            if told == ticks {
                shutdown.cancel();
            }
            lines.push(news.to_string());
        })
        .await;
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn loss_follows_the_plan_outlives_a_fault_and_ends_with_the_dummy() {
        let fake = FakeInjector::default();
        let plan = LossPlan::usual(5);
        let opened = fake.clone();
        let lines = lines(&config(Some(plan.clone())), 13, |interface| {
            assert_eq!(interface, "eth0");
            Ok(Box::new(opened))
        })
        .await;
        assert_eq!(lines[0], "loses packets by a fake on eth0, seed 5");
        let told = fake.0.lock().unwrap().clone();
        let changes = told.len() - 1;
        assert!(changes >= 4, "two minutes hold at least four phases: {lines:#?}");
        let planned: Vec<_> = plan.phases().take(changes).map(|phase| phase.loss).collect();
        assert_eq!(told[..changes], planned);
        assert_eq!(told[changes], None, "not cleared at the end");
        assert_eq!(lines.iter().filter(|line| line.contains("could not change")).count(), 1, "{lines:#?}");
        assert_eq!(
            lines.iter().filter(|line| line.starts_with("loses no packets for ")).count(),
            changes.div_ceil(2)
        );
        assert_eq!(lines.last().unwrap(), "ended");
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_capability_it_goes_on_as_a_plain_dummy() {
        let lines = lines(&config(Some(LossPlan::usual(5))), 3, |_| Err(InjectError::NotPermitted)).await;
        assert!(lines[0].starts_with("goes on without") && lines[0].contains("CAP_NET_ADMIN"), "{lines:#?}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("started at ")).count(), 3, "{lines:#?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_plain_dummy_touches_no_interface() {
        let lines = lines(&config(None), 2, |_| unreachable!("nothing was asked for")).await;
        assert_eq!(lines.len(), 3, "{lines:#?}");
    }
}
