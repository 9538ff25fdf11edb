//! Tidemill on servers of others, the real ones: `make test-services` builds or installs them.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

#[path = "../flow/fleet.rs"]
#[expect(dead_code, reason = "what only the tests of the flow use")]
mod fleet;
#[path = "../flow/told.rs"]
mod told;
mod upgrade;
mod weaviate;
mod wordpress;
