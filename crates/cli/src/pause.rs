//! `tidemill pause` and `tidemill resume`.

use fleet::Fault;
use record::PauseKind;

use crate::args::{Pausable, Pause, Resume};
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
    } else {
        println!("It was paused already.");
    }
    Ok(())
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
