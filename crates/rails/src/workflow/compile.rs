//! From a checked document to a workflow.

use std::collections::BTreeMap;

use model::{WorkerType, sha256};
use serde_json::Value;

use super::document::{
    BudgetDocument, ClusterDocument, Document, GateDocument, LifecycleTtlDocument, OperationDocument,
    OrchestrateDocument, ParallelDocument, StepDocument, StepTtlDocument, TargetDocument, fault,
};
use super::{
    Branch, Callable, Expression, Faults, Fork, LifecycleTtl, Operation, Orchestrate, Step, StepGate,
    StepTtl, Workflow,
};
use crate::condition::Condition;
use crate::retries::{self, RetriesDocument};
use crate::{Backoff, Budget, Capability, Retries};

/// Names that conditions use for something else than a step's artifact, or targets for something else than a step.
pub(super) const RESERVED: [&str; 8] = [
    "values",
    "facts",
    "content",
    "inputs",
    "board",
    "output",
    super::document::JOIN,
    super::document::CONTINUE,
];

/// The worker type of language models and tools.
pub(crate) const AGENT: &str = "agent";

/// The worker type that drafts content of what came in.
pub(super) const ETL: &str = "etl";

/// The worker type of outlets.
pub(super) const PUBLISHER: &str = "publisher";

/// The role of their steps that name none.
pub(super) const GENERIC: &str = "generic";

pub(super) fn compile(document: Document) -> Result<Workflow, Faults> {
    let json = serde_json::to_value(&document).map_err(|e| fault("the document", e.to_string()))?.to_string();
    let hash = sha256(&[json.as_bytes()]).to_hex();
    let version = format!("{}@{}-{}", document.name, document.version, &hash[..12]);
    let first = document.steps.first().map(|step| step.id.clone());
    let keeps_manifest = keeps_manifest(&document);
    let (mut steps, mut forks, mut branches) = (BTreeMap::new(), BTreeMap::new(), 0);
    for step in &document.steps {
        if let Some(parallel) = &step.parallel {
            forks.insert(step.id.clone(), compile_fork(step, parallel, &mut branches));
        } else {
            steps.insert(step.id.clone(), compile_step(step, &document)?);
        }
    }
    let content = contents(&document).map_err(|message| fault("content", message))?;
    Ok(Workflow {
        name: document.name,
        goal: document.goal,
        version,
        document: json,
        values: Value::Object(document.values.into_iter().collect()),
        first: first.ok_or_else(|| fault("the document", "it has no steps".to_owned()))?,
        steps,
        forks,
        content,
        defaults: defaults(&document.blackboard),
        blackboard: schema(document.blackboard).map_err(|message| fault("blackboard", message))?,
        budget: budget(document.budget.as_ref()).map_err(|message| fault("budget", message))?,
        ttl: lifecycle_ttl(document.ttl.as_ref()).map_err(|message| fault("ttl", message))?,
        untrusted: document.untrusted.unwrap_or_else(|| vec!["/inputs".to_owned()]),
        keeps_manifest,
    })
}

/// What the blackboard has from the beginning: the defaults of its schema's properties.
fn defaults(schema: &Value) -> serde_json::Map<String, Value> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let given =
        properties.filter_map(|(name, property)| Some((name.clone(), property.get("default")?.clone())));
    given.collect()
}

/// A schema that closes the blackboard leaves room for the inputs, which are there in any case.
fn schema(mut document: Value) -> Result<Option<jsonschema::Validator>, String> {
    if document.is_null() {
        return Ok(None);
    }
    if let Some(map) = document.as_object_mut() {
        let properties = map.entry("properties").or_insert_with(|| serde_json::json!({}));
        if let Some(known) = properties.as_object_mut() {
            known.entry("inputs").or_insert(Value::Bool(true));
        }
    }
    jsonschema::validator_for(&document).map(Some).map_err(|error| format!("is no JSON Schema: {error}"))
}

/// Whether a run needs more than its row: what keeps none costs nothing.
pub(super) fn keeps_manifest(document: &Document) -> bool {
    !document.blackboard.is_null()
        || !document.inputs.is_null()
        || !document.clusters.is_empty()
        || !document.content.is_empty()
        || document.budget.is_some()
        || document.ttl.is_some()
        || document.steps.iter().any(|step| {
            step.parallel.is_some()
                || step.orchestrate.is_some()
                || step.role.is_some()
                || step.ttl.is_some()
                || step.gates.is_some()
                || !step.input.is_empty()
                || !step.patch.is_empty()
                || step.skip_if_exists.is_some()
                || step.max_visits.is_some()
                || !step.fallback.is_null()
                || step.compensate_with.is_some()
                || step.budget.is_some()
        })
}

fn step_gate(document: &GateDocument) -> StepGate {
    match document {
        GateDocument::Required(name) => StepGate { name: name.clone(), optional: false },
        GateDocument::Optional(gate) => StepGate { name: gate.optional.clone(), optional: true },
    }
}

/// Branches are numbered through the whole document: a number is part of a chain's and of an artifact's identity.
fn compile_fork(step: &StepDocument, parallel: &ParallelDocument, branches: &mut i32) -> Fork {
    let mut number = || {
        *branches += 1;
        *branches
    };
    Fork {
        id: step.id.clone(),
        branches: parallel.branches.iter().map(|first| (number(), first.clone())).collect(),
        join: parallel.join,
        max_visits: step.max_visits,
        on_exhausted: step.on_exhausted.as_ref().map(TargetDocument::target),
        on_success: step.on_success.target(),
        on_failure: step.on_failure.as_ref().map(TargetDocument::target),
    }
}

fn compile_step(step: &StepDocument, document: &Document) -> Result<Step, Faults> {
    let at = |message: String| fault(&step.id, message);
    let branches = step
        .branches
        .iter()
        .map(|branch| Ok(Branch { when: Condition::compile(&branch.when)?, then: branch.target()? }))
        .collect::<Result<Vec<_>, String>>()
        .map_err(at)?;
    let patch = step.patch.iter().map(operation).collect::<Result<Vec<_>, _>>().map_err(at)?;
    let content = contents(document).map_err(|message| fault("content", message))?;
    let transformed = patch.iter().filter_map(|operation| operation.value.as_ref()).chain(content.values());
    let mut condition_inputs: Vec<String> = branches
        .iter()
        .flat_map(|branch| branch.when.roots())
        .chain(transformed.flat_map(Expression::roots))
        .filter(|root| *root != step.id && (*root == "content" || !RESERVED.contains(root)))
        .map(str::to_owned)
        .collect();
    condition_inputs.sort();
    condition_inputs.dedup();
    Ok(Step {
        id: step.id.clone(),
        description: step.description.clone(),
        worker: WorkerType(if step.orchestrate.is_some() { AGENT.to_owned() } else { step.worker.clone() }),
        retries: retries(&step.retries).map_err(at)?,
        deadline: duration("deadline", &step.deadline).map_err(at)?,
        escalation_due: duration("escalation_due", &step.escalation_due).map_err(at)?,
        ttl: step_ttl(step.ttl.as_ref()).map_err(at)?,
        gates_before: step.gates.iter().flat_map(|gates| &gates.before).map(step_gate).collect(),
        gates_after: step.gates.iter().flat_map(|gates| &gates.after).map(step_gate).collect(),
        side_effect: step.side_effect,
        side_effect_reason: step.side_effect_reason.clone(),
        with: std::sync::Arc::new(step.with.clone()),
        role: step.role.clone().or_else(|| step.orchestrate.as_ref().and_then(|it| it.role.clone())),
        orchestrate: step.orchestrate.as_ref().map(|it| orchestrate(it, &document.clusters)),
        cluster: step.cluster.clone(),
        capability: step.cluster.as_ref().and_then(|name| document.clusters.get(name)).map(capability),
        output_schema: step.output_schema.clone(),
        max_visits: step.max_visits,
        budget: budget(step.budget.as_ref()).map_err(at)?,
        compensate_with: step.compensate_with.clone(),
        input: inputs(&step.input).map_err(at)?,
        patch,
        skip_if_exists: step.skip_if_exists.clone(),
        on_exhausted: step.on_exhausted.as_ref().map(TargetDocument::target),
        fallback: step.fallback.clone(),
        approves: step.approve.is_some(),
        branches,
        on_success: step.on_success.target(),
        on_failure: step.on_failure.as_ref().map(TargetDocument::target),
        on_timeout: step.on_timeout.as_ref().map(TargetDocument::target),
        condition_inputs,
    })
}

fn contents(document: &Document) -> Result<BTreeMap<String, Expression>, String> {
    inputs(&document.content)
}

fn inputs(document: &BTreeMap<String, String>) -> Result<BTreeMap<String, Expression>, String> {
    document.iter().map(|(key, source)| Ok((key.clone(), Expression::compile(source)?))).collect()
}

fn operation(document: &OperationDocument) -> Result<Operation, String> {
    Ok(Operation {
        op: document.op,
        path: document.path.clone(),
        value: document.value.as_deref().map(Expression::compile).transpose()?,
        from: document.from.clone(),
    })
}

fn orchestrate(document: &OrchestrateDocument, clusters: &BTreeMap<String, ClusterDocument>) -> Orchestrate {
    let known = document.clusters.iter().filter_map(|name| Some((name, clusters.get(name)?)));
    let callable = |(name, cluster): (&String, &ClusterDocument)| Callable {
        name: name.clone(),
        roles: cluster.roles.clone(),
        capability: capability(cluster),
    };
    Orchestrate {
        role: document.role.clone(),
        clusters: known.map(callable).collect(),
        tools: document.tools.clone(),
        acting_tools: document.acting_tools.clone(),
        qa: document.qa.clone(),
        max_calls: document.max_calls,
        max_loops: document.max_loops,
    }
}

pub(super) fn step_ttl(document: Option<&StepTtlDocument>) -> Result<StepTtl, String> {
    let Some(document) = document else { return Ok(StepTtl::default()) };
    Ok(StepTtl {
        waiting: optional("ttl.waiting", document.waiting.as_deref())?,
        running: optional("ttl.running", document.running.as_deref())?,
    })
}

pub(super) fn lifecycle_ttl(document: Option<&LifecycleTtlDocument>) -> Result<LifecycleTtl, String> {
    let Some(document) = document else { return Ok(LifecycleTtl::default()) };
    Ok(LifecycleTtl {
        draft: optional("ttl.draft", document.draft.as_deref())?,
        qa: optional("ttl.qa", document.qa.as_deref())?,
        approved: optional("ttl.approved", document.approved.as_deref())?,
    })
}

fn optional(key: &str, text: Option<&str>) -> Result<Option<std::time::Duration>, String> {
    text.map(|text| duration(key, text)).transpose()
}

pub(super) fn capability(cluster: &ClusterDocument) -> Capability {
    Capability {
        reads: cluster.allowed_reads.clone(),
        writes: cluster.allowed_writes.clone(),
        ops: cluster.allowed_ops.clone(),
    }
}

pub(super) fn budget(document: Option<&BudgetDocument>) -> Result<Budget, String> {
    let Some(document) = document else { return Ok(Budget::default()) };
    let cost = document.cost.map(|cost| {
        if cost.is_finite() && cost >= 0.0 {
            Ok(crate::budget::micros(cost))
        } else {
            Err(format!("budget.cost is {cost}"))
        }
    });
    let time = document.time.as_deref().map(|text| duration("budget.time", text));
    Ok(Budget { tokens: document.tokens, cost_micros: cost.transpose()?, time: time.transpose()? })
}

pub(super) fn retries(document: &RetriesDocument) -> Result<Retries, String> {
    if document.max_attempts < 1 {
        return Err(format!("retries.max_attempts is {}, it must be at least 1", document.max_attempts));
    }
    let backoff = Backoff {
        initial: duration("retries.backoff.initial", &document.backoff.initial)?,
        max: duration("retries.backoff.max", &document.backoff.max)?,
    };
    Ok(Retries { max_attempts: document.max_attempts, backoff })
}

pub(super) fn duration(key: &str, text: &str) -> Result<std::time::Duration, String> {
    retries::duration(text).ok_or_else(|| {
        format!("{key} is `{text}`: write a whole number with a unit (ms, s, m, h, d), such as 60s")
    })
}
