//! Escalations: what people are asked, and what they decide.

use axum::Json;
use axum::extract::{Path, State};
use model::{Content, RunId, StoredContent};
use rails::{Decision, Refusal};
use record::{Escalation, Resolution};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Body, Query};
use crate::people::{self, Limit};

/// `GET /v1/escalations`: the open ones, the most pressing first.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(limit): Query<Limit>,
) -> Result<Json<Value>, Problem> {
    caller.must("read")?;
    let limit = limit.or(100);
    let found = app.process.record.open_escalations(Some(caller.tenant()), limit).await?;
    Ok(Json(json!({ "escalations": found })))
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<Escalation, Problem> {
    let missing = || Problem::not_found(format!("there is no escalation {id}"));
    let parsed = Uuid::parse_str(id).map_err(|_| missing())?;
    let found = app.process.record.escalation(parsed).await?;
    found.filter(|found| found.tenant == caller.tenant()).ok_or_else(missing)
}

/// `GET /v1/escalations/{id}`: content, rule, values, threshold, and the nearest earlier trends.
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.must("read")?;
    let escalation = find(&app, &caller, &id).await?;
    let run = people::load(&app, &caller, escalation.run_id, &["content", "embedding"]).await?;
    let content: Value =
        run.artifact("content").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let embedding: Value =
        run.artifact("embedding").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let mut shown = json!(escalation);
    shown["source"] = json!(run.source);
    shown["planner_intent"] = json!(run.planner_intent);
    shown["content"] = content;
    shown["nearest"] = nearest(&app, &caller, &embedding).await;
    Ok(Json(shown))
}

/// The nearest earlier trends with their titles; those of runs that are gone are left out.
async fn nearest(app: &App, caller: &Caller, embedding: &Value) -> Value {
    let mut found = Vec::new();
    for near in embedding["nearest"].as_array().into_iter().flatten() {
        let Some(run) = near["run_id"].as_str().and_then(|text| text.parse::<RunId>().ok()) else { continue };
        let Ok(loaded) = people::load(app, caller, run, &["content"]).await else { continue };
        let content: Value =
            loaded.artifact("content").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        found.push(json!({
            "run_id": run,
            "similarity": near["similarity"],
            "title": content["title"],
            "state": loaded.state,
        }));
    }
    Value::Array(found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResolveBody {
    decision: Kind,
    content: Option<Content>,
    step: Option<String>,
    note: Option<String>,
    version: Option<i32>,
    who: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "snake_case")]
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
                if content.title.trim().is_empty() || content.body.trim().is_empty() {
                    return Err(Problem::unprocessable("the edited content needs a title and a body"));
                }
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
        if who.chars().count() > LONGEST_NAME || who.chars().any(char::is_control) {
            return Err(Problem::bad_request(format!(
                "`who` is a name of at most {LONGEST_NAME} characters"
            )));
        }
        Ok(format!("{who} (token {})", caller.name()))
    }
}

/// `POST /v1/escalations/{id}/resolve`: commits a decision, once.
pub(crate) async fn resolve(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(body): Body<ResolveBody>,
) -> Result<Json<Value>, Problem> {
    caller.must("moderate")?;
    if body.decision == Kind::Override {
        caller.must("operate")?;
    }
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
    let content = run.artifact("content").and_then(|json| StoredContent::read(json).ok());
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
    let (item, routed) = people::act(&by, run, "decided", transition, edited, body.note.clone());
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
    Ok(Json(json!({ "run_id": run_id, "seq": seq, "state": state, "step": step })))
}

fn refused(refusal: Refusal) -> Problem {
    let problem = match &refusal {
        Refusal::NotWaiting => return Problem::conflict(refusal.to_string()),
        _ => Problem::unprocessable(refusal.to_string()),
    };
    match refusal {
        Refusal::Violates(violations) => problem.with("violations", json!(violations)),
        _ => problem,
    }
}
