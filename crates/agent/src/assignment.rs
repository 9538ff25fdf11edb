//! A step with who does it, and what they are asked.

use std::time::Duration;

use fleet::{JobContext, Task};
use model::{Failure, Usage, sha256};
use providers::{Ask, Chain, Provider, estimated_tokens};
use rails::Charge;
use serde_json::Value;

use crate::config::Tenant;
use crate::output::{self, Schemas};
use crate::prompt::{self, Complaint};
use crate::role::Role;

/// Of the step's deadline, what is kept for telling how it went, and what it cost.
const KEPT: Duration = Duration::from_secs(1);

/// A step with who does it.
pub(crate) struct Assignment<'a> {
    pub(crate) job: &'a JobContext,
    pub(crate) task: &'a Task,
    pub(crate) name: &'a str,
    pub(crate) role: &'a Role,
    pub(crate) tenant: Option<&'a Tenant>,
    /// What is told of the tools that may be called.
    pub(crate) tools: Value,
    pub(crate) provider: &'a Chain,
    pub(crate) schemas: Schemas,
}

impl Assignment<'_> {
    /// Whether doing it changes something outside: then it is planned first, and claimed.
    pub(crate) fn acts(&self) -> bool {
        self.task.side_effect && self.provider.acts_outside()
    }

    pub(crate) fn ask(&self, complaint: Option<&Complaint>, spent: Usage) -> Result<Ask, Failure> {
        let (schema, patches) = self.wanted();
        let system =
            self.role.prompt.system(self.task, &self.job.step, self.name, patches).map_err(|words| {
                Failure::permanent(format!("the role's prompt does not fit the step: {words}"))
            })?;
        let mut given = prompt::input(self.task, self.tenant);
        if !self.tools.is_null() {
            given["orchestration"]["tools"] = self.tools.clone();
        }
        let prompt = prompt::request(self.task, &given, &schema, complaint);
        let needed = estimated_tokens(&system) + estimated_tokens(&prompt);
        let (max_tokens, timeout) = self.allowance(needed, spent)?;
        Ok(Ask {
            key: self.key(),
            step: self.place(),
            visit: self.turn(),
            role: self.name.to_owned(),
            system,
            prompt,
            input: given,
            output_schema: schema,
            parameters: self.role.parameters.clone(),
            max_tokens,
            timeout,
        })
    }

    /// What the budget leaves to one call: tokens of the answer, and time. Fails closed.
    fn allowance(&self, needed: u64, spent: Usage) -> Result<(u32, Duration), Failure> {
        let budget = self.task.budget;
        let used_up = |what: &str, wanted: Usage| {
            let reason = format!("what the budget of {what} leaves does not suffice for the step");
            Failure::over_budget(wanted, reason).having_spent(spent)
        };
        let left = budget.tokens.map_or(u64::MAX, |tokens| tokens.saturating_sub(spent.tokens() + needed));
        let tokens = u32::try_from(left).unwrap_or(u32::MAX).min(self.role.max_tokens);
        if tokens == 0 {
            let wanted = Usage { tokens_in: needed, tokens_out: 1, ..Usage::default() };
            return Err(used_up("tokens", wanted));
        }
        if budget.cost_micros.is_some_and(|cost| spent.cost_micros > 0 && spent.cost_micros >= cost) {
            return Err(used_up("money", Usage { cost_micros: 1, ..Usage::default() }));
        }
        let gone = Duration::from_millis(spent.millis);
        if budget.time.is_some_and(|time| time <= gone) {
            return Err(used_up("time", Usage { millis: 1, ..Usage::default() }));
        }
        let deadline = self.job.deadline.saturating_sub(KEPT.min(self.job.deadline / 4));
        let time = budget.time.map_or(deadline, |time| time.min(deadline)).saturating_sub(gone);
        if time.is_zero() {
            return Err(Failure::transient("the step's deadline has come").having_spent(spent));
        }
        Ok((tokens, time))
    }

    /// The schema of the answer, and whether a patch is asked for beside it. A cluster that is called changes the blackboard
    /// by what it proposes, and by nothing else.
    fn wanted(&self) -> (Value, bool) {
        let own = (&self.task.output_schema, &self.role.output_schema);
        match &self.task.charge {
            Some(Charge::Decide(choice)) => (choice.schema(), false),
            Some(Charge::Cluster { .. }) => (output::asked(own.0, own.1, true), true),
            Some(Charge::Tool { .. }) | None => {
                (output::asked(own.0, own.1, self.role.patches), self.role.patches)
            }
        }
    }

    /// The step, and the cluster where one is called.
    fn place(&self) -> String {
        let who = self.task.charge.as_ref().and_then(Charge::who);
        who.map_or_else(|| self.job.step.clone(), |who| format!("{}/{who}", self.job.step))
    }

    fn turn(&self) -> u32 {
        self.task.charge.as_ref().map_or(self.task.visit, Charge::turn)
    }

    /// The same for every try of the same visit.
    fn key(&self) -> String {
        let turn = self.turn().to_be_bytes();
        sha256(&[self.job.run.0.as_bytes(), self.place().as_bytes(), &turn]).to_hex()
    }
}
