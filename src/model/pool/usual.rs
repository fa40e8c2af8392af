//! What a pool is where nothing else is said; `dockhealth autoscale run` has the same defaults.

use std::net::{Ipv4Addr, SocketAddr};

pub(super) fn controller() -> String {
    "francis".to_owned()
}

pub(super) fn period_ms() -> u64 {
    2_000
}

pub(super) fn load() -> f64 {
    1.0
}

pub(super) fn service_guess_ms() -> u64 {
    5_000
}

pub(super) fn boot_guess_ms() -> u64 {
    1_500
}

pub(super) fn min() -> u32 {
    2
}

pub(super) fn max() -> u32 {
    16
}

pub(super) fn concurrency() -> u32 {
    1
}

pub(super) fn port() -> u16 {
    80
}

pub(super) fn ready_timeout_ms() -> u64 {
    30_000
}

pub(super) fn stop_timeout_ms() -> u64 {
    10_000
}

pub(super) fn queue() -> u32 {
    1_000
}

pub(super) fn queue_timeout_ms() -> u64 {
    300_000
}

pub(super) fn request_timeout_ms() -> u64 {
    300_000
}

pub(super) fn listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 8080).into()
}

#[expect(clippy::unnecessary_wraps, reason = "null is another answer")]
pub(super) fn ready_path() -> Option<String> {
    Some("/".to_owned())
}
