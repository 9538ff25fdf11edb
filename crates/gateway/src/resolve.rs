//! Decisions of people: each is checked, judged by policy again, and committed once.

use axum::Json;
use axum::extract::State;
use model::{Content, RunId, RunState};
use rails::{Decision, Refusal};
use record::Resolution;
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
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Edit => "edit",
            Self::SendBack => "send_back",
            Self::Override => "override",
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
    caller.must(if body.decision == Kind::Override { "operate" } else { "moderate" })?;
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
    let run = people::load(&app, &caller, escalation.run_id, &["content"]).await?;
    if run.seq != escalation.version {
        return Err(decided());
    }
    let workflow = app.workflows.get(&run.pipeline_version).await?;
    if let Decision::Edit(content) = &decision {
        permit_language(&app, content, &run.source)?;
    }
    let content = run.content().map_err(|e| Problem::conflict(e.to_string()))?;
    let transition = rails::decide(
        &workflow,
        &run.standing(),
        &escalation.issue_type,
        &decision,
        content.as_ref().map(|stored| &stored.content),
        &app.policy,
        &run.source,
    )
    .map_err(refused)?;
    let edited = match decision {
        Decision::Edit(content) => Some(
            content
                .seal()
                .map_err(|e| Problem::unprocessable(format!("the content cannot be stored: {e}")))?,
        ),
        _ => None,
    };
    let run_id = run.run;
    let (state, step) = (transition.state, transition.step.clone());
    let (item, routed) = people::act(&by, run, "decided", transition, edited, body.note.as_deref());
    let resolution = Resolution {
        escalation: escalation.escalation_id,
        resolution: body.decision.as_str(),
        by: &by,
        note: body.note.as_deref(),
    };
    let seq = app.process.record.resolve(resolution, item, routed).await?;
    let seq =
        seq.ok_or_else(|| Problem::conflict("someone else decided first; the first decision stands"))?;
    if let Err(error) = app.process.streams.wake_planner(escalation.escalation_id).await {
        tracing::warn!(%error, %run_id, "the planner could not be woken; the reconciler resumes the run");
    }
    Ok(Json(Resolved { run_id, seq, state, step }))
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
    resolve(app, caller, id, body).await
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
