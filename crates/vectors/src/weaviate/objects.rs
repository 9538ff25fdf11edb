//! Objects as they are sent, and what the server says became of each: a batch is answered 200 even where one failed.

use std::collections::HashMap;

use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Entry;

/// Digits, sign and comma of one component, which the answer repeats.
const BYTES_PER_COMPONENT: usize = 32;

#[derive(Serialize)]
pub(super) struct Batch<'a> {
    objects: Vec<Object<'a>>,
}

#[derive(Serialize)]
struct Object<'a> {
    class: &'a str,
    id: Uuid,
    properties: Properties<'a>,
    vector: &'a [f32],
}

#[derive(Serialize)]
struct Properties<'a> {
    run_id: Uuid,
    tenant: &'a str,
    model: &'a str,
    received_at: String,
}

impl<'a> Batch<'a> {
    pub(super) fn of(class: &'a str, entries: &[&'a Entry]) -> Self {
        let object = |entry: &&'a Entry| Object {
            class,
            id: entry.id,
            properties: Properties {
                run_id: entry.run_id,
                tenant: &entry.tenant,
                model: &entry.model,
                received_at: entry.received_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            },
            vector: &entry.vector,
        };
        Self { objects: entries.iter().map(object).collect() }
    }
}

/// More than a right answer can have: it repeats what was sent.
pub(super) fn max_bytes(entries: &[&Entry]) -> usize {
    let each = |entry: &&Entry| {
        entry.vector.len() * BYTES_PER_COMPONENT + 6 * (entry.tenant.len() + entry.model.len()) + 8192
    };
    64 * 1024 + entries.iter().map(each).sum::<usize>()
}

#[derive(Deserialize)]
pub(super) struct ObjectAnswer {
    id: Uuid,
    result: Option<ObjectResult>,
}

#[derive(Deserialize)]
struct ObjectResult {
    status: Option<String>,
    errors: Option<Errors>,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    error: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    message: String,
}

/// What became of each id: nothing, or what was said against it.
pub(super) type Results = HashMap<Uuid, Option<String>>;

/// The results by id; an error where the answer tells of others than were sent, or not of each.
pub(super) fn results(answers: Vec<ObjectAnswer>, sent: &[&Entry]) -> Result<Results, String> {
    let mut results = Results::with_capacity(sent.len());
    for answer in answers {
        let id = answer.id;
        if !sent.iter().any(|entry| entry.id == id) {
            return Err(format!("the result of an object {id} that was not sent"));
        }
        if results.insert(id, said_against(answer.result)).is_some() {
            return Err(format!("two results of the object {id}"));
        }
    }
    match sent.iter().find(|entry| !results.contains_key(&entry.id)) {
        Some(entry) => Err(format!("no result of the object {}", entry.id)),
        None => Ok(results),
    }
}

fn said_against(result: Option<ObjectResult>) -> Option<String> {
    let Some(result) = result else { return Some("no result was given".to_owned()) };
    let messages: Vec<String> =
        result.errors.into_iter().flat_map(|errors| errors.error).map(|one| one.message).collect();
    match result.status.as_deref() {
        Some("SUCCESS") if messages.is_empty() => None,
        status if messages.is_empty() => Some(format!("its status is {}", status.unwrap_or("missing"))),
        _ => Some(messages.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(n: u128) -> Entry {
        Entry {
            id: Uuid::from_u128(n),
            run_id: Uuid::from_u128(n),
            tenant: "t".to_owned(),
            model: "m".to_owned(),
            received_at: chrono::DateTime::UNIX_EPOCH,
            vector: vec![1.0, 0.0],
        }
    }

    fn read(answer: serde_json::Value) -> Result<Results, String> {
        let (one, two) = (entry(1), entry(2));
        results(serde_json::from_value(answer).unwrap(), &[&one, &two])
    }

    #[test]
    fn each_object_has_its_own_result_in_whatever_order() {
        let id = |n: u128| Uuid::from_u128(n);
        let found = read(json!([
            { "id": id(2), "result": { "status": "FAILED", "errors": { "error": [{ "message": "no" }] } } },
            { "id": id(1), "result": { "status": "SUCCESS" } },
        ]));
        assert_eq!(found.unwrap(), HashMap::from([(id(1), None), (id(2), Some("no".to_owned()))]));
    }

    #[test]
    fn nothing_but_success_without_a_complaint_is_success() {
        let against = |result: serde_json::Value| said_against(serde_json::from_value(result).unwrap());
        assert_eq!(against(json!({ "status": "SUCCESS" })), None);
        for bad in [
            json!(null),
            json!({}),
            json!({ "status": "PENDING" }),
            json!({ "status": "FAILED", "errors": null }),
            json!({ "status": "SUCCESS", "errors": { "error": [{ "message": "and yet" }] } }),
        ] {
            assert!(against(bad.clone()).is_some(), "{bad}");
        }
    }

    #[test]
    fn an_answer_about_other_objects_is_none() {
        let result = |n: u128| json!({ "id": Uuid::from_u128(n), "result": { "status": "SUCCESS" } });
        for (answer, what) in [
            (json!([result(1)]), "no result of"),
            (json!([result(1), result(1), result(2)]), "two results of"),
            (json!([result(1), result(2), result(3)]), "not sent"),
        ] {
            assert!(read(answer).unwrap_err().contains(what));
        }
    }
}
