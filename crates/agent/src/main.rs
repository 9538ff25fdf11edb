//! `tidemill-agent`: performs steps by role, with whatever brain the role has.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleet::launch(
        "agent",
        env!("CARGO_PKG_VERSION"),
        "Performs steps by role, with whatever brain the role has",
        tidemill_agent::run,
    )
}
