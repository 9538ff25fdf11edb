//! Dead letters: listed, and given another life.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use fleet::{Replayed, Replayer};
use record::{DeadLetter, LetterFilter};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::{Body, Query};

/// Letters of one request, at most.
const MOST: u32 = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    ids: Option<Vec<Uuid>>,
    stage: Option<String>,
    error: Option<String>,
    text: Option<String>,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    limit: Option<u32>,
    #[serde(default)]
    dry_run: bool,
}

impl Which {
    fn filter(&self, caller: &Caller) -> LetterFilter {
        LetterFilter {
            tenant: Some(caller.tenant().to_owned()),
            stage: self.stage.clone(),
            error: self.error.clone(),
            text: self.text.clone(),
            since: self.since,
            until: self.until,
        }
    }

    fn chooses(&self) -> bool {
        let texts = [&self.stage, &self.error, &self.text];
        self.ids.is_some() || texts.iter().any(|one| one.is_some()) || self.since.or(self.until).is_some()
    }

    async fn letters(&self, app: &App, caller: &Caller) -> Result<Vec<DeadLetter>, Problem> {
        let limit = i64::from(self.limit.unwrap_or(100).clamp(1, MOST));
        let Some(ids) = &self.ids else {
            return Ok(app.process.record.dead_letters(&self.filter(caller), limit).await?);
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

fn shown(letter: &DeadLetter) -> Value {
    json!({
        "dead_letter_id": letter.dead_letter_id,
        "run_id": letter.run,
        "step": letter.step,
        "stream": letter.stream,
        "error": letter.fingerprint(),
        "reason": letter.reason,
        "died_at": letter.died_at,
        "replayed_at": letter.replayed_at,
        "discarded_at": letter.discarded_at,
    })
}

/// `GET /v1/dead-letters`: those of the tenant's runs that wait, newest first; chosen by `stage`, `error`, `text`,
/// `since`, `until`.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Problem> {
    caller.must("read")?;
    let found = which.letters(&app, &caller).await?;
    Ok(Json(json!({ "dead_letters": found.iter().map(shown).collect::<Vec<_>>() })))
}

/// `POST /v1/dead-letters/replay`: gives the chosen letters another life; with `dry_run` it only says which.
pub(crate) async fn replay(
    State(app): State<App>,
    caller: Caller,
    Body(which): Body<Which>,
) -> Result<Json<Value>, Problem> {
    caller.must("operate")?;
    if !which.chooses() {
        return Err(Problem::unprocessable("choose letters by ids, stage, error, text, since or until"));
    }
    let found = which.letters(&app, &caller).await?;
    let letters: Vec<Value> = found.iter().map(shown).collect();
    if which.dry_run {
        return Ok(Json(json!({ "replayed": 0, "letters": letters })));
    }
    let replayer = Replayer::new(app.process.record.clone(), app.process.streams.clone(), caller.name());
    let (mut runs, mut refused) = (Vec::new(), Vec::new());
    for letter in &found {
        match replayer.replay(letter).await {
            Ok(Replayed::Run(run)) => runs.push(run),
            Ok(Replayed::Entry { .. }) => {}
            Err(fault) => refused.push(json!({
                "dead_letter_id": letter.dead_letter_id, "detail": fault.message,
            })),
        }
    }
    let replayed = found.len() - refused.len();
    Ok(Json(json!({ "replayed": replayed, "runs": runs, "refused": refused, "letters": letters })))
}
