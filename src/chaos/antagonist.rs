//! The antagonist: now and then it stops a container that consents, for a healer to bring back.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Attack, Targets};
use crate::docker::{ContainerActuator, ContainerSource, EngineError};
use crate::model::{ContainerName, RunState, format_span};

/// Whether attacks are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttackMode {
    /// They are.
    Act,
    /// They are only told.
    DryRun,
}

/// How the antagonist attacks.
#[derive(Debug, Clone)]
pub struct AntagonistConfig {
    /// The time between two attacks, and before the first; above zero.
    pub every: Duration,
    /// Decides who is attacked: the same seed attacks the same containers in the same order, as long as they all run.
    pub seed: u64,
    /// Whether attacks are carried out.
    pub mode: AttackMode,
    /// Who may be attacked.
    pub targets: Targets,
    /// When to end; `None` goes on until told to.
    pub for_span: Option<Duration>,
}

/// What the antagonist has to say, a line each.
#[derive(Debug, Clone)]
pub enum AntagonistNews {
    /// It begins.
    Began {
        /// The seed to repeat it with.
        seed: u64,
        /// The time between two attacks.
        every: Duration,
        /// Whether attacks are carried out.
        mode: AttackMode,
    },
    /// It stopped a container, which took so long.
    Stopped(Attack, Duration),
    /// It would have stopped a container.
    WouldStop(Attack),
    /// No running container may be attacked now.
    Nobody,
    /// The engine did not do its part; the next attack comes in its time.
    EngineFault(EngineError),
    /// It ended.
    Ended {
        /// How many containers it stopped.
        stopped: u32,
        /// Which of those nobody had brought back; it started them again itself.
        down: Vec<ContainerName>,
    },
}

impl fmt::Display for AntagonistNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began { seed, every, mode } => {
                let what = match mode {
                    AttackMode::Act => "stops a container",
                    AttackMode::DryRun => "dry run: would stop a container",
                };
                write!(f, "antagonist {what} every {}, seed {seed}", format_span(*every))
            }
            Self::Stopped(attack, took) => {
                write!(f, "stopped {} ({}) in {:.1}s", attack.name, attack.id.short(), took.as_secs_f64())
            }
            Self::WouldStop(attack) => write!(f, "would stop {} ({})", attack.name, attack.id.short()),
            Self::Nobody => f.write_str(
                "nobody to stop: no running container has the label dockhealth.chaos=true or a --target name",
            ),
            Self::EngineFault(error) => error.fmt(f),
            Self::Ended { stopped, down } if down.is_empty() => {
                write!(f, "antagonist ended: stopped {stopped}")
            }
            Self::Ended { stopped, down } => {
                let names: Vec<&str> = down.iter().map(ContainerName::as_str).collect();
                write!(
                    f,
                    "antagonist ended: stopped {stopped}; nobody had healed {}, so it started them again",
                    names.join(", ")
                )
            }
        }
    }
}

/// Attacks until `shutdown` or the configured end. A fault of the engine is told and survived. While it runs, what it
/// stopped stays for the healer; at its end it starts what is still down, and names it.
pub async fn run_antagonist<E>(
    config: &AntagonistConfig,
    engine: &E,
    shutdown: &CancellationToken,
    mut say: impl FnMut(AntagonistNews) + Send,
) where
    E: ContainerSource + ContainerActuator + ?Sized,
{
    say(AntagonistNews::Began { seed: config.seed, every: config.every, mode: config.mode });
    let mut stopped: u32 = 0;
    let mut victims = BTreeSet::new();
    let attacks = async {
        let mut rng = StdRng::seed_from_u64(config.seed);
        let mut turns = tokio::time::interval_at(Instant::now() + config.every, config.every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let news = attack(config, engine, &mut rng).await;
            if let AntagonistNews::Stopped(attack, _) = &news {
                stopped += 1;
                victims.insert(attack.name.clone());
            }
            say(news);
        }
    };
    tokio::select! {
        () = attacks => {}
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(config.for_span.unwrap_or(Duration::MAX)) => {}
    }
    let down = if victims.is_empty() { Vec::new() } else { start_again(engine, victims).await };
    say(AntagonistNews::Ended { stopped, down });
}

/// One turn, and what came of it.
async fn attack<E>(config: &AntagonistConfig, engine: &E, rng: &mut StdRng) -> AntagonistNews
where
    E: ContainerSource + ContainerActuator + ?Sized,
{
    let containers = match engine.list().await {
        Ok(containers) => containers,
        Err(error) => return AntagonistNews::EngineFault(error),
    };
    let Some(attack) = config.targets.choose(&containers, rng) else { return AntagonistNews::Nobody };
    if config.mode == AttackMode::DryRun {
        return AntagonistNews::WouldStop(attack);
    }
    let began = Instant::now();
    match engine.stop(&attack.id, None).await {
        Ok(()) => AntagonistNews::Stopped(attack, began.elapsed()),
        Err(error) => AntagonistNews::EngineFault(error),
    }
}

/// Undoes what is left of its faults: starts those of `victims` that exist and don't run, and names them, since
/// somebody should have. None when the engine can't say: it is the end, and it was told before that it is away.
async fn start_again<E>(engine: &E, victims: BTreeSet<ContainerName>) -> Vec<ContainerName>
where
    E: ContainerSource + ContainerActuator + ?Sized,
{
    let containers = engine.list().await.unwrap_or_default();
    let down = containers.into_iter().filter(|c| c.state != RunState::Running && victims.contains(&c.name));
    let mut names = Vec::new();
    for container in down {
        if let Err(error) = engine.start(&container.id).await {
            tracing::warn!(container = %container.name, %error, "what was stopped could not be started again");
        }
        names.push(container.name);
    }
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use futures_util::stream::BoxStream;

    use super::*;
    use crate::chaos::fixtures::container;
    use crate::docker::{EngineEvent, EngineInfo};
    use crate::model::{ContainerFacts, ContainerId, Timestamp};

    /// Holds containers; refuses the calls whose turn is named.
    struct FakeEngine {
        containers: Mutex<Vec<ContainerFacts>>,
        calls: Mutex<u32>,
        refuse: Vec<u32>,
    }

    impl FakeEngine {
        fn new(names: &[&str], refuse: &[u32]) -> Self {
            let labels = [("dockhealth.chaos", "true")];
            let containers = names.iter().map(|name| container(name, &labels)).collect();
            Self { containers: Mutex::new(containers), calls: Mutex::new(0), refuse: refuse.to_vec() }
        }

        fn call(&self) -> Result<(), EngineError> {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            if self.refuse.contains(&calls) { Err(EngineError::Unreachable("gone".into())) } else { Ok(()) }
        }

        fn running(&self) -> usize {
            self.containers.lock().unwrap().iter().filter(|c| c.state == RunState::Running).count()
        }
    }

    #[async_trait]
    impl ContainerSource for FakeEngine {
        async fn info(&self) -> Result<EngineInfo, EngineError> {
            unreachable!("the antagonist does not ask")
        }
        async fn list(&self) -> Result<Vec<ContainerFacts>, EngineError> {
            self.call()?;
            Ok(self.containers.lock().unwrap().clone())
        }
        async fn inspect(&self, _: &str) -> Result<ContainerFacts, EngineError> {
            unreachable!("the antagonist does not ask")
        }
        async fn events(
            &self,
            _: Option<Timestamp>,
        ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
            unreachable!("the antagonist does not ask")
        }
    }

    #[async_trait]
    impl ContainerActuator for FakeEngine {
        async fn start(&self, id: &ContainerId) -> Result<(), EngineError> {
            let mut containers = self.containers.lock().unwrap();
            containers.iter_mut().filter(|c| c.id == *id).for_each(|c| c.state = RunState::Running);
            Ok(())
        }
        async fn restart(&self, _: &ContainerId, _: Option<Duration>) -> Result<(), EngineError> {
            unreachable!("the antagonist restarts nothing")
        }
        async fn stop(&self, id: &ContainerId, _: Option<Duration>) -> Result<(), EngineError> {
            self.call()?;
            let mut containers = self.containers.lock().unwrap();
            containers.iter_mut().filter(|c| c.id == *id).for_each(|c| c.state = RunState::Exited);
            Ok(())
        }
    }

    fn config(mode: AttackMode) -> AntagonistConfig {
        AntagonistConfig {
            every: Duration::from_secs(30),
            seed: 7,
            mode,
            targets: Targets::default(),
            for_span: Some(Duration::from_secs(100)),
        }
    }

    async fn lines(config: &AntagonistConfig, engine: &FakeEngine) -> Vec<String> {
        let mut lines = Vec::new();
        run_antagonist(config, engine, &CancellationToken::new(), |news| lines.push(news.to_string())).await;
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn it_stops_one_each_turn_until_its_time_is_over() {
        let engine = FakeEngine::new(&["a", "b"], &[]);
        let began = Instant::now();
        let lines = lines(&config(AttackMode::Act), &engine).await;
        assert_eq!(began.elapsed().as_secs(), 100);
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert_eq!(lines[0], "antagonist stops a container every 30s, seed 7");
        assert!(lines[1].starts_with("stopped ") && lines[2].starts_with("stopped "), "{lines:#?}");
        assert!(lines[3].starts_with("nobody to stop"), "{lines:#?}");
        assert_eq!(lines[4], "antagonist ended: stopped 2; nobody had healed a, b, so it started them again");
        assert_eq!(engine.running(), 2, "its faults end with it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dry_run_stops_nobody() {
        let engine = FakeEngine::new(&["a", "b"], &[]);
        let lines = lines(&config(AttackMode::DryRun), &engine).await;
        assert_eq!(lines.iter().filter(|line| line.starts_with("would stop ")).count(), 3, "{lines:#?}");
        assert_eq!(engine.running(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_of_the_engine_costs_one_turn() {
        // Turn 1: the list fails. Turn 2: list, then the stop fails. Turn 3: both work.
        let engine = FakeEngine::new(&["a", "b"], &[1, 3]);
        let lines = lines(&config(AttackMode::Act), &engine).await;
        let faults = lines.iter().filter(|line| line.contains("unreachable")).count();
        assert_eq!(faults, 2, "{lines:#?}");
        assert!(lines[3].starts_with("stopped "), "{lines:#?}");
        assert!(lines[4].starts_with("antagonist ended: stopped 1; "), "{lines:#?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_told_to() {
        let engine = FakeEngine::new(&["a"], &[]);
        let forever = AntagonistConfig { for_span: None, ..config(AttackMode::Act) };
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let mut ended = None;
        run_antagonist(&forever, &engine, &shutdown, |news| match news {
            AntagonistNews::Stopped(..) => stop.cancel(),
            AntagonistNews::Ended { stopped, .. } => ended = Some(stopped),
            _ => {}
        })
        .await;
        assert_eq!(ended, Some(1));
    }
}
