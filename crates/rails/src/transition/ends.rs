//! How a run ends: its branches close, and what it did is undone where it ends badly.

use model::RunState;

use super::enter::{Arrival, Mode};
use super::journey::{Journey, Place};
use super::stand::placed;
use super::{Passage, Transition};
use crate::Ending;
use crate::workflow::Step;

impl Journey<'_> {
    /// Where the run itself comes to stand.
    pub(super) fn settle(&mut self, arrival: Arrival, stood: &str) -> Place {
        match arrival {
            Arrival::Stands(place) => place,
            Arrival::Ended { state, reason } => {
                self.end(state, stood, reason.unwrap_or_else(|| format!("{stood} done")))
            }
            Arrival::Died(reason) => self.end(RunState::Dead, stood, reason),
            Arrival::Joined => self.end(RunState::Dead, stood, "there is no such way out".to_owned()),
        }
    }

    /// The run ends so; where that undoes what was done, it goes to the compensations first.
    pub(super) fn end(&mut self, state: RunState, stood: &str, reason: String) -> Place {
        self.close_all();
        self.memory().reserved.clear();
        self.memory().leaving.clear();
        let undoes = matches!(state, RunState::Dead | RunState::Rejected | RunState::Cancelled);
        if !self.is_ending() {
            if !undoes || self.beyond.memory.undoable.is_empty() {
                return Place::ended(state, stood, reason);
            }
            self.memory().ending = Some(Ending { state, step: stood.to_owned(), reason });
        }
        self.undo_next(stood)
    }

    /// To the next compensation, last first; after the last one the run ends as it was to.
    pub(super) fn undo_next(&mut self, stood: &str) -> Place {
        while let Some(done) = self.memory().undoable.pop() {
            match self.undo(&done) {
                Ok(place) => return place,
                Err(reason) => self.beyond.letters.push(reason),
            }
        }
        match self.memory().ending.take() {
            Some(Ending { state, step, reason }) => Place::ended(state, &step, reason),
            None => Place::ended(RunState::Dead, stood, "it had no ending to come to".to_owned()),
        }
    }

    fn undo(&mut self, done: &str) -> Result<Place, String> {
        let workflow = self.workflow;
        let by = workflow.step(done).and_then(|step| step.compensate_with.as_deref());
        let step = by.and_then(|id| workflow.step(id));
        let step = step
            .ok_or_else(|| format!("`{done}` was not undone: it has no compensation that a worker does"))?;
        let exhausted = self.bounded(&step.id, step.max_visits, None, &step.on_success, Mode::Usual);
        if let Some(Passage::Stop(Arrival::Died(reason))) = exhausted {
            return Err(format!("`{done}` was not undone: {reason}"));
        }
        let place = match self.enter(0, step) {
            Arrival::Stands(place) => place,
            Arrival::Ended { reason, .. } => {
                return Err(format!("`{done}` was not undone: {}", reason.unwrap_or_default()));
            }
            Arrival::Died(reason) => return Err(format!("`{done}` was not undone: {reason}")),
            Arrival::Joined => return Err(format!("`{done}` was not undone")),
        };
        let words = format!("undoing {done} by {}", step.id);
        Ok(Place { reason: Some(place.reason.unwrap_or(words)), ..place })
    }

    /// A compensation is over. Where it failed a dead letter tells; the ending stands.
    pub(super) fn undone(mut self, transition: Transition, failed: bool) -> Transition {
        let stood = self.at.step;
        if failed {
            let reason = format!("the compensation `{stood}` failed: {}", transition.reason);
            self.beyond.letters.push(reason);
        }
        let place = self.undo_next(stood);
        let base = Transition { incident: None, ..transition };
        self.finish(placed(base, place, None))
    }

    /// The step is done, and another step can undo it. Done again it is undone once: what it did outside has one key.
    pub(super) fn remember(&mut self, step: &Step) {
        if step.compensate_with.is_none() || self.is_ending() {
            return;
        }
        let undoable = &mut self.memory().undoable;
        undoable.retain(|done| *done != step.id);
        undoable.push(step.id.clone());
    }
}
