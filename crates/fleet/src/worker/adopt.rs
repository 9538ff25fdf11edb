//! Adoption: entries that an upstream added straight to the ingest stream become events and runs.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use model::{DEFAULT_TENANT, Job, JobKey, Lifecycle, NewEvent, RunState, UpstreamEntry};
use rails::Workflow;
use record::{Admission, BranchKey, Intent, LoadedRun, Manifest, NewRun};

use super::held::Entry;
use super::intake::{Stopped, bury, persist};
use super::{Engine, execute};
use crate::{Handler, spans};

/// The worker type that adopts: the first of the stream table, which reads the ingest stream.
pub(crate) fn adopts(worker: &str) -> bool {
    streams::WORK_STREAMS.first().is_some_and(|first| first.worker == worker)
}

/// Adopts entries. Those that became runs before come back as jobs at seq 0, to be compared like any other.
pub(crate) async fn adopt<H: Handler>(engine: &Arc<Engine<H>>, entries: Vec<Entry>) -> Vec<(Entry, Job)> {
    let mut fresh = Vec::with_capacity(entries.len());
    for entry in entries {
        match read(engine, &entry) {
            Ok(arrival) => fresh.push((entry, arrival)),
            Err(reason) => bury(engine, entry, reason).await,
        }
    }
    let keys: Vec<_> = fresh.iter().map(|(_, arrival)| arrival.key()).collect();
    let Ok(known) = persist(engine, || engine.process.record.adopted(&keys)).await else { return vec![] };
    let mut again = Vec::new();
    for ((entry, arrival), key) in fresh.into_iter().zip(keys) {
        if let Some(run) = known.get(&key) {
            let key = JobKey { run: *run, branch: 0, seq: 0 };
            let job =
                Job { key, step: String::new(), attempt: 0, traceparent: None, enriched_trend_id: None };
            again.push((entry, first_step(engine, job).await));
            continue;
        }
        begin(engine, entry, arrival).await;
    }
    again
}

/// The job at seq 0 names the step its run began with.
async fn first_step<H: Handler>(engine: &Engine<H>, mut job: Job) -> Job {
    let runs = [BranchKey::trunk(job.key.run)];
    if let Ok(loaded) = persist(engine, || engine.process.record.load(&runs, false, &[])).await
        && let Some((_, Ok(run))) = loaded.first()
        && run.seq == 0
    {
        job.step.clone_from(&run.step);
    }
    job
}

async fn begin<H: Handler>(engine: &Arc<Engine<H>>, entry: Entry, arrival: Arrival) {
    let source = arrival.event.source.as_str().to_owned();
    if !registered(engine).await {
        return;
    }
    let serving = persist(engine, || engine.intents.serving(&arrival.tenant, &source)).await;
    let intent = match serving {
        Err(_) => return,
        Ok(None) => {
            let reason = format!("no intent serves source `{source}` of tenant `{}`", arrival.tenant);
            return bury(engine, entry, reason).await;
        }
        Ok(Some(intent)) => intent,
    };
    let workflow = match persist(engine, || engine.workflows.get(&intent.pipeline_version)).await {
        Ok(workflow) => workflow,
        Err(Stopped::Refused(error)) => return bury(engine, entry, error.to_string()).await,
        Err(Stopped::GivingUp) => return,
    };
    if workflow.step(workflow.first_step()).is_none_or(|step| step.worker.as_str() != H::WORKER) {
        let reason = format!("the workflow {} does not begin with {}", workflow.version(), H::WORKER);
        return bury(engine, entry, reason).await;
    }
    let partition = engine.lanes[entry.lane].partition();
    let about = spans::About {
        name: "adopt",
        run_id: None,
        step: workflow.first_step(),
        attempt: 0,
        planner_intent: &intent.purpose,
    };
    let traceparent = spans::arrive(&about, arrival.traceparent.as_deref());
    let new = arrival.into_run(intent, &workflow, partition, traceparent);
    match Admission::draw_up(new, &engine.process.actor) {
        Ok(admission) => {
            let run = run_to_be(&admission, &workflow);
            execute::start(engine, entry, run, workflow, Some(admission));
        }
        Err(error) => bury(engine, entry, error.to_string()).await,
    }
}

/// Waits until a planner has registered what is wanted: before that nothing is known to be unwanted. `false` where the
/// process gives up first.
async fn registered<H: Handler>(engine: &Engine<H>) -> bool {
    let mut pace = super::breaker::pace();
    let mut told = false;
    loop {
        match persist(engine, || engine.intents.any()).await {
            Err(_) => return false,
            Ok(true) => return true,
            Ok(false) => {}
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("no intent is registered yet: upstream entries wait for a planner");
        }
        tokio::select! {
            () = engine.give_up.cancelled() => return false,
            () = engine.process.shutdown.cancelled() => return false,
            () = tokio::time::sleep(super::breaker::next(&mut pace)) => {}
        }
    }
}

struct Arrival {
    event: NewEvent,
    tenant: String,
    request_id: String,
    traceparent: Option<String>,
}

impl Arrival {
    fn key(&self) -> (String, String, String) {
        (self.tenant.clone(), self.event.source.as_str().to_owned(), self.request_id.clone())
    }

    fn into_run(self, intent: Intent, workflow: &Workflow, partition: u16, traceparent: String) -> NewRun {
        NewRun {
            event: self.event,
            tenant: self.tenant,
            intent,
            first_step: workflow.first_step().to_owned(),
            partition,
            traceparent: Some(traceparent),
            received_at: Utc::now(),
        }
    }
}

fn read<H: Handler>(engine: &Engine<H>, entry: &Entry) -> Result<Arrival, String> {
    let upstream = UpstreamEntry::decode(&entry.fields).map_err(|e| format!("cannot be adopted: {e}"))?;
    let request_id = upstream.request_id.unwrap_or_else(|| {
        record::upstream_request_id(engine.lanes[entry.lane].key(), &entry.id.to_string(), &entry.fields)
    });
    let event = NewEvent::from_upstream(&upstream.source, &request_id, &upstream.payload)
        .map_err(|e| format!("cannot be adopted: {e}"))?;
    let tenant = upstream.tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned());
    Ok(Arrival { event, tenant, request_id, traceparent: upstream.traceparent })
}

/// The run as it will stand once its admission is committed.
fn run_to_be(admission: &Admission, workflow: &Workflow) -> LoadedRun {
    let new = &admission.new;
    let payload = new.event.payload.get().as_bytes().to_vec();
    let begins = || crate::memory(workflow, new.received_at, Manifest::ToBegin { payload: payload.clone() });
    let memory = workflow.keeps_manifest().then(begins);
    LoadedRun {
        branch: 0,
        run: admission.run,
        event_id: admission.event_id,
        intent_id: new.intent.intent_id,
        planner_intent: new.intent.purpose.clone(),
        tenant: new.tenant.clone(),
        region: new.intent.region.clone(),
        source: new.event.source.as_str().to_owned(),
        request_id: admission.request_id.clone(),
        pipeline_version: new.intent.pipeline_version.clone(),
        state: RunState::Running,
        lifecycle: Lifecycle::Draft,
        step: new.first_step.clone(),
        seq: 0,
        attempt: 0,
        chain_head: admission.hash,
        chain_len: 1,
        partition: new.partition,
        content_sha256: None,
        enriched_trend_id: None,
        dry_run: false,
        traceparent: new.traceparent.clone(),
        due_in: Duration::ZERO,
        received_at: new.received_at,
        payload: Some(payload),
        artifacts: vec![],
        memory,
    }
}
