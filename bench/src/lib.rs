//! Tidemill bench.
