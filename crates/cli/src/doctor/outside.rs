//! What is out, what a person wanted withdrawn, who could not be told, and which sources give nothing.

use std::time::Duration;

use fleet::Fault;
use record::Record;

use super::{Finding, ok, warning};

/// How long what was given up is told of.
const RECENT: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) async fn examine(record: &Record) -> Result<Vec<Finding>, Fault> {
    let mut findings = breakers(record).await?;
    findings.extend(revocations(record).await?);
    findings.extend(notifications(record).await?);
    findings.extend(sources(record).await?);
    Ok(findings)
}

async fn breakers(record: &Record) -> Result<Vec<Finding>, Fault> {
    let open = record.open_breakers().await?;
    if open.is_empty() {
        return Ok(vec![ok("breakers", "none is open")]);
    }
    let told = |one: &record::OpenBreaker| {
        let since = one.opened_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let remedy = match one.kind.as_str() {
            "outlet" => format!(
                "bring it back: its posts go on by themselves; or `tidemill pause outlet {}`",
                one.name
            ),
            "provider" => {
                "bring it back, or correct its key: its steps go on by themselves; or give it a `fallback`"
                    .to_owned()
            }
            _ => "bring back what it needs: it reads on by itself".to_owned(),
        };
        warning("breaker", format!("{} {} is out since {since}: {}", one.kind, one.name, one.reason), remedy)
    };
    Ok(open.iter().map(told).collect())
}

async fn sources(record: &Record) -> Result<Vec<Finding>, Fault> {
    let failing = record.failing_sources(RECENT).await?;
    if failing.is_empty() {
        return Ok(vec![ok("sources", "no poll fails")]);
    }
    let told = |one: &record::FailingSource| {
        let at = one.polled_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        warning(
            "source",
            format!(
                "{}: its last {} polls failed, the last at {at}: {}",
                one.name, one.failures, one.failure
            ),
            "mend it in `planner.sources`; one that is polled no more is forgotten here in a week",
        )
    };
    Ok(failing.iter().map(told).collect())
}

async fn revocations(record: &Record) -> Result<Vec<Finding>, Fault> {
    let open = record.open_revocations().await?;
    if open.is_empty() {
        return Ok(vec![ok("revocations", "none waits")]);
    }
    let told = |one: &record::OpenRevocation| {
        let said = one.detail.as_deref().unwrap_or(match one.attempts {
            0 => "no publisher has taken it up",
            _ => "it is under way",
        });
        warning(
            "revocation",
            format!("{} is to withdraw publication {}: {said}", one.outlet, one.publication_id),
            "bring the outlet back; a publisher that has it configured, and is not paused, tries by itself",
        )
    };
    Ok(open.iter().map(told).collect())
}

async fn notifications(record: &Record) -> Result<Vec<Finding>, Fault> {
    let troubles = record.notification_troubles(RECENT).await?;
    if troubles.is_empty() {
        return Ok(vec![ok("notifications", "every target takes what it is told")]);
    }
    let told = |one: &record::TargetTrouble| {
        let since = one.since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        warning(
            "notifications",
            format!(
                "{}: {} given up, {} tried in vain so far, since {since}: {}",
                one.target,
                one.given_up,
                one.waiting,
                one.reason.as_deref().unwrap_or("no planner with this target has tried")
            ),
            "mend the receiver, or its url and secret in `notifications.targets`; what waits goes out by itself",
        )
    };
    Ok(troubles.iter().map(told).collect())
}
