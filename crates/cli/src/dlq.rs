//! `tidemill dlq`: dead letters, and their other life.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{Fault, Replayed, Replayer, Workflows};
use record::{DeadLetter, LetterFilter, Record, error_fingerprint};
use serde_json::{Value, json};

use crate::args::{Database, Dlq, Letters};
use crate::{local_work, table};

/// How long a canary may take to get past the place where it died.
const CANARY: Duration = Duration::from_secs(60);
/// Letters that one command works on.
const MOST: i64 = 100_000;

pub(crate) async fn run(command: Dlq) -> Result<(), Fault> {
    match command {
        Dlq::List { letters, limit, json, database } => {
            let record = database.record().await?;
            let found = if letters.ids.is_empty() {
                chosen(&record, &letters, i64::from(limit)).await?
            } else {
                meant(&record, &letters).await?
            };
            if json {
                table::json(&found.iter().map(shown).collect());
            } else {
                list(&found);
            }
            Ok(())
        }
        Dlq::Show { letter, database } => {
            table::json(&shown(&find(&database.record().await?, &letter).await?));
            Ok(())
        }
        Dlq::Replay { letters, yes, canary, database } => replay(&database, &letters, yes, canary).await,
        Dlq::Discard { letters, reason, yes, database } => discard(&database, &letters, &reason, yes).await,
    }
}

/// The letters that the filter lets through. A stage without any must at least exist.
async fn chosen(record: &Record, letters: &Letters, limit: i64) -> Result<Vec<DeadLetter>, Fault> {
    let mut filter = filter(letters)?;
    let Some(stage) = &letters.stage else { return Ok(record.dead_letters(&filter, limit).await?) };
    let stages = Workflows::new(record.clone()).steps().await?;
    filter.steps = stages.get(stage).into_iter().flatten().cloned().collect();
    let found = record.dead_letters(&filter, limit).await?;
    let is_step = stages.values().flatten().any(|step| step == stage);
    let is_stream = || stream_names().any(|stream| stream.contains(stage.as_str()));
    if found.is_empty() && filter.steps.is_empty() && !is_step && !is_stream() {
        let known = stages.iter().map(|(worker, steps)| {
            format!("{worker} ({})", steps.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        });
        return Err(Fault::usage(format!(
            "`{stage}` is no stage, and no letter has it: known are {}, and the streams {}",
            known.collect::<Vec<_>>().join(", "),
            stream_names().collect::<Vec<_>>().join(", ")
        )));
    }
    Ok(found)
}

/// The streams whose entries may become letters, by their plain names.
fn stream_names() -> impl Iterator<Item = String> {
    let work = streams::WORK_STREAMS.iter().map(|stream| format!("{}:{}", stream.base, stream.kind));
    let others = [streams::HITL_RESOLUTION, streams::PLANNER_TRIGGERS, streams::DATASET_EVENTS];
    work.chain(others.map(str::to_owned)).chain(["source:".to_owned()])
}

fn filter(letters: &Letters) -> Result<LetterFilter, Fault> {
    Ok(LetterFilter {
        tenant: None,
        stage: letters.stage.clone(),
        steps: Vec::new(),
        error: letters.error.clone(),
        text: letters.text.clone(),
        since: letters.since.as_deref().map(local_work::moment).transpose()?,
        until: letters.until.as_deref().map(local_work::moment).transpose()?,
    })
}

/// The letters that are meant: those named, else those that the filter lets through.
async fn meant(record: &Record, letters: &Letters) -> Result<Vec<DeadLetter>, Fault> {
    if letters.ids.is_empty() {
        if letters.is_empty() {
            return Err(Fault::usage(
                "name letters, or choose them by --stage, --error, --text, --since, --until; --all means every one",
            ));
        }
        return chosen(record, letters, MOST).await;
    }
    let mut found = Vec::with_capacity(letters.ids.len());
    for id in &letters.ids {
        found.push(find(record, id).await?);
    }
    Ok(found)
}

async fn find(record: &Record, text: &str) -> Result<DeadLetter, Fault> {
    let id = local_work::id(text, "dead letter")?;
    record.dead_letter(id).await?.ok_or_else(|| Fault::usage(format!("there is no dead letter {id}")))
}

fn place(letter: &DeadLetter) -> &str {
    letter.step.as_deref().or(letter.stream.as_deref()).unwrap_or_default()
}

fn list(letters: &[DeadLetter]) {
    let mut rows = table::table(&["letter", "run", "step or stream", "error", "died", "reason"]);
    for letter in letters {
        rows.add_row([
            letter.dead_letter_id.to_string(),
            letter.run.map(|run| run.to_string()).unwrap_or_default(),
            place(letter).to_owned(),
            letter.fingerprint(),
            letter.died_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            table::short(&letter.reason, 60),
        ]);
    }
    println!("{rows}");
    if letters.is_empty() {
        println!("No dead letters wait.");
    }
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
        "error": letter.fingerprint(),
        "reason": letter.reason,
        "died_at": letter.died_at,
        "replayed_at": letter.replayed_at,
        "discarded_at": letter.discarded_at,
        "fields": fields,
    })
}

/// What a replay would do: letters by place and error, and the effects that their runs have committed already.
async fn plan(record: &Record, letters: &[DeadLetter]) -> Result<(), Fault> {
    let mut groups: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
    let mut effects: BTreeMap<String, usize> = BTreeMap::new();
    for letter in letters {
        let group = groups.entry((place(letter).to_owned(), letter.fingerprint())).or_default();
        group.0 += 1;
        group.1 = table::short(&letter.reason, 60);
        if let Some(run) = letter.run {
            for row in record.publications_of(run).await? {
                *effects.entry(format!("{} at {}", row.state.as_str(), row.outlet)).or_default() += 1;
            }
        }
    }
    let mut rows = table::table(&["letters", "would go on at", "error", "such as"]);
    for ((place, error), (count, reason)) in groups {
        rows.add_row([count.to_string(), place, error, reason]);
    }
    println!("{rows}");
    if effects.is_empty() {
        println!("None of their runs has published anything.");
    } else {
        println!("Already in the ledger, and not sent again blindly:");
        effects.iter().for_each(|(what, count)| println!("  {count} {what}"));
    }
    Ok(())
}

async fn replay(database: &Database, letters: &Letters, yes: bool, canary: usize) -> Result<(), Fault> {
    let record = database.record().await?;
    let mut found = meant(&record, letters).await?;
    if found.is_empty() {
        println!("No letter is meant: nothing to do.");
        return Ok(());
    }
    plan(&record, &found).await?;
    if !yes {
        println!("Nothing was done. Add --yes to replay them, and --canary 1 to try one first.");
        return Ok(());
    }
    let gates = database.settings()?.shared.gates.read()?;
    let record = record.judging_by(std::sync::Arc::new(gates));
    let replayer = Replayer::new(record, database.streams().await?, &local_work::whoami());
    // The oldest first.
    found.reverse();
    let (canaries, rest) = found.split_at(canary.min(found.len()));
    try_out(&replayer, canaries).await?;
    for letter in rest {
        replayer.replay(letter).await?;
    }
    println!("{} replayed.", found.len());
    Ok(())
}

/// Replays some letters and waits; stops where one dies of the same error again.
async fn try_out(replayer: &Replayer, letters: &[DeadLetter]) -> Result<(), Fault> {
    let mut tried: Vec<(&DeadLetter, Replayed)> = Vec::new();
    for letter in letters {
        tried.push((letter, replayer.replay(letter).await?));
    }
    for (letter, replayed) in tried {
        match replayer.outcome(&replayed, CANARY).await? {
            Some(reason) if error_fingerprint(&reason) == letter.fingerprint() => {
                return Err(Fault::unavailable(format!(
                    "the canary died of the same error again ({}): {reason}; the others were left alone",
                    letter.fingerprint()
                )));
            }
            Some(reason) => println!("Canary {} died of another error: {reason}", letter.dead_letter_id),
            None => println!("Canary {} got past the place where it died.", letter.dead_letter_id),
        }
    }
    Ok(())
}

async fn discard(database: &Database, letters: &Letters, reason: &str, yes: bool) -> Result<(), Fault> {
    let record = database.record().await?;
    let found = meant(&record, letters).await?;
    list(&found);
    if !yes {
        println!(
            "Nothing was done. Add --yes to discard these {}; they are kept, and wait for nobody.",
            found.len()
        );
        return Ok(());
    }
    let by = local_work::whoami();
    let mut discarded = 0;
    for letter in &found {
        discarded += usize::from(record.discard_letter(letter.dead_letter_id, &by, reason).await?);
    }
    println!("{discarded} discarded.");
    Ok(())
}
