//! Which numbers hosts and series have in the tables.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::refusals::{Refusal, Refusals};
use crate::model::{ContainerName, HostName, MetricTick, SeriesName, Values};
use crate::store::error::Fault;
use crate::store::rows;

/// Series kept of one host and its containers.
pub const MAX_SERIES: usize = 100_000;

/// Names of series remembered; beyond that all is forgotten and read anew as it is needed.
const MAX_NAMES: usize = 200_000;

/// Values beyond this, or not finite, are refused: sums of them would not be numbers any more.
const MAX_VALUE: f64 = 1e100;

/// The numbers, as far as they were needed yet. The tables have them all; this is only faster.
#[derive(Default)]
pub(super) struct Identity {
    hosts: HashMap<HostName, Host>,
    names: Names,
    /// How many hosts the tables have; `None` until it was asked.
    count: Option<u64>,
}

/// A tick, by numbers.
pub(super) struct Resolved {
    pub(super) host: i64,
    /// In the order of their series' numbers.
    pub(super) samples: Vec<(i64, f64)>,
}

struct Host {
    id: i64,
    series: usize,
    own: Subject,
    containers: HashMap<ContainerName, Subject>,
}

/// The series of a subject, in the order of their names.
type Subject = Vec<(NameId, i64)>;

type NameId = u32;

/// Every name once.
#[derive(Default)]
struct Names {
    all: Vec<SeriesName>,
    ids: HashMap<SeriesName, NameId>,
}

impl Names {
    fn id(&mut self, name: &SeriesName) -> NameId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = NameId::try_from(self.all.len()).unwrap_or(NameId::MAX);
        self.all.push(name.clone());
        self.ids.insert(name.clone(), id);
        id
    }

    fn name(&self, id: NameId) -> &SeriesName {
        &self.all[id as usize]
    }
}

impl Identity {
    /// Forgets all that was remembered; after a transaction that may have given numbers and did not come about.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets what was remembered of a host.
    pub(super) fn forget(&mut self, id: i64) {
        self.hosts.retain(|_, host| host.id != id);
        self.count = None;
    }

    /// The host's number and its tick's samples in the order of their series' numbers. New ones get numbers; `None` when
    /// there are too many hosts.
    pub(super) fn resolve(
        &mut self,
        conn: &Connection,
        name: &HostName,
        tick: &MetricTick,
        refusals: &mut Refusals,
    ) -> Result<Option<Resolved>, Fault> {
        if self.names.all.len() > MAX_NAMES {
            self.clear();
        }
        let Self { hosts, names, count } = self;
        if !hosts.contains_key(name) {
            let Some(host) = load(conn, name, names, count)? else { return Ok(None) };
            hosts.insert(name.clone(), host);
        }
        let Some(host) = hosts.get_mut(name) else { return Ok(None) };
        let mut samples = Vec::with_capacity(tick.host.len() + tick.containers.len() * 12);
        let mut adding =
            Adding { conn, host: host.id, series: &mut host.series, time: tick.time, names, refusals };
        adding.subject("", &mut host.own, &tick.host, &mut samples)?;
        for (container, values) in &tick.containers {
            if !host.containers.contains_key(container) {
                host.containers.insert(container.clone(), Subject::new());
            }
            let Some(subject) = host.containers.get_mut(container) else { continue };
            adding.subject(container.as_str(), subject, values, &mut samples)?;
        }
        samples.sort_unstable_by_key(|sample| sample.0);
        Ok(Some(Resolved { host: host.id, samples }))
    }
}

/// Reads what the tables have of a host, which is added if it is new.
fn load(
    conn: &Connection,
    name: &HostName,
    names: &mut Names,
    count: &mut Option<u64>,
) -> Result<Option<Host>, Fault> {
    let known = conn
        .prepare_cached("SELECT id FROM metric_hosts WHERE host = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    let id = if let Some(id) = known {
        id
    } else {
        let hosts = match *count {
            Some(hosts) => hosts,
            None => conn.query_row("SELECT count(*) FROM metric_hosts", [], |row| rows::count(row, 0))?,
        };
        if hosts >= crate::store::MAX_HOSTS {
            // Not remembered: hosts are forgotten elsewhere.
            *count = None;
            return Ok(None);
        }
        *count = Some(hosts + 1);
        conn.prepare_cached("INSERT INTO metric_hosts (host) VALUES (?1)")?.execute([name.as_str()])?;
        conn.last_insert_rowid()
    };
    let mut host = Host { id, series: 0, own: Subject::new(), containers: HashMap::new() };
    let mut all = conn.prepare_cached(
        "SELECT container, name, id FROM metric_series WHERE host = ?1 ORDER BY container, name",
    )?;
    let mut all = all.query([id])?;
    while let Some(row) = all.next()? {
        let entry = (names.id(&rows::name(row, 1)?), row.get(2)?);
        host.series += 1;
        match row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)? {
            "" => host.own.push(entry),
            _ => host.containers.entry(rows::name(row, 0)?).or_default().push(entry),
        }
    }
    Ok(Some(host))
}

struct Adding<'a> {
    conn: &'a Connection,
    host: i64,
    series: &'a mut usize,
    time: i64,
    names: &'a mut Names,
    refusals: &'a mut Refusals,
}

impl Adding<'_> {
    /// Both are in the order of names, so one pass over both finds all.
    fn subject(
        &mut self,
        container: &str,
        subject: &mut Subject,
        values: &Values,
        samples: &mut Vec<(i64, f64)>,
    ) -> Result<(), Fault> {
        let mut at = 0;
        for &(ref name, value) in values {
            if value.is_nan() || value.abs() > MAX_VALUE {
                self.refusals.add(Refusal::Value, 1);
                continue;
            }
            while subject.get(at).is_some_and(|(id, _)| self.names.name(*id) < name) {
                at += 1;
            }
            if let Some((id, series)) = subject.get(at)
                && self.names.name(*id) == name
            {
                samples.push((*series, value));
            } else if *self.series >= MAX_SERIES {
                self.refusals.add(Refusal::Series, 1);
            } else {
                let series = self.add(container, name)?;
                subject.insert(at, (self.names.id(name), series));
                samples.push((series, value));
            }
        }
        Ok(())
    }

    fn add(&mut self, container: &str, name: &SeriesName) -> Result<i64, Fault> {
        self.conn
            .prepare_cached(
                "INSERT INTO metric_series (host, container, name, last) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![self.host, container, name.as_str(), self.time])?;
        *self.series += 1;
        Ok(self.conn.last_insert_rowid())
    }
}
