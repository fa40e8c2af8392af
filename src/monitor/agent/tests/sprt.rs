//! The sequential detector in the agent.

use super::world::{World, wait};
use crate::docker::fake::Call;
use crate::model::Health;
use crate::monitor::decide::{Detector, ErrorRates};
use crate::monitor::ping::PingError;

#[test]
fn a_sequential_test_brings_about_the_same_restart_without_any_sweep() {
    let mut world = World::new();
    world.policy.detector = Detector::Sprt(ErrorRates::default());
    let web = world.labelled("web");
    let agent = world.ready_agent();
    world.wait_health("web", Health::Healthy);
    world.lose_all("web");
    let restart = Call::Restart(web, None);
    wait("it is restarted", || world.engine.changes().contains(&restart).then_some(()));
    world.wait_health("web", Health::Healthy);
    assert_eq!(world.engine.changes(), [restart]);
    // Sweeps give their threshold, so that they may end early.
    assert!(world.pinger.calls().iter().all(|(_, plan)| plan.threshold.is_none()));
    agent.stop(&world);
}

#[test]
fn where_nothing_can_be_probed_a_sequential_test_blames_nobody() {
    let mut world = World::new();
    world.policy.detector = Detector::Sprt(ErrorRates::default());
    world.pinger.set_failure(Some(PingError::Io("no socket".to_owned())));
    world.labelled("web");
    let agent = world.ready_agent();
    world.wait_health("web", Health::NotPingable);
    world.pinger.set_failure(None);
    world.wait_health("web", Health::Healthy);
    assert_eq!(world.engine.changes(), []);
    agent.stop(&world);
}
