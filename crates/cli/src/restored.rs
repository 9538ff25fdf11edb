//! `tidemill restored`: the record was put back from a backup.

use fleet::Fault;
use streams::Streams;

use crate::args::Restored;

/// A consumer that asked for work within this time is a process that runs, or did just now.
const LIVE_MS: u64 = 10_000;

async fn live(streams: &Streams) -> Result<Vec<String>, Fault> {
    let mut live = Vec::new();
    for stream in streams::WORK_STREAMS {
        for partition in 0..streams.partitions() {
            let consumers = streams.consumers(stream.worker, partition).await?;
            live.extend(consumers.into_iter().filter(|one| one.idle_ms < LIVE_MS).map(|one| one.name));
        }
    }
    Ok(live)
}

pub(crate) async fn run(restored: Restored) -> Result<(), Fault> {
    let record = restored.database.record().await?;
    record.check_schema().await?;
    // Connected to before anything is written: what it knows of the time after the backup goes.
    let streams = restored.database.streams().await?;
    let live = live(&streams).await?;
    if !live.is_empty() {
        eprintln!(
            "Warning: {} read within the last {} s. Stop every process before the record is put back and used: what they \
             hold belongs to the time before.",
            live.join(", "),
            LIVE_MS / 1000
        );
    }
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
