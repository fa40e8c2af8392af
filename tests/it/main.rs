//! Tests with real parts: a real engine, a real nats-server, real packets. One binary, so it links once.

mod cli;
mod bus;
mod ping;
mod store;
mod chaos;
mod support;
