//! Durations as statements take them.

use std::time::Duration;

/// A century, in microseconds: PostgreSQL can add it to `now()` and take it away, and an interval of so many microseconds
/// is exact, since it is multiplied as a double.
const LONGEST: i64 = 100 * 365 * 24 * 3600 * 1_000_000;

/// The microseconds of a duration, a century at most: to be multiplied with `interval '1 microsecond'`.
pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_exact_up_to_a_century_and_no_longer() {
        assert_eq!(micros(Duration::new(2, 3_999)), 2_000_003);
        assert_eq!(micros(Duration::from_secs(1 << 40)), LONGEST);
        assert_eq!(micros(Duration::MAX), LONGEST);
    }
}
