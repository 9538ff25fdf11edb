//! Registration: workflows are checked, frozen and activated for every tenant that activated none itself; intents name them.

use std::collections::{BTreeMap, BTreeSet};

use fleet::{Declared, Fault};
use rails::Workflow;
use record::{EVERY_TENANT, NewIntent, Record};

use crate::config::Section;

/// Who registers and activates what the configuration names.
const CONFIGURATION: &str = "configuration";

/// Registers the configured workflows, activates them where the tenant has no choice of its own, and makes exactly the
/// configured intents the active ones.
pub(crate) async fn register(record: &Record, config: &Section, declared: &Declared) -> Result<(), Fault> {
    let Configured { workflows, idle } = workflows(config, declared)?;
    for workflow in workflows.values() {
        record.register_workflow(workflow, EVERY_TENANT, CONFIGURATION).await?;
        if idle.contains(workflow.name()) {
            continue;
        }
        if record.activate_configured(workflow.name(), workflow.version(), CONFIGURATION).await? {
            tracing::info!(pipeline_version = workflow.version(), "a workflow was activated");
        }
    }
    let active = record.active_workflows().await?;
    let version = |tenant: &str, name: &str| {
        let registered = || active.get(tenant)?.get(name).cloned();
        workflows.get(name).map(|workflow| workflow.version().to_owned()).or_else(registered)
    };
    let mut intents = Vec::with_capacity(config.intents.len());
    for intent in &config.intents {
        let Some(pipeline_version) = version(&intent.tenant, &intent.workflow) else {
            let known: Vec<&str> = workflows.keys().map(String::as_str).collect();
            return Err(Fault::usage(format!(
                "planner.intents: `{}` names the workflow `{}`; known are {}, and what the tenant `{}` activated",
                intent.source,
                intent.workflow,
                known.join(", "),
                intent.tenant
            )));
        };
        intents.push(NewIntent {
            tenant: intent.tenant.clone(),
            region: intent.region.clone(),
            source_pattern: intent.source.clone(),
            purpose: intent.purpose.clone(),
            pipeline_version,
        });
    }
    record.register_intents(&intents).await?;
    for intent in &intents {
        tracing::info!(
            source = intent.source_pattern,
            planner_intent = intent.purpose,
            pipeline_version = intent.pipeline_version,
            "intent registered"
        );
    }
    Ok(())
}

/// The workflows of the configuration, by name.
struct Configured {
    workflows: BTreeMap<String, Workflow>,
    /// Those that are registered, and not activated.
    idle: BTreeSet<String>,
}

fn workflows(config: &Section, declared: &Declared) -> Result<Configured, Fault> {
    let (mut workflows, mut idle, mut unfit) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let as_written = |document: &str| declared.register(document, &BTreeMap::new());
    for builtin in rails::BUILTINS {
        let place = format!("the built-in workflow `{}`", builtin.name);
        match checked(&place, builtin.document, config, declared) {
            Ok(workflow) => {
                if !builtin.active {
                    idle.insert(builtin.name.to_owned());
                }
                workflows.insert(workflow.name().to_owned(), workflow);
            }
            // Where a role of it acts outside, it would need approvals that it does not have.
            Err(fault) if declared.has_acting_roles() && as_written(builtin.document).is_err() => {
                tracing::warn!(%fault, "a built-in workflow does not fit the configured roles: it is not registered");
                unfit.insert(builtin.name, fault);
            }
            Err(fault) => return Err(fault),
        }
    }
    for file in &config.workflows {
        // A name of one that comes with the program, unless a file is called so.
        if let Some(builtin) = file.to_str().and_then(rails::builtin).filter(|_| !file.exists()) {
            if let Some(fault) = unfit.remove(builtin.name) {
                return Err(fault);
            }
            idle.remove(builtin.name);
            continue;
        }
        let text = std::fs::read_to_string(file).map_err(|e| {
            Fault::usage(format!("planner.workflows: {} cannot be read: {e}", file.display()))
        })?;
        let workflow = checked(&file.display().to_string(), &text, config, declared)?;
        idle.remove(workflow.name());
        workflows.insert(workflow.name().to_owned(), workflow);
    }
    match config.values.keys().find(|name| !workflows.contains_key(*name)) {
        Some(name) => Err(Fault::usage(format!("planner.values: no workflow is called `{name}`"))),
        None => Ok(Configured { workflows, idle }),
    }
}

/// A document with the configured values in it.
fn checked(place: &str, document: &str, config: &Section, declared: &Declared) -> Result<Workflow, Fault> {
    let none = BTreeMap::new();
    let fault = |faults: rails::Faults| Fault::usage(format!("{place} is refused:\n{faults}"));
    // The name is needed to find the values, and the values to register: so the document is read twice.
    let plain = declared.register(document, &none).map_err(fault)?;
    let values = config.values.get(plain.name()).unwrap_or(&none);
    declared.register(document, values).map_err(fault)
}
