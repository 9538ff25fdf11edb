//! Effects outside: claimed in the ledger before the first byte, asked about afterwards, never sent blindly twice.

use std::sync::Arc;
use std::time::Duration;

use model::{CallAnswer, Effect, EffectResult, Failure, Known, Outcome, Report, RetryClass};
use rails::{Facts, Signal};
use record::{
    Advance, Claim, Claimed, Item, LoadedRun, PauseKind, Publication, PublicationState, RevocationState,
    Routed,
};
use tokio::time::Instant;

use super::commit::{Happening, Pending, lost, won};
use super::execute::Work;
use super::intake::persist;
use super::{Engine, branches, route};
use crate::{Handler, JobContext, brain};

/// What the ledger's deadline leaves beyond the effect's own timeout.
const MARGIN: Duration = Duration::from_secs(5);

/// How long a post waits before it is looked again whether its outlet is paused still.
const PAUSED: Duration = Duration::from_secs(10);

/// Claims a planned effect, performs it and settles it.
pub(crate) async fn carry_out<H: Handler>(
    engine: &Arc<Engine<H>>,
    work: Work,
    job: JobContext,
    report: Report,
    effect: Effect,
) {
    if effect.dry_run || work.run.dry_run {
        let posts = model::takes_posts(&effect.outlet);
        return engine.finish(work, Happening::DryRun { report, posts });
    }
    if engine.process.pauses.has(PauseKind::Outlet, &effect.outlet) {
        let reason = format!("{} is paused", effect.outlet);
        return postpone(engine, work, reason, PAUSED);
    }
    let deadline = effect.timeout + MARGIN;
    let started = Instant::now();
    let claim = Claim { run: &work.run, outlet: &effect.outlet, effect: &effect.name, deadline };
    let claimed = persist(engine, || engine.process.record.claim(&claim)).await;
    match claimed {
        Err(_) => {}
        Ok(Claimed::Ours(row)) => {
            crate::failpoint::reach("sent");
            let claim = Held { row, until: started + deadline, found: None };
            perform(engine, work, job, report, effect, claim).await;
        }
        Ok(Claimed::Restored(row)) => {
            crate::failpoint::reach("sent");
            ask(engine, work, job, report, effect, row).await;
        }
        Ok(Claimed::Earlier(row)) => found(engine, work, job, report, effect, row).await,
        // Whoever moved the run on may have lost the entry to us before its job was handed over.
        Ok(Claimed::Stale) => {
            let item = Item::of(work.run.clone());
            lost(engine, vec![(item, settled(work, chrono::Utc::now()))]).await;
        }
        Ok(Claimed::NotApproved) => {
            let reason = format!("run {} has no approval for its content: nothing was sent", work.run.run);
            engine.finish(work, Happening::Outcome(Outcome::Failed(Failure::permanent(reason))));
        }
    }
}

/// A claim that is ours until then.
struct Held {
    row: Publication,
    until: Instant,
    /// The claim as it was found, of somebody who may have sent something before.
    found: Option<Publication>,
}

/// Sends, if the whole timeout still fits before the deadline; another process may answer for the row after it.
async fn perform<H: Handler>(
    engine: &Arc<Engine<H>>,
    mut work: Work,
    job: JobContext,
    report: Report,
    effect: Effect,
    claim: Held,
) {
    let Held { row, until: deadline, found } = claim;
    if Instant::now() + effect.timeout > deadline {
        tracing::warn!(run_id = %work.run.run, "too late to send: the claim is left to be asked about");
        return postpone(engine, work, "the claim grew too old before it was sent".to_owned(), MARGIN);
    }
    let sending = engine.handler.perform(&job, &effect, row.publication_key);
    let began = Instant::now();
    let result = tokio::time::timeout(effect.timeout, sending).await;
    work.took += began.elapsed();
    crate::failpoint::reach("performed");
    let result = result.unwrap_or_else(|_| EffectResult::Unsettled {
        reason: format!("{} did not answer within {:?}", effect.outlet, effect.timeout),
    });
    match result {
        // It may still arrive until the deadline; who finds the row after that asks the outlet.
        EffectResult::Unsettled { reason } => {
            postpone(engine, work, reason, deadline.saturating_duration_since(Instant::now()));
        }
        EffectResult::NotSent(failure) => not_sent(engine, work, row, found, failure).await,
        result => settle(engine, work, report, &effect, row, result).await,
    }
}

/// This try sent nothing. A claim of its own is withdrawn; one that it took over stands again as it was found, since whoever had
/// it before may have sent something. The job goes the way of any failed job.
async fn not_sent<H: Handler>(
    engine: &Engine<H>,
    work: Work,
    row: Publication,
    found: Option<Publication>,
    failure: Failure,
) {
    let record = &engine.process.record;
    let given_back = match &found {
        Some(found) => persist(engine, || record.give_back(&row, found)).await,
        None => persist(engine, || record.withdraw(&row)).await,
    };
    if given_back.is_ok() {
        let failure = Failure { reason: model::storable(&failure.reason), ..failure };
        engine.finish(work, Happening::Outcome(Outcome::Failed(failure)));
    }
}

/// A row of the same key is there: what it says decides; nobody sends blindly.
async fn found<H: Handler>(
    engine: &Arc<Engine<H>>,
    work: Work,
    job: JobContext,
    report: Report,
    effect: Effect,
    row: Publication,
) {
    match row.state {
        _ if is_withdrawn(&row) => {
            let reason =
                format!("{} had it once, and a person revoked it: it is not sent again", effect.outlet);
            settle(engine, work, report, &effect, row, EffectResult::Rejected { reason }).await;
        }
        PublicationState::Confirmed => {
            if let Some(result) = confirmed_before(engine, &effect, &row).await {
                settle(engine, work, report, &effect, row, result).await;
            }
        }
        PublicationState::Sent if !row.overdue => {
            let left = (row.deadline - chrono::Utc::now())
                .to_std()
                .unwrap_or(MARGIN)
                .max(Duration::from_millis(200));
            postpone(engine, work, format!("{} may still be receiving it", effect.outlet), left);
        }
        PublicationState::Sent => ask(engine, work, job, report, effect, row).await,
        PublicationState::Unknown => {
            let reason = row.reason.clone().unwrap_or_else(|| "nobody knows whether it went out".to_owned());
            settle(engine, work, report, &effect, row, EffectResult::Unknown { reason }).await;
        }
        PublicationState::Rejected | PublicationState::Abandoned => {
            let reason = format!("{} was given up for this key", effect.outlet);
            settle(engine, work, report, &effect, row, EffectResult::Rejected { reason }).await;
        }
    }
}

/// What an earlier confirmation says. Of a call it is the answer too, as the run kept it that made the call. `None` where the
/// process gives up.
async fn confirmed_before<H: Handler>(
    engine: &Engine<H>,
    effect: &Effect,
    row: &Publication,
) -> Option<EffectResult> {
    let reference = row.reference.clone().unwrap_or_default();
    if !effect.answers {
        return Some(EffectResult::Confirmed { reference });
    }
    let names = [row.step.clone()];
    let made_by = persist(engine, || engine.process.record.load_one(row.run_id, &names)).await.ok()?;
    let output = made_by.and_then(|run| serde_json::from_str(run.artifact(&row.step)?).ok());
    Some(match output {
        Some(output) => {
            let answer = Box::new(CallAnswer { output, ..CallAnswer::default() });
            EffectResult::Answered { reference, answer }
        }
        None => EffectResult::Confirmed { reference },
    })
}

/// Whether a person took it back, be it that a publisher has not done so yet.
fn is_withdrawn(row: &Publication) -> bool {
    row.revocation.as_ref().is_some_and(|asked| asked.state != RevocationState::Refused)
}

/// The sender of an overdue row is gone, or the record was put back from a backup since. A resend is right where a person
/// ordered it, or where the outlet says that it has nothing and would itself refuse a second copy. Since a restore nothing
/// is under way that the outlet could still receive: then its word is enough.
async fn ask<H: Handler>(
    engine: &Arc<Engine<H>>,
    work: Work,
    job: JobContext,
    report: Report,
    effect: Effect,
    row: Publication,
) {
    let known = brain::ask_outlet(&*engine.handler, &effect, row.publication_key).await;
    // An outlet that has nothing and is past the deadline will not receive it any more.
    let may_have_it = known != Ok(Known::Absent);
    let resend = match known {
        Ok(Known::Delivered { reference }) => {
            return settle(engine, work, report, &effect, row, EffectResult::Confirmed { reference }).await;
        }
        Err(failure) if failure.class != RetryClass::Permanent => {
            let waits = Failure::later(MARGIN, failure.reason);
            return engine.finish(work, Happening::Outcome(Outcome::Failed(waits)));
        }
        Ok(Known::Repeatable) => true,
        Ok(Known::Absent) => effect.deduplicates || row.resend || row.restored,
        Ok(Known::CannotTell) | Err(_) => row.resend,
    };
    if !resend {
        let outlet = &effect.outlet;
        let reason = if row.restored {
            format!("the record was put back from a backup, and {outlet} cannot say whether it has it")
        } else {
            format!("nobody saw its sending end, and {outlet} cannot say whether it has it")
        };
        return settle(engine, work, report, &effect, row, EffectResult::Unknown { reason }).await;
    }
    let deadline = effect.timeout + MARGIN;
    let started = Instant::now();
    match persist(engine, || engine.process.record.reclaim(&row, &work.run, deadline)).await {
        Ok(Some(taken)) => {
            let claim = Held { row: taken, until: started + deadline, found: may_have_it.then_some(row) };
            Box::pin(perform(engine, work, job, report, effect, claim)).await;
        }
        Ok(None) => postpone(engine, work, "another process took the claim over".to_owned(), MARGIN),
        Err(_) => {}
    }
}

fn postpone<H: Handler>(engine: &Engine<H>, work: Work, reason: String, after: Duration) {
    engine.finish(work, Happening::Postponed { reason, after });
}

/// Writes the outlet's answer with the run's transition.
async fn settle<H: Handler>(
    engine: &Arc<Engine<H>>,
    work: Work,
    report: Report,
    effect: &Effect,
    row: Publication,
    result: EffectResult,
) {
    let result = result.storable();
    let (state, reference, reason, signal) = match &result {
        EffectResult::Confirmed { reference } => (
            PublicationState::Confirmed,
            Some(reference.as_str()),
            None,
            Signal::EffectConfirmed { reference },
        ),
        EffectResult::Answered { reference, answer } => (
            PublicationState::Confirmed,
            Some(reference.as_str()),
            None,
            Signal::EffectAnswered { reference, output: &answer.output, patch: answer.patch.as_ref() },
        ),
        EffectResult::Rejected { reason } => {
            (PublicationState::Rejected, None, Some(reason.as_str()), Signal::EffectRejected { reason })
        }
        EffectResult::Unsettled { reason }
        | EffectResult::Unknown { reason }
        | EffectResult::NotSent(Failure { reason, .. }) => {
            (PublicationState::Unknown, None, Some(reason.as_str()), Signal::EffectUnknown { reason })
        }
    };
    let at = chrono::Utc::now();
    let report = answered(report, &result);
    let usage = work.spent(report.usage);
    let item = Item { usage, ..Item::of(work.run.clone()) };
    let route = |run: &LoadedRun, facts: &Facts| {
        let output = Some(output(effect, &row, &result).to_string());
        let advance =
            Advance { at, output, usage, ..Advance::by(engine.process.actor.clone(), what(effect, &signal)) };
        routed(engine, &work, run, facts, &report, &signal, advance)
    };
    let won_by = persist(engine, || {
        Box::pin(engine.process.record.settle_effect(&row, state, reference, reason, &item, &route))
    })
    .await;
    crate::failpoint::reach("settled");
    if won_by.is_ok() && state == PublicationState::Confirmed {
        mark_confirmed(engine, &row).await;
    }
    let workflow = Arc::clone(&work.workflow);
    let pending = settled(work, at);
    match won_by {
        Err(_) => {}
        Ok(Some(done)) => {
            let jobs = done.jobs.clone();
            let leaving = vec![won(engine, item, pending, done)];
            branches::add_then_leave(engine, &workflow, &jobs, leaving).await;
        }
        Ok(None) => lost(engine, vec![(item, pending)]).await,
    }
}

/// What is left of a job once the ledger has said what became of it.
fn settled(work: Work, at: chrono::DateTime<chrono::Utc>) -> Pending {
    Pending {
        entry: work.entry,
        workflow: work.workflow,
        happening: Happening::Outcome(Outcome::Done(Report::default())),
        input_sha256: work.input_sha256,
        at,
    }
}

/// The report with what the answer tells of who gave it.
fn answered(report: Report, result: &EffectResult) -> Report {
    let EffectResult::Answered { answer, .. } = result else { return report };
    let usage = report.usage + answer.usage;
    Report { model: answer.model.clone().or(report.model), usage, ..report }
}

/// Marks a post that went out, so that a record which lacks it is noticed.
async fn mark_confirmed<H: Handler>(engine: &Engine<H>, row: &Publication) {
    if let Err(error) = engine.process.streams.mark_confirmed(&row.publication_id.to_string()).await {
        tracing::debug!(%error, "a confirmed publication is not marked in Redis");
    }
}

/// The step's artifact: what was sent where, and what came back.
fn output(effect: &Effect, row: &Publication, result: &EffectResult) -> serde_json::Value {
    let (state, detail) = match result {
        EffectResult::Answered { answer, .. } => return answer.output.clone(),
        EffectResult::Confirmed { reference } => ("confirmed", reference.as_str()),
        EffectResult::Rejected { reason } => ("rejected", reason.as_str()),
        EffectResult::Unsettled { reason } | EffectResult::Unknown { reason } => ("unknown", reason.as_str()),
        EffectResult::NotSent(failure) => ("not_sent", failure.reason.as_str()),
    };
    serde_json::json!({
        "outlet": effect.outlet,
        "publication_id": row.publication_id,
        "publication_key": row.publication_key,
        "state": state,
        "detail": detail,
    })
}

/// What happened, for the provenance. A call that was made published nothing.
fn what(effect: &Effect, signal: &Signal<'_>) -> &'static str {
    match signal {
        Signal::EffectConfirmed { .. } | Signal::EffectAnswered { .. } => {
            if model::takes_posts(&effect.outlet) { "published" } else { "done" }
        }
        Signal::EffectUnknown { .. } => "unknown",
        _ => "refused",
    }
}

fn routed<H: Handler>(
    engine: &Engine<H>,
    work: &Work,
    run: &LoadedRun,
    facts: &Facts,
    report: &Report,
    signal: &Signal<'_>,
    advance: Advance,
) -> Routed {
    let transition = route::advance(&work.workflow, run, signal, facts);
    let died = transition.death.is_some();
    let advance = Advance {
        model: report.model.clone(),
        prompt: report.prompt.clone(),
        prompt_sha256: report.prompt_sha256,
        cluster: work.workflow.step(&run.step).and_then(|step| step.cluster.clone()),
        input_sha256: work.input_sha256.or_else(|| Some(route::input_digest(run))),
        original: if died { record::encode_entry(&work.entry.fields) } else { Vec::new() },
        origin: died.then(|| (engine.lanes[work.entry.lane].key().to_owned(), work.entry.id.to_string())),
        ..advance
    };
    Routed { delay: route::delay(&transition), transition, advance }
}
