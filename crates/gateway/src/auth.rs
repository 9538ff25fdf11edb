//! Bearer tokens: who asks, for which tenant, in which role.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use model::{Sha256Digest, sha256};
use record::{Record, Token};

use crate::App;
use crate::error::Problem;

/// How long a token is believed without asking the record: a revocation bites after this.
const BELIEVED: Duration = Duration::from_secs(2);
/// Tokens believed at once; more, and all are asked for anew.
const REMEMBERED: usize = 10_000;

/// The tokens that were seen of late.
pub(crate) struct Tokens {
    record: Record,
    seen: Mutex<HashMap<Sha256Digest, (Instant, Token)>>,
}

impl Tokens {
    pub(crate) fn new(record: Record) -> Self {
        Self { record, seen: Mutex::default() }
    }

    async fn look_up(&self, secret: &str) -> Result<Token, Problem> {
        let digest = sha256(&[secret.as_bytes()]);
        if let Some(token) = self.believed(&digest) {
            return Ok(token);
        }
        let token = self.record.token_of(secret).await?.ok_or_else(Problem::unauthorized)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(digest, (Instant::now(), token.clone()));
        Ok(token)
    }

    fn believed(&self, digest: &Sha256Digest) -> Option<Token> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(digest).filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, token)| token.clone())
    }
}

/// Whoever sent the request.
#[derive(Debug, Clone)]
pub(crate) struct Caller(Token);

impl Caller {
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

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let secret = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(Problem::unauthorized)?;
        app.tokens.look_up(secret.trim()).await.map(Caller)
    }
}
