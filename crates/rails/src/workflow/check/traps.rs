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

#[test]
fn a_blackboard_that_its_schema_closes_has_its_inputs_and_requires_nothing_that_comes_later() {
    let head = |schema: &str| format!("blackboard: {{ type: object, {schema} }}");
    let closed = head("additionalProperties: false, properties: { note: { type: string } }");
    let text = format!("name: t\nversion: 1\n{closed}\nsteps:\n  - {{ {DONE} }}\n");
    let workflow = Workflow::register(&text, &BTreeMap::new(), &CATALOG).unwrap();
    let fits = |board: serde_json::Value| workflow.blackboard().unwrap().is_valid(&board);
    assert!(fits(serde_json::json!({ "inputs": { "goal": "x" }, "note": "n" })));
    assert!(!fits(serde_json::json!({ "inputs": {}, "other": 1 })));
    assert!(!fits(serde_json::json!({ "inputs": {}, "note": 1 })));

    let required = |more: &str| found(&head(&format!("required: [inputs, draft], {more}")), &[DONE]);
    let lacks = required("properties: { draft: { type: string } }");
    assert!(lacks.contains("requires `draft`, which is not there at the beginning"), "{lacks}");
    assert_eq!(lacks.lines().count(), 1, "{lacks}");
    assert_eq!(required("properties: { draft: { type: string, default: '' } }"), "");
}

#[test]
fn a_fallback_has_what_the_patch_reads_of_the_output() {
    let head = "clusters: { desk: { allowed_writes: [/x] } }";
    let falls = |value: &str, fallback: &str| {
        let patch = format!("patch: [{{ op: add, path: /x, value: '{value}' }}]");
        let step = format!(
            "id: a, worker: agent, cluster: desk, {patch}, fallback: {fallback}, on_failure: continue, on_success: z"
        );
        found(head, &[&step, DONE])
    };
    for (value, lacking) in
        [("/text", "/text"), ("output.text", "output.text"), ("a.text + output.more", "a.text")]
    {
        let found = falls(value, "{ other: 1 }");
        assert!(found.contains(&format!("a: it lacks `{lacking}`, which the patch reads")), "{found}");
        assert_eq!(falls(value, "{ text: t, more: m }"), "", "{value}");
    }
    assert_eq!(falls("has(output.text) ? output.text : \"none\"", "{ other: 1 }"), "");
    assert_eq!(falls("output", "{ other: 1 }"), "");
}

#[test]
fn faults_of_the_text_hide_no_others_and_make_none() {
    let listed = |steps: &[&str], expected: &[&str]| {
        let found = found("", steps);
        for one in expected {
            assert!(found.contains(one), "{one}\n{found}");
        }
        assert_eq!(found.lines().count(), expected.len(), "{found}");
    };
    let nobody = "id: c, worker: nobody, on_success: { end: done }";
    listed(
        &["id: a, worker: etl", "id: b, worker: etl", nobody],
        &["5:5 a: cannot be read: missing field `on_success`", "6:5 b: cannot be read", "c: no worker type"],
    );
    listed(
        &["id: a, worker: etl, on_success: 7, max_visits: 0", nobody],
        &["a: cannot be read: write a step's id", "a: max_visits is 0", "c: no worker type"],
    );
    listed(
        &["id: a, worker: etl, max_visits: many, on_exhausted: c, on_success: c", nobody],
        &["a: cannot be read: invalid type", "c: no worker type"],
    );
    listed(
        &["worker: etl, on_success: c, gates: { before: [5] }", nobody],
        &["missing field `id`", "the name of a gate policy", "c: no worker type"],
    );
    let text = "version: one\nvalues: 7\nsteps:\n  - { id: a, worker: etl }\n";
    let faults = Workflow::register(text, &BTreeMap::new(), &CATALOG).unwrap_err().to_string();
    assert_eq!(faults.lines().count(), 4, "{faults}");
    for one in ["1:10 version", "2:9 values", "4:5 a", "the document: cannot be read: missing field `name`"] {
        assert!(faults.contains(one), "{one}\n{faults}");
    }
}

#[test]
fn no_bound_of_time_is_zero() {
    let zero = found(
        "ttl: { draft: 0s, qa: 0ms, approved: 1s }",
        &["id: z, worker: etl, deadline: 0m, ttl: { waiting: 0s, running: 0h }, on_success: { end: done }"],
    );
    for bound in
        ["ttl.draft is 0", "ttl.qa is 0", "z: deadline is 0", "z: ttl.waiting is 0", "z: ttl.running is 0"]
    {
        assert!(zero.contains(bound), "{bound}\n{zero}");
    }
    assert_eq!(zero.lines().count(), 5, "{zero}");
}

#[test]
fn no_input_reads_facts_which_are_none_yet() {
    let step = |input: &str| format!("id: a, worker: agent, input: {{ x: {input} }}, on_success: z");
    let facts = found("", &[&step("facts.near_similarity"), DONE]);
    assert!(facts.contains("reads `facts`, which is known only once the step is done"), "{facts}");
    assert_eq!(found("values: { x: 1 }", &[&step("values.x"), DONE]), "");
}

#[test]
fn branches_that_spend_side_by_side_of_a_bounded_run_have_budgets_of_their_own() {
    let forked = |head: &str, a: &str, b: &str| {
        let b = format!("id: b, worker: {b}, on_success: join");
        let fork = "id: f, parallel: { branches: [a, b] }, on_success: z";
        found(head, &[fork, &format!("id: a, worker: agent{a}, on_success: join"), &b, DONE])
    };
    let lacks = forked("budget: { tokens: 1000, time: 1h }", ", budget: { cost: 1, time: 1m }", "agent");
    assert!(lacks.contains("a: it needs a budget of its own of tokens: the run's is bounded"), "{lacks}");
    assert!(lacks.contains("b: it needs a budget of its own of tokens, time"), "{lacks}");
    let both = "agent, budget: { tokens: 10 }";
    assert_eq!(forked("budget: { tokens: 1000 }", ", budget: { tokens: 10 }", both), "");
    assert_eq!(forked("budget: { tokens: 1000 }", "", "etl"), "", "nobody spends beside it");
    assert_eq!(forked("", "", "agent"), "", "nothing is bounded");
}

#[test]
fn content_is_read_only_where_something_makes_it() {
    let reads = |head: &str, worker: &str| {
        let step = format!(
            "id: a, worker: {worker}, branches: [{{ when: size(content.title) > 9, end: done }}], on_success: {{ end: done }}"
        );
        found(head, &[&step])
    };
    let none = reads("", "judge");
    assert!(none.contains("reads `content`, and nothing here makes any"), "{none}");
    assert_eq!(reads("", "etl"), "");
    assert_eq!(reads("content: { title: /inputs/t, body: /inputs/b }", "judge"), "");
}

#[test]
fn a_condition_asks_by_no_issue_type_that_the_rails_have_for_themselves() {
    let asks = |issue_type: &str| {
        found(
            "",
            &[&format!(
                "id: a, worker: etl, branches: [{{ when: a.x, escalate: {issue_type} }}], on_success: {{ end: done }}"
            )],
        )
    };
    assert_eq!(asks("doubt"), "");
    assert!(asks("''").contains("an issue type is empty"));
    for own in [
        "publication_unknown",
        "budget_overrun",
        "tool_call",
        "guardrail",
        "unavailable",
        "approval_lost",
        "tainted",
        "gate_error",
        "condition_error",
    ] {
        assert!(
            asks(own).contains(&format!("the issue type `{own}` is of a question that the rails ask")),
            "{own}"
        );
    }
}
