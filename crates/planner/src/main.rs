//! `tidemill-planner`: registers intents, resumes what people decided, puts lost jobs back.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleet::launch(
        "planner",
        env!("CARGO_PKG_VERSION"),
        "Registers intents, resumes what people decided, puts lost jobs back",
        tidemill_planner::run,
    )
}
