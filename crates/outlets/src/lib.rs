//! Publishing adapters.
