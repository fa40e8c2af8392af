//! What samples of many containers come to over a span: by container and series. Pure.

use std::collections::BTreeMap;

use super::spread::{Gather, MeanMax};
use super::usage::ContainerSample;
use crate::model::{ContainerId, ContainerName, SeriesName};

/// Containers that are counted at most; samples of further ones are passed over and counted.
const MOST_CONTAINERS: usize = 10_000;

/// The values of a span. A container made anew under its name goes on as the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally<T> {
    containers: BTreeMap<ContainerName, Tallied<T>>,
    samples: u64,
    passed_over: u64,
}

/// One container's values of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Tallied<T> {
    /// Its id, as last seen.
    pub id: ContainerId,
    /// Its image, as last seen.
    pub image: String,
    /// Its compose project, as last seen.
    pub project: Option<String>,
    /// Its compose service, as last seen.
    pub service: Option<String>,
    /// What was gathered of each series.
    pub series: BTreeMap<SeriesName, T>,
}

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self { containers: BTreeMap::new(), samples: 0, passed_over: 0 }
    }
}

impl<T: Gather> Tally<T> {
    /// Takes one sample of all containers; only the series that `wanted` says yes to count.
    pub fn add(&mut self, sample: &[ContainerSample], wanted: impl Fn(&SeriesName) -> bool) {
        self.samples += 1;
        for of in sample {
            if self.containers.len() >= MOST_CONTAINERS && !self.containers.contains_key(&of.name) {
                self.passed_over += 1;
                continue;
            }
            let tallied = self.containers.entry(of.name.clone()).or_insert_with(|| Tallied {
                id: of.id.clone(),
                image: String::new(),
                project: None,
                service: None,
                series: BTreeMap::new(),
            });
            tallied.id.clone_from(&of.id);
            tallied.image.clone_from(&of.image);
            tallied.project.clone_from(&of.project);
            tallied.service.clone_from(&of.service);
            for (name, value) in of.values.iter().filter(|(name, _)| wanted(name)) {
                tallied.series.entry(name.clone()).or_default().add(*value);
            }
        }
    }

    /// How many samples were taken in.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// How many samples of single containers were passed over, because there were too many containers.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// What was gathered, by container.
    pub fn containers(&self) -> &BTreeMap<ContainerName, Tallied<T>> {
        &self.containers
    }
}

impl Tally<MeanMax> {
    /// The mean of each series, as one sample.
    pub fn means(&self) -> Vec<ContainerSample> {
        let mean = |(name, gathered): (&SeriesName, &MeanMax)| Some((name.clone(), gathered.mean()?));
        let sample = |(name, of): (&ContainerName, &Tallied<MeanMax>)| ContainerSample {
            name: name.clone(),
            id: of.id.clone(),
            image: of.image.clone(),
            project: of.project.clone(),
            service: of.service.clone(),
            values: of.series.iter().filter_map(mean).collect(),
        };
        self.containers.iter().map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::sample;
    use super::*;

    #[test]
    fn what_is_absent_counts_as_nothing_and_a_successor_goes_on() {
        let mut tally = Tally::<MeanMax>::default();
        tally.add(&[sample("web", "aaaaaaaaaaaa", &[("pids", 1.0), ("cpu_percent", 9.0)])], |_| true);
        tally.add(&[sample("web", "bbbbbbbbbbbb", &[("pids", 3.0)])], |_| true);
        tally.add(&[], |_| true);
        let web = &tally.containers()[&ContainerName::new("web").unwrap()];
        let of = |name: &'static str| web.series[&SeriesName::of(name)];
        assert_eq!((of("pids").mean(), of("cpu_percent").mean()), (Some(2.0), Some(9.0)));
        assert_eq!((web.id.as_str(), tally.samples()), ("bbbbbbbbbbbb", 3));
        let mean = sample("web", "bbbbbbbbbbbb", &[("pids", 2.0), ("cpu_percent", 9.0)]);
        assert_eq!(tally.means(), [mean]);
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_not_of_too_many() {
        let mut tally = Tally::<MeanMax>::default();
        let one = |n: usize| sample(&format!("c{n}"), "aaaaaaaaaaaa", &[("pids", 1.0), ("cpu_percent", 9.0)]);
        let all: Vec<ContainerSample> = (0..MOST_CONTAINERS + 5).map(one).collect();
        tally.add(&all, |name| name.as_str() == "pids");
        assert_eq!((tally.containers().len(), tally.passed_over()), (MOST_CONTAINERS, 5));
        assert!(tally.containers().values().all(|of| of.series.len() == 1));
    }
}
