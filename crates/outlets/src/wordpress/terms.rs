//! Categories and tags: names to the ids that the API wants.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use calls::http;
use model::Failure;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Site, read};

/// Terms that a site has, as far as they were asked for.
#[derive(Debug)]
pub(super) struct Terms {
    site: Site,
    known: Mutex<HashMap<(&'static str, String), u64>>,
}

impl Terms {
    pub(super) fn new(site: Site) -> Self {
        Self { site, known: Mutex::default() }
    }

    /// The ids of terms, which are made where they are missing.
    pub(super) async fn ids(&self, kind: &'static str, names: &[String]) -> Result<Vec<u64>, Failure> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            ids.push(self.id(kind, name).await?);
        }
        Ok(ids)
    }

    async fn id(&self, kind: &'static str, name: &str) -> Result<u64, Failure> {
        let place = (kind, name.to_lowercase());
        if let Some(id) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&place) {
            return Ok(*id);
        }
        let id = match self.find(kind, name).await? {
            Some(id) => id,
            None => self.make(kind, name).await?,
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(place, id);
        Ok(id)
    }

    async fn find(&self, kind: &str, name: &str) -> Result<Option<u64>, Failure> {
        let found = self.site.get(kind, &[("search", name), ("per_page", "100")]).await?;
        let same = |term: &&Value| {
            let shown = term["name"].as_str().unwrap_or_default();
            html_escape::decode_html_entities(shown).to_lowercase() == name.to_lowercase()
        };
        Ok(found.as_array().into_iter().flatten().find(same).and_then(|term| term["id"].as_u64()))
    }

    /// Another publisher may make it in the same moment: then the refusal names the id.
    async fn make(&self, kind: &str, name: &str) -> Result<u64, Failure> {
        let request = self.site.request(Method::POST, kind, &[]).json(&json!({ "name": name }));
        let response = request.send().await.map_err(|error| Failure::unavailable(http::chain(&error)))?;
        let body = if response.status() == StatusCode::BAD_REQUEST {
            response
                .bytes()
                .await
                .map(|bytes| bytes.to_vec())
                .map_err(|e| Failure::unavailable(http::chain(&e)))?
        } else {
            let answer = http::asked(Ok(response)).await;
            answer.map_err(|failure| Failure { reason: self.site.explained(failure.reason), ..failure })?
        };
        let answer = read(&body)?;
        let id = answer["id"].as_u64().or_else(|| answer["data"]["term_id"].as_u64());
        id.ok_or_else(|| {
            let why = answer["message"].as_str().unwrap_or("it did not say why");
            Failure::permanent(format!("the site refuses the {kind} `{name}`: {why}"))
        })
    }
}
