//! All containers at once. What was last read of each is kept: it stands for one that does not answer in time, and for one
//! of which the engine lists nothing new.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use docker_api::models::ContainerSummary;
use docker_api::opts::ContainerListOpts;
use futures_util::stream::{self, StreamExt};

use super::super::raw::within;
use super::super::{ContainerBuilder, EngineError, convert, summary};
use super::{Engine, READ, call};
use crate::model::{ContainerFacts, ContainerId, clean};

/// For a whole list, however many containers do not answer.
const LIST: Duration = Duration::from_mins(1);
/// Inspects under way at once: the engine gains nothing from more.
const INSPECTS: usize = 8;

/// What was read of a container.
#[derive(Debug)]
pub(super) struct Read {
    /// When it was asked for.
    at: Instant,
    facts: ContainerFacts,
}

/// Which containers of a list are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reading {
    All,
    /// Those of which the list says something new.
    News,
}

impl Engine {
    fn last_read(&self) -> MutexGuard<'_, HashMap<ContainerId, Read>> {
        self.last_read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn all(&self, reading: Reading) -> Result<Vec<ContainerFacts>, EngineError> {
        within(LIST, "list", async {
            let containers = self.docker.containers();
            let options = ContainerListOpts::builder().all(true).build();
            let found = call(READ, "list", containers.list(&options)).await?;
            let ids: HashSet<&str> = found.iter().filter_map(|container| container.id.as_deref()).collect();
            self.last_read().retain(|id, _| ids.contains(id.as_str()));
            let listed = Instant::now();
            let known = |container: &ContainerSummary| match reading {
                Reading::All => None,
                Reading::News => self.as_it_was(container, listed),
            };
            stream::iter(found.into_iter().filter_map(|container| Some((known(&container), container.id?))))
                .map(async |(known, id)| match known {
                    Some(facts) => Ok(Some(facts)),
                    None => self.inspect_or_leave_out(id).await,
                })
                .buffered(INSPECTS)
                .filter_map(async |read| read.transpose())
                .collect::<Vec<_>>()
                .await
                .into_iter()
                .collect()
        })
        .await
    }

    /// What was last read of it, where a list of the time `listed` says nothing else.
    fn as_it_was(&self, container: &ContainerSummary, listed: Instant) -> Option<ContainerFacts> {
        let id = ContainerId::new(container.id.as_deref()?).ok()?;
        let known = self.last_read();
        let known = known.get(&id)?;
        let ago = listed.saturating_duration_since(known.at);
        summary::confirms(container, &known.facts, ago).then(|| known.facts.clone())
    }

    /// Reads one container, and remembers what was read.
    pub(super) async fn read_facts(&self, id: &str) -> Result<ContainerFacts, EngineError> {
        let at = Instant::now();
        let facts = convert::facts(&self.inspect_raw(id).await?)?;
        let read = Read { at, facts: facts.clone() };
        match self.last_read().entry(facts.id.clone()) {
            // Someone asked later and was answered sooner.
            Entry::Occupied(known) if known.get().at > at => {}
            entry => drop(entry.insert_entry(read)),
        }
        Ok(facts)
    }

    /// One that does not answer in time is told as it was last: to leave it out would say that it is gone, and to fail
    /// would hide all others for as long as it hangs.
    pub(super) async fn inspect_or_leave_out(
        &self,
        id: String,
    ) -> Result<Option<ContainerFacts>, EngineError> {
        match self.read_facts(&id).await {
            Ok(facts) => Ok(Some(facts)),
            Err(EngineError::NoSuchContainer(_)) => Ok(None),
            Err(error @ EngineError::Unreachable(_)) => Err(error),
            Err(error @ EngineError::TimedOut(..)) => {
                let known = ContainerId::new(id.as_str())
                    .ok()
                    .and_then(|id| self.last_read().get(&id).map(|read| read.facts.clone()));
                let known_before = known.is_some();
                tracing::warn!(id = clean(&id, 64), %error, known_before, "a container does not answer");
                Ok(known)
            }
            Err(error) => {
                tracing::warn!(id = clean(&id, 64), %error, "a container cannot be read and is left out");
                Ok(None)
            }
        }
    }
}
