//! Dead letters: listed, and given another life.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use fleet::{Replayed, Replayer};
use model::RunId;
use record::{DeadLetter, LetterFilter};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Body, Query};
use crate::openapi::{Always, Missing, WithBody};

/// Letters of one request, at most.
const MOST: u32 = 1000;

/// Which letters are meant.
#[derive(Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[schema(as = LetterChoice)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// These; the other filters do not count then.
    #[param(ignore)]
    ids: Option<Vec<Uuid>>,
    /// The step at which they died, the worker type that does it, or words of the stream's name.
    stage: Option<String>,
    /// The fingerprint of their error, as a list shows it.
    error: Option<String>,
    /// Words of the reason or of the entry.
    text: Option<String>,
    /// Died at or after this.
    since: Option<DateTime<Utc>>,
    /// Died before this.
    until: Option<DateTime<Utc>>,
    /// 1 to 1000; 100 unless given.
    limit: Option<u32>,
    /// Only say which.
    #[serde(default)]
    #[param(ignore)]
    dry_run: bool,
}

impl Which {
    async fn filter(&self, app: &App, caller: &Caller) -> Result<LetterFilter, Problem> {
        let steps = match &self.stage {
            Some(stage) => app.workflows.steps().await?.remove(stage).unwrap_or_default(),
            None => BTreeSet::new(),
        };
        Ok(LetterFilter {
            tenant: Some(caller.tenant().to_owned()),
            stage: self.stage.clone(),
            steps: steps.into_iter().collect(),
            error: self.error.clone(),
            text: self.text.clone(),
            since: self.since,
            until: self.until,
        })
    }

    fn chooses(&self) -> bool {
        let texts = [&self.stage, &self.error, &self.text];
        self.ids.is_some() || texts.iter().any(|one| one.is_some()) || self.since.or(self.until).is_some()
    }

    async fn letters(&self, app: &App, caller: &Caller) -> Result<Vec<DeadLetter>, Problem> {
        let limit = i64::from(self.limit.unwrap_or(100).clamp(1, MOST));
        let Some(ids) = &self.ids else {
            return Ok(app.process.record.dead_letters(&self.filter(app, caller).await?, limit).await?);
        };
        let mut found = Vec::with_capacity(ids.len());
        for id in ids.iter().take(usize::try_from(MOST).unwrap_or(usize::MAX)) {
            let letter = app.process.record.dead_letter(*id).await?;
            let own = letter.filter(|letter| letter.tenant.as_deref() == Some(caller.tenant()));
            found.push(own.ok_or_else(|| Problem::not_found(format!("there is no dead letter {id}")))?);
        }
        Ok(found)
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Letters {
    /// The newest first.
    dead_letters: Vec<Letter>,
}

/// A dead letter.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
struct Letter {
    dead_letter_id: Uuid,
    run_id: Option<RunId>,
    /// Where it died.
    step: Option<String>,
    stream: Option<String>,
    /// The fingerprint of its error: the same for letters that died of the same.
    error: String,
    reason: String,
    died_at: DateTime<Utc>,
    replayed_at: Option<DateTime<Utc>>,
    discarded_at: Option<DateTime<Utc>>,
}

impl From<&DeadLetter> for Letter {
    fn from(letter: &DeadLetter) -> Self {
        Self {
            dead_letter_id: letter.dead_letter_id,
            run_id: letter.run,
            step: letter.step.clone(),
            stream: letter.stream.clone(),
            error: letter.fingerprint(),
            reason: letter.reason.clone(),
            died_at: letter.died_at,
            replayed_at: letter.replayed_at,
            discarded_at: letter.discarded_at,
        }
    }
}

/// Lists dead letters of the tenant's runs that wait for a person, newest first.
#[utoipa::path(
    get,
    operation_id = "list_dead_letters",
    path = "/v1/dead-letters",
    tag = "operating",
    params(Which),
    responses((status = 200, description = "Those that wait", body = Letters), Always),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Letters>, Problem> {
    caller.must("read")?;
    let found = which.letters(&app, &caller).await?;
    Ok(Json(Letters { dead_letters: found.iter().map(Letter::from).collect() }))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ReplayedLetters {
    /// How many have another life; none with `dry_run`.
    replayed: usize,
    /// The runs that go on.
    runs: Vec<RunId>,
    /// Letters that cannot be replayed.
    refused: Vec<RefusedLetter>,
    /// Those that were chosen.
    letters: Vec<Letter>,
}

#[derive(Serialize, ToSchema)]
struct RefusedLetter {
    dead_letter_id: Uuid,
    /// Why not.
    detail: String,
}

/// Gives the chosen letters another life; with `dry_run` it only says which.
#[utoipa::path(
    post,
    operation_id = "replay_dead_letters",
    path = "/v1/dead-letters/replay",
    tag = "operating",
    request_body = Which,
    responses((status = 200, description = "What was, or with `dry_run` would be, replayed", body = ReplayedLetters), Missing, WithBody, Always),
)]
pub(crate) async fn replay(
    State(app): State<App>,
    caller: Caller,
    Body(which): Body<Which>,
) -> Result<Json<ReplayedLetters>, Problem> {
    caller.must("operate")?;
    if !which.chooses() {
        return Err(Problem::unprocessable("choose letters by ids, stage, error, text, since or until"));
    }
    let found = which.letters(&app, &caller).await?;
    let letters = found.iter().map(Letter::from).collect();
    let (mut runs, mut refused) = (Vec::new(), Vec::new());
    if which.dry_run {
        return Ok(Json(ReplayedLetters { replayed: 0, runs, refused, letters }));
    }
    let replayer = Replayer::new(app.process.record.clone(), app.process.streams.clone(), caller.name());
    for letter in &found {
        match replayer.replay(letter).await {
            Ok(Replayed::Run(run)) => runs.push(run),
            Ok(Replayed::Entry { .. }) => {}
            Err(fault) => {
                refused.push(RefusedLetter { dead_letter_id: letter.dead_letter_id, detail: fault.message });
            }
        }
    }
    let replayed = found.len() - refused.len();
    Ok(Json(ReplayedLetters { replayed, runs, refused, letters }))
}
