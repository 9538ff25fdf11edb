//! Events, the runs they become, and what people decide about them.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::Gateway;

#[derive(Debug, clap::Args)]
pub(crate) struct Ingest {
    /// JSON, a JSON array, NDJSON, RSS, Atom or JSON Feed; `-` reads standard input
    pub(crate) file: String,
    /// The source of a feed's entries [default: the file's name]
    #[arg(long)]
    pub(crate) source: Option<String>,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// List runs, newest first
    #[command(after_help = "Example:\n  tidemill runs list --state waiting --json")]
    List {
        /// Only in this state
        #[arg(long)]
        state: Option<String>,
        /// Only from this source
        #[arg(long)]
        source: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Show one run with its artifacts and provenance
    #[command(after_help = "Example:\n  tidemill runs show 0197…")]
    Show {
        /// The run
        run: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Send an ended run through again, from a step on
    #[command(after_help = "Example:\n  tidemill runs retry 0197… --from judge")]
    Retry {
        /// The run
        run: String,
        /// The step to go on from
        #[arg(long, value_name = "STEP")]
        from: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// End a run
    #[command(after_help = "Example:\n  tidemill runs cancel 0197… --reason 'sent by mistake'")]
    Cancel {
        /// The run
        run: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        gateway: Gateway,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Escalations {
    /// List what people are asked, the most pressing first
    #[command(after_help = "Example:\n  tidemill escalations list")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Show one with its content and evidence
    #[command(after_help = "Example:\n  tidemill escalations show 0197…")]
    Show {
        /// The escalation
        escalation: String,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Decide one
    #[command(
        after_help = "Example:\n  tidemill escalations resolve 0197… --decision reject --note 'an advertisement'"
    )]
    Resolve {
        /// The escalation
        escalation: String,
        /// What is decided
        #[arg(long)]
        decision: Decision,
        /// The new content (a JSON file), for `edit`
        #[arg(long, value_name = "FILE")]
        content: Option<PathBuf>,
        /// The step to go back to, for `send-back`
        #[arg(long)]
        step: Option<String>,
        /// Why; required for `override`
        #[arg(long)]
        note: Option<String>,
        /// Who decides, where the token is a desk's [default: the token's name]
        #[arg(long)]
        who: Option<String>,
        /// The version that was looked at; another one by now is refused
        #[arg(long)]
        version: Option<i32>,
        #[command(flatten)]
        gateway: Gateway,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Decision {
    Approve,
    Reject,
    Edit,
    SendBack,
    Override,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    /// The run
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Recall {
    /// The text
    pub(crate) text: String,
    /// At most so many
    #[arg(short, default_value_t = 5)]
    pub(crate) k: u32,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}
