//! A provider behind its guards: a price, a timeout, a breaker, a cassette, and secrets that nothing of it may have.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use calls::Secrets;
use futures::FutureExt;
use futures::future::BoxFuture;
use model::{Failure, RetryClass, Usage};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{Answer, Ask, CalledBack, Cassette, Provider, cassette};

/// What a million tokens cost, in the configured currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Of prompts.
    pub input: f64,
    /// Of answers.
    pub output: f64,
}

impl Price {
    /// The usage with what it cost, unless the provider itself said so.
    #[must_use]
    pub fn of(self, usage: Usage) -> Usage {
        if usage.cost_micros > 0 {
            return usage;
        }
        #[expect(clippy::cast_precision_loss, reason = "nobody asks for 2^52 tokens")]
        let cost = usage.tokens_in as f64 * self.input + usage.tokens_out as f64 * self.output;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates; prices are not negative"
        )]
        let cost_micros = cost.ceil() as u64;
        Usage { cost_micros, ..usage }
    }
}

/// When a provider that is out is left alone, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub failures: u32,
    /// The first pause; each further failure doubles it.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

/// A provider with everything around it.
#[derive(Debug)]
pub struct Guarded {
    name: String,
    provider: Box<dyn Provider>,
    price: Price,
    timeout: Duration,
    policy: BreakerPolicy,
    cassette: Option<Cassette>,
    secrets: Secrets,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    closed_until: Option<Instant>,
    /// Of the last failure.
    reason: String,
}

/// The one call that tries for all: where nobody waits for it any more, the next one does.
struct Trial<'a>(Option<&'a Guarded>);

impl Guarded {
    /// Puts guards around a provider. `timeout` is for one whole call.
    pub fn new(
        name: impl Into<String>,
        provider: Box<dyn Provider>,
        price: Price,
        timeout: Duration,
        policy: BreakerPolicy,
    ) -> Self {
        Self {
            name: name.into(),
            provider,
            price,
            timeout,
            policy,
            cassette: None,
            secrets: Secrets::default(),
            state: Mutex::default(),
        }
    }

    /// With a cassette.
    #[must_use]
    pub fn with_cassette(self, cassette: Option<Cassette>) -> Self {
        Self { cassette, ..self }
    }

    /// Keeps these out of whatever it says.
    #[must_use]
    pub fn without(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// An answer or a failure, in words that may be kept.
    fn cleaned(&self, answer: Result<Answer, Failure>) -> Result<Answer, Failure> {
        let words = |text: &str| model::storable(&self.secrets.scrubbed(text));
        match answer {
            Ok(Answer { said, usage, model }) => {
                Ok(Answer { said: said.without(&self.secrets), usage, model: words(&model) })
            }
            Err(failure) => Err(Failure { reason: words(&failure.reason), ..failure }),
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long one whole call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Why it is left alone, where it failed as often in a row as its policy has it.
    #[must_use]
    pub fn outage(&self) -> Option<String> {
        let state = self.state();
        (state.failures >= self.policy.failures).then(|| state.reason.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be asked. Once it was left alone for long enough, one asks for all.
    fn enter(&self) -> Result<Trial<'_>, Failure> {
        let now = Instant::now();
        let mut state = self.state();
        match state.closed_until {
            Some(until) if now < until => {
                Err(Failure::later(until - now, format!("{} is left alone", self.name)))
            }
            Some(_) => {
                state.closed_until = Some(now + self.policy.pause.max(self.timeout));
                Ok(Trial(Some(self)))
            }
            None => Ok(Trial(None)),
        }
    }

    fn note(&self, answer: &Result<Answer, Failure>) {
        let mut state = self.state();
        let asked = match answer.as_ref().map_err(|failure| failure.class) {
            Ok(_)
            | Err(
                RetryClass::Permanent
                | RetryClass::Unreadable
                | RetryClass::Later(_)
                | RetryClass::UnderWay(_)
                | RetryClass::OverBudget(_),
            ) => {
                *state = State::default();
                return;
            }
            Err(RetryClass::RetryAfter(pause)) => Some(pause),
            Err(RetryClass::Transient | RetryClass::Unavailable | RetryClass::Outage) => None,
        };
        state.failures = state.failures.saturating_add(1);
        state.reason = answer.as_ref().err().map(|failure| failure.reason.clone()).unwrap_or_default();
        if asked.is_none() && state.failures < self.policy.failures {
            state.closed_until = None;
            return;
        }
        let beyond = state.failures.saturating_sub(self.policy.failures).min(16);
        let pause = self.policy.pause.saturating_mul(1 << beyond).min(self.policy.longest_pause);
        // A pause that it asked for is no outage.
        let pause =
            asked.map_or(
                pause,
                |asked| if state.failures < self.policy.failures { asked } else { pause.max(asked) },
            );
        state.closed_until = Some(Instant::now() + pause);
        tracing::warn!(provider = self.name, ?pause, "the provider is left alone");
    }

    async fn ask(&self, ask: &Ask) -> Result<Answer, Failure> {
        let mut trial = self.enter()?;
        let began = Instant::now();
        let timeout = self.timeout.min(ask.timeout);
        let answer = tokio::time::timeout(timeout, self.provider.complete(ask)).await;
        let answer = answer.unwrap_or_else(|_| {
            let failure = Failure::transient(format!("there was no answer within {timeout:?}"));
            Err(failure.having_spent(self.provider.charged_unheard(ask)))
        });
        let answer = self.cleaned(answer);
        self.note(&answer);
        trial.0 = None;
        let spent = |usage: Usage| Usage { millis: millis(began), ..self.price.of(usage) };
        match answer {
            Ok(answer) => Ok(Answer { usage: spent(answer.usage), ..answer }),
            Err(failure) => {
                let usage = spent(failure.usage);
                Err(failure.having_spent(usage))
            }
        }
    }
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Some(guarded) = self.0 {
            guarded.state().closed_until = Some(Instant::now());
        }
    }
}

impl Provider for Guarded {
    fn complete<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            match &self.cassette {
                Some(Cassette::Replay(folder)) => cassette::replay(folder, &cassette::digest(ask)?),
                Some(Cassette::Record(folder)) => {
                    let answer = self.ask(ask).await?;
                    let kept = cassette::record(folder, &cassette::digest(ask)?, &answer);
                    kept.map(|()| answer.clone()).map_err(|failure| failure.having_spent(answer.usage))
                }
                None => self.ask(ask).await,
            }
        }
        .boxed()
    }

    fn acts_outside(&self) -> bool {
        self.provider.acts_outside()
    }

    fn repeats(&self) -> bool {
        self.provider.repeats()
    }

    fn callbacks(&self, key: &str) -> Vec<CalledBack> {
        self.provider.callbacks(key)
    }

    fn heard(&self, key: &str, token: &str, said: &str) -> Option<Result<Answer, Failure>> {
        let answer = self.cleaned(self.provider.heard(key, token, said)?);
        Some(answer.map(|answer| Answer { usage: self.price.of(answer.usage), ..answer }))
    }

    fn has_under_way(&self, key: &str) -> bool {
        self.provider.has_under_way(key)
    }
}
