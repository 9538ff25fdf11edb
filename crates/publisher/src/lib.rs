//! The publisher process.
