//! JSON Schemas: that they are some, and which fields they cannot have.

use serde_json::Value;

use super::Checker;

impl Checker<'_> {
    pub(super) fn schemas(&mut self) {
        for (key, schema) in [("inputs", &self.document.inputs), ("blackboard", &self.document.blackboard)] {
            if let Some(message) = fault(schema) {
                self.fault(key, message);
            }
        }
        self.first_board();
        let properties = self.document.blackboard["properties"].as_object();
        let given = properties
            .into_iter()
            .flatten()
            .filter_map(|(name, schema)| Some((name, schema, schema.get("default")?)));
        for (name, schema, default) in given {
            if let Ok(schema) = jsonschema::validator_for(schema)
                && let Err(error) = schema.validate(default)
            {
                self.fault("blackboard", format!("the default of `{name}` does not fit its schema: {error}"));
            }
        }
        for at in 0..self.flow.len() {
            let step = self.flow.step(at);
            if let Some(message) = fault(&step.output_schema) {
                self.step_fault(at, "output_schema", message);
            } else if !step.output_schema.is_null()
                && !step.fallback.is_null()
                && let Err(error) = jsonschema::validate(&step.output_schema, &step.fallback)
            {
                self.step_fault(at, "fallback", format!("it does not fit the output_schema: {error}"));
            }
        }
    }
}

impl Checker<'_> {
    /// Each patch makes a blackboard that fits its schema, the first one as well: so what is required is there before it.
    fn first_board(&mut self) {
        let schema = &self.document.blackboard;
        let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in
            names.filter(|name| *name != "inputs" && schema["properties"][name].get("default").is_none())
        {
            let message = format!(
                "it requires `{name}`, which is not there at the beginning: no first patch might fit; give it a default"
            );
            self.fault("blackboard", message);
        }
    }
}

fn fault(schema: &Value) -> Option<String> {
    if schema.is_null() {
        return None;
    }
    jsonschema::validator_for(schema).err().map(|error| format!("this is no JSON Schema: {error}"))
}

/// Keywords by which a schema can allow fields that it does not list under `properties`.
const OPEN: [&str; 9] = [
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "patternProperties",
    "$ref",
    "$dynamicRef",
    "unevaluatedProperties",
    "dependentSchemas",
];

/// Whether a value of the schema cannot have the field at this path. What a schema leaves open is known: only one that
/// lists `properties` and says nothing of others, or is of no type that has fields, lacks some.
pub(super) fn unknown_in(schema: &Value, path: &[&str]) -> bool {
    let Some((field, inner)) = path.split_first() else { return false };
    let Some(map) = schema.as_object() else { return schema == &Value::Bool(false) };
    if let Some(known) = map.get("properties").and_then(|properties| properties.get(field)) {
        return unknown_in(known, inner);
    }
    if OPEN.iter().any(|keyword| map.contains_key(*keyword)) {
        return false;
    }
    let is = |kind: &str| match map.get("type") {
        Some(Value::String(only)) => only == kind,
        Some(Value::Array(several)) => several.iter().any(|one| one == kind),
        _ => true,
    };
    let numbered = *field == "-" || field.bytes().all(|b| b.is_ascii_digit());
    if numbered && is("array") {
        return map.get("items").is_some_and(|items| unknown_in(items, inner));
    }
    if !is("object") {
        return true;
    }
    match map.get("additionalProperties") {
        Some(Value::Bool(open)) => !open,
        Some(others) => unknown_in(others, inner),
        None => map.contains_key("properties"),
    }
}
