//! One signed call after Standard Webhooks, as the outlet `webhook`, notifications and the provider `http` make it.

use chrono::Utc;
use model::Failure;
use reqwest::{RequestBuilder, Url};
use standardwebhooks::Webhook as Signer;

use crate::{Secret, http};

/// An address that is called, and how calls are signed.
pub struct Hook {
    url: Url,
    signer: Option<Signer>,
    client: reqwest::Client,
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").field("host", &self.host()).finish_non_exhaustive()
    }
}

impl Hook {
    /// Calls nothing yet.
    ///
    /// # Errors
    /// Permanent: the address or the secret is none.
    pub fn new(url: &str, secret: &Secret) -> Result<Self, Failure> {
        let wrong = |what: &str, e: &dyn std::fmt::Display| Failure::permanent(format!("{what}: {e}"));
        let url = Url::parse(url).map_err(|e| wrong("url", &e))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure::permanent("url: it must be http:// or https://"));
        }
        let signer = secret.text().map(Signer::new).transpose().map_err(|e| wrong("secret", &e))?;
        Ok(Self { url, signer, client: http::client()? })
    }

    /// The host alone: the rest of the address may be a secret.
    #[must_use]
    pub fn host(&self) -> String {
        self.url.host_str().unwrap_or_default().to_owned()
    }

    /// Whether calls are signed.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.signer.is_some()
    }

    /// A POST of this body under this `webhook-id`, signed with the present time.
    ///
    /// # Errors
    /// Permanent: it cannot be signed.
    pub fn post(&self, id: &str, body: String) -> Result<RequestBuilder, Failure> {
        let at = Utc::now().timestamp();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(standardwebhooks::HEADER_WEBHOOK_ID, id)
            .header(standardwebhooks::HEADER_WEBHOOK_TIMESTAMP, at.to_string());
        if let Some(signer) = &self.signer {
            let signature = signer
                .sign(id, at, body.as_bytes())
                .map_err(|e| Failure::permanent(format!("the body cannot be signed: {e}")))?;
            request = request.header(standardwebhooks::HEADER_WEBHOOK_SIGNATURE, signature);
        }
        Ok(request.body(body))
    }
}
