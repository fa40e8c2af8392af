//! The health loop on a real engine, by the real programs: `up`, and a fleet of a controller and two agents over a
//! real nats-server. Docker's own command line is the oracle.

mod alone;
mod brakes;
mod deploy;
mod down;
mod drill;
mod efficacy;
mod hostile;
mod loss;
mod neighbours;
mod recreate;
mod rig;
mod shared;
mod sprt;
mod usage;
