//! Attacks on purpose: the antagonist, the dummy, and packet loss by netlink. Knows nothing of `monitor`.

mod antagonist;
mod dummy;
#[cfg(test)]
mod fixtures;
mod inject;
mod plan;
mod schedule;

pub use antagonist::{AntagonistConfig, AntagonistNews, AttackMode, run_antagonist};
pub use dummy::{DummyConfig, DummyNews, run_dummy};
pub use inject::{InjectError, LossBackend, LossInjector, best_injector, in_netns, probe_backends};
pub use plan::{Attack, Targets};
pub use schedule::{LossPhase, LossPlan, LossPlanError, RandomLoss};
