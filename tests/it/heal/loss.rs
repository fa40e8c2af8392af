//! Packet loss: what is above the threshold is healed, what is not is left alone.

use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{DEADLINE, OBEDIENT, QUICK, Rig, lose, on_both_rigs, wait_started_again};
use crate::support::wait_for;

on_both_rigs! {
    total_loss_is_healed
}

fn total_loss_is_healed(rig: &Rig) {
    let network = rig.lab.network("net", &[]);
    let [lossy, well] = ["lossy", "well"].map(|name| rig.named(name, &["--network", &network]));
    for full in [&lossy, &well] {
        rig.wait_healthy(full);
    }
    let mut injector = None;
    wait_started_again(&rig.lab, &lossy, || injector = Some(lose(&rig.lab, &lossy, 100.0)));
    rig.wait_event(&lossy, "container_recovered");
    let container = rig.listed(&lossy).expect("it is listed");
    assert_eq!((&container["health"], &container["loss_percent"]), (&"healthy".into(), &0.0.into()));
    assert_eq!(rig.actions(&lossy), ["container_restarted"]);
    let failing = rig.wait_event(&lossy, "container_failing");
    assert_eq!(failing["data"]["loss_percent"], 100.0);
    rig.assert_untouched(&well);
    rig.assert_no_errors();
}

#[test]
fn five_percent_under_a_threshold_of_fifty_is_left_alone() {
    const CONTAINERS: usize = 20;
    let rig = Rig::up(QUICK);
    let network = rig.lab.network("net", &[]);
    let names: Vec<String> =
        (0..CONTAINERS).map(|n| rig.named(&format!("c{n}"), &["--network", &network])).collect();
    for full in &names {
        rig.wait_healthy(full);
    }
    let injectors: Vec<_> = names.iter().map(|full| lose(&rig.lab, full, 5.0)).collect();
    let mut degraded = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        let seen = rig.rest.get(&format!("/containers?host={}&health=degraded", rig.host));
        degraded += seen.as_array().expect("a list").len();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(injectors.len(), CONTAINERS, "they lose packets to the end");
    assert!(degraded > 0, "no check saw any loss");
    for full in &names {
        rig.assert_untouched(full);
    }
    rig.assert_no_errors();
}

#[test]
fn a_container_has_a_threshold_of_its_own() {
    let rig = Rig::up(QUICK);
    let full = rig.named("lossy", &[]);
    rig.rest.ok("PUT", &format!("{}/threshold", rig.path(&full)), Some(&json!(100)));
    rig.wait_healthy(&full);
    assert_eq!(rig.why(&full)["threshold"], 100.0);
    let mut injector = None;
    let before = rig.lab.inspect(&full, "{{.State.StartedAt}}");
    injector.replace(lose(&rig.lab, &full, 100.0));
    rig.wait_until(&full, "loses all and is left alone", |c| {
        c["health"] == "degraded" && c["loss_percent"] == 100.0
    });
    rig.assert_untouched(&full);
    assert_eq!(rig.lab.inspect(&full, "{{.State.StartedAt}}"), before);

    // Without it the fleet's holds again, which is lower.
    wait_started_again(&rig.lab, &full, || {
        rig.rest.ok("DELETE", &format!("{}/threshold", rig.path(&full)), None);
    });
    rig.wait_healthy(&full);
}

#[test]
fn both_addresses_of_a_container_with_ipv6_are_probed_and_either_fails_it() {
    let rig = Rig::up(QUICK);
    let nonce: u16 = rand::random();
    let subnet = format!("fd00:d0c:{nonce:x}::/64");
    let network = rig.lab.network("net6", &["--ipv6", "--subnet", &subnet]);
    let full = rig.lab.run("both", &["--network", &network], &OBEDIENT);
    rig.monitor(&full);
    rig.wait_healthy(&full);
    let addresses = ["IPAddress", "GlobalIPv6Address"].map(|field| {
        rig.lab.inspect(&full, &format!("{{{{range .NetworkSettings.Networks}}}}{{{{.{field}}}}}{{{{end}}}}"))
    });
    assert!(addresses[1].starts_with("fd00:"), "{addresses:?}");
    // A new IPv6 address answers only after a second or two, when it is known that nobody else has it.
    wait_for("both addresses answer", DEADLINE, || {
        let why = rig.why(&full);
        let last = why["checks"].as_array()?.last()?["addresses"].as_array()?.clone();
        let answered = |address: &String| {
            last.iter().any(|a| a["address"] == address.as_str() && a["received"].as_u64() > Some(0))
        };
        addresses.iter().all(answered).then_some(())
    });
    // IPv6 alone is lost: the worst address decides.
    wait_started_again(&rig.lab, &full, || {
        let pid = rig.lab.inspect(&full, "{{.State.Pid}}");
        let rule = "table ip6 lost { chain in { type filter hook input priority 0; icmpv6 type echo-request drop; }; }";
        let nft = ["-t", &pid, "-n", "nft", rule];
        assert!(std::process::Command::new("nsenter").args(nft).status().expect("nsenter").success());
    });
    rig.wait_healthy(&full);
    assert_eq!(rig.actions(&full), ["container_restarted"]);
}
