//! Crash points for tests: places of the hand-over protocol at which a process can be made to die or stop.
//!
//! Compiled in only with the feature `failpoints`, which no released binary has. `TIDEMILL_FAILPOINT=name` kills the
//! process with SIGKILL at the n-th passage (`name:n`), `name:n:stop` stops it with SIGSTOP, once per marker file
//! (`TIDEMILL_FAILPOINT_ONCE=path`), so that a restarted process passes.

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::sys::signal::{Signal, raise};

    static PASSAGES: AtomicU32 = AtomicU32::new(0);

    pub(crate) fn reach(name: &str) {
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
}

#[cfg(feature = "failpoints")]
pub(crate) use armed::reach;

/// Passes a crash point; does nothing in a released binary.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach(_name: &str) {}
