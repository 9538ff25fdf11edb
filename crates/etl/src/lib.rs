//! The etl process.
