//! What is told on `dataset:events` fits docs/events.md, in whatever test it was told.

use std::sync::LazyLock;

use serde_json::Value;
use streams::{StreamNames, Streams};

const DOCUMENTATION: &str = include_str!("../../../docs/events.md");

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = DOCUMENTATION.rsplit_once("```json").unwrap().1.split_once("```").unwrap().0;
    let schema = serde_json::from_str(schema).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
});

/// Asserts that an event fits the schema, and that its type is in the table.
pub(crate) fn assert_documented(event: &Value) {
    if let Err(error) = SCHEMA.validate(event) {
        panic!("{error}: {event}");
    }
    let kind = event["type"].as_str().unwrap();
    assert!(DOCUMENTATION.contains(&format!("\n| `{kind}`")), "{kind} is not documented");
    let (data, id) = (&event["data"], event["id"].as_str().unwrap());
    let mut place = format!("{}/{}/{}", data["run"].as_str().unwrap(), data["branch"], data["pos"]);
    match kind.strip_prefix("orchestration.") {
        Some("gate_decided") => {
            assert!(data["gate_decided"].is_object(), "{event}");
            place.push_str(&id[id.find("/gate/").unwrap()..]);
        }
        Some("published") => {
            assert_eq!(data["what"], "published", "{event}");
            place.push_str("/published");
        }
        Some(patch) => {
            assert!(data[patch].is_object() || data[patch].is_array(), "{event}");
            place.push_str("/patch");
        }
        None => {
            assert_eq!(kind.strip_prefix("io.tidemill.run."), event["data"]["what"].as_str(), "{event}");
        }
    }
    assert_eq!((id, &event["subject"], &event["time"]), (place.as_str(), &data["run"], &data["at"]));
}

/// Events read at once.
const PAGE: usize = 1000;

/// Asserts it of every event of this fleet's that the stream has. For the end of a test, where nothing can be awaited any
/// more: connections of the test's own runtime do not answer there. A Redis that the test stopped has nothing to say.
pub(crate) fn assert_all_documented(redis_url: &str) {
    let look = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Ok(streams) = Streams::connect(redis_url, StreamNames::default()).await else { return };
            let Ok(mut tail) = streams.tail("dataset:events", "0-0").await else { return };
            while let Ok(page) = tail.next(PAGE).await {
                for told in &page {
                    // Others may tell what they like there.
                    if !told.fleet.is_empty() {
                        assert_documented(&serde_json::from_str(&told.event).unwrap());
                    }
                }
                if page.len() < PAGE {
                    return;
                }
            }
        });
    };
    if let Err(panic) = std::thread::scope(|scope| scope.spawn(look).join()) {
        std::panic::resume_unwind(panic);
    }
}
