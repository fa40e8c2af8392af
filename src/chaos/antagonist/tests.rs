//! The antagonist on a scripted engine, in paused time.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::*;
use crate::chaos::{Begun, Lease, Nowhere};
use crate::docker::fake::{Behaviour, FakeEngine, Op};
use crate::docker::{ContainerActuator, ContainerDisturber, EngineAddress, EngineError};

/// Does faults to the fake engine as a holder would, without a process.
pub(in crate::chaos) struct FakeArena {
    engine: FakeEngine,
    live: Vec<(Lease, CancellationToken)>,
    news: mpsc::UnboundedSender<Ended>,
    heard: mpsc::UnboundedReceiver<Ended>,
    /// Whose faults are refused.
    refuse: Option<&'static str>,
    /// Whose faults cannot be undone.
    stuck: Option<&'static str>,
    /// The most that were in force at once.
    most: Arc<Mutex<usize>>,
}

impl FakeArena {
    pub(in crate::chaos) fn new(engine: &FakeEngine) -> Self {
        let (news, heard) = mpsc::unbounded_channel();
        let (engine, live) = (engine.clone(), Vec::new());
        Self { engine, live, news, heard, refuse: None, stuck: None, most: Arc::default() }
    }
}

#[async_trait]
impl Arena for FakeArena {
    async fn begin(&mut self, attack: &Attack) -> Result<Begun, String> {
        if self.refuse == Some(attack.name.as_str()) {
            return Err("the kernel says no".into());
        }
        match attack.fault {
            Fault::Stop => self.engine.stop(&attack.id, None).await,
            Fault::Pause => self.engine.pause(&attack.id).await,
            _ => Ok(()),
        }
        .map_err(|error| error.to_string())?;
        let (lease, end) = (Lease::of(attack, &EngineAddress::default(), None), CancellationToken::new());
        self.live.push((lease.clone(), end.clone()));
        let mut most = self.most.lock().unwrap();
        *most = self.live.len().max(*most);
        let (engine, news) = (self.engine.clone(), self.news.clone());
        let stuck = self.stuck == Some(attack.name.as_str());
        let begun = Begun { lease: lease.id, how: String::new() };
        tokio::spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = until(lease.lasts().map(|lasts| Instant::now() + lasts)) => {}
            }
            let id = &lease.container;
            let state = engine.inspect(id.as_str()).await.map(|facts| facts.state);
            let outcome = match (stuck, state) {
                (true, _) => Err("no".to_owned()),
                (_, Err(_)) => Ok(Undone::Gone),
                (_, Ok(RunState::Exited)) => {
                    engine.start(id).await.map(|()| Undone::ByUs).map_err(|e| e.to_string())
                }
                (_, Ok(RunState::Paused)) => {
                    engine.unpause(id).await.map(|()| Undone::ByUs).map_err(|e| e.to_string())
                }
                (_, Ok(_)) => Ok(Undone::Already),
            };
            let _ = news.send(Ended { lease, outcome });
        });
        Ok(begun)
    }

    fn busy(&self) -> BTreeSet<ContainerId> {
        self.live.iter().map(|(lease, _)| lease.container.clone()).collect()
    }

    fn release(&mut self, container: &ContainerId) {
        self.live.iter().filter(|(lease, _)| lease.container == *container).for_each(|(_, end)| end.cancel());
    }

    async fn ended(&mut self) -> Ended {
        let ended = self.heard.recv().await.unwrap();
        self.live.retain(|(lease, _): &(Lease, _)| lease.id != ended.lease.id);
        ended
    }

    async fn end_all(&mut self) -> Vec<Ended> {
        self.live.iter().for_each(|(_, end)| end.cancel());
        let mut all = Vec::new();
        while !self.live.is_empty() {
            all.push(self.ended().await);
        }
        all
    }
}

pub(in crate::chaos) fn engine(names: &[&str]) -> FakeEngine {
    let engine = FakeEngine::new();
    for name in names {
        engine.run(name, &FakeEngine::labelled(&[("dockhealth.chaos", "true")]));
    }
    engine
}

pub(in crate::chaos) fn running(engine: &FakeEngine) -> usize {
    engine.names().into_iter().filter(|(_, runs)| *runs).count()
}

/// One fault every 30 s for 100 s, with seed 7.
fn config(phase: &str) -> AntagonistConfig {
    let text =
        format!("name = \"attacks\"\n[[phase]]\nname = \"p\"\nevery = \"30s\"\nfor = \"100s\"\n{phase}");
    AntagonistConfig { scenario: text.parse().unwrap(), seed: 7, mode: AttackMode::Act }
}

async fn play(
    config: &AntagonistConfig,
    engine: &FakeEngine,
    arena: &mut FakeArena,
) -> (Vec<String>, Summary) {
    let mut lines = Vec::new();
    let say = |news: AntagonistNews| lines.push(news.to_string());
    let summary = run_antagonist(config, engine, arena, &CancellationToken::new(), say).await;
    (lines, summary)
}

async fn lines(config: &AntagonistConfig, engine: &FakeEngine) -> Vec<String> {
    play(config, engine, &mut FakeArena::new(engine)).await.0
}

const STOP: &str = "faults = [\"stop\"]";

#[tokio::test(start_paused = true)]
async fn it_stops_one_each_turn_until_its_time_is_over() {
    let engine = engine(&["a", "b"]);
    let began = Instant::now();
    let lines = lines(&config(STOP), &engine).await;
    assert_eq!(began.elapsed().as_secs(), 100);
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert_eq!(lines[0], "antagonist stops a container every 30s, seed 7");
    assert!(lines[1].starts_with("stopped ") && lines[2].starts_with("stopped "), "{lines:#?}");
    assert!(lines[3].starts_with("nobody to attack"), "{lines:#?}");
    assert_eq!(lines[4], "antagonist ended: stopped 2; nobody had healed a, b, so it started them again");
    assert_eq!(running(&engine), 2, "its faults end with it");
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_each_fault_in_its_time_and_frees_its_container() {
    let engine = engine(&["a"]);
    let lines = lines(&config("faults = [\"pause\"]\nlease = \"9s\""), &engine).await;
    assert!(lines[0].starts_with("antagonist does pause to a container every 30s"), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains(": pause for 9s")).count(), 3, "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| **line == "pause on a is over").count(), 3, "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "antagonist ended: 3 faults");
    assert_eq!(engine.inspect("a").await.unwrap().state, RunState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_does_nothing() {
    let engine = engine(&["a", "b"]);
    let config = AntagonistConfig { mode: AttackMode::DryRun, ..config(STOP) };
    let mut lines = Vec::new();
    let say = |news: AntagonistNews| lines.push(news.to_string());
    run_antagonist(&config, &engine, &mut Nowhere, &CancellationToken::new(), say).await;
    assert_eq!(lines.iter().filter(|line| line.starts_with("would stop ")).count(), 3, "{lines:#?}");
    assert_eq!(running(&engine), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_engine_costs_one_turn() {
    let engine = engine(&["a", "b"]);
    let gone = || Behaviour::Fail(EngineError::Unreachable("gone".into()));
    engine.next(Op::List, gone());
    engine.next(Op::Stop, gone());
    let lines = lines(&config(STOP), &engine).await;
    assert!(lines[1].contains("unreachable") && lines[2].starts_with("could not do stop to "), "{lines:#?}");
    assert!(lines[3].starts_with("stopped "), "{lines:#?}");
    assert!(lines[4].starts_with("antagonist ended: stopped 1; "), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_told_and_leaves_nothing() {
    let engine = engine(&["a"]);
    let mut arena = FakeArena { refuse: Some("a"), ..FakeArena::new(&engine) };
    let (lines, summary) = play(&config("faults = [\"dns\"]"), &engine, &mut arena).await;
    assert_eq!(lines[1], "could not do dns to a: the kernel says no");
    assert_eq!((summary.faults, lines.last().unwrap().as_str()), (0, "antagonist ended: 0 faults"));
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_told_to() {
    let engine = engine(&["a"]);
    let mut config = config(STOP);
    config.scenario.phases[0].lasts = None;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let say = |news| {
        if matches!(news, AntagonistNews::Did { .. }) {
            stop.cancel();
        }
    };
    let summary = run_antagonist(&config, &engine, &mut FakeArena::new(&engine), &shutdown, say).await;
    assert_eq!((summary.stops, running(&engine)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_was_healed_and_then_stopped_by_somebody_else_stays_down() {
    let engine = engine(&["a"]);
    let mut config = config(STOP);
    // From the second turn on there is nothing it could do to anybody.
    let mut quiet = config.scenario.phases[0].clone();
    quiet.faults = vec!["partition".parse().unwrap()];
    config.scenario.phases[0].lasts = Some(Duration::from_secs(40));
    config.scenario.phases.push(quiet);
    let (mut last, mut turns) = (String::new(), 0);
    let say = |news: AntagonistNews| {
        match news {
            AntagonistNews::Did { .. } => engine.user_start("a"),
            AntagonistNews::Nobody => {
                turns += 1;
                if turns == 1 {
                    engine.user_stop("a");
                }
            }
            _ => {}
        }
        last = news.to_string();
    };
    run_antagonist(&config, &engine, &mut FakeArena::new(&engine), &CancellationToken::new(), say).await;
    assert_eq!(last, "antagonist ended: 1 faults");
    assert_eq!((running(&engine), turns), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn it_says_what_it_could_not_undo() {
    let engine = engine(&["a", "b"]);
    let mut arena = FakeArena { stuck: Some("b"), ..FakeArena::new(&engine) };
    let (lines, _) = play(&config(STOP), &engine, &mut arena).await;
    assert_eq!(
        lines.last().unwrap(),
        "antagonist ended: stopped 2; nobody had healed a, so it started them again; \
         it could not undo its faults on b: the next start tries again"
    );
}

#[tokio::test(start_paused = true)]
async fn never_more_faults_than_it_may() {
    let engine = engine(&["a", "b", "c", "d", "e"]);
    let mut config = config("faults = [\"pause\"]\nlease = \"50s\"\ntargets = [\"*\", \"60%\"]");
    config.scenario.max_concurrent = 2;
    let mut arena = FakeArena::new(&engine);
    let most = arena.most.clone();
    let (lines, summary) = play(&config, &engine, &mut arena).await;
    assert_eq!((*most.lock().unwrap(), summary.faults), (2, 4), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("2 faults are in force, as many as")), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_expected_is_judged_and_what_is_missed_ends_it() {
    let engine = engine(&["a"]);
    let mut config = config("faults = [\"stop\"]\nexpect = { outcome = \"healed\", within = \"5s\" }");
    let healer = engine.clone();
    let say = |news| {
        if matches!(news, AntagonistNews::Did { .. }) {
            healer.user_start("a");
        }
    };
    let mut arena = FakeArena::new(&engine);
    let summary = run_antagonist(&config, &engine, &mut arena, &CancellationToken::new(), say).await;
    assert_eq!((summary.met, summary.missed, summary.aborted), (3, 0, None));
    config.scenario.abort.missed = Some(1);
    let (lines, summary) = play(&config, &engine, &mut FakeArena::new(&engine)).await;
    assert_eq!((summary.faults, summary.missed), (1, 1), "{lines:#?}");
    assert!(lines[2].starts_with("NOT as expected: stop on a, healed within 5s"), "{lines:#?}");
    assert_eq!(lines[3], "ends early: 1 faults did not come out as expected");
    assert_eq!(running(&engine), 1, "aborted or not, it undoes what it did");
}

#[tokio::test(start_paused = true)]
async fn too_many_down_or_an_engine_that_is_gone_end_it() {
    let engine = engine(&["a", "b"]);
    let mut config = config(STOP);
    config.scenario.abort.down_percent = Some(50);
    let (lines, summary) = play(&config, &engine, &mut FakeArena::new(&engine)).await;
    assert_eq!(summary.aborted.as_deref(), Some("50 % of the targets do not run"), "{lines:#?}");
    config.scenario.abort.engine_faults = Some(2);
    engine.set_reachable(false);
    let (lines, summary) = play(&config, &engine, &mut FakeArena::new(&engine)).await;
    assert_eq!(summary.aborted.as_deref(), Some("the engine failed 2 times in a row"), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn phases_follow_each_other_and_are_named() {
    let engine = engine(&["a"]);
    let mut config = config(STOP);
    let mut second = config.scenario.phases[0].clone();
    (second.name, second.faults) = ("freeze".into(), vec!["pause".parse().unwrap()]);
    config.scenario.phases[0].lease = Some(Duration::from_secs(5));
    config.scenario.phases.push(second);
    let began = Instant::now();
    let lines = lines(&config, &engine).await;
    assert_eq!(began.elapsed().as_secs(), 200);
    assert_eq!(lines[0], "antagonist plays attacks (2 phases, 200s), seed 7");
    let at = |part: &str| lines.iter().position(|line| line.contains(part)).unwrap();
    assert!(at("phase p") < at("stopped ") && at("stopped ") < at("phase freeze"), "{lines:#?}");
    assert!(at("phase freeze") < at(": pause for 30s"), "{lines:#?}");
}
