//! Spans that follow an event through the streams: each job's is a child of the span that made the job.
//!
//! Where no OTLP endpoint is named nothing is spanned, and trace contexts pass through as they came.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header of the W3C trace context.
const HEADER: &str = "traceparent";

static EXPORTED: AtomicBool = AtomicBool::new(false);

/// From now on spans are made.
pub(crate) fn export() {
    EXPORTED.store(true, Ordering::Relaxed);
}

/// What a span says of its run.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The span's name, such as `etl`.
    pub name: &'a str,
    /// The run, once it has its id.
    pub run_id: Option<model::RunId>,
    /// The step.
    pub step: &'a str,
    /// Failures so far.
    pub attempt: i32,
    /// The planner's purpose.
    pub planner_intent: &'a str,
}

/// Begins a span below `parent`, a W3C trace context. Returns it with the context of what follows from it.
#[must_use]
pub fn begin(about: &About<'_>, parent: Option<&str>) -> (Span, Option<String>) {
    if !EXPORTED.load(Ordering::Relaxed) {
        return (Span::none(), parent.map(str::to_owned));
    }
    let span = tracing::info_span!(
        "job",
        otel.name = about.name,
        run_id = about.run_id.map(tracing::field::display),
        step = about.step,
        attempt = about.attempt,
        planner_intent = about.planner_intent,
    );
    let propagator = TraceContextPropagator::new();
    if let Some(parent) = parent {
        let carrier = HashMap::from([(HEADER.to_owned(), parent.to_owned())]);
        // A span that a filter left out has no parent to set.
        span.set_parent(propagator.extract(&carrier)).ok();
    }
    let mut carrier = HashMap::new();
    propagator.inject_context(&span.context(), &mut carrier);
    let own = carrier.remove(HEADER).or_else(|| parent.map(str::to_owned));
    (span, own)
}

/// The context of what follows from an event's arrival: a span that ends now, or else the sender's context, or a new one.
#[must_use]
pub fn arrive(about: &About<'_>, parent: Option<&str>) -> String {
    let (_span, own) = begin(about, parent);
    own.unwrap_or_else(new_traceparent)
}

/// W3C trace context, version 00, of a trace that begins here.
fn new_traceparent() -> String {
    format!("00-{:032x}-{:016x}-01", rand::random::<u128>().max(1), rand::random::<u64>().max(1))
}
