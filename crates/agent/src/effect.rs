//! Calls that act outside: planned, approved and claimed in the ledger like any publication, then made once.
//!
//! The outlet of a provider is called `agent.` and its name. The ledger's key is handed to the provider as the task's name, so
//! that who does a task once does it once over retries, crashes and reruns.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use fleet::JobContext;
use model::{
    CallAnswer, Effect, EffectResult, Failure, Known, PROVIDER_CALLS, Report, RetryClass, Sha256Digest,
    Usage, Withdrawal,
};
use providers::{Ask, Provider};
use serde_json::json;

use crate::assignment::Assignment;
use crate::handler::Agent;
use crate::output;
use crate::outside::Unanswered;

/// How much longer than the call its effect may take: the provider's own timeout comes first.
const BEYOND: Duration = Duration::from_secs(1);
/// How often a call is made whose end nobody hears.
const MOST_UNHEARD: u32 = 5;
/// How long withdrawing takes, which nobody can.
const WITHDRAWAL: Duration = Duration::from_secs(5);

impl Agent {
    /// Plans the call of a step; asks nobody.
    pub(crate) fn plan(&self, work: &Assignment<'_>) -> Result<(Report, Effect), Failure> {
        let ask = work.ask(None, Usage::default())?;
        let outlet = format!("{PROVIDER_CALLS}{}", work.provider.name());
        let name = match work.task.visit {
            0 | 1 => "call".to_owned(),
            // A loop that comes here again means another call.
            visit => format!("call {visit}"),
        };
        let output = if work.job.dry_run {
            let would_send = json!({ "step": ask.step, "role": ask.role, "input": ask.input });
            json!({ "dry_run": true, "outlet": outlet, "would_send": self.secrets.out_of(would_send) })
        } else {
            json!({ "outlet": outlet })
        };
        let effect = Effect {
            outlet,
            name,
            timeout: ask.timeout.min(work.provider.timeout()) + BEYOND,
            deduplicates: work.provider.repeats(),
            dry_run: work.job.dry_run,
            answers: true,
        };
        Ok((Report { output, ..self.asked(work, &ask) }, effect))
    }

    /// Makes the call. Its claim is committed.
    pub(crate) async fn act(&self, job: &JobContext, effect: &Effect, key: Sha256Digest) -> EffectResult {
        let prepared = self.assign(job).and_then(|work| {
            let ask = work.ask(None, Usage::default())?;
            Ok((work, Ask { key: key.to_hex(), ..ask }))
        });
        let (work, ask) = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return EffectResult::NotSent(failure),
        };
        let answer = match self.take_or_ask(&work, &ask).await {
            Ok(answer) => answer,
            Err(Unanswered { failure, under_way }) => {
                let result = failed(failure, under_way);
                return if under_way { result } else { self.bounded(&ask.key, result) };
            }
        };
        self.unheard().remove(&ask.key);
        match output::read(&answer.said, &work.schemas) {
            Ok(proposal) => EffectResult::Answered {
                reference: format!("{} by {}", effect.name, answer.model),
                answer: Box::new(CallAnswer {
                    output: self.secrets.out_of(proposal.output),
                    patch: proposal.patch.map(|patch| self.secrets.out_of(patch)),
                    model: Some(answer.model),
                    usage: answer.usage,
                }),
            },
            // It was called: what that did outside nobody can say.
            Err(wrong) => {
                let wrong = self.secrets.scrubbed(&wrong);
                if let Err(failure) = self.refuse(&work, &ask).await {
                    return EffectResult::Unsettled { reason: failure.reason };
                }
                EffectResult::Unknown {
                    reason: format!("it was called, and its answer does not fit: {wrong}"),
                }
            }
        }
    }

    pub(crate) fn unheard(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls of one key whose end nobody hears are few; then a person is asked. After one such call nothing can be said to be
    /// not sent.
    pub(crate) fn bounded(&self, key: &str, result: EffectResult) -> EffectResult {
        let mut unheard = self.unheard();
        let before = unheard.get(key).copied().unwrap_or_default();
        match result {
            EffectResult::Unsettled { reason } if before + 1 < MOST_UNHEARD => {
                unheard.insert(key.to_owned(), before + 1);
                EffectResult::Unsettled { reason }
            }
            EffectResult::NotSent(failure) if before > 0 => {
                EffectResult::Unsettled { reason: failure.reason }
            }
            EffectResult::Unsettled { reason } => {
                unheard.remove(key);
                EffectResult::Unknown {
                    reason: format!("called {MOST_UNHEARD} times, the last time: {reason}"),
                }
            }
            settled => {
                unheard.remove(key);
                settled
            }
        }
    }

    /// What is known of a call that nobody saw end.
    pub(crate) fn known(&self, effect: &Effect) -> Known {
        let name = effect.outlet.strip_prefix(PROVIDER_CALLS).unwrap_or(&effect.outlet);
        match self.provider(name) {
            Some(provider) if provider.repeats() => Known::Repeatable,
            _ => Known::CannotTell,
        }
    }

    pub(crate) fn acting_outlets(&self) -> Vec<(String, Duration)> {
        let acting = self.providers().filter(|provider| provider.acts_outside());
        let mut outlets: Vec<_> =
            acting.map(|provider| (format!("{PROVIDER_CALLS}{}", provider.name()), WITHDRAWAL)).collect();
        outlets.sort();
        outlets.dedup();
        outlets
    }

    pub(crate) fn cannot_be_withdrawn(outlet: &str) -> Withdrawal {
        let reason =
            format!("what {outlet} did cannot be called back; a step that undoes it is `compensate_with`");
        Withdrawal::Impossible { reason }
    }
}

/// What a failed call means for the ledger. Of one that is under way it cannot be said that it did nothing.
pub(crate) fn failed(failure: Failure, under_way: bool) -> EffectResult {
    let reason = failure.reason.clone();
    match failure.class {
        RetryClass::Permanent if !under_way => EffectResult::Rejected { reason },
        RetryClass::Permanent | RetryClass::Unreadable => EffectResult::Unknown { reason },
        RetryClass::Transient | RetryClass::UnderWay(_) => EffectResult::Unsettled { reason },
        RetryClass::RetryAfter(_)
        | RetryClass::Unavailable
        | RetryClass::Outage
        | RetryClass::Later(_)
        | RetryClass::OverBudget(_) => {
            if under_way {
                EffectResult::Unsettled { reason }
            } else {
                EffectResult::NotSent(failure)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_was_asked_is_not_sent() {
        let pause = Duration::from_secs(1);
        for (failure, under_way, expected) in [
            (Failure::permanent("no"), false, "Rejected"),
            (Failure::permanent("too long"), true, "Unknown"),
            (Failure::transient("silent"), false, "Unsettled"),
            (Failure::under_way(pause, "202"), true, "Unsettled"),
            (Failure::later(pause, "breaker"), true, "Unsettled"),
            (Failure::unavailable("refused"), true, "Unsettled"),
            (Failure::unreadable("too long"), false, "Unknown"),
            (Failure::later(pause, "breaker"), false, "NotSent"),
            (Failure::unavailable("refused"), false, "NotSent"),
            (Failure::retry_after(pause, "busy"), false, "NotSent"),
        ] {
            let told = format!("{:?}", failed(failure, under_way));
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
