//! Decisions on runs with a manifest: they enter steps by the same rules as any transition.

use model::{Content, Lifecycle, RunState};

use super::{Asked, Decision, Refusal, lawful, words};
use crate::Facts;
use crate::gate::{Gated, Ruling, gate_of};
use crate::orchestration::TOOL_CALL;
use crate::transition::{
    APPROVAL_LOST, Answering, Approval, BUDGET_OVERRUN, Basis, GUARDRAIL, Heading, Impossible, Journey, Mode,
    Standing, TAINT, TAINTED, Transition, UNAVAILABLE, is_call, memory,
};
use crate::workflow::{Step, Target, Workflow};

pub(super) fn decide(
    workflow: &Workflow,
    at: &Standing<'_>,
    asked: &Asked<'_>,
    decision: &Decision,
) -> Result<Transition, Refusal> {
    let memory = memory(workflow, at, asked.facts)?;
    let journey = Journey::new(workflow, at, memory, asked.facts);
    match decision {
        Decision::Reject => {
            Ok(journey.over(Transition::stay(at, RunState::Rejected, "rejected by a person")))
        }
        Decision::SendBack(id) => send_back(workflow, at, journey, id),
        Decision::Approve
        | Decision::TopUp { .. }
        | Decision::Cheaper { .. }
        | Decision::Finish
        | Decision::Stop
            if asked.issue_type == BUDGET_OVERRUN =>
        {
            spend(at, journey, decision)
        }
        _ if asked.issue_type == BUDGET_OVERRUN => Err(Refusal::Budget),
        Decision::TopUp { .. } | Decision::Cheaper { .. } | Decision::Finish | Decision::Stop => {
            Err(Refusal::NoBudget)
        }
        Decision::Approve => {
            asked.content.map_or(Ok(()), |content| lawful(asked, content))?;
            approved(workflow, at, journey, asked, Basis::Person)
        }
        Decision::Override => approved(workflow, at, journey, asked, Basis::Override),
        Decision::Edit(_) if asked.issue_type == TOOL_CALL => Err(Refusal::NoContent),
        Decision::Edit(_) if workflow.step(at.step).is_some_and(|step| is_call(workflow, step)) => {
            Err(Refusal::NoEdit)
        }
        Decision::Edit(edited) => {
            lawful(asked, edited)?;
            edit(workflow, at, journey, asked, edited)
        }
    }
}

/// Where there is content, it is approved; where there is none, the run only goes on, and a side effect will ask again.
fn approved(
    workflow: &Workflow,
    at: &Standing<'_>,
    mut journey: Journey<'_>,
    asked: &Asked<'_>,
    basis: Basis,
) -> Result<Transition, Refusal> {
    if let Some(gate) = asked.rule.and_then(gate_of) {
        return answered(workflow, at, journey, asked, (gate, basis));
    }
    let approval = Approval { basis, rule: asked.issue_type.to_owned() };
    let approval = (asked.content.is_some() || at.content.is_some()).then_some(approval);
    let said = format!("{} by a person", words(basis));
    if asked.issue_type == TOOL_CALL {
        // The call alone is approved, and not the draft that the content was before it.
        let approval = Some(approval.ok_or(Refusal::NoContent)?);
        return Ok(journey.resume(Transition { approval, ..Transition::stay(at, RunState::Running, said) }));
    }
    if asked.issue_type == GUARDRAIL || asked.issue_type == UNAVAILABLE {
        // It is let go on; nothing that it made is approved by that.
        let base = Transition::stay(at, RunState::Running, "let go on by a person");
        return Ok(journey.resume(base));
    }
    // Whoever answers for the draft clears it; an answer to a gate, a call or a guardrail is for that alone.
    journey.clear(asked.by);
    if asked.issue_type == TAINTED && asked.rule == Some(TAINT) {
        return Ok(journey.resume(Transition::stay(at, RunState::Running, said)));
    }
    if approval.is_some() {
        journey.remember_approval();
    }
    if asked.issue_type == APPROVAL_LOST {
        let approval = Some(approval.ok_or(Refusal::NoContent)?);
        let base = Transition { approval, ..Transition::stay(at, RunState::Running, said) };
        return Ok(journey.having(Lifecycle::Approved).resume(base));
    }
    let step = worked(workflow, at)?;
    let lifecycle = approval.as_ref().map(|_| Lifecycle::Approved);
    let heading = Heading { approval, lifecycle, reason: Some(said), ..Heading::to(&step.on_success) };
    Ok(journey.go(step, heading))
}

/// A gate asked, before the step or behind it: all its gates are evaluated again, with this answer to the one that asked.
fn answered(
    workflow: &Workflow,
    at: &Standing<'_>,
    mut journey: Journey<'_>,
    asked: &Asked<'_>,
    (gate, basis): (&str, Basis),
) -> Result<Transition, Refusal> {
    let said = format!("{} by a person: gate:{gate}", words(basis));
    let leaving = journey.take_leaving();
    let answering = Answering { gate: gate.to_owned(), basis, by: asked.by.to_owned() };
    let journey = journey.answering(answering);
    let transition = match leaving {
        Some(leaving) => journey.go(worked(workflow, at)?, leaving.heading(said)),
        None => journey.resume(Transition::stay(at, RunState::Running, said)),
    };
    match transition.beyond.as_deref() {
        Some(beyond) if beyond.wants.is_empty() => match &beyond.shut {
            Some(shut) => Err(stays_shut(gate, shut)),
            None => Ok(transition),
        },
        _ => Ok(transition),
    }
}

fn stays_shut(gate: &str, shut: &Gated) -> Refusal {
    let todo = match &shut.ruling {
        Ruling::Block { todo, .. } => todo.clone(),
        Ruling::Ask { question, .. } => question.clone(),
        Ruling::End(state) => format!("its rules end the run as {state}"),
        Ruling::Pass => "its rules do not let it".to_owned(),
    };
    Refusal::Shut { gate: gate.to_owned(), todo }
}

/// The edit is approved, and written back to where the content comes from.
fn edit(
    workflow: &Workflow,
    at: &Standing<'_>,
    journey: Journey<'_>,
    asked: &Asked<'_>,
    edited: &Content,
) -> Result<Transition, Refusal> {
    let asked = Asked { content: Some(edited), ..*asked };
    let mut journey = journey.edited(edited);
    // What a person edited, that person saw.
    journey.clear(asked.by);
    if asked.rule.and_then(gate_of).is_some() {
        journey = journey.having(Lifecycle::Approved).approving(asked.issue_type);
    }
    approved(workflow, at, journey, &asked, Basis::Person)
}

fn send_back(
    workflow: &Workflow,
    at: &Standing<'_>,
    mut journey: Journey<'_>,
    id: &str,
) -> Result<Transition, Refusal> {
    if workflow.step(id).is_none() && workflow.fork(id).is_none() {
        return Err(Refusal::UnknownStep(id.to_owned()));
    }
    if journey.is_ending() || workflow.lane(id) != at.branch || !workflow.leads_to(id, at.step) {
        return Err(Refusal::NotBefore(id.to_owned()));
    }
    journey = journey.having(Lifecycle::Draft).unapproved();
    let arrival = journey.arrive(at.branch, &Target::Step(id.to_owned()), Mode::Ordered);
    let base = Transition::stay(at, RunState::Running, format!("sent back to {id} by a person"));
    Ok(journey.stand(base, arrival))
}

/// A budget was used up before a step, or before the branches of a fork.
fn spend(at: &Standing<'_>, journey: Journey<'_>, decision: &Decision) -> Result<Transition, Refusal> {
    let (more, cheaper) = match decision {
        Decision::TopUp { more, cheaper } => (Some(*more), *cheaper),
        Decision::Cheaper { more } => (*more, true),
        Decision::Approve => (None, false),
        Decision::Stop => {
            let stopped = "stopped by a person: a budget was used up";
            return Ok(journey.over(Transition::stay(at, RunState::Rejected, stopped)));
        }
        _ => return Ok(journey.without(at, "finished with what is there, by a person's order")),
    };
    let words = if cheaper { "topped up by a person, with cheaper models" } else { "topped up by a person" };
    let base = Transition::stay(at, RunState::Running, words);
    Ok(journey.granted(more, cheaper).resume(base))
}

fn worked<'a>(workflow: &'a Workflow, at: &Standing<'_>) -> Result<&'a Step, Refusal> {
    workflow.step(at.step).ok_or_else(|| Refusal::UnknownStep(at.step.to_owned()))
}

pub(super) fn settled(
    workflow: &Workflow,
    at: &Standing<'_>,
    facts: &Facts,
    transition: Transition,
) -> Result<Transition, Impossible> {
    let journey = Journey::new(workflow, at, memory(workflow, at, facts)?, facts);
    let stays = transition.state == RunState::Running;
    Ok(if stays { journey.stays(transition) } else { journey.over(transition) })
}
