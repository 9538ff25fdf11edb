//! The judge process.
