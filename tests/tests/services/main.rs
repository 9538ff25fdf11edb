//! Against what scripts/setup-services.sh builds: `make test-services` runs these.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

#[path = "../flow/fleet.rs"]
#[expect(dead_code, reason = "the tests of the flow use the rest")]
mod fleet;
#[path = "../flow/told.rs"]
mod told;
mod upgrade;
