//! The embedding process.
fn main() {}
