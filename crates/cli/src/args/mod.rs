//! Commands, flags and their help.

mod letters;
mod load;
mod local;
mod operate;
mod publications;
mod runs;
mod watch;
mod workflows;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use letters::{Dlq, Letters};
pub(crate) use load::{Load, Profile};
pub(crate) use local::{Config, Demo, Model, Up};
pub(crate) use operate::{Pausable, Pause, Prune, Restored, Resume, Tokens, Vectors};
pub(crate) use publications::{Answer, Publications, Triggers};
pub(crate) use runs::{Blame, Decision, Escalations, Ingest, Recall, Runs, Why};
pub(crate) use watch::{Audit, Doctor, Tap, Top};
pub(crate) use workflows::{Format, OlderRuns, Workflows};

/// Tidemill: a fleet of stream workers with a full record
#[derive(Debug, Parser)]
#[command(
    name = "tidemill",
    version,
    after_help = "Example:\n  tidemill up\n\nExit codes: 0 done, 64 bad usage or configuration, 69 a service is missing or unfit, 70 a bug or a broken record."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a local fleet, with servers of its own where no URL is given
    #[command(after_help = "Example:\n  tidemill up --scale etl=4\n  tidemill up --scale etl=1..4")]
    Up(Up),
    /// Run a local fleet on the sample events, show where each ends, and stop
    #[command(after_help = "Example:\n  tidemill demo")]
    Demo(Demo),
    /// Send events from a file or standard input to the gateway
    #[command(
        after_help = "Example:\n  tidemill ingest events.ndjson\n  echo '{\"source\":\"me\",\"payload\":{\"body\":\"Hello.\"}}' | tidemill ingest -"
    )]
    Ingest(Ingest),
    /// Send made-up events at a steady rate, whatever becomes of them, and say what became of them
    #[command(
        after_help = "Example:\n  tidemill load --rate 500 --for 60s --profile mixed\n  tidemill load --ramp --rate 200 --for 10s\n\nTimes count from when an event was due, so that a fleet that stalls cannot hide it. Ends with 70 where an accepted\nevent has no run."
    )]
    Load(Load),
    /// Begin runs, look at them, hold one back, send one through again, or cancel it
    #[command(subcommand, after_help = "Example:\n  tidemill runs list --state waiting")]
    Runs(Runs),
    /// Look at what people are asked, and decide
    #[command(subcommand, after_help = "Example:\n  tidemill escalations resolve 0197… --decision approve")]
    Escalations(Escalations),
    /// Say in words what a run waits for, or why it ended
    #[command(after_help = "Example:\n  tidemill why 0197a1c2-0000-7000-8000-000000000000")]
    Why(Why),
    /// Say who wrote a place of a run's blackboard, when, from what, with which model and prompt
    #[command(
        after_help = "Example:\n  tidemill blame 0197a1c2-0000-7000-8000-000000000000 /content_slots/hero_headline/text"
    )]
    Blame(Blame),
    /// Look at dead letters, or give one another life
    #[command(subcommand, after_help = "Example:\n  tidemill dlq list\n  tidemill dlq replay 0197…")]
    Dlq(Dlq),
    /// Verify the provenance chains
    #[command(subcommand, after_help = "Example:\n  tidemill audit verify")]
    Audit(Audit),
    /// Make, list and revoke access tokens
    #[command(
        subcommand,
        after_help = "Example:\n  tidemill tokens add --name desk --role read --role moderate"
    )]
    Tokens(Tokens),
    /// Find what was embedded and means much the same as a text
    #[command(after_help = "Example:\n  tidemill recall 'electric ferries' -k 5")]
    Recall(Recall),
    /// Print what passes a stage, as it passes
    #[command(
        after_help = "Example:\n  tidemill tap judge --type io.tidemill.run.escalated\n  tidemill tap --run 0197… --json"
    )]
    Tap(Tap),
    /// Watch stages, backlogs, rates and processes live; q ends it
    #[command(after_help = "Example:\n  tidemill top")]
    Top(Top),
    /// Look at everything that a fleet needs, and say what is wrong or stuck and what to do
    #[command(after_help = "Example:\n  tidemill doctor\n\nEnds with 69 where a check fails.")]
    Doctor(Doctor),
    /// Remove runs that ended long ago, with everything that only they refer to
    #[command(after_help = "Example:\n  tidemill prune --older-than 90d --dry-run")]
    Prune(Prune),
    /// Look after the vectors that a store outside the record has
    #[command(subcommand, after_help = "Example:\n  tidemill vectors rebuild")]
    Vectors(Vectors),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  tidemill completions bash > /etc/bash_completion.d/tidemill")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Stop a worker type, an outlet or a source for a while; without a name, list what is paused
    #[command(
        after_help = "Example:\n  tidemill pause stage publisher --reason 'the site is being moved'\n  tidemill pause outlet blog\n  tidemill pause"
    )]
    Pause(Pause),
    /// End a pause
    #[command(after_help = "Example:\n  tidemill resume stage publisher")]
    Resume(Resume),
    /// Look at the ledger of publications, say what became of an unknown one, or have a post withdrawn
    #[command(subcommand, after_help = "Example:\n  tidemill publications settle 0197… --answer delivered")]
    Publications(Publications),
    /// List triggers, fire one, see what became of each firing
    #[command(subcommand, after_help = "Example:\n  tidemill triggers fire morning-digest")]
    Triggers(Triggers),
    /// Check, draw and test workflow documents, register them, activate a version
    #[command(
        subcommand,
        after_help = "Example:\n  tidemill workflows validate site.yaml\n  tidemill workflows register site.yaml"
    )]
    Workflows(Workflows),
    /// Bring the record's schema up to date
    #[command(
        after_help = "Example:\n  tidemill migrate --database-url postgres://tidemill@127.0.0.1/tidemill"
    )]
    Migrate(Database),
    /// Say that the record was put back from a backup: from then on nothing is posted that may have gone out since it was
    /// made. Run it before the fleet is started on that record
    #[command(
        after_help = "Example:\n  tidemill restored --reason 'the disk of db1 broke'\n\nAfterwards each post is first asked about at its outlet; one that an outlet cannot tell of waits for a person\n(`tidemill publications list`). docs/deployment.md has the steps."
    )]
    Restored(Restored),
    /// Look at the configuration
    #[command(subcommand, after_help = "Example:\n  tidemill config show")]
    Config(Config),
    /// Fetch the embedding model
    #[command(subcommand, after_help = "Example:\n  tidemill model fetch")]
    Model(Model),
}

/// Where the gateway is, and who asks
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Gateway {
    /// The gateway [default: the local fleet's]
    #[arg(long, env = "TIDEMILL_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The access token [default: the local fleet's]
    #[arg(long, env = "TIDEMILL_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file that holds it
    #[arg(long, env = "TIDEMILL_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The local fleet's folder
    #[arg(long, default_value = ".tidemill", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

/// Where the record is
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Database {
    /// PostgreSQL [default: the configuration's, else the local fleet's]
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// Redis [default: the configuration's, else the local fleet's]
    #[arg(long, value_name = "URL")]
    pub(crate) redis_url: Option<String>,
    /// The local fleet's folder
    #[arg(long, default_value = ".tidemill", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn each(command: &clap::Command, visit: &mut dyn FnMut(&clap::Command)) {
        visit(command);
        command.get_subcommands().for_each(|inner| each(inner, visit));
    }

    #[test]
    fn the_flags_fit_together_and_every_command_shows_an_example() {
        Args::command().debug_assert();
        each(&Args::command(), &mut |command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example:"), "{}", command.get_name());
        });
    }
}
