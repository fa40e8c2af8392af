//! Attacks on purpose: the antagonist, the dummy, and what hurts. Knows nothing of `monitor`.

mod antagonist;
mod campaign;
mod draw;
pub mod drill;
mod dummy;
mod fault;
#[cfg(test)]
mod fixtures;
mod hold;
mod inject;
mod keeper;
mod kill_point;
mod lease;
mod ledger;
mod noted;
mod order;
mod plan;
mod scenario;
mod schedule;
mod select;

pub use antagonist::{AntagonistConfig, AntagonistNews, AttackMode, Summary, Verdict, run_antagonist};
pub use campaign::{CampaignAsk, Campaigns, Ground, HostGround, seed_of_host};
pub use draw::Draw;
pub use dummy::{DummyConfig, DummyNews, run_dummy};
pub use fault::{Fault, FaultError, FaultKind, FaultSpec};
pub use hold::{ActError, HogOrder, run_hog, run_holder};
pub use inject::{
    InjectError, LossInjector, NetAbility, NetBackend, best_injector, in_netns, probe_backends,
};
pub use keeper::{Arena, Begun, Ended, Keeper, Nowhere, Spared, Swept, Told, sweep};
pub use lease::{Lease, LeaseId, Progress, Undone};
pub use ledger::{Entry, Ledger, LedgerError};
pub use noted::{Noted, note_of_swept};
pub use plan::{Attack, PlannedAttack, PlannedTurn, Turn, schedule};
pub use scenario::{
    AbortError, AbortWhen, AbortWord, Course, Expectation, ExpectedOutcome, Moment, Phase, SHIPPED, Scenario,
    ScenarioError, USUAL_CONCURRENT, USUAL_LEASE,
};
pub use schedule::{LossPhase, LossPlan, LossPlanError, RandomLoss};
pub use select::{Selector, TargetError, TargetWord, Targets};
