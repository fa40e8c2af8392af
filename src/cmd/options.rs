//! Options that several commands share, each belonging to one call.

use super::settings::{OPTIONS, Setting};
use crate::model::clean;

const fn option(setting: Setting, name: &'static str, help: &'static str) -> Setting {
    setting.flag_only().called(name, OPTIONS, help)
}

/// Programs read the result.
pub(super) const JSON: Setting = option(Setting::switch(), "json", "Print JSON, for programs");
/// Narrows down to a host.
pub(super) const HOST: Setting = option(Setting::value("HOST"), "host", "Only this host");
/// Narrows down to a container.
pub(super) const CONTAINER: Setting =
    option(Setting::value("NAME"), "container", "Only containers of this name");
/// How long something holds.
pub(super) const FOR: Setting = option(Setting::value("SPAN"), "for", "For how long, for example 1h");
/// Speaks to the agent alone.
pub(super) const LOCAL: Setting = option(
    Setting::switch(),
    "local",
    "Ask the agent of this machine, over its unix socket, not the controller",
);
/// Bounds a list.
pub(super) const LIMIT: Setting =
    option(Setting::value("COUNT").or("100"), "limit", "At most so many, 1 to 1000");
/// Makes random choices repeatable.
pub(super) const SEED: Setting = option(
    Setting::value("NUMBER"),
    "seed",
    "Choose as another run did, which said its seed [default: random]",
);

/// Reads [`SEED`].
pub(super) fn seed(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("{:?} is not a seed: give a whole number", clean(text, 40)))
}
