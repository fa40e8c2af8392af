//! Autoscaling: how many containers of an image a host should run. The controllers that decide it are pure, stand behind
//! one trait, and are the same in the simulator and in the pool that runs.

pub mod control;
pub mod hosting;
pub mod load;
pub mod pool;
mod proxy;
pub mod serverapp;
pub mod simulate;
pub mod workload;
