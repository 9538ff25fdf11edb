//! The only crate that knows Redis: the table of streams, the reader, the scripts of the hand-over, the backlogs.
//!
//! A job is never nowhere: one script moves it, checked, added downstream, acknowledged and deleted at its source. Who
//! no longer owns an entry, or owns it by an older delivery, moves nothing. Work streams are never trimmed, and finished
//! entries are deleted, so that `XLEN` is the backlog.

mod connect;
mod endpoint;
mod entry;
mod error;
mod feeds;
mod lane;
mod marks;
mod moves;
mod names;
mod planner;
mod reader;
mod script;
mod shared_feed;
mod survey;

pub use connect::{ServerInfo, Streams};
pub use endpoint::Endpoint;
pub use entry::{Delivery, EntryId};
pub use error::Error;
pub use feeds::{Tail, Tailed};
pub use lane::{Claimed, Lane, SHARED_DELIVERIES};
pub use moves::{Destination, Move, Moved, letter_fields};
pub use names::{
    DATASET_EVENTS, ESCALATIONS_FEED, HITL_RESOLUTION, PLANNER_TRIGGERS, StreamNames, WORK_STREAMS,
    WorkStream, order_of,
};
pub use planner::PlannerStream;
pub use reader::Reader;
pub use shared_feed::{FLEET_FIELD, SharedFeed};
pub use survey::{Backlog, ConsumerInfo, Page, PageEntry, RetryPage, SILENT_MS, Survey};
