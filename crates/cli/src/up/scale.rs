//! How many processes of a worker type run: a number, or a range within which it follows the backlog.
//!
//! The signal and the aim are those that the Helm chart gives KEDA: the length of the stream, and entries of it for each process
//! (deploy/kubernetes/values.yaml). As with Kubernetes' autoscaler it goes up at once and down slowly: to the highest number
//! that was wanted within a while, so that a backlog that comes and goes moves nothing to and fro.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use fleet::Fault;
use streams::{StreamNames, Streams};

use super::NAMES;
use super::processes::Processes;
use crate::client::LocalFleet;

/// Processes of one worker type, at most.
const MOST: usize = 64;
/// What was wanted within this time holds processes back from ending.
const STEADY: Duration = Duration::from_secs(60);
/// How often backlogs are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Entries of the stream for each process that are aimed at.
fn aim(worker: &str) -> u64 {
    match worker {
        "embedding" => 200,
        "judge" => 1000,
        "agent" => 20,
        _ => 500,
    }
}

/// How many processes a worker type may have.
pub(crate) type Scales = BTreeMap<String, RangeInclusive<usize>>;

/// Reads `--scale`: `etl=4`, `etl=1..4`.
///
/// # Errors
/// [`Fault`] of kind usage, with the workers that there are.
pub(super) fn scales(given: &[String]) -> Result<Scales, Fault> {
    given.iter().map(|text| scale(text)).collect()
}

fn scale(text: &str) -> Result<(String, RangeInclusive<usize>), Fault> {
    let wrong = || {
        Fault::usage(format!(
            "--scale {text}: write it as WORKER=COUNT or WORKER=LEAST..MOST, such as etl=4 or etl=1..4; workers are {}",
            NAMES.join(", ")
        ))
    };
    let (name, count) = text.split_once('=').ok_or_else(wrong)?;
    let (least, most) = count.split_once("..").unwrap_or((count, count));
    let range = least.parse().ok().zip(most.parse().ok()).map(|(least, most)| least..=most);
    let range: RangeInclusive<usize> =
        range.filter(|range| !range.is_empty() && *range.end() <= MOST).ok_or_else(wrong)?;
    // Two gateways of one machine would want one address; a type that follows its backlog must move its own retries.
    let follows = range.start() < range.end();
    let unfit = (name == "gateway" && *range.end() > 1)
        || (follows && (*range.start() == 0 || ["gateway", "planner"].contains(&name)));
    if !NAMES.contains(&name) || unfit {
        return Err(wrong());
    }
    Ok((name.to_owned(), range))
}

/// Follows the backlog of one worker type.
#[derive(Debug)]
pub(super) struct Scaler {
    range: RangeInclusive<usize>,
    aim: u64,
    /// What was wanted lately.
    wanted: VecDeque<(Instant, usize)>,
}

impl Scaler {
    pub(super) fn new(worker: &str, range: RangeInclusive<usize>) -> Self {
        Self { range, aim: aim(worker), wanted: VecDeque::new() }
    }

    /// How many processes there should be now.
    pub(super) fn wants(&mut self, backlog: u64, now: Instant) -> usize {
        let wanted = usize::try_from(backlog.div_ceil(self.aim)).unwrap_or(usize::MAX);
        self.wanted.push_back((now, wanted.clamp(*self.range.start(), *self.range.end())));
        while self.wanted.front().is_some_and(|(at, _)| now.duration_since(*at) > STEADY) {
            self.wanted.pop_front();
        }
        self.wanted.iter().map(|(_, wanted)| *wanted).max().unwrap_or(*self.range.start())
    }
}

/// The worker types whose number follows their backlog.
pub(super) struct Following {
    streams: Option<Streams>,
    scalers: BTreeMap<String, Scaler>,
    looked: Instant,
}

impl Following {
    pub(super) async fn new(fleet: &LocalFleet, names: StreamNames, scales: &Scales) -> Self {
        let follows = scales.iter().filter(|(_, range)| range.start() < range.end());
        let scalers: BTreeMap<_, _> =
            follows.map(|(name, range)| (name.clone(), Scaler::new(name, range.clone()))).collect();
        let streams =
            if scalers.is_empty() { None } else { Streams::connect(fleet.redis(), names).await.ok() };
        Self { streams, scalers, looked: Instant::now() }
    }

    /// Looks at the backlogs, not more often than they tell something new, and starts or ends processes.
    ///
    /// # Errors
    /// [`Fault`]: a process cannot be started. Redis away is none: then nothing is known, and nothing changes.
    pub(super) async fn follow(&mut self, processes: &mut Processes) -> Result<(), Fault> {
        let Some(streams) = self.streams.as_ref().filter(|_| self.looked.elapsed() >= LOOK) else {
            return Ok(());
        };
        self.looked = Instant::now();
        for (name, scaler) in &mut self.scalers {
            let Ok(backlog) = streams.backlog(name).await else { return Ok(()) };
            processes.scale(name, scaler.wants(backlog.stream, Instant::now()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_read_and_nonsense_is_refused() {
        assert_eq!(scales(&["etl=4".to_owned()]).unwrap()["etl"], 4..=4);
        assert_eq!(scales(&["etl=1..4".to_owned()]).unwrap()["etl"], 1..=4);
        assert_eq!(scales(&["agent=0".to_owned()]).unwrap()["agent"], 0..=0);
        for bad in [
            "etl",
            "etl=x",
            "moon=2",
            "etl=-1",
            "gateway=2",
            "etl=1000",
            "etl=4..1",
            "etl=0..4",
            "planner=1..2",
            "etl=1..",
        ] {
            assert!(scales(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_goes_up_at_once_and_down_only_after_a_steady_while() {
        let (mut scaler, start) = (Scaler::new("etl", 1..=4), Instant::now());
        let mut at = |seconds: u64, backlog: u64| scaler.wants(backlog, start + Duration::from_secs(seconds));
        assert_eq!([at(0, 0), at(1, 500), at(2, 501), at(3, 1_000_000)], [1, 1, 2, 4]);
        assert_eq!([at(20, 0), at(40, 1200), at(63, 0), at(64, 0)], [4, 4, 4, 3]);
        assert_eq!([at(100, 0), at(101, 0)], [3, 1]);
    }

    #[test]
    fn a_backlog_that_comes_and_goes_moves_nothing() {
        let (mut scaler, start) = (Scaler::new("etl", 1..=4), Instant::now());
        let wanted: Vec<usize> = (0..120)
            .map(|second| {
                scaler.wants(if second % 20 < 10 { 1500 } else { 0 }, start + Duration::from_secs(second))
            })
            .collect();
        assert!(wanted.iter().all(|wanted| *wanted == 3), "{wanted:?}");
    }
}
