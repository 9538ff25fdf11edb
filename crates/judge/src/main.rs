//! `tidemill-judge`: reports whether content may go out.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleet::launch(
        "judge",
        env!("CARGO_PKG_VERSION"),
        "Reports whether content may go out",
        tidemill_judge::run,
    )
}
