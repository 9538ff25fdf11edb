//! How often a tool is called.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::Failure;
use tokio::time::Instant;

/// Calls are counted in windows of this length.
const WINDOW: Duration = Duration::from_secs(60);

/// So many calls in a minute, and no more.
#[derive(Debug)]
pub(super) struct Rate {
    most: u32,
    window: Mutex<Option<(Instant, u32)>>,
}

impl Rate {
    pub(super) fn new(most: u32) -> Self {
        Self { most, window: Mutex::default() }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// Later: the minute's calls are used up; no attempt is counted.
    pub(super) fn take(&self) -> Result<(), Failure> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (began, calls) =
            window.filter(|(began, _)| now.duration_since(*began) < WINDOW).unwrap_or((now, 0));
        if calls >= self.most {
            let left = WINDOW.saturating_sub(now.duration_since(began));
            return Err(Failure::later(left, format!("the tool was called {calls} times in this minute")));
        }
        *window = Some((began, calls + 1));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::RetryClass;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_the_rate_comes_in_the_next_minute() {
        let rate = Rate::new(2);
        assert!(rate.take().is_ok() && rate.take().is_ok());
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(rate.take().unwrap_err().class, RetryClass::Later(Duration::from_secs(40)));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(rate.take().is_ok());
    }
}
