//! Vector trouble, as the runtime understands it.

use model::Failure;
use vectors::{Class, Error};

/// The failure that an embedder's or a store's error means.
pub(crate) fn failure(error: &Error) -> Failure {
    let reason = error.to_string();
    if error.is_outage() {
        return Failure::unavailable(reason);
    }
    match error.class() {
        Class::Transient => Failure::transient(reason),
        Class::Permanent => Failure::permanent(reason),
        Class::RetryAfter(delay) => Failure::retry_after(delay, reason),
    }
}
