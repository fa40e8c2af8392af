//! Scenario files: what TOML holds, and everything that is wrong with it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::abort::{self, AbortWhen};
use super::{Course, Expectation, ExpectedOutcome, Phase, Scenario, USUAL_CONCURRENT};
use crate::chaos::{FaultSpec, TargetWord, Targets};
use crate::model::{clean, format_span, parse_span};

/// Everything that is wrong with a scenario, each thing named with where it stands and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError(pub Vec<String>);

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the scenario is wrong: {only}"),
            all => {
                write!(f, "{} things are wrong with the scenario", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

/// No sensible scenario has more.
const MOST_PHASES: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    name: String,
    #[serde(default)]
    about: String,
    seed: Option<u64>,
    max_concurrent: Option<i64>,
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    abort_when: FileAbort,
    #[serde(default)]
    phase: Vec<FilePhase>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileAbort {
    down: Option<String>,
    missed: Option<i64>,
    engine_faults: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FilePhase {
    name: String,
    #[serde(default)]
    faults: Vec<String>,
    targets: Option<Vec<String>>,
    every: Option<String>,
    r#for: String,
    lease: Option<String>,
    course: Option<String>,
    expect: Option<FileExpectation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileExpectation {
    outcome: String,
    within: String,
}

impl FromStr for Scenario {
    type Err = ScenarioError;
    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let message = clean(&error.message().replace('\n', ", "), 300);
            ScenarioError(vec![format!("line {line}: {message}")])
        })?;
        let mut reader = Reader::default();
        let scenario = reader.scenario(file);
        if reader.problems.is_empty() { Ok(scenario) } else { Err(ScenarioError(reader.problems)) }
    }
}

/// Reads values, and goes on after what is wrong, to find the rest of it.
#[derive(Default)]
struct Reader {
    problems: Vec<String>,
    /// Where it is, e.g. `phase "loss": `.
    place: String,
}

impl Reader {
    fn scenario(&mut self, file: File) -> Scenario {
        let usual = self.targets("targets", &file.targets);
        let usual = if file.targets.is_empty() { usual.and_consenting() } else { usual };
        let max_concurrent =
            self.count("max-concurrent", file.max_concurrent).map_or(USUAL_CONCURRENT, |most| most as usize);
        let abort = AbortWhen {
            down_percent: file.abort_when.down.and_then(|text| self.down(&text)),
            missed: self.count("abort-when: missed", file.abort_when.missed),
            engine_faults: self.count("abort-when: engine-faults", file.abort_when.engine_faults),
        };
        if file.phase.is_empty() {
            self.wrong("phase", "there is none: begin one with [[phase]]");
        } else if file.phase.len() > MOST_PHASES {
            self.wrong("phase", &format!("there are more than {MOST_PHASES}"));
        }
        let name = clean(&file.name, 80);
        if name.trim().is_empty() {
            self.wrong("name", "it is empty");
        }
        let phases = file.phase.into_iter().map(|phase| self.phase(phase, &usual)).collect();
        Scenario { name, about: clean(&file.about, 500), seed: file.seed, max_concurrent, abort, phases }
    }

    fn phase(&mut self, file: FilePhase, usual: &Targets) -> Phase {
        let name = clean(&file.name, 80);
        self.place = format!("phase {name:?}: ");
        let mut faults = Vec::new();
        for text in &file.faults {
            match text.parse::<FaultSpec>() {
                Ok(fault) => faults.push(fault),
                Err(error) => self.wrong("faults", &error.to_string()),
            }
        }
        let targets = match &file.targets {
            Some(words) if words.is_empty() => {
                self.wrong("targets", "the list is empty: leave it out for those of the scenario");
                usual.clone()
            }
            Some(words) => {
                let own = self.targets("targets", words);
                // A share alone is of those of the scenario.
                let selectors =
                    if own.selectors.is_empty() { usual.selectors.clone() } else { own.selectors };
                Targets { selectors, ..own }
            }
            None => usual.clone(),
        };
        let every = file.every.and_then(|text| self.span("every", &text, 100, 7 * DAY));
        if every.is_none() && !file.faults.is_empty() {
            self.wrong("every", "a phase with faults needs it: write for example every = \"10s\"");
        }
        let lasts = self.span("for", &file.r#for, 100, 7 * DAY);
        let lease = file.lease.and_then(|text| self.span("lease", &text, 100, DAY));
        let course = file.course.map_or(Course::Anew, |word| self.course(&word, &faults));
        let expect = file.expect.and_then(|expect| self.expectation(&expect));
        if expect.is_some() && file.faults.is_empty() {
            self.wrong("expect", "nothing is done in this phase: name faults, or leave it out");
        }
        Phase {
            name,
            faults,
            targets,
            every: every.unwrap_or(Duration::from_secs(1)),
            lasts: Some(lasts.unwrap_or_default()),
            lease,
            course,
            expect,
        }
    }

    fn course(&mut self, word: &str, faults: &[FaultSpec]) -> Course {
        let grows = |fault: &FaultSpec| matches!(fault, FaultSpec::Loss(_));
        match word {
            "anew" => Course::Anew,
            "again" => Course::Again,
            "ramp" if !faults.is_empty() && faults.iter().all(grows) => Course::Ramp,
            "ramp" => {
                self.wrong(
                    "course",
                    "a ramp needs what can grow: write for example faults = [\"loss=5-60%\"]",
                );
                Course::Ramp
            }
            other => {
                let what = format!("{:?} is not one of anew, again, ramp", clean(other, 40));
                self.wrong("course", &what);
                Course::Anew
            }
        }
    }

    fn expectation(&mut self, file: &FileExpectation) -> Option<Expectation> {
        let within = self.span("expect: within", &file.within, 100, DAY);
        let outcome = match file.outcome.as_str() {
            "healed" => Some(ExpectedOutcome::Healed),
            "untouched" => Some(ExpectedOutcome::Untouched),
            "quarantined" => Some(ExpectedOutcome::Quarantined),
            "shared" => Some(ExpectedOutcome::Shared),
            other => {
                let other = clean(other, 40);
                self.wrong(
                    "expect: outcome",
                    &format!("{other:?} is not one of healed, untouched, quarantined, shared"),
                );
                None
            }
        };
        Some(Expectation { outcome: outcome?, within: within? })
    }

    fn targets(&mut self, field: &str, words: &[String]) -> Targets {
        let mut read = Vec::new();
        for word in words {
            match word.parse::<TargetWord>() {
                Ok(word) => read.push(word),
                Err(error) => self.wrong(field, &error.to_string()),
            }
        }
        Targets::of(read)
    }

    fn down(&mut self, text: &str) -> Option<u8> {
        let share = abort::share(text);
        if share.is_none() {
            let what = format!("{:?} is not a share: write for example down = \"50%\"", clean(text, 40));
            self.wrong("abort-when: down", &what);
        }
        share
    }

    fn count(&mut self, field: &str, number: Option<i64>) -> Option<u32> {
        let number = number?;
        let count = abort::count(number);
        if count.is_none() {
            self.wrong(field, &format!("{number} is out of range: give from 1 to 10000"));
        }
        count
    }

    fn span(&mut self, field: &str, text: &str, least: u64, most: u64) -> Option<Duration> {
        let allowed = Duration::from_millis(least)..=Duration::from_millis(most);
        match parse_span(text) {
            Ok(span) if allowed.contains(&span) => Some(span),
            Ok(_) => {
                let (least, most) = (format_span(*allowed.start()), format_span(*allowed.end()));
                let text = clean(text, 40);
                self.wrong(field, &format!("{text:?} is out of range: give from {least} to {most}"));
                None
            }
            Err(error) => {
                self.wrong(field, &error.to_string());
                None
            }
        }
    }

    fn wrong(&mut self, field: &str, what: &str) {
        self.problems.push(format!("{}{field}: {what}", self.place));
    }
}

/// Milliseconds.
const DAY: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_scenario_is_read() {
        let scenario: Scenario = r#"
            name = "both"
            seed = 7
            max-concurrent = 3
            targets = ["web-*", "label:tier"]
            abort-when = { down = "50%", missed = 2 }
            [[phase]]
            name = "stops"
            faults = ["stop", "loss=20-100%"]
            every = "10s"
            for = "2m"
            lease = "30s"
            targets = ["30%"]
            expect = { outcome = "healed", within = "30s" }
            [[phase]]
            name = "rest"
            for = "10s"
        "#
        .parse()
        .unwrap();
        assert_eq!((scenario.seed, scenario.max_concurrent), (Some(7), 3));
        assert_eq!(
            scenario.abort,
            AbortWhen { down_percent: Some(50), missed: Some(2), engine_faults: None }
        );
        let [stops, rest] = &scenario.phases[..] else { panic!("{scenario:?}") };
        assert_eq!(stops.targets.words(), ["web-*", "label:tier", "30%"]);
        assert_eq!(rest.targets.words(), ["web-*", "label:tier"]);
        assert_eq!(stops.expect.unwrap().to_string(), "healed within 30s");
        assert!(rest.faults.is_empty());
        assert_eq!(scenario.lasts(), Some(Duration::from_secs(130)));
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_its_place() {
        let error = r#"
            name = ""
            max-concurrent = 0
            targets = ["service:"]
            abort-when = { down = "half", engine-faults = -1 }
            [[phase]]
            name = "a"
            faults = ["los=5%"]
            for = "soon"
            lease = "10d"
            course = "ramp"
            targets = []
            expect = { outcome = "well", within = "0s" }
            [[phase]]
            name = "b"
            for = "1s"
            expect = { outcome = "healed", within = "1s" }
        "#
        .parse::<Scenario>()
        .unwrap_err();
        for expected in [
            "name: it is empty",
            "max-concurrent: 0 is out of range: give from 1 to 10000",
            "targets: \"service:\" names no container",
            "abort-when: down: \"half\" is not a share",
            "abort-when: engine-faults: -1 is out of range",
            "phase \"a\": faults: there is no fault \"los\"",
            "phase \"a\": every: a phase with faults needs it",
            "phase \"a\": for: \"soon\" is not a span",
            "phase \"a\": lease: \"10d\" is out of range: give from 100ms to 1d",
            "phase \"a\": targets: the list is empty",
            "phase \"a\": course: a ramp needs what can grow",
            "phase \"a\": expect: outcome: \"well\" is not one of healed, untouched, quarantined, shared",
            "phase \"a\": expect: within: \"0s\" is out of range",
            "phase \"b\": expect: nothing is done in this phase",
        ] {
            assert!(error.0.iter().any(|problem| problem.starts_with(expected)), "{expected:?}: {error:#?}");
        }
        assert_eq!(error.0.len(), 14, "{error:#?}");
    }

    #[test]
    fn shapes_that_do_not_fit_are_told_by_line() {
        for (text, expected) in [
            ("name = \"x\"\nphse = 1\n", "line 2: unknown field `phse`"),
            ("name = 1\n", "line 1: "),
            ("about = \"x\"\n", "line 1: missing field `name`"),
            ("name = \"x\"\n", "phase: there is none"),
            ("name = = 1", "line 1: "),
        ] {
            let error = text.parse::<Scenario>().unwrap_err();
            assert!(error.0.len() == 1 && error.0[0].starts_with(expected), "{text}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Scenario>();
        }
    }
}
