//! Jobs beside an entry's own next one: of branches that a fork opened, and of the run that a branch's end moved on. They are
//! added before the entry leaves; a crash in between is repaired by the entry's next delivery.

use rails::Workflow;
use record::OutstandingRun;

use super::hand_over::Leaving;
use super::{Engine, breaker};
use crate::{Handler, jobs};

/// Adds jobs, again and again until Redis takes them or the process gives up, then sends the entries on.
pub(crate) async fn add_then_leave<H: Handler>(
    engine: &Engine<H>,
    workflow: &Workflow,
    jobs: &[OutstandingRun],
    leaving: Vec<Leaving>,
) {
    crate::failpoint::reach("opening");
    let mut pace = breaker::pace();
    for job in jobs {
        while let Err(error) = jobs::add_job(&engine.process.streams, workflow, job).await {
            tracing::warn!(%error, run_id = %job.job.key.run, "a job could not be added; it is tried again");
            tokio::select! {
                // The entries stay pending: whoever takes them over adds the jobs.
                () = engine.give_up.cancelled() => return,
                () = tokio::time::sleep(breaker::next(&mut pace)) => {}
            }
        }
    }
    crate::failpoint::reach("opened");
    engine.leave_all(leaving);
}
