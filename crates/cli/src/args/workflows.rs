//! Workflows: their documents, and what is registered of them.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};

use super::Gateway;

#[derive(Debug, Subcommand)]
pub(crate) enum Workflows {
    /// Check documents as registration would, and say what a run takes at most
    #[command(
        after_help = "Example:\n  tidemill workflows validate site.yaml\n  tidemill workflows validate site.yaml --role writer --role editor --gates gates.yaml\n\nEnds with 64 where a document is refused, with all its faults, each with line and column."
    )]
    Validate {
        /// Documents; `-` is standard input
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// A role that agents have [default: those that the configuration's section `agent` knows; without one, any]
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// A document of gate policies, as `gates.files` names them; where none is given, any gate is taken
        #[arg(long = "gates", value_name = "FILE")]
        gates: Vec<PathBuf>,
        /// Configuration that says which roles act outside [default: tidemill.yaml where there is one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Draw a workflow; where a fleet runs, with how many open runs and branches stand at each step
    #[command(
        after_help = "Example:\n  tidemill workflows graph site.yaml -o site.svg\n  tidemill workflows graph build_website --mermaid\n  tidemill workflows graph newsletter@2-0a1b2c3d4e5f"
    )]
    Graph {
        /// A document, `-` for standard input, the name of a built-in workflow, or what is registered: a version, or a name
        /// for the version that is active
        what: PathBuf,
        /// As SVG
        #[arg(long, conflicts_with = "mermaid")]
        svg: bool,
        /// As a Mermaid flowchart, as without a flag, unless the output's name ends with .svg
        #[arg(long)]
        mermaid: bool,
        /// Write to this file [default: print]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Say how two documents differ
    #[command(after_help = "Example:\n  tidemill workflows diff site.yaml site.new.yaml")]
    Diff {
        /// A document, or the name of a built-in workflow
        old: PathBuf,
        /// A document, or the name of a built-in workflow
        new: PathBuf,
    },
    /// Run the cases kept beside documents on their transformers: those of NAME.yaml are in NAME.cases.yaml
    #[command(
        after_help = "Example:\n  tidemill workflows test site.yaml\n  tidemill workflows test build_website\n\nEnds with 64 where a case fails."
    )]
    Test {
        /// Documents, or names of built-in workflows
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print a document of steps that follow one another, each done by an agent of the role `generic`
    #[command(
        after_help = "Example:\n  tidemill workflows new digest --steps research,draft,polish > digest.yaml"
    )]
    New {
        /// The workflow's name
        name: String,
        /// Ids of the steps, in order
        #[arg(long, required = true, value_delimiter = ',', value_name = "STEP,…")]
        steps: Vec<String>,
    },
    /// Check a document as a whole and register it; no run begins with it before it is activated
    #[command(after_help = "Example:\n  tidemill workflows register newsletter.yaml")]
    Register {
        /// The document, YAML or JSON
        file: PathBuf,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Have new runs begin with a version
    #[command(
        after_help = "Example:\n  tidemill workflows activate newsletter@2-0a1b2c3d4e5f --runs migrate\n\nWith --runs migrate, runs on other versions are cancelled and their events go through this one, with what artifacts\nstill fit and without approvals. `tidemill workflows show` tells how far that has got."
    )]
    Activate {
        /// The version, as `register` and `list` show it
        version: String,
        /// What becomes of runs that are open on other versions
        #[arg(long, default_value = "finish")]
        runs: OlderRuns,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// List the registered versions, and which are active
    #[command(after_help = "Example:\n  tidemill workflows list")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Show a version: its document, its runs, the activations of its name
    #[command(after_help = "Example:\n  tidemill workflows show newsletter@2-0a1b2c3d4e5f")]
    Show {
        /// The version
        version: String,
        #[command(flatten)]
        gateway: Gateway,
    },
}

/// How a workflow is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Format {
    Mermaid,
    Svg,
}

impl Format {
    /// What the flags say, or else the name of the file that is written.
    pub(crate) fn of(svg: bool, mermaid: bool, output: Option<&Path>) -> Self {
        let named = output.is_some_and(|path| path.extension().is_some_and(|extension| extension == "svg"));
        if svg || (named && !mermaid) { Self::Svg } else { Self::Mermaid }
    }

    /// The name that the API uses.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mermaid => "mermaid",
            Self::Svg => "svg",
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OlderRuns {
    /// They go on with their own version
    Finish,
    /// They are cancelled, and their events go through the new version
    Migrate,
    /// They are cancelled
    Cancel,
}

impl OlderRuns {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Migrate => "migrate",
            Self::Cancel => "cancel",
        }
    }
}
