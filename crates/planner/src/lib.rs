//! The planner process.
