//! What must hold of the controllers, on a host that is simulated.

use super::*;
use crate::scale::control::Bounds;
use crate::scale::workload::Trace;

const TRACES: [&str; 3] = ["fix", "p4", "p5"];

/// 13 s of one core for each request, 2 to 16 containers, a decision every 2 s.
fn plan(controller: &str, trace: &Trace, cores: u32) -> Plan {
    let settings = ControlSettings::new(Bounds::new(2, 16).unwrap());
    Plan {
        controller: controller.parse().unwrap(),
        settings,
        arrivals: trace.arrivals(Micros::from_secs(13), 1),
        millicores: cores * 1000,
        others: 0,
        share: 1000,
        boot: Micros::from_seconds(1.5),
        dispatch: Dispatch::Event,
        refused: None,
        seed: 1,
    }
}

fn run(controller: &str, trace: &str, cores: u32) -> Figures {
    simulate(&plan(controller, &Trace::named(trace).unwrap(), cores)).unwrap().figures
}

#[test]
fn explore() {
    for trace in TRACES {
        for cores in [2, 4, 16] {
            for c in ["fixed:5", "francis", "regulator", "hpa", "kpa"] {
                println!("{trace} {cores} {c} {:?}", run(c, trace, cores));
            }
        }
    }
}
