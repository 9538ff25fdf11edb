//! Steps at which it is said what is done next: what is asked there, what may be answered, and what is remembered.

mod call;
mod rule;

use std::collections::{BTreeMap, BTreeSet};

use model::{Content, StoredContent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::workflow::{Callable, Orchestrate, Step, Workflow};
use crate::{Memory, PatchOp};

pub use call::Call;

/// The issue type of an escalation over a call of a tool that acts on the world outside.
pub(crate) const TOOL_CALL: &str = "tool_call";
/// What is kept of what was called.
const HISTORY: usize = 20;
/// The longest result that is shown again, as JSON in bytes.
const LONGEST_RESULT: usize = 4096;
/// The role of a cluster that names none.
const ANYBODY: &str = "generic";

/// What the rails remember of an orchestrating step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Orchestration {
    /// How often it was said what is done next.
    pub decisions: u32,
    /// How often each cluster and tool was called, by [`Call::words`].
    pub turns: BTreeMap<String, u32>,
    /// Calls in this visit.
    pub calls: u32,
    /// Rounds through quality assurance.
    pub loops: u32,
    /// The call that its next job performs.
    pub pending: Option<Call>,
    /// The clusters that were called in this visit.
    pub called: BTreeSet<String>,
    /// What was called before, and what came of it; the oldest are forgotten.
    pub history: Vec<Past>,
}

/// Something that was called, or said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Past {
    /// What, in a few words.
    pub call: String,
    /// What came of it.
    pub outcome: String,
    /// What it brought, unless that is long.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub result: Value,
}

impl Orchestration {
    pub(crate) fn begin_visit(&mut self) {
        self.calls = 0;
        self.pending = None;
        self.called.clear();
    }

    pub(crate) fn note(&mut self, call: String, outcome: String, result: &Value) {
        let short = result.to_string().len() <= LONGEST_RESULT;
        let result = if short { result.clone() } else { Value::Null };
        self.history.push(Past { call, outcome, result });
        let forgotten = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..forgotten);
    }
}

/// What the next job of an orchestrating step is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Charge {
    /// Say what is done next.
    Decide(Box<Choice>),
    /// Do what a cluster is called for.
    Cluster {
        /// The cluster.
        cluster: String,
        /// The role of it that does it.
        role: String,
        /// What is to be done.
        instruction: String,
        /// What it may see of the blackboard.
        reads: Vec<String>,
        /// Where it may write.
        writes: Vec<String>,
        /// By which operations.
        ops: Vec<PatchOp>,
        /// How often the cluster was called, this time included.
        turn: u32,
    },
    /// Use a tool.
    Tool {
        /// Which.
        tool: String,
        /// With what.
        arguments: Value,
        /// How often it was used, this time included.
        turn: u32,
    },
}

/// What there is to be said.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The role that says it; without one the rule does.
    pub role: Option<String>,
    /// What the rule says.
    pub rule: Call,
    /// Who may be called.
    pub clusters: Vec<Callable>,
    /// The tools that may be used.
    pub tools: Vec<String>,
    /// Whether quality can be asked for.
    pub qa: bool,
    /// Calls left in this visit.
    pub calls_left: u32,
    /// Rounds of quality assurance left.
    pub loops_left: u32,
    /// What was called before.
    pub history: Vec<Past>,
    /// What may be seen of the blackboard.
    pub reads: Vec<String>,
    /// How often it was said what is done next, this time included.
    pub turn: u32,
}

impl Choice {
    /// JSON Schema of what may be said.
    #[must_use]
    pub fn schema(&self) -> Value {
        let clusters: Vec<&str> = self.clusters.iter().map(|callable| callable.name.as_str()).collect();
        Call::schema(&clusters, &self.tools, self.qa)
    }
}

impl Charge {
    /// What whoever does it is told, and its digest is taken of.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Decide(choice) => {
                let cluster = |callable: &Callable| {
                    json!({
                        "name": callable.name,
                        "roles": callable.roles,
                        "may_write": callable.capability.writes,
                        "may": callable.capability.ops,
                    })
                };
                json!({
                    "clusters": choice.clusters.iter().map(cluster).collect::<Vec<_>>(),
                    "tools": choice.tools,
                    "quality_can_be_asked_for": choice.qa,
                    "calls_left": choice.calls_left,
                    "loops_left": choice.loops_left,
                    "history": choice.history,
                })
            }
            Self::Cluster { cluster, role, instruction, writes, ops, .. } => json!({
                "cluster": cluster, "role": role, "instruction": instruction, "may_write": writes, "may": ops,
            }),
            Self::Tool { tool, arguments, .. } => json!({ "tool": tool, "arguments": arguments }),
        }
    }

    /// How often the same was to be done, this time included. With [`Charge::who`] it tells the jobs of a step apart.
    #[must_use]
    pub fn turn(&self) -> u32 {
        match self {
            Self::Decide(choice) => choice.turn,
            Self::Cluster { turn, .. } | Self::Tool { turn, .. } => *turn,
        }
    }

    /// The cluster or tool; `None` of who decides.
    #[must_use]
    pub fn who(&self) -> Option<&str> {
        match self {
            Self::Decide(_) => None,
            Self::Cluster { cluster, .. } => Some(cluster),
            Self::Tool { tool, .. } => Some(tool),
        }
    }

    /// What of the blackboard may be seen.
    #[must_use]
    pub fn reads(&self) -> &[String] {
        match self {
            Self::Decide(choice) => &choice.reads,
            Self::Cluster { reads, .. } => reads,
            Self::Tool { .. } => &[],
        }
    }
}

impl Workflow {
    /// What a step's next job is to do; `None` of a step that orchestrates nothing.
    #[must_use]
    pub fn charge(&self, step: &Step, memory: &Memory) -> Option<Charge> {
        let orchestrate = step.orchestrate.as_ref()?;
        let so_far = memory.orchestrations.get(&step.id).cloned().unwrap_or_default();
        let decide = || {
            let readers = step.readers().into_iter().flat_map(|capability| capability.reads.clone());
            Charge::Decide(Box::new(Choice {
                role: orchestrate.role.clone(),
                rule: rule::call(orchestrate, &memory.board, &so_far),
                clusters: orchestrate.clusters.clone(),
                tools: orchestrate.tools.clone(),
                qa: orchestrate.qa.is_some(),
                calls_left: orchestrate.max_calls.saturating_sub(so_far.calls),
                loops_left: orchestrate.max_loops.saturating_sub(so_far.loops),
                history: so_far.history.clone(),
                reads: readers.collect::<BTreeSet<_>>().into_iter().collect(),
                turn: so_far.decisions.saturating_add(1),
            }))
        };
        let turn =
            so_far.pending.as_ref().and_then(|call| so_far.turns.get(&call.words())).copied().unwrap_or(1);
        Some(match &so_far.pending {
            Some(Call::Cluster { cluster, instruction, role }) => match orchestrate.callable(cluster) {
                Some(callable) => Charge::Cluster {
                    cluster: cluster.clone(),
                    role: role.clone().unwrap_or_else(|| callable.first_role().to_owned()),
                    instruction: instruction.clone(),
                    reads: callable.capability.reads.clone(),
                    writes: callable.capability.writes.clone(),
                    ops: callable.capability.ops.clone(),
                    turn,
                },
                None => decide(),
            },
            Some(Call::Tool { tool, arguments }) => {
                Charge::Tool { tool: tool.clone(), arguments: arguments.clone(), turn }
            }
            _ => decide(),
        })
    }
}

impl Callable {
    /// The role that does what the cluster is called for, where the call names none.
    #[must_use]
    pub fn first_role(&self) -> &str {
        self.roles.first().map_or(ANYBODY, String::as_str)
    }
}

impl Orchestrate {
    pub(crate) fn callable(&self, cluster: &str) -> Option<&Callable> {
        self.clusters.iter().find(|callable| callable.name == cluster)
    }
}

/// Whether a call may be made at a step, before anything happens.
///
/// # Errors
/// Why not.
pub(crate) fn permit(orchestrate: &Orchestrate, call: &Call) -> Result<(), String> {
    match call {
        Call::Cluster { cluster, role, .. } => {
            let callable = orchestrate
                .callable(cluster)
                .ok_or_else(|| format!("the cluster `{cluster}` is none that may be called here"))?;
            match role {
                Some(role) if !callable.roles.contains(role) => {
                    Err(format!("the cluster `{cluster}` has no role `{role}`"))
                }
                _ => Ok(()),
            }
        }
        Call::Tool { tool, arguments } => {
            if !orchestrate.tools.contains(tool) {
                return Err(format!("the tool `{tool}` is none that may be used here"));
            }
            if arguments.is_object() || arguments.is_null() {
                Ok(())
            } else {
                Err("the arguments of a tool are a JSON object".to_owned())
            }
        }
        Call::RequestQa {} if orchestrate.qa.is_none() => {
            Err("there is no step that checks quality".to_owned())
        }
        Call::ProposePatch { .. } | Call::RequestQa {} | Call::Stop { .. } => Ok(()),
    }
}

/// The call of a tool as content: what a person sees and approves, and what its approval is bound to.
///
/// # Errors
/// Why it cannot be shown.
pub fn shown(tool: &str, arguments: &Value) -> Result<StoredContent, String> {
    let content = Content {
        title: format!("Call of the tool {}", tool.chars().take(100).collect::<String>()),
        summary: String::new(),
        body: format!("{arguments:#}"),
        url: None,
        language: "und".to_owned(),
        tags: vec![],
    };
    content.check().map_err(|error| error.to_string())?;
    content.seal().map_err(|error| error.to_string())
}
