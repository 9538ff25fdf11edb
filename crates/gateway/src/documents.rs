//! Workflow documents: checked, compared, drawn and tested. Nothing is kept of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body as Incoming;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use rails::{Faults, Graph, Workflow};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Body, Path, Query};
use crate::openapi::{Always, Missing, WithBody};
use crate::workflows::{Checked, LONGEST, compiled, find, sent};

/// A workflow: a version that is registered, which needs the role `read`, or a document, which needs `operate` as
/// registering it does.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Which {
    /// The version.
    Version(String),
    /// The document, YAML or JSON, of at most 1 MiB.
    Document(String),
}

impl Which {
    async fn read(&self, app: &App, caller: &Caller) -> Result<Arc<Workflow>, Problem> {
        match self {
            Self::Version(version) => {
                caller.must("read")?;
                let known = app.process.record.registered_workflow(caller.tenant(), version).await?;
                if known.is_none() {
                    return Err(Problem::unprocessable(format!("there is no workflow version `{version}`")));
                }
                Ok(app.workflows.get(version).await?)
            }
            Self::Document(text) => {
                caller.must("operate")?;
                bounded(text)?;
                compiled(app, text).map(Arc::new)
            }
        }
    }
}

fn bounded(text: &str) -> Result<(), Problem> {
    let fits = u64::try_from(text.len()).is_ok_and(|length| length <= LONGEST);
    if fits { Ok(()) } else { Err(Problem::too_large(LONGEST)) }
}

/// A build of another version wrote the stored document.
fn unreadable(faults: Faults) -> Problem {
    Problem::bug(faults.to_string())
}

/// Checks a document as registering it would, and says what a run takes at most; nothing is registered.
#[utoipa::path(
    post,
    operation_id = "validate_workflow",
    path = "/v1/workflows/validate",
    tag = "workflows",
    request_body(
        description = "The document, YAML or JSON, of at most 1 MiB",
        content((String = "application/yaml"), (Object = "application/json")),
    ),
    responses((status = 200, description = "It holds", body = Checked), WithBody, Always),
)]
pub(crate) async fn validate(
    State(app): State<App>,
    caller: Caller,
    body: Incoming,
) -> Result<Json<Checked>, Problem> {
    caller.must("operate")?;
    Checked::of(&compiled(&app, &sent(body).await?)?).map(Json)
}

/// Two workflows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compared {
    old: Which,
    new: Which,
}

/// How two workflows differ.
#[derive(Serialize, ToSchema)]
pub(crate) struct Differences {
    /// The version of the old one.
    old: String,
    /// The version of the new one.
    new: String,
    /// In words, a line each; none where they are the same version.
    differences: Vec<String>,
}

/// Says how two workflows differ.
#[utoipa::path(
    post,
    operation_id = "diff_workflows",
    path = "/v1/workflows/diff",
    tag = "workflows",
    request_body = Compared,
    responses((status = 200, description = "What differs", body = Differences), WithBody, Always),
)]
pub(crate) async fn diff(
    State(app): State<App>,
    caller: Caller,
    Body(which): Body<Compared>,
) -> Result<Json<Differences>, Problem> {
    let (old, new) = (which.old.read(&app, &caller).await?, which.new.read(&app, &caller).await?);
    let differences = new.diff_from(&old).map_err(unreadable)?;
    let [old, new] = [old, new].map(|workflow| workflow.version().to_owned());
    Ok(Json(Differences { old, new, differences }))
}

/// A workflow and cases of its transformers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tested {
    workflow: Which,
    /// The cases, YAML or JSON, of at most 1 MiB.
    cases: String,
}

/// What became of the cases.
#[derive(Serialize, ToSchema)]
pub(crate) struct Results {
    /// The workflow's version.
    pipeline_version: String,
    /// Cases that differ from what they expect.
    failed: usize,
    /// Each case, in order.
    cases: Vec<CaseResult>,
}

/// What became of a case.
#[derive(Serialize, ToSchema)]
struct CaseResult {
    /// Its name, or its number and step.
    name: String,
    /// What differs from what it expects, in words; none where it holds.
    differences: Vec<String>,
}

/// Runs cases of transformers, and nothing else; it needs the role `operate`.
#[utoipa::path(
    post,
    operation_id = "test_workflow",
    path = "/v1/workflows/test",
    tag = "workflows",
    request_body = Tested,
    responses((status = 200, description = "What became of them", body = Results), WithBody, Always),
)]
pub(crate) async fn test(
    State(app): State<App>,
    caller: Caller,
    Body(Tested { workflow, cases }): Body<Tested>,
) -> Result<Json<Results>, Problem> {
    caller.must("operate")?;
    bounded(&cases)?;
    let workflow = workflow.read(&app, &caller).await?;
    let pipeline_version = workflow.version().to_owned();
    // Expressions over much data take their time, which the threads that serve do not have.
    let results = tokio::task::spawn_blocking(move || rails::run_cases(&workflow, &cases)).await;
    let results = results.map_err(|e| Problem::bug(e.to_string()))?.map_err(|faults| {
        Problem::unprocessable(format!("the cases cannot be read:\n{faults}")).with_faults(faults.0)
    })?;
    let cases: Vec<CaseResult> = results
        .into_iter()
        .map(|rails::CaseResult { name, differences }| CaseResult { name, differences })
        .collect();
    let failed = cases.iter().filter(|case| !case.differences.is_empty()).count();
    Ok(Json(Results { pipeline_version, failed, cases }))
}

/// How a workflow is drawn.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Drawing {
    /// `mermaid` unless given.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Mermaid,
    Svg,
}

type Drawn = ([(HeaderName, &'static str); 1], String);

impl Drawing {
    /// Draws a workflow, with how many of the tenant's open runs and branches stand at each step.
    async fn of(&self, app: &App, caller: &Caller, workflow: &Workflow) -> Result<Drawn, Problem> {
        let standing: BTreeMap<String, u64> =
            app.process.record.standing_at(caller.tenant(), workflow.version()).await?;
        let graph = Graph::of(workflow).map_err(unreadable)?;
        let (kind, drawing) = match self.format {
            Format::Mermaid => ("text/vnd.mermaid; charset=utf-8", graph.mermaid(&standing)),
            Format::Svg => ("image/svg+xml", graph.svg(&standing)),
        };
        Ok(([(CONTENT_TYPE, kind)], drawing))
    }
}

/// Draws a document as registering it would make it, with how many open runs and branches of that version stand at each step.
#[utoipa::path(
    post,
    operation_id = "draw_document",
    path = "/v1/workflows/graph",
    tag = "workflows",
    params(Drawing),
    request_body(
        description = "The document, YAML or JSON, of at most 1 MiB",
        content((String = "application/yaml"), (Object = "application/json")),
    ),
    responses(
        (status = 200, description = "The drawing", content((String = "text/vnd.mermaid"), (String = "image/svg+xml"))),
        WithBody,
        Always,
    ),
)]
pub(crate) async fn draw(
    State(app): State<App>,
    caller: Caller,
    Query(drawing): Query<Drawing>,
    body: Incoming,
) -> Result<Drawn, Problem> {
    caller.must("operate")?;
    let workflow = compiled(&app, &sent(body).await?)?;
    drawing.of(&app, &caller, &workflow).await
}

/// Draws a registered version, with how many open runs and branches of it stand at each step.
#[utoipa::path(
    get,
    operation_id = "draw_workflow",
    path = "/v1/workflows/{version}/graph",
    tag = "workflows",
    params(("version" = String, Path, description = "The version"), Drawing),
    responses(
        (status = 200, description = "The drawing", content((String = "text/vnd.mermaid"), (String = "image/svg+xml"))),
        Missing,
        Always,
    ),
)]
pub(crate) async fn graph(
    State(app): State<App>,
    caller: Caller,
    Path(version): Path<String>,
    Query(drawing): Query<Drawing>,
) -> Result<Drawn, Problem> {
    caller.must("read")?;
    find(&app, &caller, &version).await?;
    drawing.of(&app, &caller, &*app.workflows.get(&version).await?).await
}
