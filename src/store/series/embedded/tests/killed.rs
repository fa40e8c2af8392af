//! What was acknowledged outlives `kill -9`, whatever the store was doing just then.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::super::{chunk, query};
use super::*;

const KILL_DIR: &str = "DOCKHEALTH_TEST_SERIES_DIR";
const KILL_FROM: &str = "DOCKHEALTH_TEST_SERIES_FROM";
const KILL_STEP: i64 = 20;

/// When the tick of this number was: in order, but each tenth a good while earlier, between the others.
fn kill_time(n: i64) -> i64 {
    let late = if n % 10 == 0 { 7 * HOUR + 5 } else { 0 };
    NOW - 2 * DAY + n * KILL_STEP - late
}

/// Not a test of its own: a store at work until killed, in a process of its own.
#[test]
#[ignore = "run by kill_9_loses_no_sample_that_was_acknowledged in a process to be killed"]
fn at_work_until_killed() {
    let dir = std::path::PathBuf::from(std::env::var_os(KILL_DIR).expect("run by its parent"));
    let from: i64 = std::env::var(KILL_FROM).expect("run by its parent").parse().unwrap();
    fixture::block_on(async {
        let db = ControllerDb::open(&dir).unwrap();
        let clock = Arc::new(|| Timestamp::from_millis(NOW * 1000));
        let store = EmbeddedStore::open_with_clock(&db, DEFAULT_RETENTION, clock).unwrap();
        let writing = async {
            for n in from.. {
                let of = [(0, "load1", n as f64), (1, "pids", n as f64)];
                store.write(vec![tick(1, kill_time(n), &of)]).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "\n@{n}").and_then(|()| out.flush()).expect("the parent reads");
            }
        };
        let keeping = async {
            let found = store.compactor.read(|conn| Ok(Backlog::load(conn)?)).await.unwrap();
            lock(&store.shared.backlog).absorb(found);
            loop {
                let due = lock(&store.shared.backlog).take_any();
                if let Some((of, _)) = due {
                    store.compact(of).await.unwrap();
                }
                store.age(NOW, &CancellationToken::new()).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(writing, keeping);
    });
}

/// The moments of which the store has a sample, of both series.
async fn kill_times(store: &EmbeddedStore) -> Vec<Vec<i64>> {
    let read = |conn: &mut rusqlite::Connection| {
        let ids = [1, 2];
        let mut times = vec![Vec::new(), Vec::new()];
        let span = query::Span { after: 0, upto: NOW };
        query::each_series(conn, 1, &ids, span, |id, samples, minutes| {
            let of = &mut times[usize::try_from(id).unwrap() - 1];
            of.extend(samples.iter().map(|sample| sample.0));
            of.extend(minutes.iter().flat_map(chunk::Minute::times));
        })?;
        Ok(times)
    };
    store.ranges.read(read).await.unwrap()
}

#[test]
fn kill_9_loses_no_sample_that_was_acknowledged() {
    let dir = Dir::new();
    let mut acknowledged: BTreeSet<i64> = BTreeSet::new();
    let number = |line: &str| line.strip_prefix('@').and_then(|n| n.trim_end().parse::<i64>().ok());
    for round in 0..10 {
        let from = round * 500;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::series::embedded::tests::killed::at_work_until_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(KILL_DIR, dir.path())
            .env(KILL_FROM, from.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let target = rand::random_range(5..300);
        let mut said = 0;
        let mut line = String::new();
        let mut killed = false;
        loop {
            line.clear();
            if output.read_line(&mut line).unwrap() == 0 {
                assert!(killed, "the child ended by itself");
                break;
            }
            // The last line may have been cut off: what it would say was never heard.
            if let Some(n) = number(&line).filter(|_| line.ends_with('\n')) {
                acknowledged.insert(kill_time(n));
                said += 1;
            }
            if said == target && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        fixture::block_on(async {
            let db = ControllerDb::open(dir.path()).unwrap();
            let clock = Arc::new(|| Timestamp::from_millis(NOW * 1000));
            let store = EmbeddedStore::open_with_clock(&db, DEFAULT_RETENTION, clock).unwrap();
            for mut times in kill_times(&store).await {
                let found: BTreeSet<i64> = times.iter().copied().collect();
                let lost: Vec<&i64> = acknowledged.difference(&found).collect();
                assert!(lost.is_empty(), "round {round}: acknowledged and gone: {lost:?}");
                times.sort_unstable();
                assert!(times.is_sorted_by(|a, b| a < b), "round {round}: a sample is there twice");
            }
            db.close().await;
        });
    }
}
