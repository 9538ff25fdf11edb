//! One step performed by its role.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use calls::Secrets;
use fleet::{
    BreakerKind, Breakers, Fault, Handler, JobContext, Metrics, Needs, ProviderLabels, REGISTRAR, Registrar,
    WorkOrders,
};
use model::{Effect, EffectResult, Failure, Known, Outcome, Report, Sha256Digest, Usage, Withdrawal};
use providers::{Answer, Ask, Chain, Provider, Said};
use rails::Charge;
use serde_json::Value;

use crate::assignment::Assignment;
use crate::brains;
use crate::config::Section;
use crate::error::AgentError;
use crate::output::{self, Proposal, Schemas};
use crate::outside::Unanswered;
use crate::prompt::Complaint;
use crate::role::{self, GENERIC, Role};
use crate::tools::Toolbox;

/// How often an answer that does not fit is asked for again.
const REPEATS: u32 = 2;
/// The longest prompt that is reported, in characters.
const PROMPT_KEPT: usize = 2000;

/// The agent.
#[derive(Debug)]
pub struct Agent {
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) config: Section,
    pub(crate) tools: Option<Toolbox>,
    pub(crate) secrets: Secrets,
    metrics: Metrics,
    registrar: Option<Registrar>,
    pub(crate) orders: Option<WorkOrders>,
    breakers: Option<Breakers>,
    /// Calls that act outside of which nobody heard the end, by task, with how many there were.
    pub(crate) unheard: Mutex<BTreeMap<String, u32>>,
}

impl Agent {
    /// Opens providers and roles; asks nobody.
    ///
    /// # Errors
    /// [`Fault`] of kind usage, naming the provider or role.
    pub fn new(config: &Section, metrics: Metrics) -> Result<Self, Fault> {
        config.check_tenants()?;
        Ok(Self {
            registrar: None,
            orders: None,
            breakers: None,
            roles: role::open(config)?,
            config: config.clone(),
            tools: None,
            secrets: brains::secrets(config),
            metrics,
            unheard: Mutex::default(),
        })
    }

    /// With what does the role `registrar`, which no brain has.
    #[must_use]
    pub fn with_registrar(self, registrar: Registrar) -> Self {
        Self { registrar: Some(registrar), ..self }
    }

    /// With tools that orchestrators may call.
    #[must_use]
    pub fn with_tools(self, tools: Toolbox) -> Self {
        Self { tools: Some(tools), ..self }
    }

    /// Keeps what it hands to workers outside, so that they may answer later, and tells of its providers' breakers.
    #[must_use]
    pub fn keeping(self, orders: WorkOrders, breakers: Breakers) -> Self {
        Self { orders: Some(orders), breakers: Some(breakers), ..self }
    }

    pub(crate) fn assign<'a>(&'a self, job: &'a JobContext) -> Result<Assignment<'a>, Failure> {
        let task = job.task.as_deref().ok_or_else(|| {
            Failure::permanent("the step has no task: only workflows that keep a blackboard have agents")
        })?;
        let name = task.role.as_deref().unwrap_or(GENERIC);
        let known = || self.roles.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let role = self
            .roles
            .get(name)
            .ok_or_else(|| Failure::permanent(format!("there is no role `{name}`; known are {}", known())))?;
        let cheaper = role.cheaper.as_ref().filter(|_| task.cheaper);
        let provider = cheaper.or(role.provider.as_ref()).ok_or_else(|| {
            Failure::permanent(format!(
                "no provider does the role `{name}`: configure one under `agent.providers` and name it in `agent.provider`"
            ))
        })?;
        if provider.acts_outside() && !task.side_effect && task.side_effect_reason.is_none() {
            return Err(Failure::permanent(format!(
                "the role `{name}` acts outside, and did not when the workflow was registered: register it again"
            )));
        }
        let schemas = Schemas::of([&task.output_schema, &role.output_schema]).map_err(|words| {
            Failure::permanent(format!("the step's output_schema cannot be used: {words}"))
        })?;
        let tenant = self.config.tenant(&job.tenant);
        Ok(Assignment { job, task, name, role, tenant, tools: Value::Null, provider, schemas })
    }

    /// Asks until an answer fits, boundedly; a failure has what was spent.
    async fn propose(&self, work: &Assignment<'_>) -> Result<Report, AgentError> {
        let mut spent = Usage::default();
        let mut complaint = None;
        // Who acts outside is not made to act again because of what it said.
        let repeats = if work.provider.acts_outside() { 0 } else { REPEATS };
        for _ in 0..=repeats {
            let ask = work.ask(complaint.as_ref(), spent)?;
            let answer = self.answered(work, &ask, spent).await?;
            spent = spent + answer.usage;
            match output::read(&answer.said, &work.schemas) {
                Ok(proposal) => return Ok(self.report(work, &ask, proposal, answer.model, spent)),
                Err(wrong) => {
                    self.refuse(work, &ask).await.map_err(|failure| failure.having_spent(spent))?;
                    complaint = Some(Complaint { said: words(&answer.said), wrong });
                }
            }
        }
        let wrong = complaint.map(|complaint| self.secrets.scrubbed(&complaint.wrong)).unwrap_or_default();
        Err(Failure::permanent(format!("no answer fits what was asked for: {wrong}"))
            .having_spent(spent)
            .into())
    }

    /// Asks once. A failure has what was spent before as well.
    pub(crate) async fn answered(
        &self,
        work: &Assignment<'_>,
        ask: &Ask,
        spent: Usage,
    ) -> Result<Answer, Failure> {
        self.take_or_ask(work, ask).await.map_err(|Unanswered { failure, .. }| {
            let usage = spent + failure.usage;
            failure.having_spent(usage)
        })
    }

    pub(crate) async fn ask(&self, work: &Assignment<'_>, ask: &Ask) -> Result<Answer, Failure> {
        let began = Instant::now();
        let answer = tokio::select! {
            biased;
            () = work.job.cancelled.cancelled() => Err(Failure::transient("the step was taken away")),
            answer = work.provider.complete(ask) => answer,
        };
        self.tell(work.provider);
        let usage = answer.as_ref().map_or_else(|failure| failure.usage, |answer| answer.usage);
        let outcome = if answer.is_ok() { "answered" } else { "failed" };
        let labels = ProviderLabels {
            provider: work.provider.name().to_owned(),
            role: work.name.to_owned(),
            outcome: outcome.to_owned(),
        };
        self.metrics.provider_calls.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
        self.metrics.provider_tokens.get_or_create(&labels).inc_by(usage.tokens());
        self.metrics.provider_cost.get_or_create(&labels).inc_by(usage.cost_micros);
        answer
    }

    /// Lets those who are told of outages know which providers are left alone.
    fn tell(&self, provider: &Chain) {
        let Some(breakers) = &self.breakers else { return };
        for link in provider.links() {
            match link.outage() {
                Some(reason) => breakers.opened(BreakerKind::Provider, link.name(), &reason),
                None => breakers.closed(BreakerKind::Provider, link.name()),
            }
        }
    }

    pub(crate) fn report(
        &self,
        work: &Assignment<'_>,
        ask: &Ask,
        proposal: Proposal,
        model: String,
        usage: Usage,
    ) -> Report {
        Report {
            output: self.secrets.out_of(proposal.output),
            patch: proposal.patch.map(|patch| self.secrets.out_of(patch)),
            model: Some(model),
            usage,
            ..self.asked(work, ask)
        }
    }

    /// A report of what is asked, and by which prompt.
    pub(crate) fn asked(&self, work: &Assignment<'_>, ask: &Ask) -> Report {
        let prompt = format!("{}\n{}\n\n{}", work.role.prompt.title(), ask.system, ask.prompt);
        let prompt: String = self.secrets.scrubbed(&prompt).chars().take(PROMPT_KEPT).collect();
        Report { prompt: Some(prompt), prompt_sha256: Some(work.role.prompt.sha256), ..Report::default() }
    }

    /// The provider that asks for an outlet's name.
    pub(crate) fn provider(&self, name: &str) -> Option<&Chain> {
        self.providers().find(|chain| chain.name() == name)
    }

    pub(crate) fn providers(&self) -> impl Iterator<Item = &Chain> {
        self.roles.values().flat_map(|role| role.provider.iter().chain(&role.cheaper))
    }
}

fn words(said: &Said) -> String {
    match said {
        Said::Text(text) => text.clone(),
        Said::Json(value) => value.to_string(),
    }
}

impl Handler for Agent {
    const WORKER: &'static str = "agent";
    const NEEDS: Needs = Needs { payload: false, artifacts: &[] };

    async fn handle(&self, job: &JobContext) -> Outcome {
        let charge = job.task.as_deref().and_then(|task| task.charge.as_ref());
        let done = async {
            if let (Some(registrar), Some(task)) = (&self.registrar, job.task.as_deref())
                && task.role.as_deref() == Some(REGISTRAR)
            {
                return Ok(Outcome::Done(registrar.perform(job, task).await?));
            }
            match charge {
                Some(Charge::Decide(choice)) => return Ok(Outcome::Done(self.decide(job, choice).await?)),
                Some(Charge::Tool { tool, arguments, turn }) => {
                    return Ok(self.use_tool(job, tool, arguments, *turn).await);
                }
                Some(Charge::Cluster { .. }) | None => {}
            }
            let work = self.assign(job)?;
            if work.acts() {
                let (report, effect) = self.plan(&work)?;
                return Ok(Outcome::Plan(report, effect));
            }
            Ok::<_, AgentError>(Outcome::Done(self.propose(&work).await?))
        };
        Box::pin(done).await.unwrap_or_else(|error| Outcome::Failed(Failure::from(error)))
    }

    async fn ask(&self, effect: &Effect, _key: Sha256Digest) -> Result<Known, Failure> {
        match self.known_call(&effect.outlet).await {
            Some(known) => known,
            None => Ok(self.known(effect)),
        }
    }

    fn outlets(&self) -> Vec<(String, Duration)> {
        self.acting_outlets()
    }

    async fn revoke(&self, outlet: &str, _key: Sha256Digest) -> Result<Withdrawal, Failure> {
        Ok(Self::cannot_be_withdrawn(outlet))
    }

    async fn perform(&self, job: &JobContext, effect: &Effect, key: Sha256Digest) -> EffectResult {
        let charge = job.task.as_deref().and_then(|task| task.charge.as_ref());
        match charge {
            Some(Charge::Tool { .. }) => Box::pin(self.perform_call(job, effect, key)).await,
            _ => Box::pin(self.act(job, effect, key)).await,
        }
    }
}
