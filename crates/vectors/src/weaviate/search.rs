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

    /// The rows under `Get` or `Aggregate`, of one part of the question.
    pub(super) fn rows<T: DeserializeOwned>(&self, function: &str, part: &str) -> Result<Vec<T>, String> {
        let rows = self.data.as_ref().and_then(|data| data.get(function)?.get(part));
        let rows = rows.ok_or_else(|| format!("nothing under {function}.{part}"))?;
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

/// Objects of the very moment before which is asked, at once: run ids are compared here, since Weaviate would look at every
/// one that it has (20 ms a search among 14,000).
const SAME_MOMENT: usize = 64;

/// The names of the parts of a question, under which its rows come back.
pub(super) const FOUND: &str = "found";
pub(super) const SAME: &str = "same";

/// How many rows of the same moment are asked for.
pub(super) fn same_limit(k: usize) -> usize {
    SAME_MOMENT.max(k)
}

fn part(name: &str, class: &str, query: &Query<'_>, limit: usize, also: &[String]) -> String {
    let mut operands = vec![
        compare("tenant", "Equal", "valueText", &quoted(query.tenant)),
        compare("model", "Equal", "valueText", &quoted(query.model)),
    ];
    operands.extend_from_slice(also);
    // `{:?}` of a slice of floats is how GraphQL writes a list of them.
    format!(
        "{name}:{class}(limit:{limit},nearVector:{{vector:{:?}}},where:{{operator:And,operands:[{}]}})\
         {{run_id tenant model received_at _additional{{id distance}}}}",
        query.vector,
        operands.join(",")
    )
}

/// The question for the nearest: [`FOUND`], and where only earlier ones are wanted, [`SAME`], those of that moment.
pub(super) fn nearest(class: &str, query: &Query<'_>) -> String {
    let Some((at, _)) = query.before else {
        return format!("{{Get{{{}}}}}", part(FOUND, class, query, query.k, &[]));
    };
    let received = |operator| compare("received_at", operator, "valueDate", &moment(at));
    format!(
        "{{Get{{{} {}}}}}",
        part(FOUND, class, query, query.k, &[received("LessThan")]),
        part(SAME, class, query, same_limit(query.k), &[received("Equal")])
    )
}

/// The question for the nearest of one moment whose run id is lower.
pub(super) fn same_moment(class: &str, query: &Query<'_>, at: DateTime<Utc>, run: Uuid) -> String {
    let also = [
        compare("received_at", "Equal", "valueDate", &moment(at)),
        compare("run_id", "LessThan", "valueText", &quoted(&run.to_string())),
    ];
    format!("{{Get{{{}}}}}", part(SAME, class, query, query.k, &also))
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

/// The rows as neighbours; an error where there are more than asked for, or one of another tenant or model.
pub(super) fn neighbours(
    rows: Vec<Found>,
    query: &Query<'_>,
    limit: usize,
) -> Result<Vec<Neighbour>, String> {
    if rows.len() > limit {
        return Err(format!("{} objects, asked for were {limit}", rows.len()));
    }
    let neighbour = |row: Found| {
        if row.tenant != query.tenant || row.model != query.model {
            return Err(not_asked_for(row._additional.id));
        }
        Ok(Neighbour {
            id: row._additional.id,
            run_id: row.run_id,
            received_at: row.received_at,
            // Cosine distance is 1 − cosine; rounding may leave the sphere by a hair.
            similarity: (1.0 - row._additional.distance).clamp(-1.0, 1.0),
        })
    };
    rows.into_iter().map(neighbour).collect()
}

fn not_asked_for(id: Uuid) -> String {
    format!("the object {id}, which was not asked for")
}

/// An error where one is not received at a moment that this holds of, in microseconds.
pub(super) fn received(found: &[Neighbour], when: impl Fn(i64) -> bool) -> Result<(), String> {
    match found.iter().find(|near| !when(near.received_at.timestamp_micros())) {
        None => Ok(()),
        Some(other) => Err(not_asked_for(other.id)),
    }
}

/// Nearest first, of equally near ones the earlier first.
pub(super) fn order(one: &Neighbour, other: &Neighbour) -> Ordering {
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
