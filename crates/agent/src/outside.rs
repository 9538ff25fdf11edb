//! Asking those who may answer later: what was handed out is kept in the record, and its answer is taken from there.

use model::Failure;
use providers::{Answer, Ask, CalledBack, Provider};

use crate::assignment::Assignment;
use crate::handler::Agent;

/// Nobody answered.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) failure: Failure,
    /// Whether somebody has the task under way, or had it for too long: that they did nothing nobody can say.
    pub(crate) under_way: bool,
}

impl Unanswered {
    fn waiting(failure: Failure) -> Self {
        Self { failure, under_way: true }
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self { failure, under_way: false }
    }
}

impl Agent {
    /// Takes what a worker completed meanwhile; waits on for one that lives; asks where there is neither.
    pub(crate) async fn take_or_ask(&self, work: &Assignment<'_>, ask: &Ask) -> Result<Answer, Unanswered> {
        for called_back in self.callbacks(work, ask) {
            if let Some(answer) = self.taken(work, ask, &called_back).await? {
                return Ok(answer);
            }
        }
        let answer = self.ask(work, ask).await;
        if answer.is_err() {
            self.note_takers(work, ask).await?;
        }
        answer.map_err(|failure| Unanswered { under_way: work.provider.has_under_way(&ask.key), failure })
    }

    /// Only whoever said that it has the task under way is waited for, and loses patience with.
    async fn note_takers(&self, work: &Assignment<'_>, ask: &Ask) -> Result<(), Failure> {
        let Some(orders) = &self.orders else { return Ok(()) };
        for link in work.provider.links().filter(|link| link.has_under_way(&ask.key)) {
            for called_back in link.callbacks(&ask.key) {
                orders.taken(&called_back.callback.token).await?;
            }
        }
        Ok(())
    }

    /// None where nothing is kept of them.
    fn callbacks(&self, work: &Assignment<'_>, ask: &Ask) -> Vec<CalledBack> {
        if self.orders.is_some() { work.provider.callbacks(&ask.key) } else { Vec::new() }
    }

    async fn taken(
        &self,
        work: &Assignment<'_>,
        ask: &Ask,
        called_back: &CalledBack,
    ) -> Result<Option<Answer>, Unanswered> {
        let Some(orders) = &self.orders else { return Ok(None) };
        let CalledBack { callback, patience, silence } = called_back;
        let order = orders.hand_out(work.job, ask.visit, &callback.token, &callback.key).await?;
        if let Some(said) = order.answer {
            return match work.provider.heard(&ask.key, &callback.token, &said) {
                Some(Ok(answer)) => Ok(Some(answer)),
                Some(Err(failure)) => {
                    orders.close(&callback.token).await?;
                    Err(failure.into())
                }
                None => Ok(None),
            };
        }
        if order.since >= *patience {
            orders.close(&callback.token).await?;
            let reason = format!("the worker did not finish within {patience:?}");
            return Err(Unanswered::waiting(Failure::permanent(reason)));
        }
        match order.heard {
            Some(heard) if heard < *silence => {
                let rest = (*silence - heard).min(*patience - order.since);
                Err(Unanswered::waiting(Failure::under_way(rest, "the worker has it under way")))
            }
            _ => Ok(None),
        }
    }

    /// What was answered is of no use: whoever asks for the task again begins anew.
    pub(crate) async fn refuse(&self, work: &Assignment<'_>, ask: &Ask) -> Result<(), Failure> {
        for called_back in self.callbacks(work, ask) {
            if let Some(orders) = &self.orders {
                orders.close(&called_back.callback.token).await?;
            }
        }
        Ok(())
    }
}
