//! Commands, flags and their help.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use fleet::config::Overrides;

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
    #[command(after_help = "Example:\n  tidemill up --scale etl=4")]
    Up(Up),
    /// Run a local fleet on the sample events, show where each ends, and stop
    #[command(after_help = "Example:\n  tidemill demo")]
    Demo(Demo),
    /// Send events from a file or standard input to the gateway
    #[command(
        after_help = "Example:\n  tidemill ingest events.ndjson\n  echo '{\"source\":\"me\",\"payload\":{\"body\":\"Hello.\"}}' | tidemill ingest -"
    )]
    Ingest(Ingest),
    /// Look at runs, or cancel one
    #[command(subcommand, after_help = "Example:\n  tidemill runs list --state waiting")]
    Runs(Runs),
    /// Look at what people are asked, and decide
    #[command(subcommand, after_help = "Example:\n  tidemill escalations resolve 0197… --decision approve")]
    Escalations(Escalations),
    /// Say in words what a run waits for, or why it ended
    #[command(after_help = "Example:\n  tidemill why 0197a1c2-0000-7000-8000-000000000000")]
    Why(Why),
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

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Folder of the fleet's data, logs and token
    #[arg(long, default_value = ".tidemill", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
    /// Processes of a worker type, such as etl=4; may be repeated
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

#[derive(Debug, clap::Args)]
pub(crate) struct Restored {
    /// Why, for those who read the record later
    #[arg(long, default_value = "restored")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) database: Database,
}

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
        #[arg(long, default_value_t = 20)]
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

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List dead letters that wait for a person, newest first
    #[command(after_help = "Example:\n  tidemill dlq list --stage etl --since 2h")]
    List {
        #[command(flatten)]
        letters: Letters,
        /// At most so many
        #[arg(long, default_value_t = 50)]
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

#[derive(Debug, clap::Args)]
pub(crate) struct Tap {
    /// Only what happens at this step [default: every step]
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

/// Which letters are meant
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Letters {
    /// Letters by id
    pub(crate) ids: Vec<String>,
    /// Every letter that waits
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// That died at this step, or were read from a stream of this name
    #[arg(long, value_name = "STEP")]
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

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Verify a run's chain, or every chain, and name the first broken link of each
    #[command(after_help = "Example:\n  tidemill audit verify\n  tidemill audit verify 0197…")]
    Verify {
        /// Only this run
        run: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        database: Database,
    },
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

#[derive(Debug, clap::Subcommand)]
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
    /// List firings, newest first, with what became of each
    #[command(
        after_help = "Example:\n  tidemill triggers firings --trigger morning-digest --outcome suppressed"
    )]
    Firings {
        /// Only of this trigger
        #[arg(long)]
        trigger: Option<String>,
        /// Only those that became run, merged or suppressed
        #[arg(long)]
        outcome: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
}
