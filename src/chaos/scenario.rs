//! A campaign: phases of faults, what should come of them, and when to stop. Pure; files are TOML (`docs/chaos.md`).

mod abort;
mod file;

use std::fmt;
use std::time::Duration;

use super::{Draw, Fault, FaultKind, FaultSpec, Targets};
use crate::model::{ContainerId, format_span};

pub use abort::{AbortError, AbortWhen, AbortWord};
pub use file::ScenarioError;

/// How long a fault holds that is not done at once, where nothing else is said.
pub const USUAL_LEASE: Duration = Duration::from_secs(30);
/// How many faults may be in force at once, where nothing else is said.
pub const USUAL_CONCURRENT: usize = 10;

/// A campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What it is for, in a sentence; may be empty.
    pub about: String,
    /// The seed that decides what is left open; `None`: a random one, which is told.
    pub seed: Option<u64>,
    /// How many faults may be in force at once, one at least.
    pub max_concurrent: usize,
    /// When it ends early.
    pub abort: AbortWhen,
    /// What is done, one after the other; one at least.
    pub phases: Vec<Phase>,
}

/// A part of a campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// What is done, one of these to each victim; none: nothing is done, for things to settle.
    pub faults: Vec<FaultSpec>,
    /// To whom.
    pub targets: Targets,
    /// Between two turns, and before the first; above zero.
    pub every: Duration,
    /// How long it lasts; `None`: until told to end.
    pub lasts: Option<Duration>,
    /// After how long a fault is undone; `None`: as [`Phase::lease_of`] says.
    pub lease: Option<Duration>,
    /// Whom its turns attack, one after the other.
    pub course: Course,
    /// What should come of each fault.
    pub expect: Option<Expectation>,
}

/// Whom the turns of a phase attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Course {
    /// Victims are drawn anew at each turn.
    #[default]
    Anew,
    /// Those of the first turn, each time they run again.
    Again,
    /// Those of the first turn, and a loss grows from its first share to its last until the phase is over.
    Ramp,
}

impl Phase {
    /// How many turns it has; `None`: without end.
    pub fn turns(&self) -> Option<u64> {
        let lasts = self.lasts?.as_millis();
        // The last turn is before the phase is over, not at its end.
        u64::try_from(lasts.saturating_sub(1) / self.every.as_millis().max(1)).ok()
    }

    /// After how long a fault of this kind is undone. What takes a container down stays for its healer, unless the phase
    /// says when it is undone.
    pub fn lease_of(&self, kind: FaultKind) -> Option<Duration> {
        let stays = matches!(kind, FaultKind::Stop | FaultKind::Kill | FaultKind::Restart);
        self.lease.or(if stays { None } else { Some(USUAL_LEASE) })
    }
}

/// What should come of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// What.
    pub outcome: ExpectedOutcome,
    /// Within what time of the fault.
    pub within: Duration,
}

/// What should become of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedOutcome {
    /// Someone else than the antagonist starts or restarts it: it runs, and began to after the fault.
    Healed,
    /// Nobody restarts it: for faults that a healer must bear.
    Untouched,
    /// Its healer gives it up. Only the healer knows: a drill judges it by what that says.
    Quarantined,
    /// Nobody restarts it, and the healer names what is shared instead: a drill judges that by what it says.
    Shared,
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            ExpectedOutcome::Healed => "healed within",
            ExpectedOutcome::Untouched => "untouched for",
            ExpectedOutcome::Quarantined => "quarantined within",
            ExpectedOutcome::Shared => "blamed on what is shared, and untouched for",
        };
        write!(f, "{outcome} {}", format_span(self.within))
    }
}

/// When a turn is, and what decides it.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// After the beginning.
    pub at: Duration,
    /// The phase.
    pub phase: &'a Phase,
    /// Decides.
    pub draw: Draw,
}

impl Scenario {
    /// A campaign of a single phase, as options say it: one of `faults` (a stop, where there is none) `every` so often.
    pub fn attacks(
        mut faults: Vec<FaultSpec>,
        targets: Targets,
        every: Duration,
        lasts: Option<Duration>,
        lease: Option<Duration>,
    ) -> Self {
        if faults.is_empty() {
            faults.push(FaultSpec::Exact(Fault::Stop));
        }
        let name = "attacks".to_owned();
        let only = Phase {
            name: name.clone(),
            faults,
            targets,
            every,
            lasts,
            lease,
            course: Course::Anew,
            expect: None,
        };
        Self {
            name,
            about: String::new(),
            seed: None,
            max_concurrent: USUAL_CONCURRENT,
            abort: AbortWhen::default(),
            phases: vec![only],
        }
    }

    /// Never attacks `own`, the container of who plays it.
    pub fn spare(&mut self, own: Option<&ContainerId>) {
        for phase in &mut self.phases {
            phase.targets.own = own.cloned();
        }
    }

    /// Every turn in order: within each phase one after each `every`, the last before the phase is over. Without end
    /// when the last phase is.
    pub fn moments(&self, seed: u64) -> impl Iterator<Item = Moment<'_>> {
        let mut begins = Duration::ZERO;
        self.phases.iter().enumerate().flat_map(move |(index, phase)| {
            let from = begins;
            begins = phase.lasts.map_or(Duration::MAX, |lasts| from.saturating_add(lasts));
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let turns = if phase.faults.is_empty() { 0 } else { u64::MAX };
            (0..turns)
                .map(move |turn| {
                    let at = from.saturating_add(times(phase.every, turn.saturating_add(1)));
                    Moment { at, phase, draw: Draw { seed, phase: index, turn } }
                })
                .take_while(move |moment| {
                    phase.lasts.is_none_or(|lasts| moment.at < from.saturating_add(lasts))
                })
        })
    }

    /// How long it lasts; `None`: until told to end.
    pub fn lasts(&self) -> Option<Duration> {
        self.phases.iter().map(|phase| phase.lasts).sum()
    }

    /// Every kind of fault that it may do.
    pub fn kinds(&self) -> std::collections::BTreeSet<FaultKind> {
        self.phases.iter().flat_map(|phase| phase.faults.iter().map(FaultSpec::kind)).collect()
    }
}

fn times(span: Duration, count: u64) -> Duration {
    let nanos = span.as_nanos().saturating_mul(u128::from(count));
    u64::try_from(nanos / 1_000_000).map_or(Duration::MAX, Duration::from_millis)
}

/// The scenarios that come with dockhealth: name and text.
pub const SHIPPED: [(&str, &str); 9] = [
    ("random-stop", include_str!("../../deploy/scenarios/random-stop.toml")),
    ("random-loss", include_str!("../../deploy/scenarios/random-loss.toml")),
    ("mixed", include_str!("../../deploy/scenarios/mixed.toml")),
    ("bystanders", include_str!("../../deploy/scenarios/bystanders.toml")),
    ("crash-loop", include_str!("../../deploy/scenarios/crash-loop.toml")),
    ("bridge-down", include_str!("../../deploy/scenarios/bridge-down.toml")),
    ("dependency-failure", include_str!("../../deploy/scenarios/dependency-failure.toml")),
    ("slow-loss", include_str!("../../deploy/scenarios/slow-loss.toml")),
    ("mass-failure", include_str!("../../deploy/scenarios/mass-failure.toml")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(every: u64, lasts: Option<u64>, faults: &[&str]) -> Phase {
        Phase {
            name: "p".into(),
            faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
            targets: Targets::default(),
            every: Duration::from_secs(every),
            lasts: lasts.map(Duration::from_secs),
            lease: None,
            course: Course::Anew,
            expect: None,
        }
    }

    fn scenario(phases: Vec<Phase>) -> Scenario {
        Scenario {
            name: "s".into(),
            about: String::new(),
            seed: None,
            max_concurrent: 1,
            abort: AbortWhen::default(),
            phases,
        }
    }

    #[test]
    fn turns_come_after_each_span_and_before_the_phase_is_over() {
        let phases = vec![phase(30, Some(90), &["stop"]), phase(1, Some(10), &[]), phase(4, None, &["kill"])];
        let scenario = scenario(phases);
        let at: Vec<u64> = scenario.moments(1).take(5).map(|moment| moment.at.as_secs()).collect();
        assert_eq!(at, [30, 60, 104, 108, 112]);
        let turns: Vec<_> = scenario.phases.iter().map(Phase::turns).collect();
        assert_eq!(turns, [Some(2), Some(9), None]);
        let draws: Vec<_> = scenario.moments(1).take(3).map(|m| (m.draw.phase, m.draw.turn)).collect();
        assert_eq!(draws, [(0, 0), (0, 1), (2, 0)]);
        assert_eq!(scenario.lasts(), None);
        assert_eq!(self::scenario(vec![phase(3, Some(4), &[]); 2]).lasts(), Some(Duration::from_secs(8)));
    }

    #[test]
    fn what_is_taken_down_stays_for_its_healer_and_the_rest_passes() {
        let mut phase = phase(1, None, &[]);
        assert_eq!(phase.lease_of(FaultKind::Kill), None);
        assert_eq!(phase.lease_of(FaultKind::Pause), Some(USUAL_LEASE));
        phase.lease = Some(Duration::from_secs(3));
        assert_eq!(phase.lease_of(FaultKind::Stop), phase.lease);
    }

    #[test]
    fn what_is_shipped_is_right_and_named_as_its_file() {
        for (name, text) in SHIPPED {
            let scenario: Scenario = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(scenario.name, name);
            assert!(scenario.lasts().is_some() && !scenario.about.is_empty(), "{name}");
        }
    }
}
