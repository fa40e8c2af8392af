//! Pools on a real engine: `dockhealth autoscale run`, `load` and `reset`.

mod made;
mod rig;
mod shrink;
mod trouble;
