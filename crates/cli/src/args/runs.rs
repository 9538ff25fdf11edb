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
    /// Begin a run of a workflow, or of the one that fits a goal
    #[command(
        after_help = "Example:\n  tidemill runs start --goal 'build a website for our museum'\n  tidemill runs start newsletter --inputs @order.json --wait\n  tidemill runs start newsletter --inputs '{\"topic\":\"ferries\"}' --dry-run\n\nWith --wait it ends with 69 where the run did not end as meant."
    )]
    Start {
        /// The workflow's name
        #[arg(required_unless_present = "goal", conflicts_with = "goal")]
        workflow: Option<String>,
        /// What the run is for: the active workflow whose description fits it best is taken
        #[arg(long, value_name = "WORDS")]
        goal: Option<String>,
        /// What the workflow takes: JSON, or `@` and the name of a file, or `@-` for standard input [default: {}, or made of the goal]
        #[arg(long, value_name = "JSON")]
        inputs: Option<String>,
        /// The same source and id again is the same run [default: a new one]
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
        /// The event's source [default: runs]
        #[arg(long)]
        source: Option<String>,
        /// The notification target that its end is told, signed
        #[arg(long, value_name = "TARGET")]
        notify: Option<String>,
        /// Plan and show its side effects, and send nothing
        #[arg(long)]
        dry_run: bool,
        /// Wait for its end
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Take the event of an ended run through once more, as a new run under the active version
    #[command(
        after_help = "Example:\n  tidemill runs rerun 0197…\n  tidemill runs rerun 0197… --version newsletter@1-0a1b2c3d4e5f --from judge"
    )]
    Rerun {
        /// The run
        run: String,
        /// The workflow version [default: the active one]
        #[arg(long)]
        version: Option<String>,
        /// The step to do anew: what the steps before it made is carried as far as it fits [default: the first]
        #[arg(long, value_name = "STEP")]
        from: Option<String>,
        /// Plan and show its side effects, and send nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Hold a running run back
    #[command(after_help = "Example:\n  tidemill runs pause 0197… --reason 'the numbers are being checked'")]
    Pause {
        /// The run
        run: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Let a run go on that was held back
    #[command(after_help = "Example:\n  tidemill runs resume 0197…")]
    Resume {
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
        /// Tokens more, for `top-up`
        #[arg(long)]
        tokens: Option<u64>,
        /// Millionths of the currency more, for `top-up`
        #[arg(long)]
        cost_micros: Option<u64>,
        /// Working time more, such as 10m, for `top-up`
        #[arg(long)]
        time: Option<String>,
        /// Take cheaper models from now on, for `top-up`
        #[arg(long)]
        cheaper: bool,
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
    TopUp,
    Cheaper,
    Finish,
    Stop,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    /// The run
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Blame {
    /// The run
    pub(crate) run: String,
    /// The place, a JSON Pointer
    pub(crate) pointer: String,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
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
