//! What the controller knows of the other hosts, and this one must not: that several fail at once, and how many restarts
//! the fleet has left. A controller that is silent holds nothing: its word of a common failure is believed for a while
//! only, and who gets no answer to a question for leave goes on by the host's own budget.
//!
//! ```text
//!         a restart is due            leave for n            n restarts, or 10 s
//!  idle ───────────────────► asking ──────────────► allowed ────────────────────► idle
//!                              │  none left: asks again after 5 s
//!                              └─ no answer for 3 s: silent, until the controller speaks
//! ```

use std::time::Duration;

use super::state::HostState;
use super::{Decision, Hold};
use crate::model::{Mono, Now, Rate};

/// How long the controller's word that several hosts fail is believed; it is repeated every 5 s.
const HOLD_LASTS: Duration = Duration::from_secs(20);
/// How long an answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Between two questions while there is no leave.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Leave is used within this time from the question, or not at all: the controller counts it for longer than that.
const LEAVE_LASTS: Duration = Duration::from_secs(10);

/// What the controller says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetWord {
    /// The fleet's budget of restarts; `None`: there is none, and nobody need ask.
    pub budget: Option<Rate>,
    /// Which question this answers, and how many restarts it allows.
    pub leave: Option<(i64, u32)>,
    /// Why several hosts fail at once, while they do.
    pub hold: Option<String>,
}

/// What this host says to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetQuestion {
    /// The budget it keeps to; `None`: it knows of none, or believes the controller to be silent.
    pub budget: Option<Rate>,
    /// Names the question.
    pub asked: i64,
    /// How many restarts it asks for; 0: nothing is asked.
    pub wanted: u32,
}

#[derive(Debug, Clone, Copy)]
struct Question {
    at: Mono,
    wanted: u32,
    answered: bool,
}

/// What is known of the fleet.
#[derive(Debug, Clone, Default)]
pub(super) struct Fleet {
    budget: Option<Rate>,
    hold: Option<(String, Mono)>,
    question: Option<Question>,
    /// Restarts allowed, and until when.
    leave: Option<(u32, Mono)>,
    /// It did not answer, and has not spoken since.
    silent: bool,
    /// Restarts that wait for leave, as this round finds them.
    waiting: u32,
}

impl Fleet {
    fn hear(&mut self, word: FleetWord, now: Mono) {
        self.silent = false;
        self.budget = word.budget;
        self.hold = word.hold.map(|why| (why, now + HOLD_LASTS));
        let (Some((asked, restarts)), Some(question)) = (word.leave, &mut self.question) else { return };
        // Each question has one answer, so what several controllers allow does not add up.
        if question.at.0 != asked || question.answered {
            return;
        }
        question.answered = true;
        let until = question.at + LEAVE_LASTS;
        if restarts > 0 && now < until {
            self.leave = Some((restarts.min(question.wanted), until));
        }
    }

    /// Why several hosts fail at once, while the controller says so.
    pub(super) fn hold(&self, now: Mono) -> Option<&str> {
        self.hold.as_ref().filter(|(_, until)| now < *until).map(|(why, _)| why.as_str())
    }

    fn has_leave(&self, now: Mono) -> bool {
        self.leave.is_some_and(|(left, until)| left > 0 && now < until)
    }

    /// What keeps a restart from being done now.
    pub(super) fn withholds(&self, now: Mono) -> Option<Hold> {
        let budget = self.budget.filter(|_| !self.silent && !self.has_leave(now))?;
        let none_left = self.question.is_some_and(|question| question.answered);
        Some(if none_left { Hold::FleetBudget(budget) } else { Hold::FleetLeave(budget) })
    }

    /// Notes that a restart is done.
    pub(super) fn spend(&mut self) {
        if let Some((left, _)) = &mut self.leave {
            *left = left.saturating_sub(1);
        }
    }

    /// Notes that a restart waits for leave.
    pub(super) fn wait(&mut self) {
        self.waiting += 1;
    }

    /// The line that `why` shows.
    pub(super) fn words(&self) -> Option<String> {
        let budget = self.budget?;
        let how = if self.silent { ": not kept, since the controller does not answer" } else { "" };
        Some(format!("fleet budget: {budget}, by leave of the controller{how}"))
    }

    /// Asks, asks again, or gives up asking; returns when to look again, and whether there is something to tell.
    fn settle(&mut self, most: u32, now: Mono) -> (Option<Mono>, bool) {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting == 0 {
            self.question = None;
            return (None, false);
        }
        let wait = |question: &Question| if question.answered { ASK_AGAIN } else { ANSWER_WITHIN };
        match self.question {
            Some(question) if now < question.at + wait(&question) => {
                (Some(question.at + wait(&question)), false)
            }
            Some(Question { answered: false, .. }) => {
                (self.silent, self.question) = (true, None);
                (Some(now + Duration::from_millis(1)), true)
            }
            _ => {
                self.question = Some(Question { at: now, wanted: waiting.min(most), answered: false });
                (Some(now + ANSWER_WITHIN), true)
            }
        }
    }
}

impl HostState {
    pub(super) fn fleet_said(&mut self, word: FleetWord, now: Now) {
        self.fleet.hear(word, now.mono);
    }

    /// What is to be said to the controller.
    pub fn fleet_question(&self) -> FleetQuestion {
        let fleet = &self.fleet;
        let open = fleet.question.filter(|question| !question.answered);
        FleetQuestion {
            budget: fleet.budget.filter(|_| !fleet.silent),
            asked: open.map_or(0, |question| question.at.0),
            wanted: open.map_or(0, |question| question.wanted),
        }
    }

    /// After all were treated: asks for those that wait for leave.
    pub(super) fn ask_for_leave(&mut self, now: Now, out: &mut Vec<Decision>) {
        let most = u32::try_from(self.policy.restarts_at_once).unwrap_or(u32::MAX);
        let (wake, tell) = self.fleet.settle(most, now.mono);
        self.wake_no_later(wake);
        self.wake_no_later(
            self.fleet.hold.as_ref().map(|(_, until)| *until).filter(|until| now.mono < *until),
        );
        if tell {
            out.push(Decision::Report);
        }
    }
}
