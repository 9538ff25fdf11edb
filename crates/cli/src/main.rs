//! `tidemill`: the command line of operators, moderators and newcomers.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its terminal")]

mod agents;
mod args;
mod audit;
mod blame;
mod client;
mod config;
mod demo;
mod dlq;
mod doctor;
mod escalations;
mod ingest;
mod load;
mod local_work;
mod model_folder;
mod pause;
mod prune;
mod publications;
mod recall;
mod restored;
mod runs;
mod table;
mod tap;
mod tokens;
mod top;
mod triggers;
mod up;
mod vector_store;
mod why;
mod workflows;

use std::process::ExitCode;

use args::{Args, Command};
use clap::{CommandFactory, Parser};
use fleet::{Fault, FaultKind};

/// `println!` panics where nobody reads any more, as in `tidemill runs list | head -1`: that is the end, and no fault.
fn end_quietly_when_nobody_reads() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let said = info.payload().downcast_ref::<String>().map(String::as_str).unwrap_or_default();
        if said.starts_with("failed printing to std") {
            std::process::exit(0);
        }
        otherwise(info);
    }));
}

fn main() -> ExitCode {
    end_quietly_when_nobody_reads();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { FaultKind::Usage as u8 } else { 0 };
            return if error.print().is_ok() {
                ExitCode::from(code)
            } else {
                ExitCode::from(FaultKind::Bug as u8)
            };
        }
    };
    // reqwest panics without a provider; this is the first one, so it cannot be refused.
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return ended(Err(Fault::bug(format!("no runtime: {error}")))),
    };
    ended(runtime.block_on(Box::pin(run(args))))
}

fn ended(result: Result<(), Fault>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("tidemill: {fault}");
            ExitCode::from(fault.kind as u8)
        }
    }
}

async fn run(args: Args) -> Result<(), Fault> {
    match args.command {
        Command::Up(up) => up::run(up).await,
        Command::Demo(demo) => demo::run(demo).await,
        Command::Ingest(ingest) => ingest::run(ingest).await,
        Command::Load(load) => Box::pin(load::run(load)).await,
        Command::Runs(command) => runs::run(command).await,
        Command::Escalations(command) => escalations::run(command).await,
        Command::Why(why) => why::run(why).await,
        Command::Blame(blame) => blame::run(blame).await,
        Command::Dlq(command) => Box::pin(dlq::run(command)).await,
        Command::Tap(tap) => tap::run(tap).await,
        Command::Top(top) => top::run(top).await,
        Command::Doctor(doctor) => doctor::run(doctor).await,
        Command::Prune(prune) => prune::run(prune).await,
        Command::Vectors(command) => vector_store::run(command).await,
        Command::Completions { shell } => {
            // Written as a whole: the generator panics where nobody reads any more.
            let mut completions = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "tidemill", &mut completions);
            print!("{}", String::from_utf8_lossy(&completions));
            Ok(())
        }
        Command::Recall(command) => recall::run(command).await,
        Command::Pause(command) => pause::pause(command).await,
        Command::Resume(command) => pause::resume(command).await,
        Command::Audit(command) => audit::run(command).await,
        Command::Tokens(command) => tokens::run(command).await,
        Command::Publications(command) => publications::run(command).await,
        Command::Triggers(command) => triggers::run(command).await,
        Command::Workflows(command) => workflows::run(command).await,
        Command::Restored(command) => restored::run(command).await,
        Command::Migrate(migrate) => local_work::migrate(migrate).await,
        Command::Config(command) => config::run(command),
        Command::Model(command) => model_folder::run(command).await,
    }
}
