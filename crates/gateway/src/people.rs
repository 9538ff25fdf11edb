//! What people do to runs: the parts that cancelling, deciding and settling share, and the ledger's routes.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fleet::spans;
use model::{Actor, RunId, StoredContent};
use rails::{Facts, Settled, Transition};
use record::{Advance, BranchKey, Incident, Item, LoadedRun, Publication, PublicationState, Routed};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Body, Path, Query};
use crate::openapi::{Always, Conflicting, Missing, WithBody};

/// A run of the caller's tenant; anyone else's does not exist.
pub(crate) async fn load(
    app: &App,
    caller: &Caller,
    run: RunId,
    artifacts: &[&str],
) -> Result<LoadedRun, Problem> {
    load_branch(app, caller, BranchKey::trunk(run), artifacts).await
}

/// A branch of a run of the caller's tenant, with what the run's manifest keeps.
pub(crate) async fn load_branch(
    app: &App,
    caller: &Caller,
    key: BranchKey,
    artifacts: &[&str],
) -> Result<LoadedRun, Problem> {
    let names: Vec<String> = artifacts.iter().map(|name| (*name).to_owned()).collect();
    let loaded = app.process.record.load_branch(key, &names).await?;
    let mut loaded = loaded
        .filter(|loaded| loaded.tenant == caller.tenant())
        .ok_or_else(|| Problem::not_found(format!("there is no run {}", key.run)))?;
    let workflow = app.workflows.get(&loaded.pipeline_version).await?;
    fleet::remember(&app.process.record, &mut loaded, &workflow).await?;
    Ok(loaded)
}

/// The span that a person's act is: it ends when the act is drawn up; what follows from it is below it.
pub(crate) fn below_a_span(mut run: LoadedRun) -> LoadedRun {
    let about = spans::About {
        name: "decision",
        run_id: Some(run.run),
        step: &run.step,
        attempt: run.attempt,
        planner_intent: &run.planner_intent,
    };
    let (_span, own) = spans::begin(&about, run.traceparent.as_deref());
    run.traceparent = own;
    run
}

/// What a person's act writes.
pub(crate) fn act(
    by: &str,
    what: &'static str,
    transition: Transition,
    content: Option<StoredContent>,
    note: Option<&str>,
) -> Routed {
    let advance =
        Advance { content, prompt: note.map(str::to_owned), ..Advance::by(Actor::person(by), what) };
    Routed { transition, delay: Duration::ZERO, advance }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Limit {
    /// 1 to 1000; 100 unless given.
    limit: Option<u32>,
}

impl Limit {
    pub(crate) fn or(&self, default: u32) -> i64 {
        i64::from(self.limit.unwrap_or(default).clamp(1, 1000))
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Publications {
    /// The newest first.
    publications: Vec<Publication>,
}

/// Lists the ledger, newest first.
#[utoipa::path(
    get,
    operation_id = "list_publications",
    path = "/v1/publications",
    tag = "people",
    params(Limit),
    responses((status = 200, description = "The ledger", body = Publications), Always),
)]
pub(crate) async fn publications(
    State(app): State<App>,
    caller: Caller,
    Query(limit): Query<Limit>,
) -> Result<Json<Publications>, Problem> {
    caller.must("read")?;
    let publications = app.process.record.publications(Some(caller.tenant()), limit.or(100)).await?;
    Ok(Json(Publications { publications }))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Incidents {
    /// The newest first.
    incidents: Vec<Incident>,
}

/// Lists policy violations that blocked publications, newest first.
#[utoipa::path(
    get,
    operation_id = "list_incidents",
    path = "/v1/incidents",
    tag = "people",
    params(Limit),
    responses((status = 200, description = "What was blocked", body = Incidents), Always),
)]
pub(crate) async fn incidents(
    State(app): State<App>,
    caller: Caller,
    Query(limit): Query<Limit>,
) -> Result<Json<Incidents>, Problem> {
    caller.must("read")?;
    let incidents = app.process.record.incidents(caller.tenant(), limit.or(100)).await?;
    Ok(Json(Incidents { incidents }))
}

/// The longest feedback, in characters.
const LONGEST_FEEDBACK: usize = 10_000;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewFeedback {
    kind: FeedbackKind,
    #[schema(min_length = 1, max_length = 10_000)]
    text: String,
}

#[derive(Deserialize, Clone, Copy, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FeedbackKind {
    Complaint,
    Correction,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct KeptFeedback {
    feedback_id: Uuid,
    publication_id: Uuid,
}

/// Keeps a complaint or a correction with a publication.
#[utoipa::path(
    post,
    operation_id = "give_feedback",
    path = "/v1/publications/{id}/feedback",
    tag = "people",
    params(("id" = Uuid, Path, description = "The publication")),
    request_body = NewFeedback,
    responses((status = 201, description = "Kept", body = KeptFeedback), Missing, WithBody, Always),
)]
pub(crate) async fn feedback(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(given): Body<NewFeedback>,
) -> Result<(StatusCode, Json<KeptFeedback>), Problem> {
    caller.must("moderate")?;
    let row = publication(&app, &caller, &id).await?;
    let text = given.text.trim();
    if text.is_empty() || text.chars().count() > LONGEST_FEEDBACK {
        return Err(Problem::unprocessable(format!("`text` has 1 to {LONGEST_FEEDBACK} characters")));
    }
    let kind = match given.kind {
        FeedbackKind::Complaint => "complaint",
        FeedbackKind::Correction => "correction",
    };
    let record = &app.process.record;
    let feedback_id =
        record.add_feedback(row.publication_id, caller.tenant(), kind, text, caller.name()).await?;
    Ok((StatusCode::CREATED, Json(KeptFeedback { feedback_id, publication_id: row.publication_id })))
}

/// A publication of the caller's tenant; anyone else's does not exist.
pub(crate) async fn publication(app: &App, caller: &Caller, id: &str) -> Result<Publication, Problem> {
    let missing = || Problem::not_found(format!("there is no publication {id}"));
    let id = Uuid::parse_str(id).map_err(|_| missing())?;
    let row = app.process.record.publication(id).await?;
    row.filter(|row| row.tenant == caller.tenant()).ok_or_else(missing)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SettleBody)]
pub(crate) struct Answer {
    answer: Answered,
}

/// Whether an unknown post went out: `delivered`; if not, send it again or give it up.
#[derive(Deserialize, Clone, Copy, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Answered {
    Delivered,
    Resend,
    Abandon,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SettledPublication {
    publication_id: Uuid,
    run_id: RunId,
    /// The run's `seq` afterwards, where it had waited for this answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    seq: Option<i32>,
}

/// Settles an `unknown` post: a person says whether it went out.
#[utoipa::path(
    post,
    operation_id = "settle_publication",
    path = "/v1/publications/{id}/settle",
    tag = "people",
    params(("id" = Uuid, Path, description = "The publication")),
    request_body = Answer,
    responses((status = 200, description = "It is settled", body = SettledPublication), Missing, Conflicting, WithBody, Always),
)]
pub(crate) async fn settle(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Body(answer): Body<Answer>,
) -> Result<Json<SettledPublication>, Problem> {
    caller.must("operate")?;
    let row = publication(&app, &caller, &id).await?;
    let answer = match answer.answer {
        Answered::Delivered => Settled::Delivered,
        Answered::Resend => Settled::Resend,
        Answered::Abandon => Settled::Abandon,
    };
    let record = &app.process.record;
    let branch = record.branch_at(row.run_id, &row.step).await?;
    let run = load_branch(&app, &caller, BranchKey { run: row.run_id, branch }, &[]).await?;
    let workflow = app.workflows.get(&run.pipeline_version).await?;
    let stale =
        || Problem::conflict("the publication is not unknown, or its run no longer waits for this answer");
    let run_id = run.run;
    let known = Facts { memory: run.memory.as_deref().cloned(), ..Facts::default() };
    if run.step != row.step || rails::settled(&workflow, &run.standing(), answer, &known).is_err() {
        return settle_alone(&app, &caller, &row, answer, &run).await;
    }
    let item = Item::of(below_a_span(run));
    let route = |run: &LoadedRun, facts: &Facts| {
        let settled = rails::settled(&workflow, &run.standing(), answer, facts);
        let transition = settled.map_err(|_| stale())?;
        Ok::<_, Problem>(act(caller.name(), "settled", transition, None, None))
    };
    let settled = record.settle_by_person(&row, answer, caller.name(), &item, route).await?;
    let won = settled.ok_or_else(stale)?;
    fleet::set_going(&app.process.streams, &workflow, &item.run, &won).await;
    Ok(Json(SettledPublication { publication_id: row.publication_id, run_id, seq: Some(won.seq) }))
}

/// The run of an unknown post moved on: what became of the post can still be told, but nothing is sent for it any more.
async fn settle_alone(
    app: &App,
    caller: &Caller,
    row: &Publication,
    answer: Settled,
    run: &LoadedRun,
) -> Result<Json<SettledPublication>, Problem> {
    let state = match answer {
        Settled::Delivered => PublicationState::Confirmed,
        Settled::Abandon => PublicationState::Abandoned,
        Settled::Resend => {
            return Err(Problem::conflict(
                "its run no longer waits for this answer, so nothing would send it: answer delivered or abandon",
            ));
        }
    };
    if !app.process.record.settle_row_by_person(row, state, caller.name(), run).await? {
        return Err(Problem::conflict(
            "the publication is not unknown, or its run moved on meanwhile: look again",
        ));
    }
    Ok(Json(SettledPublication { publication_id: row.publication_id, run_id: row.run_id, seq: None }))
}
