//! The planner process.
fn main() {}
