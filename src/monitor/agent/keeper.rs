//! Everything the agent keeps on disk but the action journal, written in order by one task, so that the owner never
//! waits for a disk. What cannot be written is logged and counted; healing goes on.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
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
/// Writes that wait at most; beyond that events are dropped and counted, since the disk is not keeping up.
const WAITING: usize = 4096;

/// Something to keep.
#[derive(Debug)]
pub(super) enum Keep {
    Event(Event),
    Answered(ContainerId, Vec<Attachment>),
    Existing(Vec<ContainerId>),
    Quarantine(ContainerName, Timestamp),
    Release(ContainerName, Timestamp),
    Desired(DesiredChange),
    WholeDesired(DesiredState),
    LastEngineEvent(Timestamp),
    LocalFreeze(Option<Freeze>),
}

/// Hands over what is to be kept.
#[derive(Clone)]
pub(super) struct Keeper(mpsc::Sender<Keep>);

impl Keeper {
    /// Never waits.
    pub(super) fn keep(&self, what: Keep) {
        if let Err(error) = self.0.try_send(what) {
            tracing::error!(%error, "the disk does not keep up: something is not kept");
        }
    }
}

/// Starts the task; it ends when the last [`Keeper`] is dropped and all is written. The [`Notify`] says that the outbox
/// grew.
pub(super) fn spawn(tracker: &TaskTracker, db: &AgentDb, host: &HostName) -> (Keeper, Arc<Notify>) {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let grew = Arc::new(Notify::new());
    let (db, host, notify) = (db.clone(), host.clone(), grew.clone());
    tracker.spawn(async move {
        let mut waiting = Vec::new();
        let mut disk = Disk::Fine;
        while receiver.recv_many(&mut waiting, 256).await > 0 {
            let (events, rest): (Vec<Keep>, Vec<Keep>) =
                waiting.drain(..).partition(|keep| matches!(keep, Keep::Event(_)));
            let mut worst = Ok(());
            if !events.is_empty() {
                worst = push(&db, &host, events).await;
                notify.notify_one();
            }
            for keep in rest {
                worst = write(&db, keep).await.and(worst);
            }
            disk.say(&worst);
        }
    });
    (Keeper(sender), grew)
}

/// The newest engine event that was seen before this start.
pub(super) async fn last_engine_event(db: &AgentDb) -> Option<Timestamp> {
    db.get_meta(LAST_ENGINE_EVENT).await.ok().flatten()?.parse().ok()
}

/// The freeze that was set over the local socket.
pub(super) async fn load_freeze(db: &AgentDb) -> Result<Option<Freeze>, StoreError> {
    Ok(db.get_meta(LOCAL_FREEZE).await?.and_then(|json| serde_json::from_str(&json).ok()))
}

async fn push(db: &AgentDb, host: &HostName, events: Vec<Keep>) -> Result<(), StoreError> {
    let items = events.into_iter().filter_map(|keep| match keep {
        Keep::Event(event) => Some(OutboxItem::Event(event)),
        _ => None,
    });
    let outcome = db.push(items.collect()).await?;
    if outcome.dropped > 0 {
        let reason =
            format!("The outbox was full: {} events that waited longest were dropped.", outcome.dropped);
        tracing::warn!("{reason}");
        let draft = EventDraft::new(EventKind::EventsDropped, Actor::Agent, reason)
            .with(serde_json::json!({ "dropped": outcome.dropped }));
        db.push(vec![OutboxItem::Event(draft.stamp(host, Timestamp::now()))]).await?;
    }
    Ok(())
}

async fn write(db: &AgentDb, keep: Keep) -> Result<(), StoreError> {
    match keep {
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
