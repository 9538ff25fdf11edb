//! End-to-end tests; each file under `tests/` is one. Here stands what they share: the check of every answer of a gateway.

// A check that cannot have what it asks for ends the test: that is what its panics are for.
#![expect(clippy::expect_used, reason = "a failed preparation is a failed test")]

mod checked;
mod description;

pub use checked::Checked;
