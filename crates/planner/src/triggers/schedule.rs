//! The clock: a schedule whose time has come fires, and its next time is set, in one transaction; so of several planners
//! one does. A backfill fires the times of a range in the same way, at its own pace.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use fleet::Process;
use rails::CatchUp;
use record::{DueBackfill, FiringKind, NewFiring};
use serde_json::json;
use tokio::sync::Notify;

use super::PAUSE;
use super::known::Known;
use crate::clock::Clock;
use crate::error::RoundError;

/// Times of one schedule that fire together, at most.
const PAGE: usize = 100;

/// Watches the clock until the process stops.
pub(crate) async fn run(process: Process, stored: Arc<Notify>) {
    while !process.shutdown.is_cancelled() {
        if let Err(error) = round(&process, &stored).await {
            tracing::warn!(%error, "schedules could not be looked at; tried again");
        }
        process.idle(PAUSE).await;
    }
}

async fn round(process: &Process, stored: &Notify) -> Result<(), RoundError> {
    let due = process.record.due_triggers().await?;
    let backfills = process.record.due_backfills().await?;
    if due.is_empty() && backfills.is_empty() {
        return Ok(());
    }
    let known = Known::read(&process.record).await?;
    for (name, meant_for, now) in due {
        // What a newer build registered is left to it.
        let (Some((clock, catch_up)), Some(tenant)) = (known.clocks.get(&name), known.tenants.get(&name))
        else {
            continue;
        };
        let (times, next) = due_times(clock, *catch_up, meant_for, now);
        let firings: Vec<NewFiring> =
            times.iter().map(|time| firing(&name, tenant, *time, Some(*time))).collect();
        if process.record.fire_schedule(&name, &firings, meant_for, next).await? {
            stored.notify_one();
        }
    }
    for backfill in backfills {
        let Some((clock, _)) = known.clocks.get(&backfill.trigger) else { continue };
        let (times, next) = backfilled_times(clock, &backfill);
        // None is late: the time that was meant is long ago by design.
        let firings: Vec<NewFiring> =
            times.iter().map(|time| firing(&backfill.trigger, &backfill.tenant, *time, None)).collect();
        if process.record.fire_backfill(&backfill, &firings, next).await? {
            stored.notify_one();
        }
    }
    Ok(())
}

/// The times of a schedule that are to fire now, and its next.
fn due_times(
    clock: &Clock,
    catch_up: CatchUp,
    meant_for: DateTime<Utc>,
    now: DateTime<Utc>,
) -> (Vec<DateTime<Utc>>, DateTime<Utc>) {
    if catch_up != CatchUp::All {
        return (vec![meant_for], clock.after(now));
    }
    let mut times = vec![meant_for];
    let mut next = clock.after(meant_for);
    while next <= now && times.len() < PAGE {
        times.push(next);
        next = clock.after(next);
    }
    (times, next)
}

/// The times of a backfill that are to fire now, and from when on others are still to; none where it is done.
fn backfilled_times(clock: &Clock, backfill: &DueBackfill) -> (Vec<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let a_round = PAUSE.as_nanos() / backfill.pause.max(Duration::from_millis(1)).as_nanos();
    let room = usize::try_from(a_round).unwrap_or(PAGE).clamp(1, PAGE);
    let mut times = Vec::new();
    let mut next = clock.at_or_after(backfill.next_for);
    while next < backfill.until && times.len() < room {
        times.push(next);
        next = clock.after(next);
    }
    (times, Some(next).filter(|next| *next < backfill.until))
}

fn firing(name: &str, tenant: &str, time: DateTime<Utc>, meant_for: Option<DateTime<Utc>>) -> NewFiring {
    let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
    NewFiring {
        trigger: name.to_owned(),
        tenant: tenant.to_owned(),
        request_id: time.clone(),
        origin: time.clone(),
        kind: FiringKind::Scheduled,
        cause: time.clone(),
        input: json!({ "scheduled_for": time }).to_string(),
        follows: None,
        meant_for,
        backfill: None,
        traceparent: None,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn of_times_that_passed_one_fires_or_each() {
        let clock = Clock::parse("test", "0 * * * *", "UTC").unwrap();
        let (meant_for, now) = (at("2026-03-01T07:00:00Z"), at("2026-03-01T10:30:00Z"));
        let once = due_times(&clock, CatchUp::Once, meant_for, now);
        assert_eq!(once, (vec![meant_for], at("2026-03-01T11:00:00Z")));
        let (times, next) = due_times(&clock, CatchUp::All, meant_for, now);
        assert_eq!(
            (times.len(), times[3], next),
            (4, at("2026-03-01T10:00:00Z"), at("2026-03-01T11:00:00Z"))
        );
        let (times, next) = due_times(&clock, CatchUp::All, meant_for, at("2026-04-01T00:00:00Z"));
        assert_eq!(
            (times.len(), next),
            (PAGE, at("2026-03-05T11:00:00Z")),
            "the rest follows in the next rounds"
        );
    }

    #[test]
    fn a_backfill_fires_the_times_of_its_range_at_its_pace() {
        let clock = Clock::parse("test", "0 7 * * *", "UTC").unwrap();
        let backfill = |next_for: &str, pause| DueBackfill {
            backfill_id: Uuid::nil(),
            trigger: "t".to_owned(),
            tenant: "default".to_owned(),
            next_for: at(next_for),
            until: at("2026-01-04T07:00:00Z"),
            pause,
        };
        let slow = backfilled_times(&clock, &backfill("2026-01-01T07:00:00Z", Duration::from_secs(60)));
        assert_eq!(slow, (vec![at("2026-01-01T07:00:00Z")], Some(at("2026-01-02T07:00:00Z"))));
        let (times, next) =
            backfilled_times(&clock, &backfill("2026-01-01T07:00:01Z", Duration::from_millis(100)));
        assert_eq!((times.len(), next), (2, None), "its end is not among them");
        let (times, _) =
            backfilled_times(&clock, &backfill("2026-01-01T07:00:00.5Z", Duration::from_secs(60)));
        assert_eq!(times, [at("2026-01-02T07:00:00Z")], "nothing before its beginning is");
    }
}
