//! The flow and what it must stand, on real binaries and servers.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod crash_points;
mod crashes;
mod decisions;
mod door;
mod effects;
mod fleet;
mod gateway_limits;
mod letters;
mod logs;
mod misbehaviour;
mod notifications;
mod operators;
mod outages;
mod outlets;
mod record_guards;
mod relay;
mod restore;
mod revocations;
mod sources;
mod spans;
mod tls;
mod told;
mod triggers;
