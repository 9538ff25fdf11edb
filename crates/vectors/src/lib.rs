//! Embedders, which turn texts into vectors, and vector stores, which find the nearest of them.
//!
//! Two traits are the seams: [`Embedder`] and [`VectorStore`]. Behind the first stand
//!
//! - [`MiniLm`]: all-MiniLM-L6-v2 in this process, from a folder that [`model_folder`] fetches and verifies;
//! - [`OpenAi`]: any endpoint that speaks OpenAI's `POST /embeddings`;
//! - [`Hashing`]: no model at all, for when none can be had. It compares words, not meaning, and says so.
//!
//! Behind the second stand [`Embedded`], an exact scan over a window held in this process, and [`Weaviate`], a server that
//! the whole fleet shares.
//!
//! Guarantees that hold for all of them: every vector is L2-normalised, so that the cosine is the dot product;
//! vectors of different models or tenants are never compared; an [`Error`] knows whether trying again can help.
//!
//! # What a process must do first
//!
//! [`OpenAi`], [`Weaviate`] and [`model_folder::fetch`] speak TLS through reqwest built without a crypto provider: every client
//! panics unless `rustls::crypto::ring::default_provider().install_default()` has run. It is the first line of
//! each `main`.

mod batches;
mod embedded;
mod embedder;
mod error;
mod hashing;
mod http;
mod minilm;
pub mod model_folder;
mod openai;
mod store;
mod weaviate;

pub use embedded::{Embedded, WindowConfig};
pub use embedder::Embedder;
pub use error::{Class, Error};
pub use hashing::Hashing;
pub use minilm::MiniLm;
pub use openai::{OpenAi, OpenAiConfig};
pub use store::{Entry, Neighbour, Query, Taken, VectorStore};
pub use weaviate::{Weaviate, WeaviateConfig};
