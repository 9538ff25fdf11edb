//! The gateway's own description of its API, to hold its answers against.

use jsonschema::Validator;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};

/// Characters that a fault tells of an answer, and of what is wrong with it.
const TOLD: usize = 500;

/// What `/openapi.json` says, with every object closed: a field that it does not name is a fault.
#[derive(Debug)]
pub(crate) struct Description(Value);

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: u16,
    pub(crate) headers: &'a HeaderMap,
    /// `None` of one that does not end.
    pub(crate) body: Option<&'a [u8]>,
}

impl Description {
    pub(crate) fn new(mut description: Value) -> Self {
        for schema in description["components"]["schemas"].as_object_mut().expect("schemas").values_mut() {
            // Whoever refers to it closes it, since it may be a part of something larger.
            close(schema, false);
        }
        for item in description["paths"].as_object_mut().expect("paths").values_mut() {
            close_answers(item);
        }
        Self(description)
    }

    /// What is wrong with an answer.
    pub(crate) fn fault(&self, answer: &Answer<'_>) -> Option<String> {
        let fault = |what: &str| {
            let Answer { method, path, status, body, .. } = answer;
            let body = String::from_utf8_lossy(body.unwrap_or_default());
            let [what, body] = [what, &body].map(|text| text.chars().take(TOLD).collect::<String>());
            Some(format!("{method} {path}: {status}: {what}: {body}"))
        };
        let Some(described) = self.answer(answer) else {
            return fault("this status is not described");
        };
        for name in described["headers"].as_object().into_iter().flatten().map(|(name, _)| name) {
            if !answer.headers.contains_key(name) {
                return fault(&format!("the header {name} is missing"));
            }
        }
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        let Some(content) = described["content"].get(essence) else {
            return fault(&format!("its type `{kind}` is not described"));
        };
        let body = if essence.ends_with("json") {
            serde_json::from_slice::<Value>(answer.body?).ok()
        } else {
            std::str::from_utf8(answer.body?).ok().map(Value::from)
        };
        let Some(body) = body else { return fault("it is not what its type says") };
        let schema = self.validator(&content["schema"]);
        let wrong: Vec<String> =
            schema.iter_errors(&body).map(|e| format!("{} at `{}`", e, e.instance_path())).collect();
        if wrong.is_empty() { None } else { fault(&wrong.join("; ")) }
    }

    fn answer(&self, answer: &Answer<'_>) -> Option<Value> {
        let paths = self.0["paths"].as_object()?;
        let item = paths.iter().find(|(template, _)| fits(template, answer.path)).map(|(_, item)| item);
        let operation = item.and_then(|item| item.get(answer.method.to_lowercase()));
        let other = if item.is_some() { 405 } else { 404 };
        match operation {
            Some(operation) => operation["responses"].get(answer.status.to_string()).cloned(),
            None if answer.status == other => {
                let schema =
                    json!({ "$ref": "#/components/schemas/Problem", "unevaluatedProperties": false });
                Some(json!({ "content": { "application/problem+json": { "schema": schema } } }))
            }
            None => None,
        }
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut whole = schema.clone();
        whole["components"] = self.0["components"].clone();
        jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&whole)
            .expect("a schema of the description")
    }
}

fn fits(template: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    template.split('/').count() == path.split('/').count()
        && template
            .split('/')
            .zip(path.split('/'))
            .all(|(wanted, part)| wanted == part || wanted.starts_with('{'))
}

/// Closes the schemas of a path's answers.
fn close_answers(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if name == "schema" { close(value, true) } else { close_answers(value) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close_answers),
        _ => {}
    }
}

/// Closes what a schema is made of, and itself where it stands by itself.
fn close(schema: &mut Value, itself: bool) {
    let Value::Object(map) = schema else { return };
    for (name, value) in map.iter_mut() {
        match (name.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(|of| close(of, true))
            }
            ("items" | "additionalProperties", of) => close(of, true),
            ("oneOf" | "anyOf", Value::Array(some)) => some.iter_mut().for_each(|of| close(of, true)),
            ("allOf", Value::Array(parts)) => parts.iter_mut().for_each(|of| close(of, false)),
            _ => {}
        }
    }
    let named = ["$ref", "properties", "allOf"].iter().any(|name| map.contains_key(*name));
    if itself && named && !map.contains_key("additionalProperties") {
        map.insert("unevaluatedProperties".to_owned(), json!(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        let problem = json!({ "type": "object", "required": ["title"], "properties": { "title": { "type": "string" } } });
        let base =
            json!({ "type": "object", "required": ["id"], "properties": { "id": { "type": "integer" } } });
        let more = json!({ "allOf": [{ "$ref": "#/components/schemas/Base" }, {
            "type": "object", "required": ["of"], "properties": { "of": { "oneOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Base" }] } },
        }] });
        let answer = json!({ "content": { "application/json": { "schema": { "$ref": "#/components/schemas/More" } } } });
        Description::new(json!({
            "paths": { "/v1/things/{id}": { "get": { "responses": { "200": answer, "503": { "headers": { "Retry-After": {} } } } } } },
            "components": { "schemas": { "Problem": problem, "Base": base, "More": more } },
        }))
    }

    fn found(method: &str, path: &str, status: u16, kind: &str, body: &Value) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().expect("a header"));
        let body = body.to_string();
        description().fault(&Answer { method, path, status, headers: &headers, body: Some(body.as_bytes()) })
    }

    #[test]
    fn what_is_described_passes_and_everything_else_is_a_fault() {
        let json = "application/json";
        let good = json!({ "id": 1, "of": { "id": 2 } });
        assert_eq!(found("GET", "/v1/things/7?x=1", 200, json, &good), None);
        let problem = json!({ "title": "no" });
        assert_eq!(found("GET", "/elsewhere", 404, "application/problem+json", &problem), None);
        assert_eq!(found("PUT", "/v1/things/7", 405, "application/problem+json", &problem), None);
        for (method, path, status, kind, body) in [
            ("GET", "/v1/things/7", 201, json, &good),
            ("GET", "/v1/things/7", 200, "text/plain", &good),
            ("GET", "/v1/things/7", 200, json, &json!({ "id": 1, "of": null, "more": 1 })),
            ("GET", "/v1/things/7", 200, json, &json!({ "id": 1, "of": { "id": 2, "more": 1 } })),
            ("GET", "/v1/things/7", 200, json, &json!({ "id": "1", "of": null })),
            ("GET", "/v1/things/7", 200, json, &json!({ "of": null })),
            ("GET", "/v1/things/7", 503, json, &good),
            ("GET", "/v1/things/7/more", 200, json, &good),
            ("GET", "/elsewhere", 404, "application/problem+json", &json!({ "title": "no", "more": 1 })),
            ("PUT", "/v1/things/7", 404, "application/problem+json", &problem),
        ] {
            assert!(found(method, path, status, kind, body).is_some(), "{method} {path} {status} {body}");
        }
    }
}
