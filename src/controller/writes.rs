//! How writing to a store goes.

use std::sync::Arc;

use tokio::sync::watch;

use super::counters::{Counter, Counters};
use crate::store::StoreError;

/// A handle of how writing to one store goes.
#[derive(Clone)]
pub(crate) struct Writes {
    /// What is written to, for the log.
    what: &'static str,
    counters: Arc<Counters>,
    /// Why the last write failed; `None` when it did not.
    fault: Arc<watch::Sender<Option<String>>>,
}

impl Writes {
    pub(crate) fn new(what: &'static str, counters: Arc<Counters>) -> Self {
        Self { what, counters, fault: Arc::new(watch::Sender::new(None)) }
    }

    /// Why the last write failed; `None` when it did not.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault.borrow().clone()
    }

    /// Notes how a write went: trouble is logged when it begins and when it ends, not each time. What the store refuses is
    /// no trouble of its own.
    pub(crate) fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(result, Err(StoreError::Refused(_))) {
            return result;
        }
        let what = self.what;
        let fault = result.as_ref().err().map(ToString::to_string);
        if result.is_err() {
            self.counters.count(Counter::StoreErrors);
        }
        self.fault.send_if_modified(|known| {
            match (&known, &fault) {
                (None, Some(why)) => tracing::error!("{what} cannot be written: {why}"),
                (Some(_), None) => tracing::info!("{what} can be written again"),
                _ => {}
            }
            let changed = *known != fault;
            *known = fault;
            changed
        });
        result
    }
}
