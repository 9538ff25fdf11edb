//! Decisions of people: each is checked, judged by policy again, and committed once.

use axum::Json;
use axum::extract::State;
use model::{Content, RunId, RunState};
use rails::{Budget, Decision, Facts, Refusal};
use record::{BranchKey, Item, LoadedRun, Resolution};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::escalations::find;
use crate::extract::{Body, Path, Words};
use crate::openapi::{Always, Conflicting, Missing, WithBody};
use crate::people;

/// A decision.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolveBody {
    decision: Kind,
    /// The new content, for `edit`.
    content: Option<Content>,
    /// A step that leads to the one that asked, for `send_back`.
    step: Option<String>,
    /// What may be spent beyond the budgets that are used up, for `top_up` and `cheaper`; `cheaper` grants as much again
    /// where it is absent.
    more: Option<More>,
    /// Why; `override` needs it.
    note: Option<Words>,
    /// The escalation's version, so that a stale decision is refused.
    version: Option<i32>,
    /// The person behind a desk's token.
    #[schema(max_length = 100)]
    who: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DecisionKind)]
enum Kind {
    Approve,
    Reject,
    Edit,
    SendBack,
    Override,
    TopUp,
    Cheaper,
    Finish,
    Stop,
}

/// What may be spent beyond the budgets.
#[derive(Deserialize, Clone, ToSchema)]
#[serde(deny_unknown_fields)]
struct More {
    /// Tokens in and out.
    tokens: Option<u64>,
    /// Millionths of the configured currency.
    cost_micros: Option<u64>,
    /// Time that workers take, such as `10m`.
    time: Option<String>,
    /// Whether cheaper models are to be taken from now on.
    #[serde(default)]
    cheaper: bool,
}

impl More {
    fn budget(&self) -> Result<Budget, Problem> {
        let time = self.time.as_deref().map(humantime::parse_duration).transpose();
        let time = time.map_err(|e| Problem::unprocessable(format!("more.time: {e}; write it like 10m")))?;
        Ok(Budget { tokens: self.tokens, cost_micros: self.cost_micros, time })
    }
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Edit => "edit",
            Self::SendBack => "send_back",
            Self::Override => "override",
            Self::TopUp => "top_up",
            Self::Cheaper => "cheaper",
            Self::Finish => "finish",
            Self::Stop => "stop",
        }
    }
}

impl ResolveBody {
    fn decision(&self) -> Result<Decision, Problem> {
        let lacks =
            |what: &str| Problem::unprocessable(format!("`{}` needs `{what}`", self.decision.as_str()));
        match self.decision {
            Kind::Approve => Ok(Decision::Approve),
            Kind::Reject => Ok(Decision::Reject),
            Kind::Edit => {
                let content = self.content.clone().ok_or_else(|| lacks("content"))?;
                content.check().map_err(|e| Problem::unprocessable(format!("the edited content: {e}")))?;
                Ok(Decision::Edit(Box::new(content)))
            }
            Kind::SendBack => Ok(Decision::SendBack(self.step.clone().ok_or_else(|| lacks("step"))?)),
            Kind::Override if self.note.as_deref().is_none_or(|note| note.trim().is_empty()) => {
                Err(lacks("note"))
            }
            Kind::Override => Ok(Decision::Override),
            Kind::TopUp => {
                let more = self.more.as_ref().ok_or_else(|| lacks("more"))?;
                Ok(Decision::TopUp { more: more.budget()?, cheaper: more.cheaper })
            }
            Kind::Cheaper => {
                let more = self.more.as_ref().map(More::budget).transpose()?;
                Ok(Decision::Cheaper { more })
            }
            Kind::Finish => Ok(Decision::Finish),
            Kind::Stop => Ok(Decision::Stop),
        }
    }
}

/// The longest name that a request may give for who decides, in characters.
const LONGEST_NAME: usize = 100;

impl ResolveBody {
    /// Who decides: the token, and the person that a desk with one token names.
    fn by(&self, caller: &Caller) -> Result<String, Problem> {
        let Some(who) = self.who.as_deref().map(str::trim).filter(|who| !who.is_empty()) else {
            return Ok(caller.name().to_owned());
        };
        if !model::is_line(who, LONGEST_NAME) {
            return Err(Problem::bad_request(format!(
                "`who` is a name of at most {LONGEST_NAME} characters"
            )));
        }
        Ok(format!("{who} (token {})", caller.name()))
    }
}

/// Where the run stands after a decision.
#[derive(Serialize, ToSchema)]
pub(crate) struct Resolved {
    run_id: RunId,
    seq: i32,
    state: RunState,
    step: String,
}

/// Commits a decision, once.
#[utoipa::path(
    post,
    operation_id = "resolve_escalation",
    path = "/v1/escalations/{id}/resolve",
    tag = "people",
    params(("id" = Uuid, Path, description = "The escalation")),
    request_body = ResolveBody,
    responses((status = 200, description = "The decision is committed", body = Resolved), Missing, Conflicting, WithBody, Always),
)]
pub(crate) async fn resolve(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<ResolveBody>,
) -> Result<Json<Resolved>, Problem> {
    caller.must(if matches!(body.decision, Kind::Override | Kind::TopUp | Kind::Cheaper) {
        "operate"
    } else {
        "moderate"
    })?;
    let escalation = find(&app, &caller, &id).await?;
    let decided = || {
        let by = escalation.resolved_by.as_deref().unwrap_or("someone");
        Problem::conflict(format!("the escalation was resolved by {by}; the first decision stands"))
    };
    if escalation.resolved_at.is_some() {
        return Err(decided());
    }
    if body.version.is_some_and(|version| version != escalation.version) {
        return Err(Problem::conflict(format!("the escalation's version is {}", escalation.version)));
    }
    let decision = body.decision()?;
    let by = body.by(&caller)?;
    let key = BranchKey { run: escalation.run_id, branch: escalation.branch };
    let run = people::load_branch(&app, &caller, key, &["content"]).await?;
    if run.seq != escalation.version {
        return Err(decided());
    }
    let workflow = app.workflows.get(&run.pipeline_version).await?;
    if let Decision::Edit(content) = &decision {
        permit_language(&app, content, &run.source)?;
    }
    let content = run.content().map_err(|e| Problem::conflict(e.to_string()))?;
    let edited = match &decision {
        Decision::Edit(content) => Some(
            Content::clone(content)
                .seal()
                .map_err(|e| Problem::unprocessable(format!("the content cannot be stored: {e}")))?,
        ),
        _ => None,
    };
    let run_id = run.run;
    let item = Item::of(people::below_a_span(run));
    let route = |run: &LoadedRun, facts: &Facts| {
        let asked = rails::Asked {
            issue_type: &escalation.issue_type,
            content: content.as_ref().map(|stored| &stored.content),
            policy: &app.policy,
            source: &run.source,
            rule: escalation.rule.as_deref(),
            by: &by,
            facts,
        };
        let transition = rails::decide(&workflow, &run.standing(), &asked, &decision).map_err(refused)?;
        let mut routed = people::act(&by, "decided", transition, edited.clone(), body.note.as_deref());
        routed.advance.cluster = workflow.step(&run.step).and_then(|step| step.cluster.clone());
        Ok::<_, Problem>(routed)
    };
    let resolution = Resolution {
        escalation: escalation.escalation_id,
        resolution: body.decision.as_str(),
        by: &by,
        note: body.note.as_deref(),
    };
    let won = app.process.record.resolve(resolution, &item, route).await?;
    let won =
        won.ok_or_else(|| Problem::conflict("someone else decided first; the first decision stands"))?;
    if let Err(error) = app.process.streams.wake_planner(escalation.escalation_id).await {
        tracing::warn!(%error, %run_id, "the planner could not be woken; the reconciler resumes the run");
    }
    let transition = won.routed.transition;
    if transition.is_overrun() {
        app.process.metrics.budget_overruns.inc();
    }
    Ok(Json(Resolved { run_id, seq: won.seq, state: transition.state, step: transition.step }))
}

/// Commits a decision, once; the same as with `/v1`.
#[utoipa::path(
    post,
    operation_id = "resolve_escalation_unversioned",
    path = "/escalations/{id}/resolve",
    tag = "people",
    params(("id" = Uuid, Path, description = "The escalation")),
    request_body = ResolveBody,
    responses((status = 200, description = "The decision is committed", body = Resolved), Missing, Conflicting, WithBody, Always),
)]
pub(crate) async fn resolve_unversioned(
    app: State<App>,
    caller: Caller,
    id: Path<String>,
    body: Body<ResolveBody>,
) -> Result<Json<Resolved>, Problem> {
    Box::pin(resolve(app, caller, id, body)).await
}

/// Policy on languages means what a text is written in, so an edit is judged by that as well as by what it says of
/// itself.
fn permit_language(app: &App, content: &Content, source: &str) -> Result<(), Problem> {
    let told = app.languages.tell(&content.body);
    if told == "und" {
        return Ok(());
    }
    let violations = app.policy.evaluate(&Content { language: told.to_owned(), ..content.clone() }, source);
    if violations.is_empty() { Ok(()) } else { Err(refused(Refusal::Violates(violations))) }
}

fn refused(refusal: Refusal) -> Problem {
    let problem = match &refusal {
        Refusal::NotWaiting => return Problem::conflict(refusal.to_string()),
        _ => Problem::unprocessable(refusal.to_string()),
    };
    match refusal {
        Refusal::Violates(violations) => problem.with_violations(violations),
        _ => problem,
    }
}
