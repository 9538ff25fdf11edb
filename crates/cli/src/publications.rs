//! `tidemill publications`: the ledger of what went out.

use fleet::Fault;
use serde_json::{Value, json};

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
                let mut cells = [&row["publication_id"], &row["outlet"], &row["state"], &row["run_id"], told]
                    .map(table::plain);
                if let Some(revocation) = revocation(row) {
                    cells[4] = format!("{}\n{revocation}", cells[4]);
                }
                shown.add_row(cells);
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
        Publications::Revoke { publication, note, gateway } => {
            let id = local_work::id(&publication, "publication")?;
            let path = format!("/v1/publications/{id}/revoke");
            let answer = Client::of(&gateway)?.post(&path, &json!({ "note": note })).await?;
            if answer["revocation"] == "revoked" {
                println!("It is revoked already.");
            } else {
                println!(
                    "Asked for; `tidemill why {}` tells what comes of it.",
                    table::plain(&answer["run_id"])
                );
            }
        }
    }
    Ok(())
}

/// In words, how the revocation of a ledger row stands.
pub(crate) fn revocation(row: &Value) -> Option<String> {
    let asked = row.get("revocation").filter(|asked| !asked.is_null())?;
    let [state, who, note, detail, next] =
        [&asked["state"], &asked["requested_by"], &asked["note"], &asked["detail"], &asked["next_at"]]
            .map(table::plain);
    let note = if note.is_empty() { note } else { format!(" ({note})") };
    Some(match state.as_str() {
        "revoked" => format!("revoked, asked for by {who}{note}: {detail}"),
        "refused" => format!("not revoked, asked for by {who}{note}: {detail}"),
        _ if detail.is_empty() => format!("to be revoked, asked for by {who}{note}"),
        _ => format!("to be revoked, asked for by {who}{note}; the next try is due at {next}: {detail}"),
    })
}
