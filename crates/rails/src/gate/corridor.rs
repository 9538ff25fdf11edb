//! What the record counts for corridors.

use chrono::NaiveDate;

/// The longest window of a corridor, in days.
pub const LONGEST_WINDOW: u32 = 90;

/// Counts of a tenant, taken in the transaction that commits the ruling on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorridorFacts {
    /// Its days, without a gap, today (UTC) first.
    pub days: Vec<DayFacts>,
    /// Places of today that are taken: posts that went out, and those that runs have reserved. The place of the run that is
    /// ruled on is not counted.
    pub taken: u64,
    /// What was spent today and what is reserved to be, in millionths.
    pub cost_micros: u64,
}

/// Counts of a day (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayFacts {
    /// Which.
    pub day: NaiveDate,
    /// Posts that went out.
    pub published: u64,
    /// Complaints that came in, whenever their post went out.
    pub complaints: u64,
}

impl CorridorFacts {
    /// Posts and complaints of so many days, today among them.
    pub(super) fn window(&self, days: u32) -> Result<(u64, u64), String> {
        let counted = self.days.get(..days as usize);
        let counted =
            counted.ok_or_else(|| format!("the record counted {} of {days} days", self.days.len()))?;
        let sum = |of: fn(&DayFacts) -> u64| counted.iter().map(of).fold(0, u64::saturating_add);
        Ok((sum(|day| day.published), sum(|day| day.complaints)))
    }
}
