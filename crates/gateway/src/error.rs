//! Errors as RFC 9457 problem documents.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::TooSlow;

/// A problem document.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    violations: Vec<Violation>,
    faults: Vec<Misfit>,
}

/// Why a request was refused (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Document {
    /// Always `about:blank`: the status tells what kind it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The kind, in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong, and what to do.
    detail: String,
    /// The rules that an edit breaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    violations: Vec<Violation>,
    /// Everything that is wrong with a workflow, or with the inputs of a run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    faults: Vec<Misfit>,
}

/// One thing that is wrong with what was sent.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Fault)]
pub(crate) struct Misfit {
    /// Where: a step's id, a place in the text, or a JSON Pointer below `inputs`.
    place: String,
    /// What is wrong; where a path matters, with the path.
    message: String,
    /// The line of the text, from 1, where what was sent is a workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    line: Option<u32>,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    column: Option<u32>,
}

impl From<rails::Fault> for Misfit {
    fn from(fault: rails::Fault) -> Self {
        Self { place: fault.place, message: fault.message, line: fault.line, column: fault.column }
    }
}

/// One breach of the policy.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Violation {
    /// The rule, such as `forbidden_term:glimmerdrift`.
    rule: String,
    /// What matched.
    detail: String,
}

impl From<rails::Violation> for Violation {
    fn from(rails::Violation { rule, detail }: rails::Violation) -> Self {
        Self { rule, detail }
    }
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
            retry_after: None,
            violations: Vec::new(),
            faults: Vec::new(),
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "The request cannot be read", detail)
    }

    pub(crate) fn unauthorized() -> Self {
        let detail = "send `Authorization: Bearer <token>`; `tidemill tokens add` makes one";
        Self::new(StatusCode::UNAUTHORIZED, "No valid token", detail)
    }

    pub(crate) fn unsigned(why: &str) -> Self {
        let detail = format!("the request is not signed with the task's key, or not lately: {why}");
        Self::new(StatusCode::UNAUTHORIZED, "The signature does not fit", detail)
    }

    pub(crate) fn forbidden(role: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "The token may not do this", format!("it needs the role `{role}`"))
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found", detail)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Wrong method", "this address takes another method")
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "It does not fit how things stand", detail)
    }

    pub(crate) fn headers_too_large(limit: usize) -> Self {
        let detail = format!("names and values of the headers have at most {limit} bytes");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Headers too large", detail)
    }

    pub(crate) fn too_slow() -> Self {
        let detail = "the body came too slowly; what was accepted of it is known when it is sent again";
        Self::new(StatusCode::REQUEST_TIMEOUT, "Too slow", detail)
    }

    pub(crate) fn too_large(limit: u64) -> Self {
        let detail = format!("an event, or a body that is not NDJSON, has at most {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Too large", detail)
    }

    pub(crate) fn too_many(limit: usize) -> Self {
        let detail =
            format!("a request has at most {limit} events: send this one and those after it in another");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Too many", detail)
    }

    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "The request cannot be carried out", detail)
    }

    pub(crate) fn busy(after: Duration) -> Self {
        let detail = "the backlog is over its high-water mark; send again after the time in Retry-After";
        Self {
            retry_after: Some(after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Too much at once", detail)
        }
    }

    pub(crate) fn too_often(after: Duration) -> Self {
        let detail = "more requests than gateway.rate allows; send again after the time in Retry-After";
        Self {
            retry_after: Some(after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests", detail)
        }
    }

    /// The body of a request broke off.
    pub(crate) fn broken_off(error: &axum::Error) -> Self {
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            if error.is::<TooSlow>() {
                return Self::too_slow();
            }
            cause = error.source();
        }
        Self::bad_request(format!("the body broke off: {error}"))
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        let after = Some(Duration::from_secs(2));
        Self { retry_after: after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "Not available now", detail) }
    }

    pub(crate) fn bug(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "A bug", detail)
    }

    /// Adds the rules that were broken.
    pub(crate) fn with_violations(mut self, violations: Vec<rails::Violation>) -> Self {
        self.violations = violations.into_iter().map(Violation::from).collect();
        self
    }

    /// Adds everything that is wrong.
    pub(crate) fn with_faults(mut self, faults: Vec<rails::Fault>) -> Self {
        self.faults = faults.into_iter().map(Misfit::from).collect();
        self
    }

    /// The document, as an item of a batch carries it.
    pub(crate) fn document(&self) -> Document {
        Document {
            kind: "about:blank",
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            violations: self.violations.clone(),
            faults: self.faults.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), detail = self.detail, "a request failed");
        }
        let mut response = (self.status, Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            headers
                .insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil().max(1.0) as u64));
        }
        if [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT].contains(&self.status) {
            // What is left of the body may be unread: the connection is no use for another request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<record::Error> for Problem {
    fn from(error: record::Error) -> Self {
        match error.handling() {
            record::Handling::RetryGroup => Self::unavailable(error.to_string()),
            record::Handling::Culprit => Self::unprocessable(error.to_string()),
            record::Handling::Bug => Self::bug(error.to_string()),
        }
    }
}

impl From<streams::Error> for Problem {
    fn from(error: streams::Error) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<fleet::DoorError> for Problem {
    fn from(error: fleet::DoorError) -> Self {
        match error {
            fleet::DoorError::NothingRegistered | fleet::DoorError::Paused(_) => {
                Self::unavailable(error.to_string())
            }
            fleet::DoorError::NotServed(_) | fleet::DoorError::NoWorkflow(_) => {
                Self::unprocessable(error.to_string())
            }
            fleet::DoorError::Inputs { ref faults, .. } => {
                let faults = faults.clone();
                Self::unprocessable(error.to_string()).with_faults(faults)
            }
            fleet::DoorError::Record(error) => error.into(),
        }
    }
}
