//! One publication: planned, then performed once the runtime holds the claim.

use fleet::{Fault, Handler, JobContext, Known, Needs};
use model::{Effect, EffectResult, Failure, Outcome, Report, Sha256Digest, StoredContent};
use outlets::{Files, Outlet, Post};

use crate::config::Section;
use crate::error::PublisherError;

/// The outlet's name in the ledger.
const FILES: &str = "files";

pub(crate) struct Publisher {
    config: Section,
    outlet: Box<dyn Outlet>,
}

impl Publisher {
    pub(crate) fn new(config: Section) -> Result<Self, Fault> {
        let outlet = Files::new(config.files.clone())
            .map_err(|e| Fault::usage(format!("publisher.files: the outlet cannot be used: {e}")))?;
        Ok(Self { config, outlet: Box::new(outlet) })
    }

    fn plan(&self, job: &JobContext) -> Result<(Report, Effect), PublisherError> {
        let content = job.content()?;
        let effect = Effect {
            outlet: FILES.to_owned(),
            name: "post".to_owned(),
            timeout: self.config.timeout,
            deduplicates: self.outlet.deduplicates(),
            dry_run: self.config.dry_run,
        };
        let output = if effect.dry_run {
            let key = content.sha256.to_hex();
            serde_json::json!({ "dry_run": true, "outlet": FILES, "would_send": self.outlet.preview(&post(job, &content, &key)) })
        } else {
            serde_json::json!({ "outlet": FILES, "content_sha256": content.sha256 })
        };
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
        match self.plan(job) {
            Ok((report, effect)) => Outcome::Plan(report, effect),
            Err(error) => Outcome::Failed(Failure::from(error)),
        }
    }

    async fn perform(&self, job: &JobContext, _effect: &Effect, key: Sha256Digest) -> EffectResult {
        match job.content() {
            Ok(content) => self.outlet.deliver(&post(job, &content, &key.to_hex())).await,
            Err(failure) => EffectResult::NotSent(failure),
        }
    }

    async fn ask(&self, _effect: &Effect, key: Sha256Digest) -> Result<Known, Failure> {
        Ok(match self.outlet.ask(&key.to_hex()).await? {
            outlets::Known::Delivered { reference } => Known::Delivered { reference },
            outlets::Known::Absent => Known::Absent,
            outlets::Known::CannotTell => Known::CannotTell,
        })
    }
}
