//! `tidemill recall`.

use fleet::Fault;

use crate::args::Recall;
use crate::client::{self, Client};
use crate::table;

pub(crate) async fn run(recall: Recall) -> Result<(), Fault> {
    let path = format!("/v1/recall?k={}&q={}", recall.k, client::escaped(&recall.text));
    let found = Client::of(&recall.gateway)?.get(&path).await?;
    if recall.json {
        table::json(&found["results"]);
        return Ok(());
    }
    let mut shown = table::table(&["score", "title", "state", "run"]);
    for one in found["results"].as_array().into_iter().flatten() {
        let score = format!("{:.3}", one["score"].as_f64().unwrap_or_default());
        let title = table::short(&table::plain(&one["title"]), 70);
        shown.add_row([score, title, table::plain(&one["state"]), table::plain(&one["run_id"])]);
    }
    println!("{shown}\nCompared by {}.", table::plain(&found["model"]));
    Ok(())
}
