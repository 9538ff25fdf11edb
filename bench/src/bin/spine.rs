//! Measures what the rails cost: events a second through real binaries with idle brains, against a hand-written loop over
//! the same two servers that does only the unavoidable. `make bench` builds what it needs and runs it.
//!
//! ```text
//! cargo run --release -p tidemill-bench --bin spine -- --programs target/idle --events 20000 --rounds 3
//! ```
#![expect(clippy::print_stdout, reason = "a command whose output is its purpose")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use local::{PostgresOptions, PrivatePostgres, PrivateRedis, RedisOptions};
use tidemill_bench::{BATCH, EVENT_BYTES, Fault, Figures, Floor, IdleFleet, Load, STAGES, median};

/// Events that a fleet carries before it is measured: connections, statements and caches are made.
const WARM_UP: usize = 1024;

#[derive(Parser)]
#[command(about = "Measures events a second against a hand-written loop, latency at half load, and memory")]
#[command(after_help = "Example:\n  spine --programs target/idle --events 20000 --rounds 3\n\n\
                        Exit codes: 0 every bar is met, 1 one is missed, 70 the benchmark broke off.")]
struct Cli {
    /// The folder of binaries built with the feature `idle-brains`.
    #[arg(long)]
    programs: PathBuf,
    /// Events of each round, for the floor and for Tidemill.
    #[arg(long, default_value_t = 20_000)]
    events: usize,
    /// Rounds; in each the floor runs first, then Tidemill.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of the steady load in each round.
    #[arg(long, default_value_t = 8)]
    steady: u64,
    /// Let the planner tell outsiders of every transition meanwhile (`planner.relay`), as it does unless configured
    /// otherwise. The floor tells nobody, and the bars are meant without it.
    #[arg(long)]
    relay: bool,
    /// The share of the floor that must be reached.
    #[arg(long, default_value_t = 0.4)]
    least_ratio: f64,
    /// Milliseconds that 99 of 100 events may take at half load.
    #[arg(long, default_value_t = 150.0)]
    most_p99: f64,
    /// MiB that any process but the embedder may hold.
    #[arg(long, default_value_t = 64.0)]
    most_memory: f64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Every reqwest client needs a provider; nothing else has installed one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return broken(&error.into()),
    };
    match runtime.block_on(measure(&cli)) {
        Ok(figures) => report(&cli, &figures),
        Err(error) => broken(&error),
    }
}

fn broken(error: &Fault) -> ExitCode {
    eprintln!("error: the benchmark broke off: {error}");
    ExitCode::from(70)
}

async fn measure(cli: &Cli) -> Result<Figures, Fault> {
    let programs = cli.programs.canonicalize()?;
    let folder = tempfile::tempdir()?;
    // PostgreSQL runs as another user where this is root: it must be let through to its folder.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let redis = PrivateRedis::start(RedisOptions {
        folder: folder.path().join("redis"),
        appendonly: true,
        extra: vec![],
    })
    .await?;
    let postgres = PrivatePostgres::start(PostgresOptions {
        folder: folder.path().join("postgres"),
        durable: true,
        extra: vec![],
    })
    .await?;
    let mut figures = Figures::default();
    for round in 0..cli.rounds {
        let name = format!("floor_{round}");
        postgres.create_database(&name)?;
        let mut floor = Floor::prepare(&postgres.url_of(&name), &redis.url()).await?;
        let per_second = cli.events as f64 / floor.run(cli.events).await?.as_secs_f64();
        figures.floor.push(per_second);
        println!("round {}: floor      {per_second:>7.0} events/s", round + 1);
        drop(floor);

        let name = format!("tidemill_{round}");
        postgres.create_database(&name)?;
        let database = postgres.url_of(&name);
        flush(&redis.url()).await?;
        let place = folder.path().join(&name);
        let fleet = IdleFleet::start(&programs, &place, &database, &redis.url(), cli.relay).await?;
        carry(cli, &fleet, &database, round, &mut figures).await?;
        fleet.stop().await?;
    }
    Ok(figures)
}

async fn carry(
    cli: &Cli,
    fleet: &IdleFleet,
    database: &str,
    round: usize,
    figures: &mut Figures,
) -> Result<(), Fault> {
    let load = Load::on(fleet, database).await?;
    load.flood("warm-up", WARM_UP).await?;
    let flood = load.flood("flood", cli.events).await?;
    let per_second = cli.events as f64 / flood.through.as_secs_f64();
    let accepted = cli.events as f64 / flood.accepted.as_secs_f64();
    println!(
        "round {}: tidemill   {per_second:>7.0} events/s through, {accepted:.0} events/s accepted",
        round + 1
    );
    let latency = load.steady(per_second / 2.0, Duration::from_secs(cli.steady)).await?;
    println!(
        "round {}: half load  {:>7.0} events/s: p50 {:.0} ms, p99 {:.0} ms, all within {:.0} ms",
        round + 1,
        latency.rate,
        latency.p50,
        latency.p99,
        latency.max
    );
    figures.tidemill.push(per_second);
    figures.accepted.push(accepted);
    figures.half_load.push(latency);
    figures.remember(fleet.memory()?);
    Ok(())
}

async fn flush(url: &str) -> Result<(), Fault> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let () = redis::cmd("FLUSHALL").query_async(&mut connection).await?;
    Ok(())
}

fn report(cli: &Cli, figures: &Figures) -> ExitCode {
    let memory: Vec<String> = figures.memory.iter().map(|(name, mib)| format!("{name} {mib:.0}")).collect();
    let fat: Vec<&str> = figures
        .memory
        .iter()
        .filter(|(name, mib)| *name != "embedding" && *mib > cli.most_memory)
        .map(|(name, _)| *name)
        .collect();
    println!(
        "\n{} events of {EVENT_BYTES} bytes a round, {} stages, batches of {BATCH}, {} rounds (medians)",
        cli.events,
        STAGES.len(),
        cli.rounds
    );
    println!("floor                {:>7.0} events/s", median(&figures.floor));
    println!("tidemill             {:>7.0} events/s", median(&figures.tidemill));
    println!("gateway alone        {:>7.0} events/s accepted", median(&figures.accepted));
    println!("most memory, MiB     {}", memory.join(", "));
    let bars = [
        (
            format!("ratio {:.2}, at least {}", figures.ratio(), cli.least_ratio),
            figures.ratio() >= cli.least_ratio,
        ),
        (
            format!("p99 at half load {:.0} ms, under {} ms", figures.p99(), cli.most_p99),
            figures.p99() < cli.most_p99,
        ),
        (format!("memory of each process but the embedder at most {} MiB", cli.most_memory), fat.is_empty()),
    ];
    for (bar, met) in &bars {
        println!("{} {bar}", if *met { "met   " } else { "MISSED" });
    }
    if bars.iter().all(|(_, met)| *met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
