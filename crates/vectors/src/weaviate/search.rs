//! Questions in GraphQL, and what is made of their answers.

use std::cmp::Ordering;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::{Neighbour, Query};

/// An answer to any question. Weaviate answers 200 also where it refuses the question.
#[derive(Deserialize)]
pub(super) struct Answer {
    data: Option<Value>,
    #[serde(default)]
    errors: Option<Vec<Complaint>>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
}

impl Answer {
    /// What Weaviate complains of.
    pub(super) fn complaint(&self) -> Option<String> {
        let complaints = self.errors.as_deref().filter(|errors| !errors.is_empty())?;
        Some(complaints.iter().map(|one| one.message.as_str()).collect::<Vec<_>>().join("; "))
    }

    /// The rows under `Get` or `Aggregate`.
    pub(super) fn rows<T: DeserializeOwned>(&self, function: &str, class: &str) -> Result<Vec<T>, String> {
        let rows = self.data.as_ref().and_then(|data| data.get(function)?.get(class));
        let rows = rows.ok_or_else(|| format!("nothing under {function}.{class}"))?;
        Vec::deserialize(rows).map_err(|error| format!("rows of another shape: {error}"))
    }
}

/// A string as GraphQL writes it, which is as JSON does.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn moment(at: DateTime<Utc>) -> String {
    quoted(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

fn compare(path: &str, operator: &str, kind: &str, value: &str) -> String {
    format!("{{path:[\"{path}\"],operator:{operator},{kind}:{value}}}")
}

/// The question for the nearest.
pub(super) fn nearest(class: &str, query: &Query<'_>) -> String {
    let mut operands = vec![
        compare("tenant", "Equal", "valueText", &quoted(query.tenant)),
        compare("model", "Equal", "valueText", &quoted(query.model)),
    ];
    if let Some((at, run)) = query.before {
        let (at, run) = (moment(at), quoted(&run.to_string()));
        operands.push(format!(
            "{{operator:Or,operands:[{},{{operator:And,operands:[{},{}]}}]}}",
            compare("received_at", "LessThan", "valueDate", &at),
            compare("received_at", "Equal", "valueDate", &at),
            compare("run_id", "LessThan", "valueText", &run),
        ));
    }
    // `{:?}` of a slice of floats is how GraphQL writes a list of them.
    format!(
        "{{Get{{{class}(limit:{},nearVector:{{vector:{:?}}},where:{{operator:And,operands:[{}]}})\
         {{run_id tenant model received_at _additional{{id distance}}}}}}}}",
        query.k,
        query.vector,
        operands.join(",")
    )
}

/// The question for how many objects there are.
pub(super) fn count(class: &str) -> String {
    format!("{{Aggregate{{{class}{{meta{{count}}}}}}}}")
}

/// The question which of these ids are there with a vector of this model.
pub(super) fn held(class: &str, ids: &[Uuid], model: &str) -> String {
    let ids: Vec<String> = ids.iter().map(|id| quoted(&id.to_string())).collect();
    format!(
        "{{Get{{{class}(limit:{},where:{{operator:And,operands:[{},{}]}}){{_additional{{id}}}}}}}}",
        ids.len(),
        compare("id", "ContainsAny", "valueText", &format!("[{}]", ids.join(","))),
        compare("model", "Equal", "valueText", &quoted(model)),
    )
}

#[derive(Deserialize)]
pub(super) struct Counted {
    meta: Meta,
}

#[derive(Deserialize)]
struct Meta {
    count: usize,
}

/// How many there are, of the rows of [`count`].
pub(super) fn counted(rows: &[Counted]) -> usize {
    rows.iter().map(|row| row.meta.count).sum()
}

#[derive(Deserialize)]
pub(super) struct Held {
    _additional: Id,
}

#[derive(Deserialize)]
struct Id {
    id: Uuid,
}

impl Held {
    pub(super) fn id(&self) -> Uuid {
        self._additional.id
    }
}

#[derive(Deserialize)]
pub(super) struct Found {
    run_id: Uuid,
    tenant: String,
    model: String,
    received_at: DateTime<Utc>,
    _additional: Near,
}

#[derive(Deserialize)]
struct Near {
    id: Uuid,
    distance: f32,
}

/// The neighbours, nearest first, of equally near ones the earlier first; an error where one is among them that was not
/// asked for.
pub(super) fn neighbours(rows: Vec<Found>, query: &Query<'_>) -> Result<Vec<Neighbour>, String> {
    if rows.len() > query.k {
        return Err(format!("{} objects, asked for were {}", rows.len(), query.k));
    }
    let before = query.before.map(|(at, run)| (at.timestamp_micros(), run));
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let earlier = before.is_none_or(|before| (row.received_at.timestamp_micros(), row.run_id) < before);
        if row.tenant != query.tenant || row.model != query.model || !earlier {
            return Err(format!("the object {}, which was not asked for", row._additional.id));
        }
        found.push(Neighbour {
            id: row._additional.id,
            run_id: row.run_id,
            received_at: row.received_at,
            // Cosine distance is 1 − cosine; rounding may leave the sphere by a hair.
            similarity: (1.0 - row._additional.distance).clamp(-1.0, 1.0),
        });
    }
    found.sort_by(order);
    Ok(found)
}

fn order(one: &Neighbour, other: &Neighbour) -> Ordering {
    let key = |near: &Neighbour| (near.received_at, near.run_id, near.id);
    other.similarity.total_cmp(&one.similarity).then_with(|| key(one).cmp(&key(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tenant_is_called_cannot_leave_its_quotes() {
        let query = Query { tenant: "a\"]}}){x\n", model: "m\\", vector: &[1.0, -1e-7], k: 2, before: None };
        let asked = nearest("Trend", &query);
        assert!(asked.contains(r#"valueText:"a\"]}}){x\n"}"#), "{asked}");
        assert!(asked.contains(r#"valueText:"m\\"}"#) && asked.contains("vector:[1.0, -1e-7]"), "{asked}");
    }
}
