//! One event's spans arrive at a collector under one trace id, each below the one before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use testkit::eventually;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event};

/// A collector that speaks OTLP over HTTP.
struct Collector {
    server: MockServer,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    async fn start() -> Self {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&spans);
        let server = MockServer::start().await;
        let take = move |request: &Request| {
            let batch = ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap();
            let of_batch = batch.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
            known.lock().unwrap().extend(of_batch);
            ResponseTemplate::new(200)
        };
        Mock::given(method("POST")).and(path("/v1/traces")).respond_with(take).mount(&server).await;
        Self { server, spans }
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.spans.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }
}

#[tokio::test]
async fn the_spans_of_an_event_form_one_trace_also_past_a_retry_and_a_decision() {
    let collector = Collector::start().await;
    let url = collector.server.uri();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let mut fleet = Fleet::quiet().await;
    fleet.start_with("planner", &["planner.values={\"trend\":{\"min_confidence\":1.1}}"], &environment).await;
    for name in ["gateway", "etl", "embedding", "judge"] {
        fleet.start_with(name, &[], &environment).await;
    }
    // Nobody listens there at first: the publication is tried again.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let hook = json!({ "hook": { "webhook": { "url": format!("http://{address}") } } });
    let outlets = format!("publisher.outlets={hook}");
    let set =
        [&outlets, "publisher.outlet=hook", "publisher.breaker.pause=300ms", "publisher.breaker.failures=1"];
    fleet.start_with("publisher", &set, &environment).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (request_id, payload) = event(1);
    desk.post("/v1/events", json!({ "source": "s", "request_id": request_id, "payload": payload })).await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "waiting", "{runs:?}");
    let (_, open) = desk.get("/v1/escalations").await;
    let resolve =
        format!("/v1/escalations/{}/resolve", open["escalations"][0]["escalation_id"].as_str().unwrap());
    desk.post(&resolve, json!({ "decision": "approve" })).await;
    eventually("the publication was tried", async || !collector.named("publisher").is_empty()).await;
    let receiver =
        MockServer::builder().listener(std::net::TcpListener::bind(address).unwrap()).start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200)).mount(&receiver).await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "published", "{runs:?}");
    eventually("the last span arrives", async || collector.named("publisher").len() >= 2).await;

    let chain: BTreeMap<&str, Vec<Span>> = ["gateway", "etl", "embedding", "judge", "publisher"]
        .map(|name| (name, collector.named(name)))
        .into();
    let trace = &chain["gateway"][0].trace_id;
    assert_eq!(Some(hex(trace)), runs[0].trace_id);
    for spans in chain.values() {
        assert!(spans.iter().all(|span| span.trace_id == *trace), "{spans:?}");
    }
    assert!(chain["gateway"][0].parent_span_id.is_empty(), "the event came without a trace of its own");
    for (child, parent) in [("etl", "gateway"), ("embedding", "etl"), ("judge", "embedding")] {
        assert_eq!(chain[child][0].parent_span_id, chain[parent][0].span_id, "{child} below {parent}");
    }
    let known: Vec<&Vec<u8>> = chain.values().flatten().map(|span| &span.span_id).collect();
    for span in &chain["publisher"] {
        assert!(known.contains(&&span.parent_span_id), "{span:?}");
    }
    let retried = chain["publisher"]
        .iter()
        .any(|span| chain["publisher"].iter().any(|other| other.span_id == span.parent_span_id));
    assert!(retried, "a retry is below the attempt before it");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
