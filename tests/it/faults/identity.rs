//! Two agents of one name.

use dockhealth::model::Timestamp;

use super::rig::{DEADLINE, Fleet};
use crate::support::wait_for;

#[test]
fn while_two_agents_claim_one_name_nothing_is_healed_by_label() {
    let fleet = Fleet::start(&[]);
    fleet.engine.run("labelled", &["--label", "dockhealth.monitor=true"]);
    fleet.engine.run("named", &[]);
    fleet.monitor("named");
    fleet.wait_listed(&["labelled", "named"]);
    let other = fleet.second_agent();
    other.start();
    let conflict =
        wait_for("the conflict is shown", DEADLINE, || fleet.host()?["conflict"].as_str().map(str::to_owned));
    assert!(conflict.contains("two agents speak as host h1"), "{conflict}");
    let heals_by_label = |agent: &str| {
        let reply = fleet.ask_agent(agent, r#"{"command":"why","container":"labelled"}"#)?;
        reply["container"]["monitored"].as_bool()
    };
    for agent in ["agent", "agent2"] {
        wait_for(&format!("{agent} is told"), DEADLINE, || {
            (heals_by_label(agent) == Some(false)).then_some(())
        });
    }
    assert_eq!(fleet.count("identity_conflict", ""), 1);
    fleet.engine.crash("labelled");
    fleet.engine.crash("named");
    wait_for("what an administrator named is healed", DEADLINE, || {
        (fleet.engine.told("start", "named") == 2 && fleet.engine.told("die", "labelled") == 1).then_some(())
    });
    fleet.wait_ready(Timestamp::now());
    assert!(!fleet.engine.is_running("labelled"));
    assert_eq!(fleet.engine.told("start", "named"), 2, "two agents start a container once");
    other.kill();
    wait_for("one agent alone heals by label again", DEADLINE * 3, || {
        fleet.engine.is_running("labelled").then_some(())
    });
    assert_eq!(fleet.engine.told("start", "labelled"), 2);
    assert_eq!(fleet.count("identity_resolved", ""), 1);
}
