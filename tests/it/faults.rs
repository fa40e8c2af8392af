//! What a fleet survives: killed processes, a killed engine, a broker that is away, full disks, two agents of one name.
//!
//! Rounds are raised with `SOAK_ROUNDS`, as `scripts/soak` does, or `DOCKHEALTH_ROUNDS`.

mod chaos;
mod disk;
mod engine;
mod identity;
mod killed;
mod load;
mod outage;
mod pools;
mod push;
mod recreate;
mod rig;

/// How often each victim is killed: 10 times when nobody says.
fn rounds() -> usize {
    let said = ["SOAK_ROUNDS", "DOCKHEALTH_ROUNDS"].iter().find_map(|name| std::env::var(name).ok());
    said.map_or(10, |text| text.parse().expect("the number of rounds is a number"))
}
