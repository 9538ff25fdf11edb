//! Figures: medians of rounds, percentiles of latencies.

/// The middle of some values; the upper one of the two middle ones.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64) * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Latencies of a steady load, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// Events a second that were sent.
    pub rate: f64,
    /// Half were through within this.
    pub p50: f64,
    /// 99 of 100 were through within this.
    pub p99: f64,
    /// All were through within this.
    pub max: f64,
}

impl Latency {
    /// The percentiles of these latencies.
    #[must_use]
    pub fn of(millis: Vec<f64>, rate: f64) -> Self {
        Self {
            rate,
            p50: percentile(&millis, 0.5),
            p99: percentile(&millis, 0.99),
            max: percentile(&millis, 1.0),
        }
    }
}

/// What one interleaved run measured.
#[derive(Debug, Default)]
pub struct Figures {
    /// Events a second of the floor, round by round.
    pub floor: Vec<f64>,
    /// Events a second of Tidemill, round by round.
    pub tidemill: Vec<f64>,
    /// Events a second that the gateway accepted, round by round.
    pub accepted: Vec<f64>,
    /// Latencies at half load, round by round.
    pub half_load: Vec<Latency>,
    /// The most memory of each process over all rounds, in MiB.
    pub memory: Vec<(&'static str, f64)>,
}

impl Figures {
    /// Tidemill's speed as a share of the floor's: the median of the rounds' ratios.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        let ratios: Vec<f64> =
            self.tidemill.iter().zip(&self.floor).map(|(ours, floor)| ours / floor).collect();
        median(&ratios)
    }

    /// The median of the rounds' p99 at half load, in milliseconds.
    #[must_use]
    pub fn p99(&self) -> f64 {
        median(&self.half_load.iter().map(|latency| latency.p99).collect::<Vec<_>>())
    }

    /// Keeps the higher figure of each process.
    pub fn remember(&mut self, memory: Vec<(&'static str, f64)>) {
        for (name, mib) in memory {
            match self.memory.iter_mut().find(|(known, _)| *known == name) {
                Some((_, most)) => *most = most.max(mib),
                None => self.memory.push((name, mib)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let latency = Latency::of((1..=1000).rev().map(f64::from).collect(), 1.0);
        assert_eq!((latency.p50, latency.p99, latency.max), (501.0, 991.0, 1000.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_ratio_pairs_rounds_and_memory_keeps_the_highest() {
        let mut figures =
            Figures { floor: vec![10.0, 20.0, 10.0], tidemill: vec![5.0, 8.0, 6.0], ..Figures::default() };
        assert_eq!(figures.ratio(), 0.5);
        figures.remember(vec![("etl", 10.0)]);
        figures.remember(vec![("etl", 8.0), ("judge", 3.0)]);
        assert_eq!(figures.memory, [("etl", 10.0), ("judge", 3.0)]);
    }
}
