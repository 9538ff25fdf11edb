//! `tidemill-etl`: normalises events and measures what they say.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleet::launch(
        "etl",
        env!("CARGO_PKG_VERSION"),
        "Normalises events and measures what they say",
        tidemill_etl::run,
    )
}
