//! Private servers, fleets of real binaries and waiters for tests.
