//! What the antagonist has to say, a line each.

use std::fmt;
use std::time::Duration;

use super::judge::Verdict;
use super::{AntagonistConfig, AttackMode, Summary};
use crate::chaos::{Attack, Ended, Fault, FaultKind, FaultSpec, Swept, Undone};
use crate::docker::EngineError;
use crate::model::{ContainerName, format_span};

/// What the antagonist has to say.
#[derive(Debug)]
pub enum AntagonistNews {
    /// It undid, or could not undo, what an earlier one left.
    Swept(Swept),
    /// It begins.
    Began(Box<AntagonistConfig>),
    /// It came to a phase of its scenario.
    Phase(String),
    /// It did something to a container.
    Did {
        /// What, and to whom.
        attack: Attack,
        /// How long that took.
        took: Duration,
        /// How; may be empty.
        how: String,
    },
    /// It would have done something to a container.
    WouldDo(Attack),
    /// It could not.
    Refused {
        /// What, and to whom.
        attack: Attack,
        /// Why.
        why: String,
    },
    /// No running container may be attacked now.
    Nobody,
    /// As many faults are in force as may be.
    Full(usize),
    /// A fault is over.
    Over(Ended),
    /// A fault came out as expected, or did not.
    Judged(Verdict),
    /// The engine did not do its part; the next attack comes in its time.
    EngineFault(EngineError),
    /// It ends early.
    Aborted(String),
    /// It ended.
    Ended {
        /// What came of it.
        summary: Summary,
        /// Whether it does nothing but stop containers.
        only_stops: bool,
        /// Who was still down, since nobody had healed it; it started them again itself.
        down: Vec<ContainerName>,
        /// Those on whom a fault could not be undone; the next start will try again.
        lost: Vec<ContainerName>,
    },
}

impl fmt::Display for AntagonistNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Swept(swept) => write_swept(f, swept),
            Self::Began(config) => write_began(f, config),
            Self::Phase(name) => write!(f, "phase {name}"),
            Self::Did { attack: Attack { id, name, fault: Fault::Stop, .. }, took, .. } => {
                write!(f, "stopped {name} ({}) in {:.1}s", id.short(), took.as_secs_f64())
            }
            Self::Did { attack, took, how } => {
                let how = if how.is_empty() { String::new() } else { format!(" ({how})") };
                write!(f, "{attack}{how}, in {:.1}s", took.as_secs_f64())
            }
            Self::WouldDo(Attack { id, name, fault: Fault::Stop, .. }) => {
                write!(f, "would stop {name} ({})", id.short())
            }
            Self::WouldDo(attack) => write!(f, "would do: {attack}"),
            Self::Refused { attack, why } => write!(f, "could not do {} to {}: {why}", attack.fault, attack.name),
            Self::Nobody => f.write_str(
                "nobody to attack: no running container that is free of faults, and that these faults fit, has the \
                 label dockhealth.chaos=true or is a --target",
            ),
            Self::Full(1) => f.write_str("one fault is in force, as many as --max-concurrent allows"),
            Self::Full(count) => write!(f, "{count} faults are in force, as many as --max-concurrent allows"),
            Self::Over(ended) => write_over(f, ended),
            Self::Judged(Verdict { name, fault, expected, met, after }) => {
                let word = if *met { "as expected" } else { "NOT as expected" };
                write!(f, "{word}: {fault} on {name}, {expected} (seen after {:.1}s)", after.as_secs_f64())
            }
            Self::EngineFault(error) => error.fmt(f),
            Self::Aborted(why) => write!(f, "ends early: {why}"),
            Self::Ended { summary, only_stops, down, lost } => {
                match only_stops {
                    true => write!(f, "antagonist ended: stopped {}", summary.stops)?,
                    false => write!(f, "antagonist ended: {} faults", summary.faults)?,
                }
                if summary.met + summary.missed > 0 {
                    write!(f, "; {} as expected, {} not", summary.met, summary.missed)?;
                }
                if !down.is_empty() {
                    write!(f, "; nobody had healed {}, so it started them again", listed(down))?;
                }
                if !lost.is_empty() {
                    write!(f, "; it could not undo its faults on {}: the next start tries again", listed(lost))?;
                }
                Ok(())
            }
        }
    }
}

fn listed(names: &[ContainerName]) -> String {
    names.iter().map(ContainerName::as_str).collect::<Vec<_>>().join(", ")
}

fn write_began(f: &mut fmt::Formatter<'_>, config: &AntagonistConfig) -> fmt::Result {
    let AntagonistConfig { scenario, seed, mode } = config;
    let dry = *mode == AttackMode::DryRun;
    match &scenario.phases[..] {
        [only] if scenario.about.is_empty() => {
            let every = format_span(only.every);
            let stops = only.faults == [FaultSpec::Exact(Fault::Stop)] && only.targets.share.is_none();
            let whom = only
                .targets
                .share
                .map_or("a container".to_owned(), |share| format!("{share} % of the targets"));
            let faults: Vec<String> = only.faults.iter().map(ToString::to_string).collect();
            match (stops, dry) {
                (true, false) => write!(f, "antagonist stops a container every {every}, seed {seed}"),
                (true, true) => {
                    write!(f, "antagonist dry run: would stop a container every {every}, seed {seed}")
                }
                (false, _) => {
                    let dry = if dry { "dry run: would do " } else { "does " };
                    write!(f, "antagonist {dry}{} to {whom} every {every}, seed {seed}", faults.join(" or "))
                }
            }
        }
        phases => {
            let dry = if dry { "dry run: would play" } else { "plays" };
            let lasts = scenario.lasts().map_or("without end".to_owned(), format_span);
            let count = phases.len();
            let parts = if count == 1 { "one phase".to_owned() } else { format!("{count} phases") };
            write!(f, "antagonist {dry} {} ({parts}, {lasts}), seed {seed}", scenario.name)
        }
    }
}

fn write_over(f: &mut fmt::Formatter<'_>, ended: &Ended) -> fmt::Result {
    let (name, fault) = (&ended.lease.name, &ended.lease.fault);
    let down = fault.kind().takes_down() || fault.kind() == FaultKind::Oom;
    match &ended.outcome {
        Ok(Undone::ByUs) if down => {
            write!(f, "{fault} on {name} is over: nobody had healed it, it was started again")
        }
        Ok(Undone::Already) if down => write!(f, "{fault} on {name} is over: it runs"),
        Ok(Undone::ByUs | Undone::Already) => write!(f, "{fault} on {name} is over"),
        Ok(Undone::Gone) => write!(f, "{fault} on {name} is over: the container is gone"),
        Err(why) => write!(f, "{fault} on {name} could not be undone: {why}"),
    }
}

fn write_swept(f: &mut fmt::Formatter<'_>, swept: &Swept) -> fmt::Result {
    let what = swept.lease.as_ref().map(|lease| format!("{} on {}", lease.fault, lease.name));
    match (&swept.outcome, what) {
        (Ok(_), Some(what)) => write!(f, "undid {what}, which an earlier run had left"),
        (Err(why), Some(what)) => write!(f, "an earlier run left {what}, which could not be undone: {why}"),
        (Err(why), None) => f.write_str(why),
        (Ok(_), None) => Ok(()),
    }
}
