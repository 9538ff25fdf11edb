//! All gates that a fleet has, by name, and its bounds of spending.

use std::collections::{BTreeMap, BTreeSet};

use super::document::parse;
use super::limits::{BudgetScope, Limit};
use super::{Gate, GateError};
use crate::Budget;
use crate::workflow::KnownGate;

/// All gates that a fleet has, by name, and its bounds of spending.
#[derive(Debug, Default)]
pub struct GatePolicies {
    gates: BTreeMap<String, Gate>,
    limits: Vec<Limit>,
}

impl GatePolicies {
    /// Reads documents, given with what errors call them.
    ///
    /// # Errors
    /// [`GateError`], permanent, with the document, line and column; or with the name that two documents have.
    pub fn parse<'a>(documents: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, GateError> {
        let (mut gates, mut limits) = (BTreeMap::<String, Gate>::new(), Vec::new());
        for (file, yaml) in documents {
            let (read, bounds) = parse(yaml).map_err(|e| GateError(format!("{file}: {e}")))?;
            if let Some(name) = read.keys().find(|name| gates.contains_key(*name)) {
                return Err(GateError(format!("{file}: another document has a gate called `{name}`, too")));
            }
            gates.extend(read);
            limits.extend(bounds);
        }
        Ok(Self { gates, limits })
    }

    /// A gate.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Gate> {
        self.gates.get(name)
    }

    /// Every gate, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Gate> {
        self.gates.values()
    }

    /// The gates as far as checks of workflow documents need them.
    #[must_use]
    pub fn known(&self) -> Vec<KnownGate<'_>> {
        self.iter().map(|gate| KnownGate { name: gate.name(), asks: gate.approves() }).collect()
    }

    /// The artifacts that these gates read.
    #[must_use]
    pub fn reads(&self, names: &[String]) -> BTreeSet<&str> {
        names.iter().filter_map(|name| self.get(name)).flat_map(Gate::reads).collect()
    }

    /// How many days of counts these gates read; `None` where they count nothing, and need no lock.
    #[must_use]
    pub fn days(&self, names: &[String]) -> Option<u32> {
        names.iter().filter_map(|name| self.get(name)?.days()).max()
    }

    /// Whether any gate counts, so that days are locked before budgets are.
    #[must_use]
    pub fn counts_days(&self) -> bool {
        self.gates.values().any(|gate| gate.days().is_some())
    }

    /// Whether what this tenant spends is counted beyond its runs: a bound of spending or a gate looks at it.
    #[must_use]
    pub fn counts_spending(&self, tenant: &str) -> bool {
        !self.limits(tenant).is_empty() || self.gates.values().any(Gate::counts_cost)
    }

    /// What a tenant may spend beyond its runs' own budgets; each bound holds.
    #[must_use]
    pub fn limits(&self, tenant: &str) -> Vec<(BudgetScope, Budget)> {
        self.limits.iter().filter_map(|limit| limit.of(tenant)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{block, content, input};
    use super::*;

    fn refused(yaml: &str) -> String {
        GatePolicies::parse([("g.yaml", yaml)]).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_in_a_document_is_refused_with_its_place() {
        for (rules, line, expected) in [
            ("    hitl: { wen: 'true' }", 3, "wen"),
            ("    hitl:\n      when: 'launch(x.y)'", 4, "launch"),
            ("    hitl: { issue_type: publication_unknown }", 3, "issue_type"),
            ("    moon: {}", 3, "moon"),
            ("    licence:\n      categories: { a: { terms: ['  '] } }", 4, "empty"),
            ("    licence: { categories: {} }", 3, "categories"),
            (
                "    licence:\n      categories: { a: { terms: [x] } }\n      licences:\n      - { tenant: t, region: r, category: b, from: 2026-01-01, until: 2026-02-01 }",
                0,
                "`b`",
            ),
            (
                "    licence:\n      categories: { a: { terms: [x] } }\n      licences:\n      - { tenant: t, region: r, category: a, from: 2026-03-01, until: 2026-02-01 }",
                6,
                "before",
            ),
            (
                "    licence:\n      categories: { a: { terms: [x] } }\n      licences:\n      - { tenant: t, region: r, category: a, from: soon, until: 2026-02-01 }",
                6,
                "",
            ),
            (
                "    strategy_lock:\n      strategies:\n      - tenant: a\n        claims: { forbidden: [{ name: n, pattern: '(' }] }",
                6,
                "regular expression",
            ),
            ("    three_wise: { judges: [a, b] }", 3, ""),
            ("    three_wise: { judges: [a, b, a] }", 3, "different"),
            ("    three_wise: { judges: [a, b, c], quorum: 1 }", 3, "quorum"),
            ("    kpi_corridor: {}", 3, "published_per_day"),
            ("    kpi_corridor:\n      complaint_rate: { max: 0.1, days: 91 }", 4, "days"),
            ("    budget_corridor: { cost_per_day: { max: -1 } }", 3, "cost_per_day"),
            ("    coherence: { score: a.b, pass: 0.4, review: 0.6 }", 3, "above"),
            (
                "    strategy_lock: { strategies: [{ tenant: a, tone: { measured_by: e, sentiment: { min: 1, max: 0 } } }] }",
                3,
                "bounds",
            ),
        ] {
            let message = refused(&format!("gates:\n  one:\n{rules}\n"));
            assert!(message.starts_with("g.yaml: ") && message.contains(expected), "{rules}: {message}");
            let place = if line == 0 { "line ".to_owned() } else { format!("line {line}") };
            assert!(message.contains(&place) && message.contains("column"), "{rules}: {message}");
        }
        let idle = refused("budgets:\n  - per: day\n    time: 4\n");
        assert!(idle.contains("such as 4h") && idle.contains("line "), "{idle}");
        assert!(refused("budgets: [{ per: day }]\n").contains("tokens, cost or time"));
        assert!(refused("budgets: [{ per: moon, tokens: 1 }]\n").contains("moon"));
        assert!(refused("gate: {}\n").contains("gate"));
        assert!(refused("gates:\n  a: { hitl: {} }\n  a: { hitl: {} }\n").contains("line 3"));
        let odd = refused("gates:\n  'a b': { hitl: {} }\n");
        assert!(odd.contains("`a b`") && odd.contains("line 2"), "{odd}");
    }

    #[test]
    fn documents_are_put_together_and_a_name_stands_once() {
        let one = ("one.yaml", "gates:\n  a: { hitl: {} }\n");
        let corridor = "gates: { b: { kpi_corridor: { complaint_rate: { max: 1, days: 3 } } }, c: { coherence: { score: x.y, pass: 1, review: 0 } } }";
        let both = GatePolicies::parse([one, ("two.yaml", corridor), ("empty.yaml", "# nothing\n")]).unwrap();
        assert_eq!(both.iter().map(Gate::name).collect::<Vec<_>>(), ["a", "b", "c"]);
        let names = ["a", "b", "c", "unknown"].map(str::to_owned);
        assert_eq!((both.days(&names), both.days(&names[..1])), (Some(3), None));
        assert_eq!(both.reads(&names).into_iter().collect::<Vec<_>>(), ["x"]);
        assert_ne!(both.get("a").unwrap().document(), both.get("b").unwrap().document());
        let twice = GatePolicies::parse([one, ("two.yaml", one.1)]).unwrap_err().to_string();
        assert!(twice.contains("two.yaml") && twice.contains("`a`"), "{twice}");
    }

    #[test]
    fn the_sample_has_a_gate_of_each_kind() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/samples/gates.yaml");
        let yaml = std::fs::read_to_string(file).unwrap();
        let sample = GatePolicies::parse([("gates.yaml", yaml.as_str())]).unwrap();
        let kinds: BTreeSet<&str> = sample.iter().map(Gate::kind).collect();
        assert_eq!(kinds.len(), 7, "{kinds:?}");
        assert_eq!(sample.limits("default").len(), 2);
        let content = content("Visit our gun shop: Rifles and ammunition!");
        let ruling = sample.get("licence").unwrap().evaluate(&input(&content)).ruling;
        assert_eq!(block(ruling), "licence_missing");
    }

    #[test]
    fn budgets_are_of_the_tenants_that_their_glob_names() {
        let yaml =
            "budgets: [{ per: day, tokens: 10 }, { tenant: 'ac*', per: tenant, cost: 2.5, time: 1h }]\n";
        let policies = GatePolicies::parse([("b", yaml)]).unwrap();
        let day = (BudgetScope::Day, Budget { tokens: Some(10), ..Budget::default() });
        let hour = std::time::Duration::from_secs(3600);
        let total = Budget { cost_micros: Some(2_500_000), time: Some(hour), ..Budget::default() };
        assert_eq!(policies.limits("other"), [day]);
        assert_eq!(policies.limits("acme"), [day, (BudgetScope::Tenant, total)]);
    }
}
