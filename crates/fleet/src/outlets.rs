//! What the registration of workflows knows of outlets: how long content may stay at each stage that is meant for one.

use std::collections::BTreeMap;
use std::time::Duration;

use rails::{KnownOutlet, LifecycleTtl};
use serde::{Deserialize, Serialize};

use crate::Settings;
use crate::config::optional_period;

/// The outlet that is always there.
pub const FILES_OUTLET: &str = "files";

/// How long content may stay at each stage that is meant for an outlet; unbounded where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StageBounds {
    /// As a draft.
    #[serde(with = "optional_period")]
    pub draft: Option<Duration>,
    /// In quality assurance.
    #[serde(with = "optional_period")]
    pub qa: Option<Duration>,
    /// Approved, and not yet published.
    #[serde(with = "optional_period")]
    pub approved: Option<Duration>,
}

/// The outlets of a configuration with their bounds.
#[derive(Debug, Clone, Default)]
pub struct KnownOutlets {
    usual: String,
    bounds: BTreeMap<String, StageBounds>,
}

/// What of the section `publisher` tells bounds; the rest is the publisher's.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Section {
    outlet: String,
    outlets: BTreeMap<String, Outlet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outlet {
    lifecycle: StageBounds,
}

impl Default for Section {
    fn default() -> Self {
        Self { outlet: FILES_OUTLET.to_owned(), outlets: BTreeMap::new() }
    }
}

impl KnownOutlets {
    /// Those of a configuration. What is wrong with the section is for the publisher to say.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let section = settings.given("publisher").and_then(|section| Section::deserialize(section).ok());
        let Section { outlet, outlets } = section.unwrap_or_default();
        let bounds = outlets.into_iter().map(|(name, outlet)| (name, outlet.lifecycle)).collect();
        Self { usual: outlet, bounds }
    }

    /// As the checks of documents want them.
    #[must_use]
    pub fn known(&self) -> Vec<KnownOutlet<'_>> {
        self.bounds
            .iter()
            .map(|(name, bounds)| {
                let StageBounds { draft, qa, approved } = *bounds;
                let ttl = LifecycleTtl { draft, qa, approved };
                KnownOutlet { name, usual: *name == self.usual, ttl }
            })
            .collect()
    }
}
