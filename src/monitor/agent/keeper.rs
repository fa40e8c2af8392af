//! Everything the agent keeps on disk but the action journal, written in order by one task, so that the owner never
//! waits for a disk. While the disk takes nothing, healing goes on, and what could not be written is written when it takes
//! something again: of what replaces itself (desired state, quarantines, the freeze) the newest, of events the newest
//! 4,096, with an event that counts the rest. What still waits when the agent ends is tried once more, then lost.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::bus::{DesiredChange, OutboxItem};
use crate::model::{
    Actor, ContainerId, ContainerName, DesiredState, Event, EventDraft, EventKind, Freeze, HostName,
    Timestamp,
};
use crate::monitor::decide::Attachment;
use crate::store::{AgentDb, AnsweredRow, StoreError};

/// The `meta` key of the newest engine event.
const LAST_ENGINE_EVENT: &str = "last_engine_event";
/// The `meta` key of the freeze set over the local socket.
const LOCAL_FREEZE: &str = "local_freeze";
/// Events that wait for the disk at most; beyond that the oldest are dropped and counted.
const WAITING: usize = 4096;
/// Between two attempts to write what the disk did not take.
const AGAIN: Duration = Duration::from_secs(5);

/// Something to keep.
#[derive(Debug, Clone)]
pub(super) enum Keep {
    Event(Event),
    Answered(ContainerId, Vec<Attachment>),
    Existing(Vec<ContainerId>),
    Quarantine(ContainerName, Timestamp),
    Release(ContainerName, Timestamp),
    /// As JSON, and when that was so.
    Score(ContainerName, String, Timestamp),
    Desired(DesiredChange),
    WholeDesired(DesiredState),
    LastEngineEvent(Timestamp),
    LocalFreeze(Option<Freeze>),
}

impl Keep {
    /// Whether this makes `earlier` needless.
    fn replaces(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Answered(id, _), Self::Answered(other, _)) => id == other,
            (Self::Existing(ids), Self::Answered(other, _)) => !ids.contains(other),
            (Self::Quarantine(name, _), Self::Quarantine(other, _))
            | (Self::Release(name, _), Self::Quarantine(other, _) | Self::Release(other, _))
            | (Self::Score(name, ..), Self::Score(other, ..)) => name == other,
            (Self::Desired(change), Self::Desired(other)) => change.key() == other.key(),
            (Self::WholeDesired(_), Self::Desired(_) | Self::WholeDesired(_))
            | (Self::Existing(_), Self::Existing(_))
            | (Self::LastEngineEvent(_), Self::LastEngineEvent(_))
            | (Self::LocalFreeze(_), Self::LocalFreeze(_)) => true,
            _ => false,
        }
    }

    /// Whether this must not be written before `earlier` is.
    fn must_follow(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Quarantine(name, _), Self::Release(other, _)) => name == other,
            (Self::Desired(_), Self::WholeDesired(_)) => true,
            _ => false,
        }
    }
}

/// What waits for the disk.
#[derive(Debug, Default)]
struct Backlog {
    events: VecDeque<Event>,
    /// Events that found no place here, or in the outbox.
    dropped: u64,
    /// All else, oldest first.
    rest: Vec<Keep>,
}

impl Backlog {
    fn add(&mut self, what: Keep) {
        match what {
            Keep::Event(event) => {
                self.events.push_back(event);
                while self.events.len() > WAITING {
                    self.events.pop_front();
                    self.dropped += 1;
                }
            }
            other => {
                self.rest.retain(|earlier| !other.replaces(earlier));
                self.rest.push(other);
            }
        }
    }

    /// Puts what came meanwhile behind what is here.
    fn append(&mut self, later: Self) {
        self.dropped += later.dropped;
        later.events.into_iter().map(Keep::Event).chain(later.rest).for_each(|keep| self.add(keep));
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.dropped == 0 && self.rest.is_empty()
    }

    /// Writes all that can be written and keeps the rest.
    async fn write(&mut self, db: &AgentDb, host: &HostName) -> Result<(), StoreError> {
        let mut outcome = self.push(db, host).await;
        let mut failed: Vec<Keep> = Vec::new();
        for keep in std::mem::take(&mut self.rest) {
            if failed.iter().any(|earlier| keep.must_follow(earlier)) {
                failed.push(keep);
            } else if let Err(error) = write(db, &keep).await {
                outcome = Err(error);
                failed.push(keep);
            }
        }
        self.rest = failed;
        outcome
    }

    async fn push(&mut self, db: &AgentDb, host: &HostName) -> Result<(), StoreError> {
        if !self.events.is_empty() {
            let items = self.events.iter().cloned().map(OutboxItem::Event).collect();
            self.dropped += db.push(items).await?.dropped;
            self.events.clear();
        }
        if self.dropped > 0 {
            let reason =
                format!("{} events that waited longest were dropped for want of space.", self.dropped);
            tracing::warn!("{reason}");
            let draft = EventDraft::new(EventKind::EventsDropped, Actor::Agent, reason)
                .with(serde_json::json!({ "dropped": self.dropped }));
            db.push(vec![OutboxItem::Event(draft.stamp(host, Timestamp::now()))]).await?;
            self.dropped = 0;
        }
        Ok(())
    }
}

/// Hands over what is to be kept.
#[derive(Clone)]
pub(super) struct Keeper {
    backlog: Arc<Mutex<Backlog>>,
    /// Wakes the writer; it ends when the last of these is gone.
    wake: mpsc::Sender<()>,
}

impl Keeper {
    /// Never waits.
    pub(super) fn keep(&self, what: Keep) {
        lock(&self.backlog).add(what);
        // When it is full, the writer will wake anyway.
        let _ = self.wake.try_send(());
    }
}

fn lock(backlog: &Mutex<Backlog>) -> MutexGuard<'_, Backlog> {
    backlog.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the task; it ends when the last [`Keeper`] is dropped and all is written that can be. The [`Notify`] says
/// that the outbox grew.
pub(super) fn spawn(tracker: &TaskTracker, db: &AgentDb, host: &HostName) -> (Keeper, Arc<Notify>) {
    let (wake, mut woken) = mpsc::channel(1);
    let backlog = Arc::new(Mutex::new(Backlog::default()));
    let grew = Arc::new(Notify::new());
    let (db, host, notify, shared) = (db.clone(), host.clone(), grew.clone(), backlog.clone());
    tracker.spawn(async move {
        let mut disk = Disk::Fine;
        let mut ending = false;
        while !ending {
            let dirty = !lock(&shared).is_empty();
            ending = if dirty {
                matches!(timeout(AGAIN, woken.recv()).await, Ok(None))
            } else {
                woken.recv().await.is_none()
            };
            let mut taken = std::mem::take(&mut *lock(&shared));
            let events = !taken.events.is_empty();
            let outcome = taken.write(&db, &host).await;
            if events && taken.events.is_empty() {
                notify.notify_one();
            }
            disk.say(&outcome);
            let mut shared = lock(&shared);
            let later = std::mem::replace(&mut *shared, taken);
            shared.append(later);
        }
    });
    (Keeper { backlog, wake }, grew)
}

/// The newest engine event that was seen before this start.
pub(super) async fn last_engine_event(db: &AgentDb) -> Option<Timestamp> {
    db.get_meta(LAST_ENGINE_EVENT).await.ok().flatten()?.parse().ok()
}

/// The freeze that was set over the local socket.
pub(super) async fn load_freeze(db: &AgentDb) -> Result<Option<Freeze>, StoreError> {
    Ok(db.get_meta(LOCAL_FREEZE).await?.and_then(|json| serde_json::from_str(&json).ok()))
}

async fn write(db: &AgentDb, keep: &Keep) -> Result<(), StoreError> {
    match keep.clone() {
        Keep::Event(event) => db.push(vec![OutboxItem::Event(event)]).await.map(|_| ()),
        Keep::Answered(container_id, attachments) => {
            for Attachment { address, endpoint_id, started_at } in attachments {
                let container_id = container_id.clone();
                db.save_answered(AnsweredRow { container_id, address, endpoint_id, started_at }).await?;
            }
            Ok(())
        }
        Keep::Existing(ids) => {
            let unique: BTreeSet<ContainerId> = ids.into_iter().collect();
            db.forget_answered_except(&unique.into_iter().collect::<Vec<_>>()).await
        }
        Keep::Quarantine(name, since) => db.set_quarantined(name, Some(since)).await,
        Keep::Release(name, at) => {
            db.set_quarantined(name.clone(), None).await?;
            db.release(name, at).await
        }
        Keep::Score(name, json, at) => db.save_score(name, json, at).await,
        Keep::Desired(change) => db.save_desired(change).await,
        Keep::WholeDesired(state) => db.replace_desired(state).await,
        Keep::LastEngineEvent(time) => db.set_meta(LAST_ENGINE_EVENT, Some(time.to_string())).await,
        Keep::LocalFreeze(freeze) => {
            let json = freeze.map(|freeze| serde_json::to_string(&freeze).expect("plain data becomes JSON"));
            db.set_meta(LOCAL_FREEZE, json).await
        }
    }
}

/// Whether the disk takes what it is given, said when that changes and not at each write.
enum Disk {
    Fine,
    Failing,
}

impl Disk {
    fn say(&mut self, outcome: &Result<(), StoreError>) {
        match (&self, outcome) {
            (Self::Fine, Err(error)) => {
                tracing::error!(%error, "what happens is not kept on disk; healing goes on");
                *self = Self::Failing;
            }
            (Self::Failing, Ok(())) => {
                tracing::info!("what happens is kept on disk again");
                *self = Self::Fine;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerKey, DesiredEntry};

    fn host() -> HostName {
        HostName::new("h").unwrap()
    }

    fn event() -> Keep {
        Keep::Event(
            EventDraft::new(EventKind::AgentStarted, Actor::Agent, "x").stamp(&host(), Timestamp::now()),
        )
    }

    fn listed(name: &str) -> DesiredChange {
        let key = ContainerKey { host: host(), name: name.parse().unwrap() };
        DesiredChange::Container(key, Some(DesiredEntry { monitored: Some(true), ..DesiredEntry::default() }))
    }

    #[tokio::test]
    async fn what_the_disk_did_not_take_is_written_when_it_takes_something_again() {
        let dir = tempfile::tempdir().unwrap();
        let broken = AgentDb::open(dir.path()).unwrap();
        broken.close().await;
        let (a, b): (ContainerName, ContainerName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let at = Timestamp::from_millis;
        let mut backlog = Backlog::default();
        let whole = {
            let mut state = DesiredState::default();
            listed("a").apply(&mut state);
            state
        };
        for keep in [
            event(),
            Keep::Desired(listed("old")),
            Keep::WholeDesired(whole.clone()),
            Keep::Quarantine(a.clone(), at(1)),
            Keep::Release(a.clone(), at(2)),
            Keep::Quarantine(a.clone(), at(3)),
            Keep::Quarantine(b.clone(), at(4)),
        ] {
            backlog.add(keep);
            backlog.write(&broken, &host()).await.unwrap_err();
        }
        let mut later = Backlog::default();
        for keep in [event(), Keep::Desired(listed("b")), Keep::Release(b.clone(), at(5))] {
            later.add(keep);
        }
        backlog.append(later);

        let db = AgentDb::open(dir.path()).unwrap();
        backlog.write(&db, &host()).await.unwrap();
        assert!(backlog.is_empty());
        assert_eq!(db.outbox_len().await.unwrap(), 2);
        let mut expected = whole;
        listed("b").apply(&mut expected);
        assert_eq!(db.load_desired().await.unwrap(), expected);
        assert_eq!(db.quarantined().await.unwrap(), [(a.clone(), at(3))].into());
        assert_eq!(db.releases().await.unwrap(), [(a, at(2)), (b, at(5))].into());
        db.close().await;
    }

    #[tokio::test]
    async fn events_that_wait_are_bounded_and_those_dropped_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let db = AgentDb::open(dir.path()).unwrap();
        let mut backlog = Backlog::default();
        for _ in 0..WAITING + 3 {
            backlog.add(event());
        }
        assert_eq!((backlog.events.len(), backlog.dropped), (WAITING, 3));
        backlog.write(&db, &host()).await.unwrap();
        assert!(backlog.is_empty());
        assert_eq!(db.outbox_len().await.unwrap(), WAITING as u64 + 1);
        db.close().await;
    }
}
