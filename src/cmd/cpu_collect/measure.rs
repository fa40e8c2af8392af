//! Measuring until the span is over or somebody says stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::super::Failure;
use super::super::output::note;
use super::columns::{Columns, Sort};
use super::listen::{Board, Question, listen};
use super::page::Format;
use super::receive::{Minute, Pages, Receivers, Recording};
use super::select::Watch;
use crate::docker::{ContainerSource, Engine, EngineInfo};
use crate::metrics::{
    ContainerSample, Machine, Overwrite, RecordingHeader, Tally, UsageSampler, host_identity,
};
use crate::model::{HostIdentity, HostName, Timestamp, clean};

/// Nobody waits longer for a first page.
const FIRST_PAGE: Duration = Duration::from_secs(1);

/// When samples are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// One sample and no more.
    pub(super) once: bool,
    /// Between two.
    pub(super) interval: Duration,
    /// For how long; `None`: until told to stop.
    pub(super) span: Option<Duration>,
    /// Whether a page is what a minute came to.
    pub(super) per_minute: bool,
}

impl Plan {
    /// Between two samples, and how many there are. A span is parted into equal pieces of about the interval.
    fn steps(&self) -> (Duration, Option<u32>) {
        match self.span {
            _ if self.once => (self.interval, Some(1)),
            None => (self.interval, None),
            Some(span) => {
                let pieces = (span.as_secs_f64() / self.interval.as_secs_f64()).round().max(1.0);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "at most 30 days of 100 ms"
                )]
                let pieces = pieces as u32;
                (span / pieces, Some(pieces))
            }
        }
    }
}

/// What is to be measured, and who gets it.
pub(super) struct Measuring {
    pub(super) plan: Plan,
    pub(super) format: Format,
    /// `None`: the usual ones of whoever gets the samples.
    pub(super) columns: Option<Columns>,
    pub(super) sort: Sort,
    pub(super) output: Option<(PathBuf, Overwrite)>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) allowed_hosts: Vec<String>,
    /// Instead of the engine's own name.
    pub(super) hostname: Option<HostName>,
}

impl Measuring {
    /// Measures the containers of `watch`.
    pub(super) async fn run(
        self,
        engine: &Engine,
        watch: Watch<Engine>,
        shutdown: &CancellationToken,
    ) -> Result<(), Failure> {
        let info = engine.info().await?;
        let host = self.hostname.as_ref().map_or_else(|| clean(&info.name, 253), ToString::to_string);
        let local = engine.address().is_local();
        let machine = if local { Machine::Here(PathBuf::from("/")) } else { Machine::Elsewhere };
        let (step, count) = self.plan.steps();
        let (columns, all) = (self.columns.clone(), self.columns.clone().unwrap_or_else(Columns::all));
        let begun = Timestamp::now();
        let (board, questions) = match self.listen {
            None => (None, None),
            Some(address) => {
                let (questions, bound) =
                    listen(address, self.allowed_hosts.clone(), shutdown.clone()).await?;
                note(&format!("listening on http://{bound}/ and http://{bound}/metrics; Ctrl-C ends"));
                (Some(Board::new(host.clone(), all.clone(), begun)), Some(questions))
            }
        };
        let recorder = match &self.output {
            None => None,
            Some((path, overwrite)) => {
                let card = identity(&machine, info);
                let step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX);
                let header = RecordingHeader::new(&host, &card, step_ms, begun);
                Some(Recording::begin(path, *overwrite, header)?)
            }
        };
        let usual = match self.format {
            Format::Prom => all.clone(),
            _ => Columns::parse("cpu,memory").expect("these are columns"),
        };
        let shown = columns.unwrap_or(usual);
        let paged = self.listen.is_none() && (self.plan.per_minute || self.plan.span.is_none());
        let receivers = Receivers {
            host,
            step,
            begun,
            pages: paged.then(|| Pages::new(&self.plan)),
            minute: self.plan.per_minute.then(Minute::default),
            span: self.plan.span.map(|_| Tally::default()),
            recorder,
            board,
            shown,
            all,
            format: self.format,
            sort: self.sort,
        };
        let sampler = UsageSampler::new(&machine, Some(Arc::new(engine.clone())));
        // A first page comes soon where nothing is made of how long each sample is.
        let soon = paged && !self.plan.once && !self.plan.per_minute && receivers.recorder.is_none();
        let first = if soon { step.min(FIRST_PAGE) } else { step };
        let run = Run { watch, sampler, receivers, questions };
        run.through(Steps { first, step, count }, shutdown).await
    }
}

/// The machine's card; what no file tells here, the engine may.
fn identity(machine: &Machine, info: EngineInfo) -> HostIdentity {
    let card = match machine {
        Machine::Here(root) => host_identity(root),
        Machine::Elsewhere => HostIdentity::default(),
    };
    let engine = info.machine;
    HostIdentity {
        cores: card.cores.or(engine.cores),
        memory_bytes: card.memory_bytes.or(engine.memory_bytes),
        kernel: card.kernel.or(engine.kernel),
        os: card.os.or(engine.os),
        architecture: card.architecture.or(engine.architecture),
        engine_version: Some(info.version),
        ..HostIdentity::default()
    }
    .cleaned()
}

/// When samples are taken.
struct Steps {
    first: Duration,
    step: Duration,
    count: Option<u32>,
}

/// A run under way.
struct Run {
    watch: Watch<Engine>,
    sampler: UsageSampler,
    receivers: Receivers,
    questions: Option<mpsc::Receiver<Question>>,
}

impl Run {
    /// Takes all samples, or as many as there are until told to stop; those so far are summed up in any case.
    async fn through(mut self, steps: Steps, stop: &CancellationToken) -> Result<(), Failure> {
        let outcome = self.sample_all(&steps, stop).await;
        if matches!(outcome, Err(Failure::OutputClosed)) {
            return outcome;
        }
        let ended = self.receivers.end();
        outcome.and(ended)
    }

    async fn sample_all(&mut self, steps: &Steps, stop: &CancellationToken) -> Result<(), Failure> {
        // The first sample only begins the measuring of what happens between two.
        if self.sample(stop).await.is_none() {
            return Ok(());
        }
        let start = Instant::now();
        let mut ticks = interval_at(start + steps.first, steps.step);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = 0;
        while steps.count != Some(taken) {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(question) = next(&mut self.questions) => self.receivers.answer(question),
                _ = ticks.tick() => {
                    let Some(sample) = self.sample(stop).await else { return Ok(()) };
                    self.receivers.take(Timestamp::now(), start.elapsed(), sample)?;
                    taken = taken.saturating_add(1);
                }
            }
        }
        Ok(())
    }

    /// `None` when told to stop meanwhile.
    async fn sample(&mut self, stop: &CancellationToken) -> Option<Vec<ContainerSample>> {
        let Self { watch, sampler, .. } = self;
        let sample = async {
            watch.refresh().await;
            sampler.sample(&watch.chosen, &watch.all).await
        };
        stop.run_until_cancelled(sample).await
    }
}

/// The next question; never, where nobody listens.
async fn next(questions: &mut Option<mpsc::Receiver<Question>>) -> Option<Question> {
    match questions {
        Some(questions) => questions.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(interval: u64, span: Option<u64>) -> Plan {
        let millis = Duration::from_millis;
        Plan { once: false, interval: millis(interval), span: span.map(millis), per_minute: false }
    }

    #[test]
    fn a_span_is_parted_into_equal_pieces() {
        let steps = |interval, span| {
            let (step, count) = plan(interval, span).steps();
            (step.as_millis(), count)
        };
        assert_eq!(steps(1000, Some(2000)), (1000, Some(2)));
        assert_eq!(steps(1000, Some(2500)), (833, Some(3)));
        assert_eq!(steps(5000, Some(5000)), (5000, Some(1)));
        assert_eq!(steps(1000, None), (1000, None));
        let once = Plan { once: true, ..plan(1000, None) };
        assert_eq!(once.steps().1, Some(1));
    }
}
