use std::collections::HashMap;

use proptest::prelude::*;

use super::super::fixtures::{incident, over};
use super::*;
use crate::model::{IncidentId, Timestamp};

/// Containers `a` and `b` are of one project, `n1` and `n2` in one network, `m` is in maintenance.
struct Known;

impl Facts for Known {
    fn container(&self, _host: &HostName, container: &ContainerName) -> ContainerFacts {
        let name = container.as_str();
        ContainerFacts {
            project: matches!(name, "a" | "b").then(|| "shop".into()),
            networks: if name.starts_with('n') { vec!["back".into(), "front".into()] } else { vec![] },
            in_maintenance: name == "m",
        }
    }
}

/// The incidents of a store, and a planner that is asked again and again.
struct World {
    tracked: Vec<TrackedIncident>,
    planner: Planner,
    policy: Policy,
    second: i64,
    /// What was told, in words.
    said: Vec<String>,
    begun: HashMap<IncidentId, NoticeId>,
    over: HashMap<IncidentId, NoticeId>,
}

impl World {
    fn new() -> Self {
        Self {
            tracked: Vec::new(),
            planner: Planner::default(),
            policy: Policy::default(),
            second: 1_000,
            said: Vec::new(),
            begun: HashMap::new(),
            over: HashMap::new(),
        }
    }

    fn now(&self) -> Now {
        Now { mono: Mono(self.second * 1_000), wall: Timestamp::from_millis(self.second * 1_000) }
    }

    fn open(&mut self, kind: IncidentKind, host: &str, container: Option<&str>) -> &mut TrackedIncident {
        self.tracked.push(incident(kind, host, container, self.second));
        self.tracked.last_mut().unwrap()
    }

    fn close(&mut self, matches: impl Fn(&TrackedIncident) -> bool) {
        let second = self.second;
        for one in &mut self.tracked {
            if one.is_open() && matches(one) {
                *one = over(one.clone(), second);
            }
        }
        // What nobody was told of is not looked at any more once it is over.
        self.tracked.retain(|one| one.is_open() || one.incident.notification.is_some());
    }

    /// Plans and does as planned; returns when to look again.
    fn look(&mut self) -> Option<i64> {
        let now = self.now();
        let before = self.tracked.clone();
        let plan = self.planner.plan(&before, &Known, &self.policy, now);
        for planned in &plan.notices {
            let id = uuid::Uuid::now_v7();
            match planned {
                Planned::Problem { scope, members } => {
                    assert!(!members.is_empty());
                    self.said.push(format!("{} {}", words(scope), members.len()));
                    for one in members {
                        let incident = &one.incident;
                        assert!(one.is_open() && incident.drill_id.is_none(), "{one:?}");
                        assert!(incident.container.as_ref().is_none_or(|c| c.as_str() != "m"));
                        assert!(scope.host().is_none_or(|host| *host == incident.host), "{scope:?}: {one:?}");
                        assert!(self.begun.insert(incident.id, id).is_none(), "told twice: {one:?}");
                    }
                }
                Planned::Recovery { of, over, still_open } => {
                    assert!(!over.is_empty());
                    self.said.push(format!("over {} of {}", over.len(), over.len() + still_open.len()));
                    for one in over {
                        assert!(!one.is_open(), "{one:?}");
                        assert_eq!(
                            self.begun.get(&one.incident.id),
                            Some(of),
                            "its end without its beginning"
                        );
                        assert!(
                            self.over.insert(one.incident.id, id).is_none(),
                            "its end told twice: {one:?}"
                        );
                    }
                }
            }
        }
        for one in &mut self.tracked {
            one.incident.notification = self.begun.get(&one.incident.id).copied();
        }
        self.tracked.retain(|one| !self.over.contains_key(&one.incident.id));
        plan.wake.map(|wake| wake.0.div_euclid(1_000) + i64::from(wake.0.rem_euclid(1_000) > 0))
    }

    /// Lets time pass, looking when the planner asks for it.
    fn pass(&mut self, seconds: i64) {
        let until = self.second + seconds;
        while let Some(wake) = self.look().filter(|wake| *wake <= until) {
            assert!(wake > self.second, "asked to be woken in the past");
            self.second = wake;
        }
        self.second = until;
        self.look();
    }

    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }
}

fn words(scope: &NoticeScope) -> String {
    match scope {
        NoticeScope::Fleet => "fleet".into(),
        NoticeScope::Host { host } => format!("host {host}"),
        NoticeScope::Network { host, network } => format!("network {host} {network}"),
        NoticeScope::Project { host, project } => format!("project {host} {project}"),
        NoticeScope::Container { host, container } => format!("container {host} {container}"),
    }
}

use IncidentKind as K;

#[test]
fn a_dead_host_is_one_message_with_all_that_fails_there_and_one_when_it_is_back() {
    let mut world = World::new();
    for n in 0..20 {
        world.open(K::Container, "h1", Some(&format!("c{n}")));
    }
    world.pass(5);
    world.open(K::Host, "h1", None);
    world.pass(9);
    assert!(world.said().is_empty(), "it collects first");
    world.pass(1);
    assert_eq!(world.said(), ["host h1 21"]);
    // What fails there later has the same cause; what is left when the host is back stands for itself.
    world.open(K::Container, "h1", Some("late")).quarantined = true;
    world.pass(600);
    assert!(world.said().is_empty());
    world.close(|one| one.incident.container.as_ref().is_none_or(|c| c.as_str().starts_with('c')));
    world.pass(30);
    assert_eq!(world.said(), ["over 21 of 21", "container h1 late 1"]);
}

#[test]
fn what_stays_behind_is_said_when_its_cause_is_over_and_again_when_all_is() {
    let mut world = World::new();
    world.open(K::Engine, "h1", None);
    world.open(K::Container, "h1", Some("c"));
    world.pass(10);
    assert_eq!(world.said(), ["host h1 2"]);
    // Graver than the engine: the host itself.
    world.open(K::Host, "h1", None);
    world.pass(10);
    assert_eq!(world.said(), ["host h1 1"]);
    world.close(|one| one.incident.kind != K::Container);
    world.pass(10);
    assert_eq!(world.said(), ["over 1 of 2", "over 1 of 1"]);
    world.close(|_| true);
    world.pass(10);
    assert_eq!(world.said(), ["over 1 of 1"]);
}

#[test]
fn what_is_healed_in_time_is_told_to_nobody_and_what_is_not_is() {
    let mut world = World::new();
    world.open(K::Container, "h1", Some("web"));
    world.pass(299);
    world.close(|_| true);
    world.pass(1_000);
    assert!(world.said().is_empty(), "healed within --notify-unhealed");
    world.open(K::Container, "h1", Some("web"));
    world.pass(309);
    assert!(world.said().is_empty());
    world.pass(1);
    assert_eq!(world.said(), ["container h1 web 1"]);
    world.open(K::Container, "h1", Some("sql")).quarantined = true;
    world.open(K::Container, "h2", Some("sql")).action_failed = true;
    world.open(K::Host, "h3", None);
    world.pass(9);
    // Over while it was collected.
    world.close(|one| one.incident.host.as_str() == "h3");
    world.pass(1);
    assert_eq!(world.said(), ["container h1 sql 1", "container h2 sql 1"]);
    world.open(K::Clock, "h1", None);
    world.open(K::Identity, "h1", None);
    world.pass(60);
    assert_eq!(world.said(), ["host h1 1"], "clocks are not told unless asked for");
}

#[test]
fn projects_and_networks_are_told_as_one() {
    let mut world = World::new();
    world.open(K::Container, "h1", Some("a")).quarantined = true;
    world.open(K::Container, "h2", Some("a")).quarantined = true;
    world.pass(1);
    world.open(K::Container, "h1", Some("b"));
    world.pass(9);
    assert_eq!(world.said(), ["project h1 shop 1", "project h2 shop 1"], "b may be healed at once");
    world.tracked.clear();
    world.open(K::Container, "h1", Some("b"));
    world.pass(20);
    world.open(K::Container, "h1", Some("a")).quarantined = true;
    world.pass(10);
    assert_eq!(world.said(), ["project h1 shop 2"]);

    world.open(K::Network, "h1", None).incident.network = Some("front".into());
    world.open(K::Container, "h1", Some("n1")).lossy = true;
    // It ended by itself: that is not the network's doing.
    world.open(K::Container, "h1", Some("n2")).quarantined = true;
    world.pass(10);
    assert_eq!(world.said(), ["network h1 front 2", "container h1 n2 1"]);
}

#[test]
fn many_at_once_are_one_of_the_host_or_of_the_fleet() {
    let mut world = World::new();
    for name in ["a", "x", "y", "z"] {
        world.open(K::Container, "h1", Some(name)).quarantined = true;
        world.pass(1);
    }
    world.pass(10);
    assert_eq!(world.said(), ["host h1 4"]);
    for host in ["h1", "h2", "h3", "h4"] {
        world.open(K::Host, host, None);
        world.pass(1);
    }
    world.pass(20);
    assert_eq!(world.said(), ["fleet 4"]);
    world.close(|one| one.incident.host.as_str() == "h2");
    world.pass(20);
    world.close(|_| true);
    world.pass(20);
    assert_eq!(world.said(), ["over 1 of 4", "over 4 of 4", "over 3 of 3"]);
}

#[test]
fn drills_and_maintenance_are_silent_until_they_are_over() {
    let mut world = World::new();
    world.open(K::Host, "h1", None).incident.drill_id = Some(uuid::Uuid::now_v7());
    world.open(K::Container, "h1", Some("m")).quarantined = true;
    world.open(K::Container, "h1", Some("x")).quarantined = true;
    world.pass(600);
    assert_eq!(world.said(), ["container h1 x 1"], "a drill's silence covers nothing");
}

#[test]
fn a_clock_set_back_neither_hides_nor_repeats() {
    let mut world = World::new();
    world.open(K::Container, "h1", Some("web")).seen = Timestamp::from_millis(99_000_000_000);
    world.pass(10);
    assert_eq!(world.said(), ["container h1 web 1"]);
}

#[derive(Debug, Clone)]
enum Step {
    Open { kind: u8, host: u8, name: u8, drill: bool },
    Mark { which: usize, quarantined: bool },
    Close { which: usize },
    CloseHost { host: u8 },
    Pass(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u8..12, 0_u8..5, 0_u8..7, prop::bool::weighted(0.1))
            .prop_map(|(kind, host, name, drill)| Step::Open { kind, host, name, drill }),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, quarantined)| Step::Mark { which, quarantined }),
        3 => any::<usize>().prop_map(|which| Step::Close { which }),
        1 => (0_u8..5).prop_map(|host| Step::CloseHost { host }),
        5 => prop_oneof![0_i64..12, 100_i64..400].prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

const NAMES: [&str; 7] = ["a", "b", "n1", "n2", "m", "x", "y"];

fn take(world: &mut World, step: &Step) {
    match *step {
        Step::Open { kind, host, name, drill } => {
            let kind = match kind {
                0 => K::Host,
                1 => K::Engine,
                2 => K::Network,
                3 => K::Identity,
                4 => K::Clock,
                _ => K::Container,
            };
            let (host, name) = (format!("h{host}"), NAMES[usize::from(name)]);
            let container = (kind == K::Container).then_some(name);
            let is_open = |one: &TrackedIncident| {
                let i = &one.incident;
                one.is_open()
                    && (i.kind, i.host.as_str()) == (kind, host.as_str())
                    && i.container.as_ref().map(ContainerName::as_str) == container
            };
            if world.tracked.iter().any(is_open) {
                return;
            }
            let one = world.open(kind, &host, container);
            one.lossy = name.starts_with('n');
            one.incident.network = (kind == K::Network).then(|| "front".into());
            one.incident.drill_id = drill.then(uuid::Uuid::now_v7);
        }
        Step::Mark { which, quarantined } if !world.tracked.is_empty() => {
            let which = which % world.tracked.len();
            let one = &mut world.tracked[which];
            one.quarantined |= quarantined;
            one.action_failed |= !quarantined;
        }
        Step::Close { which } if !world.tracked.is_empty() => {
            let id = world.tracked[which % world.tracked.len()].incident.id;
            world.close(|one| one.incident.id == id);
        }
        Step::CloseHost { host } => {
            let host = format!("h{host}");
            world.close(|one| one.incident.host.as_str() == host);
        }
        Step::Mark { .. } | Step::Close { .. } => {}
        Step::Pass(seconds) => world.pass(seconds),
        Step::Restart => world.planner = Planner::default(),
    }
    world.look();
}

proptest! {
    /// That nothing is told twice, and no end without its beginning, is asserted by each look.
    #[test]
    fn each_is_told_once_and_in_the_end_nothing_is_owed(steps in prop::collection::vec(step(), 0..80)) {
        let mut world = World::new();
        for step in &steps {
            take(&mut world, step);
        }
        world.pass(1_000);
        let by_host = |one: &TrackedIncident, kinds: &[IncidentKind]| {
            world.tracked.iter().any(|other| {
                other.is_open()
                    && other.incident.drill_id.is_none()
                    && other.incident.host == one.incident.host
                    && kinds.contains(&other.incident.kind)
            })
        };
        for one in &world.tracked {
            let covered = by_host(one, &[K::Host, K::Engine, K::Network]);
            let silent = one.incident.drill_id.is_some()
                || one.incident.kind == K::Clock
                || one.incident.container.as_ref().is_some_and(|c| c.as_str() == "m");
            if one.is_open() && !silent && (!covered || one.incident.kind == K::Host) {
                prop_assert!(one.incident.notification.is_some(), "never told: {:?}", one);
            }
        }
        // Once all is over, so is all that was told.
        world.close(|_| true);
        world.pass(1_000);
        prop_assert_eq!(world.begun.len(), world.over.len());
        prop_assert!(world.tracked.iter().all(|one| one.incident.notification.is_none()), "{:?}", world.tracked);
        prop_assert_eq!(world.look(), None);
    }
}
