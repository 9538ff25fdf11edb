//! `tidemill pause` and `tidemill resume`.

use std::collections::BTreeSet;

use fleet::Fault;
use record::{PauseKind, Record};

use crate::args::{Database, Pausable, Pause, Resume};
use crate::{local_work, table};

impl From<Pausable> for PauseKind {
    fn from(kind: Pausable) -> Self {
        match kind {
            Pausable::Stage => Self::Stage,
            Pausable::Outlet => Self::Outlet,
            Pausable::Source => Self::Source,
        }
    }
}

pub(crate) async fn pause(pause: Pause) -> Result<(), Fault> {
    let record = pause.database.record().await?;
    let (Some(kind), Some(name)) = (pause.kind, pause.name) else {
        let pauses = record.pauses().await?;
        if pause.json {
            table::json(&serde_json::json!(pauses));
            return Ok(());
        }
        let mut shown = table::table(&["paused", "since", "by", "reason"]);
        for pause in pauses {
            let what = format!("{} {}", pause.kind.as_str(), pause.name);
            shown.add_row([what, pause.paused_at.to_rfc3339(), pause.paused_by, pause.reason]);
        }
        println!("{shown}");
        return Ok(());
    };
    let kind = PauseKind::from(kind);
    if kind == PauseKind::Stage && streams::order_of(&name).is_none() {
        let known: Vec<&str> = streams::WORK_STREAMS.iter().map(|stream| stream.worker).collect();
        return Err(Fault::usage(format!("`{name}` is no worker type: {}", known.join(", "))));
    }
    if record.pause(kind, &name, &local_work::whoami(), &pause.reason).await? {
        println!("Paused; processes notice within a second. What they hold is finished.");
        if let Some(doubt) = doubt(&pause.database, &record, kind, &name).await? {
            eprintln!("{doubt}");
        }
    } else {
        println!("It was paused already.");
    }
    Ok(())
}

/// What to say of an outlet or a source that nobody has named before: it may come yet, or be a slip of the pen.
async fn doubt(
    database: &Database,
    record: &Record,
    kind: PauseKind,
    name: &str,
) -> Result<Option<String>, Fault> {
    let named = match kind {
        PauseKind::Stage => return Ok(None),
        PauseKind::Outlet => outlets(database, record).await,
        PauseKind::Source => sources(database),
    };
    if named.as_ref().is_ok_and(|named| named.contains(name)) || record.has_met(kind, name).await? {
        return Ok(None);
    }
    let kind = kind.as_str();
    let known = match named {
        Ok(named) if named.is_empty() => "the configuration here names none".to_owned(),
        Ok(named) => format!("named here are {}", named.into_iter().collect::<Vec<_>>().join(", ")),
        Err(fault) => format!("what is configured cannot be known here: {fault}"),
    };
    Ok(Some(format!(
        "Warning: no {kind} `{name}` has been seen in the record; {known}. If that is a slip, nothing is paused but \
         this name: `tidemill resume {kind} {name}` takes it back."
    )))
}

/// The outlets that the configuration and the registered workflows name.
async fn outlets(database: &Database, record: &Record) -> Result<BTreeSet<String>, Fault> {
    let section: publisher::config::Section = database.settings()?.section("publisher")?;
    let mut named: BTreeSet<String> = section.outlets.into_keys().collect();
    named.extend([section.outlet, "files".to_owned()]);
    for version in record.workflow_versions().await? {
        let Ok(workflow) = record.workflow(&version).await else { continue };
        let outlets = workflow.steps().filter_map(|step| step.with.get("outlet")?.as_str());
        named.extend(outlets.map(str::to_owned));
    }
    Ok(named)
}

/// The sources that the configuration has polled, and that intents name without a pattern.
fn sources(database: &Database) -> Result<BTreeSet<String>, Fault> {
    let section: planner::config::Section = database.settings()?.section("planner")?;
    let intents = section.intents.into_iter().map(|intent| intent.source);
    let polled = section.sources.into_iter().map(|source| source.name);
    Ok(polled.chain(intents.filter(|source| !source.contains(['*', '?', '[', '{']))).collect())
}

pub(crate) async fn resume(resume: Resume) -> Result<(), Fault> {
    let kind = PauseKind::from(resume.kind);
    if !resume.database.record().await?.resume(kind, &resume.name).await? {
        return Err(Fault::usage(format!(
            "the {} `{}` is not paused: `tidemill pause` lists what is",
            kind.as_str(),
            resume.name
        )));
    }
    println!("Resumed; processes notice within a second, posts of an outlet within ten.");
    Ok(())
}
