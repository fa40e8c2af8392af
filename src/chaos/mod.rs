//! Attacks on purpose: the antagonist, the dummy, and packet loss by netlink. Knows nothing of `monitor`.

mod inject;

pub use inject::{InjectError, LossInjector, best_injector, in_netns, probe_backends};
