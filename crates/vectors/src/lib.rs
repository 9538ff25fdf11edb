//! Embedders and vector stores.
