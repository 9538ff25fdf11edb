//! `tidemill model`: the embedding model.

use fleet::Fault;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Model;

pub(crate) async fn run(command: Model) -> Result<(), Fault> {
    let Model::Fetch { folder } = command;
    if vectors::model_folder::verify(&folder).is_ok() {
        println!("The model is in {}.", folder.display());
        return Ok(());
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("fetching the embedding model {bar:40} {bytes}/{total_bytes}")
    {
        bar.set_style(style);
    }
    let fetched = vectors::model_folder::fetch(&folder, |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })
    .await;
    bar.finish_and_clear();
    fetched.map_err(|e| Fault::unavailable(format!("the embedding model could not be fetched: {e}")))?;
    println!("The model is in {}.", folder.display());
    Ok(())
}
