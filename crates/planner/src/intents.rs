//! Registration: workflows are checked and frozen, intents pinned to their versions.

use std::collections::BTreeMap;

use fleet::Fault;
use rails::{Catalog, Workflow};
use record::{NewIntent, Record};

use crate::config::Section;

/// Registers the configured workflows and makes exactly the configured intents the active ones.
pub(crate) async fn register(record: &Record, config: &Section) -> Result<(), Fault> {
    let workflows = workflows(config)?;
    for workflow in workflows.values() {
        record.register_workflow(workflow).await?;
    }
    let intents = config
        .intents
        .iter()
        .map(|intent| {
            let workflow = workflows.get(&intent.workflow).ok_or_else(|| {
                let known: Vec<&str> = workflows.keys().map(String::as_str).collect();
                Fault::usage(format!(
                    "planner.intents: `{}` names the workflow `{}`; known are {}",
                    intent.source,
                    intent.workflow,
                    known.join(", ")
                ))
            })?;
            Ok(NewIntent {
                tenant: intent.tenant.clone(),
                region: intent.region.clone(),
                source_pattern: intent.source.clone(),
                purpose: intent.purpose.clone(),
                pipeline_version: workflow.version().to_owned(),
            })
        })
        .collect::<Result<Vec<_>, Fault>>()?;
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

fn workflows(config: &Section) -> Result<BTreeMap<String, Workflow>, Fault> {
    let workers: Vec<&str> = streams::WORK_STREAMS.iter().map(|stream| stream.worker).collect();
    let catalog = Catalog { workers: &workers };
    let none = BTreeMap::new();
    let mut documents = vec![("the built-in workflow".to_owned(), rails::builtin_trend().to_owned())];
    for file in &config.workflows {
        let text = std::fs::read_to_string(file).map_err(|e| {
            Fault::usage(format!("planner.workflows: {} cannot be read: {e}", file.display()))
        })?;
        documents.push((file.display().to_string(), text));
    }
    let mut workflows = BTreeMap::new();
    for (place, document) in documents {
        let fault = |faults: rails::Faults| Fault::usage(format!("{place} is refused:\n{faults}"));
        // The name is needed to find the values, and the values to register: so the document is read twice.
        let plain = Workflow::register(&document, &none, &catalog).map_err(fault)?;
        let values = config.values.get(plain.name()).unwrap_or(&none);
        let workflow = Workflow::register(&document, values, &catalog).map_err(fault)?;
        workflows.insert(workflow.name().to_owned(), workflow);
    }
    match config.values.keys().find(|name| !workflows.contains_key(*name)) {
        Some(name) => Err(Fault::usage(format!("planner.values: no workflow is called `{name}`"))),
        None => Ok(workflows),
    }
}
