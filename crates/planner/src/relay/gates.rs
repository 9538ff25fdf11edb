//! The events of what gates decided: each of its own, with the link that it stands in.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The decisions of gates in a link: for each the end of its event's id, and its data, which is the link with that decision
/// alone.
pub(super) fn decided(gates: Option<&RawValue>, link: &str) -> Vec<(String, String)> {
    let Some(gates) = gates.filter(|gates| gates.get().contains("\"gate:")) else { return vec![] };
    let (Ok(gates), Ok(mut link)) =
        (serde_json::from_str::<Vec<Value>>(gates.get()), serde_json::from_str::<Map<String, Value>>(link))
    else {
        return vec![];
    };
    link.remove("gates");
    let of_gates = gates.iter().filter_map(|decision| {
        let gate = rails::gate_of(decision["rule"].as_str()?)?;
        let mut told = decision["values"].as_object().cloned().unwrap_or_default();
        told.insert("name".to_owned(), json!(gate));
        told.insert("held".to_owned(), decision["held"].clone());
        Some(told)
    });
    of_gates
        .enumerate()
        .map(|(number, told)| {
            let mut data = link.clone();
            data.insert("gate_decided".to_owned(), Value::Object(told));
            (format!("/gate/{}", number + 1), Value::Object(data).to_string())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gate_has_an_event_and_a_condition_has_none() {
        let gates = json!([
            { "rule": "a.b > 1", "held": true, "values": {} },
            { "rule": "gate:guns", "held": false, "values": { "ruling": "block", "gate": { "kind": "licence" } } },
            { "rule": "gate:editor", "held": true, "values": { "ruling": "pass", "answered_by": "ada" } },
        ]);
        let link = json!({ "run": "r", "manifest_id": "r", "request_id": "q", "cluster_id": "desk", "gates": gates });
        let raw = RawValue::from_string(gates.to_string()).unwrap();
        let told = decided(Some(&raw), &link.to_string());
        assert_eq!(told.iter().map(|(part, _)| part.as_str()).collect::<Vec<_>>(), ["/gate/1", "/gate/2"]);
        let guns: Value = serde_json::from_str(&told[0].1).unwrap();
        let decision =
            json!({ "name": "guns", "held": false, "ruling": "block", "gate": { "kind": "licence" } });
        assert_eq!(guns["gate_decided"], decision);
        let identity = ["manifest_id", "request_id", "cluster_id"].map(|key| guns[key].as_str().unwrap());
        assert_eq!((identity, guns.get("gates")), (["r", "q", "desk"], None));
        assert!(decided(None, "{}").is_empty());
    }
}
