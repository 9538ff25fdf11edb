//! One event's spans arrive at a collector under one trace id, each below the one before.

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
use crate::letters::dlq;

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

    /// The one span of this name, which belongs to the trace.
    fn only(&self, name: &str, trace_id: &str) -> Span {
        let mut spans = self.named(name);
        assert_eq!(spans.len(), 1, "{name}: {spans:?}");
        assert_eq!(hex(&spans[0].trace_id), trace_id, "{name}");
        spans.remove(0)
    }

    /// Asserts that the spans of this name, of one trace, follow one another below `above`, two of them at least.
    fn assert_in_line(&self, name: &str, mut above: Span, trace_id: &str) {
        let mut spans = self.named(name);
        assert!(spans.len() >= 2, "{spans:?}");
        while !spans.is_empty() {
            let next = spans.iter().position(|span| span.parent_span_id == above.span_id);
            let next = next.unwrap_or_else(|| panic!("none is below {above:?}: {spans:?}"));
            above = spans.remove(next);
            assert_eq!(hex(&above.trace_id), trace_id);
        }
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

    let trace_id = runs[0].trace_id.clone().unwrap();
    let root = collector.only("gateway", &trace_id);
    assert!(root.parent_span_id.is_empty(), "the event came without a trace of its own");
    let mut above = root;
    for name in ["etl", "embedding", "judge", "decision"] {
        let span = collector.only(name, &trace_id);
        assert_eq!(span.parent_span_id, above.span_id, "{name} is below {}", above.name);
        above = span;
    }
    // Each attempt is below the one before, and the first below the decision.
    collector.assert_in_line("publisher", above, &trace_id);
}

#[tokio::test]
async fn a_sender_s_trace_goes_on_past_adoption_death_and_replay() {
    let collector = Collector::start().await;
    let url = collector.server.uri();
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let mut fleet = Fleet::quiet().await;
    for name in ["planner", "etl", "embedding", "judge"] {
        fleet.start_with(name, &[], &environment).await;
    }
    // It refuses the first post, for good.
    let receiver = MockServer::start().await;
    let post = || Mock::given(method("POST"));
    post().respond_with(ResponseTemplate::new(422)).up_to_n_times(1).mount(&receiver).await;
    post().respond_with(ResponseTemplate::new(200)).mount(&receiver).await;
    let outlets =
        format!("publisher.outlets={}", json!({ "hook": { "webhook": { "url": receiver.uri() } } }));
    fleet.start_with("publisher", &[&outlets, "publisher.outlet=hook"], &environment).await;
    let (trace_id, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let (request_id, payload) = event(1);
    let traceparent = format!("00-{trace_id}-{parent}-01");
    let payload = payload.to_string();
    let fields =
        [("source", "s"), ("request_id", &request_id), ("payload", &payload), ("traceparent", &traceparent)]
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    fleet.streams.add_raw("trend:ingest:stream", &fields.to_vec()).await.unwrap();
    let runs = fleet.settled(1).await;
    assert_eq!((runs[0].state.as_str(), runs[0].trace_id.as_deref()), ("dead", Some(trace_id)));
    let letter =
        fleet.record.dead_letters(&record::LetterFilter::default(), 1).await.unwrap()[0].dead_letter_id;
    let (code, said) = dlq(&fleet, &["replay", &letter.to_string(), "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fleet.settled(1).await[0].state, "published");
    eventually("the last span arrives", async || collector.named("publisher").len() == 2).await;
    let adopted = collector.only("adopt", trace_id);
    assert_eq!(hex(&adopted.parent_span_id), parent);
    let mut above = adopted;
    for name in ["etl", "embedding", "judge"] {
        let span = collector.only(name, trace_id);
        assert_eq!(span.parent_span_id, above.span_id, "{name} is below {}", above.name);
        above = span;
    }
    collector.assert_in_line("publisher", above, trace_id);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
