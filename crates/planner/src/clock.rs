//! Cron with a time zone.

use std::str::FromStr;

use chrono::{DateTime, Utc};
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
            .map_or_else(|_| now + chrono::Duration::days(36_500), |next| next.to_utc())
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
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for (cron, zone) in [("every day", "UTC"), ("61 * * * *", "UTC"), ("* * * * *", "Moon/Base")] {
            let fault = Clock::parse("planner.sources.x", cron, zone).unwrap_err();
            assert!(fault.message.contains("planner.sources.x"), "{fault}");
        }
    }
}
