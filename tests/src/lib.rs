//! Tidemill tests.
