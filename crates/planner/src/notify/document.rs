//! What people are told: a document with everything, and in it a sentence for those who read only that.

use chrono::{DateTime, SecondsFormat, Utc};
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
        NoticeKind::IncidentOpened => {
            format!("Policy holds back {title} ({}). See `tidemill why {}`.", of("kind"), of("run_id"))
        }
        NoticeKind::BreakerOpened => {
            let (name, reason, since) = (of("name"), of("reason"), time(&data["opened_at"]));
            if data["breaker"] == "outlet" {
                format!(
                    "The outlet {name} is out since {since}, its posts wait: {reason}. See `tidemill doctor`."
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
    }
}

/// A time to the second.
fn time(value: &Value) -> String {
    let given = value.as_str().unwrap_or_default();
    DateTime::parse_from_rfc3339(given)
        .map_or_else(|_| given.to_owned(), |at| at.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// A document as people may be told it, to try a template on.
pub(crate) fn sample(kind: NoticeKind) -> Value {
    let at = DateTime::<Utc>::UNIX_EPOCH;
    let publication = json!({ "publication_id": uuid::Uuid::nil(), "outlet": "site", "reference": "post 7",
                              "reason": "403", "requested_by": "desk" });
    let escalation = json!({ "escalation_id": uuid::Uuid::nil(), "issue_type": "toxicity", "question": "May it?",
                             "rule": "a > b", "opened_at": at, "due_at": at });
    let detail = match kind {
        NoticeKind::EscalationOpened | NoticeKind::EscalationOverdue => escalation,
        NoticeKind::IncidentOpened => json!({ "incident_id": uuid::Uuid::nil(), "kind": "policy_violation",
                                              "opened_at": at, "detail": {} }),
        NoticeKind::BreakerOpened => json!({ "breaker": "outlet", "name": "site", "reason": "no connection",
                                             "process": "publisher@host-1-abc", "opened_at": at }),
        NoticeKind::PublicationUnknown | NoticeKind::RevocationRefused => publication,
    };
    of(&Notice {
        notice_id: uuid::Uuid::nil(),
        kind,
        tenant: Some(model::DEFAULT_TENANT.to_owned()),
        run_id: Some(model::RunId(uuid::Uuid::nil())),
        source: Some("wire".to_owned()),
        content: Some(json!({ "title": "A \"title\"" }).to_string()),
        detail,
        happened_at: at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_sentence_with_what_to_do_and_its_title_in_bounds() {
        for kind in NoticeKind::ALL {
            let told = sample(kind);
            let text = told["text"].as_str().unwrap();
            assert!(text.len() > 40 && !text.contains("  ") && !text.contains("()"), "{text}");
            assert_eq!(told["type"], kind.as_str());
        }
        let long = json!({ "title": "x".repeat(5000) + "\n<!channel>", "run_id": "r", "kind": "k" });
        assert!(sentence(NoticeKind::IncidentOpened, &long).chars().count() < 300);
    }
}
