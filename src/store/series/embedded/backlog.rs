//! Which hours of which hosts wait to be compacted. What waits is in the table; this only knows where to look.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Result};

use super::chunk::{HOUR, hour_of};
use super::{head_key, head_of};

/// How long after its end an hour is taken for complete; hosts whose clocks are behind deliver that much later.
const LAG: i64 = 180;

/// Hosts take turns within so many minutes after that, so that a fleet's hours are not all compacted at once.
const TURNS: i64 = 30;

/// What trickles in late is left to gather until nothing came for this long...
const QUIET: Duration = Duration::from_secs(20);

/// ...or the first of it has waited for this long.
const PATIENCE: Duration = Duration::from_mins(10);

/// When complete hours have more bytes than this waiting, the fullest is compacted at once.
const PRESSURE: u64 = 24 << 20;

/// When complete hours have more bytes than this waiting, and twice what the others have, more comes than is compacted.
const TOO_MUCH: u64 = 32 << 20;

/// An hour of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostHour {
    pub(super) host: i64,
    pub(super) hour: i64,
}

/// What waits of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    bytes: u64,
    first: Instant,
    last: Instant,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: BTreeMap<HostHour, Waiting>,
    /// The latest moment each host told of, by its clock.
    newest: HashMap<i64, i64>,
    bytes: u64,
}

impl Backlog {
    /// Finds what waits, by looking into each host's hours once.
    pub(super) fn load(conn: &Connection) -> Result<Self> {
        let mut backlog = Self::default();
        let mut next = conn.prepare(
            "SELECT key, octet_length(body) FROM metric_head WHERE key >= ?1 ORDER BY key LIMIT 1",
        )?;
        let mut at = 0;
        while let Some((key, bytes)) =
            next.query_row([at], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).optional()?
        {
            let (host, time) = head_of(key);
            // How many more there are in that hour is not worth reading them all.
            backlog.add(host, time, bytes.unsigned_abs() * 360, Instant::now());
            at = head_key(host, (hour_of(time) + 1) * HOUR + 1);
        }
        Ok(backlog)
    }

    /// Notes a row.
    pub(super) fn add(&mut self, host: i64, time: i64, bytes: u64, now: Instant) {
        let key = HostHour { host, hour: hour_of(time) };
        let waiting = self.waiting.entry(key).or_insert(Waiting { bytes: 0, first: now, last: now });
        waiting.bytes += bytes;
        waiting.last = now;
        self.bytes += bytes;
        let newest = self.newest.entry(host).or_insert(time);
        *newest = time.max(*newest);
    }

    /// Whether more comes than is compacted, as when a fleet delivers what it kept for days.
    pub(super) fn is_overfull(&self, wall: i64) -> bool {
        if self.bytes <= TOO_MUCH {
            return false;
        }
        let complete: u64 = self.complete(wall).map(|(_, waiting)| waiting.bytes).sum();
        complete > TOO_MUCH + 2 * (self.bytes - complete)
    }

    fn complete(&self, wall: i64) -> impl Iterator<Item = (&HostHour, &Waiting)> {
        self.waiting.iter().filter(move |(key, _)| {
            let newest = self.newest.get(&key.host).copied().unwrap_or(wall).max(wall);
            (key.hour + 1) * HOUR + LAG + key.host % TURNS * 60 <= newest
        })
    }

    /// Takes out what is best compacted next; `None`: nothing is due. Who takes it and fails puts it back.
    pub(super) fn take_due(&mut self, wall: i64, now: Instant) -> Option<(HostHour, Waiting)> {
        let due = |waiting: &Waiting| {
            now.duration_since(waiting.last) >= QUIET || now.duration_since(waiting.first) >= PATIENCE
        };
        let key =
            self.complete(wall).find(|(_, waiting)| due(waiting)).map(|(key, _)| *key).or_else(|| {
                let pressing = self.complete(wall).map(|(_, waiting)| waiting.bytes).sum::<u64>() > PRESSURE;
                let fullest =
                    || self.complete(wall).max_by_key(|(_, waiting)| waiting.bytes).map(|(key, _)| *key);
                pressing.then(fullest).flatten()
            })?;
        self.take(key)
    }

    /// Takes out the next of all, complete or not.
    #[cfg(test)]
    pub(super) fn take_any(&mut self) -> Option<(HostHour, Waiting)> {
        self.take(*self.waiting.keys().next()?)
    }

    fn take(&mut self, key: HostHour) -> Option<(HostHour, Waiting)> {
        let waiting = self.waiting.remove(&key)?;
        self.bytes -= waiting.bytes;
        Some((key, waiting))
    }

    /// Puts back what could not be compacted.
    pub(super) fn put_back(&mut self, key: HostHour, waiting: Waiting) {
        self.bytes += waiting.bytes;
        let now = self.waiting.entry(key).or_insert(Waiting { bytes: 0, ..waiting });
        now.bytes += waiting.bytes;
        now.first = waiting.first;
    }

    /// Adds what was found on the disk.
    pub(super) fn absorb(&mut self, found: Self) {
        found.waiting.into_iter().for_each(|(key, waiting)| self.put_back(key, waiting));
        for (host, time) in found.newest {
            let newest = self.newest.entry(host).or_insert(time);
            *newest = time.max(*newest);
        }
    }

    /// Forgets a host.
    pub(super) fn forget(&mut self, host: i64) {
        self.newest.remove(&host);
        let range = HostHour { host, hour: i64::MIN }..=HostHour { host, hour: i64::MAX };
        let gone: Vec<HostHour> = self.waiting.range(range).map(|(key, _)| *key).collect();
        for key in gone {
            self.take(key);
        }
    }
}
