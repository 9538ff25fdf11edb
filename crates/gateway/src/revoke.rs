//! Revoking: a person wants a post withdrawn. The gateway commits that; a publisher, which holds the outlet's secrets, does it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::RunId;
use record::{PublicationState, RevocationRequest, RevocationState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{OptionalBody, Path, Words};
use crate::openapi::{Always, Conflicting, Missing, WithBody};
use crate::people;

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Revoke)]
pub(crate) struct Wish {
    /// Why.
    note: Option<Words>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RevocationAsked)]
pub(crate) struct Revocation {
    publication_id: Uuid,
    run_id: RunId,
    revocation: RevocationState,
}

/// Has a post withdrawn from its outlet; the ledger's row tells what comes of it.
#[utoipa::path(
    post,
    operation_id = "revoke_publication",
    path = "/v1/publications/{id}/revoke",
    tag = "people",
    params(("id" = Uuid, Path, description = "The publication")),
    request_body = Wish,
    responses(
        (status = 202, description = "It is committed that it shall be withdrawn", body = Revocation),
        (status = 200, description = "It is withdrawn already", body = Revocation),
        Always,
        Missing,
        Conflicting,
        WithBody,
    ),
)]
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(wish): OptionalBody<Wish>,
) -> Result<(StatusCode, Json<Revocation>), Problem> {
    caller.must("operate")?;
    let row = people::publication(&app, &caller, &id).await?;
    let record = &app.process.record;
    let (status, state) = match record.request_revocation(&row, caller.name(), wish.note.as_deref()).await? {
        RevocationRequest::Asked => (StatusCode::ACCEPTED, RevocationState::Requested),
        RevocationRequest::Before(state @ RevocationState::Revoked) => (StatusCode::OK, state),
        RevocationRequest::Before(state) => (StatusCode::ACCEPTED, state),
        RevocationRequest::NotOut(state) => return Err(Problem::conflict(not_out(state))),
    };
    let answer = Revocation { publication_id: row.publication_id, run_id: row.run_id, revocation: state };
    Ok((status, Json(answer)))
}

fn not_out(state: PublicationState) -> &'static str {
    match state {
        PublicationState::Unknown => {
            "nobody knows whether it went out: look at the outlet, settle it as delivered, then revoke it"
        }
        PublicationState::Rejected => "the outlet refused it: nothing is out that could be revoked",
        _ => "it is under way: revoke it once it is settled",
    }
}
