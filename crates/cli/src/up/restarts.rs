//! When what died is started again: at once where it ran for long, after growing pauses where it dies again and again.

use std::time::{Duration, Instant};

/// What ran this long begins its pauses anew.
const SETTLED: Duration = Duration::from_secs(30);
/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Restarts {
    started: Instant,
    deaths: u32,
    due: Option<Instant>,
}

impl Restarts {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), deaths: 0, due: None }
    }

    /// It was started again.
    pub(super) fn started(&mut self) {
        self.started = Instant::now();
        self.due = None;
    }

    /// It died: how long until it is started again.
    pub(super) fn died(&mut self) -> Duration {
        self.deaths = if self.started.elapsed() > SETTLED { 1 } else { self.deaths + 1 };
        let pause = Duration::from_millis(250).saturating_mul(1 << self.deaths.min(8)).min(LONGEST_PAUSE);
        self.due = Some(Instant::now() + pause);
        pause
    }

    /// Whether it is dead and waits to be started.
    pub(super) fn waits(&self) -> bool {
        self.due.is_some()
    }

    /// Whether it should be started now.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some_and(|at| Instant::now() >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_the_longest() {
        let mut restarts = Restarts::new();
        let pauses: Vec<Duration> = (0..12).map(|_| restarts.died()).collect();
        assert!(pauses.is_sorted() && pauses[0] < Duration::from_secs(1), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
        assert!(restarts.waits() && !restarts.is_due());
        restarts.started();
        assert!(!restarts.waits());
    }
}
