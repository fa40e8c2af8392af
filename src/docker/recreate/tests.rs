use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::docker::fake::{Behaviour, Call, FakeEngine, Op};

/// Keeps the last step; dies (never returns) before or after recording a given one.
#[derive(Default)]
struct Journal {
    last: Mutex<Option<RecreateStep>>,
    taken: Mutex<Vec<RecreateStage>>,
    die: Option<(RecreateStage, Moment)>,
    refuse: Option<RecreateStage>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Moment {
    Before,
    After,
}

#[async_trait]
impl StepJournal for Journal {
    async fn record(&self, step: &RecreateStep) -> Result<(), JournalError> {
        if self.refuse == Some(step.stage) {
            return Err(JournalError("disk full".to_owned()));
        }
        if self.die == Some((step.stage, Moment::Before)) {
            std::future::pending::<()>().await;
        }
        let json = serde_json::to_string(step).unwrap();
        *self.last.lock().unwrap() = Some(serde_json::from_str(&json).unwrap());
        self.taken.lock().unwrap().push(step.stage);
        if self.die == Some((step.stage, Moment::After)) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl Journal {
    fn unfinished(&self) -> Vec<RecreateStep> {
        let last = self.last.lock().unwrap().clone();
        last.into_iter().filter(|step| step.stage < RecreateStage::Finished).collect()
    }
}

const STAGES: [RecreateStage; 7] = [
    RecreateStage::Create,
    RecreateStage::Connect,
    RecreateStage::StopOld,
    RecreateStage::RenameOld,
    RecreateStage::RenameNew,
    RecreateStage::Start,
    RecreateStage::RemoveOld,
];

/// A container with two networks, a static address, a published port, and a bystander.
fn lab() -> (FakeEngine, RecreateOrder) {
    let fake = FakeEngine::new();
    let id = fake.run(
        "web",
        &json!({
            "Labels": { "com.docker.compose.config-hash": "abc" },
            "HostConfig": { "NetworkMode": "net-a", "PortBindings": { "80/tcp": [{ "HostPort": "8080" }] } },
            "NetworkingConfig": { "EndpointsConfig": { "net-a": { "IPAMConfig": { "IPv4Address": "10.0.0.5" } } } },
        }),
    );
    fake.join("web", "net-b", &json!({ "Aliases": ["b"], "IPAMConfig": { "IPv4Address": "10.1.0.5" } }));
    fake.run("bystander", &json!({}));
    let op = OperationId::new("op:1").unwrap();
    (fake, RecreateOrder { op, id, volumes: AnonymousVolumes::Remove, stop_timeout: None, join: None })
}

fn id_of(fake: &FakeEngine, name: &str) -> String {
    fake.describe(name).unwrap()["Id"].as_str().unwrap().to_owned()
}

/// Exactly the two containers, running, and the static addresses where they were.
fn assert_whole(fake: &FakeEngine, case: &str) {
    let expected = [("bystander".to_owned(), true), ("web".to_owned(), true)];
    assert_eq!(fake.names(), expected, "{case}");
    let web = fake.describe("web").unwrap();
    assert_eq!(web["NetworkSettings"]["Networks"]["net-a"]["IPAddress"], "10.0.0.5", "{case}");
    assert_eq!(web["NetworkSettings"]["Networks"]["net-b"]["IPAddress"], "10.1.0.5", "{case}");
    assert_eq!(web["Config"]["Labels"]["com.docker.compose.config-hash"], "abc", "{case}");
}

/// Runs it until it is through or dead.
async fn until_dead(fake: &FakeEngine, journal: &Journal, order: &RecreateOrder) -> bool {
    tokio::time::timeout(Duration::from_hours(1), recreate(fake, journal, order)).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_new_container_takes_over() {
    let (fake, order) = lab();
    let journal = Journal::default();
    let new = recreate(&fake, &journal, &order).await.unwrap();
    assert_ne!(new, order.id);
    assert_eq!(id_of(&fake, "web"), new.as_str());
    assert_whole(&fake, "finished");
    let stages: Vec<_> = STAGES.into_iter().chain([RecreateStage::Finished]).collect();
    assert_eq!(*journal.taken.lock().unwrap(), stages);
    let changes = fake.changes();
    let stop = changes.iter().position(|call| call.op() == Op::Stop).unwrap();
    let start = changes.iter().position(|call| call.op() == Op::Start).unwrap();
    assert!(stop < start);
    assert_eq!(changes.last().unwrap(), &Call::Remove(order.id, AnonymousVolumes::Keep));
    assert!(journal.unfinished().is_empty());
}

#[tokio::test(start_paused = true)]
async fn death_around_any_record_is_set_right() {
    for (stage, moment) in STAGES.into_iter().flat_map(|s| [(s, Moment::Before), (s, Moment::After)]) {
        let case = format!("died {moment:?} recording {stage:?}");
        let (fake, order) = lab();
        let journal = Journal { die: Some((stage, moment)), ..Journal::default() };
        assert!(!until_dead(&fake, &journal, &order).await, "{case}");
        swept_whole(&fake, &journal, &order, &case).await;
    }
}

#[tokio::test(start_paused = true)]
async fn death_between_any_act_and_its_record_is_set_right() {
    let (whole, order) = lab();
    recreate(&whole, &Journal::default(), &order).await.unwrap();
    for changes in 1..=u32::try_from(whole.changes().len()).unwrap() {
        let case = format!("died after change {changes}");
        let (fake, order) = lab();
        let journal = Journal::default();
        fake.halt_after(changes);
        assert!(!until_dead(&fake, &journal, &order).await, "{case}");
        fake.resume();
        swept_whole(&fake, &journal, &order, &case).await;
    }
}

/// Death while the sweep itself is at work, at every point of it.
#[tokio::test(start_paused = true)]
async fn death_within_a_sweep_is_set_right() {
    for (stage, changes) in STAGES.into_iter().flat_map(|stage| (1..=4).map(move |n| (stage, n))) {
        let case = format!("died after recording {stage:?}, and after change {changes} of the sweep");
        let (fake, order) = lab();
        let journal = Journal { die: Some((stage, Moment::After)), ..Journal::default() };
        assert!(!until_dead(&fake, &journal, &order).await, "{case}");
        fake.halt_after(changes);
        let _ = tokio::time::timeout(Duration::from_hours(1), sweep(&fake, journal.unfinished())).await;
        fake.resume();
        swept_whole(&fake, &journal, &order, &case).await;
    }
}

/// Sweeps, twice: finished exactly when the new container was started.
async fn swept_whole(fake: &FakeEngine, journal: &Journal, order: &RecreateOrder, case: &str) {
    let unfinished = journal.unfinished();
    let started = fake.names().iter().filter(|(name, runs)| *runs && name == "web").count() == 1
        && id_of(fake, "web") != order.id.as_str();
    for round in 1..=2 {
        for (step, settled) in sweep(fake, unfinished.clone()).await {
            let expected = if started { Settled::Finished } else { Settled::Undone };
            assert_eq!(settled.unwrap(), expected, "{case}, round {round}");
            assert!(step.stage >= RecreateStage::Finished, "{case}");
        }
        assert_whole(fake, case);
    }
    assert_eq!(id_of(fake, "web") == order.id.as_str(), !started, "{case}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_at_any_step_is_undone_at_once() {
    let ops = [Op::Create, Op::Connect, Op::Stop, Op::Rename, Op::Start];
    for (op, lost) in ops.into_iter().flat_map(|op| [(op, false), (op, true)]) {
        let case = format!("{op:?}, acted all the same: {lost}");
        let (fake, order) = lab();
        let error = EngineError::TimedOut(Duration::from_secs(1), "scripted".to_owned());
        fake.next(op, if lost { Behaviour::ActThenFail(error) } else { Behaviour::Fail(error) });
        let outcome = recreate(&fake, &Journal::default(), &order).await;
        assert_whole(&fake, &case);
        if op == Op::Start && lost {
            // It did start: that is the new one, and all is well.
            assert_eq!(outcome.unwrap().as_str(), id_of(&fake, "web"), "{case}");
        } else {
            assert!(matches!(outcome, Err(RecreateError::Undone { .. })), "{case}: {outcome:?}");
            assert_eq!(id_of(&fake, "web"), order.id.as_str(), "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_nothing_happens() {
    for stage in STAGES {
        let (fake, order) = lab();
        let journal = Journal { refuse: Some(stage), ..Journal::default() };
        let outcome = recreate(&fake, &journal, &order).await;
        assert_whole(&fake, &format!("{stage:?}"));
        if stage == RecreateStage::RemoveOld {
            assert!(outcome.is_ok(), "the new one runs: {outcome:?}");
        } else {
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains("disk full"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_goes_away_is_left_to_the_sweep() {
    let (fake, order) = lab();
    let journal = Journal::default();
    fake.next(Op::Start, Behaviour::Slow(Duration::from_secs(5)));
    let going = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        fake.next(Op::Remove, Behaviour::Fail(EngineError::Unreachable("gone".to_owned())));
        fake.next(Op::Remove, Behaviour::Fail(EngineError::Unreachable("gone".to_owned())));
    };
    let (outcome, ()) = tokio::join!(recreate(&fake, &journal, &order), going);
    assert!(matches!(outcome, Err(RecreateError::Unsettled { .. })), "{outcome:?}");
    swept_whole(&fake, &journal, &order, "engine away").await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_down_is_started_anew_but_not_by_undoing() {
    let (fake, order) = lab();
    fake.crash("web", 1);
    recreate(&fake, &Journal::default(), &order).await.unwrap();
    assert_whole(&fake, "was down");

    let (fake, order) = lab();
    fake.crash("web", 1);
    fake.next(Op::Start, Behaviour::Fail(EngineError::Refused("no".to_owned())));
    recreate(&fake, &Journal::default(), &order).await.unwrap_err();
    assert_eq!(fake.names(), [("bystander".to_owned(), true), ("web".to_owned(), false)]);
    assert_eq!(id_of(&fake, "web"), order.id.as_str());
}

#[tokio::test(start_paused = true)]
async fn what_someone_else_did_meanwhile_stays() {
    // A new container has the name by the time of the sweep: neither is touched, and the sweep says so.
    let (fake, order) = lab();
    let journal = Journal { die: Some((RecreateStage::RenameNew, Moment::After)), ..Journal::default() };
    assert!(!until_dead(&fake, &journal, &order).await);
    let theirs = fake.run("web", &json!({}));
    let swept = sweep(&fake, journal.unfinished()).await;
    assert!(matches!(swept[0].1, Err(EngineError::Refused(_))), "{swept:?}");
    assert_eq!(swept[0].0.stage, RecreateStage::RenameNew);
    assert_eq!(id_of(&fake, "web"), theirs.as_str());

    // Someone removed the new one after it had taken over: they did not mean to get the old one back.
    let (fake, order) = lab();
    let journal = Journal { die: Some((RecreateStage::RemoveOld, Moment::After)), ..Journal::default() };
    assert!(!until_dead(&fake, &journal, &order).await);
    fake.user_remove("web");
    assert_eq!(sweep(&fake, journal.unfinished()).await[0].1.clone().unwrap(), Settled::Finished);
    assert_eq!(fake.names(), [("bystander".to_owned(), true)]);

    // The old one is gone: there is nothing to bring back.
    let (fake, order) = lab();
    let journal = Journal { die: Some((RecreateStage::StopOld, Moment::After)), ..Journal::default() };
    assert!(!until_dead(&fake, &journal, &order).await);
    fake.user_remove("web");
    assert_eq!(sweep(&fake, journal.unfinished()).await[0].1.clone().unwrap(), Settled::Undone);
    assert_eq!(fake.names(), [("bystander".to_owned(), true)]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_touches_nothing() {
    let fake = FakeEngine::new();
    fake.set_image("old", Some("sha256:01d"));
    let gone = fake.run("gone", &json!({ "Image": "old" }));
    fake.set_image("old", None);
    let once = fake.run("once", &json!({ "HostConfig": { "AutoRemove": true } }));
    let shared =
        fake.run("shared", &json!({ "HostConfig": { "NetworkMode": "container:0123456789abcdef" } }));
    for (id, reason) in [
        (gone, RecreateRefusal::ImageGone("old".to_owned())),
        (once, RecreateRefusal::AutoRemove),
        (shared, RecreateRefusal::NamespaceGone("0123456789abcdef".to_owned())),
    ] {
        let op = OperationId::new("op").unwrap();
        let order = RecreateOrder { op, id, volumes: AnonymousVolumes::Keep, stop_timeout: None, join: None };
        let outcome = recreate(&fake, &Journal::default(), &order).await;
        assert!(matches!(&outcome, Err(RecreateError::Refused(why)) if *why == reason), "{outcome:?}");
    }
    assert!(fake.changes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_old_one_has_the_time_to_stop_that_was_ordered() {
    for stop_timeout in [None, Some(Duration::from_secs(3))] {
        let (fake, order) = lab();
        let order = RecreateOrder { stop_timeout, ..order };
        recreate(&fake, &Journal::default(), &order).await.unwrap();
        assert!(fake.changes().contains(&Call::Stop(order.id, stop_timeout)), "{:?}", fake.changes());
    }
}

#[test]
fn names_aside_are_valid_and_known() {
    let long = ContainerName::new("x".repeat(255)).unwrap();
    let op = OperationId::new("/%".repeat(64)).unwrap();
    assert!(aside(&long, ContainerName::OLD_ASIDE, &op).is_aside());
    assert!(!ContainerName::new("my-dockhealth-agent").unwrap().is_aside());
}
