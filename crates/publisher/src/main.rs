//! `tidemill-publisher`: sends approved content through an outlet.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleet::launch(
        "publisher",
        env!("CARGO_PKG_VERSION"),
        "Sends approved content through an outlet",
        tidemill_publisher::run,
    )
}
