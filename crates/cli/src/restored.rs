//! `tidemill restored`: the record was put back from a backup.

use fleet::Fault;

use crate::args::Restored;

pub(crate) async fn run(restored: Restored) -> Result<(), Fault> {
    let record = restored.database.record().await?;
    record.check_schema().await?;
    // Connected to before anything is written: what it knows of the time after the backup goes.
    let streams = restored.database.streams().await?;
    let began = record.begin_epoch(&restored.reason).await?;
    streams.forget_confirmed().await?;
    println!(
        "Epoch {} has begun. {} open runs ask their outlet before they post; the fleet may be started.",
        began.epoch, began.open_runs
    );
    if began.renumbered > 0 {
        println!(
            "{} links and vectors came from another server, and count as of this one.",
            began.renumbered
        );
    }
    Ok(())
}
