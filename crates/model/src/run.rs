//! Where a run stands.

use serde::{Deserialize, Serialize};

/// The text names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of {1}")]
pub struct UnknownName(String, String);

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name that API, logs and tables use.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    UnknownName(text.chars().take(80).collect(), known.join(", "))
                })
            }
        }
    };
}

named! {
    /// A run's state. The first three are open, the others final.
    RunState {
        /// A job for its step is, or will be, in a stream.
        Running => "running",
        /// A person is asked.
        Waiting => "waiting",
        /// Held back: budget, pause.
        Parked => "parked",
        /// Its content went out.
        Published => "published",
        /// Ended without a publication, as meant.
        Done => "done",
        /// A repeat of an earlier one.
        Duplicate => "duplicate",
        /// Refused by policy or a person.
        Rejected => "rejected",
        /// Ended below the quality asked for.
        NeedsReview => "needs_review",
        /// Ended by request.
        Cancelled => "cancelled",
        /// Failed for good; a dead letter says why.
        Dead => "dead",
    }
}

impl RunState {
    /// Whether a run in this state can still advance.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Waiting | Self::Parked)
    }
}

named! {
    /// How far the content of a run has come.
    Lifecycle {
        /// Being made.
        Draft => "draft",
        /// Being judged.
        Qa => "qa",
        /// May be published.
        Approved => "approved",
        /// Is published.
        Published => "published",
    }
}
