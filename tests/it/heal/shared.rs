//! What fails together, and what fails beside it: the cause is blamed and not its victims.

use std::process::Command;

use dockhealth::chaos::best_injector;
use dockhealth::model::LossPercent;
use serde_json::Value;

use super::rig::{DEADLINE, QUICK, Rig, crash, lose, printed, wait_started_again};
use crate::support::wait_for;

/// The incidents about no container, of this host.
fn shared_incidents(rig: &Rig) -> Vec<Value> {
    let all = rig.rest.get(&format!("/incidents?host={}&limit=1000", rig.host));
    all.as_array()
        .expect("a list")
        .iter()
        .filter(|incident| incident["container"].is_null())
        .cloned()
        .collect()
}

#[test]
fn when_a_bridge_fails_nothing_is_restarted_and_a_lossy_container_elsewhere_is() {
    let rig = Rig::up(QUICK);
    let lab = &rig.lab;
    let [broken, sound] = ["broken", "sound"].map(|name| lab.network(name, &[]));
    let on = |network: &str, names: [&str; 4]| names.map(|name| rig.named(name, &["--network", network]));
    let behind = on(&broken, ["b1", "b2", "b3", "b4"]);
    let beside = on(&sound, ["s1", "s2", "s3", "s4"]);
    for full in behind.iter().chain(&beside) {
        rig.wait_healthy(full);
    }
    let id = lab.docker(&["network", "inspect", "--format", "{{.Id}}", &broken]);
    let mut bridge = best_injector(&format!("br-{}", &id[..12])).expect("netem or nftables");
    bridge.set(LossPercent::ALL).expect("the kernel loses packets");
    for full in &behind {
        rig.wait_until(full, "is not blamed", |c| {
            c["health"] == "frozen"
                && c["reason"].as_str().is_some_and(|r| r.contains(&format!("network {broken}")))
        });
    }
    let mut injector = None;
    wait_started_again(lab, &beside[0], || injector = Some(lose(lab, &beside[0], 100.0)));
    // What went down is started all the same.
    wait_started_again(lab, &behind[0], || crash(lab, &behind[0]));
    rig.wait_event(&beside[0], "container_recovered");
    assert_eq!(rig.actions(&behind[0]), ["container_started"]);
    behind[1..].iter().chain(&beside[1..]).for_each(|full| rig.assert_untouched(full));
    let incidents = shared_incidents(&rig);
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    assert_eq!(
        (&incidents[0]["kind"], &incidents[0]["network"]),
        (&"network".into(), &broken.as_str().into())
    );
    for full in &behind[1..] {
        assert_eq!(rig.events(full, "container_failing"), Vec::<Value>::new(), "{full}");
    }

    bridge.set(LossPercent::NONE).expect("the kernel stops that");
    wait_for("the incident is over", DEADLINE, || {
        (!shared_incidents(&rig)[0]["closed_at"].is_null()).then_some(())
    });
    behind[1..].iter().for_each(|full| rig.assert_untouched(full));
    rig.assert_no_errors();
}

/// Drops all packets to an address of this host's own until dropped itself.
struct DeafTo {
    table: String,
}

impl DeafTo {
    fn new(rig: &Rig, address: &str) -> Self {
        let table = rig.lab.prefix().replace('-', "_");
        let rule = format!(
            "table ip {table} {{ chain in {{ type filter hook input priority 0; iifname lo ip daddr {address} drop; }}; }}"
        );
        assert!(Command::new("nft").arg(rule).status().expect("nft").success());
        Self { table }
    }
}

impl Drop for DeafTo {
    fn drop(&mut self) {
        let _ = Command::new("nft").args(["delete", "table", "ip", &self.table]).status();
    }
}

#[test]
fn a_host_that_loses_packets_to_itself_blames_no_container() {
    for flags in [&[][..], &["--detector", "sprt"]] {
        let rig = Rig::up(&[QUICK, flags].concat());
        let network = rig.lab.network("net", &[]);
        let full = rig.named("web", &["--network", &network]);
        rig.wait_healthy(&full);
        let gateway = rig.lab.docker(&[
            "network",
            "inspect",
            "--format",
            "{{range .IPAM.Config}}{{.Gateway}}{{end}}",
            &network,
        ]);
        // Between two checks the gateway was probed too, and only what has answered once can be at fault.
        wait_for("it was checked twice", DEADLINE, || {
            (rig.why(&full)["checks"].as_array().is_some_and(|checks| checks.len() >= 2)).then_some(())
        });
        let deaf = DeafTo::new(&rig, &gateway);
        wait_for("the agent has seen it", DEADLINE, || {
            let why = printed(rig.healer(), &["why", "--local", &full]);
            why.contains(&format!("the host's own bridge gateway {gateway} loses 100 %")).then_some(())
        });
        let mut injector = Some(lose(&rig.lab, &full, 100.0));
        rig.wait_until(&full, "is not blamed", |c| {
            c["health"] == "frozen" && c["reason"].as_str().is_some_and(|reason| reason.contains(&gateway))
        });
        let opened = |kind: &str| {
            let all = rig.rest.get(&format!("/events?kind={kind}&host={}&limit=100", rig.host));
            all.as_array()
                .expect("a list")
                .iter()
                .filter(|e| e["data"]["network"] == network.as_str())
                .count()
        };
        wait_for("it is told", DEADLINE, || (opened("breaker_opened") == 1).then_some(()));
        rig.assert_untouched(&full);
        wait_started_again(&rig.lab, &full, || drop(deaf));
        wait_for("its end is told", DEADLINE, || (opened("breaker_closed") == 1).then_some(()));
        injector.take();
        rig.assert_no_errors();
    }
}
