//! One event: its text cleaned and measured, its content drafted.

use std::sync::Arc;

use chrono::{DateTime, Datelike, Utc};
use fleet::{Fault, Handler, JobContext, Needs};
use model::{Claims, Content, EnrichedTrend, Failure, Outcome, Payload, Report, Sha256Digest};
use text::{Analyser, Analysis, Source};
use tokio::sync::Semaphore;

use crate::config::Section;
use crate::error::EtlError;

/// The rule that led to the measures, for `worker_output_prompt`.
const RULE: &str =
    "text: normalise, detect language, VADER sentiment, rustrict toxicity, keywords, extractive summary";

pub(crate) struct Etl {
    analyser: Arc<Analyser>,
    /// Analyses under way: more than the cores would only take turns.
    cores: Semaphore,
}

impl Etl {
    pub(crate) fn new(config: &Section) -> Result<Self, Fault> {
        let analyser =
            Analyser::new(config.text.clone()).map_err(|e| Fault::usage(format!("etl.text: {e}")))?;
        let threads = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        Ok(Self { analyser: Arc::new(analyser), cores: Semaphore::new(threads) })
    }

    async fn enrich(&self, job: &JobContext) -> Result<Report, Failure> {
        let payload = Payload::parse(job.payload.as_deref().unwrap_or_default()).map_err(EtlError::from)?;
        let published_at = published_at(&payload, job.received_at)?;
        let url = checked_url(&payload)?;
        if payload.title.is_none() && payload.body.is_none() {
            return Err(EtlError::NoText.into());
        }
        let analysis = self.analyse(payload).await?;
        Ok(report(analysis, url, published_at)?)
    }

    async fn analyse(&self, payload: Payload) -> Result<Analysis, Failure> {
        let analyser = Arc::clone(&self.analyser);
        let _core = self.cores.acquire().await.map_err(|e| Failure::transient(e.to_string()))?;
        tokio::task::spawn_blocking(move || {
            analyser.analyse(&Source {
                title: payload.title.as_deref(),
                body: payload.body.as_deref().unwrap_or_default(),
                language: payload.language.as_deref(),
            })
        })
        .await
        .map_err(|e| Failure::transient(format!("the analysis broke off: {e}")))?
        .map_err(|e| EtlError::from(e).into())
    }
}

impl Handler for Etl {
    const WORKER: &'static str = "etl";
    const NEEDS: Needs = Needs { payload: true, artifacts: &[] };

    async fn handle(&self, job: &JobContext) -> Outcome {
        match self.enrich(job).await {
            Ok(report) => Outcome::Done(report),
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

fn report(
    analysis: Analysis,
    url: Option<String>,
    published_at: Option<DateTime<Utc>>,
) -> Result<Report, EtlError> {
    let output = serde_json::json!({
        "language": analysis.language,
        "language_certainty": analysis.language_certainty,
        "sentiment": analysis.sentiment,
        "topics": analysis.topics,
        "toxicity_score": analysis.toxicity_score,
        "confidence": analysis.confidence,
        "sentences": analysis.sentences,
        "truncated": analysis.truncated,
        "embedding_status": model::EmbeddingStatus::Pending,
        "fingerprint": Sha256Digest(analysis.fingerprint),
    });
    let content = Content {
        title: analysis.title,
        summary: analysis.summary,
        body: analysis.text,
        url,
        language: analysis.language.clone(),
        tags: analysis.topics.clone(),
    };
    Ok(Report {
        output,
        trend: Some(EnrichedTrend {
            language: analysis.language,
            sentiment: analysis.sentiment,
            topics: analysis.topics,
            toxicity_score: analysis.toxicity_score,
            confidence: analysis.confidence,
            published_at,
        }),
        content: Some(content.seal()?),
        claims: Claims { fingerprint: Some(Sha256Digest(analysis.fingerprint)), near: vec![] },
        prompt: Some(RULE.to_owned()),
        ..Report::default()
    })
}

fn published_at(payload: &Payload, received_at: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, EtlError> {
    let Some(text) = payload.published_at.as_deref() else { return Ok(None) };
    let shown = || EtlError::PublishedAt(text.chars().take(80).collect());
    let date = DateTime::parse_from_rfc3339(text.trim()).map_err(|_| shown())?.to_utc();
    if date.year() < 1900 || date.year() > received_at.year() + 10 {
        return Err(shown());
    }
    Ok(Some(date))
}

fn checked_url(payload: &Payload) -> Result<Option<String>, EtlError> {
    let Some(text) = payload.url.as_deref().map(str::trim).filter(|url| !url.is_empty()) else {
        return Ok(None);
    };
    if model::is_web_address(text) {
        Ok(Some(text.to_owned()))
    } else {
        Err(EtlError::Url(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(json: &str) -> Payload {
        Payload::parse(json).unwrap()
    }

    #[test]
    fn absurd_dates_and_addresses_are_refused_with_the_value_shown() {
        for date in ["yesterday", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-02-30T00:00:00Z", ""]
        {
            let error =
                published_at(&payload(&format!(r#"{{"published_at":"{date}"}}"#)), Utc::now()).unwrap_err();
            assert!(error.to_string().contains(date), "{error}");
        }
        assert!(
            published_at(&payload(r#"{"published_at":"2026-01-31T09:00:00+02:00"}"#), Utc::now())
                .unwrap()
                .is_some()
        );
        for url in ["javascript:alert(1)", "http://", "https://a b", "ftp://x"] {
            assert!(checked_url(&payload(&format!(r#"{{"url":"{url}"}}"#))).is_err(), "{url}");
        }
        assert!(checked_url(&payload(r#"{"url":"https://example.org/a?b=c"}"#)).unwrap().is_some());
    }
}
