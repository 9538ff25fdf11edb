//! What a run's manifest keeps beside its row: what the rails need to know of a run that forks, loops or writes a
//! blackboard. Loaded under a lock in the transaction that commits the transition, so that it never changes under it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use model::{Lifecycle, RunId, RunState, Sha256Digest, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clocks::Standings;
use crate::workflow::Target;
use crate::{Allowance, Clocks, Orchestration, Workflow, taint};

/// The memory of a run. What is stored may lack what a newer version added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The blackboard.
    pub board: Value,
    /// Patches applied to it.
    pub version: i64,
    /// How often each step was entered, forks and steps that were passed included.
    pub visits: BTreeMap<String, u32>,
    /// What came from untrusted sources and has passed no gate: JSON Pointers, and ids of steps whose artifacts did.
    pub taint: BTreeSet<String>,
    /// Digest of what stood before the gate or person that cleared it last: as long as that stands, what a step reads of the
    /// untrusted sources themselves is no taint.
    pub cleared: Option<Sha256Digest>,
    /// Digest of the content that was approved last.
    pub approved: Option<Sha256Digest>,
    /// Where lanes lead on that stand behind a step, before the gates that come after it.
    pub leaving: BTreeMap<i32, Leaving>,
    /// What was spent.
    pub used: Usage,
    /// What each step spent, in all its visits.
    pub spent: BTreeMap<String, Usage>,
    /// What a step that spends had spent when its last visit began: its own budget is of one visit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spent_before: BTreeMap<String, Usage>,
    /// What is set aside for steps under way that have a budget.
    pub reserved: BTreeMap<String, Allowance>,
    /// What a step needs at least that a budget was too small for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub wanted: BTreeMap<String, Allowance>,
    /// What people granted beyond the workflow's budgets.
    pub granted: Allowance,
    /// What people granted beyond a step's own budget, for the visit that it is at.
    pub granted_to: BTreeMap<String, Allowance>,
    /// Whether a person asked for cheaper models.
    pub cheaper: bool,
    /// Whether a person told the run to finish with what is there: steps that spend nothing by themselves are entered although
    /// a budget is used up.
    pub finishing: bool,
    /// The steps that left an artifact.
    pub artifacts: BTreeSet<String>,
    /// Digest of the content that the blackboard last made.
    pub projected: Option<Sha256Digest>,
    /// Digest of the last call of a tool that stood in the content's place while leave was asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub called: Option<Sha256Digest>,
    /// Since when a step has waited for what it needs and is out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub waits_since: BTreeMap<String, DateTime<Utc>>,
    /// Why the last try of a step was refused its patch, until one is not.
    pub refused: BTreeMap<String, String>,
    /// How often each step was refused a call or a proposed patch, since a person was asked about it last.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refusals: BTreeMap<String, u32>,
    /// Steps that failed and were gone on from with their fallback.
    pub degraded: BTreeSet<String>,
    /// Steps done that another would undo, in order.
    pub undoable: Vec<String>,
    /// How the run ends once what was done is undone.
    pub ending: Option<Ending>,
    /// The branches that a person holds back with their run; there while the run is held at a fork.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<BTreeSet<i32>>,
    /// What was said and called at steps that say what is done next.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub orchestrations: BTreeMap<String, Orchestration>,
    /// How long it may still take.
    pub clocks: Clocks,
    /// The time of the transaction that locked it.
    #[serde(skip)]
    pub now: Option<DateTime<Utc>>,
    /// The run's branches, by number.
    #[serde(skip)]
    pub branches: BTreeMap<i32, BranchState>,
}

/// How a run ends that undoes first what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// `dead`, `rejected` or `cancelled`.
    pub state: RunState,
    /// Where it stood: a dead run is replayed from there.
    pub step: String,
    /// Why.
    pub reason: String,
}

/// Where a lane leads on that a gate holds after its step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    pub(crate) to: Target,
    /// By which rule leaving approves the content.
    pub(crate) approves: Option<String>,
    pub(crate) duplicate_of: Option<RunId>,
}

/// Where a branch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchState {
    /// The fork that opened it.
    pub fork: String,
    /// `running`, `waiting` and `parked` are open; `done`, `dead` and `cancelled` are ends.
    pub state: RunState,
    /// Its step.
    pub step: String,
}

impl Memory {
    /// The memory of a run that begins: `/inputs` is the event's payload, and untrusted; beside it stands what the blackboard's
    /// schema gives as defaults. The first step is entered.
    #[must_use]
    pub fn begin(workflow: &Workflow, inputs: Value) -> Self {
        let mut memory = Self {
            board: workflow.first_board(inputs),
            taint: taint::untrusted(workflow).into_iter().collect(),
            visits: BTreeMap::from([(workflow.first_step().to_owned(), 1)]),
            ..Self::default()
        };
        memory.reserve_first(workflow);
        memory
    }

    /// Its clocks began to run then.
    #[must_use]
    pub fn since(mut self, workflow: &Workflow, began: DateTime<Utc>) -> Self {
        let lanes = BTreeMap::from([(0, (RunState::Running, workflow.first_step()))]);
        let (visits, lifecycle) = (&self.visits, Lifecycle::Draft);
        self.clocks.wind(workflow, &Standings { lanes, visits, lifecycle, open: true }, began);
        self
    }

    /// Whether what stands at a JSON Pointer comes from an untrusted source, wholly or in part, and passed no gate since.
    #[must_use]
    pub fn is_tainted(&self, pointer: &str) -> bool {
        taint::tainted(&self.taint, pointer)
    }

    /// The variable `inputs`.
    pub(crate) fn inputs(&self) -> &Value {
        self.board.get("inputs").unwrap_or(&Value::Null)
    }
}
