//! The flow and what it must stand, on real binaries and servers.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod acting;
mod agents;
mod backfills;
mod branches;
mod budgets;
mod clocks;
mod corridors;
mod crash_points;
mod crashes;
mod decisions;
mod detours;
mod diagnostics;
mod documents;
mod door;
mod effects;
mod fleet;
mod gates;
mod gateway_limits;
mod goals;
mod guardrails;
mod letters;
mod logs;
mod misbehaviour;
mod notifications;
mod operators;
mod orchestrate;
mod outages;
mod outlets;
mod overruns;
mod record_guards;
mod registry;
mod relay;
mod restore;
mod revocations;
mod sources;
mod spans;
mod standstill;
mod tls;
mod told;
mod tooling;
mod triggers;
mod walks;
mod wise;
mod workers;
