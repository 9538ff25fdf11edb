//! `tidemill-gateway`: takes events and decisions over HTTP and answers queries.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleet::launch(
        "gateway",
        env!("CARGO_PKG_VERSION"),
        "Takes events and decisions over HTTP and answers queries",
        tidemill_gateway::run,
    )
}
