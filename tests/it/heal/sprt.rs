//! The sequential detector: the same healing on the same engine, sooner, and with its evidence told.

use std::time::Duration;

use dockhealth::model::Timestamp;
use serde_json::Value;

use super::rig::{DEADLINE, Rig, lose, printed, wait_started_again};
use crate::support::wait_for;

/// No sweep comes in time; brakes that let go soon.
const SPRT: &[&str] = &[
    "--detector",
    "sprt",
    "--interval",
    "1h",
    "--grace",
    "500ms",
    "--backoff",
    "200ms",
    "--budget",
    "3/1h",
    "--host-budget",
    "1000/1h",
];

fn time_of(event: &Value) -> Timestamp {
    event["time"].as_str().expect("a time").parse().expect("RFC 3339")
}

#[test]
fn total_loss_is_found_by_a_sequential_test_and_its_evidence_is_told() {
    let rig = Rig::up(SPRT);
    let network = rig.lab.network("net", &[]);
    let [lossy, well] = ["lossy", "well"].map(|name| rig.named(name, &["--network", &network]));
    for full in [&lossy, &well] {
        rig.wait_healthy(full);
    }
    let (mut injector, mut injected) = (None, None);
    wait_started_again(&rig.lab, &lossy, || {
        injector = Some(lose(&rig.lab, &lossy, 100.0));
        injected = Some(Timestamp::now());
    });
    rig.wait_event(&lossy, "container_recovered");
    assert_eq!(rig.actions(&lossy), ["container_restarted"]);
    let failing = rig.wait_event(&lossy, "container_failing");
    let took = time_of(&failing).since(injected.expect("it was injected"));
    // 2.1 to 2.6 s on a machine that is not busy with other tests.
    assert!((Duration::from_secs(1)..Duration::from_secs(6)).contains(&took), "{took:?}");
    let evidence = &failing["data"]["evidence"];
    assert!(evidence["score"].as_f64() >= evidence["to_fail"].as_f64(), "{failing}");

    // Probes answered just before the loss began may be among those it was judged by.
    let why = printed(rig.healer(), &["why", &lossy]);
    for words in ["check failed: ", "needed", "by sequential test"] {
        assert!(why.contains(words), "{words:?} is not in:\n{why}");
    }
    // How it was cleared is told by its first test that came to an end.
    wait_for("the other is cleared", DEADLINE, || {
        let why = printed(rig.healer(), &["why", &well]);
        let check =
            why.lines().find(|line| line.contains("check passed: 0 % loss, threshold 50 %; evidence -"))?;
        check.contains(", and -5.3 clears it").then_some(())
    });
    rig.assert_untouched(&well);
    rig.assert_no_errors();
}

#[test]
fn loss_below_the_threshold_is_left_alone_and_above_it_is_found_by_a_sequential_test() {
    let rig = Rig::up(SPRT);
    let [some, most] = ["some", "most"].map(|name| rig.named(name, &[]));
    for full in [&some, &most] {
        rig.wait_healthy(full);
    }
    let _below = lose(&rig.lab, &some, 20.0);
    rig.wait_until(&some, "shows its loss", |c| c["health"] == "degraded");
    let mut injector = None;
    wait_started_again(&rig.lab, &most, || injector = Some(lose(&rig.lab, &most, 85.0)));
    rig.wait_healthy(&most);
    rig.assert_untouched(&some);
    rig.assert_no_errors();
}
