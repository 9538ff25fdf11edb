//! Weaviate as the vector store.

mod flow;
mod operators;
mod store;
