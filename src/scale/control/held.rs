//! What was wanted lately, so that a number is not lowered for a lull.

use std::collections::VecDeque;

use super::Micros;

/// No window holds more, however often it is asked; then the oldest goes first.
const MOST: usize = 4096;

/// Values of the last while.
#[derive(Debug, Clone)]
pub(super) struct Window<T> {
    span: Micros,
    values: VecDeque<(Micros, T)>,
}

impl<T: Copy> Window<T> {
    pub(super) fn new(span: Micros) -> Self {
        Self { span, values: VecDeque::new() }
    }

    /// Adds the newest value, and forgets those older than the span.
    pub(super) fn push(&mut self, at: Micros, value: T) {
        self.values.push_back((at, value));
        let from = at.saturating_sub(self.span);
        while self.values.len() > MOST || self.values.front().is_some_and(|(when, _)| *when < from) {
            self.values.pop_front();
        }
    }

    /// All of them, oldest first.
    pub(super) fn values(&self) -> impl Iterator<Item = (Micros, T)> {
        self.values.iter().copied()
    }
}

impl Window<u32> {
    /// `wanted` is wanted now, with `there`: a smaller number is held up by larger ones of the last while.
    pub(super) fn hold(&mut self, at: Micros, wanted: u32, there: u32) -> u32 {
        self.push(at, wanted);
        let most = self.values().map(|(_, wanted)| wanted).max().unwrap_or(wanted);
        if wanted < there { there.min(most) } else { wanted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_are_wanted_for_the_whole_span_before_there_are_fewer() {
        let mut window = Window::new(Micros::from_secs(40));
        let wanted = [(0, 8, 4), (2, 3, 8), (40, 3, 8), (42, 3, 8), (44, 5, 3), (46, 1, 5)];
        let held = wanted.map(|(at, wanted, there)| window.hold(Micros::from_secs(at), wanted, there));
        assert_eq!(held, [8, 8, 8, 3, 5, 5]);
    }

    #[test]
    fn a_window_is_bounded() {
        let mut window = Window::new(Micros::from_secs(60));
        (0..10_000).for_each(|n| window.push(Micros(n), n));
        assert_eq!((window.values().count(), window.values().next()), (MOST, Some((Micros(5904), 5904))));
    }
}
