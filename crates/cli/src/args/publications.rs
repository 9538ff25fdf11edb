//! What went out, and what is fired.

use chrono::{DateTime, Utc};
use clap::{Subcommand, ValueEnum};

use super::Gateway;

#[derive(Debug, Subcommand)]
pub(crate) enum Publications {
    /// List the ledger, newest first
    #[command(after_help = "Example:\n  tidemill publications list")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Say what became of an unknown one
    #[command(after_help = "Example:\n  tidemill publications settle 0197… --answer resend")]
    Settle {
        /// The publication
        publication: String,
        /// What became of it, or shall
        #[arg(long)]
        answer: Answer,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Have a post withdrawn from its outlet: a publisher does it, and tries again while the outlet is away
    #[command(
        after_help = "Example:\n  tidemill publications revoke 0197… --note 'the ferry was not cancelled'"
    )]
    Revoke {
        /// The publication
        publication: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        #[command(flatten)]
        gateway: Gateway,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Answer {
    Delivered,
    Resend,
    Abandon,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Triggers {
    /// List triggers, and when their schedules fire next
    #[command(after_help = "Example:\n  tidemill triggers list")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Fire a trigger by hand
    #[command(
        after_help = "Example:\n  tidemill triggers fire morning-digest --input '{\"body\":\"Snow on the pass.\"}'"
    )]
    Fire {
        /// The trigger
        trigger: String,
        /// What the firing is about, a JSON object
        #[arg(long, value_name = "JSON", default_value = "{}")]
        input: String,
        /// The same trigger and id again is the same firing [default: a new one]
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Fire the times of a schedule over a range; those that have a run do not fire again
    #[command(
        after_help = "Example:\n  tidemill triggers backfill morning-digest --from 2026-01-01T00:00:00Z --until 2026-02-01T00:00:00Z --rate 30/m --quiet"
    )]
    Backfill {
        /// A trigger with a schedule
        trigger: String,
        /// The first time that may fire, RFC 3339
        #[arg(long, value_name = "TIME")]
        from: DateTime<Utc>,
        /// The range's end, which is not part of it, RFC 3339
        #[arg(long, value_name = "TIME")]
        until: DateTime<Utc>,
        /// Firings a second, minute or hour
        #[arg(long, default_value = "1/s")]
        rate: String,
        /// Tell nobody of what happens in its runs, and let it fire no trigger
        #[arg(long)]
        quiet: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// List backfills, newest first, with how far each has come
    #[command(after_help = "Example:\n  tidemill triggers backfills")]
    Backfills {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Stop a backfill; what it fired stays
    #[command(
        after_help = "Example:\n  tidemill triggers stop-backfill 019d2f7e-2c4e-7a53-9b55-0c1a4f2be6d1"
    )]
    StopBackfill {
        /// Its id
        backfill: uuid::Uuid,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// List firings, newest first, with what became of each
    #[command(
        after_help = "Example:\n  tidemill triggers firings --trigger morning-digest --outcome suppressed"
    )]
    Firings {
        /// Only of this trigger
        #[arg(long)]
        trigger: Option<String>,
        /// Only those that became this
        #[arg(long)]
        outcome: Option<FiringOutcome>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FiringOutcome {
    Run,
    Merged,
    Suppressed,
}

impl FiringOutcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Merged => "merged",
            Self::Suppressed => "suppressed",
        }
    }
}
