//! Whom to attack next, and how: pure, and the same for the same seed and the same containers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::{Course, Draw, Fault, FaultSpec, Phase, Scenario, Targets};
use crate::model::{
    ContainerFacts, ContainerId, ContainerName, LossPercent, Namespace, RunState, format_span,
};

/// One attack, decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Attack {
    /// Whom, as it is now: a successor of the same name is not meant.
    pub id: ContainerId,
    /// Its name, for people.
    pub name: ContainerName,
    /// What is done to it.
    pub fault: Fault,
    /// After how long it is undone; `None`: when it was seen healed, or the antagonist ends.
    pub lease: Option<Duration>,
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name, self.id.short(), self.fault)?;
        self.lease.map_or(Ok(()), |lease| write!(f, " for {}", format_span(lease)))
    }
}

/// What a turn has to know.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// Decides.
    pub draw: Draw,
    /// What may be done to whom.
    pub phase: &'a Phase,
    /// Those who carry a fault already: nobody carries two, for nobody could tell which of them was found.
    pub busy: &'a BTreeSet<ContainerId>,
    /// How many more faults may be in force.
    pub room: usize,
}

impl Turn<'_> {
    /// The attacks of this turn, in the order they are made. The order of `containers` does not matter.
    pub fn attacks(&self, containers: &[ContainerFacts]) -> Vec<Attack> {
        let eligible = self.eligible(containers);
        let victims = match self.phase.course {
            Course::Anew => {
                let count = self.phase.targets.count_of(eligible.len()).min(self.room);
                self.draw.some(&eligible, count, "victim", |container| container.name.as_str())
            }
            Course::Again | Course::Ramp => self.same_again(&eligible, containers),
        };
        victims.into_iter().filter_map(|victim| self.attack(victim, containers)).collect()
    }

    /// Those whom the first turn was to attack, as far as they are there again.
    fn same_again<'a, 'b>(
        &self,
        eligible: &'a [&'b ContainerFacts],
        containers: &[ContainerFacts],
    ) -> Vec<&'a &'b ContainerFacts> {
        let allowed: Vec<&ContainerFacts> =
            containers.iter().filter(|container| self.phase.targets.allow(container)).collect();
        let count = self.phase.targets.count_of(allowed.len());
        let first = Draw { turn: 0, ..self.draw };
        let meant = first.some(&allowed, count, "victim", |container| container.name.as_str());
        let again = |victim: &&&ContainerFacts| eligible.iter().find(|other| other.id == victim.id);
        meant.iter().filter_map(again).take(self.room).collect()
    }

    /// Those that run, may be attacked, and that one of the faults fits.
    fn eligible<'a>(&self, containers: &'a [ContainerFacts]) -> Vec<&'a ContainerFacts> {
        let free = containers.iter().filter(|container| {
            container.state == RunState::Running
                && !self.busy.contains(&container.id)
                && self.phase.targets.allow(container)
        });
        free.filter(|container| self.phase.faults.iter().any(|fault| self.fits(fault, container, containers)))
            .collect()
    }

    fn attack(&self, victim: &ContainerFacts, containers: &[ContainerFacts]) -> Option<Attack> {
        let name = victim.name.as_str();
        let fitting: Vec<&FaultSpec> =
            self.phase.faults.iter().filter(|fault| self.fits(fault, victim, containers)).collect();
        let spec = fitting.get(self.draw.below(fitting.len(), "fault", name))?;
        let fault = match spec {
            FaultSpec::Exact(fault) => fault.clone(),
            FaultSpec::Loss(range) => {
                let width = range.end() - range.start();
                let more = if self.phase.course == Course::Ramp {
                    self.grown(width)
                } else {
                    let more = self.draw.below(usize::from(width) + 1, "loss", name);
                    u8::try_from(more).unwrap_or_default()
                };
                Fault::Loss(LossPercent::new(f64::from(range.start() + more)).ok()?)
            }
            FaultSpec::Partition => {
                let peers = self.peers(victim, containers);
                let peer = self.draw.some(&peers, 1, "peer", |peer| peer.name.as_str());
                Fault::Partition(peer.first()?.name.clone())
            }
        };
        let lease = self.phase.lease_of(fault.kind());
        Some(Attack { id: victim.id.clone(), name: victim.name.clone(), fault, lease })
    }

    /// How much of `width` a ramp has grown by at this turn.
    fn grown(&self, width: u8) -> u8 {
        let steps = self.phase.turns().unwrap_or(u64::MAX).saturating_sub(1).max(1);
        let grown = u64::from(width).saturating_mul(self.draw.turn) / steps;
        u8::try_from(grown).unwrap_or(width).min(width)
    }

    /// Whether `fault` can be done to `container`, and to nobody else at once.
    fn fits(&self, fault: &FaultSpec, container: &ContainerFacts, containers: &[ContainerFacts]) -> bool {
        if fault.kind().is_of_network() && !has_network_to_itself(container, containers, &self.phase.targets)
        {
            return false;
        }
        match fault {
            FaultSpec::Partition => !self.peers(container, containers).is_empty(),
            FaultSpec::Exact(Fault::Partition(peer)) => containers.iter().any(|other| {
                other.name == *peer && other.id != container.id && !other.addresses().is_empty()
            }),
            FaultSpec::Exact(_) | FaultSpec::Loss(_) => true,
        }
    }

    /// The other targets that share a network with `victim`.
    fn peers<'a>(
        &self,
        victim: &ContainerFacts,
        containers: &'a [ContainerFacts],
    ) -> Vec<&'a ContainerFacts> {
        let networks: BTreeSet<&str> =
            victim.networks.iter().map(|network| network.network.as_str()).collect();
        let beside = containers.iter().filter(|other| {
            other.id != victim.id
                && other.state == RunState::Running
                && self.phase.targets.allow(other)
                && !other.addresses().is_empty()
                && other.networks.iter().any(|network| networks.contains(network.network.as_str()))
        });
        beside.collect()
    }
}

/// Whether a fault of its network hits `container` and only those that may be hit.
fn has_network_to_itself(
    container: &ContainerFacts,
    containers: &[ContainerFacts],
    targets: &Targets,
) -> bool {
    container.namespace == Namespace::Own
        && containers.iter().all(|other| match &other.namespace {
            Namespace::Container(owner) => !container.is_called(owner) || targets.allow(other),
            _ => true,
        })
}

/// One turn of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedTurn {
    /// When, milliseconds after the beginning.
    pub at_ms: u64,
    /// The phase, by name.
    pub phase: String,
    /// Whom and how, in words.
    pub attacks: Vec<PlannedAttack>,
}

/// One attack of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedAttack {
    /// Whom.
    pub container: ContainerName,
    /// What is done to it.
    pub fault: Fault,
    /// After how long it is undone, milliseconds; null: when it was seen healed.
    pub lease_ms: Option<u64>,
}

/// All turns of `scenario` until `end`, as if `containers` all ran, were healed at once when they are taken down, and
/// were free again when a lease is over: a pure function of its arguments, bit by bit.
pub fn schedule(
    scenario: &Scenario,
    seed: u64,
    containers: &[ContainerFacts],
    end: Duration,
) -> Vec<PlannedTurn> {
    let mut turns = Vec::new();
    let mut until: BTreeMap<ContainerId, Duration> = BTreeMap::new();
    for moment in scenario.moments(seed).take_while(|moment| moment.at <= end).take(MOST_TURNS) {
        until.retain(|_, over| *over > moment.at);
        let busy: BTreeSet<ContainerId> = until.keys().cloned().collect();
        let room = scenario.max_concurrent.saturating_sub(busy.len());
        let turn = Turn { draw: moment.draw, phase: moment.phase, busy: &busy, room };
        let attacks = turn.attacks(containers);
        for attack in &attacks {
            if let Some(lease) = attack.lease {
                until.insert(attack.id.clone(), moment.at + lease);
            }
        }
        turns.push(PlannedTurn {
            at_ms: millis(moment.at),
            phase: moment.phase.name.clone(),
            attacks: attacks
                .into_iter()
                .map(|attack| PlannedAttack {
                    container: attack.name,
                    fault: attack.fault,
                    lease_ms: attack.lease.map(millis),
                })
                .collect(),
        });
    }
    turns
}

/// A schedule ends here, whatever its span.
const MOST_TURNS: usize = 10_000;

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::fixtures::container;
    use crate::model::NetworkAttachment;
    use proptest::prelude::*;

    fn attached(name: &str, number: u8, network: &str) -> ContainerFacts {
        let attachment = NetworkAttachment {
            network: network.into(),
            endpoint_id: "e".into(),
            ipv4: Some([10, 0, 0, number].into()),
            ipv6: None,
            gateways: Vec::new(),
        };
        ContainerFacts { networks: vec![attachment], ..container(name, &[("dockhealth.chaos", "true")]) }
    }

    fn fleet(count: u8) -> Vec<ContainerFacts> {
        (0..count).map(|n| attached(&format!("c{n}"), n, "bridge")).collect()
    }

    fn scenario(text: &str) -> Scenario {
        let head = "name = \"x\"\n[[phase]]\nname = \"p\"\nevery = \"10s\"\nfor = \"1h\"\n";
        format!("{head}{text}").parse().unwrap()
    }

    fn turn(scenario: &Scenario, seed: u64, containers: &[ContainerFacts]) -> Vec<Attack> {
        let draw = Draw { seed, phase: 0, turn: 0 };
        Turn { draw, phase: &scenario.phases[0], busy: &BTreeSet::new(), room: 10 }.attacks(containers)
    }

    #[test]
    fn only_what_runs_and_is_free_is_attacked() {
        let stop = scenario("faults = [\"stop\"]");
        let mut only = fleet(1);
        for state in [RunState::Created, RunState::Paused, RunState::Restarting, RunState::Exited] {
            only[0].state = state;
            assert_eq!(turn(&stop, 1, &only), []);
        }
        only[0].state = RunState::Running;
        let attacks = turn(&stop, 1, &only);
        assert_eq!((&attacks[0].id, &attacks[0].name), (&only[0].id, &only[0].name));
        let busy = BTreeSet::from([only[0].id.clone()]);
        let draw = Draw { seed: 1, phase: 0, turn: 0 };
        assert_eq!(Turn { draw, phase: &stop.phases[0], busy: &busy, room: 10 }.attacks(&only), []);
        assert_eq!(Turn { draw, phase: &stop.phases[0], busy: &BTreeSet::new(), room: 0 }.attacks(&only), []);
    }

    #[test]
    fn networks_of_others_are_spared() {
        let loss = scenario("faults = [\"loss=100%\"]");
        for namespace in [Namespace::Host, Namespace::None, Namespace::Container("db".into())] {
            let other = ContainerFacts { namespace, ..fleet(1).remove(0) };
            assert_eq!(turn(&loss, 1, std::slice::from_ref(&other)), []);
            assert_eq!(turn(&scenario("faults = [\"stop\", \"dns\"]"), 1, &[other])[0].fault, Fault::Stop);
        }
        let mut shared = fleet(1);
        let theirs = Namespace::Container(shared[0].name.to_string());
        shared.push(ContainerFacts { namespace: theirs, ..container("sidecar", &[]) });
        assert_eq!(turn(&loss, 1, &shared), [], "the sidecar does not consent");
        shared[1].labels.insert("dockhealth.chaos".into(), "true".into());
        assert_eq!(turn(&loss, 1, &shared).len(), 1);
    }

    #[test]
    fn a_partition_is_between_two_targets_of_one_network() {
        let any = scenario("faults = [\"partition\"]");
        let two = [attached("a", 1, "net"), attached("b", 2, "net")];
        let attack = turn(&any, 1, &two).remove(0);
        let other = if attack.name.as_str() == "a" { "b" } else { "a" };
        assert_eq!(attack.fault.to_string(), format!("partition={other}"));
        assert_eq!(turn(&any, 1, &two[..1]), []);
        assert_eq!(turn(&any, 1, &[attached("a", 1, "net"), attached("b", 2, "other")]), []);
        let named = scenario("faults = [\"partition=b\"]");
        assert_eq!(turn(&named, 1, &two)[0].name.as_str(), "a");
        assert_eq!(turn(&named, 1, &two[..1]), []);
    }

    #[test]
    fn a_course_keeps_to_its_victim_while_that_is_there_and_a_ramp_grows() {
        let again = scenario("faults = [\"kill\"]\ncourse = \"again\"");
        let mut all = fleet(6);
        let at = |containers: &[ContainerFacts], turn| {
            let draw = Draw { seed: 3, phase: 0, turn };
            Turn { draw, phase: &again.phases[0], busy: &BTreeSet::new(), room: 10 }.attacks(containers)
        };
        let victim = at(&all, 0)[0].name.clone();
        assert!((1..20).all(|turn| at(&all, turn)[0].name == victim));
        let place = all.iter().position(|container| container.name == victim).unwrap();
        all[place].state = RunState::Exited;
        assert_eq!(at(&all, 4), [], "nobody takes its place");
        let ramp = scenario("faults = [\"loss=5-60%\"]\ncourse = \"ramp\"").phases.remove(0);
        let ramp = Phase { lasts: Some(Duration::from_mins(2)), ..ramp };
        let shares: Vec<f64> = (0..11)
            .map(|turn| {
                let draw = Draw { seed: 3, phase: 0, turn };
                let attacks = Turn { draw, phase: &ramp, busy: &BTreeSet::new(), room: 1 }.attacks(&fleet(6));
                let Fault::Loss(share) = attacks[0].fault else { panic!("{attacks:?}") };
                share.percent()
            })
            .collect();
        assert_eq!((shares[0], shares[5], shares[10]), (5.0, 32.0, 60.0));
        assert!(shares.is_sorted(), "{shares:?}");
    }

    /// What a seed does, to the letter: a change of this is a change for everybody who noted a seed.
    #[test]
    fn the_schedule_of_a_seed_is_the_same_for_ever() {
        let scenario =
            scenario("faults = [\"stop\", \"loss=20-100%\", \"partition\"]\ntargets = [\"c*\", \"30%\"]");
        let turns = schedule(&scenario, 7, &fleet(6), Duration::from_mins(1));
        insta::assert_json_snapshot!(turns);
    }

    proptest! {
        #[test]
        fn same_seed_same_plan(seed: u64, count in 1..12_u8, rotate in 0..12_usize, share in 1..=100_u8) {
            let scenario = scenario(&format!(
                "faults = [\"stop\", \"pause\", \"loss=1-100%\", \"partition\", \"dns\"]\ntargets = [\"c*\", \"{share}%\"]"
            ));
            let containers = fleet(count);
            let end = Duration::from_mins(5);
            let bytes = |containers: &[ContainerFacts]| {
                serde_json::to_vec(&schedule(&scenario, seed, containers, end)).unwrap()
            };
            let mut others = containers.clone();
            others.rotate_left(rotate % containers.len());
            others.push(container("bystander", &[]));
            prop_assert_eq!(bytes(&containers), bytes(&others));
        }

        #[test]
        fn nobody_carries_two_faults_and_never_more_than_may_be(seed: u64, most in 1..5_usize) {
            let mut scenario = scenario("faults = [\"pause\", \"loss=100%\"]\ntargets = [\"c*\", \"50%\"]\nlease = \"25s\"");
            scenario.max_concurrent = most;
            let turns = schedule(&scenario, seed, &fleet(6), Duration::from_mins(5));
            let mut live: Vec<(u64, ContainerName)> = Vec::new();
            for turn in turns {
                live.retain(|(until, _)| *until > turn.at_ms);
                for attack in turn.attacks {
                    prop_assert!(!live.iter().any(|(_, name)| *name == attack.container));
                    live.push((turn.at_ms + attack.lease_ms.unwrap(), attack.container));
                }
                prop_assert!(live.len() <= most);
            }
        }

        #[test]
        fn everyone_is_attacked_in_time(seed: u64) {
            let turns = schedule(&scenario("faults = [\"stop\"]"), seed, &fleet(3), Duration::from_hours(1));
            let names: BTreeSet<_> = turns.iter().flat_map(|turn| &turn.attacks).map(|a| a.container.as_str()).collect();
            prop_assert_eq!(names.len(), 3);
        }
    }
}
