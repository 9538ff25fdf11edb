//! Cron with a time zone.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds};
use fleet::Fault;

/// When something happens again and again.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    cron: croner::Cron,
    zone: Tz,
}

impl Clock {
    /// # Errors
    /// [`Fault`] of kind usage, naming `place`.
    pub(crate) fn parse(place: &str, cron: &str, zone: &str) -> Result<Self, Fault> {
        let zone = Tz::from_str(zone).map_err(|_| {
            Fault::usage(format!(
                "{place}: `{zone}` is no time zone; write its IANA name, such as Europe/Berlin"
            ))
        })?;
        let cron = CronParser::builder()
            .seconds(Seconds::Optional)
            .build()
            .parse(cron)
            .map_err(|e| Fault::usage(format!("{place}: `{cron}` is no cron: {e}")))?;
        Ok(Self { cron, zone })
    }

    /// The first time after `now`; far in the future where there is none.
    pub(crate) fn after(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.cron
            .find_next_occurrence(&now.with_timezone(&self.zone), false)
            .map_or_else(|_| now + TimeDelta::days(36_500), |next| next.to_utc())
    }

    /// The first time that is not before `from`. Times are whole seconds.
    pub(crate) fn at_or_after(&self, from: DateTime<Utc>) -> DateTime<Utc> {
        self.after(from - TimeDelta::nanoseconds(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_follows_its_zone_over_the_change_of_summer_time() {
        let clock = Clock::parse("test", "30 2 * * *", "Europe/Berlin").unwrap();
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        assert_eq!(clock.after(at("2026-01-10T12:00:00Z")), at("2026-01-11T01:30:00Z"));
        assert_eq!(clock.after(at("2026-07-10T12:00:00Z")), at("2026-07-11T00:30:00Z"));
        let seconds = Clock::parse("test", "*/2 * * * * *", "UTC").unwrap();
        assert_eq!(seconds.after(at("2026-01-10T12:00:00Z")), at("2026-01-10T12:00:02Z"));
        for (from, first) in [
            ("2026-01-10T11:59:59.999999Z", "2026-01-10T12:00:00Z"),
            ("2026-01-10T12:00:00Z", "2026-01-10T12:00:00Z"),
            ("2026-01-10T12:00:00.000001Z", "2026-01-10T12:00:02Z"),
            ("2026-01-10T12:00:00.999999Z", "2026-01-10T12:00:02Z"),
        ] {
            assert_eq!(seconds.at_or_after(at(from)), at(first), "{from}");
        }
    }

    /// The times of a cron in Berlin from one on.
    fn times(cron: &str, from: &str, count: usize) -> Vec<String> {
        let clock = Clock::parse("test", cron, "Europe/Berlin").unwrap();
        let from = DateTime::parse_from_rfc3339(from).unwrap().to_utc();
        let times = std::iter::successors(Some(clock.at_or_after(from)), |time| Some(clock.after(*time)));
        times.take(count).map(|time| time.format("%d %H:%M").to_string()).collect()
    }

    #[test]
    fn a_fixed_time_in_the_hour_that_is_skipped_is_due_at_its_end_and_others_there_are_left_out() {
        // From 2 to 3 o'clock on 29 March 2026: 01:00 UTC is 03:00 in Berlin.
        let eve = "2026-03-28T00:00:00Z";
        assert_eq!(times("30 2 * * *", eve, 3), ["28 01:30", "29 01:00", "30 00:30"]);
        assert_eq!(times("*/30 2 * * *", eve, 4), ["28 01:00", "28 01:30", "30 00:00", "30 00:30"]);
        assert_eq!(times("0 * * * *", "2026-03-29T00:00:00Z", 3), ["29 00:00", "29 01:00", "29 02:00"]);
    }

    #[test]
    fn a_fixed_time_in_the_hour_that_comes_twice_is_due_once_and_others_there_twice() {
        // From 3 to 2 o'clock on 25 October 2026: 02:30 in Berlin is 00:30 and 01:30 UTC.
        let eve = "2026-10-24T00:00:00Z";
        assert_eq!(times("30 2 * * *", eve, 3), ["24 00:30", "25 00:30", "26 01:30"]);
        let both = ["24 00:00", "24 00:30", "25 00:00", "25 00:30", "25 01:00", "25 01:30", "26 01:00"];
        assert_eq!(times("*/30 2 * * *", eve, 7), both);
        assert_eq!(times("0 * * * *", "2026-10-25T00:00:00Z", 3), ["25 00:00", "25 01:00", "25 02:00"]);
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for (cron, zone) in [("every day", "UTC"), ("61 * * * *", "UTC"), ("* * * * *", "Moon/Base")] {
            let fault = Clock::parse("planner.sources.x", cron, zone).unwrap_err();
            assert!(fault.message.contains("planner.sources.x"), "{fault}");
        }
    }
}
