//! Looking at a fleet that runs.

use clap::Subcommand;

use super::{Database, Gateway};

#[derive(Debug, clap::Args)]
pub(crate) struct Tap {
    /// Only what happens at this step, or at the steps of this worker type [default: every step]
    pub(crate) stage: Option<String>,
    /// Only events of this type; docs/events.md lists them
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Only of this run
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// Only what contains this
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// End after so many [default: Ctrl-C ends it]
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// Whole events, one a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Print one picture and end
    #[arg(long)]
    pub(crate) once: bool,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) database: Database,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Verify a run's chain, or every chain, and name the first broken link of each
    #[command(after_help = "Example:\n  tidemill audit verify --all\n  tidemill audit verify 0197…")]
    Verify {
        /// Only this run
        run: Option<String>,
        /// Every chain, as without a run
        #[arg(long, conflicts_with = "run")]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        database: Database,
    },
}
