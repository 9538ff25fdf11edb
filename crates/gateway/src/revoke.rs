//! Revoking: a person wants a post withdrawn. The gateway commits that; a publisher, which holds the outlet's secrets, does it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use record::{PublicationState, RevocationRequest, RevocationState};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{OptionalBody, Words};
use crate::people;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    note: Option<Words>,
}

/// `POST /v1/publications/{id}/revoke`: 202 once it is committed, 200 where the post is revoked already.
pub(crate) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    OptionalBody(wish): OptionalBody<Wish>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.must("operate")?;
    let row = people::publication(&app, &caller, &id).await?;
    let record = &app.process.record;
    let (status, state) = match record.request_revocation(&row, caller.name(), wish.note.as_deref()).await? {
        RevocationRequest::Asked => (StatusCode::ACCEPTED, RevocationState::Requested),
        RevocationRequest::Before(state @ RevocationState::Revoked) => (StatusCode::OK, state),
        RevocationRequest::Before(state) => (StatusCode::ACCEPTED, state),
        RevocationRequest::NotOut(state) => return Err(Problem::conflict(not_out(state))),
    };
    let answer = json!({ "publication_id": row.publication_id, "run_id": row.run_id, "revocation": state });
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
