//! State on disk, in SQLite. SQL exists only here.
//!
//! Two databases, each owned by one thread and one process: `agent.db` ([`AgentDb`]) and `controller.db`
//! ([`ControllerDb`]); `dockhealth up` has both in one data directory.
//!
//! What a method returned `Ok` for survives `kill -9` and power loss. In write-ahead mode `synchronous=NORMAL` would
//! do for the first, since what was written stays in the kernel's page cache, but it syncs only at checkpoints:
//! a machine that loses power may forget commits that were already acknowledged to an agent, which has
//! forgotten them too. So both databases use `FULL`, one sync per commit, and callers write in batches. Metrics that
//! wait in `agent.db` are the exception: see its `ticks.rs`.

mod agent;
mod controller;
mod db;
mod desired;
mod dir;
mod error;
#[cfg(test)]
mod fixture;
mod rows;
mod series;

#[cfg(test)]
pub(crate) use agent::Untaken;
pub use agent::{
    AgentDb, AnsweredRow, DEFAULT_OUTBOX_BYTES, DEFAULT_TICK_BYTES, Durability, MAX_ITEM_BYTES, OutboxBounds,
    OutboxSlice, PushOutcome, TickRow, TicksKept,
};
pub use controller::{
    Attempt, ControllerDb, Delivery, DeliveryState, Due, EventOrder, EventQuery, HostRow, IncidentQuery,
    Ingested, LoginRow, MAX_HOSTS, MAX_LIMIT, MAX_TOKENS, NoticeRow, Retention, TargetRow, TokenRow, Told,
};
pub use error::StoreError;
pub use series::{
    DEFAULT_RETENTION, EmbeddedStore, HostTick, MAX_POINTS, MAX_SERIES, MetricStore, RAW_SPAN, RangeQuery,
    Refusal, RemoteOptions, RemoteStore, SeriesRange, Statistic, StoreCredentials, Subjects, Summarized,
    Summary, SummaryQuery,
};
