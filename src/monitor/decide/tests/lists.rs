//! Who is on the list, and who is not.

use super::*;

#[test]
fn what_was_seen_before_it_was_taken_off_the_list_is_forgotten() {
    let mut sim = Sim::new(Policy::default(), 1);
    sim.name_it(1);
    sim.sweeps(2);
    let mut frozen = sim.state.desired.clone();
    let freeze = Freeze { since: sim.at().wall, until: None, by: "operator".into() };
    frozen.freezes.insert(FreezeScope::All, freeze);
    sim.feed(Input::Desired(Box::new(frozen)));
    sim.lose(1, 100);
    sim.sweeps(2);
    assert_eq!(sim.health(1), Health::Frozen);
    sim.desire(1, DesiredEntry { monitored: Some(false), ..DesiredEntry::default() });
    let shown = sim.state.explain(&facts(1).name, sim.at()).unwrap().container;
    assert_eq!((shown.health, shown.loss_percent), (Health::Unmonitored, None), "nobody checks it");
    sim.loss.clear();
    let mut thawed = sim.state.desired.clone();
    thawed.freezes.clear();
    sim.feed(Input::Desired(Box::new(thawed)));
    sim.name_it(1);
    sim.sweeps(3);
    assert_eq!(
        sim.acted_on(),
        Vec::<&str>::new(),
        "it lost packets long ago, and not since it is listed again"
    );
}

#[test]
fn what_nobody_listed_is_never_touched() {
    let mut sim = Sim::new(Policy::default(), 3);
    sim.change(1, |facts| facts.labels.clear());
    sim.change(2, |facts| drop(facts.labels.insert("dockhealth.role".into(), "broker".into())));
    sim.desire(3, DesiredEntry { monitored: Some(false), ..DesiredEntry::default() });
    (1..=3).for_each(|n| sim.end(n, 1));
    sim.pass_waking(60_000);
    assert!(sim.acts.is_empty() && sim.events.is_empty());
    assert_eq!(sim.health(1), Health::Unmonitored);
    assert!(sim.state.restart_refusal(&facts(2).name).unwrap().contains("itself"));
}

#[test]
fn while_two_agents_claim_the_host_only_what_was_named_is_healed() {
    let mut sim = Sim::new(Policy::default(), 2);
    sim.name_it(2);
    sim.feed(Input::Disputed("another agent calls itself h".into()));
    sim.end(1, 1);
    sim.end(2, 1);
    assert_eq!(sim.acted_on(), ["c2"]);
    sim.pass_waking(31_000);
    assert_eq!(sim.acted_on(), ["c2", "c1"], "the word is believed for a while only");
}
