//! Firings are concluded, each in the transaction that admits its run.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleet::{Arrival, Door, DoorError, FiringLabels, Process};
use model::{NewEvent, SourceName};
use rails::{Circumstances, Conclusion, Projection, Watch};
use record::{Handling, OpenFiring};
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::PAUSE;
use super::config::{REQUEST_ID, Trigger};
use super::known::Known;
use crate::error::RoundError;

/// Firings looked at together.
const PAGE: i64 = 100;

/// A firing's run to be, or why there can be none.
type Prepared = Result<Arrival, String>;

/// Concludes until the process stops.
pub(crate) async fn run(process: Process, stored: Arc<Notify>) {
    let door = Door::new(&process);
    let mut left = BTreeSet::new();
    while !process.shutdown.is_cancelled() {
        match round(&process, &door, &mut left).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "firings could not be concluded; tried again"),
        }
        left.clear();
        tokio::select! {
            () = process.shutdown.cancelled() => {}
            () = stored.notified() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Concludes a page of firings but of those triggers that are to be left for now, to which it adds; whether there may be
/// more. A firing that fails, or is left, does not hold up those of other triggers.
async fn round(process: &Process, door: &Door, left: &mut BTreeSet<String>) -> Result<bool, RoundError> {
    // What a newer build registered is left to it.
    let known = Known::read(&process.record).await?;
    let names: Vec<&str> =
        known.tenants.keys().filter(|name| !left.contains(*name)).map(String::as_str).collect();
    let open = process.record.open_firings(&names, PAGE).await?;
    let (mut more, mut failed) = (false, None);
    for firing in &open {
        if left.contains(&firing.trigger) {
            continue;
        }
        match conclude(process, door, firing).await {
            Ok(concluded) => {
                more = true;
                if !concluded {
                    left.insert(firing.trigger.clone());
                }
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(more),
    }
}

/// Concludes a firing; `false` where it is left open, since the stream that its run would begin in is over its high-water mark.
async fn conclude(process: &Process, door: &Door, firing: &OpenFiring) -> Result<bool, RoundError> {
    let trigger = firing.definition.as_deref().and_then(|json| serde_json::from_str::<Trigger>(json).ok());
    let prepared = match &trigger {
        Some(trigger) => prepare(door, trigger, firing).await?,
        None if firing.definition.is_some() => return Ok(false),
        None => Err("the planners do not have this trigger any more".to_owned()),
    };
    if let Ok(arrival) = &prepared
        && is_full(process, &arrival.worker).await
    {
        return Ok(false);
    }
    let rule = trigger.as_ref().map(Trigger::rule).unwrap_or_default();
    let admission = prepared.as_ref().ok().map(|arrival| &arrival.admission);
    let decide = |now: &Circumstances| match (rails::conclude(&firing.trigger, &rule, now), &prepared) {
        (Conclusion::Run, Err(why)) => Conclusion::Suppressed(why.clone()),
        (conclusion, _) => conclusion,
    };
    let concluded = match process.record.conclude_firing(firing.firing_id, admission, decide).await {
        // A run that the record refuses for good would be tried for ever.
        Err(error) if error.handling() == Handling::Culprit => {
            let refused = |_: &Circumstances| Conclusion::Suppressed(error.to_string());
            process.record.conclude_firing(firing.firing_id, None, refused).await?
        }
        concluded => concluded?,
    };
    let Some(conclusion) = concluded else { return Ok(true) };
    if let (Conclusion::Run, Ok(arrival)) = (&conclusion, &prepared) {
        let job = [(&arrival.admission, arrival.worker.as_str())];
        fleet::add_first_jobs(&process.streams, job.into_iter()).await;
    }
    tell(process, firing, &conclusion, admission.map(|a| a.run));
    Ok(true)
}

/// Whether a worker type has more to do than is to be added to. Where Redis is away runs begin all the same.
async fn is_full(process: &Process, worker: &str) -> bool {
    let high_water = process.settings.shared.worker.high_water;
    process.streams.backlog(worker).await.is_ok_and(|backlog| backlog.stream > high_water)
}

fn tell(process: &Process, firing: &OpenFiring, conclusion: &Conclusion, run: Option<model::RunId>) {
    let (outcome, run, reason) = match conclusion {
        Conclusion::Run => ("run", run, ""),
        Conclusion::Merged(run, reason) => ("merged", Some(*run), reason.as_str()),
        Conclusion::Suppressed(reason) => ("suppressed", None, reason.as_str()),
    };
    let run_id = run.map(tracing::field::display);
    tracing::info!(trigger = firing.trigger, firing = %firing.firing_id, outcome, run_id, reason, "a trigger fired");
    let labels = FiringLabels { trigger: firing.trigger.clone(), outcome: outcome.to_owned() };
    process.metrics.firings.get_or_create(&labels).inc();
}

/// Draws up the run of a firing.
///
/// # Errors
/// Where the record is away; what is wrong with the firing itself is told in the answer.
async fn prepare(door: &Door, trigger: &Trigger, firing: &OpenFiring) -> Result<Prepared, RoundError> {
    let event = match event(trigger, firing) {
        Ok(event) => event,
        Err(why) => return Ok(Err(why)),
    };
    match draw_up(door, trigger, event, firing).await {
        Ok(arrival) => Ok(Ok(arrival)),
        Err(DoorError::Record(error)) => Err(error.into()),
        Err(refused) => Ok(Err(refused.to_string())),
    }
}

async fn draw_up(
    door: &Door,
    trigger: &Trigger,
    event: NewEvent,
    firing: &OpenFiring,
) -> Result<Arrival, DoorError> {
    let traceparent = firing.traceparent.as_deref();
    let Some(name) = &trigger.workflow else {
        return door.draw_up(event, &firing.tenant, traceparent).await;
    };
    let workflow = door.active(&firing.tenant, name).await?;
    door.draw_up_for(&workflow, event, &firing.tenant, traceparent).await
}

/// The request id that the trigger takes from what fired it.
fn named(
    trigger: &Trigger,
    input: &serde_json::Map<String, serde_json::Value>,
) -> Result<Option<String>, String> {
    let Some(naming) = trigger.naming()? else { return Ok(None) };
    let named = naming.payload(input).map_err(|e| format!("request_id: {e}"))?;
    match named[REQUEST_ID].as_str() {
        Some(id) if !id.trim().is_empty() => Ok(Some(id.to_owned())),
        _ => Err("request_id: it makes no text".to_owned()),
    }
}

fn event(trigger: &Trigger, firing: &OpenFiring) -> Result<NewEvent, String> {
    let input: serde_json::Map<_, _> = serde_json::from_str(&firing.input).map_err(|e| e.to_string())?;
    if let (Some(on), Some(cause)) = (&trigger.on, input.get("cause")) {
        Watch::compile(&on.kind, on.when.as_deref())?.holds(cause)?;
    }
    let projection = Projection::compile(trigger.payload.clone(), &trigger.project)?;
    let payload = projection.payload(&input).map_err(|e| format!("project: {e}"))?.to_string();
    // The same cause leads to the same event, also where the record was put back from a backup and fires again.
    let made = || model::sha256(&[firing.trigger.as_bytes(), &[0], firing.origin.as_bytes()]).to_hex();
    let request_id = named(trigger, &input)?.unwrap_or_else(made);
    if trigger.workflow.is_some() {
        // A workflow that takes nothing may be fired with nothing.
        let source = SourceName::parse(&trigger.source).map_err(|e| e.to_string())?;
        let inputs = RawValue::from_string(payload).map_err(|e| e.to_string())?;
        return NewEvent::asked_for(source, Some(request_id), inputs).map_err(|e| e.to_string());
    }
    NewEvent::from_upstream(&trigger.source, &request_id, payload.as_bytes()).map_err(|e| e.to_string())
}
