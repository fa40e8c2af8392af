//! The reverse proxy before a pool: HTTP/1.1, one request at a time to each container unless more are allowed.
//!
//! ```text
//! client ──► server ──► forward ──► desk: go, wait or be refused
//!                          │ ▲
//!                          ▼ └── again, when nothing was sent or it may be repeated
//!                     connections ──► container
//!                          │
//! client ◄── relay ◄───────┘  gives the place back at the end of the answer, or when the client leaves
//! ```

mod connections;
mod forward;
mod headers;
mod relay;
mod server;
mod stall;
#[cfg(test)]
mod tests;

pub(crate) use connections::Connections;
pub(crate) use forward::{Limits, Proxy};
pub(crate) use headers::WAIT;
pub(crate) use server::serve;
