//! `tidemill-embedding`: turns trends into vectors and finds their nearest earlier ones.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleet::launch(
        "embedding",
        env!("CARGO_PKG_VERSION"),
        "Turns trends into vectors and finds their nearest earlier ones",
        tidemill_embedding::run,
    )
}
