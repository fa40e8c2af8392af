//! The other way to a verdict on packet loss: instead of counting the probes of a check, a sequential test on an unending
//! stream of single probes to each address. Pure: `(state, event, now) -> decisions`; the shell sends the probes.
//!
//! A check is here what it is elsewhere, one decision's worth of probes: it ends when the tests of all of a container's
//! addresses have ended, or when one has decided against the container. What follows from a verdict, and every brake,
//! is [`super::decide`]'s.
//!
//! Probing is slow (2 a second) while there is no surprise, and fast (100 a second) while there is doubt.

mod sprt;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

pub use streams::{Decision, Event, Streams, Volley};
