//! Reactive triggers: which of them follow from an event.

use chrono::{DateTime, Utc};
use model::{OutsideEvent, RunId};
use rails::Watch;
use record::{FiringKind, LoggedLink, NewFiring};
use serde_json::{Value, json};

use super::config::Origin;

/// The triggers that wait for events.
#[derive(Debug, Default)]
pub(crate) struct Reactive(pub(crate) Vec<Waiting>);

#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) name: String,
    pub(crate) tenant: String,
    pub(crate) from: Origin,
    pub(crate) watch: Watch,
    /// It follows from nothing that happened before.
    pub(crate) since: DateTime<Utc>,
}

/// An event that may fire triggers.
struct Happened<'a> {
    tenant: &'a str,
    from: Origin,
    kind: &'a str,
    at: DateTime<Utc>,
    request_id: String,
    /// What it is known by, also to a record that was put back from a backup.
    origin: String,
    follows: Option<RunId>,
    traceparent: Option<String>,
}

impl Reactive {
    pub(crate) fn watches(&self, from: Origin) -> bool {
        self.0.iter().any(|waiting| waiting.from == from)
    }

    /// What follows from a link of a run's chain, told as the CloudEvent `event`.
    pub(crate) fn after_link(&self, link: &LoggedLink, kind: &str, event: &str) -> Vec<NewFiring> {
        if !self.0.iter().any(|w| w.from == Origin::Runs && w.tenant == link.tenant && w.watch.wants(kind)) {
            return vec![];
        }
        let Ok(event) = serde_json::from_str::<Value>(event) else { return vec![] };
        let Some(at) = event["time"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok()) else {
            return vec![];
        };
        let trace = event["data"]["trace_id"].as_str();
        let happened = Happened {
            tenant: &link.tenant,
            from: Origin::Runs,
            kind,
            at: at.to_utc(),
            request_id: event["id"].as_str().unwrap_or_default().to_owned(),
            origin: format!("{}/{kind}", link.event_id),
            follows: Some(link.run),
            traceparent: trace.map(|trace| format!("00-{trace}-{:016x}-01", rand::random::<u64>().max(1))),
        };
        self.after(&happened, &event)
    }

    /// What follows from an event of others that was added at `at`.
    pub(crate) fn after_outside(&self, outside: &OutsideEvent, at: DateTime<Utc>) -> Vec<NewFiring> {
        // Ids are unique within a source; both may be long.
        let request_id = model::sha256(&[outside.source.as_bytes(), &[0], outside.id.as_bytes()]).to_hex();
        let traceparent = outside.event["traceparent"].as_str().filter(|text| model::is_traceparent(text));
        let happened = Happened {
            tenant: outside.tenant.as_deref().unwrap_or(model::DEFAULT_TENANT),
            from: Origin::Outside,
            kind: &outside.kind,
            at,
            origin: request_id.clone(),
            request_id,
            follows: None,
            traceparent: traceparent.map(str::to_owned),
        };
        self.after(&happened, &outside.event)
    }

    fn after(&self, happened: &Happened<'_>, event: &Value) -> Vec<NewFiring> {
        let fires = |waiting: &&Waiting| {
            waiting.from == happened.from
                && waiting.tenant == happened.tenant
                && waiting.since <= happened.at
                && waiting.watch.wants(happened.kind)
                // What cannot be judged fires, so that its reason is seen; it is suppressed when it is concluded.
                && waiting.watch.holds(event).unwrap_or(true)
        };
        self.0
            .iter()
            .filter(fires)
            .map(|waiting| NewFiring {
                trigger: waiting.name.clone(),
                tenant: waiting.tenant.clone(),
                request_id: happened.request_id.clone(),
                origin: happened.origin.clone(),
                kind: FiringKind::Reactive,
                cause: event["id"].as_str().unwrap_or_default().to_owned(),
                input: json!({ "cause": event }).to_string(),
                follows: happened.follows,
                meant_for: None,
                backfill: None,
                traceparent: happened.traceparent.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_trace_context_of_an_event_of_others_is_left_out() {
        let watch = Watch::compile("com.example.sold", None).unwrap();
        let since = DateTime::UNIX_EPOCH;
        let (name, tenant) = ("sold".to_owned(), model::DEFAULT_TENANT.to_owned());
        let reactive = Reactive(vec![Waiting { name, tenant, from: Origin::Outside, watch, since }]);
        let fired = |traceparent: Value| {
            let event = json!({ "specversion": "1.0", "id": "1", "source": "/shop", "type": "com.example.sold",
                "traceparent": traceparent });
            let fields = vec![(b"event".to_vec(), event.to_string().into_bytes())];
            let mut firings = reactive.after_outside(&OutsideEvent::decode(&fields).unwrap(), since);
            assert_eq!(firings.len(), 1, "{event}");
            firings.remove(0).traceparent
        };
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(fired(json!(good)).as_deref(), Some(good));
        for bad in [json!(format!("{good}\0")), json!("nonsense"), json!(7), Value::Null] {
            assert_eq!(fired(bad.clone()), None, "{bad}");
        }
    }
}
