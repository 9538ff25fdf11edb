//! A transition of a run that keeps a manifest: beside the run or branch that it is of, it may move the run itself, open and
//! close branches, change the blackboard and with it the content.

use std::sync::Arc;

use model::{Job, JobKey, RunState, Usage};
use rails::{Beyond, BranchState, Delay, Facts, GatePolicies, Patched, Transition};
use sqlx::PgConnection;

use crate::branches::{self, Becomes, Change};
use crate::compare_and_set::compare_and_set;
use crate::manifests::{self, Kept};
use crate::provenance::{BeyondEntry, ProvenanceEntry, trace_id};
use crate::surroundings::Surroundings;
use crate::{Advance, Error, Item, LoadedRun, OutstandingRun, Routed, Won, extras, work_orders};

/// Routes an item alone and writes it; `None` where the run moved on. What its run keeps is locked before it is routed.
///
/// # Errors
/// Those of the route, which wrote nothing, and of the record.
pub(crate) async fn act<E: From<Error>>(
    connection: &mut PgConnection,
    policies: &Arc<GatePolicies>,
    item: &Item,
    route: impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
) -> Result<Option<Won>, E> {
    act_knowing(connection, policies, item, Facts::default(), route).await
}

/// As [`act`], where the record was asked something before.
///
/// # Errors
/// As there.
pub(crate) async fn act_knowing<E: From<Error>>(
    connection: &mut PgConnection,
    policies: &Arc<GatePolicies>,
    item: &Item,
    facts: Facts,
    mut route: impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
) -> Result<Option<Won>, E> {
    if item.run.memory.is_none() {
        let routed = [route(&item.run, &facts)?];
        let item = std::slice::from_ref(item);
        let won = compare_and_set(connection, item, &routed, &[true]).await?;
        extras::write(connection, item, &routed, &won).await?;
        let [routed] = routed;
        return Ok(won[0].map(|seq| Won::plain(seq, routed)));
    }
    let mut kept = manifests::lock(connection, std::iter::once(&item.run)).await?;
    let Some(kept) = kept.remove(&item.run.run).filter(|kept| stands(item, kept)) else { return Ok(None) };
    let mut surroundings = Surroundings::alone(policies, &item.run);
    match Box::pin(surroundings.route(connection, item, &kept, facts, &mut route)).await? {
        Some(routed) => Ok(Box::pin(advance(connection, item, routed, &kept, &surroundings)).await?),
        None => Ok(None),
    }
}

/// Locks what an item's run keeps, where it keeps anything: before its row, as everyone does.
pub(crate) async fn lock(connection: &mut PgConnection, item: &Item) -> Result<(), Error> {
    if item.run.memory.is_some() {
        manifests::lock(connection, std::iter::once(&item.run)).await?;
    }
    Ok(())
}

/// Whether the run's content is the one that the item's job was loaded with: else its work is done again.
pub(crate) fn stands(item: &Item, kept: &Kept) -> bool {
    item.run.content_sha256 == kept.trunk.content_sha256
}

/// The item's run with what its siblings may have changed since it was loaded.
pub(crate) fn as_it_stands(item: &Item, kept: &Kept) -> LoadedRun {
    LoadedRun { lifecycle: kept.trunk.lifecycle, ..item.run.clone() }
}

/// Writes an item that was routed with what is kept; `None` where the run or branch moved on.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    item: &Item,
    routed: Routed,
    kept: &Kept,
    surroundings: &Surroundings<'_>,
) -> Result<Option<Won>, Error> {
    let run = &item.run;
    let (one, routes) = (std::slice::from_ref(item), [routed]);
    let seq = if run.branch == 0 {
        compare_and_set(connection, one, &routes, &[true]).await?[0]
    } else {
        branches::advance(connection, run, &routes[0]).await?
    };
    let Some(seq) = seq else { return Ok(None) };
    extras::write(connection, one, &routes, &[Some(seq)]).await?;
    let [routed] = routes;
    let none = Beyond::default();
    let beyond = routed.transition.beyond.as_deref();
    let trunk = if run.branch == 0 { None } else { move_trunk(connection, run, &routed, kept).await? };
    let changed = change_branches(connection, run, &routed, kept, beyond.unwrap_or(&none)).await?;
    if let Some(beyond) = beyond {
        manifests::store(connection, run.run, &beyond.memory).await?;
        extras::letters(connection, run, seq, &beyond.letters).await?;
        surroundings.write(connection, beyond).await?;
        if matches!(beyond.patch, Some(Patched::Refused { .. })) {
            work_orders::forget_answer(connection, run).await?;
        }
    }
    let mut jobs: Vec<OutstandingRun> =
        changed.into_iter().map(|(branch, seq, step)| job(run, &routed, branch, seq, &step)).collect();
    if let Some((seq, transition)) = trunk
        && transition.state == RunState::Running
    {
        jobs.push(job(run, &routed, 0, seq, &transition.step));
    }
    Ok(Some(Won { seq, routed: Box::new(routed), jobs }))
}

/// What a branch's transition does to the run itself. Returns the run's new `seq` where it was moved.
async fn move_trunk<'r>(
    connection: &mut PgConnection,
    run: &LoadedRun,
    routed: &'r Routed,
    kept: &Kept,
) -> Result<Option<(i32, &'r Transition)>, Error> {
    let mut trunk = kept.trunk.run(run);
    let moves = routed.transition.beyond.as_deref().and_then(|beyond| beyond.trunk.as_ref());
    let content = routed.content().map(|content| content.sha256);
    let lifecycle = moves.map_or(routed.transition.lifecycle, |transition| transition.lifecycle);
    if content.is_some() || lifecycle != trunk.lifecycle || routed.advance.trend.is_some() {
        sqlx::query(
            "UPDATE runs SET lifecycle = $2, content_sha256 = coalesce($3, content_sha256),
                    enriched_trend_id = coalesce($4, enriched_trend_id) WHERE run_id = $1",
        )
        .bind(run.run.0)
        .bind(lifecycle.as_str())
        .bind(content.map(|digest| digest.0.to_vec()))
        .bind(routed.advance.trend.as_ref().map(|_| model::enriched_trend_id(run.run)))
        .execute(&mut *connection)
        .await
        .map_err(Error::sql("what a branch changes of its run"))?;
    }
    let changes_content = content.is_some() && content != trunk.content_sha256;
    trunk.content_sha256 = content.or(trunk.content_sha256);
    let Some(transition) = moves else {
        if changes_content {
            tell_of_content(connection, &trunk, run, routed).await?;
        }
        return Ok(None);
    };
    let what = match transition {
        _ if transition.death.is_some() => "died",
        _ if transition.escalation.is_some() => "escalated",
        // The branch died, and the run did not: its join had a way out.
        _ if transition.state == RunState::Running || routed.advance.what == "died" => "joined",
        _ => routed.advance.what,
    };
    let by = Advance::by(routed.advance.actor.clone(), what);
    let advance = Advance { at: routed.advance.at, of_manifest: true, ..by };
    let delay = match transition.delay {
        Delay::Now => std::time::Duration::ZERO,
        Delay::Exactly(delay) => delay,
        Delay::Backoff { policy, attempt } => policy.delay(attempt, 0.5),
    };
    let routes = [Routed { transition: transition.clone(), delay, advance }];
    let items = [Item::of(trunk)];
    let won = compare_and_set(connection, &items, &routes, &[true]).await?;
    extras::write(connection, &items, &routes, &won).await?;
    // The row is locked, and was read under that lock.
    let seq = won[0].ok_or_else(|| {
        Error::unreadable(format_args!("run {}", run.run), "it does not stand where its lock found it")
    })?;
    Ok(Some((seq, transition)))
}

/// A branch gave the run another content, and the run stays where it is: its chain tells of it.
async fn tell_of_content(
    connection: &mut PgConnection,
    trunk: &LoadedRun,
    branch: &LoadedRun,
    routed: &Routed,
) -> Result<(), Error> {
    let reason = format!("branch {} changed the content", branch.branch);
    let link = ProvenanceEntry {
        run: trunk.run,
        branch: 0,
        pos: trunk.chain_len + 1,
        kind: "content",
        what: "changed",
        seq: trunk.seq,
        step: &trunk.step,
        state: trunk.state.as_str(),
        next: &trunk.step,
        attempt: trunk.attempt,
        reason: &reason,
        actor: &routed.advance.actor,
        at: routed.advance.at,
        model: None,
        worker_output_prompt: None,
        usage: Usage::default(),
        input_sha256: None,
        output_sha256: None,
        content_sha256: trunk.content_sha256,
        gates: &[],
        trace_id: trace_id(branch.traceparent.as_deref()),
        planner_intent: &trunk.planner_intent,
        beyond: Some(BeyondEntry::of(trunk)),
    }
    .link(trunk.chain_head)?;
    sqlx::query(
        "WITH grown AS (
             UPDATE runs SET chain_head = $3, chain_len = chain_len + 1 WHERE run_id = $1 RETURNING chain_len)
         INSERT INTO provenance_log (run_id, branch, pos, body, hash) SELECT $1, 0, chain_len, $2, $3 FROM grown",
    )
    .bind(trunk.run.0)
    .bind(link.body)
    .bind(&link.hash.0[..])
    .execute(connection)
    .await
    .map_err(Error::sql("a link about the content"))?;
    Ok(())
}

/// Opens and closes branches; every end of the run closes those that are open. Returns the opened ones that have a job:
/// number, `seq` and step.
async fn change_branches(
    connection: &mut PgConnection,
    run: &LoadedRun,
    routed: &Routed,
    kept: &Kept,
    beyond: &Beyond,
) -> Result<Vec<(i32, i32, String)>, Error> {
    let transition = &routed.transition;
    let trunk = if run.branch == 0 { Some(transition) } else { beyond.trunk.as_ref() };
    let ended = trunk.is_some_and(|trunk| !trunk.state.is_open());
    let why = trunk.map_or(transition.reason.as_str(), |trunk| trunk.reason.as_str());
    let closes = closes(run, transition, kept, beyond, ended);
    let closed: Vec<Change<'_>> =
        closes.iter().map(|number| Change { branch: *number, to: Becomes::Closed, reason: why }).collect();
    branches::change(connection, run, routed, &closed).await?;
    if !closes.is_empty() {
        branches::withdraw_questions(connection, run.run, &closes, &routed.advance.actor.name).await?;
    }
    let opens: Vec<Change<'_>> = opens(run, kept, beyond)
        .filter(|(_, branch)| !(ended && branch.state.is_open()))
        .map(|(number, branch)| Change { branch: number, to: becomes(kept, number, branch), reason: why })
        .collect();
    let opened = branches::change(connection, run, routed, &opens).await?;
    if run.branch != 0 || !closed.is_empty() || !opens.is_empty() {
        branches::count_open(connection, run.run.0).await?;
    }
    let with_job = opened.into_iter().zip(&opens).filter_map(|((number, seq), change)| match change.to {
        Becomes::Opened { step, state: RunState::Running, .. } | Becomes::Resumed { step, .. } => {
            Some((number, seq, step.to_owned()))
        }
        _ => None,
    });
    Ok(with_job.collect())
}

/// What a branch that another's transition changes becomes.
fn becomes<'b>(kept: &Kept, number: i32, branch: &'b BranchState) -> Becomes<'b> {
    let BranchState { fork, step, state } = branch;
    let held = kept.memory.paused.as_ref().is_some_and(|paused| paused.contains(&number));
    match state {
        RunState::Parked => Becomes::Held { fork, step },
        RunState::Running if held => Becomes::Resumed { fork, step },
        state => Becomes::Opened { fork, step, state: *state },
    }
}

/// The branches that end with this, without a say. One that is opened anew with the same transition is not closed before.
fn closes(run: &LoadedRun, transition: &Transition, kept: &Kept, beyond: &Beyond, ended: bool) -> Vec<i32> {
    let reopened = |number: i32| beyond.opens.iter().any(|(opened, _)| *opened == number);
    let open = kept.memory.branches.iter().filter(|(number, branch)| {
        if **number == run.branch {
            ended && transition.state.is_open()
        } else {
            branch.state.is_open() && (ended || beyond.closes.contains(number) && !reopened(**number))
        }
    });
    open.map(|(number, _)| *number).collect()
}

/// The branches that a fork opens with this; some need no job, and are over at once.
fn opens<'b>(
    run: &LoadedRun,
    kept: &Kept,
    beyond: &'b Beyond,
) -> impl Iterator<Item = (i32, &'b BranchState)> {
    let opened = |number: i32| beyond.opens.iter().any(|(opened, _)| *opened == number);
    let own = run.branch;
    beyond.memory.branches.iter().map(|(number, branch)| (*number, branch)).filter(move |(number, branch)| {
        let is_news = kept.memory.branches.get(number) != Some(*branch);
        let closed = branch.state == RunState::Cancelled;
        opened(*number) || *number != own && is_news && !closed
    })
}

fn job(run: &LoadedRun, routed: &Routed, branch: i32, seq: i32, step: &str) -> OutstandingRun {
    let trend = routed.advance.trend.as_ref().map(|_| model::enriched_trend_id(run.run));
    OutstandingRun {
        job: Job {
            key: JobKey { run: run.run, branch, seq },
            step: step.to_owned(),
            attempt: 0,
            traceparent: run.traceparent.clone(),
            enriched_trend_id: trend.or(run.enriched_trend_id),
        },
        pipeline_version: run.pipeline_version.clone(),
        partition: run.partition,
        due_in: std::time::Duration::ZERO,
    }
}
