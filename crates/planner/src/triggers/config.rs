//! What a trigger is, as it is configured and kept in the record.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::Fault;
use rails::{CatchUp, FiringRule, Overlap, Projection};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Clock;

/// Something that makes the planner act: by hand, by the clock, or by an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// The source of the events it makes.
    pub source: String,
    /// The workflow that its runs go through, with the version that is active for the tenant; without one the intents say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Whose it is: it sees this tenant's events alone.
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// When the clock fires it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Which events fire it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<On>,
    /// Fixed fields of the payload.
    #[serde(default)]
    pub payload: Map<String, Value>,
    /// Fields of the payload that are made of the firing's input: name → CEL over `input`.
    #[serde(default)]
    pub project: BTreeMap<String, String>,
    /// The request id of the runs it begins, by CEL over `input`; without it one is made of the trigger and the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What a firing does while the run of an earlier one is open.
    #[serde(default)]
    pub overlap: Overlap,
    /// For this long after a firing that became a run, others are suppressed.
    #[serde(default, with = "fleet::config::duration")]
    pub cooldown: Duration,
}

/// The field of a payload that names it.
pub(crate) const REQUEST_ID: &str = "request_id";

/// A time this long ago was missed, where missed times are not made up for: two planners may take over from each other.
const MISSED: Duration = Duration::from_secs(60);

/// When the clock fires a trigger.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five fields of cron, or six with seconds before them.
    pub cron: String,
    /// The time zone that the cron is meant in, by its IANA name.
    #[serde(default = "utc")]
    pub timezone: String,
    /// A firing that comes later than this is suppressed: the planners were away. With 0s it is made up for, once.
    #[serde(default, with = "fleet::config::duration")]
    pub deadline: Duration,
    /// What becomes of times that passed while no planner ran.
    #[serde(default)]
    pub catch_up: CatchUp,
}

/// Which events fire a trigger.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct On {
    /// Where they happen.
    pub from: Origin,
    /// Glob over the CloudEvents' types, such as `io.tidemill.run.published`.
    #[serde(rename = "type")]
    pub kind: String,
    /// CEL over `event`, the whole CloudEvent; without one every event of the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// Where the events of a reactive trigger happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// In this fleet's runs.
    Runs,
    /// Outside: others add them to `dataset:events`.
    Outside,
}

impl Trigger {
    /// Its schedule, where it has one.
    ///
    /// # Errors
    /// [`Fault`] of kind usage, naming `place`.
    pub(crate) fn clock(&self, place: &str) -> Result<Option<Clock>, Fault> {
        self.schedule.as_ref().map(|of| Clock::parse(place, &of.cron, &of.timezone)).transpose()
    }

    /// What makes the request id, where it says so: a payload of one field.
    ///
    /// # Errors
    /// The expression cannot be read.
    pub(crate) fn naming(&self) -> Result<Option<Projection>, String> {
        let expression = |source: &String| BTreeMap::from([(REQUEST_ID.to_owned(), source.clone())]);
        let compile = |source: &String| Projection::compile(Map::new(), &expression(source));
        self.request_id.as_ref().map(compile).transpose()
    }

    pub(crate) fn rule(&self) -> FiringRule {
        FiringRule {
            overlap: self.overlap,
            cooldown: self.cooldown,
            deadline: self.schedule.as_ref().and_then(Schedule::latest),
        }
    }
}

impl Schedule {
    /// How late a firing may be that still becomes a run; `None` where that does not matter.
    fn latest(&self) -> Option<Duration> {
        let deadline = Some(self.deadline).filter(|deadline| !deadline.is_zero());
        match self.catch_up {
            CatchUp::None => Some(deadline.map_or(MISSED, |deadline| deadline.min(MISSED))),
            CatchUp::Once | CatchUp::All => deadline,
        }
    }
}

fn default_tenant() -> String {
    model::DEFAULT_TENANT.to_owned()
}

fn utc() -> String {
    "UTC".to_owned()
}
