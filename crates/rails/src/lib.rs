//! The deterministic skeleton: workflows, the transition function, gates, policy.
