//! Measuring until the span is over or somebody says stop, and who gets the samples.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::super::Failure;
use super::super::output::{WIPE, note, print};
use super::columns::{Columns, Sort};
use super::listen::{Board, Question, listen};
use super::page::{Format, Page, Place};
use super::select::Watch;
use super::{MINUTE, summary};
use crate::docker::{ContainerSource, Engine, EngineInfo};
use crate::metrics::{
    ContainerSample, Machine, MeanMax, Overwrite, Recorder, RecordingHeader, Spread, Tally, UsageSampler,
    host_identity,
};
use crate::model::{HostIdentity, HostName, Timestamp, clean, format_span};

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
        let recorder = match &self.output {
            None => None,
            Some((path, overwrite)) => {
                let card = identity(&machine, info);
                let step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX);
                let header = RecordingHeader::new(&host, &card, step_ms, begun);
                Some(Recording { out: record(path, *overwrite, header)?, path: path.clone() })
            }
        };
        let (board, questions) = match self.listen {
            None => (None, None),
            Some(address) => {
                let (questions, bound) =
                    listen(address, self.allowed_hosts.clone(), shutdown.clone()).await?;
                note(&format!("listening on http://{bound}/ and http://{bound}/metrics; Ctrl-C ends"));
                (Some(Board::new(host.clone(), all.clone(), begun)), Some(questions))
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

fn record(path: &Path, overwrite: Overwrite, header: RecordingHeader) -> Result<Recorder, Failure> {
    Recorder::create(path, overwrite, header).map_err(|error| {
        let shown = clean(&path.display().to_string(), 200);
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            Failure::Usage(format!(
                "--output: {shown} is there already: name another, or replace it with --force"
            ))
        } else {
            Failure::Usage(format!("--output: {shown} cannot be written: {error}"))
        }
    })
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

struct Recording {
    out: Recorder,
    path: PathBuf,
}

/// What was printed so far.
struct Pages {
    place: Place,
    /// Each page takes the place of the one before.
    wipes: bool,
}

impl Pages {
    fn new(plan: &Plan) -> Self {
        Self { place: Place::First, wipes: !plan.once && !plan.per_minute && std::io::stdout().is_terminal() }
    }
}

/// The minute under way, counted from the run's begin.
#[derive(Default)]
struct Minute {
    number: u64,
    means: Tally<MeanMax>,
}

/// In which minute most of a sample lies that ended so long after the begin.
fn minute_of(elapsed: Duration, step: Duration) -> u64 {
    elapsed.saturating_sub(step / 2).as_secs() / MINUTE.as_secs()
}

/// Who gets the samples.
struct Receivers {
    host: String,
    step: Duration,
    begun: Timestamp,
    pages: Option<Pages>,
    minute: Option<Minute>,
    span: Option<Tally<Spread>>,
    recorder: Option<Recording>,
    board: Option<Board>,
    /// What is printed, and what is recorded and told.
    shown: Columns,
    all: Columns,
    format: Format,
    sort: Sort,
}

impl Receivers {
    fn take(
        &mut self,
        time: Timestamp,
        elapsed: Duration,
        mut sample: Vec<ContainerSample>,
    ) -> Result<(), Failure> {
        if let Some(Recording { out, path }) = &mut self.recorder {
            out.sample(time, &sample, |name| self.all.has(name)).map_err(|error| cut(path, &error))?;
        }
        if let Some(board) = &mut self.board {
            board.add(time, &sample);
        }
        if let Some(span) = &mut self.span {
            span.add(&sample, |name| self.shown.has(name));
        }
        if self.minute.is_some() {
            return self.within_minute(elapsed, &sample);
        }
        self.sort.sample(&mut sample);
        self.print(time, &sample)
    }

    fn within_minute(&mut self, elapsed: Duration, sample: &[ContainerSample]) -> Result<(), Failure> {
        let number = minute_of(elapsed, self.step);
        if self.minute.as_ref().is_some_and(|minute| minute.number < number) {
            self.end_minute()?;
        }
        let Some(minute) = &mut self.minute else { return Ok(()) };
        minute.number = number;
        minute.means.add(sample, |name| self.shown.has(name));
        // Its last sample is known to be that: nobody has to wait for the next.
        if minute_of(elapsed + self.step, self.step) > number { self.end_minute() } else { Ok(()) }
    }

    /// Prints the means of the minute, where it has any.
    fn end_minute(&mut self) -> Result<(), Failure> {
        let Some(minute) = self.minute.as_mut().map(std::mem::take) else { return Ok(()) };
        if minute.means.samples() == 0 {
            return Ok(());
        }
        let seconds = minute.number.saturating_mul(MINUTE.as_secs());
        let time = self.begun.after(Duration::from_secs(seconds));
        let mut means = minute.means.means();
        self.sort.sample(&mut means);
        self.print(time, &means)
    }

    fn print(&mut self, time: Timestamp, rows: &[ContainerSample]) -> Result<(), Failure> {
        let Some(pages) = &mut self.pages else { return Ok(()) };
        let page = Page { time, host: &self.host, rows, columns: &self.shown };
        let text = page.render(self.format, pages.place);
        let before = match (self.format, pages.place) {
            (Format::Table, _) if pages.wipes => WIPE,
            (Format::Table, Place::Later) => "\n",
            _ => "",
        };
        pages.place = Place::Later;
        // A page of a minute says which.
        let says = match (self.format, &self.minute) {
            (Format::Table, Some(_)) => format!("{}\n", time.local()),
            _ => String::new(),
        };
        print(&format!("{before}{says}{text}"))
    }

    fn answer(&mut self, question: Question) {
        if let Some(board) = &mut self.board {
            board.answer(question);
        }
    }

    /// Prints what is left to print, and ends the recording.
    fn end(mut self) -> Result<(), Failure> {
        let ended = Timestamp::now();
        let recorded = match self.recorder.take() {
            Some(Recording { out, path }) => out.end(ended).map_err(|error| cut(&path, &error)),
            None => Ok(()),
        };
        self.end_minute()?;
        if let Some(span) = self.span.take() {
            self.summary(ended, &span)?;
        }
        recorded
    }

    fn summary(&self, ended: Timestamp, span: &Tally<Spread>) -> Result<(), Failure> {
        if span.samples() == 0 {
            return Err(Failure::Failed(
                "stopped before the first sample: there is nothing to sum up".into(),
            ));
        }
        if span.passed_over() > 0 {
            note(&format!("too many containers: {} samples of some were passed over", span.passed_over()));
        }
        let view = summary::View { ended, host: &self.host, columns: &self.shown, sort: &self.sort };
        let text = summary::render(span, &view, self.format);
        let printed = self.pages.as_ref().is_some_and(|pages| pages.place == Place::Later);
        let apart = if printed && self.format != Format::Json { "\n" } else { "" };
        if self.format == Format::Table {
            let length = format_span(Duration::from_secs(ended.since(self.begun).as_secs().max(1)));
            let step = format_span(Duration::from_millis(u64::try_from(self.step.as_millis()).unwrap_or(0)));
            note(&format!("{} samples in {length}, each over {step}", span.samples()));
        }
        print(&format!("{apart}{text}"))
    }
}

fn cut(path: &Path, error: &std::io::Error) -> Failure {
    let shown = clean(&path.display().to_string(), 200);
    Failure::Failed(format!("{shown} cannot be written: {error}; what was recorded before can be read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn every_minute_has_all_its_samples(step in 100_u64..60_000, late in 0_u64..50) {
            // Each sample comes a little late, and counts in the minute that most of it lies in.
            let (step, late) = (Duration::from_millis(step), Duration::from_millis(late));
            let mut before = 0;
            for n in 1..=200_u32 {
                let minute = minute_of(step * n + late, step);
                prop_assert!(minute == before || minute == before + 1);
                let middle = (step * n + late).saturating_sub(step / 2);
                prop_assert!(middle.as_secs() / 60 == minute);
                before = minute;
            }
        }
    }
}
