//! The agent's tasks on a scripted engine, a scripted network and the local bus.
//!
//! Each agent has a runtime of its own, so that a test can end it at once as `kill -9` does. Time is real and the policy
//! quick: the database has a thread of its own, and paused time would run away while that writes.

mod death;
mod engine;
mod told;
mod world;
