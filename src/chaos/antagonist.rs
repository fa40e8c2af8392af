//! The antagonist: now and then it stops a container that consents, for a healer to bring back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Attack, Targets};
use crate::docker::{ContainerActuator, ContainerSource, EngineError};
use crate::model::{ContainerFacts, ContainerId, ContainerName, RunState, format_span};

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
        /// Those it could not start again.
        lost: Vec<ContainerName>,
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
            Self::Ended { stopped, down, lost } => {
                write!(f, "antagonist ended: stopped {stopped}")?;
                if !down.is_empty() {
                    write!(f, "; nobody had healed {}, so it started them again", listed(down))?;
                }
                if !lost.is_empty() {
                    write!(f, "; it could not start again {}", listed(lost))?;
                }
                Ok(())
            }
        }
    }
}

fn listed(names: &[ContainerName]) -> String {
    names.iter().map(ContainerName::as_str).collect::<Vec<_>>().join(", ")
}

/// What was attacked and not seen to run since.
type Victims = BTreeMap<ContainerId, ContainerName>;

/// Attacks until `shutdown` or the configured end. A fault of the engine is told and survived. While it runs, what it
/// stopped stays for the healer; at its end it starts what is still down, and names it. A stop that is under way then
/// comes to its end first, since the engine would not drop it and what is going down can't be started.
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
    let mut victims = Victims::new();
    let mut rng = StdRng::seed_from_u64(config.seed);
    let mut turns = tokio::time::interval_at(Instant::now() + config.every, config.every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = tokio::time::sleep(config.for_span.unwrap_or(Duration::MAX));
    tokio::pin!(end);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = &mut end => break,
            _ = turns.tick() => {}
        }
        let news = attack(config, engine, &mut rng, &mut victims).await;
        stopped += u32::from(matches!(news, AntagonistNews::Stopped(..)));
        say(news);
    }
    let (mut down, mut lost) = (Vec::new(), Vec::new());
    if !victims.is_empty() {
        match engine.list().await {
            Ok(containers) => (down, lost) = start_again(engine, &victims, &containers).await,
            Err(error) => {
                say(AntagonistNews::EngineFault(error));
                lost.extend(victims.into_values());
            }
        }
    }
    down.sort();
    lost.sort();
    say(AntagonistNews::Ended { stopped, down, lost });
}

/// One turn, and what came of it.
async fn attack<E>(
    config: &AntagonistConfig,
    engine: &E,
    rng: &mut StdRng,
    victims: &mut Victims,
) -> AntagonistNews
where
    E: ContainerSource + ContainerActuator + ?Sized,
{
    let containers = match engine.list().await {
        Ok(containers) => containers,
        Err(error) => return AntagonistNews::EngineFault(error),
    };
    // Who was healed and is down later, is so by somebody else.
    for healed in containers.iter().filter(|c| c.state == RunState::Running) {
        victims.remove(&healed.id);
    }
    let Some(attack) = config.targets.choose(&containers, rng) else { return AntagonistNews::Nobody };
    if config.mode == AttackMode::DryRun {
        return AntagonistNews::WouldStop(attack);
    }
    // Before the stop: one that fails for us may still come true, say when the connection is lost on the way.
    victims.insert(attack.id.clone(), attack.name.clone());
    let began = Instant::now();
    match engine.stop(&attack.id, None).await {
        Ok(()) => AntagonistNews::Stopped(attack, began.elapsed()),
        Err(error) => AntagonistNews::EngineFault(error),
    }
}

/// Undoes what is left of its faults: starts those of `victims` that are down, the very containers and no successors
/// of the same name. Which started, since somebody should have healed them, and which did not.
async fn start_again<E>(
    engine: &E,
    victims: &Victims,
    containers: &[ContainerFacts],
) -> (Vec<ContainerName>, Vec<ContainerName>)
where
    E: ContainerActuator + ?Sized,
{
    let (mut down, mut lost) = (Vec::new(), Vec::new());
    for container in containers {
        let is_down = matches!(container.state, RunState::Exited | RunState::Dead);
        if !is_down || !victims.contains_key(&container.id) {
            continue;
        }
        match engine.start(&container.id).await {
            Ok(()) => down.push(container.name.clone()),
            Err(error) => {
                tracing::warn!(container = %container.name, %error, "what was stopped could not be started again");
                lost.push(container.name.clone());
            }
        }
    }
    (down, lost)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use futures_util::stream::BoxStream;

    use super::*;
    use crate::chaos::fixtures::container;
    use crate::docker::{EngineEvent, EngineInfo};
    use crate::model::Timestamp;

    /// Holds containers; refuses the lists and stops whose turn is named, and starts of `stuck`.
    struct FakeEngine {
        containers: Mutex<Vec<ContainerFacts>>,
        calls: Mutex<u32>,
        refuse: Vec<u32>,
        /// How long a stop takes.
        stop_takes: Duration,
        /// What a refused stop does all the same.
        stops_when_refused: bool,
        stuck: Option<&'static str>,
    }

    impl FakeEngine {
        fn new(names: &[&str], refuse: &[u32]) -> Self {
            let labels = [("dockhealth.chaos", "true")];
            let containers = names.iter().map(|name| container(name, &labels)).collect();
            Self {
                containers: Mutex::new(containers),
                calls: Mutex::new(0),
                refuse: refuse.to_vec(),
                stop_takes: Duration::ZERO,
                stops_when_refused: false,
                stuck: None,
            }
        }

        fn set_all(&self, state: RunState) {
            self.containers.lock().unwrap().iter_mut().for_each(|c| c.state = state);
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
            for container in containers.iter_mut().filter(|c| c.id == *id) {
                if Some(container.name.as_str()) == self.stuck {
                    return Err(EngineError::Refused("no".into()));
                }
                container.state = RunState::Running;
            }
            Ok(())
        }
        async fn restart(&self, _: &ContainerId, _: Option<Duration>) -> Result<(), EngineError> {
            unreachable!("the antagonist restarts nothing")
        }
        async fn stop(&self, id: &ContainerId, _: Option<Duration>) -> Result<(), EngineError> {
            let outcome = self.call();
            tokio::time::sleep(self.stop_takes).await;
            if outcome.is_ok() || self.stops_when_refused {
                let mut containers = self.containers.lock().unwrap();
                containers.iter_mut().filter(|c| c.id == *id).for_each(|c| c.state = RunState::Exited);
            }
            outcome
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

    #[tokio::test(start_paused = true)]
    async fn a_stop_under_way_at_the_end_is_undone() {
        let engine = FakeEngine { stop_takes: Duration::from_secs(10), ..FakeEngine::new(&["a"], &[]) };
        let short = AntagonistConfig { for_span: Some(Duration::from_secs(35)), ..config(AttackMode::Act) };
        let lines = lines(&short, &engine).await;
        assert_eq!(lines[2], "antagonist ended: stopped 1; nobody had healed a, so it started them again");
        assert_eq!(engine.running(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_that_seemed_to_fail_is_undone() {
        let engine = FakeEngine { stops_when_refused: true, ..FakeEngine::new(&["a"], &[2]) };
        let lines = lines(&config(AttackMode::Act), &engine).await;
        let last = lines.last().unwrap();
        assert_eq!(last, "antagonist ended: stopped 0; nobody had healed a, so it started them again");
        assert_eq!(engine.running(), 1);
    }

    /// Its last line; `each` hears the number of every line as it is told.
    async fn watch(engine: &FakeEngine, mut each: impl FnMut(usize) + Send) -> String {
        let (mut turn, mut last) = (0, String::new());
        run_antagonist(&config(AttackMode::Act), engine, &CancellationToken::new(), |news| {
            each(turn);
            turn += 1;
            last = news.to_string();
        })
        .await;
        last
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_healed_and_then_stopped_by_somebody_else_stays_down() {
        let engine = FakeEngine::new(&["a"], &[]);
        let last = watch(&engine, |turn| match turn {
            1 => {
                engine.set_all(RunState::Running);
                // It consents no more, so turn 2 only sees it run.
                engine.containers.lock().unwrap()[0].labels.clear();
            }
            2 => engine.set_all(RunState::Exited),
            _ => {}
        })
        .await;
        assert_eq!(last, "antagonist ended: stopped 1");
        assert_eq!(engine.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_very_container_is_started_and_only_when_it_is_down() {
        for (name, state) in [("b", RunState::Exited), ("a", RunState::Paused), ("a", RunState::Created)] {
            let engine = FakeEngine::new(&["a"], &[]);
            let last = watch(&engine, |turn| {
                if turn == 1 {
                    let mut successor = container(name, &[]);
                    successor.name = ContainerName::new("a").unwrap();
                    successor.state = state;
                    *engine.containers.lock().unwrap() = vec![successor];
                }
            })
            .await;
            assert_eq!(last, "antagonist ended: stopped 1", "{name} {state:?}");
            assert_eq!(engine.running(), 0, "{name} {state:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_what_it_could_not_start_again() {
        let engine = FakeEngine { stuck: Some("b"), ..FakeEngine::new(&["a", "b"], &[]) };
        let lines = lines(&config(AttackMode::Act), &engine).await;
        assert_eq!(
            lines.last().unwrap(),
            "antagonist ended: stopped 2; nobody had healed a, so it started them again; \
             it could not start again b"
        );
        // Lists 1, 3, 5 and stops 2, 4; the list at the end is refused.
        let engine = FakeEngine::new(&["a", "b"], &[6]);
        let lines = self::lines(&config(AttackMode::Act), &engine).await;
        assert_eq!(lines.last().unwrap(), "antagonist ended: stopped 2; it could not start again a, b");
    }
}
