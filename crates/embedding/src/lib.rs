//! The embedding process.
