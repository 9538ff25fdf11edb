//! Asking a job's brain, and its outlet. Builds for the benchmark and for tests put a stand-in before it; released builds have none.

use model::{Effect, Failure, Known, Outcome, Sha256Digest};

use crate::{Handler, JobContext};

/// Asks the handler, or the stand-in of this build.
pub(crate) async fn ask<H: Handler>(handler: &H, job: &JobContext) -> Outcome {
    #[cfg(feature = "idle-brains")]
    {
        let _ = handler;
        idle(job)
    }
    #[cfg(not(feature = "idle-brains"))]
    {
        #[cfg(debug_assertions)]
        if let Some(outcome) = crate::failpoint::misbehave(job).await {
            return outcome;
        }
        handler.handle(job).await
    }
}

/// Asks the effect's outlet whether it has the key.
pub(crate) async fn ask_outlet<H: Handler>(
    handler: &H,
    effect: &Effect,
    key: Sha256Digest,
) -> Result<Known, Failure> {
    #[cfg(debug_assertions)]
    if crate::failpoint::outlet_is_mute() {
        return Ok(Known::CannotTell);
    }
    handler.ask(effect, key).await
}

/// A brain that does nothing: a result of about 300 bytes.
#[cfg(feature = "idle-brains")]
fn idle(job: &JobContext) -> Outcome {
    Outcome::Done(model::Report::of(serde_json::json!({ "step": job.step, "result": "r".repeat(270) })))
}
