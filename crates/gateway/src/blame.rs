//! Who wrote a place of a run's blackboard.

use axum::Json;
use axum::extract::State;
use model::RunId;
use rails::{Deed, Memory, Touch};
use record::PatchLink;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Path, Query};
use crate::openapi::{Always, Missing};
use crate::runs::with_board;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Place {
    /// A JSON Pointer into the blackboard, such as `/content_slots/hero_headline/text`.
    pointer: String,
}

/// Who wrote a place of a blackboard.
#[derive(Serialize, ToSchema)]
pub(crate) struct Blame {
    run_id: RunId,
    pointer: String,
    /// Whether the place is there now.
    present: bool,
    /// What stands there now.
    value: Value,
    /// Patches applied to the blackboard.
    version: i64,
    /// Whether it comes from an untrusted source, and has passed no gate.
    tainted: bool,
    /// What the value comes from, the last one first: the last entry wrote it, those before changed something within, or brought
    /// it from elsewhere.
    writers: Vec<Writer>,
    /// Whether it, or what was changed, was there from the beginning: as an input, or by the workflow's default.
    from_the_beginning: bool,
}

/// One who wrote.
#[derive(Serialize, ToSchema)]
pub(crate) struct Writer {
    /// What was done to the place.
    deed: DidWhat,
    /// Where the value stood then.
    pointer: String,
    /// The operation, RFC 6902.
    operation: Value,
    /// The blackboard's version afterwards.
    board_version: i64,
    branch: i32,
    pos: i32,
    /// When.
    at: String,
    step: String,
    /// What happened, such as `done` or `decided`.
    what: String,
    /// The process or person.
    actor: Value,
    /// The cluster by whose leave it was written.
    cluster_id: Option<String>,
    model: Option<String>,
    prompt_sha256: Option<String>,
    /// Digest of what the writer was given.
    input_sha256: Option<String>,
    output_sha256: Option<String>,
    /// The artifact that the step left with it.
    output: Option<Value>,
}

/// What an operation did to a place.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DidWhat {
    Wrote,
    ChangedWithin,
    Brought,
    Removed,
}

/// What is told of a link.
#[derive(Deserialize)]
struct Link {
    at: String,
    step: String,
    what: String,
    actor: Value,
    board_version: i64,
    patch_applied: Value,
    cluster_id: Option<String>,
    model: Option<String>,
    prompt_sha256: Option<String>,
    input_sha256: Option<String>,
    output_sha256: Option<String>,
}

/// Says who wrote a place of a run's blackboard, when, from what, with which model and prompt.
#[utoipa::path(
    get,
    operation_id = "blame",
    path = "/v1/runs/{id}/blame",
    tag = "runs",
    params(("id" = Uuid, Path, description = "The run"), Place),
    responses((status = 200, description = "Who wrote it", body = Blame), Missing, Always),
)]
pub(crate) async fn blame(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(Place { pointer }): Query<Place>,
) -> Result<Json<Blame>, Problem> {
    let (run_id, workflow, memory) = with_board(&app, &caller, &id).await?;
    let patches = app.process.record.patches(run_id).await?;
    let patches = patches.ok_or_else(|| Problem::not_found(format!("there is no run {run_id}")))?;
    let first = Memory::begin(&workflow, serde_json::from_slice(&patches.payload).unwrap_or_default());
    let links = patches.links.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let applied: Vec<&Value> = links.iter().map(|(_, link)| &link.patch_applied).collect();
    let (touches, from_the_beginning) =
        rails::blame(&first.board, &applied, &pointer).map_err(Problem::bad_request)?;
    let value = memory.board.pointer(&pointer);
    Ok(Json(Blame {
        run_id,
        present: value.is_some(),
        value: value.cloned().unwrap_or_default(),
        version: memory.version,
        tainted: memory.is_tainted(&pointer),
        writers: touches.iter().filter_map(|touch| writer(touch, links.get(touch.patch)?)).collect(),
        from_the_beginning,
        pointer,
    }))
}

fn read(link: &PatchLink) -> Result<(&PatchLink, Link), Problem> {
    let told = serde_json::from_str(link.entry.get());
    told.map(|told| (link, told))
        .map_err(|error| Problem::bug(format!("link {}/{} cannot be read: {error}", link.branch, link.pos)))
}

fn writer(touch: &Touch, (at, link): &(&PatchLink, Link)) -> Option<Writer> {
    let output = at.output.as_ref().and_then(|output| serde_json::from_str(output.get()).ok());
    Some(Writer {
        deed: match touch.deed {
            Deed::Wrote => DidWhat::Wrote,
            Deed::ChangedWithin => DidWhat::ChangedWithin,
            Deed::Brought => DidWhat::Brought,
            Deed::Removed => DidWhat::Removed,
        },
        pointer: touch.pointer.clone(),
        operation: link.patch_applied.get(touch.operation)?.clone(),
        board_version: link.board_version,
        branch: at.branch,
        pos: at.pos,
        at: link.at.clone(),
        step: link.step.clone(),
        what: link.what.clone(),
        actor: link.actor.clone(),
        cluster_id: link.cluster_id.clone(),
        model: link.model.clone(),
        prompt_sha256: link.prompt_sha256.clone(),
        input_sha256: link.input_sha256.clone(),
        output_sha256: link.output_sha256.clone(),
        output,
    })
}
