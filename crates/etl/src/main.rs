//! The etl process.
fn main() {}
