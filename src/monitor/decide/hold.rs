//! Why a container that ails is not acted on now.

use std::fmt;

use super::reference::HostFault;
use super::shared::Shared;
use crate::model::{Mono, Rate, Timestamp};

/// A brake that holds, in the order they are asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Hold {
    /// The engine cannot be reached.
    EngineUnreachable(String),
    /// An action on it is under way.
    UnderWay,
    /// It was told to stop a moment ago, and may come back or go for good.
    Settling(Mono),
    /// That time is over, and it is looked at once more: an engine that is just starting it (`docker restart`) answers
    /// when that is done.
    Looking,
    /// It was told to stop, and is to be left down then.
    ToldToStop,
    /// It finished its work (exit code 0), and only `--monitor-all` lists it.
    Finished,
    /// Another container is about to replace it.
    Replaced(String, Mono),
    /// Its budget is spent.
    Quarantined(Timestamp),
    /// An administrator maintains it.
    Maintenance(Timestamp),
    /// Its label says that it is being maintained; until when, if it says that too.
    MaintenanceLabel(Option<Timestamp>),
    /// Healing is frozen, by whom and until when.
    Frozen(String),
    /// Its compose project is being deployed.
    Deploy(String, Mono),
    /// What it needs is down or failing, and is healed first.
    Dependency {
        /// The other container.
        on: String,
        /// What is wrong with that.
        how: String,
        /// When this one is healed all the same.
        until: Mono,
    },
    /// The host itself loses packets.
    HostFault(HostFault),
    /// Much of what it shares with others fails at once.
    Breaker(Shared),
    /// Several hosts fail at once, as the controller says.
    FleetBreaker(String),
    /// Restarts in a row did not help: until when, and in which words.
    Futile(Timestamp, String),
    /// Too soon after the last action on it.
    Backoff(Mono),
    /// Enough restarts run at once on this host.
    HostBusy,
    /// Enough containers of this host were restarted lately.
    HostBudget,
    /// The controller has not yet said whether the fleet's budget allows it.
    FleetLeave(Rate),
    /// The fleet's budget is spent.
    FleetBudget(Rate),
    /// Enough containers were started this second.
    StartRate(Mono),
    /// Nothing is done in a dry run.
    DryRun,
}

impl Hold {
    /// When it ends by itself, where that is known.
    pub(super) fn until(&self) -> Option<Mono> {
        match self {
            Self::Settling(until)
            | Self::Deploy(_, until)
            | Self::Dependency { until, .. }
            | Self::Replaced(_, until)
            | Self::Backoff(until)
            | Self::StartRate(until) => Some(*until),
            _ => None,
        }
    }

    /// When it ends by the wall clock, where somebody said so.
    pub(super) fn wall_until(&self) -> Option<Timestamp> {
        match self {
            Self::Maintenance(until) | Self::Futile(until, _) => Some(*until),
            Self::MaintenanceLabel(until) => *until,
            _ => None,
        }
    }

    /// Whether healing is withheld though nothing is wrong with how the container was healed before.
    pub(super) fn is_freeze(&self) -> bool {
        matches!(
            self,
            Self::Maintenance(_)
                | Self::MaintenanceLabel(_)
                | Self::Frozen(_)
                | Self::Deploy(..)
                | Self::HostFault(_)
                | Self::Breaker(_)
                | Self::FleetBreaker(_)
        )
    }

    /// Whether it is meant to stay as it is.
    pub(super) fn is_left_alone(&self) -> bool {
        matches!(
            self,
            Self::ToldToStop | Self::Finished | Self::Replaced(..) | Self::Settling(_) | Self::Looking
        )
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EngineUnreachable(why) => write!(f, "the Docker engine is unreachable ({why})"),
            Self::UnderWay => f.write_str("an action on it is under way"),
            Self::Settling(_) => f.write_str("it was told to stop a moment ago"),
            Self::Looking => f.write_str("it was told to stop, and is looked at once more"),
            Self::ToldToStop => f.write_str("it was told to stop, and is left down then (on_stop = leave)"),
            Self::Finished => f.write_str("it finished with exit code 0, and only --monitor-all lists it"),
            Self::Replaced(by, _) => write!(f, "{by} is about to replace it"),
            Self::Quarantined(since) => write!(
                f,
                "quarantined since {since}: its restart budget is spent; `dockhealth release` ends it"
            ),
            Self::Maintenance(until) => write!(f, "in maintenance until {until}"),
            Self::Frozen(how) => write!(f, "healing is frozen: {how}"),
            Self::MaintenanceLabel(None) => f.write_str("in maintenance by its label dockhealth.maintenance"),
            Self::MaintenanceLabel(Some(until)) => {
                write!(f, "in maintenance until {until}, by its label dockhealth.maintenance")
            }
            Self::Deploy(project, _) => {
                write!(
                    f,
                    "several containers of compose project {project} were just made or restarted by somebody"
                )
            }
            Self::Dependency { on, how, .. } => write!(f, "{on}, which it needs, {how}, and is healed first"),
            Self::HostFault(fault) => fault.fmt(f),
            Self::Breaker(shared) => {
                write!(f, "much of {shared} fails at once, so that is to blame and not the container")
            }
            Self::FleetBreaker(why) => write!(f, "{why}, so it is not this container that is to blame"),
            Self::Futile(until, why) => write!(
                f,
                "restarting does not help: {why}; it is tried again at {until}, or after `dockhealth release`"
            ),
            Self::Backoff(_) => f.write_str("too soon after the last action on it (backoff)"),
            Self::HostBusy => f.write_str("other restarts on this host are under way"),
            Self::HostBudget => {
                f.write_str("enough containers of this host were restarted lately (--host-budget)")
            }
            Self::FleetLeave(budget) => {
                write!(f, "the controller is asked whether the fleet's budget of {budget} allows it")
            }
            Self::FleetBudget(budget) => {
                write!(f, "enough containers of the fleet were restarted lately (--fleet-budget {budget})")
            }
            Self::StartRate(_) => f.write_str("enough containers were started this second"),
            Self::DryRun => f.write_str("the agent runs with --dry-run"),
        }
    }
}
