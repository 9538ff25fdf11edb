//! Reading requests: what cannot be read is answered with a problem document.

use axum::body::Body as Incoming;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use bytes::BytesMut;
use futures::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::error::Problem;

/// The query of an address.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Query::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|e| Problem::bad_request(e.body_text()))
    }
}

/// The variable part of an address.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(path)| Self(path))
            .map_err(|e| Problem::bad_request(e.body_text()))
    }
}

/// A JSON body.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body that may be left out.
#[derive(Debug)]
pub(crate) struct OptionalBody<T>(pub(crate) T);

/// What a person says in a request: a reason, a note. It is kept for good in the hash-chained log, so it is bounded.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, max_length = 4000)]
pub(crate) struct Words(String);

/// The longest of them, in characters.
const LONGEST_WORDS: usize = 4000;

impl TryFrom<String> for Words {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.chars().count() > LONGEST_WORDS || text.contains('\0') {
            return Err(format!("a reason or note has at most {LONGEST_WORDS} characters, none of them NUL"));
        }
        Ok(Self(text))
    }
}

impl std::ops::Deref for Words {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Bytes of a body that is no event, at most.
const LONGEST: u64 = 4 << 20;

/// How many times the limit of a body that is too large is read before the connection is cut.
const HEARD_OUT: usize = 16;

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        parsed(&whole(request.into_body(), LONGEST).await?).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let bytes = whole(request.into_body(), LONGEST).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self(T::default()));
        }
        parsed(&bytes).map(Self)
    }
}

/// A whole body. The rest of one that is too large is read and thrown away, up to a bound: a sender that is cut off in
/// mid-sentence would not read the answer.
pub(crate) async fn whole(body: Incoming, limit: u64) -> Result<BytesMut, Problem> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut stream = body.into_data_stream();
    let (mut bytes, mut length) = (BytesMut::new(), 0_usize);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| Problem::broken_off(&e))?;
        length += chunk.len();
        if length <= most {
            bytes.extend_from_slice(&chunk);
        } else if length > most.saturating_mul(HEARD_OUT) {
            break;
        }
    }
    if length <= most { Ok(bytes) } else { Err(Problem::too_large(limit)) }
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|e| Problem::bad_request(format!("the body is not what is expected here: {e}")))
}
