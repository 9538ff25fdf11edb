//! Running a fleet on this machine, and what it starts from.

use std::path::PathBuf;

use clap::Subcommand;
use fleet::config::Overrides;

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Folder of the fleet's data, logs and token
    #[arg(long, default_value = ".tidemill", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Processes of a worker type, such as etl=4, or etl=1..4 as its backlog asks for; may be repeated
    #[arg(long, value_name = "WORKER=COUNT")]
    pub(crate) scale: Vec<String>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// The sample events
    #[arg(long, default_value = "deploy/samples/events.ndjson", value_name = "FILE")]
    pub(crate) events: PathBuf,
    /// The policy they are judged by
    #[arg(long, default_value = "deploy/policy.yaml", value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// Folder of the demonstration; emptied at the start
    #[arg(long, default_value = ".tidemill/demo", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Show every effective value and where it came from
    #[command(after_help = "Example:\n  tidemill config show --set worker.concurrency=64")]
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        overrides: Overrides,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Fetch all-MiniLM-L6-v2 and verify its files
    #[command(after_help = "Example:\n  tidemill model fetch")]
    Fetch {
        /// Where to
        #[arg(default_value = "models/all-MiniLM-L6-v2")]
        folder: PathBuf,
    },
}
