//! Documents that would register, and then lose a bound or trap their runs.

use super::super::*;

const CATALOG: Catalog<'_> = Catalog {
    workers: &["etl", "judge", "publisher", "agent"],
    roles: None,
    acting_roles: &[],
    gates: None,
    tools: None,
    harmless_tools: &[],
    outlets: &[],
};

/// The faults of a document with this head and these steps; empty where it registers.
fn found(head: &str, steps: &[&str]) -> String {
    let steps: Vec<String> = steps.iter().map(|step| format!("  - {{ {step} }}\n")).collect();
    let text = format!("name: t\nversion: 1\n{head}\nsteps:\n{}", steps.concat());
    Workflow::register(&text, &BTreeMap::new(), &CATALOG).err().map(|f| f.to_string()).unwrap_or_default()
}

const DONE: &str = "id: z, worker: etl, on_success: { end: done }";

#[test]
fn an_untrusted_place_is_one_that_something_writes() {
    let head = |place: &str| {
        format!(
            "inputs: {{ properties: {{ text: {{}} }} }}
blackboard: {{ properties: {{ page: {{ properties: {{ text: {{}} }} }}, other: {{}} }} }}
clusters: {{ web: {{ allowed_writes: [/page/**] }} }}
untrusted: [{place}]"
        )
    };
    let steps = ["id: a, worker: agent, cluster: web, on_success: z", DONE];
    for lawful in ["/inputs", "/inputs/text", "/page", "/page/text"] {
        assert_eq!(found(&head(lawful), &steps), "", "{lawful}");
    }
    for (place, expected) in [
        ("input", "`input` is no JSON Pointer"),
        ("/inputs/**", "`/inputs/**` is a pattern"),
        ("/page/*/text", "`/page/*/text` is a pattern"),
        ("/input", "`/input` is no place that the schema of the blackboard has"),
        ("/inputs/txet", "`/inputs/txet` is no place that the schema of inputs has"),
        ("/other", "`/other` is written neither by the inputs nor by any step"),
    ] {
        let found = found(&head(place), &steps);
        assert!(found.contains("6:13 untrusted.0: ") && found.contains(expected), "{place}\n{found}");
    }
}

#[test]
fn the_fields_of_the_content_are_those_that_content_has() {
    let head = |content: &str| format!("inputs: {{}}\ncontent: {{ {content} }}");
    assert_eq!(found(&head("title: /inputs/t, body: /inputs/b, summary: /inputs/s"), &[DONE]), "");
    let unknown = found(&head("title: /inputs/t, body: /inputs/b, headline: /inputs/h"), &[DONE]);
    assert!(unknown.contains("content has no field `headline`; known are title, summary, body"), "{unknown}");
    let without = found(&head("title: /inputs/t"), &[DONE]);
    assert!(without.contains("content: without `body` the blackboard never makes content"), "{without}");
}
