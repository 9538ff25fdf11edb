//! What the benchmarks share: private servers, the fleet with idle brains, the load, the floor to compare with.
//!
//! Nothing here is part of a shipped program, so it may speak to the servers directly.

mod figures;
mod floor;
mod idle_fleet;
mod load;

pub use figures::{Figures, Latency, median};
pub use floor::Floor;
pub use idle_fleet::IdleFleet;
pub use load::{Flood, Load};

/// Stages of the benchmark's workflow: the four worker types, in the order of the flow.
pub const STAGES: [&str; 4] = ["etl", "embedding", "judge", "publisher"];

/// Entries that the floor and the fleet handle at once.
pub const BATCH: usize = 256;

/// Bytes of one event's payload.
pub const EVENT_BYTES: usize = 600;

/// What may go wrong in a benchmark: it ends it.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;
