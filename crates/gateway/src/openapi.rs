//! The description of the API, made from the types that are served.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Description, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::error::Document;
use crate::{
    backfills, begin, blame, course, documents, escalations, events, fleet_view, follow, letters, people,
    recall, resolve, revoke, run_view, runs, triggers, work, workflows,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidemill",
        description = "Events in, decisions in, answers out. Fields may be added to answers; none is renamed or removed.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Document)),
    modifiers(&Bearer),
    security(("bearer" = [])),
    tags(
        (name = "events", description = "Events in, and what happens"),
        (name = "runs", description = "Runs: begun, shown, listed, waited for, held back, sent through again, cancelled"),
        (name = "workflows", description = "Workflows: registered, which is to be checked, and activated, which is to be used"),
        (name = "people", description = "What people are asked, what they decide, and what was published"),
        (name = "workers", description = "What workers outside tell of the tasks they were asked for"),
        (name = "triggers", description = "What makes the planner act: listed, fired, and what became of it"),
        (name = "operating", description = "The fleet, dead letters, recall"),
    ),
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, description: &mut Description) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("`tidemill tokens add` makes one".to_owned());
        description
            .components
            .get_or_insert_default()
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
        let signature = ApiKeyValue::with_description(
            "webhook-signature",
            "Standard Webhooks: beside it `webhook-id` and `webhook-timestamp`; docs/worker-contract.md has the key",
        );
        description
            .components
            .get_or_insert_default()
            .add_security_scheme("signature", SecurityScheme::ApiKey(ApiKey::Header(signature)));
    }
}

/// Every route of the gateway, with its description.
pub(crate) fn routed() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(describe))
        .routes(routes!(events::accept, follow::follow))
        .routes(routes!(runs::list, begin::begin))
        .routes(routes!(run_view::show))
        .routes(routes!(runs::board))
        .routes(routes!(blame::blame))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::retry))
        .routes(routes!(begin::rerun))
        .routes(routes!(course::pause))
        .routes(routes!(course::resume))
        .routes(routes!(workflows::list, workflows::register))
        .routes(routes!(documents::validate))
        .routes(routes!(documents::diff))
        .routes(routes!(documents::test))
        .routes(routes!(documents::draw))
        .routes(routes!(documents::graph))
        .routes(routes!(workflows::show))
        .routes(routes!(workflows::activate))
        .routes(routes!(escalations::list))
        .routes(routes!(escalations::show))
        .routes(routes!(resolve::resolve))
        .routes(routes!(resolve::resolve_unversioned))
        .routes(routes!(people::publications))
        .routes(routes!(people::settle))
        .routes(routes!(revoke::revoke))
        .routes(routes!(people::feedback))
        .routes(routes!(people::incidents))
        .routes(routes!(letters::list))
        .routes(routes!(letters::replay))
        .routes(routes!(triggers::list))
        .routes(routes!(triggers::firings))
        .routes(routes!(triggers::fire))
        .routes(routes!(backfills::begin))
        .routes(routes!(backfills::list))
        .routes(routes!(backfills::stop))
        .routes(routes!(work::complete))
        .routes(routes!(work::heartbeat))
        .routes(routes!(recall::recall))
        .routes(routes!(fleet_view::show))
}

/// Shows this description; it needs no token.
#[utoipa::path(
    get,
    operation_id = "describe",
    path = "/openapi.json",
    tag = "operating",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object), Open),
)]
pub(crate) async fn describe(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], app.description.clone())
}

/// What any request may be answered, with or without a token.
pub(crate) struct Open;

impl IntoResponses for Open {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[
            (
                429,
                "Too many requests, or the backlog is over its high-water mark: again after the time in `Retry-After`",
            ),
            (431, "The headers are too large"),
            (503, "Not available now: again after the time in `Retry-After`"),
        ])
    }
}

/// What any request that needs a token may be answered.
pub(crate) struct Always;

impl IntoResponses for Always {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut all = refusals(&[
            (400, "The request cannot be read"),
            (401, "No valid token"),
            (403, "The token's roles do not suffice"),
            (422, "The request can be read and not be carried out"),
            (500, "A bug"),
        ]);
        all.append(&mut Open::responses());
        all
    }
}

/// What a request that names something may be answered.
pub(crate) struct Missing;

impl IntoResponses for Missing {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[(404, "The token's tenant has no such thing")])
    }
}

/// What a request that changes a run may be answered.
pub(crate) struct Conflicting;

impl IntoResponses for Conflicting {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[(409, "It was decided otherwise, or a post is under way")])
    }
}

/// What a request with a body may be answered.
pub(crate) struct WithBody;

impl IntoResponses for WithBody {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[(408, "The body came too slowly"), (413, "The body, an event or the batch is too large")])
    }
}

fn refusals(of: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    of.iter().map(|(status, meaning)| (status.to_string(), RefOr::T(refusal(*status, meaning)))).collect()
}

fn refusal(status: u16, meaning: &str) -> Response {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(meaning).content("application/problem+json", problem);
    let header = |of: Type, meaning: &str| {
        HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(of)))
            .description(Some(meaning))
            .build()
    };
    match status {
        401 => response.header("WWW-Authenticate", header(Type::String, "`Bearer`")),
        429 | 503 => response.header("Retry-After", header(Type::Integer, "Seconds to wait")),
        _ => response,
    }
    .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    const DOCUMENTATION: &str = include_str!("../../../docs/api.md");
    const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

    fn description() -> Value {
        serde_json::to_value(routed().into_openapi()).unwrap()
    }

    /// Each operation by method and path.
    fn operations(description: &Value) -> Vec<(String, Value)> {
        let paths = description["paths"].as_object().unwrap();
        let of = |path: &String, item: &Value| {
            let operations =
                item.as_object().unwrap().iter().filter(|(name, _)| METHODS.contains(&name.as_str()));
            operations
                .map(|(method, operation)| (format!("{} {path}", method.to_uppercase()), operation.clone()))
                .collect::<Vec<_>>()
        };
        paths.iter().flat_map(|(path, item)| of(path, item)).collect()
    }

    /// Every value under a key, however deep.
    fn under<'a>(key: &str, value: &'a Value, found: &mut Vec<&'a Value>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get(key));
                map.values().for_each(|value| under(key, value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| under(key, item, found)),
            _ => {}
        }
    }

    #[test]
    fn it_is_openapi_3_1_and_every_schema_in_it_is_one() {
        let description = description();
        let text = description.to_string();
        let read = oas3::from_json(&text).unwrap();
        assert!(read.validate_version().is_ok_and(|version| (version.major, version.minor) == (3, 1)));
        for (name, schema) in description["components"]["schemas"].as_object().unwrap() {
            jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let mut references = Vec::new();
        under("$ref", &description, &mut references);
        assert!(!references.is_empty());
        for reference in references {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn every_operation_says_what_it_is_who_may_and_what_may_go_wrong() {
        let description = description();
        let mut ids = BTreeSet::new();
        for (name, operation) in operations(&description) {
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{name}: its id is taken"
            );
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.contains('\n')), "{name}");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{name}");
            let statuses: BTreeSet<&str> =
                operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let described = answer["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(described && answer["content"].is_object(), "{name}: {status}");
            }
            let open = operation["security"] == serde_json::json!([{}]);
            assert_eq!(open, name == "GET /openapi.json", "{name}");
            let expected: &[&str] =
                if open { &["429", "503"] } else { &["400", "401", "403", "429", "500", "503"] };
            assert!(expected.iter().all(|status| statuses.contains(status)), "{name}: {statuses:?}");
            assert_eq!(
                name.contains('{'),
                statuses.contains("404") && !name.contains("dead-letters"),
                "{name}"
            );
            let has_body = name.starts_with("POST") && name != "POST /v1/backfills/{id}/stop";
            assert_eq!(has_body, operation["requestBody"].is_object(), "{name}");
        }
        assert_eq!(description["security"], serde_json::json!([{ "bearer": [] }]));
    }

    #[test]
    fn it_and_the_documentation_name_the_same_requests() {
        let described: BTreeSet<String> = operations(&description())
            .into_iter()
            .map(|(name, _)| name)
            // The documentation says of this one that it is the same.
            .filter(|name| name != "POST /escalations/{id}/resolve")
            .collect();
        let documented: BTreeSet<String> = DOCUMENTATION
            .split('`')
            .filter(|code| {
                code.starts_with("GET /v1") || code.starts_with("POST /v1") || *code == "GET /openapi.json"
            })
            .map(|code| code.split(['?', ',']).next().unwrap().trim().to_owned())
            .collect();
        assert_eq!(described, documented);
        assert!(DOCUMENTATION.contains("address without `/v1`"));
    }
}
