//! Waiting for conditions, with a limit.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// The limit of [`eventually`]: generous, for slow machines; nothing waits that long unless it fails.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until the condition holds; ends the test with `what` after a minute.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl FnMut() -> F) {
    within(LIMIT, what, condition).await;
}

/// Waits until the condition holds; ends the test with `what` after the limit.
pub async fn within<F: Future<Output = bool>>(limit: Duration, what: &str, mut condition: impl FnMut() -> F) {
    let until = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < until, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
