//! `tidemill audit`: do the provenance chains hold?

use fleet::Fault;
use model::RunId;

use crate::args::Audit;
use crate::{local_work, table};

pub(crate) async fn run(command: Audit) -> Result<(), Fault> {
    let Audit::Verify { run, all: _, json, database } = command;
    let run = run.map(|text| local_work::id(&text, "run").map(RunId)).transpose()?;
    let found = database.record().await?.verify(run).await?;
    if json {
        table::json(&serde_json::json!(found));
    } else {
        let verdict = match found.broken.len() {
            0 if found.chains > 0 => " They hold.".to_owned(),
            0 => String::new(),
            broken => format!(" {broken} are broken:"),
        };
        println!("{} chains with {} links looked at.{verdict}", found.chains, found.links);
        for broken in &found.broken {
            println!("run {} branch {}: link {} {}", broken.run_id, broken.branch, broken.pos, broken.fault);
        }
    }
    match (found.broken.len(), found.chains, run) {
        (0, 0, Some(run)) => Err(Fault::usage(format!("there is no run {run}"))),
        (0, ..) => Ok(()),
        (broken, ..) => Err(Fault::bug(format!("{broken} chains are broken"))),
    }
}
