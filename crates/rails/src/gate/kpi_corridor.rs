//! The corridor of what goes out: how much a day, and how many complain.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::corridor::LONGEST_WINDOW;
use super::{Finding, GateInput, Kind, Verdict};

/// The incident's kind.
const INCIDENT: &str = "kpi_corridor";

#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "Document")]
pub(super) struct KpiCorridor {
    published_per_day: Option<u64>,
    complaint_rate: Option<ComplaintRate>,
    overridable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    published_per_day: Option<MostPosts>,
    complaint_rate: Option<ComplaintRate>,
    #[serde(default)]
    overridable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MostPosts {
    max: u64,
}

/// Complaints a post.
#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "RateDocument")]
struct ComplaintRate {
    max: f64,
    days: u32,
    least: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateDocument {
    max: f64,
    #[serde(default = "week")]
    days: u32,
    #[serde(default = "one")]
    least: u64,
}

fn week() -> u32 {
    7
}

fn one() -> u64 {
    1
}

impl TryFrom<RateDocument> for ComplaintRate {
    type Error = String;

    fn try_from(RateDocument { max, days, least }: RateDocument) -> Result<Self, String> {
        if !(max.is_finite() && max >= 0.0) {
            return Err(format!("complaint_rate.max is {max}: write complaints a post, such as 0.05"));
        }
        if !(1..=LONGEST_WINDOW).contains(&days) {
            return Err(format!("complaint_rate.days is {days}: write 1 to {LONGEST_WINDOW}"));
        }
        if least == 0 {
            return Err("complaint_rate.least is 0: write 1 or more".to_owned());
        }
        Ok(Self { max, days, least })
    }
}

impl TryFrom<Document> for KpiCorridor {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        let Document { published_per_day, complaint_rate, overridable } = document;
        if published_per_day.is_none() && complaint_rate.is_none() {
            return Err("a kpi_corridor needs published_per_day or complaint_rate".to_owned());
        }
        Ok(Self { published_per_day: published_per_day.map(|most| most.max), complaint_rate, overridable })
    }
}

impl Kind for KpiCorridor {
    fn judge(&self, input: &GateInput<'_>) -> Finding {
        let thresholds = json!(self);
        match self.look(input) {
            Err(error) => Finding::errs(error, thresholds),
            Ok((over, values)) if over.is_empty() => Finding::of(Verdict::Pass, values, thresholds),
            Ok((over, values)) => {
                let todo = format!(
                    "Publishing of tenant {} stops: {}. Find out why, and approve once the counts are inside their \
                     bounds again; or reject.",
                    input.tenant,
                    over.join(", and ")
                );
                Finding::of(Verdict::Block { incident: INCIDENT, todo }, values, thresholds)
            }
        }
    }

    fn days(&self) -> Option<u32> {
        Some(self.complaint_rate.as_ref().map_or(1, |rate| rate.days))
    }

    fn overridable(&self) -> bool {
        self.overridable
    }
}

impl KpiCorridor {
    /// What is out of bounds, and the counts.
    fn look(&self, input: &GateInput<'_>) -> Result<(Vec<String>, Value), String> {
        let facts = input.facts.ok_or("the record counted nothing")?;
        let (mut over, mut values) = (Vec::new(), json!({}));
        if let Some(max) = self.published_per_day {
            values["taken_today"] = json!(facts.taken);
            if facts.taken >= max {
                over.push(format!("{} posts went out or are about to today, and {max} may", facts.taken));
            }
        }
        if let Some(ComplaintRate { max, days, least }) = &self.complaint_rate {
            let (posts, complaints) = facts.window(*days)?;
            #[expect(clippy::cast_precision_loss, reason = "counts of posts")]
            let rate = complaints as f64 / posts.max(1) as f64;
            values["window"] = json!({ "published": posts, "complaints": complaints, "rate": rate });
            // Complaints without a post to have them about are of earlier ones.
            let telling = posts.max(1) >= *least;
            if telling && rate > *max {
                over.push(format!(
                    "{complaints} complaints came for {posts} posts within {days} days, and {max} a post may"
                ));
            }
        }
        Ok((over, values))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{block, content, errs, facts, gate, input, ruling};
    use super::super::{CorridorFacts, Ruling};

    const GATE: &str =
        "kpi_corridor: { published_per_day: { max: 5 }, complaint_rate: { max: 0.5, days: 2 } }";

    #[test]
    fn what_a_day_may_have_is_one_more_than_what_it_has() {
        let content = content("x");
        for (published, passes) in [(0, true), (4, true), (5, false), (9, false)] {
            let facts = CorridorFacts { taken: published, ..facts(&[(9, 0), (9, 0)], 0) };
            let ruling = ruling(GATE, &input(&content).with(&facts));
            assert_eq!(ruling == Ruling::Pass, passes, "{published}: {ruling:?}");
        }
    }

    #[test]
    fn complaints_over_their_rate_stop_publishing_and_the_bound_itself_does_not() {
        let content = content("x");
        for (days, passes) in [
            (&[(2, 1), (0, 0)], true),
            (&[(2, 1), (2, 1)], true),
            (&[(2, 2), (1, 0)], false),
            (&[(0, 0), (0, 0)], true),
            (&[(0, 1), (0, 0)], false),
        ] {
            let facts = facts(days, 0);
            let found = ruling(GATE, &input(&content).with(&facts));
            assert_eq!(found == Ruling::Pass, passes, "{days:?}: {found:?}");
            if !passes {
                assert_eq!(block(found), "kpi_corridor");
            }
        }
        let patient = "kpi_corridor: { complaint_rate: { max: 0.5, days: 1, least: 3 } }";
        let few = facts(&[(2, 2)], 0);
        assert_eq!(ruling(patient, &input(&content).with(&few)), Ruling::Pass);
        let enough = facts(&[(3, 2)], 0);
        assert_eq!(block(ruling(patient, &input(&content).with(&enough))), "kpi_corridor");
    }

    #[test]
    fn counts_that_are_not_there_ask_a_person() {
        let content = content("x");
        errs(&gate(GATE).evaluate(&input(&content)), "counted nothing");
        let short = facts(&[(0, 0)], 0);
        errs(&gate(GATE).evaluate(&input(&content).with(&short)), "1 of 2 days");
    }
}
