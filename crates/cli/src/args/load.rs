//! Loading a fleet.

use std::time::Duration;

use clap::ValueEnum;

use super::Gateway;

#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Events a second; with --ramp in the first stage
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// How long, such as 60s; with --ramp each stage
    #[arg(long = "for", default_value = "30s", value_name = "DURATION", value_parser = lasting)]
    pub(crate) lasts: Duration,
    /// What the events are
    #[arg(long, value_enum, default_value_t = Profile::Mixed)]
    pub(crate) profile: Profile,
    /// Raise the rate stage by stage until the fleet does not keep up, and say which rate it sustains
    #[arg(long)]
    pub(crate) ramp: bool,
    /// The events' source [default: load- and the time]
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) gateway: Gateway,
}

/// What the events of a load are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Posts of some 200 bytes
    Short,
    /// Articles of some 4 KiB
    Long,
    /// Of a hundred events 85 posts, 10 articles, and 5 that repeat the one before them
    Mixed,
}

fn lasting(text: &str) -> Result<Duration, String> {
    let lasts = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    let within = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    within.contains(&lasts).then_some(lasts).ok_or_else(|| "it must last from 1s to 24h".to_owned())
}
