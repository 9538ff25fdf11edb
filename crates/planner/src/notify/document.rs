//! What people are told: a document with everything, and in it a sentence for those who read only that.

use chrono::{DateTime, SecondsFormat};
use record::{Notice, NoticeKind};
use serde_json::{Value, json};

/// The longest title that a sentence quotes, in characters.
const TITLE: usize = 200;
/// The longest reason.
const REASON: usize = 500;

/// The document of a notice.
pub(crate) fn of(notice: &Notice) -> Value {
    let mut data = match &notice.detail {
        Value::Object(detail) => detail.clone(),
        _ => serde_json::Map::new(),
    };
    let content: Value =
        notice.content.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    data.insert("run_id".to_owned(), json!(notice.run_id));
    data.insert("source".to_owned(), json!(notice.source));
    data.insert("title".to_owned(), content["title"].clone());
    let data = Value::Object(data);
    json!({
        "type": notice.kind.as_str(),
        "timestamp": notice.happened_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "tenant": notice.tenant,
        "text": sentence(notice.kind, &data),
        "data": data,
    })
}

fn words(value: &Value, most: usize) -> String {
    let text = value.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= most { text } else { text.chars().take(most).chain(['…']).collect() }
}

fn sentence(kind: NoticeKind, data: &Value) -> String {
    let of = |name: &str| words(&data[name], REASON);
    let title = match words(&data["title"], TITLE) {
        title if title.is_empty() => format!("run {}", of("run_id")),
        title => format!("“{title}”"),
    };
    let id = of("escalation_id");
    match kind {
        NoticeKind::EscalationOpened => {
            let (issue, question, due) = (of("issue_type"), of("question"), time(&data["due_at"]));
            format!(
                "A person is asked about {title} ({issue}) until {due}: {question} See `tidemill escalations show {id}`."
            )
        }
        NoticeKind::EscalationOverdue => {
            let (issue, question, since) = (of("issue_type"), of("question"), time(&data["opened_at"]));
            format!(
                "Nobody has answered since {since} about {title} ({issue}): {question} See `tidemill escalations show {id}`."
            )
        }
        NoticeKind::BudgetOverrun => {
            let question = of("question");
            format!("A budget holds back {title}: {question} See `tidemill escalations show {id}`.")
        }
        NoticeKind::IncidentOpened => {
            format!("Policy holds back {title} ({}). See `tidemill why {}`.", of("kind"), of("run_id"))
        }
        NoticeKind::BreakerOpened => {
            let (name, reason, since) = (of("name"), of("reason"), time(&data["opened_at"]));
            if data["breaker"] == "outlet" {
                format!(
                    "The outlet {name} is out since {since}, its posts wait: {reason}. See `tidemill doctor`."
                )
            } else if data["breaker"] == "provider" {
                format!(
                    "The agents' provider {name} is out since {since}, its steps wait: {reason}. See `tidemill doctor`."
                )
            } else {
                format!(
                    "What the stage {name} needs went away at {since}, so it stopped reading: {reason}. See `tidemill doctor`."
                )
            }
        }
        NoticeKind::PublicationUnknown => {
            let (outlet, id, reason) = (of("outlet"), of("publication_id"), of("reason"));
            format!(
                "Nobody knows whether {title} went out through {outlet} ({reason}). Look there, then `tidemill publications settle {id}`."
            )
        }
        NoticeKind::RevocationRefused => {
            let (who, outlet, reason) = (of("requested_by"), of("outlet"), of("reason"));
            format!("{title}, which {who} wanted withdrawn from {outlet}, is still out: {reason}.")
        }
        NoticeKind::RunEnded => {
            let (state, step, reason, id) = (of("state"), of("step"), of("reason"), of("run_id"));
            format!("{title} ended as {state} at {step}: {reason}. See `tidemill why {id}`.")
        }
    }
}

/// A time to the second.
fn time(value: &Value) -> String {
    let given = value.as_str().unwrap_or_default();
    DateTime::parse_from_rfc3339(given)
        .map_or_else(|_| given.to_owned(), |at| at.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The documents of docs/notifications.md, to try templates on.
pub(crate) fn sample(kind: NoticeKind) -> Value {
    const ID: uuid::Uuid = uuid::Uuid::from_u128(0x0197_a1c2_0000_7000_8000_0000_0000_0000);
    const AT: &str = "2026-03-01T09:30:00.000000+00:00";
    let publication = |requested_by: Option<&str>, reason: &str| {
        json!({ "publication_id": ID, "outlet": "site", "reference": "post 7 https://blog.example.org/?p=7",
                "reason": reason, "requested_by": requested_by })
    };
    let detail = match kind {
        NoticeKind::BudgetOverrun => json!({
            "escalation_id": ID, "issue_type": "budget_overrun", "rule": "budget of the tenant for this day",
            "question": "Before `code` the budget of tokens of the tenant for this day does not suffice any more.",
            "opened_at": AT, "due_at": "2026-03-02T09:30:00.000000+00:00" }),
        NoticeKind::EscalationOpened | NoticeKind::EscalationOverdue => json!({
            "escalation_id": ID, "issue_type": "toxicity", "rule": "judge.toxicity_score > values.max_toxicity",
            "question": "This text reads as toxic. May it be published as it is?",
            "opened_at": AT, "due_at": "2026-03-02T09:30:00.000000+00:00" }),
        NoticeKind::IncidentOpened => json!({
            "incident_id": ID, "kind": "policy_violation", "opened_at": AT,
            "detail": { "rule": "size(judge.violations) > 0", "values": { "judge.violations": [] }, "report": {} } }),
        NoticeKind::BreakerOpened => json!({
            "breaker": "outlet", "name": "site", "reason": "no connection", "process": "publisher@host-1-abcdef",
            "opened_at": AT }),
        NoticeKind::PublicationUnknown => publication(None, "its sender died and its run moved on"),
        NoticeKind::RevocationRefused => publication(Some("desk"), "it answered 403 Forbidden"),
        NoticeKind::RunEnded => json!({
            "target": "desk", "state": "published", "lifecycle": "published", "step": "publish",
            "reason": "published: 2026/03/the-ferry-is-electric-now", "pipeline_version": "trend@1-0a1b2c3d4e5f",
            "request_id": "order-17", "rerun_of": null, "dry_run": false, "ended_at": AT }),
    };
    let of_run = kind != NoticeKind::BreakerOpened;
    of(&Notice {
        notice_id: ID,
        kind,
        tenant: of_run.then(|| model::DEFAULT_TENANT.to_owned()),
        run_id: of_run.then_some(model::RunId(ID)),
        source: of_run.then(|| "harbour-news".to_owned()),
        content: of_run.then(|| json!({ "title": "The ferry is electric now" }).to_string()),
        detail,
        happened_at: DateTime::parse_from_rfc3339(AT).map_or(DateTime::UNIX_EPOCH, |at| at.to_utc()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_documented_with_its_sample() {
        let page = include_str!("../../../../docs/notifications.md");
        let blocks = page.split("```json").skip(1).filter_map(|rest| rest.split("```").next());
        let documented: Vec<Value> = blocks.filter_map(|block| serde_json::from_str(block).ok()).collect();
        for kind in NoticeKind::ALL {
            let told = sample(kind);
            assert!(documented.contains(&told), "docs/notifications.md lacks\n{told:#}");
        }
    }

    #[test]
    fn a_sentence_is_one_line_in_bounds_whatever_the_title() {
        for kind in NoticeKind::ALL {
            let text = sample(kind)["text"].as_str().unwrap().to_owned();
            assert!(text.len() > 40 && !text.contains("  ") && !text.contains("()"), "{text}");
        }
        let long = json!({ "title": format!("a\n{}", "x".repeat(5000)), "run_id": "r", "kind": "k" });
        let text = sentence(NoticeKind::IncidentOpened, &long);
        assert!(text.chars().count() < 300 && !text.contains('\n'), "{text}");
    }
}
