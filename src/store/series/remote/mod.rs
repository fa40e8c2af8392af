//! Metrics on a server that speaks Prometheus' protocols: remote write in, `PromQL` out. For fleets that outgrow the
//! embedded store; several controllers may share one.
//!
//! A sample of a container's `cpu_percent` is there as `dockhealth_cpu_percent{host="…",container="…"}`; a host's own
//! series have no `container`, the part of a series is its label `part`. Samples come late after an outage, so the
//! server must take them out of order (`docs/operations.md` says how).

mod answer;
mod promql;
mod server;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{
    HostTick, MetricStore, RangeQuery, SeriesRange, Statistic, Subjects, Summarized, Summary, SummaryQuery,
};
use crate::store::StoreError;
use server::{Fault, Server};

pub use server::{RemoteOptions, StoreCredentials};

/// Requests under way at once; further ones wait.
const AT_ONCE: usize = 8;
/// Samples in one request, unless a single tick has more.
const SAMPLES: usize = 10_000;
/// Requests that one write may take to find out which of its ticks are refused; what is not told apart by then is
/// refused together.
const HALVINGS: usize = 64;
/// How long one write may take in all: an agent waits 10 s for its acknowledgement.
const WRITE_WITHIN: Duration = Duration::from_secs(8);

/// A metrics server. Clones share its connections.
#[derive(Clone)]
pub struct RemoteStore {
    server: Arc<Server>,
    permits: Arc<Semaphore>,
}

impl RemoteStore {
    /// Prepares to speak to a server; nothing is sent yet. Fails when the options hold no certificate where they should.
    pub fn new(options: RemoteOptions) -> Result<Self, String> {
        let (server, permits) = (Arc::new(Server::new(options)?), Arc::new(Semaphore::new(AT_ONCE)));
        Ok(Self { server, permits })
    }

    /// Runs `job`, which blocks, on a thread for such.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Server) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.permits.clone().acquire_owned().await.expect("it is never closed");
        let server = self.server.clone();
        let job = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            job(&server)
        });
        // It fails where the job panicked, which is in the log, or where the program ends.
        job.await.unwrap_or_else(|failed| Err(self.server.error(Fault::Away(failed.to_string()))))
    }
}

#[async_trait]
impl MetricStore for RemoteStore {
    async fn write(&self, mut ticks: Vec<HostTick>) -> Result<(), StoreError> {
        ticks.sort_by(|a, b| (a.tick.time, &a.host).cmp(&(b.tick.time, &b.host)));
        self.run(move |server| {
            let until = Instant::now() + WRITE_WITHIN;
            let send = |part: &[HostTick]| match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => Err(Fault::Away("is too slow".into())),
                left => server.write(part, left),
            };
            match write_all(&ticks, send) {
                Ok(Outcome { refused: 0, .. }) => Ok(()),
                Ok(Outcome { refused, words }) => {
                    let all: usize = ticks.iter().map(samples).sum();
                    Err(server.error(Fault::Refused(format!("{words} ({refused} of {all} samples)"))))
                }
                Err(fault) => Err(server.error(fault)),
            }
        })
        .await
    }

    async fn range(&self, query: RangeQuery) -> Result<SeriesRange, StoreError> {
        let step = i64::from(query.step.max(1));
        let steps = std::iter::successors(Some(query.from), |time| time.checked_add(step));
        let times: Vec<i64> = steps.take_while(|time| *time <= query.to).take(super::MAX_POINTS).collect();
        let (Some(first), Some(last)) = (times.first().copied(), times.last().copied()) else {
            return Ok(SeriesRange::default());
        };
        let mut range = SeriesRange { times, series: BTreeMap::new() };
        self.run(move |server| {
            let shifted = |time: i64| time.saturating_sub(promql::SHIFT).to_string();
            let names = if query.names.is_empty() {
                let fields = [
                    ("match[]", promql::all_of(&query.subject)),
                    ("start", first.saturating_sub(step).to_string()),
                    ("end", last.to_string()),
                ];
                let body =
                    server.look_up("label/__name__/values", &fields).map_err(|fault| server.error(fault))?;
                answer::names(&body).map_err(|why| server.unreadable(&why))?
            } else {
                query.names.clone()
            };
            for text in promql::range(&query, &names) {
                let fields = [
                    ("query", text),
                    ("start", shifted(first)),
                    ("end", shifted(last)),
                    ("step", step.to_string()),
                    no_cache(),
                ];
                let body = server.ask("query_range", &fields).map_err(|fault| server.error(fault))?;
                answer::add_range(&body, promql::SHIFT, &mut range).map_err(|why| server.unreadable(&why))?;
            }
            Ok(range)
        })
        .await
    }

    async fn summarize(&self, query: SummaryQuery) -> Result<Vec<Summarized>, StoreError> {
        let SummaryQuery { subjects, names, from, to } = query;
        if to <= from {
            return Ok(Vec::new());
        }
        self.run(move |server| {
            let mut found = Vec::new();
            for name in names {
                let text = promql::summary(&subjects, &name, to.saturating_sub(from));
                let time = to.saturating_sub(promql::SHIFT).to_string();
                let fields = [("query", text), ("time", time), no_cache()];
                let body = server.ask("query", &fields).map_err(|fault| server.error(fault))?;
                let all = answer::summaries(&body).map_err(|why| server.unreadable(&why))?;
                let of = |(subject, summary)| Summarized { subject, name: name.clone(), summary };
                found.extend(all.into_iter().map(of));
            }
            Ok(found)
        })
        .await
    }
}

/// VictoriaMetrics would answer from a cache that knows nothing of late samples; others pass the word over.
fn no_cache() -> (&'static str, String) {
    ("nocache", "1".to_owned())
}

fn samples(tick: &HostTick) -> usize {
    tick.tick.samples()
}

/// What came of a write that reached the server.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Samples that were refused.
    refused: usize,
    /// Why, in the server's words; those of the last refusal.
    words: String,
}

/// Sends `ticks`, the older first, by requests of bounded size. Some servers drop a whole request for one sample they do
/// not take, so what is refused is halved until the refusal is down to single ticks. Ends at the first request that
/// does not get through.
fn write_all(
    ticks: &[HostTick],
    mut send: impl FnMut(&[HostTick]) -> Result<(), Fault>,
) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::default();
    let mut halvings = 0;
    let mut waiting = vec![ticks];
    while let Some(part) = waiting.pop() {
        let (older, newer) = part.split_at(part.len() / 2);
        let count: usize = part.iter().map(samples).sum();
        if count == 0 {
            continue;
        }
        if count > SAMPLES && !older.is_empty() {
            waiting.extend([newer, older]);
            continue;
        }
        match send(part) {
            Ok(()) => {}
            Err(Fault::Refused(_)) if !older.is_empty() && halvings < HALVINGS => {
                halvings += 1;
                waiting.extend([newer, older]);
            }
            Err(Fault::Refused(words)) => {
                outcome.refused += count;
                outcome.words = words;
            }
            Err(away) => return Err(away),
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MetricTick, SeriesName};

    fn ticks(count: i64, samples_each: usize) -> Vec<HostTick> {
        let name = |n: usize| SeriesName::part_of("disk_read_bytes_per_second", &n.to_string()).unwrap();
        let host = (0..samples_each).map(|n| (name(n), 1.0)).collect();
        let tick = |time| MetricTick { time, step: 10, host, ..MetricTick::default() };
        let tick = &tick(0);
        let at = |time| HostTick { host: "h".parse().unwrap(), tick: MetricTick { time, ..tick.clone() } };
        (0..count).map(at).collect()
    }

    fn times(part: &[HostTick]) -> Vec<i64> {
        part.iter().map(|tick| tick.tick.time).collect()
    }

    /// A server that refuses whole requests in which one of `bad` is.
    fn picky(
        stored: &mut Vec<i64>,
        requests: &mut usize,
        bad: &[i64],
        part: &[HostTick],
    ) -> Result<(), Fault> {
        *requests += 1;
        if times(part).iter().any(|time| bad.contains(time)) {
            return Err(Fault::Refused("too old".into()));
        }
        stored.extend(times(part));
        Ok(())
    }

    #[test]
    fn only_what_is_refused_is_lost_and_the_order_is_that_of_time() {
        let (mut stored, mut requests) = (Vec::new(), 0);
        let outcome =
            write_all(&ticks(100, 2), |part| picky(&mut stored, &mut requests, &[3, 70], part)).unwrap();
        assert_eq!(outcome, Outcome { refused: 4, words: "too old".into() });
        assert_eq!(stored, (0..100).filter(|time| ![3, 70].contains(time)).collect::<Vec<_>>());
        assert!(requests < 40, "{requests}");
    }

    #[test]
    fn a_server_that_refuses_everything_is_not_asked_for_ever() {
        let (mut stored, mut requests) = (Vec::new(), 0);
        let all: Vec<i64> = (0..5_000).collect();
        let outcome =
            write_all(&ticks(5_000, 1), |part| picky(&mut stored, &mut requests, &all, part)).unwrap();
        assert_eq!((outcome.refused, stored.len()), (5_000, 0));
        assert!(requests <= 2 * HALVINGS + 1, "{requests}");
    }

    #[test]
    fn requests_are_of_bounded_size() {
        let mut sizes = Vec::new();
        let outcome = write_all(&ticks(50, 900), |part| {
            sizes.push(part.iter().map(samples).sum::<usize>());
            Ok(())
        });
        assert_eq!(outcome.unwrap(), Outcome::default());
        assert!(
            sizes.iter().all(|size| *size <= SAMPLES) && sizes.iter().sum::<usize>() == 45_000,
            "{sizes:?}"
        );
    }

    #[test]
    fn a_server_that_goes_away_ends_it_at_once() {
        let mut requests = 0;
        let outcome = write_all(&ticks(3, SAMPLES), |_| {
            requests += 1;
            if requests == 2 { Err(Fault::Away("gone".into())) } else { Ok(()) }
        });
        assert_eq!((outcome.unwrap_err(), requests), (Fault::Away("gone".into()), 2));
    }
}
