//! What a campaign said, bounded.

use std::collections::VecDeque;

use crate::bus::ChaosNews;

/// Lines that are kept; then the oldest go.
const KEPT: usize = 1_000;
/// Lines in one answer.
const AT_ONCE: usize = 200;

/// The last lines of a campaign, numbered from 0.
#[derive(Debug, Default)]
pub(super) struct NewsLog {
    lines: VecDeque<ChaosNews>,
    /// The number of the oldest.
    first: u64,
}

impl NewsLog {
    pub(super) fn push(&mut self, line: ChaosNews) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
            self.first += 1;
        }
        self.lines.push_back(line);
    }

    /// The lines from number `after` on, as many as go into an answer, and the number after them.
    pub(super) fn after(&self, after: u64) -> (Vec<ChaosNews>, u64) {
        let from = after.clamp(self.first, self.first + self.lines.len() as u64);
        let skipped = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let lines: Vec<_> = self.lines.iter().skip(skipped).take(AT_ONCE).cloned().collect();
        let next = from + lines.len() as u64;
        (lines, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn every_line_is_told_once_and_the_oldest_are_forgotten() {
        let mut log = NewsLog::default();
        let line = |n: usize| ChaosNews { time: Timestamp::from_millis(0), text: n.to_string() };
        (0..KEPT + 50).for_each(|n| log.push(line(n)));
        let (mut after, mut told) = (0, Vec::new());
        loop {
            let (lines, next) = log.after(after);
            if lines.is_empty() {
                break;
            }
            assert!(lines.len() <= AT_ONCE);
            told.extend(lines.into_iter().map(|line| line.text));
            after = next;
        }
        let expected: Vec<String> = (50..KEPT + 50).map(|n| n.to_string()).collect();
        assert_eq!(told, expected);
        assert_eq!(log.after(u64::MAX), (Vec::new(), (KEPT + 50) as u64));
    }
}
