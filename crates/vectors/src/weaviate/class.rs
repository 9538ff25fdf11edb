//! The class that the trends are kept in: what is made where there is none, and what is asked of one that is there.

use serde::Deserialize;
use serde_json::{Value, json};

/// Each property, its type and whether it is text that is compared whole.
const PROPERTIES: [(&str, &str); 4] =
    [("run_id", "text"), ("tenant", "text"), ("model", "text"), ("received_at", "date")];

/// A class as the server describes it, as far as it matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Class {
    class: String,
    #[serde(default)]
    vectorizer: Option<String>,
    #[serde(default)]
    vector_config: Option<Value>,
    #[serde(default)]
    vector_index_config: Option<VectorIndex>,
    #[serde(default)]
    multi_tenancy_config: Option<MultiTenancy>,
    #[serde(default)]
    properties: Option<Vec<Property>>,
}

#[derive(Debug, Deserialize)]
struct VectorIndex {
    distance: Option<String>,
    #[serde(default)]
    skip: bool,
}

#[derive(Debug, Deserialize)]
struct MultiTenancy {
    #[serde(default)]
    enabled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Property {
    name: String,
    #[serde(default)]
    data_type: Vec<String>,
    tokenization: Option<String>,
    index_filterable: Option<bool>,
}

/// A class's name as Weaviate takes it, and as GraphQL reads it.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= 230
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
}

/// What is made where there is no class.
pub(super) fn definition(name: &str) -> Value {
    let properties: Vec<Value> = PROPERTIES
        .iter()
        .map(|(name, kind)| match *kind {
            "text" => json!({
                "name": name, "dataType": [kind], "tokenization": "field",
                "indexFilterable": true, "indexSearchable": false,
            }),
            _ => json!({
                "name": name, "dataType": [kind], "indexFilterable": true, "indexRangeFilters": true,
            }),
        })
        .collect();
    json!({
        "class": name,
        "description": "Trends that Tidemill embedded, each under its own id",
        "vectorizer": "none",
        "vectorIndexConfig": { "distance": "cosine" },
        // A tenant may be called `the`.
        "invertedIndexConfig": { "stopwords": { "preset": "none" } },
        "properties": properties,
    })
}

impl Class {
    /// What of it does not fit; nothing where it does. How it is sharded, replicated and quantised is its owner's choice.
    pub(super) fn misfit(&self, name: &str) -> Option<String> {
        // Weaviate finds `Trend` where `trend` was asked for.
        if self.class != name {
            return Some(format!("it is called {}", self.class));
        }
        if self.vector_config.as_ref().is_some_and(|named| !named.is_null()) {
            return Some("it has named vectors, and must have a single one".to_owned());
        }
        if let Some(other) = self.vectorizer.as_deref().filter(|vectorizer| *vectorizer != "none") {
            return Some(format!("its vectorizer is {other}, and must be none"));
        }
        let index = self.vector_index_config.as_ref();
        let distance = index.and_then(|index| index.distance.as_deref()).unwrap_or("cosine");
        if distance != "cosine" {
            return Some(format!("its distance is {distance}, and must be cosine"));
        }
        if index.is_some_and(|index| index.skip) {
            return Some("its vectors are not indexed (skip)".to_owned());
        }
        if self.multi_tenancy_config.as_ref().is_some_and(|tenancy| tenancy.enabled) {
            return Some("it has multi-tenancy, and must not: the tenant is a property".to_owned());
        }
        PROPERTIES.iter().find_map(|(name, kind)| self.property_misfit(name, kind))
    }

    fn property_misfit(&self, name: &str, kind: &str) -> Option<String> {
        let Some(property) = self.properties.iter().flatten().find(|property| property.name == name) else {
            return Some(format!("it has no property {name} ({kind})"));
        };
        if property.data_type != [kind] {
            return Some(format!(
                "its property {name} is {}, and must be {kind}",
                property.data_type.join(" or ")
            ));
        }
        if kind == "text" && property.tokenization.as_deref() != Some("field") {
            let other = property.tokenization.as_deref().unwrap_or("word");
            return Some(format!("the tokenization of its property {name} is {other}, and must be field"));
        }
        (property.index_filterable == Some(false))
            .then(|| format!("its property {name} cannot be filtered by (indexFilterable)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn misfit(change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut class = definition("Trend");
        change(&mut class);
        serde_json::from_value::<Class>(class).unwrap().misfit("Trend")
    }

    #[test]
    fn what_is_made_fits_and_any_other_class_is_named_with_what_does_not() {
        assert_eq!(misfit(|_| ()), None);
        assert_eq!(misfit(|class| class["replicationConfig"] = json!({ "factor": 3 })), None);
        for (path, value, what) in [
            ("/class", json!("TREND"), "TREND"),
            ("/vectorizer", json!("text2vec-openai"), "text2vec-openai"),
            ("/vectorIndexConfig/distance", json!("l2-squared"), "l2-squared"),
            ("/properties/1/dataType", json!(["int"]), "tenant is int"),
            ("/properties/1/tokenization", json!("word"), "tenant is word"),
            ("/properties/2/indexFilterable", json!(false), "model"),
            ("/properties/3/name", json!("moment"), "no property received_at"),
        ] {
            let found = misfit(|class| *class.pointer_mut(path).unwrap() = value.clone()).unwrap();
            assert!(found.contains(what), "{path}: {found}");
        }
        assert!(misfit(|class| class["multiTenancyConfig"] = json!({ "enabled": true })).is_some());
        assert!(misfit(|class| class["vectorConfig"] = json!({ "title": {} })).is_some());
    }

    #[test]
    fn a_name_that_graphql_could_not_read_is_none() {
        assert!(is_name("TidemillTrend") && is_name("T_2"));
        for bad in ["", "trend", "2T", "Tide mill", "T{x}", "Ü"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
