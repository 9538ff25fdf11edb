//! One trend judged: the policy's violations, and the measures with which the conditions decide.

use fleet::{Handler, JobContext, Needs};
use model::{Failure, Outcome, Report};
use rails::Policy;
use serde::Deserialize;

use crate::error::JudgeError;

pub(crate) struct Judge {
    policy: Policy,
}

/// What ETL measured.
#[derive(Deserialize)]
struct Measures {
    confidence: f64,
    toxicity_score: f64,
    sentiment: f64,
}

impl Judge {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy }
    }

    fn judge(&self, job: &JobContext) -> Result<Report, JudgeError> {
        let measures: Measures = job.artifact("etl")?;
        let content = job.content()?;
        let violations = self.policy.evaluate(&content.content, &job.source);
        let output = serde_json::json!({
            "violations": violations,
            "confidence": measures.confidence,
            "toxicity_score": measures.toxicity_score,
            "sentiment": measures.sentiment,
            "content_sha256": content.sha256,
            "policy_sha256": self.policy.sha256(),
        });
        let rules = self.policy.text();
        let prompt = (!rules.is_empty()).then(|| rules.to_owned());
        Ok(Report { prompt, ..Report::of(output) })
    }
}

impl Handler for Judge {
    const WORKER: &'static str = "judge";
    const NEEDS: Needs = Needs { payload: false, artifacts: &["etl", "content"] };

    async fn handle(&self, job: &JobContext) -> Outcome {
        match self.judge(job) {
            Ok(report) => Outcome::Done(report),
            Err(error) => Outcome::Failed(Failure::from(error)),
        }
    }
}
