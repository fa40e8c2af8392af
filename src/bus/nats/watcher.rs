//! Follows the bucket of desired state:
//!
//! ```text
//! connected -> subscribe to changes -> read every entry (Resync .. Synced) -> changes, and every 10 s what was missed
//!     ^                                                                          |
//!     +------ reconnected, bucket gone or made anew, an error <------------------+
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream::SelectAll;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::bucket::{self, CHANGES, Entry};
use super::connection::Connection;
use super::options::Role;
use crate::bus::{BusError, BusStatus, DesiredChange, DesiredUpdate, decode_entry, key_of, parse_key};
use crate::model::{DesiredKey, FreezeScope};

/// How often the bucket is asked for changes that were never told.
const CATCH_UP: Duration = Duration::from_secs(10);
/// The pause before the whole is read again, after an error.
const PAUSE: Duration = Duration::from_secs(1);
/// For how long after reading, changes that were read already may still be told.
const ECHOES: Duration = Duration::from_secs(2);
/// Of how many malformed entries it is remembered that they were logged.
const LOGGED: usize = 1000;

/// Some of the bucket's keys, and how far they are known.
struct Part {
    filter: String,
    /// Up to this revision everything was read.
    read: u64,
    /// Later revisions that were told: some between them may have been lost, so they do not move `read`.
    told: BTreeSet<u64>,
}

impl Part {
    fn new(filter: String) -> Self {
        Self { filter, read: 0, told: BTreeSet::new() }
    }

    /// The last revision read or told.
    fn newest(&self) -> u64 {
        self.told.last().copied().unwrap_or(self.read)
    }

    /// Notes a revision that was told; whether it is news.
    fn note_told(&mut self, revision: u64) -> bool {
        revision > self.newest() && self.told.insert(revision)
    }

    /// Notes the revision that was read next; whether it is news.
    fn note_read(&mut self, revision: u64) -> bool {
        self.read = revision;
        let news = !self.told.contains(&revision);
        self.told = self.told.split_off(&(revision + 1));
        news
    }
}

/// Why a session ended.
enum End {
    /// Nobody watches any more.
    Unwatched,
    /// The whole must be read again.
    Again(String),
}

impl From<BusError> for End {
    fn from(error: BusError) -> Self {
        Self::Again(error.to_string())
    }
}

/// Follows the bucket for one watcher.
pub(super) struct Watcher {
    connection: Connection,
    role: Role,
    updates: mpsc::Sender<DesiredUpdate>,
    logged: BTreeMap<String, u64>,
    waiting: bool,
}

impl Watcher {
    pub(super) fn new(connection: Connection, role: Role, updates: mpsc::Sender<DesiredUpdate>) -> Self {
        Self { connection, role, updates, logged: BTreeMap::new(), waiting: false }
    }

    /// Runs until nobody watches.
    pub(super) async fn run(mut self) {
        let updates = self.updates.clone();
        let follow = async {
            let mut status = self.connection.status();
            while status.wait_for(|status| *status == BusStatus::Connected).await.is_ok() {
                let Err(End::Again(why)) = self.session().await else { return };
                debug!("the desired state is read again: {why}");
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = updates.closed() => {}
        }
    }

    async fn session(&mut self) -> Result<(), End> {
        let mut epoch = self.connection.epoch();
        epoch.mark_unchanged();
        let mut parts: Vec<Part> = filters(&self.role).into_iter().map(Part::new).collect();
        let mut changes = SelectAll::new();
        for (index, part) in parts.iter().enumerate() {
            let told = self.connection.listen(format!("{CHANGES}{}", part.filter), None).await?;
            changes.push(told.map(move |message| (index, message)));
        }
        self.wait_for_bucket(&parts[0].filter).await?;
        self.tell(DesiredUpdate::Resync).await?;
        for part in &mut parts {
            self.read_on(part).await?;
        }
        self.tell(DesiredUpdate::Synced).await?;
        let mut read_until = Instant::now();
        let mut catch_up = tokio::time::interval_at(read_until + CATCH_UP, CATCH_UP);
        catch_up.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                told = changes.next() => {
                    let Some((index, message)) = told else {
                        return Err(End::Again("the subscription ended".into()));
                    };
                    let Some(entry) = Entry::read(&message) else { continue };
                    if parts[index].note_told(entry.revision) {
                        self.tell_entry(entry).await?;
                    } else if read_until.elapsed() > ECHOES {
                        return Err(End::Again("the bucket was made anew".into()));
                    }
                }
                _ = catch_up.tick() => {
                    let missed = self.behind(&parts).await?;
                    for (part, _) in parts.iter_mut().zip(missed).filter(|(_, missed)| *missed) {
                        if self.read_on(part).await? {
                            read_until = Instant::now();
                        }
                    }
                }
                _ = epoch.changed() => return Err(End::Again("reconnected".into())),
            }
        }
    }

    /// Returns once there is a bucket: the controller makes it, agents wait for it.
    async fn wait_for_bucket(&mut self, filter: &str) -> Result<(), End> {
        let there = match self.role {
            Role::Controller => bucket::create(&self.connection).await,
            Role::Agent(_) => bucket::probe(&self.connection, filter).await,
        };
        if let Err(error) = &there
            && !self.waiting
        {
            info!("waiting for the desired state on NATS: {error}");
        }
        self.waiting = there.is_err();
        Ok(there?)
    }

    /// Tells what is stored after `part.read` and was not told; whether there was any.
    async fn read_on(&mut self, part: &mut Part) -> Result<bool, End> {
        let mut missed = false;
        while let Some(entry) = bucket::next(&self.connection, &part.filter, part.read + 1).await? {
            if entry.revision <= part.read {
                return Err(End::Again("revisions do not grow".into()));
            }
            if part.note_read(entry.revision) {
                missed = true;
                self.tell_entry(entry).await?;
            }
        }
        Ok(missed)
    }

    /// Which parts have entries that were not read, in a bucket that must still be the same: what was last known there is
    /// there, or something newer. All are asked at once.
    async fn behind(&self, parts: &[Part]) -> Result<Vec<bool>, End> {
        try_join_all(parts.iter().map(async |part| {
            let next = |revision| bucket::next(&self.connection, &part.filter, revision);
            let known = async {
                match part.newest() {
                    0 => Ok(true),
                    newest => Ok(next(newest).await?.is_some()),
                }
            };
            let (known, more) = futures_util::try_join!(known, next(part.read + 1))?;
            if known { Ok(more.is_some()) } else { Err(End::Again("the bucket was made anew".into())) }
        }))
        .await
    }

    async fn tell_entry(&mut self, entry: Entry) -> Result<(), End> {
        // Keys of later versions are not ours to judge.
        let Some(key) = parse_key(&entry.key) else { return Ok(()) };
        let change = match &entry.value {
            None => DesiredChange::removal(key),
            Some(value) => match decode_entry(key, value) {
                Ok(change) => change,
                Err(error) => {
                    self.malformed(entry.key, entry.revision, &error);
                    return Ok(());
                }
            },
        };
        self.tell(DesiredUpdate::Change(change)).await
    }

    fn malformed(&mut self, key: String, revision: u64, error: &BusError) {
        if self.logged.get(&key) != Some(&revision) {
            warn!("the desired state's entry {key}, revision {revision}, is passed over: {error}");
            if self.logged.len() == LOGGED {
                self.logged.clear();
            }
            self.logged.insert(key, revision);
        }
    }

    async fn tell(&self, update: DesiredUpdate) -> Result<(), End> {
        self.updates.send(update).await.map_err(|_| End::Unwatched)
    }
}

/// The keys that concern `role`.
fn filters(role: &Role) -> Vec<String> {
    match role {
        Role::Controller => vec![">".into()],
        Role::Agent(host) => vec![
            key_of(&DesiredKey::Threshold),
            key_of(&DesiredKey::Freeze(FreezeScope::All)),
            key_of(&DesiredKey::Freeze(FreezeScope::Host(host.clone()))),
            format!("container.{}.*", crate::bus::encode_token(host.as_str())),
            key_of(&DesiredKey::Rules),
            format!("pool.{}.*", crate::bus::encode_token(host.as_str())),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_was_told_does_not_hide_one_that_was_lost_before_it() {
        let mut part = Part::new(">".into());
        assert!(part.note_read(5));
        assert!(!part.note_told(5), "an echo");
        assert!(part.note_told(8) && part.note_told(9));
        assert!(!part.note_told(8), "told twice");
        assert_eq!((part.read, part.newest()), (5, 9));
        assert!(part.note_read(7), "6 or 7 was lost");
        assert!(!part.note_read(8));
        assert_eq!((part.read, part.newest()), (8, 9));
        assert!(!part.note_read(9));
        assert_eq!((part.read, part.newest(), part.told.len()), (9, 9, 0));
        assert!(part.note_told(10));
    }
}
