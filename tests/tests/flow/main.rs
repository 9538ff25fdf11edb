//! The flow and what it must stand, on real binaries and servers.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod crash_points;
mod crashes;
mod decisions;
mod door;
mod effects;
mod fleet;
mod letters;
mod logs;
mod misbehaviour;
mod operators;
mod outages;
mod outlets;
mod record_guards;
mod relay;
mod restore;
mod sources;
mod spans;
mod told;
