//! Each fault, by the document that has it.

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

fn faults(yaml: &str) -> String {
    Workflow::register(yaml, &BTreeMap::new(), &CATALOG).unwrap_err().to_string()
}

fn document(steps: &str) -> String {
    format!("name: t\nversion: 1\nvalues: {{ max: 0.5 }}\nsteps:\n{steps}")
}

#[test]
fn the_built_in_workflow_passes_and_survives_storage() {
    let catalog = Catalog { workers: &["etl", "embedding", "judge", "publisher"], ..Catalog::default() };
    let workflow = Workflow::register(builtin_trend(), &BTreeMap::new(), &catalog).unwrap();
    // Runs of earlier builds are pinned to this.
    assert_eq!(workflow.version(), "trend@1-5b5329373310");
    let stored = Workflow::from_stored(workflow.version(), workflow.document()).unwrap();
    assert_eq!(stored.document(), workflow.document());
    let other = BTreeMap::from([("max_toxicity".to_owned(), serde_json::json!(0.7))]);
    let overridden = Workflow::register(builtin_trend(), &other, &catalog).unwrap();
    assert_ne!(overridden.version(), workflow.version());
    assert!(Workflow::from_stored(workflow.version(), overridden.document()).is_err());
}

#[test]
fn each_fault_is_refused_with_what_is_wrong() {
    let end = "on_success: { end: done }";
    for (steps, expected) in [
        (format!("  - {{ id: a, worker: nobody, {end} }}"), "no worker type is called `nobody`"),
        ("  - { id: a, worker: etl, on_success: b }".to_owned(), "`b`, which is no step"),
        (format!("  - {{ id: a, worker: etl, {end} }}\n  - {{ id: b, worker: etl, {end} }}"), "no path leads here"),
        (format!("  - {{ id: a, worker: etl, {end} }}\n  - {{ id: a, worker: etl, {end} }}"), "two steps have this id"),
        (
            "  - { id: a, worker: etl, on_success: b }\n  - { id: b, worker: etl, on_success: { end: done }, on_failure: a }"
                .to_owned(),
            "a loop without a bound: a → b → a",
        ),
        (
            "  - { id: a, worker: etl, on_success: p }\n  - { id: p, worker: publisher, side_effect: true, on_success: { end: published } }"
                .to_owned(),
            "without an approval: a → p",
        ),
        (
            "  - { id: a, worker: judge, approve: by_rule, on_success: p, on_failure: p }\n  - { id: p, worker: publisher, side_effect: true, on_success: { end: published } }"
                .to_owned(),
            "without an approval: a → p",
        ),
        ("  - { id: a, worker: etl, on_success: { end: published } }".to_owned(), "only a step with side_effect"),
        ("  - { id: a, worker: etl, on_success: { end: running } }".to_owned(), "`running` is no end"),
        (format!("  - {{ id: values, worker: etl, {end} }}"), "none of values, facts, content"),
        (format!("  - {{ id: a, worker: etl, deadline: '60', {end} }}"), "write a whole number with a unit"),
        (format!("  - {{ id: a, worker: etl, retries: {{ max_attempts: 0 }}, {end} }}"), "at least 1"),
        (format!("  - {{ id: a, worker: etl, colour: red, {end} }}"), "colour"),
        (format!("  - {{ id: a, worker: etl, branches: [{{ when: 'z.x > 1', end: done }}], {end} }}"), "reads `z`"),
        (format!("  - {{ id: a, worker: etl, branches: [{{ when: 'a.x > values.min', end: done }}], {end} }}"), "`values.min`"),
        (format!("  - {{ id: a, worker: etl, branches: [{{ when: 'facts.moon', end: done }}], {end} }}"), "`facts.moon`"),
        (format!("  - {{ id: a, worker: etl, branches: [{{ when: 'fly(a.x)', end: done }}], {end} }}"), "unknown function `fly`"),
        (format!("  - {{ id: a, worker: etl, branches: [{{ when: 'a.x', end: done, to: a }}], {end} }}"), "exactly one of"),
    ] {
        let found = faults(&document(&steps));
        assert!(found.contains(expected), "{steps}\n{found}");
    }
}

#[test]
fn several_faults_are_listed_at_once_and_overrides_must_fit() {
    let found = faults(&document("  - { id: A, worker: x, on_success: nowhere }"));
    assert_eq!(found.lines().count(), 3, "{found}");
    let good = document("  - { id: a, worker: etl, on_success: { end: done } }");
    for (name, value) in [("mox", serde_json::json!(1)), ("max", serde_json::json!("1"))] {
        let overrides = BTreeMap::from([(name.to_owned(), value)]);
        assert!(Workflow::register(&good, &overrides, &CATALOG).is_err(), "{name}");
    }
}

const DONE: &str = "on_success: { end: done }";

fn workflow(head: &str, steps: &[&str]) -> String {
    let steps: Vec<String> = steps.iter().map(|step| format!("  - {{ {step} }}\n")).collect();
    format!("name: t\nversion: 1\n{head}\nsteps:\n{}", steps.concat())
}

const DESK: &str = "
inputs: { type: object, properties: { goal: { type: string } } }
blackboard: { type: object, properties: { draft: { type: object, properties: { text: { type: string } } }, notes: { type: array, items: { type: string } } } }
clusters:
  desk: { roles: [writer], allowed_reads: [/inputs/**, /draft/**], allowed_writes: [/draft/*, /notes/-] }
  blind: { allowed_reads: [], allowed_writes: [] }
content: { title: /draft/text, body: /draft/text }";

#[test]
fn the_shape_of_a_step_is_checked() {
    for (steps, expected) in [
        (vec![DONE.to_owned()], "missing field `id`"),
        (vec![format!("id: a, {DONE}")], "none of worker, parallel, orchestrate"),
        (
            vec![format!("id: a, worker: etl, parallel: {{ branches: [] }}, {DONE}")],
            "more than one of worker",
        ),
        (vec![format!("id: a, worker: etl, role: writer, {DONE}")], "only steps of the worker `agent`"),
        (vec![format!("id: a, worker: etl, max_visits: 0, {DONE}")], "max_visits is 0"),
        (vec![format!("id: a, worker: etl, on_exhausted: a, {DONE}")], "never exhausted"),
        (vec![format!("id: a, worker: etl, on_timeout: a, {DONE}")], "never times out"),
        (vec![format!("id: a, worker: etl, ttl: {{ running: soon }}, {DONE}")], "ttl.running is `soon`"),
        (vec![format!("id: a, worker: etl, budget: {{ cost: -1 }}, {DONE}")], "budget.cost is -1"),
        (vec![format!("id: a, worker: etl, side_effect_reason: ' ', {DONE}")], "the reason is empty"),
        (vec!["id: a, worker: etl, on_success: continue".to_owned()], "for on_failure and on_timeout alone"),
        (vec!["id: a, worker: etl, on_success: { done: true }".to_owned()], "write a step's id"),
        (vec![format!("id: a, worker: etl, compensate_with: a, {DONE}")], "cannot undo itself"),
        (vec![format!("id: a, worker: etl, compensate_with: z, {DONE}")], "`z`, which is no step"),
        (vec![format!("id: a, worker: etl, cluster: z, {DONE}")], "no cluster is called `z`"),
        (vec![format!("id: a, orchestrate: {{ clusters: [] }}, {DONE}")], "neither a cluster nor a tool"),
        (
            vec![format!("id: a, orchestrate: {{ clusters: [z], max_calls: 0 }}, {DONE}")],
            "max_calls must be at least 1",
        ),
        (
            vec![format!("id: a, worker: etl, on_failure: continue, {DONE}")],
            "goes on with the step's fallback",
        ),
        (vec![format!("id: a, worker: etl, output_schema: {{ type: text }}, {DONE}")], "no JSON Schema"),
        (
            vec![format!("id: a, worker: etl, output_schema: {{ type: object }}, fallback: 5, {DONE}")],
            "does not fit the output_schema",
        ),
        (vec![format!("id: a, worker: etl, skip_if_exists: b, {DONE}")], "no step writes an artifact `b`"),
        (vec![format!("id: a, worker: etl, skip_if_exists: /b, {DONE}")], "nothing writes `/b`"),
    ] {
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let found = faults(&workflow("", &steps));
        assert!(found.contains(expected), "{steps:?}\n{found}");
    }
}

#[test]
fn loops_need_a_bound_that_the_way_out_when_exhausted_does_not_undo() {
    let loops = |a: &str, b: &str| {
        let steps = [
            format!("id: a, worker: etl, on_success: b{a}"),
            format!("id: b, worker: etl, on_failure: a, {DONE}{b}"),
        ];
        let text = workflow("", &[&steps[0], &steps[1]]);
        Workflow::register(&text, &BTreeMap::new(), &CATALOG).map_err(|faults| faults.to_string()).err()
    };
    assert_eq!(loops("", ", max_visits: 2"), None);
    assert_eq!(loops(", max_visits: 2", ""), None);
    assert!(loops("", "").unwrap().contains("a loop without a bound: a → b → a"));
    let undone = loops("", ", max_visits: 2, on_exhausted: a").unwrap();
    assert!(undone.contains("a → b → a"), "{undone}");
    let own = faults(&workflow("", &[&format!("id: a, worker: etl, on_failure: a, {DONE}")]));
    assert!(own.contains("a loop without a bound: a → a"), "{own}");
    let endless = faults(&workflow("", &["id: a, worker: etl, max_visits: 3, on_success: a"]));
    assert!(endless.contains("no terminal state"), "{endless}");
}

fn fork(join: &str, branches: &str, steps: &[&str]) -> String {
    let fork = format!("id: f, parallel: {{ branches: [{branches}]{join} }}, on_success: z");
    let last = format!("id: z, worker: etl, {DONE}");
    workflow("", &[&[fork.as_str()], steps, &[last.as_str()]].concat())
}

#[test]
fn a_run_may_begin_with_a_fork_and_end_with_its_join() {
    let fork = format!("id: f, parallel: {{ branches: [a, b] }}, {DONE}");
    let passed = workflow(
        "",
        &[&fork, "id: a, worker: etl, on_success: join", "id: b, worker: etl, on_success: join"],
    );
    assert!(Workflow::register(&passed, &BTreeMap::new(), &CATALOG).is_ok(), "{}", faults(&passed));
    let endless = faults(&workflow(
        "",
        &["id: f, parallel: { branches: [a] }, on_success: f", "id: a, worker: etl, on_success: join"],
    ));
    assert!(endless.contains("no terminal state"), "{endless}");
}

#[test]
fn a_join_that_can_never_fire_is_refused_with_its_path() {
    let (a, b) = ("id: a, worker: etl, on_success: join", "id: b, worker: etl, on_success: join");
    let good = fork(", join: { at_least: 2 }", "a, b", &[a, b]);
    Workflow::register(&good, &BTreeMap::new(), &CATALOG).unwrap();
    for (text, expected) in [
        (
            fork(", join: { at_least: 3 }", "a, b", &[a, b]),
            "at_least 3 of 2 branches: this join can never fire",
        ),
        (fork(", join: { at_least: 0 }", "a, b", &[a, b]), "at_least 0"),
        (fork("", "", &[]), "no branches, so its join can never fire"),
        (fork("", "a, c", &[a, b]), "leads to `c`, which is no step"),
        (
            fork("", "a, b", &[a, "id: b, worker: etl, on_success: { end: done }"]),
            "begins with `b` reaches `join`",
        ),
        (
            fork("", "a, b", &[a, "id: b, worker: etl, on_success: z"]),
            "leaves its fork without `join`: b → z",
        ),
        (fork("", "a, b", &["id: a, worker: etl, on_success: b", b]), "is also in the branch `a` of `f`"),
        (fork("", "a, a", &[a]), "is also in the branch `a` of `f`"),
        (
            fork(
                "",
                "a, b",
                &[
                    a,
                    "id: b, parallel: { branches: [c] }, on_success: join",
                    "id: c, worker: etl, on_success: join",
                ],
            ),
            "a branch contains a fork: b",
        ),
        (workflow("", &[a]), "`join` is the way out of a branch"),
    ] {
        let found = faults(&text);
        assert!(found.contains(expected), "{text}\n{found}");
    }
}

fn publish(steps: &[&str]) -> String {
    let last = "id: p, worker: publisher, side_effect: true, on_success: { end: published }";
    workflow("", &[steps, &[last]].concat())
}

#[test]
fn no_way_leads_to_a_side_effect_without_an_approval() {
    let leads = |steps: &[&str]| {
        Workflow::register(&publish(steps), &BTreeMap::new(), &CATALOG).err().map(|f| f.to_string())
    };
    assert_eq!(leads(&["id: a, worker: judge, approve: by_rule, on_success: p"]), None);
    assert_eq!(
        leads(&["id: a, worker: judge, gates: { before: [hitl] }, on_success: p, on_failure: p"]),
        None
    );
    assert_eq!(leads(&["id: a, worker: judge, gates: { after: [hitl] }, on_success: p"]), None);
    for (steps, path) in [
        (
            vec!["id: a, worker: judge, approve: by_rule, on_success: p, on_failure: p"],
            "a → p (over a.on_failure)",
        ),
        (
            vec![
                "id: a, worker: judge, approve: by_rule, ttl: { running: 1m }, on_timeout: p, on_success: p",
            ],
            "a → p (over a.on_timeout)",
        ),
        (
            vec!["id: a, worker: judge, approve: by_rule, max_visits: 1, on_exhausted: p, on_success: p"],
            "a → p (over a.on_exhausted)",
        ),
        (
            vec!["id: a, worker: judge, approve: by_rule, fallback: {}, on_failure: continue, on_success: p"],
            "a → p (over a.on_failure)",
        ),
        (
            vec!["id: a, worker: judge, approve: by_rule, skip_if_exists: a, on_success: p"],
            "a → p (over a.skip_if_exists)",
        ),
        (
            vec!["id: a, worker: judge, gates: { before: [hitl] }, skip_if_exists: a, on_success: p"],
            "a → p (over a.skip_if_exists)",
        ),
        (
            vec!["id: a, worker: judge, gates: { after: [hitl] }, on_success: p, on_failure: p"],
            "a → p (over a.on_failure)",
        ),
        (vec!["id: a, worker: judge, gates: { before: [licence] }, on_success: p"], "a → p"),
        (
            vec!["id: a, worker: judge, approve: by_rule, branches: [{ when: a.x, to: p }], on_success: p"],
            "a → p (over a.branches.0)",
        ),
        (
            vec![
                "id: a, worker: judge, on_success: b, on_failure: p",
                "id: b, worker: judge, approve: by_rule, on_success: p",
            ],
            "a → p (over a.on_failure)",
        ),
        (
            vec![
                "id: a, worker: judge, compensate_with: u, on_success: { end: done }, on_failure: p",
                "id: u, worker: etl, side_effect: true, on_success: { end: done }",
            ],
            "a → u (over a.compensate_with)",
        ),
    ] {
        let found = leads(&steps).unwrap_or_default();
        assert!(found.contains(&format!("without an approval: {path}")), "{steps:?}\n{found}");
    }
}

#[test]
fn a_join_passes_on_an_approval_that_it_cannot_do_without() {
    let leads = |join: &str, failed: &str| {
        let fork = format!("id: f, parallel: {{ branches: [a, b], join: {join} }}, on_success: p{failed}");
        let steps = [
            fork.as_str(),
            "id: a, worker: judge, approve: by_rule, on_success: join",
            "id: b, worker: etl, on_success: join",
        ];
        Workflow::register(&publish(&steps), &BTreeMap::new(), &CATALOG).err().map(|f| f.to_string())
    };
    assert_eq!(leads("all", ""), None);
    assert!(leads("any", "").unwrap().contains("without an approval: f → b → p"));
    assert!(
        leads("all", ", on_failure: p").unwrap().contains("without an approval: f → p (over f.on_failure)")
    );
}

#[test]
fn a_step_whose_role_acts_outside_has_a_side_effect_unless_the_document_says_why_not() {
    let catalog = Catalog { roles: Some(&["writer", "caller"]), acting_roles: &["caller"], ..CATALOG };
    let register =
        |text: &str| Workflow::register(text, &BTreeMap::new(), &catalog).map_err(|f| f.to_string());
    let calls = |more: &str| workflow("", &[&format!("id: a, worker: agent, role: caller, {more}{DONE}")]);
    assert!(register(&calls("")).unwrap_err().contains("without an approval: a"));
    let harmless = register(&calls("side_effect_reason: it only reads, ")).unwrap();
    let step = harmless.step("a").unwrap();
    assert_eq!((step.side_effect, step.side_effect_reason.as_deref()), (false, Some("it only reads")));
    assert!(
        register(&calls("side_effect: true, side_effect_reason: x, "))
            .unwrap_err()
            .contains("and there is one")
    );
    let gated = register(&calls("gates: { before: [hitl] }, ")).unwrap();
    assert!(gated.step("a").unwrap().side_effect);
    let unknown = workflow("", &[&format!("id: a, worker: agent, role: poet, {DONE}")]);
    assert!(register(&unknown).unwrap_err().contains("no role is called `poet`; known are writer, caller"));
    let gates = Catalog {
        gates: Some(&[KnownGate { name: "editor", asks: true }]),
        tools: Some(&["search"]),
        ..catalog
    };
    for (more, expected) in [
        ("gates: { before: [hitl] }, ", "no gate policy is called `hitl`; known are editor"),
        ("gates: { before: [editor] }, ", ""),
        ("gates: { before: [{ optional: editor }] }, ", "without an approval"),
    ] {
        let found =
            Workflow::register(&calls(more), &BTreeMap::new(), &gates).map_err(|f| f.to_string()).err();
        assert!(
            found.clone().unwrap_or_default().contains(expected) && found.is_none() == expected.is_empty(),
            "{found:?}"
        );
    }
    let tools = workflow(
        "clusters: { c: { tools: [fly] } }",
        &[&format!("id: a, orchestrate: {{ clusters: [c], tools: [dig] }}, {DONE}")],
    );
    let found = Workflow::register(&tools, &BTreeMap::new(), &gates).unwrap_err().to_string();
    assert!(found.contains("`fly`") && found.contains("`dig`"), "{found}");
}

#[test]
fn reads_and_writes_are_held_against_schemas_clusters_and_what_was_written() {
    let desk = |steps: &[&str]| {
        Workflow::register(&workflow(DESK, steps), &BTreeMap::new(), &CATALOG).err().map(|f| f.to_string())
    };
    let writes = "id: w, worker: agent, role: writer, cluster: desk, output_schema: { properties: { text: { type: string } } }";
    let good = format!(
        "{writes}, input: {{ goal: /inputs/goal }}, patch: [{{ op: add, path: /draft/text, value: output.text }}], on_success: r"
    );
    let read = format!(
        "id: r, worker: agent, role: writer, cluster: desk, input: {{ text: board.draft.text }}, {DONE}"
    );
    assert_eq!(desk(&[&good, &read]), None);
    let alone = |more: &str| desk(&[&format!("{writes}, {more}, {DONE}")]).unwrap_or_default();
    for (more, expected) in [
        ("input: { goal: /inputs/gaol }", "reads `/inputs/gaol`, which the schema of inputs does not have"),
        ("input: { goal: inputs.gaol }", "reads `inputs.gaol`, which the schema of inputs does not have"),
        (
            "input: { goal: 'board[\"darft\"].text' }",
            "reads `board.darft.text`, which the schema of the blackboard does not have",
        ),
        (
            "input: { goal: '/draft/text/x' }",
            "`/draft/text/x`, which the schema of the blackboard does not have",
        ),
        ("input: { notes: /notes }", "the cluster `desk` may not read"),
        ("input: { goal: 'later.text' }", "reads `later`, which no step before this one writes"),
        ("input: { goal: 'output.text' }", "which only the values of a patch have"),
        ("input: { goal: 'w.text' }", "reads `w`, which no step before this one writes"),
        (
            "patch: [{ op: add, path: /draft/text, value: output.txet }]",
            "reads `output.txet`, which the output_schema of `w` does not have",
        ),
        (
            "patch: [{ op: add, path: /draft/text, value: /txet }]",
            "reads `/txet`, which the output_schema does not have",
        ),
        (
            "patch: [{ op: add, path: /draft/title, value: /text }]",
            "names `/draft/title`, which the schema of the blackboard does not have",
        ),
        ("patch: [{ op: add, path: /notes, value: /text }]", "may not write `/notes` (allowed_writes)"),
        ("patch: [{ op: add, path: /inputs/goal, value: /text }]", "may not write `/inputs/goal`"),
        ("patch: [{ op: remove, path: /draft/text }]", "may not `remove` (allowed_ops)"),
        ("patch: [{ op: add, path: /draft/text }]", "`add` needs a value"),
        ("patch: [{ op: copy, path: /draft/text }]", "`copy` needs a from"),
        ("patch: [{ op: copy, path: /draft/text, from: /notes/0 }]", "may not read `/notes/0`"),
        ("patch: [{ op: replace, path: /draft/text, value: /text, from: /x }]", "`replace` has no from"),
        ("patch: [{ op: add, path: '', value: /text }]", "`` is no JSON Pointer"),
        (
            "branches: [{ when: 'w.txet == 1', end: done }]",
            "reads `w.txet`, which the output_schema of `w` does not have",
        ),
    ] {
        let found = alone(more);
        assert!(found.contains(expected), "{more}\n{found}");
    }
    let blind =
        desk(&[&format!("id: w, worker: agent, cluster: blind, input: {{ x: /draft/text }}, {DONE}")])
            .unwrap();
    assert!(
        blind.contains("reads `/draft/text`, which neither the inputs nor any earlier step writes"),
        "{blind}"
    );
    assert!(blind.contains("the cluster `blind` may not read"), "{blind}");
    let none = desk(&[&format!("id: w, worker: agent, input: {{ x: /inputs/goal }}, patch: [{{ op: add, path: /draft/text, value: /x }}], {DONE}")]).unwrap();
    assert!(
        none.contains("may read nothing of the blackboard") && none.contains("may write nothing"),
        "{none}"
    );
    let role = desk(&[&format!("id: w, worker: agent, role: poet, cluster: desk, {DONE}")]).unwrap();
    assert!(role.contains("the role `poet` is not in the cluster `desk`"), "{role}");
    let plain = faults(&workflow(
        "",
        &[&format!("id: a, worker: etl, branches: [{{ when: board.x, end: done }}], {DONE}")],
    ));
    assert!(plain.contains("has neither inputs nor a blackboard"), "{plain}");
}

#[test]
fn every_fault_says_where_it_stands_and_faults_of_the_text_are_all_listed() {
    let text = "name: T\nversion: 1\nstep: []\nsteps:\n  - id: a\n    worker: etl\n    colour: red\n    retries:\n      max_attempt: 3\n    on_success:\n      end: done\n  - id: b\n    worker: nobody\n    on_success: c\n";
    let found = Workflow::register(text, &BTreeMap::new(), &CATALOG).unwrap_err();
    let shown = found.to_string();
    for expected in [
        "1:7 name: a name",
        "3:1 step: ",
        "7:5 a: ",
        "9:7 a: ",
        "13:13 b: no worker type",
        "14:17 b: it leads to `c`",
        "12:5 b: no path leads here",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }
    assert_eq!(found.0.len(), 7, "{shown}");
    let torn = Workflow::register("name: [", &BTreeMap::new(), &CATALOG).unwrap_err();
    assert!(torn.0[0].line.is_some(), "{torn}");
    let typed = faults(
        "name: t\nversion: one\nsteps:\n  - id: a\n    worker: etl\n    max_visits: many\n    on_success: { end: done }\n",
    );
    assert!(typed.contains("2:10 version") && typed.contains("6:17 a"), "{typed}");
}

#[test]
fn content_stays_nowhere_longer_than_its_document_and_every_outlet_that_it_is_meant_for_allow() {
    let steps = "
  - { id: a, worker: judge, approve: by_rule, on_success: b }
  - { id: b, worker: publisher, side_effect: true, with: { outlet: desk }, on_success: c }
  - { id: c, worker: publisher, side_effect: true, on_success: { end: published } }
";
    let yaml = format!("ttl: {{ draft: 1h, qa: 1m }}\n{}", document(steps));
    let seconds = |draft: u64, qa: u64, approved: u64| LifecycleTtl {
        draft: Some(Duration::from_secs(draft)),
        qa: Some(Duration::from_secs(qa)),
        approved: Some(Duration::from_secs(approved)),
    };
    let ttl = |outlets: &[KnownOutlet<'_>]| {
        let catalog = Catalog { outlets, ..CATALOG };
        *Workflow::register(&yaml, &BTreeMap::new(), &catalog).unwrap().ttl()
    };
    let desk = KnownOutlet { name: "desk", usual: false, ttl: seconds(90, 90, 90) };
    let other = KnownOutlet { name: "other", usual: false, ttl: seconds(1, 1, 1) };
    assert_eq!(ttl(&[other]), LifecycleTtl { approved: None, ..seconds(3600, 60, 0) });
    assert_eq!(ttl(&[desk, other]), seconds(90, 60, 90));
    let usual = KnownOutlet { usual: true, ttl: LifecycleTtl { draft: None, ..seconds(0, 70, 7) }, ..other };
    assert_eq!(ttl(&[desk, usual]), seconds(90, 60, 7));
    let none = KnownOutlet { ttl: LifecycleTtl::default(), ..desk };
    let version = |outlets: &[KnownOutlet<'_>]| {
        let catalog = Catalog { outlets, ..CATALOG };
        Workflow::register(&yaml, &BTreeMap::new(), &catalog).unwrap().version().to_owned()
    };
    assert_eq!(version(&[none]), version(&[]), "where nothing is bounded the version stays");
}
