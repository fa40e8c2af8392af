//! What was measured of one container at one moment.

use crate::model::{ContainerFacts, ContainerId, ContainerName, SeriesName, Values};

/// One container in a sample. What could not be read is absent, never zero.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSample {
    /// Its name.
    pub name: ContainerName,
    /// Its full id.
    pub id: ContainerId,
    /// Its image as written at creation.
    pub image: String,
    /// Its compose project; hostile text.
    pub project: Option<String>,
    /// Its compose service; hostile text.
    pub service: Option<String>,
    /// By series of the catalogue. Rates are unknown in its first sample, and in the first after a restart.
    pub values: Values,
}

impl ContainerSample {
    pub(super) fn new(facts: &ContainerFacts, values: Values) -> Self {
        Self {
            name: facts.name.clone(),
            id: facts.id.clone(),
            image: facts.image.clone(),
            project: facts.project().map(str::to_owned),
            service: facts.service().map(str::to_owned),
            values,
        }
    }

    /// The value of a metric of the catalogue.
    pub fn value(&self, metric: &'static str) -> Option<f64> {
        self.values.get(&SeriesName::of(metric))
    }
}
