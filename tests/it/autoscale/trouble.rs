//! Containers that are killed, a runner that is restarted, an engine that refuses.

use super::rig::{Rig, ask_meanwhile};
use crate::support::docker;

const FIXED_3: &[&str] = &["--controller", "fixed:3", "--period", "500ms"];

#[test]
fn whoever_was_at_a_killed_container_is_answered() {
    let rig = Rig::start(FIXED_3);
    let before = rig.until_ready(3);
    let url = rig.url("/start_task?n=1&sleep=4s");
    // Three are worked on, as many wait: of both, half may be repeated.
    let clients: Vec<_> = ["GET", "POST"]
        .into_iter()
        .cycle()
        .take(6)
        .map(|method| (method, ask_meanwhile(method, url.clone())))
        .collect();
    rig.until("all came", |status| status["in_flight"] == 3 && status["waiting"] == 3);
    let names =
        before["containers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
    for name in names.take(2) {
        rig.lab.docker(&["kill", "--signal", "KILL", &name]);
    }
    let answers: Vec<(&str, u16)> =
        clients.into_iter().map(|(method, client)| (method, client.join().unwrap())).collect();
    for (method, status) in &answers {
        // What may be done twice was repeated; what may not was told so, if it had begun.
        assert!(*status == 200 || (*method == "POST" && *status == 502), "{answers:?}");
    }
    let after = rig.until_ready(3);
    assert_eq!(after["totals"]["lost"], 2);
    let broken = answers.iter().filter(|(_, status)| *status == 502).count() as u64;
    assert_eq!(after["totals"]["failed"], broken);
    assert_eq!(after["totals"]["retried"].as_u64().unwrap() + broken, 2, "{after}");
}

#[test]
fn a_restarted_runner_answers_what_it_took_and_adopts_its_containers() {
    let mut rig = Rig::start(FIXED_3);
    rig.until_ready(3);
    let before = rig.containers();
    let url = rig.url("/start_task?n=1&sleep=1s");
    let clients: Vec<_> = (0..7).map(|_| ask_meanwhile("POST", url.clone())).collect();
    rig.until("all came", |status| status["in_flight"] == 3 && status["waiting"] == 4);
    rig.tell_to_end();
    for client in clients {
        assert_eq!(client.join().unwrap(), 200);
    }
    rig.until_ended();
    assert_eq!(rig.containers(), before, "they stay");
    rig.run_again(&[]);
    let status = rig.until_ready(3);
    assert_eq!((rig.containers(), &status["totals"]["started"]), (before.clone(), &0.into()));
    assert_eq!(super::rig::get(&rig.url("/")).0, 200);
    // And after one that nobody told to end.
    rig.kill();
    rig.run_again(&[]);
    rig.until_ready(3);
    assert_eq!(rig.containers(), before);
}

#[test]
fn at_the_end_of_its_grace_whatever_is_left_is_answered() {
    let mut rig = Rig::start(&["--controller", "fixed:1", "--period", "500ms", "--grace", "300ms"]);
    rig.until_ready(1);
    let url = rig.url("/start_task?n=1&sleep=1m");
    let clients = [ask_meanwhile("GET", url.clone()), ask_meanwhile("GET", url)];
    rig.until("both came", |status| status["in_flight"] == 1 && status["waiting"] == 1);
    rig.tell_to_end();
    assert_eq!(clients.map(|client| client.join().unwrap()), [503, 503]);
    rig.until_ended();
}

#[test]
fn an_engine_that_refuses_to_start_is_asked_ever_more_seldom_and_never_for_too_many() {
    let network = format!("dhtest-pool-net-{:08x}", rand::random::<u32>());
    let rig = Rig::start(&["--controller", "fixed:3", "--period", "200ms", "--network", &network]);
    let down = rig.until("down", |status| {
        status["health"] == "down" && status["problem"]["failures"].as_u64() >= Some(2)
    });
    let what = down["problem"]["what"].as_str().unwrap();
    assert!(what.contains(&network), "the engine's own words: {what}");
    let failures = down["totals"]["start_failures"].as_u64().unwrap();
    assert!(failures <= 4, "three together, then one at a time: {failures}");
    let meanwhile = ask_meanwhile("GET", rig.url("/"));
    rig.until("it waits", |status| status["waiting"] == 1);
    let _network = Network::create(&network);
    let well = rig.until_ready(3);
    assert_eq!((&well["health"], &well["problem"]), (&"serving".into(), &serde_json::Value::Null));
    assert_eq!(well["totals"]["started"], 3, "no more than were wanted");
    assert_eq!(meanwhile.join().unwrap(), 200);
    drop(rig);
}

/// A network that is removed after its pool.
struct Network(String);

impl Network {
    fn create(name: &str) -> Self {
        assert!(docker(&["network", "create", name]).status.success());
        Self(name.to_owned())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = docker(&["network", "rm", &self.0]);
    }
}
