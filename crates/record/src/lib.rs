//! The only crate that knows PostgreSQL.
