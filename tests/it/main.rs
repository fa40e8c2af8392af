//! Tests with real parts: a real engine, a real nats-server, real packets. One binary, so it links once.

mod antagonist;
mod arch;
mod autoscale;
mod bpf;
mod bus;
mod chaos;
mod cli;
mod collect;
mod engine;
mod faults;
mod fleet;
mod heal;
mod http;
mod metrics;
mod network;
mod ping;
mod push;
mod readme;
mod sensors;
mod series;
mod simulate;
mod store;
mod support;
mod trycmd;
