//! The section `judge`: empty so far; thresholds belong to the workflow, the policy to the section `policy`.

use serde::{Deserialize, Serialize};

/// Nothing to configure.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {}
