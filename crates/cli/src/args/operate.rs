//! Stopping, resuming and looking after a fleet.

use clap::{Subcommand, ValueEnum};

use super::Database;

#[derive(Debug, clap::Args)]
pub(crate) struct Restored {
    /// Why, for those who read the record later
    #[arg(long, default_value = "restored")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) database: Database,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// How long ago they must have ended, such as 90d
    #[arg(long, value_name = "AGE")]
    pub(crate) older_than: String,
    /// Only count what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) database: Database,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Vectors {
    /// Put what the store lacks into it, from the record: after it was emptied, restored, or another class was named. May be
    /// stopped and run again, and beside a fleet that works
    #[command(
        after_help = "Example:\n  tidemill vectors rebuild\n  TIDEMILL_EMBEDDING__WEAVIATE__CLASS=Trend2 tidemill vectors rebuild"
    )]
    Rebuild {
        /// Vectors of this model [default: the configured embedder's]
        #[arg(long)]
        model: Option<String>,
        #[command(flatten)]
        database: Database,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Pausable {
    /// A worker type, such as publisher: its processes read nothing new
    Stage,
    /// An outlet: nothing is sent to it, posts for others go on
    Outlet,
    /// A source: it is not polled, and the gateway answers 503 to its events
    Source,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    /// What kind of thing
    #[arg(requires = "name")]
    pub(crate) kind: Option<Pausable>,
    /// Which one
    pub(crate) name: Option<String>,
    /// Why, for those who find it paused
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) database: Database,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// What kind of thing
    pub(crate) kind: Pausable,
    /// Which one
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) database: Database,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tokens {
    /// Make a token; its secret is shown once
    #[command(after_help = "Example:\n  tidemill tokens add --name feeder --role ingest --tenant acme")]
    Add {
        /// Who it is, in decisions and logs
        #[arg(long)]
        name: String,
        /// What it may do: ingest, read, moderate, operate; may be repeated
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// The tenant it belongs to
        #[arg(long, default_value = model::DEFAULT_TENANT)]
        tenant: String,
        #[command(flatten)]
        database: Database,
    },
    /// List tokens
    #[command(after_help = "Example:\n  tidemill tokens list")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        database: Database,
    },
    /// Revoke a token
    #[command(after_help = "Example:\n  tidemill tokens revoke 0197…")]
    Revoke {
        /// The token's id
        token: String,
        #[command(flatten)]
        database: Database,
    },
}
