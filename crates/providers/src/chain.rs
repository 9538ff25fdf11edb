//! Providers that are asked in order, until one answers.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use model::{Failure, RetryClass, Usage};
use tokio::time::Instant;

use crate::{Answer, Ask, CalledBack, Guarded, Provider};

/// A provider and those that stand in for it.
#[derive(Debug, Clone)]
pub struct Chain {
    links: Vec<Arc<Guarded>>,
}

impl Chain {
    /// The first is asked first.
    #[must_use]
    pub fn new(links: Vec<Arc<Guarded>>) -> Self {
        Self { links }
    }

    /// The name of the first.
    #[must_use]
    pub fn name(&self) -> &str {
        self.links.first().map_or("", |link| link.name())
    }

    /// The first and those that stand in for it.
    pub fn links(&self) -> impl Iterator<Item = &Guarded> {
        self.links.iter().map(Arc::as_ref)
    }

    /// How long asking all of them may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.links.iter().map(|link| link.timeout()).fold(Duration::ZERO, Duration::saturating_add)
    }

    async fn ask(&self, ask: &Ask) -> Result<Answer, Failure> {
        let (mut spent, began) = (Usage::default(), Instant::now());
        let mut failures: Vec<(&str, Failure)> = Vec::new();
        for link in &self.links {
            let left = ask.timeout.saturating_sub(began.elapsed());
            if left.is_zero() && !failures.is_empty() {
                break;
            }
            match link.complete(&Ask { timeout: left, ..ask.clone() }).await {
                Ok(answer) => return Ok(Answer { usage: spent + answer.usage, ..answer }),
                Err(failure) => {
                    spent = spent + failure.usage;
                    // Another would be asked the same; one that acts, and may have begun, must not get a rival.
                    let begun = link.has_under_way(&ask.key) || failure.class == RetryClass::Transient;
                    let for_good = matches!(failure.class, RetryClass::Permanent | RetryClass::Unreadable);
                    let stop = for_good || (link.acts_outside() && begun);
                    failures.push((link.name(), failure));
                    if stop {
                        break;
                    }
                }
            }
        }
        Err(together(&failures).having_spent(spent))
    }
}

/// One failure of several: all their words. Where the last one was permanent, or may have begun what it was asked, it is of
/// that class, else of the class of the first.
fn together(failures: &[(&str, Failure)]) -> Failure {
    let reason = failures.iter().map(|(name, failure)| format!("{name}: {}", failure.reason));
    let reason = reason.collect::<Vec<_>>().join("; ");
    let last = failures.last().map(|(_, failure)| failure.class);
    let class = match last {
        Some(class @ (RetryClass::Permanent | RetryClass::Unreadable | RetryClass::Transient)) => class,
        None => RetryClass::Permanent,
        Some(_) => failures.first().map_or(RetryClass::Permanent, |(_, failure)| failure.class),
    };
    Failure { class, ..Failure::permanent(reason) }
}

impl Provider for Chain {
    fn complete<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, Failure>> {
        self.ask(ask).boxed()
    }

    fn acts_outside(&self) -> bool {
        self.links.iter().any(|link| link.acts_outside())
    }

    /// Where nobody says who of several was asked, all of them must.
    fn repeats(&self) -> bool {
        self.links.iter().all(|link| link.repeats())
    }

    fn callbacks(&self, key: &str) -> Vec<CalledBack> {
        self.links.iter().flat_map(|link| link.callbacks(key)).collect()
    }

    fn heard(&self, key: &str, token: &str, said: &str) -> Option<Result<Answer, Failure>> {
        self.links.iter().find_map(|link| link.heard(key, token, said))
    }

    fn has_under_way(&self, key: &str) -> bool {
        self.links.iter().any(|link| link.has_under_way(key))
    }
}
