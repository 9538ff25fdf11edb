//! The publisher process.
fn main() {}
