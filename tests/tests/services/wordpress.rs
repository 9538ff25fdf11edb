//! The outlet `wordpress` on a real WordPress: alone, behind a connection that is cut, and at the end of a fleet.

mod door;
mod published;
mod revoked;
mod site;
