//! Why an event cannot become a trend. All permanent: only another event helps.

use model::Failure;

/// An event that cannot become a trend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EtlError {
    #[error("the payload is not one: {0}")]
    Payload(#[from] model::EventError),
    #[error("the payload has neither a `title` nor a `body`")]
    NoText,
    #[error(
        "`published_at` is `{0}`, which is no date between 1900 and ten years from now (RFC 3339, such as 2026-01-31T09:00:00Z)"
    )]
    PublishedAt(String),
    #[error("`url` is `{0}`, which is no http or https address")]
    Url(String),
    #[error("its content cannot be put into canonical JSON: {0}")]
    Content(#[from] serde_json::Error),
    #[error("{0}")]
    Text(#[from] text::Error),
}

impl From<EtlError> for Failure {
    fn from(error: EtlError) -> Self {
        Self::permanent(error.to_string())
    }
}
