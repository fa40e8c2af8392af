//! Which containers are measured: those chosen, as the engine's events tell that they come and go.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};

use super::super::Failure;
use super::super::output::note;
use super::super::settings::nearest;
use crate::docker::{ContainerSource, EngineError, EngineEvent};
use crate::model::{ContainerFacts, NamePattern, RunState, clean};

/// How often all are listed, whatever the events say.
const LIST_EVERY: Duration = Duration::from_mins(1);

/// A label that a container must have: `key`, or `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LabelFilter {
    key: String,
    value: Option<String>,
}

impl FromStr for LabelFilter {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
        if key.is_empty() {
            return Err(format!("{:?} names no label: give key or key=value", clean(text, 60)));
        }
        Ok(Self { key: key.to_owned(), value: value.map(str::to_owned) })
    }
}

impl fmt::Display for LabelFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

/// What was asked for. Of several kinds, each must say yes; of several names or patterns, one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Selection {
    pub(super) names: Vec<NamePattern>,
    pub(super) labels: Vec<LabelFilter>,
    pub(super) project: Option<String>,
}

impl Selection {
    /// Those of `all` that are chosen, by name. One that is named without wildcards counts in any state, others while they
    /// run.
    fn choose(&self, all: &[ContainerFacts]) -> Vec<ContainerFacts> {
        let mut chosen: Vec<ContainerFacts> = all.iter().filter(|facts| self.takes(facts)).cloned().collect();
        chosen.sort_by(|a, b| a.name.cmp(&b.name));
        chosen
    }

    fn takes(&self, facts: &ContainerFacts) -> bool {
        let runs = matches!(facts.state, RunState::Running | RunState::Paused);
        let named = if self.names.is_empty() {
            runs
        } else {
            self.names.iter().any(|name| (runs || name.is_plain()) && name.matches(&facts.name))
        };
        let labelled = self.labels.iter().all(|label| {
            let found = facts.labels.get(&label.key);
            found.is_some_and(|found| label.value.as_ref().is_none_or(|value| value == found))
        });
        named && labelled && self.project.as_deref().is_none_or(|project| facts.project() == Some(project))
    }

    /// What was asked for and is not there, if that is so.
    fn missing(&self, all: &[ContainerFacts]) -> Option<String> {
        let plain = self.names.iter().filter(|name| name.is_plain());
        for name in plain {
            if !all.iter().any(|facts| name.matches(&facts.name)) {
                let names: BTreeSet<&str> = all.iter().map(|facts| facts.name.as_str()).collect();
                let meant = nearest(&name.to_string(), names);
                let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
                return Some(format!("there is no container {name} on this machine{hint}"));
            }
        }
        let asked_for_nothing = *self == Self::default();
        (!asked_for_nothing && !all.iter().any(|facts| self.takes(facts)))
            .then(|| format!("no running container is chosen by {self}"))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names.iter().map(|name| format!("the name {name}"));
        let labels = self.labels.iter().map(|label| format!("the label {}", clean(&label.to_string(), 80)));
        let project = self.project.iter().map(|project| format!("the project {}", clean(project, 80)));
        f.write_str(&names.chain(labels).chain(project).collect::<Vec<_>>().join(", "))
    }
}

type Events = BoxStream<'static, Result<EngineEvent, EngineError>>;

/// The chosen containers over time. They are listed anew when an event tells of a change, and once a minute.
pub(super) struct Watch<S> {
    source: S,
    selection: Selection,
    events: Option<Events>,
    /// All of the machine, as last listed.
    pub(super) all: Vec<ContainerFacts>,
    /// Those of them that are chosen.
    pub(super) chosen: Vec<ContainerFacts>,
    listed: Instant,
    /// It was said that the engine does not answer.
    silent: bool,
}

impl<S: ContainerSource> Watch<S> {
    /// Lists them for the first time; an error where what was named is not there.
    pub(super) async fn start(source: S, selection: Selection) -> Result<Self, Failure> {
        // Subscribed before they are listed, so that no change falls in between.
        let events = source.events(None).await?;
        let all = source.list().await?;
        if let Some(missing) = selection.missing(&all) {
            return Err(Failure::NotFound(missing));
        }
        let chosen = selection.choose(&all);
        let (events, listed) = (Some(events), Instant::now());
        Ok(Self { source, selection, events, all, chosen, listed, silent: false })
    }

    /// Brings them up to date. While the engine does not answer, those known are told on.
    pub(super) async fn refresh(&mut self) {
        if !self.has_changed() && self.listed.elapsed() < LIST_EVERY {
            return;
        }
        match self.list().await {
            Ok(()) => self.silent = false,
            Err(error) if !self.silent => {
                self.silent = true;
                note(&format!("{error}; measuring on what ran before"));
            }
            Err(_) => {}
        }
    }

    /// Whether anything was told since the last time.
    fn has_changed(&mut self) -> bool {
        let Some(events) = &mut self.events else { return true };
        let mut changed = false;
        loop {
            match events.next().now_or_never() {
                None => return changed,
                Some(Some(Ok(_))) => changed = true,
                Some(Some(Err(_)) | None) => {
                    self.events = None;
                    return true;
                }
            }
        }
    }

    async fn list(&mut self) -> Result<(), EngineError> {
        if self.events.is_none() {
            self.events = Some(self.source.events(None).await?);
        }
        self.all = self.source.list().await?;
        self.chosen = self.selection.choose(&self.all);
        self.listed = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
