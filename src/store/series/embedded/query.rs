//! What is asked of the stored samples. Each question sees one state of the database.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{CachedStatement, Connection, OptionalExtension, Result, params};

use super::chunk::{self, Minute, Sample, block_of, hour_of};
use super::{LOW_BITS, chunk_key, head, head_key, head_of};
use crate::model::{HostName, MetricSubject, SeriesName};
use crate::store::error::Fault;
use crate::store::rows;
use crate::store::series::{
    MAX_POINTS, RangeQuery, SeriesRange, Statistic, Subjects, Summarized, Summary, SummaryQuery,
};

/// Values that one answer may have.
const MAX_VALUES: usize = 2_000_000;

/// Moments later than the first, up to and including the second, unix seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) after: i64,
    pub(super) upto: i64,
}

impl Span {
    fn has(self, time: i64) -> bool {
        time > self.after && time <= self.upto
    }
}

/// The samples of one subject.
pub(super) fn range(conn: &mut Connection, query: &RangeQuery) -> Result<SeriesRange, Fault> {
    let step = i64::from(query.step);
    let points = (step > 0 && query.to >= query.from).then(|| query.to.saturating_sub(query.from) / step + 1);
    let points =
        points.and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= MAX_POINTS).ok_or_else(|| {
            Fault::Refused(format!(
                "from {} to {} every {} s: a range has at least 1 and at most {MAX_POINTS} points",
                query.from, query.to, query.step
            ))
        })?;
    let tx = conn.transaction()?;
    let mut answer = SeriesRange {
        times: (0..).take(points).map(|n| query.from + n * step).collect(),
        series: BTreeMap::new(),
    };
    let Some(host) = host_id(&tx, &query.subject.host)? else { return Ok(answer) };
    let names = names_of(&tx, host, query)?;
    if names.len() * points > MAX_VALUES {
        return Err(Fault::Refused(format!(
            "{} series of {points} points are too many at once: name fewer series, or ask for a longer step",
            names.len()
        )));
    }
    let ids: Vec<i64> = names.keys().copied().collect();
    let span = Span { after: query.from - step, upto: query.from + (query.to - query.from) / step * step };
    let point = |time: i64| {
        usize::try_from((time - query.from + step - 1).div_euclid(step)).ok().filter(|n| *n < points)
    };
    each_series(&tx, host, &ids, span, |id, samples, minutes| {
        let mut buckets = vec![Bucket::default(); points];
        let mut add = |time: i64, value: f64, max: f64, count: u32| {
            if let Some(bucket) = point(time).and_then(|n| buckets.get_mut(n)) {
                bucket.add(value, max, count);
            }
        };
        for (time, value) in samples {
            add(*time, *value, *value, 1);
        }
        for minute in minutes {
            let first = minute.end - 59;
            if span.has(first) && span.has(minute.end) && point(first) == point(minute.end) {
                add(minute.end, minute.mean, minute.max, minute.count());
            } else {
                let times = minute.times().filter(|time| span.has(*time));
                times.for_each(|time| add(time, minute.mean, minute.max, 1));
            }
        }
        if buckets.iter().any(|bucket| bucket.count > 0) {
            let values = buckets.iter().map(|bucket| bucket.value(query.statistic)).collect();
            answer.series.insert(names[&id].clone(), values);
        }
    })?;
    Ok(answer)
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    sum: f64,
    max: f64,
    count: u32,
}

impl Bucket {
    fn add(&mut self, mean: f64, max: f64, count: u32) {
        self.max = if self.count == 0 { max } else { self.max.max(max) };
        self.sum += mean * f64::from(count);
        self.count += count;
    }

    fn mean(&self) -> f64 {
        self.sum / f64::from(self.count)
    }

    fn value(&self, statistic: Statistic) -> Option<f64> {
        (self.count > 0).then(|| match statistic {
            Statistic::Mean => self.mean(),
            Statistic::Max => self.max,
        })
    }
}

fn host_id(conn: &Connection, host: &HostName) -> Result<Option<i64>> {
    conn.prepare_cached("SELECT id FROM metric_hosts WHERE host = ?1")?
        .query_row([host.as_str()], |row| row.get(0))
        .optional()
}

/// The series a query asks for, by number.
fn names_of(conn: &Connection, host: i64, query: &RangeQuery) -> Result<BTreeMap<i64, SeriesName>> {
    let container = query.subject.container.as_ref().map_or("", |name| name.as_str());
    let wanted = |name: &SeriesName| {
        let named = |wanted: &SeriesName| wanted == name || wanted.as_str() == name.metric();
        query.names.is_empty() || query.names.iter().any(named)
    };
    let mut all =
        conn.prepare_cached("SELECT id, name FROM metric_series WHERE host = ?1 AND container = ?2")?;
    let all = all.query_map(params![host, container], |row| Ok((row.get(0)?, rows::name(row, 1)?)))?;
    all.filter(|entry| entry.as_ref().map_or(true, |(_, name)| wanted(name))).collect()
}

/// What series of many subjects were.
pub(super) fn summarize(conn: &mut Connection, query: &SummaryQuery) -> Result<Vec<Summarized>, Fault> {
    let tx = conn.transaction()?;
    let span = Span { after: query.from, upto: query.to };
    let mut found = Vec::new();
    for (id, host) in hosts_of(&tx, &query.subjects)? {
        let mut series = subjects_of(&tx, (id, &host), query)?;
        let ids: Vec<i64> = series.keys().copied().collect();
        each_series(&tx, id, &ids, span, |id, samples, minutes| {
            if let Some(summary) = summary(span, samples, minutes)
                && let Some((subject, name)) = series.remove(&id)
            {
                found.push(Summarized { subject, name, summary });
            }
        })?;
    }
    found.sort_by(|a, b| (&a.subject, &a.name).cmp(&(&b.subject, &b.name)));
    Ok(found)
}

fn hosts_of(conn: &Connection, subjects: &Subjects) -> Result<Vec<(i64, HostName)>> {
    let one = match subjects {
        Subjects::ContainersOf(host) => Some(host.as_str()),
        Subjects::Hosts | Subjects::Containers => None,
    };
    let mut hosts =
        conn.prepare_cached("SELECT id, host FROM metric_hosts WHERE host = coalesce(?1, host)")?;
    hosts.query_map([one], |row| Ok((row.get(0)?, rows::name(row, 1)?)))?.collect()
}

/// The series of a host that a summary asks for, by number.
fn subjects_of(
    conn: &Connection,
    (id, host): (i64, &HostName),
    query: &SummaryQuery,
) -> Result<BTreeMap<i64, (MetricSubject, SeriesName)>> {
    let subjects = match query.subjects {
        Subjects::Hosts => "container = ''",
        Subjects::Containers | Subjects::ContainersOf(_) => "container > ''",
    };
    let mut all = conn.prepare_cached(&format!(
        "SELECT id, container FROM metric_series WHERE host = ?1 AND {subjects} AND name = ?2"
    ))?;
    let mut found = BTreeMap::new();
    for name in &query.names {
        let mut all = all.query(params![id, name.as_str()])?;
        while let Some(row) = all.next()? {
            let container = match query.subjects {
                Subjects::Hosts => None,
                Subjects::Containers | Subjects::ContainersOf(_) => Some(rows::name(row, 1)?),
            };
            let subject = MetricSubject { host: host.clone(), container };
            found.insert(row.get(0)?, (subject, name.clone()));
        }
    }
    Ok(found)
}

fn summary(span: Span, samples: &[Sample], minutes: &[Minute]) -> Option<Summary> {
    let mut all = Bucket::default();
    let mut last = (i64::MIN, 0.0);
    for minute in minutes {
        let mut times = minute.times().filter(|time| span.has(*time)).peekable();
        let Some(mut latest) = times.peek().copied() else { continue };
        let mut count = 0;
        for time in times {
            (latest, count) = (time, count + 1);
        }
        all.add(minute.mean, minute.max, count);
        last = (latest, minute.mean);
    }
    for (time, value) in samples {
        all.add(*value, *value, 1);
        if *time > last.0 {
            last = (*time, *value);
        }
    }
    (all.count > 0).then(|| Summary { mean: all.mean(), max: all.max, last: last.1 })
}

/// Calls `found` for each series with all its samples in `span`, each once, both kinds in order. Minutes may reach beyond
/// the span.
pub(super) fn each_series(
    conn: &Connection,
    host: i64,
    ids: &[i64],
    span: Span,
    mut found: impl FnMut(i64, &[Sample], &[Minute]),
) -> Result<(), Fault> {
    let span = Span { after: span.after.max(0), upto: span.upto.min((1 << LOW_BITS) - 1) };
    if ids.is_empty() || span.upto <= span.after {
        return Ok(());
    }
    let mut waiting = waiting(conn, host, ids, span)?;
    let (hours, mut raw) = chunks(conn, "metric_raw", span, hour_of)?;
    let (blocks, mut by_minute) = chunks(conn, "metric_minutes", span, block_of)?;
    for &id in ids {
        let mut minutes = Vec::new();
        for &block in &blocks {
            if let Some(body) = body(&mut by_minute, chunk_key(block, id))? {
                let block = chunk::decode_minutes(block, &body).ok_or_else(|| damaged("metric_minutes"))?;
                minutes.extend(block.into_iter().filter(|m| m.end > span.after && m.end - 59 <= span.upto));
            }
        }
        let mut samples = Vec::new();
        for &hour in &hours {
            if let Some(body) = body(&mut raw, chunk_key(hour, id))? {
                let hour = chunk::decode_raw(hour, &body).ok_or_else(|| damaged("metric_raw"))?;
                samples.extend(hour.into_iter().filter(|(time, _)| span.has(*time)));
            }
        }
        if let Some(more) = waiting.remove(&id) {
            samples = chunk::merge(samples, &more);
        }
        if !minutes.is_empty() {
            let known = |time: i64| {
                let at = minutes.partition_point(|minute| minute.end < time);
                minutes.get(at).is_some_and(|minute| minute.has(time))
            };
            samples.retain(|(time, _)| !known(*time));
        }
        if !samples.is_empty() || !minutes.is_empty() {
            found(id, &samples, &minutes);
        }
    }
    Ok(())
}

/// The samples that are not compacted yet.
fn waiting(
    conn: &Connection,
    host: i64,
    ids: &[i64],
    span: Span,
) -> Result<HashMap<i64, Vec<Sample>>, Fault> {
    let mut waiting: HashMap<i64, Vec<Sample>> = HashMap::new();
    let mut head =
        conn.prepare_cached("SELECT key, body FROM metric_head WHERE key > ?1 AND key <= ?2 ORDER BY key")?;
    let mut head = head.query([head_key(host, span.after), head_key(host, span.upto)])?;
    while let Some(row) = head.next()? {
        let (_, time) = head_of(row.get(0)?);
        let body = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        head::find(body, ids, |id, value| waiting.entry(id).or_default().push((time, value)))
            .ok_or_else(|| damaged("metric_head"))?;
    }
    Ok(waiting)
}

/// Which chunks of `table` there may be in a span, and what reads one.
fn chunks<'c>(
    conn: &'c Connection,
    table: &str,
    span: Span,
    chunk_of: fn(i64) -> i64,
) -> Result<(Vec<i64>, CachedStatement<'c>)> {
    let (first, last) = (chunk_of(span.after + 1), chunk_of(span.upto));
    let there = spans_of(conn, table, first, last)?;
    Ok((there, conn.prepare_cached(&format!("SELECT body FROM {table} WHERE key = ?1"))?))
}

/// The hours or blocks, from `first` to `last`, that `table` has chunks of.
pub(super) fn spans_of(conn: &Connection, table: &str, first: i64, last: i64) -> Result<Vec<i64>> {
    let mut next =
        conn.prepare_cached(&format!("SELECT key FROM {table} WHERE key >= ?1 ORDER BY key LIMIT 1"))?;
    let mut there = Vec::new();
    let mut at = first;
    while let Some(key) = next.query_row([chunk_key(at, 0)], |row| row.get::<_, i64>(0)).optional()? {
        let span = key >> LOW_BITS;
        if span > last {
            break;
        }
        there.push(span);
        at = span + 1;
    }
    Ok(there)
}

fn body(statement: &mut CachedStatement<'_>, key: i64) -> Result<Option<Vec<u8>>> {
    statement.query_row([key], |row| row.get(0)).optional()
}

pub(super) fn damaged(table: &str) -> Fault {
    Fault::Damaged(format!("a row of {table} cannot be read"))
}
