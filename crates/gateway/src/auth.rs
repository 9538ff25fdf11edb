//! Bearer tokens: who asks, for which tenant, in which role.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use model::{Sha256Digest, sha256};
use record::{Record, Token};
use uuid::Uuid;

use crate::App;
use crate::error::Problem;

/// How long a token is believed without asking the record: a revocation bites after this.
const BELIEVED: Duration = Duration::from_secs(2);
/// Tokens believed at once; more, and all are asked for anew.
const REMEMBERED: usize = 10_000;

/// The tokens that were seen of late.
pub(crate) struct Tokens {
    record: Record,
    seen: Mutex<HashMap<Sha256Digest, (Instant, Arc<Token>)>>,
}

impl Tokens {
    pub(crate) fn new(record: Record) -> Self {
        Self { record, seen: Mutex::default() }
    }

    async fn look_up(&self, secret: &str) -> Result<Arc<Token>, Problem> {
        let digest = sha256(&[secret.as_bytes()]);
        if let Some(token) = self.believed(&digest) {
            return Ok(token);
        }
        let token = Arc::new(self.record.token_of(secret).await?.ok_or_else(Problem::unauthorized)?);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(digest, (Instant::now(), Arc::clone(&token)));
        Ok(token)
    }

    fn believed(&self, digest: &Sha256Digest) -> Option<Arc<Token>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(digest).filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, token)| Arc::clone(token))
    }
}

/// Whoever sent the request.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Arc<Token>);

impl Caller {
    /// Whose token a request bears.
    pub(crate) async fn of(app: &App, headers: &HeaderMap) -> Result<Self, Problem> {
        let secret = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(Problem::unauthorized)?;
        app.tokens.look_up(secret.trim()).await.map(Self)
    }

    /// Its token.
    pub(crate) fn id(&self) -> Uuid {
        self.0.token_id
    }

    /// Who it is, in decisions and provenance.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// The tenant, whose things alone it sees.
    pub(crate) fn tenant(&self) -> &str {
        &self.0.tenant
    }

    /// Refuses a caller without the role.
    pub(crate) fn must(&self, role: &str) -> Result<(), Problem> {
        if self.0.roles.iter().any(|own| own == role) { Ok(()) } else { Err(Problem::forbidden(role)) }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let known = parts.extensions.get::<Result<Self, Problem>>();
        known.cloned().unwrap_or_else(|| Err(Problem::unauthorized()))
    }
}
