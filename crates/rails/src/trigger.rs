//! What becomes of a firing: a run of its own, part of one that is open, or nothing, with the reason.

use std::collections::BTreeMap;
use std::time::Duration;

use model::RunId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::condition::{Condition, Held};
use crate::glob_matches;

/// The longest chain of firings of which each followed from a run of the one before.
pub const LONGEST_CHAIN: usize = 8;

/// What a firing does while the run of an earlier firing of its trigger is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Begins another run.
    #[default]
    Run,
    /// Counts as part of the open run.
    Merge,
    /// Is suppressed.
    Suppress,
}

/// What becomes of times of a schedule that passed while no planner ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Nothing: the first of them is stored as suppressed, with the reason.
    None,
    /// The first of them fires, for all.
    #[default]
    Once,
    /// Each fires, the oldest first.
    All,
}

/// When a firing of a trigger becomes a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FiringRule {
    /// What happens while an earlier run is open.
    pub overlap: Overlap,
    /// For this long after a firing that became a run, others are suppressed. Zero: never.
    pub cooldown: Duration,
    /// A scheduled firing that comes later than this is suppressed. None: it is always made up for.
    pub deadline: Option<Duration>,
}

/// What is known when a firing is concluded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The triggers whose firings led here, the first one first; the present one is not among them.
    pub chain: Vec<String>,
    /// Whether a backfill fired it, which has a pace of its own and times that are long gone.
    pub backfilled: bool,
    /// How late a scheduled firing is; zero for others.
    pub late: Duration,
    /// The newest run of the trigger's firings that is open, be it after another run. Backfills do not count.
    pub open: Option<RunId>,
    /// How long ago the trigger's last firing became a run. Backfills do not count.
    pub ran: Option<Duration>,
}

/// What becomes of a firing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conclusion {
    /// A run of its own.
    Run,
    /// It is part of this run.
    Merged(RunId, String),
    /// Nothing, for this reason.
    Suppressed(String),
}

/// Concludes a firing. A trigger never follows from its own runs, however long the way round. The rule is for others than
/// backfills.
#[must_use]
pub fn conclude(trigger: &str, rule: &FiringRule, now: &Circumstances) -> Conclusion {
    let shown = humantime::format_duration;
    let whole = |time: Duration| Duration::from_secs(time.as_secs());
    if now.chain.iter().any(|earlier| earlier == trigger) {
        return Conclusion::Suppressed(format!(
            "it would follow from its own run: {}",
            now.chain.join(" → ")
        ));
    }
    if now.chain.len() >= LONGEST_CHAIN {
        return Conclusion::Suppressed(format!(
            "{LONGEST_CHAIN} firings led to it: {}",
            now.chain.join(" → ")
        ));
    }
    if now.backfilled {
        return Conclusion::Run;
    }
    if let Some(deadline) = rule.deadline.filter(|deadline| now.late > *deadline) {
        let late = shown(whole(now.late));
        return Conclusion::Suppressed(format!("it is {late} late; its deadline is {}", shown(deadline)));
    }
    match (rule.overlap, now.open) {
        (Overlap::Merge, Some(run)) => {
            return Conclusion::Merged(run, "an earlier firing's run is open".to_owned());
        }
        (Overlap::Suppress, Some(run)) => {
            return Conclusion::Suppressed(format!("run {run} of an earlier firing is open"));
        }
        (Overlap::Run, _) | (_, None) => {}
    }
    if let Some(ago) = now.ran.filter(|ago| *ago < rule.cooldown) {
        let (ago, cooldown) = (shown(whole(ago)), shown(rule.cooldown));
        return Conclusion::Suppressed(format!("it fired {ago} ago; its cooldown is {cooldown}"));
    }
    Conclusion::Run
}

/// Which events a reactive trigger waits for.
#[derive(Debug)]
pub struct Watch {
    kind: String,
    when: Option<Condition>,
}

impl Watch {
    /// Compiles a watch for CloudEvents whose type matches the glob `kind`, and of which the CEL condition over `event`
    /// holds.
    ///
    /// # Errors
    /// What is wrong with the condition.
    pub fn compile(kind: &str, when: Option<&str>) -> Result<Self, String> {
        let when = when.map(Condition::compile).transpose()?;
        if let Some(other) = when.iter().flat_map(Condition::roots).find(|root| *root != "event") {
            return Err(format!("it reads `{other}`; it may read `event`"));
        }
        Ok(Self { kind: kind.to_owned(), when })
    }

    /// Whether it waits for events of this type.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        glob_matches(&self.kind, kind)
    }

    /// Whether the condition holds for a CloudEvent of a wanted type.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub fn holds(&self, event: &Value) -> Result<bool, String> {
        let Some(when) = &self.when else { return Ok(true) };
        match when.evaluate(&BTreeMap::from([("event", event)])) {
            Held::Yes => Ok(true),
            Held::No => Ok(false),
            Held::Errs(why) => Err(format!("`{}` cannot be judged: {why}", when.source())),
        }
    }
}

/// How a firing's input becomes the payload of its event.
#[derive(Debug)]
pub struct Projection {
    fixed: Map<String, Value>,
    fields: BTreeMap<String, Condition>,
}

impl Projection {
    /// Compiles a projection: `fixed` fields, and over them what the CEL expressions over `input` give. Without any
    /// expression the input's own fields are laid over.
    ///
    /// # Errors
    /// Which expression is wrong, and how.
    pub fn compile(fixed: Map<String, Value>, fields: &BTreeMap<String, String>) -> Result<Self, String> {
        let compiled = |(name, source): (&String, &String)| {
            let expression = Condition::compile(source).map_err(|e| format!("{name}: {e}"))?;
            if let Some(other) = expression.roots().find(|root| *root != "input") {
                return Err(format!("{name}: it reads `{other}`; it may read `input`"));
            }
            Ok((name.clone(), expression))
        };
        Ok(Self { fixed, fields: fields.iter().map(compiled).collect::<Result<_, _>>()? })
    }

    /// The payload of an input.
    ///
    /// # Errors
    /// Which field cannot be made, and why.
    pub fn payload(&self, input: &Map<String, Value>) -> Result<Value, String> {
        let mut payload = self.fixed.clone();
        if self.fields.is_empty() {
            payload.extend(input.clone());
        } else {
            let input = Value::Object(input.clone());
            let variables = BTreeMap::from([("input", &input)]);
            for (name, expression) in &self.fields {
                let value = expression.value(&variables).map_err(|why| format!("`{name}`: {why}"))?;
                payload.insert(name.clone(), value);
            }
        }
        Ok(Value::Object(payload))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const RUN: RunId = RunId(Uuid::from_u128(7));

    fn after(open: bool, seconds: u64) -> Circumstances {
        let ran = Some(Duration::from_secs(seconds));
        Circumstances { open: open.then_some(RUN), ran, ..Circumstances::default() }
    }

    fn rule(overlap: Overlap, cooldown: u64) -> FiringRule {
        FiringRule { overlap, cooldown: Duration::from_secs(cooldown), deadline: None }
    }

    #[test]
    fn a_first_firing_runs_and_an_open_run_does_what_the_rule_says() {
        let first = Circumstances::default();
        for overlap in [Overlap::Run, Overlap::Merge, Overlap::Suppress] {
            assert_eq!(conclude("t", &rule(overlap, 60), &first), Conclusion::Run);
            assert_eq!(conclude("t", &rule(overlap, 0), &after(false, 1)), Conclusion::Run);
        }
        assert_eq!(conclude("t", &rule(Overlap::Run, 0), &after(true, 1)), Conclusion::Run);
        assert!(matches!(
            conclude("t", &rule(Overlap::Merge, 0), &after(true, 1)),
            Conclusion::Merged(RUN, _)
        ));
        assert!(matches!(
            conclude("t", &rule(Overlap::Suppress, 0), &after(true, 1)),
            Conclusion::Suppressed(why) if why.contains("is open")
        ));
    }

    #[test]
    fn cooldown_deadline_and_chains_suppress_with_their_reason() {
        let suppressed =
            |rule: FiringRule, now: &Circumstances, expected: &str| match conclude("t", &rule, now) {
                Conclusion::Suppressed(why) => assert!(why.contains(expected), "{why}"),
                other => panic!("{other:?}"),
            };
        suppressed(rule(Overlap::Run, 60), &after(false, 59), "cooldown is 1m");
        assert_eq!(conclude("t", &rule(Overlap::Run, 60), &after(false, 60)), Conclusion::Run);
        let deadline = FiringRule { deadline: Some(Duration::from_secs(60)), ..FiringRule::default() };
        let late = |seconds| Circumstances { late: Duration::from_secs(seconds), ..Circumstances::default() };
        suppressed(deadline, &late(61), "1m 1s late");
        assert_eq!(conclude("t", &deadline, &late(60)), Conclusion::Run);
        let earlier = Circumstances { open: Some(RUN), ..Circumstances::default() };
        suppressed(rule(Overlap::Suppress, 0), &earlier, "is open");
        let chain = |names: &[&str]| Circumstances {
            chain: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Circumstances::default()
        };
        suppressed(FiringRule::default(), &chain(&["t", "other"]), "t → other");
        suppressed(FiringRule::default(), &chain(&["a", "b", "c", "d", "e", "f", "g", "h"]), "8 firings");
        assert_eq!(conclude("t", &FiringRule::default(), &chain(&["a", "b"])), Conclusion::Run);
    }

    #[test]
    fn a_backfill_heeds_no_rule_but_that_of_chains() {
        let rule = FiringRule { deadline: Some(Duration::from_secs(1)), ..rule(Overlap::Suppress, 60) };
        let late = Duration::from_secs(3600);
        let backfilled = Circumstances { backfilled: true, late, ..after(true, 1) };
        assert_eq!(conclude("t", &rule, &backfilled), Conclusion::Run);
        let own = Circumstances { chain: vec!["t".to_owned()], ..backfilled };
        assert!(matches!(conclude("t", &rule, &own), Conclusion::Suppressed(_)));
    }

    #[test]
    fn a_watch_knows_types_and_conditions_and_says_when_it_cannot_judge() {
        let watch = Watch::compile("io.tidemill.run.*", Some("event.data.step == 'publish'")).unwrap();
        assert!(watch.wants("io.tidemill.run.published") && !watch.wants("com.example.x"));
        assert_eq!(watch.holds(&json!({ "data": { "step": "publish" } })), Ok(true));
        assert_eq!(watch.holds(&json!({ "data": { "step": "judge" } })), Ok(false));
        assert!(watch.holds(&json!({ "data": null })).is_err());
        assert!(Watch::compile("*", Some("run.step == 'x'")).unwrap_err().contains("`run`"));
        assert!(Watch::compile("*", Some("event.")).is_err());
    }

    #[test]
    fn a_payload_is_projected_or_laid_over() {
        let fixed = json!({ "title": "Digest", "kind": "digest" }).as_object().unwrap().clone();
        let input = json!({ "title": "Own", "cause": { "data": { "n": 3 } } }).as_object().unwrap().clone();
        let plain = Projection::compile(fixed.clone(), &BTreeMap::new()).unwrap();
        assert_eq!(
            plain.payload(&input).unwrap(),
            json!({ "title": "Own", "kind": "digest", "cause": { "data": { "n": 3 } } })
        );
        let fields =
            BTreeMap::from([("body".to_owned(), "'it is ' + string(input.cause.data.n)".to_owned())]);
        let projected = Projection::compile(fixed.clone(), &fields).unwrap();
        assert_eq!(
            projected.payload(&input).unwrap(),
            json!({ "title": "Digest", "kind": "digest", "body": "it is 3" })
        );
        assert!(projected.payload(&Map::new()).unwrap_err().contains("`body`"));
        let wrong = BTreeMap::from([("body".to_owned(), "event.data".to_owned())]);
        assert!(Projection::compile(fixed, &wrong).unwrap_err().contains("`event`"));
    }
}
