//! Crash points for tests: places of the hand-over protocol at which a process can be made to die or stop, and jobs that
//! can be told to misbehave.
//!
//! Debug builds alone have them; a release build has none. `TIDEMILL_FAILPOINT=name:n` kills the process with SIGKILL at
//! the n-th passage of a point (the first, where `n` is absent), `name:n:stop` stops it with SIGSTOP; with
//! `TIDEMILL_FAILPOINT_ONCE=path` only the first process that makes the file does, so that a restarted one passes.

#[cfg(debug_assertions)]
mod armed {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use model::{EnrichedTrend, Outcome, Report};
    use nix::sys::signal::{Signal, raise};

    use crate::JobContext;

    static PASSAGES: AtomicU32 = AtomicU32::new(0);

    /// Passes a crash point: the process may die or stop here.
    pub fn reach(name: &str) {
        let Ok(wanted) = std::env::var("TIDEMILL_FAILPOINT") else { return };
        let mut parts = wanted.split(':');
        if parts.next() != Some(name) {
            return;
        }
        let at: u32 = parts.next().and_then(|n| n.parse().ok()).unwrap_or(1);
        if PASSAGES.fetch_add(1, Ordering::SeqCst) + 1 != at {
            return;
        }
        if let Ok(marker) = std::env::var("TIDEMILL_FAILPOINT_ONCE")
            && std::fs::File::create_new(marker).is_err()
        {
            return;
        }
        let signal = if parts.next() == Some("stop") { Signal::SIGSTOP } else { Signal::SIGKILL };
        if let Err(error) = raise(signal) {
            tracing::error!(%error, "the failpoint could not raise its signal");
        }
    }

    /// Whether outlets cannot tell what they have, where `TIDEMILL_MUTE_OUTLET` is set.
    pub(crate) fn outlet_is_mute() -> bool {
        std::env::var_os("TIDEMILL_MUTE_OUTLET").is_some()
    }

    /// What a payload tells its job to do under the key `misbehave`, where `TIDEMILL_MISBEHAVE` is set: `crash` the
    /// process, `overflow` a column of the record, or sleep for a while, such as `120s`.
    pub(crate) async fn misbehave(job: &JobContext) -> Option<Outcome> {
        std::env::var_os("TIDEMILL_MISBEHAVE")?;
        let payload: serde_json::Value = serde_json::from_str(job.payload.as_deref()?).ok()?;
        match payload.get("misbehave")?.as_str()? {
            "crash" => {
                raise(Signal::SIGKILL).ok();
                None
            }
            "overflow" => Some(Outcome::Done(Report {
                output: serde_json::json!({ "note": "its trend is out of range" }),
                trend: Some(EnrichedTrend {
                    language: "nul \0".to_owned(),
                    sentiment: 1e9,
                    topics: vec![],
                    toxicity_score: 0.0,
                    confidence: 1.0,
                    published_at: None,
                }),
                ..Report::default()
            })),
            pause => {
                tokio::time::sleep(humantime::parse_duration(pause).unwrap_or(Duration::ZERO)).await;
                None
            }
        }
    }
}

#[cfg(debug_assertions)]
pub use armed::reach;
#[cfg(debug_assertions)]
pub(crate) use armed::{misbehave, outlet_is_mute};

/// Passes a crash point; a release build has none.
#[cfg(not(debug_assertions))]
pub fn reach(_name: &str) {}
