//! Who gets the samples: pages, minutes, the span, the recording, and who listens.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::Failure;
use super::super::output::{WIPE, note, print};
use super::columns::{Columns, Sort};
use super::listen::{Board, Question};
use super::measure::Plan;
use super::page::{Format, Page, Place};
use super::{MINUTE, summary};
use crate::metrics::{ContainerSample, MeanMax, Overwrite, Recorder, RecordingHeader, Spread, Tally};
use crate::model::{SeriesName, Timestamp, clean, format_span};

/// The file that is written.
pub(super) struct Recording {
    out: Recorder,
    path: PathBuf,
}

impl Recording {
    /// Begins it; an error where it may not.
    pub(super) fn begin(path: &Path, overwrite: Overwrite, header: RecordingHeader) -> Result<Self, Failure> {
        let out = Recorder::create(path, overwrite, header).map_err(|error| {
            let shown = clean(&path.display().to_string(), 200);
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                Failure::Usage(format!(
                    "--output: {shown} is there already: name another, or replace it with --force"
                ))
            } else {
                Failure::Usage(format!("--output: {shown} cannot be written: {error}"))
            }
        })?;
        Ok(Self { out, path: path.to_owned() })
    }
}

/// What was printed so far.
pub(super) struct Pages {
    place: Place,
    /// Each page takes the place of the one before.
    wipes: bool,
}

impl Pages {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { place: Place::First, wipes: !plan.once && !plan.per_minute && std::io::stdout().is_terminal() }
    }
}

/// The minute under way, counted from the run's begin.
#[derive(Default)]
pub(super) struct Minute {
    number: u64,
    means: Tally<MeanMax>,
}

/// Whether a series is needed for sorting, shown or not.
fn sorts(sort: &Sort, name: &SeriesName) -> bool {
    sort.metrics().contains(&name.as_str())
}

/// In which minute most of a sample lies that ended so long after the begin.
fn minute_of(elapsed: Duration, step: Duration) -> u64 {
    elapsed.saturating_sub(step / 2).as_secs() / MINUTE.as_secs()
}

/// Who gets the samples.
pub(super) struct Receivers {
    pub(super) host: String,
    pub(super) step: Duration,
    pub(super) begun: Timestamp,
    pub(super) pages: Option<Pages>,
    pub(super) minute: Option<Minute>,
    pub(super) span: Option<Tally<Spread>>,
    pub(super) recorder: Option<Recording>,
    pub(super) board: Option<Board>,
    /// What is printed, and what is recorded and told.
    pub(super) shown: Columns,
    pub(super) all: Columns,
    pub(super) format: Format,
    pub(super) sort: Sort,
}

impl Receivers {
    /// Hands a sample on that was taken at `time`, so long after the begin.
    pub(super) fn take(
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
            span.add(&sample, |name| self.shown.has(name) || sorts(&self.sort, name));
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
        minute.means.add(sample, |name| self.shown.has(name) || sorts(&self.sort, name));
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

    /// Answers who listens.
    pub(super) fn answer(&mut self, question: Question) {
        if let Some(board) = &mut self.board {
            board.answer(question);
        }
    }

    /// Prints what is left to print, and ends the recording.
    pub(super) fn end(mut self) -> Result<(), Failure> {
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

    proptest! {
        #[test]
        fn every_minute_has_all_its_samples(
            step in prop::sample::select(vec![100_u64, 500, 1000, 5000, 10_000, 60_000]), late in 0..100_u64,
        ) {
            // Each sample comes a little late, the last of a minute thus after its end.
            let a_minute = 60_000 / step;
            let late = Duration::from_millis(step * late / 250);
            let step = Duration::from_millis(step);
            for n in 0..3 * a_minute {
                let ends = step * u32::try_from(n + 1).unwrap() + late;
                prop_assert_eq!(minute_of(ends, step), n / a_minute);
            }
        }
    }
}
