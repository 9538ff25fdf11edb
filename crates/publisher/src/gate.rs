//! The gate before one outlet: how fast it is sent to, and how long it is left alone when it is out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::RunId;
use tokio::time::Instant;

use crate::config::Breaker;

/// A turn that comes this soon is waited for; a later one sends the job away until then.
const SHORT: Duration = Duration::from_secs(1);
/// Turns that are remembered, at most.
const REMEMBERED: usize = 100_000;

/// Whether a job may go on to the outlet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// After this short time.
    After(Duration),
    /// Not yet: again in this time, for this reason.
    Later(Duration, &'static str),
}

#[derive(Debug)]
pub(crate) struct Gate {
    interval: Duration,
    breaker: Breaker,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    failures: u32,
    closed_until: Option<Instant>,
    next: Instant,
    turns: HashMap<RunId, Instant>,
}

impl Gate {
    /// `per_minute` of 0 means as fast as it goes.
    pub(crate) fn new(per_minute: u32, breaker: Breaker) -> Self {
        let interval = if per_minute == 0 { Duration::ZERO } else { Duration::from_secs(60) / per_minute };
        let state = State { failures: 0, closed_until: None, next: Instant::now(), turns: HashMap::new() };
        Self { interval, breaker, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it is this run's turn. Once the outlet was left alone for long enough, one run tries it for all.
    pub(crate) fn turn(&self, run: RunId) -> Turn {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(until) = state.closed_until {
            if now < until {
                return Turn::Later(until - now, "the outlet is out");
            }
            // The others wait for what becomes of this one.
            state.closed_until = Some(now + self.breaker.pause);
            return Turn::After(Duration::ZERO);
        }
        self.paced(&mut state, run, now)
    }

    fn paced(&self, state: &mut State, run: RunId, now: Instant) -> Turn {
        if self.interval.is_zero() {
            return Turn::After(Duration::ZERO);
        }
        if state.turns.len() >= REMEMBERED {
            state.turns.retain(|_, at| *at > now);
        }
        let at = *state.turns.entry(run).or_insert_with(|| {
            let at = state.next.max(now);
            state.next = at + self.interval;
            at
        });
        let wait = at.saturating_duration_since(now);
        if wait > SHORT {
            return Turn::Later(wait, "the outlet's rate is used up");
        }
        state.turns.remove(&run);
        Turn::After(wait)
    }

    /// Whether the outlet failed as often in a row as the breaker has it.
    pub(crate) fn is_open(&self) -> bool {
        self.state().failures >= self.breaker.failures.max(1)
    }

    /// The outlet answered, whatever it said.
    pub(crate) fn answered(&self) {
        let mut state = self.state();
        state.failures = 0;
        state.closed_until = None;
    }

    /// The outlet is out, or asks for a pause. Returns how long it is left alone from now on, where it is.
    pub(crate) fn failed(&self, asked: Option<Duration>) -> Option<Duration> {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if asked.is_none() && state.failures < self.breaker.failures {
            return None;
        }
        let beyond = state.failures.saturating_sub(self.breaker.failures).min(16);
        let pause = self.breaker.pause.saturating_mul(1 << beyond).min(self.breaker.longest_pause);
        let pause = pause.max(asked.unwrap_or_default());
        state.closed_until = Some(Instant::now() + pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(per_minute: u32) -> Gate {
        let breaker =
            Breaker { failures: 2, pause: Duration::from_secs(10), longest_pause: Duration::from_secs(60) };
        Gate::new(per_minute, breaker)
    }

    fn run(number: u128) -> RunId {
        uuid::Uuid::from_u128(number).to_string().parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_at_the_rate_and_a_run_keeps_its_own() {
        let gate = gate(60);
        assert_eq!(gate.turn(run(1)), Turn::After(Duration::ZERO));
        assert_eq!(gate.turn(run(2)), Turn::After(Duration::from_secs(1)));
        let Turn::Later(wait, _) = gate.turn(run(3)) else { panic!("its turn comes later") };
        assert_eq!(wait, Duration::from_secs(2));
        for other in 4..100 {
            gate.turn(run(other));
        }
        tokio::time::advance(wait).await;
        assert_eq!(gate.turn(run(3)), Turn::After(Duration::ZERO), "others do not push it back");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outlet_that_is_out_is_left_alone_for_longer_and_longer_and_tried_by_one() {
        let gate = gate(0);
        assert_eq!(gate.failed(None), None);
        assert_eq!(gate.failed(None), Some(Duration::from_secs(10)));
        assert!(matches!(gate.turn(run(1)), Turn::Later(..)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(gate.turn(run(1)), Turn::After(Duration::ZERO), "one tries");
        assert!(matches!(gate.turn(run(2)), Turn::Later(..)), "for all");
        assert_eq!(gate.failed(None), Some(Duration::from_secs(20)));
        for _ in 0..10 {
            gate.failed(None);
        }
        assert_eq!(gate.failed(None), Some(Duration::from_secs(60)));
        assert_eq!(gate.failed(Some(Duration::from_secs(90))), Some(Duration::from_secs(90)));
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(gate.turn(run(3)), Turn::After(Duration::ZERO));
        gate.answered();
        assert_eq!(gate.turn(run(4)), Turn::After(Duration::ZERO));
    }
}
