//! The documents that come with Tidemill.

use std::fmt::Write;

const TREND: &str = include_str!("../../workflows/trend.yaml");
const BUILD_WEBSITE: &str = include_str!("../../workflows/build_website.yaml");
const BUILD_WEBSITE_CASES: &str = include_str!("../../workflows/build_website.cases.yaml");
const BLOG_FROM_VIDEO: &str = include_str!("../../workflows/blog_from_video.yaml");
const BLOG_FROM_VIDEO_CASES: &str = include_str!("../../workflows/blog_from_video.cases.yaml");
const GENERIC: &str = include_str!("../../workflows/generic.yaml");
const GENERIC_CASES: &str = include_str!("../../workflows/generic.cases.yaml");
const WRITE: &str = include_str!("../../workflows/write_workflow.yaml");
const WRITE_CASES: &str = include_str!("../../workflows/write_workflow.cases.yaml");

/// The built-in workflow in which a model writes one.
pub const WRITE_WORKFLOW: &str = "write_workflow";

/// A document that comes with Tidemill.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// The workflow's name.
    pub name: &'static str,
    /// Its document, YAML.
    pub document: &'static str,
    /// Whether it is active without anybody's word.
    pub active: bool,
    /// The cases of its transformers, where it has some.
    pub cases: Option<&'static str>,
}

/// The documents that come with Tidemill.
pub const BUILTINS: [Builtin; 5] = [
    Builtin { name: "trend", document: TREND, active: true, cases: None },
    Builtin {
        name: "build_website",
        document: BUILD_WEBSITE,
        active: true,
        cases: Some(BUILD_WEBSITE_CASES),
    },
    Builtin { name: "generic", document: GENERIC, active: true, cases: Some(GENERIC_CASES) },
    Builtin {
        name: "blog_from_video",
        document: BLOG_FROM_VIDEO,
        active: false,
        cases: Some(BLOG_FROM_VIDEO_CASES),
    },
    Builtin { name: WRITE_WORKFLOW, document: WRITE, active: false, cases: Some(WRITE_CASES) },
];

/// The document of a built-in workflow.
#[must_use]
pub fn builtin(name: &str) -> Option<Builtin> {
    BUILTINS.into_iter().find(|builtin| builtin.name == name)
}

/// The built-in workflow of the trend flow.
#[must_use]
pub fn builtin_trend() -> &'static str {
    TREND
}

/// The document of a linear pipeline: one step after the other, each done by an agent of the role `generic`, which sees the
/// goal and what the step before wrote. Names are taken as they are; registering it says which are none.
#[must_use]
pub fn linear(name: &str, steps: &[&str]) -> String {
    let mut text = format!(
        "# A linear pipeline: each step sees the goal and what the step before it wrote.\n\
         name: {name}\nversion: 1\ngoal: say here in one line what a run is for\n\
         inputs:\n  type: object\n  required: [goal]\n  properties:\n    goal: {{ type: string }}\n\
         blackboard:\n  type: object\n  properties:\n    inputs: {{ type: object }}\n"
    );
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to text does not fail.
        writeln!(text, "{line}").ok();
    };
    for step in steps {
        line(format_args!("    {step}: {{ type: string }}"));
    }
    line(format_args!("clusters:\n  generic:\n    roles: [generic]\n    allowed_reads: [/**]"));
    let writes: Vec<String> = steps.iter().map(|step| format!("/{step}")).collect();
    line(format_args!("    allowed_writes: [{}]", writes.join(", ")));
    line(format_args!("steps:"));
    for (number, step) in steps.iter().enumerate() {
        line(format_args!("  - id: {step}\n    worker: agent\n    role: generic\n    cluster: generic"));
        line(format_args!("    description: say here what {step} does\n    deadline: 5m"));
        line(format_args!("    budget: {{ tokens: 20000, cost: 1 }}"));
        line(format_args!("    input:\n      goal: /inputs/goal"));
        if let Some(before) = number.checked_sub(1).and_then(|before| steps.get(before)) {
            line(format_args!("      before: /{before}"));
        }
        line(format_args!(
            "    output_schema:\n      type: object\n      required: [text]\n      properties:\n        text: {{ type: string }}"
        ));
        line(format_args!("    patch:\n      - {{ op: add, path: /{step}, value: /text }}"));
        match steps.get(number + 1) {
            Some(next) => line(format_args!("    on_success: {next}")),
            None => line(format_args!("    on_success: {{ end: done }}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Catalog, Workflow, run_cases};

    const CATALOG: Catalog<'_> = Catalog {
        workers: &["etl", "embedding", "judge", "publisher", "agent"],
        roles: Some(&[
            "product_manager",
            "coder",
            "reviewer",
            "writer",
            "orchestrator",
            "workflow_author",
            "registrar",
            "generic",
        ]),
        acting_roles: &[],
        gates: Some(&[]),
        tools: Some(&[]),
        harmless_tools: &[],
        outlets: &[],
    };

    #[test]
    fn every_built_in_workflow_passes_its_checks_and_its_cases() {
        for builtin in BUILTINS {
            let workflow = Workflow::register(builtin.document, &BTreeMap::new(), &CATALOG).unwrap();
            assert_eq!(workflow.name(), builtin.name);
            for case in builtin.cases.iter().flat_map(|cases| run_cases(&workflow, cases).unwrap()) {
                assert_eq!(case.differences, Vec::<String>::new(), "{}", case.name);
            }
        }
        let website = Workflow::register(BUILD_WEBSITE, &BTreeMap::new(), &CATALOG).unwrap();
        let worst = website.worst_case().unwrap();
        assert_eq!((worst.steps, worst.tokens, worst.cost_micros), (8, Some(500_000), Some(10_000_000)));
        assert!(worst.unbounded.is_empty());
    }

    #[test]
    fn what_is_made_of_a_list_of_steps_is_a_workflow() {
        for steps in [&["draft"][..], &["research", "draft", "polish"]] {
            let workflow = Workflow::register(&linear("digest", steps), &BTreeMap::new(), &CATALOG).unwrap();
            assert_eq!(workflow.steps().count(), steps.len());
        }
        let twice = Workflow::register(&linear("digest", &["a", "a"]), &BTreeMap::new(), &CATALOG);
        assert!(twice.is_err());
    }
}
