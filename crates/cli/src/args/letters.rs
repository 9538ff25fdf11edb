//! Dead letters.

use clap::Subcommand;

use super::Database;

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List dead letters that wait for a person, newest first
    #[command(after_help = "Example:\n  tidemill dlq list --stage etl --since 2h")]
    List {
        #[command(flatten)]
        letters: Letters,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        database: Database,
    },
    /// Show one with its bytes
    #[command(after_help = "Example:\n  tidemill dlq show 0197…")]
    Show {
        /// The letter
        letter: String,
        #[command(flatten)]
        database: Database,
    },
    /// Give letters another life: a run goes on at the step it died at, an entry is added again as it was. Shows the
    /// plan first
    #[command(
        after_help = "Example:\n  tidemill dlq replay --error 1f0c2a77                     # the plan\n  tidemill dlq replay --error 1f0c2a77 --canary 1 --yes"
    )]
    Replay {
        #[command(flatten)]
        letters: Letters,
        /// Do it
        #[arg(long)]
        yes: bool,
        /// Replay so many first, and stop where one dies of the same error again
        #[arg(long, default_value_t = 0, value_name = "COUNT")]
        canary: usize,
        #[command(flatten)]
        database: Database,
    },
    /// Give letters up: they are kept, and wait for nobody. Shows them first
    #[command(after_help = "Example:\n  tidemill dlq discard --text 'no text' --reason 'empty posts' --yes")]
    Discard {
        #[command(flatten)]
        letters: Letters,
        /// Why
        #[arg(long)]
        reason: String,
        /// Do it
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        database: Database,
    },
}

/// Which letters are meant
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Letters {
    /// Letters by id
    pub(crate) ids: Vec<String>,
    /// Every letter that waits
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// That died at this step, or at one of this worker type, or were read from a stream of this name
    #[arg(long, value_name = "STAGE")]
    pub(crate) stage: Option<String>,
    /// Of this error: the fingerprint that `list` shows
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) error: Option<String>,
    /// Whose reason or bytes contain this
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// That died at this time or later: RFC 3339, or how long ago, such as 2h
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// That died before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}

impl Letters {
    /// Whether nothing chooses among the letters.
    pub(crate) fn is_empty(&self) -> bool {
        let chosen = [&self.stage, &self.error, &self.text, &self.since, &self.until];
        !self.all && chosen.iter().all(|one| one.is_none())
    }
}
