//! `tidemill publications`: the ledger of what went out.

use fleet::Fault;
use serde_json::json;

use crate::args::{Answer, Publications};
use crate::client::Client;
use crate::{local_work, table};

pub(crate) async fn run(command: Publications) -> Result<(), Fault> {
    match command {
        Publications::List { json, gateway } => {
            let found = Client::of(&gateway)?.get("/v1/publications").await?;
            if json {
                table::json(&found["publications"]);
                return Ok(());
            }
            let mut shown = table::table(&["id", "outlet", "state", "run", "reference or reason"]);
            for row in found["publications"].as_array().into_iter().flatten() {
                let told = if row["reference"].is_null() { &row["reason"] } else { &row["reference"] };
                let cells = [&row["publication_id"], &row["outlet"], &row["state"], &row["run_id"], told];
                shown.add_row(cells.map(table::plain));
            }
            println!("{shown}");
        }
        Publications::Settle { publication, answer, gateway } => {
            let id = local_work::id(&publication, "publication")?;
            let answer = match answer {
                Answer::Delivered => "delivered",
                Answer::Resend => "resend",
                Answer::Abandon => "abandon",
            };
            let path = format!("/v1/publications/{id}/settle");
            let settled = Client::of(&gateway)?.post(&path, &json!({ "answer": answer })).await?;
            println!("Settled; run {} goes on.", table::plain(&settled["run_id"]));
        }
    }
    Ok(())
}
