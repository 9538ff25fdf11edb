//! The tenant's locked strategy: topics, claims and tone that its content stays inside.

use serde::Deserialize;
use serde_json::{Value, json};

use super::document::{Bounds, Pattern, Term};
use super::{Finding, GateInput, Kind, Verdict};
use crate::glob_matches;
use crate::terms::{Text, fold};

/// The incident's kind.
const INCIDENT: &str = "strategy_violation";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StrategyLock {
    strategies: Vec<Strategy>,
    #[serde(default)]
    overridable: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strategy {
    /// A glob; the first strategy whose glob matches is the tenant's.
    tenant: String,
    #[serde(default)]
    topics: Topics,
    #[serde(default)]
    claims: Claims,
    tone: Option<Tone>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Topics {
    allowed: Vec<String>,
    forbidden: Vec<Term>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Claims {
    forbidden: Vec<Claim>,
    required: Vec<Claim>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claim {
    name: String,
    pattern: Pattern,
}

/// Measures that an artifact has as `sentiment` (-1 to 1) and `toxicity_score` (0 to 1).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tone {
    measured_by: String,
    sentiment: Option<Bounds>,
    max_toxicity: Option<f64>,
}

impl Kind for StrategyLock {
    fn judge(&self, input: &GateInput<'_>) -> Finding {
        let Some(strategy) = self.strategies.iter().find(|s| glob_matches(&s.tenant, input.tenant)) else {
            return Finding::errs(
                format!("no strategy is locked for tenant {}", input.tenant),
                json!({ "strategies": self.strategies.iter().map(|s| &s.tenant).collect::<Vec<_>>() }),
            );
        };
        let mut outside = strategy.outside(input);
        let (values, error) = match strategy.tone.as_ref().map(|tone| tone.outside(input)) {
            None => (json!({}), None),
            Some(Ok((values, off))) => {
                outside.extend(off);
                (values, None)
            }
            Some(Err(error)) => (json!({}), Some(error)),
        };
        let error =
            error.or_else(|| input.content.is_none().then(|| "there is no content to look at".to_owned()));
        let verdict = match (outside.is_empty(), error) {
            (true, None) => Verdict::Pass,
            (true, Some(error)) => Verdict::Errs(error),
            (false, _) => Verdict::Block { incident: INCIDENT, todo: todo(&outside, input) },
        };
        let values = json!({ "outside": outside, "tone": values });
        Finding::of(verdict, values, strategy.shown())
    }

    fn reads(&self) -> Vec<&str> {
        self.strategies.iter().filter_map(|s| s.tone.as_ref()).map(|tone| tone.measured_by.as_str()).collect()
    }

    fn overridable(&self) -> bool {
        self.overridable
    }
}

impl Strategy {
    /// What of the content's topics and claims is outside.
    fn outside(&self, input: &GateInput<'_>) -> Vec<String> {
        let Some(content) = input.content else { return vec![] };
        let text = Text::of(content);
        let mut found = Vec::new();
        if !self.topics.allowed.is_empty() {
            let allowed: Vec<String> = self.topics.allowed.iter().map(|topic| fold(topic.trim())).collect();
            let strange = content.tags.iter().filter(|tag| !allowed.contains(&fold(tag.trim())));
            found.extend(strange.map(|tag| format!("topic_not_allowed:{tag}")));
            if content.tags.is_empty() {
                found.push("topic_unknown".to_owned());
            }
        }
        let forbidden = self.topics.forbidden.iter().filter(|topic| text.term(&topic.pattern).is_some());
        found.extend(forbidden.map(|topic| format!("forbidden_topic:{}", topic.words)));
        let made = |claim: &&Claim| text.claim(&claim.pattern.0).is_some();
        found
            .extend(self.claims.forbidden.iter().filter(made).map(|c| format!("forbidden_claim:{}", c.name)));
        let lacking = self.claims.required.iter().filter(|claim| !made(claim));
        found.extend(lacking.map(|claim| format!("required_claim:{}", claim.name)));
        found
    }

    fn shown(&self) -> Value {
        let names = |claims: &[Claim]| claims.iter().map(|claim| claim.name.clone()).collect::<Vec<_>>();
        json!({
            "tenant": self.tenant,
            "topics_allowed": self.topics.allowed,
            "topics_forbidden": self.topics.forbidden.iter().map(|topic| &topic.words).collect::<Vec<_>>(),
            "claims_forbidden": names(&self.claims.forbidden),
            "claims_required": names(&self.claims.required),
            "sentiment": self.tone.as_ref().and_then(|tone| tone.sentiment),
            "max_toxicity": self.tone.as_ref().and_then(|tone| tone.max_toxicity),
        })
    }
}

impl Tone {
    /// What was measured, and what of it is outside.
    fn outside(&self, input: &GateInput<'_>) -> Result<(Value, Vec<String>), String> {
        let measure = |field: &str| {
            let value = input.field(&self.measured_by, field)?;
            value.as_f64().ok_or_else(|| format!("`{}.{field}` is no number", self.measured_by))
        };
        let (mut values, mut off) = (json!({}), Vec::new());
        if let Some(bounds) = &self.sentiment {
            let sentiment = measure("sentiment")?;
            values["sentiment"] = json!(sentiment);
            off.extend((!bounds.hold(sentiment)).then(|| format!("sentiment:{sentiment}")));
        }
        if let Some(max) = self.max_toxicity {
            let toxicity = measure("toxicity_score")?;
            values["toxicity_score"] = json!(toxicity);
            off.extend((toxicity > max).then(|| format!("toxicity:{toxicity}")));
        }
        Ok((values, off))
    }
}

fn todo(outside: &[String], input: &GateInput<'_>) -> String {
    format!(
        "This is outside the locked strategy of tenant {}: {}. Edit the content, or reject.",
        input.tenant,
        outside.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::Content;

    use super::super::testing::{artifacts, block, content, errs, gate, input};
    use super::super::{GateInput, Ruling};
    use super::*;

    const GATE: &str = "strategy_lock: { strategies: [{ tenant: 'ac*', topics: { allowed: [Garden, tools], forbidden: [poker] },
      claims: { forbidden: [{ name: cheapest, pattern: 'cheapest (of|in) ' }], required: [{ name: maker, pattern: 'by acme' }] },
      tone: { measured_by: etl, sentiment: { min: -0.2 }, max_toxicity: 0.3 } }] }";

    fn outside(content: &Content, measures: Value) -> Vec<String> {
        let measured = artifacts(json!({ "etl": measures }));
        let found = gate(GATE).evaluate(&input(content).given(&measured));
        let outside: Vec<String> = serde_json::from_value(found.values["outside"].clone()).unwrap();
        match found.ruling {
            Ruling::Pass => assert!(outside.is_empty()),
            blocked => assert_eq!(block(blocked), "strategy_violation"),
        }
        outside
    }

    #[test]
    fn topics_claims_and_tone_stay_inside() {
        let calm = json!({ "sentiment": -0.2, "toxicity_score": 0.3 });
        let good = content("A spade, made by Acme.");
        let none: [&str; 0] = [];
        assert_eq!(outside(&good, calm.clone()), none);
        let cases = [
            (
                Content { tags: vec!["Gárden".to_owned(), "politics".to_owned()], ..good.clone() },
                "topic_not_allowed:politics",
            ),
            (Content { tags: vec![], ..good.clone() }, "topic_unknown"),
            (Content { title: "Póker night".to_owned(), ..good.clone() }, "forbidden_topic:poker"),
            (content("By Acme, the cheapest\nin town"), "forbidden_claim:cheapest"),
            (content("A spade."), "required_claim:maker"),
        ];
        for (content, expected) in cases {
            assert_eq!(outside(&content, calm.clone()), [expected]);
        }
        assert_eq!(outside(&good, json!({ "sentiment": -0.21, "toxicity_score": 0 })), ["sentiment:-0.21"]);
        assert_eq!(outside(&good, json!({ "sentiment": 1, "toxicity_score": 0.31 })), ["toxicity:0.31"]);
    }

    #[test]
    fn a_tenant_without_a_strategy_and_measures_that_are_not_there_ask_a_person() {
        let good = content("by acme");
        errs(&gate(GATE).evaluate(&GateInput { tenant: "other", ..input(&good) }), "no strategy is locked");
        let nothing = BTreeMap::new();
        errs(&gate(GATE).evaluate(&input(&good).given(&nothing)), "`etl` reported nothing");
        let odd = artifacts(json!({ "etl": { "sentiment": "good", "toxicity_score": 0 } }));
        errs(&gate(GATE).evaluate(&input(&good).given(&odd)), "no number");
        let bad = content("poker");
        assert_eq!(
            block(gate(GATE).evaluate(&input(&bad)).ruling),
            "strategy_violation",
            "whatever was measured"
        );
    }
}
