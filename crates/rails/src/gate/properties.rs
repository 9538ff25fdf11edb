//! What holds for gates whatever judges report.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::testing::{content, gate, input};
use super::{GATE_ERROR, GateInput, Ruling};

const GATES: [&str; 6] = [
    "licence: { categories: { firearms: { terms: [rifle] } }, judges: [a, b] }",
    "strategy_lock: { strategies: [{ tenant: acme, tone: { measured_by: a, sentiment: { min: 0 }, max_toxicity: 0.5 } }] }",
    "three_wise: { judges: [a, b, c], quorum: 2, split: majority }",
    "hitl: { when: a.score < 0.5 }",
    "coherence: { score: a.score, pass: 0.7, review: 0.3, duplicates: { count: b.duplicates } }",
    "kpi_corridor: { published_per_day: { max: 1 } }",
];

const FIELDS: [&str; 6] = ["verdict", "regulated", "sentiment", "toxicity_score", "score", "duplicates"];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("pass")),
        Just(json!("fail")),
        Just(json!("PASS")),
        Just(json!(null)),
        Just(json!(true)),
        Just(json!([])),
        Just(json!(["firearms"])),
        (-1.0..2.0_f64).prop_map(|number| json!(number)),
        (0..4_u64).prop_map(|number| json!(number)),
    ]
}

/// An artifact, or what is none.
fn report() -> impl Strategy<Value = Option<Value>> {
    let object = proptest::collection::btree_map(proptest::sample::select(&FIELDS[..]), value(), 0..7);
    prop_oneof![Just(None), value().prop_map(Some), object.prop_map(|fields| Some(json!(fields))),]
}

fn votes(artifacts: &BTreeMap<String, Value>, verdict: &str) -> usize {
    ["a", "b", "c"]
        .iter()
        .filter(|judge| artifacts.get(**judge).is_some_and(|a| a["verdict"] == verdict))
        .count()
}

proptest! {
    #[test]
    fn an_error_asks_a_person_and_the_same_input_gives_the_same_ruling(
        reports in [report(), report(), report()], touched in any::<bool>(),
    ) {
        let named = ["a", "b", "c"].map(str::to_owned).into_iter().zip(reports);
        let artifacts: BTreeMap<String, Value> =
            named.filter_map(|(name, report)| Some((name, report?))).collect();
        let content = content(if touched { "a rifle" } else { "a spade" });
        let input = GateInput { artifacts: &artifacts, ..input(&content) };
        for rules in GATES {
            let (gate, again) = (gate(rules), gate(rules));
            let found = gate.evaluate(&input);
            prop_assert_eq!(&found, &again.evaluate(&input));
            let errs = matches!(&found.ruling, Ruling::Ask { issue_type, .. } if issue_type == GATE_ERROR);
            prop_assert_eq!(found.error.is_some(), errs, "{}: {:?}", rules, found);
            let passes = found.ruling == Ruling::Pass;
            match gate.kind() {
                "three_wise" => {
                    let (yes, no) = (votes(&artifacts, "pass"), votes(&artifacts, "fail"));
                    prop_assert_eq!(passes, yes > no && yes + no >= 2, "{:?}", artifacts);
                }
                "licence" => prop_assert!(!(touched && passes)),
                "kpi_corridor" => prop_assert!(errs, "nothing was counted"),
                _ => {}
            }
        }
    }
}
