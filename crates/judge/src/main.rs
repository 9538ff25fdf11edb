//! The judge process.
fn main() {}
