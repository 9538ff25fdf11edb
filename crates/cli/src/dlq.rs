//! `tidemill dlq`: dead letters, and their other life.

use fleet::{Fault, Workflows};
use model::{Actor, EntryFields, RunId};
use rails::{Facts, Signal, Standing};
use record::{Advance, DeadLetter, Item, Record, Routed};
use serde_json::{Value, json};

use crate::args::{Database, Dlq};
use crate::{local_work, table};

pub(crate) async fn run(command: Dlq) -> Result<(), Fault> {
    match command {
        Dlq::List { limit, json, database } => {
            let letters = database.record().await?.dead_letters(None, i64::from(limit)).await?;
            if json {
                table::json(&letters.iter().map(shown).collect());
                return Ok(());
            }
            let mut rows = table::table(&["letter", "run", "step or stream", "died", "reason"]);
            for letter in letters {
                let run = letter.run.map(|run| run.to_string()).unwrap_or_default();
                let place = letter.step.or(letter.stream).unwrap_or_default();
                let reason = table::short(&letter.reason, 70);
                rows.add_row([
                    letter.dead_letter_id.to_string(),
                    run,
                    place,
                    letter.died_at.to_rfc3339(),
                    reason,
                ]);
            }
            println!("{rows}");
        }
        Dlq::Show { letter, database } => {
            table::json(&shown(&find(&database.record().await?, &letter).await?))
        }
        Dlq::Replay { letter, database } => replay(&database, &letter).await?,
    }
    Ok(())
}

async fn find(record: &Record, text: &str) -> Result<DeadLetter, Fault> {
    let id = local_work::id(text, "dead letter")?;
    record.dead_letter(id).await?.ok_or_else(|| Fault::usage(format!("there is no dead letter {id}")))
}

fn shown(letter: &DeadLetter) -> Value {
    let field = |bytes: &Vec<u8>| match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": hex::encode(bytes) }),
    };
    let fields: Vec<Value> =
        letter.fields.iter().map(|(name, value)| json!([field(name), field(value)])).collect();
    json!({
        "dead_letter_id": letter.dead_letter_id,
        "run_id": letter.run,
        "step": letter.step,
        "stream": letter.stream,
        "entry_id": letter.entry_id,
        "reason": letter.reason,
        "died_at": letter.died_at,
        "replayed_at": letter.replayed_at,
        "fields": fields,
    })
}

async fn replay(database: &Database, text: &str) -> Result<(), Fault> {
    let record = database.record().await?;
    let letter = find(&record, text).await?;
    if letter.replayed_at.is_some() {
        return Err(Fault::usage("the letter was replayed before"));
    }
    match (letter.run, letter.stream) {
        (Some(run), _) => replay_run(database, &record, run).await,
        (None, Some(stream)) => {
            replay_entry(database, &record, letter.dead_letter_id, &stream, letter.entry_id, letter.fields)
                .await
        }
        (None, None) => Err(Fault::bug("the letter names neither run nor stream")),
    }
}

/// The entry is added again as it was. One that was never adopted gets the request id it would have had, so that it
/// becomes one run however often it is replayed.
async fn replay_entry(
    database: &Database,
    record: &Record,
    id: uuid::Uuid,
    stream: &str,
    entry: Option<String>,
    mut fields: EntryFields,
) -> Result<(), Fault> {
    if model::UpstreamEntry::recognises(&fields) && !fields.iter().any(|(name, _)| name == b"request_id") {
        let request_id = record::upstream_request_id(stream, entry.as_deref().unwrap_or_default(), &fields);
        fields.push((b"request_id".to_vec(), request_id.into_bytes()));
    }
    database.streams().await?.add_raw(stream, &fields).await?;
    record.mark_letter_replayed(id).await?;
    println!("Added to {stream} again.");
    Ok(())
}

/// The run goes on at the step it died at, with a fresh `seq`.
async fn replay_run(database: &Database, record: &Record, run: RunId) -> Result<(), Fault> {
    let moved = || Fault::usage(format!("run {run} is not dead any more"));
    let loaded = record.load(&[run], false, &[]).await?.pop().ok_or_else(moved)?;
    let workflow = Workflows::new(record.clone()).get(&loaded.pipeline_version).await?;
    let standing = Standing {
        run,
        state: loaded.state,
        lifecycle: loaded.lifecycle,
        step: &loaded.step,
        attempt: loaded.attempt,
        content: loaded.content_sha256,
    };
    let transition =
        rails::advance(&workflow, &standing, &Signal::Replay, &Default::default(), &Facts::default())
            .map_err(|_| moved())?;
    let advance = Advance {
        what: "replayed",
        output: None,
        content: None,
        trend: None,
        embedding: None,
        actor: Actor { name: "person".to_owned(), version: String::new(), id: whoami() },
        at: chrono::Utc::now(),
        model: None,
        prompt: None,
        input_sha256: None,
        original: Vec::new(),
        origin: None,
    };
    let routed = Routed { transition, delay: std::time::Duration::ZERO, advance };
    let item = Item { run: loaded, admission: None, claims: model::Claims::default() };
    record.replay(item, routed).await?.ok_or_else(moved)?;
    if let Some(outstanding) = record.present_job(run).await?
        && let Some(step) = workflow.step(&outstanding.job.step)
    {
        database
            .streams()
            .await?
            .add(step.worker.as_str(), outstanding.partition, &[outstanding.job])
            .await?;
    }
    println!("Run {run} goes on.");
    Ok(())
}

fn whoami() -> String {
    nix::unistd::User::from_uid(nix::unistd::Uid::current())
        .ok()
        .flatten()
        .map(|user| user.name)
        .unwrap_or_default()
}
