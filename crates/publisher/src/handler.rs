//! One publication: planned, then performed once the runtime holds the claim.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{Breakers, Fault, Handler, JobContext, Needs};
use model::{Effect, EffectResult, Failure, Known, Outcome, Report, Sha256Digest, StoredContent, Withdrawal};
use outlets::Post;

use crate::config::Section;
use crate::error::PublisherError;
use crate::gate::Turn;
use crate::outlet::{self, Open};

pub(crate) struct Publisher {
    dry_run: bool,
    /// The outlet of steps that name none.
    default: String,
    outlets: BTreeMap<String, Open>,
}

impl Publisher {
    pub(crate) fn new(config: &Section, breakers: &Breakers) -> Result<Self, Fault> {
        let outlets = outlet::open(config, breakers)?;
        Ok(Self { dry_run: config.dry_run, default: config.outlet.clone(), outlets })
    }

    fn outlet(&self, name: &str) -> Result<&Open, PublisherError> {
        let known = || self.outlets.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let missing = || Failure::permanent(format!("there is no outlet `{name}`; known are {}", known()));
        Ok(self.outlets.get(name).ok_or_else(missing)?)
    }

    async fn plan(&self, job: &JobContext) -> Result<(Report, Effect), PublisherError> {
        let named = job.with.get("outlet").and_then(|name| name.as_str()).unwrap_or(&self.default);
        let open = self.outlet(named)?;
        let content = job.content()?;
        let effect = Effect {
            outlet: open.name.clone(),
            name: "post".to_owned(),
            timeout: open.timeout,
            deduplicates: open.outlet.deduplicates(),
            dry_run: self.dry_run || job.dry_run,
            answers: false,
        };
        if effect.dry_run {
            let key = content.sha256.to_hex();
            let would_send = open.outlet.preview(&post(job, &content, &key));
            let output =
                serde_json::json!({ "dry_run": true, "outlet": open.name, "would_send": would_send });
            return Ok((Report::of(output), effect));
        }
        match open.gate.turn(job.run) {
            Turn::After(wait) => tokio::time::sleep(wait).await,
            Turn::Later(wait, reason) => {
                return Err(Failure::later(wait, format!("{}: {reason}", open.name)).into());
            }
        }
        let output = serde_json::json!({ "outlet": open.name, "content_sha256": content.sha256 });
        Ok((Report::of(output), effect))
    }
}

fn post<'a>(job: &'a JobContext, content: &'a StoredContent, key: &'a str) -> Post<'a> {
    Post {
        key,
        content: &content.content,
        sha256: content.sha256,
        published_at: job.received_at,
        run: job.run,
        source: &job.source,
    }
}

impl Handler for Publisher {
    const WORKER: &'static str = "publisher";
    const NEEDS: Needs = Needs { payload: false, artifacts: &["content"] };

    async fn handle(&self, job: &JobContext) -> Outcome {
        match self.plan(job).await {
            Ok((report, effect)) => Outcome::Plan(report, effect),
            Err(error) => Outcome::Failed(Failure::from(error)),
        }
    }

    async fn perform(&self, job: &JobContext, effect: &Effect, key: Sha256Digest) -> EffectResult {
        let key = key.to_hex();
        let open = match self.outlet(&effect.outlet) {
            Ok(open) => open,
            Err(error) => return EffectResult::NotSent(error.into()),
        };
        match job.content() {
            Ok(content) => open.deliver(&post(job, &content, &key)).await,
            Err(failure) => EffectResult::NotSent(failure),
        }
    }

    async fn ask(&self, effect: &Effect, key: Sha256Digest) -> Result<Known, Failure> {
        self.outlet(&effect.outlet)?.ask(&key.to_hex()).await
    }

    /// None in a dry run, which changes nothing outside.
    fn outlets(&self) -> Vec<(String, Duration)> {
        let known = self.outlets.values().filter(|_| !self.dry_run);
        known.map(|open| (open.name.clone(), open.timeout)).collect()
    }

    async fn revoke(&self, outlet: &str, key: Sha256Digest) -> Result<Withdrawal, Failure> {
        self.outlet(outlet)?.outlet.revoke(&key.to_hex()).await
    }
}
