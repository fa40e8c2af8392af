//! What a fleet survives: killed processes, a killed engine, a broker that is away, full disks, two agents of one name.
//!
//! Rounds are raised with `DOCKHEALTH_ROUNDS` (10 otherwise).

mod disk;
mod engine;
mod identity;
mod killed;
mod load;
mod outage;
mod recreate;
mod rig;

/// How often each victim is killed.
fn rounds() -> usize {
    std::env::var("DOCKHEALTH_ROUNDS").map_or(10, |text| text.parse().expect("DOCKHEALTH_ROUNDS is a number"))
}
