//! How well the content hangs together, and how much of it is there already. A borderline band goes to a person.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::document::Cel;
use super::{Finding, GateInput, Kind, Verdict};

/// The issue type of the band between.
const BORDERLINE: &str = "coherence_borderline";

#[derive(Debug, Deserialize)]
#[serde(try_from = "Document")]
pub(super) struct Coherence {
    score: Cel,
    pass: f64,
    review: f64,
    duplicates: Option<Duplicates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    score: Cel,
    /// From this score on it passes.
    pass: f64,
    /// Below this score the run ends.
    review: f64,
    duplicates: Option<Duplicates>,
}

/// Repeats: a number, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Duplicates {
    count: Cel,
    /// Up to this many pass.
    #[serde(default)]
    pass: u64,
    /// With more than this many the run ends.
    #[serde(default)]
    review: u64,
}

/// On which side of its bounds a measure lies; the worst of several counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Band {
    Pass,
    Borderline,
    NeedsReview,
}

impl TryFrom<Document> for Coherence {
    type Error = String;

    fn try_from(Document { score, pass, review, duplicates }: Document) -> Result<Self, String> {
        if !(pass.is_finite() && review.is_finite() && review <= pass) {
            return Err(format!(
                "a score passes from {pass} on and ends below {review}: the second is above the first"
            ));
        }
        if let Some(Duplicates { pass, review, .. }) = duplicates.as_ref().filter(|d| d.review < d.pass) {
            return Err(format!(
                "{pass} duplicates pass and more than {review} end: the second is below the first"
            ));
        }
        Ok(Self { score, pass, review, duplicates })
    }
}

impl Kind for Coherence {
    fn judge(&self, input: &GateInput<'_>) -> Finding {
        let thresholds = json!({
            "pass": self.pass,
            "review": self.review,
            "duplicates": self.duplicates.as_ref().map(|d| json!({ "pass": d.pass, "review": d.review })),
        });
        match self.measure(input) {
            Err(error) => Finding::errs(error, thresholds),
            Ok((band, values)) => Finding::of(verdict(band, &values), values, thresholds),
        }
    }

    fn reads(&self) -> Vec<&str> {
        self.score.reads().into_iter().chain(self.duplicates.iter().flat_map(|d| d.count.reads())).collect()
    }
}

impl Coherence {
    fn measure(&self, input: &GateInput<'_>) -> Result<(Band, Value), String> {
        let score = self.score.value(input)?;
        let score = score.as_f64().ok_or_else(|| format!("`{}` is no number", self.score.source()))?;
        let of_score = match score {
            score if score >= self.pass => Band::Pass,
            score if score < self.review => Band::NeedsReview,
            _ => Band::Borderline,
        };
        let Some(duplicates) = &self.duplicates else {
            return Ok((of_score, json!({ "score": score, "band": of_score })));
        };
        let count = duplicates.counted(input)?;
        let of_count = match count {
            count if count <= duplicates.pass => Band::Pass,
            count if count > duplicates.review => Band::NeedsReview,
            _ => Band::Borderline,
        };
        let band = of_score.max(of_count);
        Ok((band, json!({ "score": score, "duplicates": count, "band": band })))
    }
}

impl Duplicates {
    fn counted(&self, input: &GateInput<'_>) -> Result<u64, String> {
        match self.count.value(input)? {
            Value::Array(list) => Ok(list.len() as u64),
            other => other.as_u64().ok_or_else(|| format!("`{}` is no count", self.count.source())),
        }
    }
}

fn verdict(band: Band, values: &Value) -> Verdict {
    match band {
        Band::Pass => Verdict::Pass,
        Band::NeedsReview => Verdict::NeedsReview,
        Band::Borderline => {
            let repeats = values.get("duplicates").map(|count| format!(" and {count} duplicates"));
            let question = format!(
                "The coherence of this is borderline: a score of {}{}. May it go on?",
                values["score"],
                repeats.unwrap_or_default()
            );
            Verdict::Ask { issue_type: BORDERLINE.to_owned(), question }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::RunState;

    use super::super::GateInput;
    use super::super::Ruling;
    use super::super::testing::{answer, artifacts, ask, content, errs, gate, input, ruling};
    use super::*;
    use crate::Basis;

    const GATE: &str = "coherence: { score: coherence.score, pass: 0.7, review: 0.4,
      duplicates: { count: coherence.duplicates, pass: 1, review: 3 } }";

    fn ruled(report: Value) -> Ruling {
        let content = content("x");
        let said = artifacts(json!({ "coherence": report }));
        ruling(GATE, &input(&content).given(&said))
    }

    #[test]
    fn a_score_and_a_count_pass_ask_or_end_and_the_worse_of_both_counts() {
        let end = Ruling::End(RunState::NeedsReview);
        for (score, duplicates, expected) in [
            (json!(0.7), json!(1), Some(Ruling::Pass)),
            (json!(0.69), json!(0), None),
            (json!(0.4), json!([]), None),
            (json!(0.399), json!(0), Some(end.clone())),
            (json!(1), json!(["a", "b"]), None),
            (json!(1), json!(3), None),
            (json!(1), json!(4), Some(end)),
        ] {
            let found = ruled(json!({ "score": score, "duplicates": duplicates }));
            match expected {
                Some(expected) => assert_eq!(found, expected, "{score} {duplicates}"),
                None => assert_eq!(ask(found), BORDERLINE, "{score} {duplicates}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_read_asks_a_person_and_below_the_band_no_answer_helps() {
        let content = content("x");
        let answers = [answer(Basis::Person), answer(Basis::Override)];
        for report in
            [json!({}), json!({ "score": "high", "duplicates": 0 }), json!({ "score": 1, "duplicates": -1 })]
        {
            let said = artifacts(json!({ "coherence": report }));
            let evaluation = gate(GATE).evaluate(&input(&content).given(&said));
            errs(&evaluation, "coherence");
        }
        let low = artifacts(json!({ "coherence": { "score": 0.1, "duplicates": 0 } }));
        let answered = GateInput { answers: &answers, ..input(&content).given(&low) };
        assert_eq!(ruling(GATE, &answered), Ruling::End(RunState::NeedsReview));
        let between = artifacts(json!({ "coherence": { "score": 0.5, "duplicates": 0 } }));
        let answered = GateInput { answers: &answers, ..input(&content).given(&between) };
        assert_eq!(ruling(GATE, &answered), Ruling::Pass);
    }
}
