//! What was acknowledged outlives `kill -9`, and a full disk is told as such: real processes, a real file system.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, like tests")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dockhealth::bus::OutboxItem;
use dockhealth::model::{
    ActionKind, ActionOutcome, Actor, Event, EventDraft, EventKind, JournalEntry, MetricSubject, MetricTick,
    OperationId, SeriesName, Timestamp, Values,
};
use dockhealth::store::{
    AgentDb, ControllerDb, EmbeddedStore, EventQuery, HostTick, MAX_LIMIT, MetricStore, RangeQuery,
    Statistic, StoreError,
};

const ROUNDS: u64 = 15;
const DIR: &str = "DOCKHEALTH_TEST_STORE_DIR";
const FROM: &str = "DOCKHEALTH_TEST_STORE_FROM";

fn event(reason: &str) -> Event {
    EventDraft::new(EventKind::ContainerStarted, Actor::Agent, reason)
        .about(&"web".parse().unwrap())
        .stamp(&"h1".parse().unwrap(), Timestamp::now())
}

fn operation(n: u64) -> OperationId {
    format!("op-{n}").parse().unwrap()
}

/// Says to the parent that something was acknowledged.
fn say(word: &str, n: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{word} {n}").and_then(|()| out.flush()).expect("the parent reads");
}

/// Not a test of its own: an agent and its controller at work until killed, in a process of their own.
#[tokio::test]
#[ignore = "run by kill_9_loses_nothing_that_was_acknowledged in a process to be killed"]
async fn at_work_until_killed() {
    let dir = PathBuf::from(std::env::var_os(DIR).expect("run by its parent"));
    let from: u64 = std::env::var(FROM).expect("run by its parent").parse().unwrap();
    let (agent, controller) = (AgentDb::open(&dir).unwrap(), ControllerDb::open(&dir).unwrap());
    let healing = {
        let agent = agent.clone();
        async move {
            for n in from.. {
                let entry = JournalEntry {
                    op: operation(n),
                    container: "web".parse().unwrap(),
                    id: "0123456789ab".parse().unwrap(),
                    kind: ActionKind::Restart,
                    by: Actor::Agent,
                    reason: "it".into(),
                    started: Timestamp::now(),
                    finished: None,
                    outcome: None,
                    step: None,
                    drill: None,
                };
                agent.begin(entry).await.unwrap();
                say("began", n);
                agent.finish(operation(n), ActionOutcome::Done, Timestamp::now()).await.unwrap();
                say("finished", n);
            }
        }
    };
    let telling = {
        let agent = agent.clone();
        async move {
            for n in from.. {
                agent.push(vec![OutboxItem::Event(event(&n.to_string()))]).await.unwrap();
                say("pushed", n);
            }
        }
    };
    let delivering = async move {
        loop {
            let Some(slice) = agent.peek(7, 1 << 20).await.unwrap() else {
                tokio::task::yield_now().await;
                continue;
            };
            let batch = slice.into_batch("h1".parse().unwrap(), agent.session());
            let ingested = controller.ingest(batch, Timestamp::now()).await.unwrap();
            say("ingested", ingested.ack);
            agent.forget_through(ingested.ack).await.unwrap();
        }
    };
    tokio::join!(healing, telling, delivering);
}

/// Lets a child work in `dir` until it has said `lines` things, kills it, and returns all it said.
fn work_and_kill(dir: &Path, from: u64, lines: usize) -> Vec<(String, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::at_work_until_killed", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut said = Vec::new();
    let mut line = String::new();
    while said.len() < lines {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the child ended by itself");
        said.extend(parse(&line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    // The last line may have been cut off: what it would say was never heard.
    let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
    said.extend(whole.lines().filter_map(parse));
    said
}

fn parse(line: &str) -> Option<(String, u64)> {
    let (word, n) = line.trim_end().strip_prefix('@')?.split_once(' ')?;
    Some((word.to_owned(), n.parse().ok()?))
}

async fn history(controller: &ControllerDb) -> Vec<u64> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let query = EventQuery { after, limit: MAX_LIMIT, ..EventQuery::default() };
        let page = controller.events(query).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = Some(last.seq);
        all.extend(page.iter().map(|event| event.reason.parse::<u64>().unwrap()));
    }
}

async fn waiting(agent: &AgentDb) -> Vec<u64> {
    let number = |item| match item {
        OutboxItem::Event(event) => event.reason.parse().unwrap(),
        OutboxItem::Metrics(_) | OutboxItem::Unknown => panic!("an item was damaged"),
    };
    let front = agent.peek(usize::MAX, usize::MAX).await.unwrap();
    front.map(|slice| slice.items.into_iter().map(number).collect()).unwrap_or_default()
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut said = BTreeSet::new();
    for round in 1..=ROUNDS {
        let lines = rand::random_range(5..200);
        said.extend(work_and_kill(dir.path(), round * 1_000_000, lines));
        let all =
            |word: &str| said.iter().filter(|(w, _)| w == word).map(|(_, n)| *n).collect::<BTreeSet<_>>();

        let (agent, controller) =
            (AgentDb::open(dir.path()).unwrap(), ControllerDb::open(dir.path()).unwrap());
        let stored = history(&controller).await;
        assert!(stored.is_sorted_by(|a, b| a < b), "round {round}: stored twice or out of order: {stored:?}");
        let safe: BTreeSet<u64> = waiting(&agent).await.into_iter().chain(stored.iter().copied()).collect();
        let lost: Vec<u64> = all("pushed").difference(&safe).copied().collect();
        assert_eq!(lost, [0; 0], "round {round}: pushed and gone");
        let ingested = all("ingested").last().copied().unwrap_or(0);
        assert!(stored.len() as u64 >= ingested, "round {round}: {} of {ingested} stored", stored.len());

        let operations =
            |entries: Vec<JournalEntry>| entries.into_iter().map(|e| e.op).collect::<BTreeSet<_>>();
        let journal = operations(agent.journal_since(Timestamp::from_millis(0)).await.unwrap());
        let unfinished = operations(agent.unfinished().await.unwrap());
        for n in all("began") {
            assert!(journal.contains(&operation(n)), "round {round}: {n} began and is not in the journal");
        }
        for n in all("finished") {
            assert!(!unfinished.contains(&operation(n)), "round {round}: {n} finished and is open again");
        }
        assert!(unfinished.len() as u64 <= round, "round {round}: one at most is left open by each");
        agent.close().await;
        controller.close().await;
    }
}

#[tokio::test]
async fn a_data_directory_belongs_to_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let agent = AgentDb::open(dir.path()).unwrap();
    let said = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::at_work_until_killed", "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .env(FROM, "1")
        .output()
        .unwrap();
    assert!(!said.status.success());
    let said = [said.stdout, said.stderr].concat();
    assert!(String::from_utf8_lossy(&said).contains("InUse"), "{}", String::from_utf8_lossy(&said));
    agent.close().await;
}

/// A file system of a few MiB, gone with the test.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "dockhealth-test"])
            .arg(disk.0.path())
            .status()
            .expect("the mount command");
        assert!(mounted.success(), "this test needs to mount a tmpfs: run it as root (scripts/test does)");
        disk
    }

    /// Takes all the room that is left; removing the file gives it back.
    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("ballast");
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since a failed test may leave files open.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test]
async fn a_full_disk_is_told_as_such_loses_nothing_and_heals() {
    let disk = SmallDisk::new();
    let data = disk.0.path().join("data");
    let (agent, controller) = (AgentDb::open(&data).unwrap(), ControllerDb::open(&data).unwrap());
    controller.probe_write().await.unwrap();
    let ballast = disk.fill();

    let mut pushed = Vec::new();
    let error = loop {
        let n = pushed.len() as u64;
        match agent.push(vec![OutboxItem::Event(event(&n.to_string()))]).await {
            Ok(_) => pushed.push(n),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    let mut big = event("0");
    big.data = serde_json::json!("x".repeat(100_000));
    let error = controller.append(vec![big]).await.expect_err("there is no room");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(history(&controller).await, [0; 0]);
    assert_eq!(waiting(&agent).await, pushed);
    controller.probe_write().await.expect_err("a write that would fit is no sign of room");

    let elsewhere = disk.0.path().join("other");
    let error = AgentDb::open(&elsewhere).err().expect("there is no room");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");

    fs::remove_file(ballast).unwrap();
    controller.probe_write().await.unwrap();
    agent.push(vec![OutboxItem::Event(event("999"))]).await.unwrap();
    pushed.push(999);
    agent.close().await;
    controller.close().await;
    let agent = AgentDb::open(&data).unwrap();
    assert_eq!(waiting(&agent).await, pushed);
    AgentDb::open(&elsewhere).expect("there is room again");
    agent.close().await;
}

#[tokio::test]
async fn metrics_on_a_full_disk_can_be_read_and_are_taken_again_once_there_is_room() {
    let disk = SmallDisk::new();
    let open = || {
        let db = ControllerDb::open(disk.0.path()).unwrap();
        let store = EmbeddedStore::open(&db, Duration::from_hours(24)).unwrap();
        (db, store)
    };
    let (db, store) = open();
    let start = Timestamp::now().millis() / 1000 - 3600;
    let tick = |n: i64| {
        let mut values = Values::new();
        for series in 0..200 {
            let name = SeriesName::part_of("temperature_celsius", &series.to_string()).unwrap();
            values.insert(name, n as f64 + f64::from(series) / 8.0);
        }
        let tick = MetricTick { time: start + n, step: 1, host: values, ..MetricTick::default() };
        vec![HostTick { host: "h1".parse().unwrap(), tick }]
    };
    let stored = async |store: &EmbeddedStore| {
        let query = RangeQuery {
            subject: MetricSubject { host: "h1".parse().unwrap(), container: None },
            names: vec![SeriesName::part_of("temperature_celsius", "0").unwrap()],
            from: start,
            to: start + 3600,
            step: 1,
            statistic: Statistic::Mean,
        };
        let answer = store.range(query).await.unwrap();
        let points = answer.series.into_values().next().unwrap();
        (0..).zip(points).filter_map(|(n, value)| value.map(|_| n)).collect::<Vec<i64>>()
    };
    let mut written = Vec::new();
    store.write(tick(0)).await.unwrap();
    written.push(0);
    let ballast = disk.fill();
    let error = loop {
        let n = i64::try_from(written.len()).unwrap();
        match store.write(tick(n)).await {
            Ok(()) => written.push(n),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(stored(&store).await, written);
    db.close().await;
    drop(store);

    let (db, store) = open();
    assert_eq!(stored(&store).await, written, "after a restart too");
    let error = store.write(tick(3000)).await.expect_err("there is no room");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    fs::remove_file(ballast).unwrap();
    store.write(tick(3000)).await.unwrap();
    written.push(3000);
    assert_eq!(stored(&store).await, written);
    db.close().await;
}

#[tokio::test]
async fn what_was_stored_can_be_read_after_a_restart_on_a_full_disk() {
    let disk = SmallDisk::new();
    let open = || (AgentDb::open(disk.0.path()), ControllerDb::open(disk.0.path()));
    let (agent, controller) = open();
    let (agent, controller) = (agent.unwrap(), controller.unwrap());
    agent.push(vec![OutboxItem::Event(event("1"))]).await.unwrap();
    controller.append(vec![event("1")]).await.unwrap();
    agent.close().await;
    controller.close().await;
    let ballast = disk.fill();

    let (agent, controller) = open();
    let (agent, controller) = (agent.expect("reading takes no room"), controller.expect("nor here"));
    assert_eq!((waiting(&agent).await, history(&controller).await), (vec![1], vec![1]));
    let error = agent.push(vec![OutboxItem::Event(event("2"))]).await.expect_err("there is no room");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    let error = controller.probe_write().await.expect_err("nor for a probe");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");

    fs::remove_file(ballast).unwrap();
    agent.push(vec![OutboxItem::Event(event("3"))]).await.unwrap();
    assert_eq!(waiting(&agent).await, [1, 3]);
    controller.probe_write().await.unwrap();
    agent.close().await;
    controller.close().await;
}

#[tokio::test]
async fn a_damaged_database_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for (name, lost) in [("agent.db", "restart counts"), ("controller.db", "access tokens")] {
        fs::write(
            dir.path().join(name),
            "this is no database, and long enough to be seen as none".repeat(20),
        )
        .unwrap();
        let error = match name {
            "agent.db" => AgentDb::open(dir.path()).err(),
            _ => ControllerDb::open(dir.path()).err(),
        };
        let error = error.expect("it is damaged");
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains("move it") && text.contains(lost), "{text}");
    }
}
