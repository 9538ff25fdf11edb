//! `tidemill escalations`: what people are asked.

use fleet::Fault;
use serde_json::{Value, json};

use crate::args::{Decision, Escalations};
use crate::client::Client;
use crate::{local_work, table};

pub(crate) async fn run(command: Escalations) -> Result<(), Fault> {
    match command {
        Escalations::List { json, gateway } => {
            let found = Client::of(&gateway)?.get("/v1/escalations").await?;
            if json {
                table::json(&found["escalations"]);
                return Ok(());
            }
            let mut shown = table::table(&["escalation", "issue", "priority", "due", "rule", "question"]);
            for one in found["escalations"].as_array().into_iter().flatten() {
                let question = table::short(&table::plain(&one["question"]), 60);
                let [id, issue, priority, due, rule] = [
                    &one["escalation_id"],
                    &one["issue_type"],
                    &one["priority"],
                    &one["due_at"],
                    &one["rule"],
                ]
                .map(table::plain);
                let late =
                    chrono::DateTime::parse_from_rfc3339(&due).is_ok_and(|due| due < chrono::Utc::now());
                let due = if late { format!("{due} overdue") } else { due };
                shown.add_row([id, issue, priority, due, rule, question]);
            }
            println!("{shown}");
        }
        Escalations::Show { escalation, gateway } => {
            let id = local_work::id(&escalation, "escalation")?;
            table::json(&Client::of(&gateway)?.get(&format!("/v1/escalations/{id}")).await?);
        }
        Escalations::Resolve {
            escalation,
            decision,
            content,
            step,
            tokens,
            cost_micros,
            time,
            cheaper,
            note,
            who,
            version,
            gateway,
        } => {
            let id = local_work::id(&escalation, "escalation")?;
            let decision = match decision {
                Decision::Approve => "approve",
                Decision::Reject => "reject",
                Decision::Edit => "edit",
                Decision::SendBack => "send_back",
                Decision::Override => "override",
                Decision::TopUp => "top_up",
                Decision::Cheaper => "cheaper",
                Decision::Finish => "finish",
                Decision::Stop => "stop",
            };
            let said = tokens.is_some() || cost_micros.is_some() || time.is_some();
            let grants = decision == "top_up" || (decision == "cheaper" && said);
            let more = grants.then(
                || json!({ "tokens": tokens, "cost_micros": cost_micros, "time": time, "cheaper": cheaper }),
            );
            let content: Option<Value> = content
                .map(|file| {
                    let text = std::fs::read_to_string(&file)
                        .map_err(|e| Fault::usage(format!("{} cannot be read: {e}", file.display())))?;
                    serde_json::from_str(&text)
                        .map_err(|e| Fault::usage(format!("{} is not JSON: {e}", file.display())))
                })
                .transpose()?;
            let body = json!({ "decision": decision, "content": content, "step": step, "more": more, "note": note, "who": who, "version": version });
            let path = format!("/v1/escalations/{id}/resolve");
            let resolved = Client::of(&gateway)?.post(&path, &body).await?;
            let [run, state, step] =
                [&resolved["run_id"], &resolved["state"], &resolved["step"]].map(table::plain);
            println!("Resolved; run {run} is {state} at {step}.");
        }
    }
    Ok(())
}
