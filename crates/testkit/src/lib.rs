//! What tests need: private servers, real binaries, and waiting for conditions instead of sleeping.

// A testkit that cannot have what it asks for ends the test: that is what its panics are for.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a failed preparation is a failed test")]

mod authority;
mod chat;
mod processes;
mod servers;
mod tls;
mod waiting;
mod weaviate;
mod wordpress;

pub use authority::{Authority, Certificate};
pub use chat::{Asked, ChatStandIn, Turn};
pub use processes::{Start, Worker, binary};
pub use servers::{Ports, Servers, open};
pub use tls::free_port;
pub use waiting::{eventually, within};
pub use weaviate::PrivateWeaviate;
pub use wordpress::PrivateWordpress;
