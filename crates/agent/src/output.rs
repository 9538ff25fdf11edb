//! Answers: read as JSON, and held against the schemas of role and step.

use jsonschema::Validator;
use providers::Said;
use serde_json::{Value, json};

/// Faults of an answer that are told, at most.
const FAULTS: usize = 5;
/// Characters that one fault is told in, at most: it quotes the answer.
const FAULT: usize = 200;

/// What an answer proposes.
#[derive(Debug, PartialEq)]
pub(crate) struct Proposal {
    pub(crate) output: Value,
    pub(crate) patch: Option<Value>,
}

/// The schemas that an output must fit.
#[derive(Debug)]
pub(crate) struct Schemas(Vec<Validator>);

/// A schema, made ready.
///
/// # Errors
/// In words: it is none, or refers to what is not in it.
pub(crate) fn validator(schema: &Value) -> Result<Validator, String> {
    jsonschema::validator_for(schema).map_err(|e| e.to_string())
}

impl Schemas {
    /// Those that are not null.
    pub(crate) fn of<'a>(schemas: impl IntoIterator<Item = &'a Value>) -> Result<Self, String> {
        schemas
            .into_iter()
            .filter(|schema| !schema.is_null())
            .map(validator)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// # Errors
    /// What is wrong with the output.
    fn fits(&self, output: &Value) -> Result<(), String> {
        let faults = self.0.iter().flat_map(|schema| schema.iter_errors(output)).take(FAULTS);
        let told: Vec<String> = faults
            .map(|fault| {
                let place = fault.instance_path().to_string();
                let words: String = fault.to_string().chars().take(FAULT).collect();
                format!("{}: {words}", if place.is_empty() { "/" } else { &place })
            })
            .collect();
        if told.is_empty() { Ok(()) } else { Err(told.join("; ")) }
    }
}

/// The schema that is asked for: the step's, or else the role's, in an envelope where patches are asked for.
pub(crate) fn asked(step: &Value, role: &Value, patches: bool) -> Value {
    let output = typed(if step.is_null() { role } else { step });
    if !patches {
        return output;
    }
    let output = if output.is_null() { json!({ "type": "object" }) } else { output };
    json!({
        "type": "object",
        "properties": {
            "output": output,
            "patch": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "op": { "enum": ["add", "remove", "replace", "move", "copy", "test"] },
                        "path": { "type": "string" },
                        "from": { "type": "string" },
                        "value": {},
                    },
                    "required": ["op", "path"],
                },
            },
        },
        "required": ["output", "patch"],
    })
}

/// A schema that says that it is of an object, as every output is: endpoints refuse one that does not.
fn typed(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(fields) = &mut schema {
        fields.entry("type").or_insert_with(|| json!("object"));
    }
    schema
}

/// Reads an answer.
///
/// # Errors
/// In words for whoever answered: it is no JSON, no object, or does not fit.
pub(crate) fn read(said: &Said, schemas: &Schemas) -> Result<Proposal, String> {
    let value = match said {
        Said::Json(value) => value.clone(),
        Said::Text(text) => match serde_json::from_str(unfenced(text)) {
            Ok(value) => value,
            Err(_) if schemas.0.is_empty() && !text.trim().is_empty() => json!({ "text": text }),
            Err(error) => return Err(format!("it is no JSON: {error}")),
        },
    };
    let proposal = proposed(value, schemas);
    if !proposal.output.is_object() {
        return Err("the output must be a JSON object".to_owned());
    }
    schemas.fits(&proposal.output)?;
    match &proposal.patch {
        Some(Value::Array(operations)) if !operations.iter().all(is_operation) => {
            Err("each operation of `patch` must have `op` and `path`".to_owned())
        }
        Some(Value::Array(_)) | None => Ok(proposal),
        Some(_) => Err("`patch` must be a list of operations".to_owned()),
    }
}

fn is_operation(operation: &Value) -> bool {
    operation["op"].is_string() && operation["path"].is_string()
}

/// An object with `output`, and nothing but `patch` beside it, is an envelope; where it has no `patch`, only if it is not
/// itself what was asked for.
fn proposed(value: Value, schemas: &Schemas) -> Proposal {
    let Value::Object(mut fields) = value else { return Proposal { output: value, patch: None } };
    let alone = fields.keys().all(|key| key == "output" || key == "patch");
    let is_envelope = alone
        && fields.contains_key("output")
        && (fields.contains_key("patch")
            || (fields["output"].is_object()
                && (schemas.0.is_empty() || schemas.fits(&fields["output"]).is_ok())));
    if !is_envelope {
        return Proposal { output: Value::Object(fields), patch: None };
    }
    let patch = fields.remove("patch").filter(|patch| patch.as_array().is_none_or(|list| !list.is_empty()));
    Proposal {
        output: fields.remove("output").unwrap_or_default(),
        patch: patch.filter(|patch| !patch.is_null()),
    }
}

/// The text without the fence that models like to put around JSON.
pub(crate) fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else { return text };
    inner.split_once('\n').map_or(inner, |(_, body)| body).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas(schema: &Value) -> Schemas {
        Schemas::of([schema]).unwrap()
    }

    fn text(text: &str) -> Said {
        Said::Text(text.to_owned())
    }

    #[test]
    fn json_is_found_bare_fenced_or_in_an_envelope() {
        let schema = schemas(&json!({ "type": "object", "required": ["n"] }));
        let output = json!({ "n": 1 });
        for said in [
            r#"{"n":1}"#,
            "```json\n{\"n\":1}\n```",
            r#"{"output":{"n":1}}"#,
            r#"{"output":{"n":1},"patch":[]}"#,
        ] {
            assert_eq!(
                read(&text(said), &schema),
                Ok(Proposal { output: output.clone(), patch: None }),
                "{said}"
            );
        }
        let patch = json!([{ "op": "add", "path": "/n", "value": 1 }]);
        let said = Said::Json(json!({ "output": output, "patch": patch }));
        assert_eq!(read(&said, &schema), Ok(Proposal { output, patch: Some(patch) }));
    }

    #[test]
    fn an_output_that_has_an_output_of_its_own_is_no_envelope() {
        let schema = schemas(&json!({ "type": "object", "required": ["output"] }));
        let own = json!({ "output": { "x": 1 } });
        assert_eq!(read(&Said::Json(own.clone()), &schema).unwrap().output, own);
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        let schema = schemas(
            &json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] }),
        );
        for (said, words) in [
            (r#"{"n":"#, "no JSON"),
            ("Sure! Here it is.", "no JSON"),
            (r#"{"n":"x"}"#, "/n"),
            ("[1]", "must be a JSON object"),
            (r#"{"output":{"n":1},"patch":{"op":"add"}}"#, "list of operations"),
            (r#"{"output":{"n":1},"patch":[{"op":"add"}]}"#, "`op` and `path`"),
        ] {
            let told = read(&text(said), &schema).unwrap_err();
            assert!(told.contains(words), "{said}: {told}");
        }
        let free = Schemas::of([&Value::Null]).unwrap();
        assert_eq!(read(&text("Plain words."), &free).unwrap().output, json!({ "text": "Plain words." }));
        assert!(read(&text("  "), &free).is_err());
    }

    #[test]
    fn what_is_asked_for_is_an_object_and_the_steps_schema_comes_first() {
        let (step, role) = (json!({ "required": ["a"] }), json!({ "required": ["b"] }));
        assert_eq!(asked(&step, &role, false), json!({ "type": "object", "required": ["a"] }));
        assert_eq!(asked(&Value::Null, &role, true)["properties"]["output"]["required"], json!(["b"]));
        assert_eq!(asked(&Value::Null, &Value::Null, false), Value::Null);
    }

    #[test]
    fn a_schema_that_refers_elsewhere_is_refused() {
        assert!(validator(&json!({ "$ref": "https://example.org/schema.json" })).is_err());
    }
}
