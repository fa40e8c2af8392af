//! Campaigns on a scripted engine, in paused time.

use std::sync::Mutex;

use async_trait::async_trait;
use tokio::time::sleep;

use super::*;
use crate::chaos::antagonist::tests::{FakeArena, engine, running};
use crate::chaos::{Arena, Attack, Fault, Lease, Undone};
use crate::docker::fake::FakeEngine;
use crate::docker::{ContainerSource, EngineAddress};
use crate::model::{ContainerId, EventKind, FaultMoment};

const SECOND: Duration = Duration::from_secs(1);

struct FakeGround {
    engine: FakeEngine,
    /// What sweeps come to, the next last.
    sweeps: Mutex<Vec<Vec<Swept>>>,
}

#[async_trait]
impl Ground for FakeGround {
    fn engine(&self) -> Arc<dyn ContainerSource> {
        Arc::new(self.engine.clone())
    }

    fn own(&self) -> Option<ContainerId> {
        None
    }

    async fn check(&self, scenario: &Scenario) -> Result<(), String> {
        if scenario.name == "attacks" { Ok(()) } else { Err("this kernel has no netem".into()) }
    }

    fn arena(&self, _: AttackMode) -> Result<Box<dyn Arena>, String> {
        Ok(Box::new(FakeArena::new(&self.engine)))
    }

    async fn sweep(&self) -> Vec<Swept> {
        self.sweeps.lock().unwrap().pop().unwrap_or_default()
    }
}

/// A host that plays campaigns, and what is asked of it.
struct World {
    engine: FakeEngine,
    asks: mpsc::Sender<CampaignAsk>,
    notes: mpsc::Receiver<FaultNote>,
    shutdown: CancellationToken,
    played: JoinHandle<()>,
}

impl World {
    fn new(consent: Consent) -> Self {
        Self::with(consent, Vec::new())
    }

    fn with(consent: Consent, sweeps: Vec<Vec<Swept>>) -> Self {
        let engine = engine(&["a", "b", "c"]);
        let ground = Arc::new(FakeGround { engine: engine.clone(), sweeps: Mutex::new(sweeps) });
        let campaigns = Campaigns { host: "h1".parse().unwrap(), consent, ground };
        let ((asks, asked), (tell, notes)) = (mpsc::channel(16), mpsc::channel(1024));
        let shutdown = CancellationToken::new();
        let played = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { campaigns.play(asked, tell, shutdown).await }
        });
        Self { engine, asks, notes, shutdown, played }
    }

    async fn ask(&self, command: AgentCommand) -> Result<ChaosReport, String> {
        let (answer, answered) = oneshot::channel();
        self.asks.send((command, answer)).await.unwrap();
        match answered.await.unwrap() {
            AgentReply::Chaos(report) => Ok(*report),
            AgentReply::Error(error) => Err(error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    async fn begin(&self, campaign: Uuid, order: ChaosOrder) -> Result<ChaosReport, String> {
        let by = "ops".to_owned();
        self.ask(AgentCommand::ChaosBegin { campaign, by, within_ms: 15_000, order }).await
    }

    async fn renew(&self, campaign: Uuid) -> Result<ChaosReport, String> {
        self.ask(AgentCommand::ChaosRenew { campaign, after: 0 }).await
    }

    fn heard(&mut self) -> Vec<FaultNote> {
        std::iter::from_fn(|| self.notes.try_recv().ok()).collect()
    }
}

/// Stops a container every second; nobody heals, so all are down after three.
fn stops() -> ChaosOrder {
    ChaosOrder { every: Some("1s".into()), seed: Some(7), ..ChaosOrder::default() }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[tokio::test(start_paused = true)]
async fn without_consent_nothing_is_done_and_the_refusal_names_the_host_and_the_way() {
    let mut world = World::new(Consent::Refused);
    let end = AgentCommand::ChaosEnd { campaign: None };
    let refusals = [world.begin(id(1), stops()).await, world.renew(id(1)).await, world.ask(end).await];
    for refusal in refusals {
        let why = refusal.unwrap_err();
        assert!(why.starts_with("host h1 does not allow chaos") && why.contains("--chaos"), "{why}");
    }
    sleep(5 * SECOND).await;
    assert_eq!((running(&world.engine), world.heard()), (3, vec![]));
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_while_it_is_renewed_and_tells_each_fault() {
    let mut world = World::new(Consent::Given);
    assert_eq!(world.begin(id(1), stops()).await.unwrap().state, ChaosState::Playing);
    for _ in 0..6 {
        sleep(10 * SECOND).await;
        assert_eq!(world.renew(id(1)).await.unwrap().state, ChaosState::Playing);
    }
    assert_eq!(running(&world.engine), 0);
    let ended = world.ask(AgentCommand::ChaosEnd { campaign: Some(id(1)) }).await.unwrap();
    assert_eq!(ended.state, ChaosState::Ending);
    sleep(SECOND).await;
    let report = world.renew(id(1)).await.unwrap();
    let summary = report.summary.unwrap();
    assert_eq!((report.state, summary.faults, summary.aborted), (ChaosState::Ended, 3, None));
    assert!(report.news.iter().any(|line| line.text.starts_with("stopped ")), "{:?}", report.news);
    assert_eq!(running(&world.engine), 3, "its faults end with it");
    let notes = world.heard();
    let of = |kind| notes.iter().filter(|note| note.draft().kind == kind).count();
    assert_eq!((of(EventKind::FaultInjected), of(EventKind::FaultEnded)), (3, 3), "{notes:#?}");
    assert!(notes.iter().all(|note| note.campaign == Some(id(1))), "{notes:#?}");
}

#[tokio::test(start_paused = true)]
async fn it_ends_and_undoes_everything_when_nobody_renews_it() {
    let world = World::new(Consent::Given);
    world.begin(id(1), stops()).await.unwrap();
    sleep(14 * SECOND).await;
    assert_eq!(running(&world.engine), 0);
    sleep(2 * SECOND).await;
    assert_eq!(running(&world.engine), 3);
    let report = world.renew(id(1)).await.unwrap();
    let why = report.summary.unwrap().aborted.unwrap();
    assert_eq!((report.state, why.as_str()), (ChaosState::Ended, "nobody has renewed it for 15s"));
}

#[tokio::test(start_paused = true)]
async fn one_is_played_at_a_time_and_the_other_is_named() {
    let world = World::new(Consent::Given);
    world.begin(id(1), stops()).await.unwrap();
    assert!(world.begin(id(1), stops()).await.is_ok(), "the same once more is no other");
    let why = world.begin(id(2), stops()).await.unwrap_err();
    assert!(why.starts_with(&format!("host h1 plays campaign {}, which ops began", id(1))), "{why}");
    let why = world.renew(id(2)).await.unwrap_err();
    assert!(why.starts_with(&format!("host h1 has no campaign {}", id(2))), "{why}");
    world.ask(AgentCommand::ChaosEnd { campaign: None }).await.unwrap();
    sleep(SECOND).await;
    assert!(world.begin(id(2), stops()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_played_is_refused_before_anything_is_done() {
    let world = World::new(Consent::Given);
    let shipped = ChaosOrder { scenario: Some(crate::chaos::SHIPPED[0].1.into()), ..ChaosOrder::default() };
    assert_eq!(world.begin(id(1), shipped).await.unwrap_err(), "this kernel has no netem");
    let wrong = ChaosOrder { faults: vec!["flood".into()], ..stops() };
    assert!(world.begin(id(1), wrong).await.unwrap_err().starts_with("faults: there is no fault"));
    let command =
        AgentCommand::ChaosBegin { campaign: id(1), by: "ops".into(), within_ms: 1, order: stops() };
    let why = world.ask(command).await.unwrap_err();
    assert!(why.starts_with("renewed_within: 1ms is out of range: give from 5s to 1m"), "{why}");
    assert!(world.renew(id(1)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_agent_is_the_end_of_its_faults() {
    let mut world = World::new(Consent::Given);
    world.begin(id(1), stops()).await.unwrap();
    sleep(3 * SECOND).await;
    world.shutdown.cancel();
    (&mut world.played).await.unwrap();
    assert_eq!(running(&world.engine), 3);
    let notes = world.heard();
    assert!(matches!(notes.last().unwrap().moment, FaultMoment::Ended(_)), "{notes:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_before_left_is_undone_and_tried_again_also_without_consent() {
    let containers = engine(&["a"]).list().await.unwrap();
    let attack = Attack {
        id: containers[0].id.clone(),
        name: containers[0].name.clone(),
        fault: Fault::Pause,
        lease: None,
    };
    let lease = Lease::of(&attack, &EngineAddress::default(), None);
    let swept = |outcome| vec![Swept { lease: Some(lease.clone()), outcome }];
    let sweeps = vec![swept(Ok(Undone::ByUs)), swept(Err("the engine is away".into()))];
    let mut world = World::with(Consent::Refused, sweeps);
    sleep(SECOND).await;
    assert_eq!(world.heard(), []);
    sleep(SWEEP_AGAIN).await;
    let notes = world.heard();
    assert_eq!(notes.len(), 1, "{notes:#?}");
    assert_eq!(notes[0].moment, FaultMoment::Ended("undone".into()));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_a_host_the_same_plan_and_each_host_another() {
    async fn planned(host: &str) -> String {
        let ground = FakeGround { engine: engine(&["a", "b", "c", "d"]), sweeps: Mutex::default() };
        let order = ChaosOrder { lasts: Some("10s".into()), ..stops() };
        match plan(&ground, &host.parse().unwrap(), &order).await.unwrap() {
            AgentReply::ChaosPlan { turns } => turns.to_string(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(planned("h1").await, planned("h1").await);
    assert_ne!(planned("h1").await, planned("h2").await);
    // From Python's hashlib and struct, not from this code.
    assert_eq!(seed_of_host(7, &"h1".parse().unwrap()), 0x3fbf_02ad_5e4f_9496);
}
