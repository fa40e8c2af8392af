//! The owner of the desired state: the only writer of the bucket.
//!
//! It follows the bucket by watching it, and merges each change into the entry that is there. A change of ours comes
//! back over the watch later than it was made; until then what the watch says of that key is older than what is
//! known, and is passed over.
//!
//! A copy is kept in the controller's database. When the bucket is told to be empty and the copy is not, the bucket
//! was lost (a broker with a new disk), and is filled again from the copy: nobody's list is lost with a broker. In
//! `up` the copy is the very table that the bus stores in, and writing it again changes nothing.

#[cfg(test)]
mod fixtures;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::Update;
use super::clock::Clock;
use super::config::FirstThreshold;
use super::history::History;
use plan::{Plan, plan};

pub(crate) use plan::{Change, Edit};

use crate::bus::{Bus, BusError, BusStatus, DesiredChange, DesiredUpdate};
use crate::model::{DesiredKey, DesiredState, Threshold};
use crate::store::ControllerDb;

/// How many changes may wait for the one under way; a caller beyond that waits to hand its own over.
const QUEUE: usize = 64;

/// How long the bus may take to store an entry.
const PUT_WITHIN: Duration = Duration::from_secs(5);

/// The pause before the bucket is watched anew after the watch failed.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// The desired state as this controller knows it, and its changes that the watch has not told yet.
#[derive(Debug, Default)]
struct Known {
    state: DesiredState,
    /// The state being told from its beginning.
    telling: Option<DesiredState>,
    ours: BTreeMap<DesiredKey, DesiredChange>,
}

impl Known {
    /// Takes in what the watch says; gives the change when it is news.
    fn hear(&mut self, update: DesiredUpdate) -> Option<DesiredChange> {
        match update {
            DesiredUpdate::Resync => {
                self.telling = Some(DesiredState::default());
                None
            }
            DesiredUpdate::Synced => {
                if let Some(told) = self.telling.take() {
                    self.state = told;
                    for change in self.ours.values() {
                        change.clone().apply(&mut self.state);
                    }
                }
                None
            }
            DesiredUpdate::Change(change) => {
                let ours = self.ours.get(&change.key()).map(|ours| *ours == change);
                if ours == Some(true) {
                    self.ours.remove(&change.key());
                }
                if let Some(telling) = &mut self.telling {
                    change.apply(telling);
                    return None;
                }
                if ours.is_some() {
                    return None;
                }
                change.clone().apply(&mut self.state);
                Some(change)
            }
        }
    }

    /// Takes in a change of ours that is stored.
    fn wrote(&mut self, change: DesiredChange) {
        change.clone().apply(&mut self.state);
        self.ours.insert(change.key(), change);
    }
}

/// Why a change was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The desired state was not read from the bus yet.
    #[error("what is wanted was not read from the bus yet")]
    NotRead,
    /// The bus did not store it.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The controller is ending.
    #[error("the controller is shutting down")]
    Ending,
}

struct Command {
    change: Change,
    caller: String,
    reply: oneshot::Sender<Result<(), ChangeError>>,
}

/// A handle of the desired state.
#[derive(Clone)]
pub(crate) struct Desired {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<Option<Arc<DesiredState>>>,
    default_threshold: Threshold,
}

impl Desired {
    /// The state; `None` until it was read from the bus.
    pub(crate) fn state(&self) -> Option<Arc<DesiredState>> {
        self.state.borrow().clone()
    }

    /// The fleet's threshold: the stored one, or `--threshold`.
    pub(crate) fn threshold(&self) -> Option<Threshold> {
        self.state().map(|state| state.threshold.unwrap_or(self.default_threshold))
    }

    /// Makes `change`; on return it is stored. `caller` is recorded.
    pub(crate) async fn change(&self, change: Change, caller: &str) -> Result<(), ChangeError> {
        let (reply, answer) = oneshot::channel();
        let command = Command { change, caller: caller.to_owned(), reply };
        self.commands.send(command).await.map_err(|_| ChangeError::Ending)?;
        answer.await.map_err(|_| ChangeError::Ending)?
    }
}

/// What the owner needs.
pub(crate) struct DesiredParts {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) db: ControllerDb,
    /// What the database has.
    pub(crate) copy: DesiredState,
    pub(crate) history: History,
    pub(crate) updates: broadcast::Sender<Update>,
    pub(crate) clock: Clock,
    pub(crate) default_threshold: Threshold,
    pub(crate) first_threshold: FirstThreshold,
}

/// Makes the handle and the owner's task, which ends with `shutdown`.
pub(crate) fn desired(
    parts: DesiredParts,
    shutdown: CancellationToken,
) -> (Desired, impl Future<Output = ()> + Send) {
    let (commands, queue) = mpsc::channel(QUEUE);
    let (publish, state) = watch::channel(None);
    let handle = Desired { commands, state, default_threshold: parts.default_threshold };
    let owner = Owner { parts, known: Known::default(), publish };
    (handle, owner.run(queue, shutdown))
}

struct Owner {
    parts: DesiredParts,
    known: Known,
    publish: watch::Sender<Option<Arc<DesiredState>>>,
}

impl Owner {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>, shutdown: CancellationToken) {
        let mut watching = self.watch().await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                update = next(&mut watching) => match update {
                    Some(update) => self.hear(update).await,
                    None => watching = self.watch().await,
                },
                Some(command) = queue.recv() => {
                    let done = self.make(command.change, &command.caller).await;
                    // The caller may have gone; the change stands.
                    let _ = command.reply.send(done);
                }
            }
        }
    }

    /// Watches the bucket; after a failure yields nothing, a moment later.
    async fn watch(&mut self) -> Option<BoxStream<'static, DesiredUpdate>> {
        match self.parts.bus.watch_desired().await {
            Ok(stream) => {
                self.known.telling = Some(DesiredState::default());
                Some(stream)
            }
            Err(error) => {
                tracing::debug!(%error, "the desired state cannot be watched yet");
                None
            }
        }
    }

    async fn hear(&mut self, update: DesiredUpdate) {
        let told_all = update == DesiredUpdate::Synced;
        if let Some(change) = self.known.hear(update) {
            self.told(change);
            self.keep_copy().await;
        } else if told_all {
            let nothing = DesiredState::default();
            if self.known.state == nothing && self.parts.copy != nothing {
                self.fill_again().await;
            } else {
                self.keep_copy().await;
            }
            if self.parts.copy == self.known.state {
                self.settle_threshold().await;
            }
            self.publish.send_replace(Some(Arc::new(self.known.state.clone())));
        }
    }

    /// Writes the copy into a bucket that was lost. What cannot be written is tried again when the bucket is next told.
    async fn fill_again(&mut self) {
        let changes = DesiredChange::all_of(&self.parts.copy);
        tracing::warn!(
            entries = changes.len(),
            "the bucket of desired state was lost; filling it again from the copy"
        );
        for change in changes {
            match self.put(change.clone()).await {
                Ok(()) => self.known.wrote(change),
                Err(error) => tracing::error!(%error, "an entry could not be written again"),
            }
        }
    }

    /// Stores the configured threshold where none is. What cannot be stored is tried again when the bucket is next told.
    async fn settle_threshold(&mut self) {
        let FirstThreshold::Stored { given } = self.parts.first_threshold else { return };
        let configured = self.parts.default_threshold;
        match self.known.state.threshold {
            Some(stored) if given && stored != configured => tracing::warn!(
                "--threshold {configured} does not hold: {stored} is stored; PUT /api/v1/threshold changes it"
            ),
            Some(_) => {}
            None => {
                let change = DesiredChange::Threshold(Some(configured));
                if let Err(error) = self.put(change.clone()).await {
                    tracing::error!(%error, "the threshold {configured} could not be stored");
                    return;
                }
                tracing::info!("no threshold was stored; {configured} is from now on");
                self.known.wrote(change);
                self.keep_copy().await;
            }
        }
        self.parts.first_threshold = FirstThreshold::Shared;
    }

    /// Brings the copy up to what is known.
    async fn keep_copy(&mut self) {
        for change in DesiredChange::between(&self.parts.copy, &self.known.state) {
            match self.parts.db.put_desired(change.clone()).await {
                Ok(()) => change.apply(&mut self.parts.copy),
                Err(error) => tracing::warn!(%error, "the copy of the desired state is not kept"),
            }
        }
    }

    async fn put(&self, change: DesiredChange) -> Result<(), BusError> {
        let stored = tokio::time::timeout(PUT_WITHIN, self.parts.bus.put_desired(change)).await;
        stored.unwrap_or_else(|_| Err(BusError::NoAnswer("the desired state's bucket".into())))
    }

    fn told(&self, change: DesiredChange) {
        self.publish.send_replace(Some(Arc::new(self.known.state.clone())));
        // An error means that nobody follows the stream.
        let _ = self.parts.updates.send(Update::Desired(change));
    }

    async fn make(&mut self, change: Change, caller: &str) -> Result<(), ChangeError> {
        if let BusStatus::Disconnected(why) = &*self.parts.bus.status().borrow() {
            return Err(BusError::Disconnected(why.clone()).into());
        }
        if self.publish.borrow().is_none() {
            return Err(ChangeError::NotRead);
        }
        let Plan { puts, event } = plan(&self.known.state, change, caller);
        for put in puts {
            self.put(put.clone()).await?;
            self.known.wrote(put.clone());
            self.told(put);
        }
        self.keep_copy().await;
        if let Some((host, draft)) = event {
            self.parts.history.record(host, draft, self.parts.clock.now().wall).await;
        }
        Ok(())
    }
}

async fn next(watching: &mut Option<BoxStream<'static, DesiredUpdate>>) -> Option<DesiredUpdate> {
    if let Some(stream) = watching {
        return stream.next().await;
    }
    tokio::time::sleep(WATCH_AGAIN).await;
    None
}

#[cfg(test)]
mod tests {
    use super::fixtures::{key, monitored};
    use super::*;
    use crate::bus::LocalBus;

    #[tokio::test]
    async fn a_bucket_that_was_lost_is_filled_again_from_the_copy() {
        let dir = tempfile::tempdir().unwrap();
        let db = ControllerDb::open(dir.path()).unwrap();
        db.put_desired(monitored("a/web", true)).await.unwrap();
        let bus = Arc::new(LocalBus::new(DesiredState::default(), Nowhere));
        let parts = parts(bus.clone(), db).await;
        let shutdown = CancellationToken::new();
        let (_handle, task) = desired(parts, shutdown.clone());
        let task = tokio::spawn(task);
        let mut watched = bus.watch_desired().await.unwrap();
        let filled = tokio::time::timeout(Duration::from_secs(20), async {
            while let Some(update) = watched.next().await {
                if update == DesiredUpdate::Change(monitored("a/web", true)) {
                    return;
                }
            }
        });
        filled.await.unwrap();
        shutdown.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn the_configured_threshold_is_stored_in_a_fleet_that_has_none() {
        let percent = |value| Some(Threshold::new(value).unwrap());
        let stored = FirstThreshold::Stored { given: true };
        for (first, there, then) in [
            (stored, None, percent(20.0)),
            (stored, percent(70.0), percent(70.0)),
            (FirstThreshold::Shared, None, None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let db = ControllerDb::open(dir.path()).unwrap();
            // What a lost bucket had comes before what is configured.
            if there.is_some() {
                db.put_desired(DesiredChange::Threshold(there)).await.unwrap();
            }
            let bus = Arc::new(LocalBus::new(DesiredState::default(), Nowhere));
            let parts = DesiredParts {
                default_threshold: Threshold::new(20.0).unwrap(),
                first_threshold: first,
                ..parts(bus.clone(), db.clone()).await
            };
            let shutdown = CancellationToken::new();
            let (mut handle, task) = desired(parts, shutdown.clone());
            let task = tokio::spawn(task);
            let read = handle.state.wait_for(Option::is_some);
            let read = tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap().clone();
            assert_eq!(read.unwrap().threshold, then, "{first:?} {there:?}");
            let mut watched = bus.watch_desired().await.unwrap();
            let mut in_bus = None;
            while let Some(update) = watched.next().await {
                match update {
                    DesiredUpdate::Change(DesiredChange::Threshold(threshold)) => in_bus = threshold,
                    DesiredUpdate::Synced => break,
                    _ => {}
                }
            }
            assert_eq!(in_bus, then, "{first:?} {there:?}");
            assert_eq!(db.load_desired().await.unwrap().threshold, then, "{first:?} {there:?}");
            shutdown.cancel();
            task.await.unwrap();
        }
    }

    /// A controller with the database's copy, on `bus`.
    async fn parts(bus: Arc<LocalBus>, db: ControllerDb) -> DesiredParts {
        DesiredParts {
            bus,
            copy: db.load_desired().await.unwrap(),
            history: History::new(db.clone(), Arc::default(), "c".parse().unwrap()),
            db,
            updates: broadcast::Sender::new(8),
            clock: Clock::start(),
            default_threshold: Threshold::default(),
            first_threshold: FirstThreshold::Shared,
        }
    }

    /// A bus that forgets.
    struct Nowhere;

    #[async_trait::async_trait]
    impl crate::bus::DesiredStore for Nowhere {
        async fn put(&self, _: &DesiredChange) -> Result<(), String> {
            Ok(())
        }
    }

    #[test]
    fn a_late_echo_never_undoes_a_newer_change_of_ours() {
        let mut known = Known::default();
        let (on, off) = (monitored("a/web", true), monitored("a/web", false));
        known.wrote(on.clone());
        known.wrote(off.clone());
        assert_eq!(known.hear(DesiredUpdate::Change(on.clone())), None);
        assert_eq!(known.state.containers[&key("a/web")].monitored, Some(false));
        known.hear(DesiredUpdate::Change(off));
        assert!(known.ours.is_empty());
        assert_eq!(known.hear(DesiredUpdate::Change(on.clone())), Some(on));
    }

    #[test]
    fn a_resync_replaces_the_state_but_not_what_we_just_wrote() {
        let mut known = Known::default();
        known.hear(DesiredUpdate::Change(monitored("gone/web", true)));
        known.wrote(monitored("a/web", true));
        for update in
            [DesiredUpdate::Resync, DesiredUpdate::Change(monitored("b/web", true)), DesiredUpdate::Synced]
        {
            assert_eq!(known.hear(update), None);
        }
        let names: Vec<_> = known.state.containers.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["a/web", "b/web"]);
    }
}
