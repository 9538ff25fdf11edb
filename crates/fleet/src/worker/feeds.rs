//! What outsiders are told, best effort: the log line, and the capped feed of escalations. The tables are the truth.

use std::sync::Arc;

use record::{Item, Routed, trace_id};

use super::Engine;
use crate::Handler;

/// Entries that the feed of escalations keeps.
const FEED_LENGTH: usize = 10_000;

/// Tells of a transition that was committed.
pub(crate) fn tell<H: Handler>(engine: &Arc<Engine<H>>, item: &Item, seq: i32, routed: &Routed) {
    let (run, transition, advance) = (&item.run, &routed.transition, &routed.advance);
    tracing::info!(
        trace_id = trace_id(run.traceparent.as_deref()),
        run_id = %run.run,
        enriched_trend_id = run.enriched_trend_id.map(tracing::field::display),
        planner_intent = run.planner_intent,
        worker_output_prompt = advance.prompt,
        step = run.step,
        attempt = run.attempt,
        seq,
        state = transition.state.as_str(),
        next = transition.step,
        reason = transition.reason,
        "{}",
        advance.what
    );
    let Some(escalation) = &transition.escalation else { return };
    let fields = vec![
        ("run".to_owned(), run.run.to_string()),
        ("seq".to_owned(), seq.to_string()),
        ("tenant".to_owned(), run.tenant.clone()),
        ("issue_type".to_owned(), escalation.issue_type.clone()),
        ("question".to_owned(), escalation.question.clone()),
    ];
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        if let Err(error) = engine.process.streams.feed(streams::ESCALATIONS_FEED, &fields, FEED_LENGTH).await
        {
            tracing::warn!(%error, "the feed of escalations missed one; the table has it");
        }
    });
}
