//! When a campaign ends early: as `--abort-when` and orders write it, one condition a word. Pure.

use std::fmt;
use std::str::FromStr;

use super::Scenario;
use crate::chaos::TargetWord;
use crate::model::clean;

/// What is counted, as it is written.
const DOWN: &str = "down";
const MISSED: &str = "missed";
const ENGINE_FAULTS: &str = "engine-faults";

/// Most faults or turns that can be waited for.
const MOST: u32 = 10_000;

/// When a campaign ends early. Its faults are undone then, as at any end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AbortWhen {
    /// When at least this share, in percent, of the containers that may be attacked do not run.
    pub down_percent: Option<u8>,
    /// When so many faults did not come out as expected.
    pub missed: Option<u32>,
    /// When so many turns in a row failed because of the engine.
    pub engine_faults: Option<u32>,
}

/// A condition by itself: `down=50%`, `missed=3`, `engine-faults=5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortWord {
    /// [`AbortWhen::down_percent`].
    Down(u8),
    /// [`AbortWhen::missed`].
    Missed(u32),
    /// [`AbortWhen::engine_faults`].
    EngineFaults(u32),
}

/// Why a condition cannot be, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AbortError {
    /// Not one of them.
    #[error("{0:?} is no condition: write down=SHARE, missed=COUNT or engine-faults=COUNT")]
    Unknown(String),
    /// Not a share of the targets.
    #[error("down: {0:?} is not a share of the targets: write for example down=50%")]
    Share(String),
    /// Not a count.
    #[error("{0}: {1:?} is not a count: give from 1 to 10000")]
    Count(&'static str, String),
    /// Said more than once.
    #[error("{0}: it is given twice: leave one out")]
    Twice(&'static str),
    /// It would never come true.
    #[error(
        "missed: nothing is expected of any fault here, so none can be missed: play a scenario whose phases have \
         an `expect`, or leave it out"
    )]
    NothingExpected,
}

impl FromStr for AbortWord {
    type Err = AbortError;
    fn from_str(text: &str) -> Result<Self, AbortError> {
        let Some((what, value)) = text.split_once('=') else {
            return Err(AbortError::Unknown(clean(text.trim(), 40)));
        };
        let value = value.trim();
        let counted = |what| {
            let count = value.parse().ok().and_then(count);
            count.ok_or_else(|| AbortError::Count(what, clean(value, 40)))
        };
        match what.trim() {
            DOWN => share(value).map(Self::Down).ok_or_else(|| AbortError::Share(clean(value, 40))),
            MISSED => counted(MISSED).map(Self::Missed),
            ENGINE_FAULTS => counted(ENGINE_FAULTS).map(Self::EngineFaults),
            _ => Err(AbortError::Unknown(clean(text.trim(), 40))),
        }
    }
}

impl fmt::Display for AbortWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down(share) => write!(f, "{DOWN}={share}%"),
            Self::Missed(count) => write!(f, "{MISSED}={count}"),
            Self::EngineFaults(count) => write!(f, "{ENGINE_FAULTS}={count}"),
        }
    }
}

impl Scenario {
    /// Ends early when one of `words` says so too; each goes before what the scenario itself says of the same.
    ///
    /// # Errors
    /// A condition that is given twice, or cannot come true.
    pub fn abort_when(&mut self, words: &[AbortWord]) -> Result<(), AbortError> {
        let mut said = AbortWhen::default();
        for word in words {
            let (what, before) = match *word {
                AbortWord::Down(share) => (DOWN, said.down_percent.replace(share).is_some()),
                AbortWord::Missed(count) => (MISSED, said.missed.replace(count).is_some()),
                AbortWord::EngineFaults(count) => {
                    (ENGINE_FAULTS, said.engine_faults.replace(count).is_some())
                }
            };
            if before {
                return Err(AbortError::Twice(what));
            }
        }
        if said.missed.is_some() && self.phases.iter().all(|phase| phase.expect.is_none()) {
            return Err(AbortError::NothingExpected);
        }
        self.abort = AbortWhen {
            down_percent: said.down_percent.or(self.abort.down_percent),
            missed: said.missed.or(self.abort.missed),
            engine_faults: said.engine_faults.or(self.abort.engine_faults),
        };
        Ok(())
    }
}

/// A whole percentage from 1% to 100%, in percent.
pub(super) fn share(text: &str) -> Option<u8> {
    match text.parse() {
        Ok(TargetWord::Share(share)) => Some(share),
        _ => None,
    }
}

/// A count that can be waited for.
pub(super) fn count(number: i64) -> Option<u32> {
    u32::try_from(number).ok().filter(|count| (1..=MOST).contains(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::SHIPPED;
    use proptest::prelude::*;

    fn shipped(name: &str) -> Scenario {
        SHIPPED.iter().find(|(known, _)| *known == name).unwrap().1.parse().unwrap()
    }

    fn words(texts: &[&str]) -> Vec<AbortWord> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn conditions_go_before_what_a_scenario_says_of_the_same() {
        let mut scenario = shipped("random-loss");
        let own = scenario.abort;
        assert_eq!((own.down_percent, own.missed, own.engine_faults), (Some(80), None, Some(5)));
        scenario.abort_when(&words(&["down=30%", " missed = 2 "])).unwrap();
        assert_eq!(
            scenario.abort,
            AbortWhen { down_percent: Some(30), missed: Some(2), engine_faults: Some(5) }
        );
        scenario.abort_when(&words(&["engine-faults=1"])).unwrap();
        assert_eq!((scenario.abort.down_percent, scenario.abort.engine_faults), (Some(30), Some(1)));
        assert_eq!(scenario.abort_when(&words(&["missed=1", "missed=2"])), Err(AbortError::Twice(MISSED)));
        assert_eq!(scenario.abort.missed, Some(2), "what is wrong changes nothing");
        // It expects nothing that is judged by what is seen of a fault.
        let mut quiet = shipped("random-loss");
        quiet.phases.iter_mut().for_each(|phase| phase.expect = None);
        assert_eq!(quiet.abort_when(&words(&["missed=1"])), Err(AbortError::NothingExpected));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (text, says) in [
            ("down", "\"down\" is no condition: write down=SHARE"),
            ("dwn=3", "\"dwn=3\" is no condition"),
            ("down=3", "down: \"3\" is not a share of the targets: write for example down=50%"),
            ("down=0%", "down: \"0%\" is not a share"),
            ("missed=0", "missed: \"0\" is not a count: give from 1 to 10000"),
            ("engine-faults=10001", "engine-faults: \"10001\" is not a count"),
            ("missed=\u{1b}[2J", "missed: \"?[2J\" is not a count"),
        ] {
            let error = text.parse::<AbortWord>().unwrap_err().to_string();
            assert!(error.starts_with(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_the_same(text in "(down|missed|engine-faults)?=?.{0,6}") {
            if let Ok(word) = text.parse::<AbortWord>() {
                prop_assert_eq!(word.to_string().parse(), Ok(word));
            }
        }
    }
}
