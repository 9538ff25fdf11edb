//! Durations, sizes and counts as people write them.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, de::Error};

/// Reads a number of which none at all would stop everything.
///
/// # Errors
/// No number, or less than 1.
pub fn positive<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + PartialOrd + From<u8> + Display,
{
    let value = T::deserialize(deserializer)?;
    if value < T::from(1) {
        return Err(D::Error::custom(format!("`{value}` is too few; write 1 or more")));
    }
    Ok(value)
}

/// A duration after which something is done again and again: a tenth of a second or longer.
pub mod period {
    use std::time::Duration;

    use serde::{Deserializer, de::Error};

    pub use super::duration::serialize;

    const SHORTEST: Duration = Duration::from_millis(100);

    /// Reads a number with a unit.
    ///
    /// # Errors
    /// A number without a unit, an unknown unit, or less than 100 ms.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let value = super::duration::deserialize(deserializer)?;
        if value < SHORTEST {
            return Err(D::Error::custom(format!("{value:?} is too short; write 100ms or more")));
        }
        Ok(value)
    }
}

/// A period, or none.
pub mod optional_period {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Period(#[serde(with = "super::period")] Duration);

    /// Writes the shortest exact spelling, or null.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Period).serialize(serializer)
    }

    /// Reads a number with a unit, or null.
    ///
    /// # Errors
    /// As [`period`](super::period).
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Period>::deserialize(deserializer)?.map(|period| period.0))
    }
}

/// A duration with its unit, such as `60s`, `250ms` or `2h`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the shortest exact spelling.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    /// Reads a number with a unit.
    ///
    /// # Errors
    /// A number without a unit, or an unknown unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = text_or_number(deserializer)?;
        humantime::parse_duration(&text).map_err(|e| {
            D::Error::custom(format!(
                "`{text}` is no duration ({e}); write a number with a unit, such as 60s or 250ms"
            ))
        })
    }

    fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(text),
            other => Ok(other.to_string()),
        }
    }
}

/// A size in bytes with its unit, such as `64MiB` or `1KiB`.
pub mod size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

    /// Writes the largest unit that fits exactly.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        let (unit, factor) = UNITS
            .iter()
            .find(|(_, factor)| *value >= *factor && value.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        serializer.collect_str(&format_args!("{}{unit}", value / factor))
    }

    /// Reads a whole number with a unit.
    ///
    /// # Errors
    /// A number without a unit, or an unknown unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        UNITS
            .iter()
            .find_map(|(unit, factor)| text.trim().strip_suffix(unit).map(|number| (number, factor)))
            .and_then(|(number, factor)| number.trim().parse::<u64>().ok()?.checked_mul(*factor))
            .ok_or_else(|| {
                D::Error::custom(format!(
                    "`{text}` is no size; write a whole number with a unit: B, KiB, MiB or GiB"
                ))
            })
    }
}
