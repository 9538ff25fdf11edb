//! The section `embedding`, which the embedder and the gateway share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fleet::Fault;
use serde::{Deserialize, Serialize};
use vectors::{Embedder, Hashing, MiniLm, OpenAi, OpenAiConfig, WeaviateConfig};

/// How trends are embedded, and what they are compared with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Which embedder.
    pub embedder: Kind,
    /// The folder of all-MiniLM-L6-v2, for `minilm`.
    pub model_folder: PathBuf,
    /// The endpoint, for `openai`.
    pub openai: Endpoint,
    /// Texts embedded together, at most.
    pub batch: usize,
    /// How many of the nearest earlier trends are recorded.
    pub neighbours: usize,
    /// Where vectors are kept to be found.
    pub store: StoreKind,
    /// Which earlier trends a new one is compared with, for the store `embedded`.
    pub window: Window,
    /// The server, for the store `weaviate`.
    pub weaviate: Weaviate,
}

/// Which embedder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// all-MiniLM-L6-v2 in this process where its folder is there, else the hashing embedder, loudly.
    Auto,
    /// all-MiniLM-L6-v2 in this process.
    Minilm,
    /// An OpenAI-compatible endpoint.
    Openai,
    /// Hashed words: no model, no meaning.
    Hashing,
}

/// Where vectors are kept to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// In each process that asks, which follows the record.
    Embedded,
    /// In a Weaviate server that the fleet shares.
    Weaviate,
}

/// A Weaviate server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weaviate {
    /// Up to, and without, `/v1`.
    pub url: String,
    /// The class that trends are kept in: one for each length of vectors. Made where there is none.
    pub class: String,
    /// The key.
    pub api_key: Option<String>,
    /// How long one request may take.
    #[serde(with = "fleet::config::period")]
    pub timeout: Duration,
}

impl Default for Weaviate {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8080".to_owned(),
            class: "TidemillTrend".to_owned(),
            api_key: None,
            timeout: Duration::from_secs(10),
        }
    }
}

/// An OpenAI-compatible endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// Up to, and without, `/embeddings`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// The length of its vectors.
    pub dimensions: usize,
    /// The key.
    pub api_key: Option<String>,
    /// How long one call may take.
    #[serde(with = "fleet::config::duration")]
    pub timeout: Duration,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            base_url: "https://api.openai.com/v1".to_owned(),
            model: "text-embedding-3-small".to_owned(),
            dimensions: 1536,
            api_key: None,
            timeout: Duration::from_secs(30),
        }
    }
}

/// Which earlier trends a new one is compared with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Window {
    /// Not older than this.
    #[serde(with = "fleet::config::duration")]
    pub max_age: Duration,
    /// Not more than this; the oldest are forgotten first.
    pub max_count: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(30 * 24 * 3600), max_count: 100_000 }
    }
}

impl Default for Section {
    fn default() -> Self {
        Self {
            embedder: Kind::Auto,
            model_folder: PathBuf::from("models/all-MiniLM-L6-v2"),
            openai: Endpoint::default(),
            batch: 32,
            neighbours: 3,
            store: StoreKind::Embedded,
            window: Window::default(),
            weaviate: Weaviate::default(),
        }
    }
}

impl Section {
    /// Makes the configured embedder.
    ///
    /// # Errors
    /// [`Fault`] of kind usage: the model's folder or the endpoint's settings are wrong.
    pub fn embedder(&self) -> Result<Arc<dyn Embedder>, Fault> {
        match self.embedder {
            Kind::Minilm => self.minilm(),
            Kind::Auto if self.model_folder.is_dir() => self.minilm(),
            Kind::Auto => {
                tracing::warn!(folder = %self.model_folder.display(), "no embedding model is there; `tidemill model fetch` brings it");
                Ok(Arc::new(Hashing::new()))
            }
            Kind::Hashing => Ok(Arc::new(Hashing::new())),
            Kind::Openai => self.endpoint(),
        }
    }

    fn minilm(&self) -> Result<Arc<dyn Embedder>, Fault> {
        match MiniLm::load(&self.model_folder) {
            Ok(model) => Ok(Arc::new(model)),
            Err(error) => Err(Fault::usage(format!("embedding.model_folder: {error}"))),
        }
    }

    fn endpoint(&self) -> Result<Arc<dyn Embedder>, Fault> {
        let endpoint = &self.openai;
        let made = OpenAi::new(OpenAiConfig {
            base_url: endpoint.base_url.clone(),
            model: endpoint.model.clone(),
            dimensions: endpoint.dimensions,
            api_key: endpoint.api_key.clone(),
            timeout: endpoint.timeout,
            max_batch: self.batch,
            request_dimensions: false,
        });
        match made {
            Ok(embedder) => Ok(Arc::new(embedder)),
            Err(error) => Err(Fault::usage(format!("embedding.openai: {error}"))),
        }
    }

    /// The Weaviate server, where that is the store. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Fault`] of kind usage: its settings are wrong.
    pub fn weaviate(&self) -> Result<Option<vectors::Weaviate>, Fault> {
        if self.store != StoreKind::Weaviate {
            return Ok(None);
        }
        let Weaviate { url, class, api_key, timeout } = &self.weaviate;
        let config = WeaviateConfig {
            url: url.clone(),
            class: class.clone(),
            api_key: api_key.clone(),
            timeout: *timeout,
        };
        let made = vectors::Weaviate::new(&config);
        made.map(Some).map_err(|error| Fault::usage(format!("embedding.weaviate: {error}")))
    }
}
