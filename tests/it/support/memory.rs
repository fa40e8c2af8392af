//! Metrics in memory: the plainest statement of what a [`MetricStore`] promises.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use dockhealth::model::{MetricSubject, SeriesName};
use dockhealth::store::{
    HostTick, MetricStore, RangeQuery, SeriesRange, Statistic, StoreError, Subjects, Summarized, Summary,
    SummaryQuery,
};

/// Samples kept of one series; the oldest go first.
const KEPT: usize = 10_000;

type Samples = BTreeMap<i64, f64>;

/// Keeps samples until the test ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<BTreeMap<MetricSubject, BTreeMap<SeriesName, Samples>>>>);

impl MemoryStore {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<MetricSubject, BTreeMap<SeriesName, Samples>>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl MetricStore for MemoryStore {
    async fn write(&self, ticks: Vec<HostTick>) -> Result<(), StoreError> {
        self.with(|subjects| {
            for HostTick { host, tick } in ticks {
                let containers = tick.containers.into_iter().map(|(name, values)| (Some(name), values));
                for (container, values) in std::iter::once((None, tick.host)).chain(containers) {
                    let subject = MetricSubject { host: host.clone(), container };
                    let series = subjects.entry(subject).or_default();
                    for (name, value) in values {
                        let samples = series.entry(name).or_default();
                        samples.insert(tick.time, value);
                        if samples.len() > KEPT {
                            samples.pop_first();
                        }
                    }
                }
            }
        });
        Ok(())
    }

    async fn range(&self, query: RangeQuery) -> Result<SeriesRange, StoreError> {
        let step = i64::from(query.step.max(1));
        let times: Vec<i64> =
            (0..=(query.to - query.from).div_euclid(step)).map(|n| query.from + n * step).collect();
        let asked = |series: &SeriesName| {
            query.names.is_empty()
                || query
                    .names
                    .iter()
                    .any(|name| name == series || (name.part().is_none() && name.metric() == series.metric()))
        };
        let point = |samples: &Samples, t: i64| {
            let of: Vec<f64> = samples.range(t - step + 1..=t).map(|(_, value)| *value).collect();
            match query.statistic {
                _ if of.is_empty() => None,
                Statistic::Mean => Some(of.iter().sum::<f64>() / of.len() as f64),
                Statistic::Max => of.into_iter().reduce(f64::max),
            }
        };
        let series = self.with(|subjects| {
            let of = subjects.get(&query.subject).into_iter().flatten().filter(|(name, _)| asked(name));
            of.map(|(name, samples)| {
                (name.clone(), times.iter().map(|t| point(samples, *t)).collect::<Vec<_>>())
            })
            .filter(|(_, values)| values.iter().any(Option::is_some))
            .collect()
        });
        Ok(SeriesRange { times, series })
    }

    async fn summarize(&self, query: SummaryQuery) -> Result<Vec<Summarized>, StoreError> {
        let summary = |samples: &Samples| {
            let of: Vec<f64> = samples.range(query.from + 1..=query.to).map(|(_, value)| *value).collect();
            Some(Summary {
                mean: of.iter().sum::<f64>() / of.len() as f64,
                max: of.iter().copied().reduce(f64::max)?,
                last: of.last().copied()?,
            })
        };
        let wanted = |subject: &MetricSubject| match &query.subjects {
            Subjects::Hosts => subject.container.is_none(),
            Subjects::Containers => subject.container.is_some(),
            Subjects::ContainersOf(host) => subject.container.is_some() && subject.host == *host,
        };
        Ok(self.with(|subjects| {
            let series =
                subjects.iter().filter(|(subject, _)| wanted(subject)).flat_map(|(subject, series)| {
                    let named = query.names.iter().filter_map(|name| series.get_key_value(name));
                    named.map(move |(name, samples)| (subject, name, samples))
                });
            let summarized = series.filter_map(|(subject, name, samples)| {
                let summary = summary(samples)?;
                Some(Summarized { subject: subject.clone(), name: name.clone(), summary })
            });
            summarized.collect()
        }))
    }
}
