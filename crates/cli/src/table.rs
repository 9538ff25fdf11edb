//! Tables for terminals.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};

/// Headings of what people copy into the next command.
const COPIED: [&str; 4] = ["id", "run", "letter", "escalation"];

/// A table with these headings, no wider than the terminal. What people copy is not broken: of several ids the first.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headings.iter().copied());
    let copied = headings.iter().position(|heading| COPIED.contains(heading)).unwrap_or(0);
    if let Some(column) = table.column_mut(copied) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    table
}

/// The text of a JSON value: a string without its quotes, nothing for null.
pub(crate) fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The first characters of a text.
pub(crate) fn short(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

pub(crate) fn json(value: &serde_json::Value) {
    println!("{value:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_to_the_terminal_and_breaks_no_id() {
        let id = "0197a1c2-0000-7000-8000-000000000000";
        let mut table = table(&["run", "state", "reason"]);
        table.add_row([id, "waiting", &"the measures of this text are uncertain ".repeat(5)]);
        table.set_width(80);
        let shown = table.to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        assert!(shown.contains(id), "{shown}");
    }
}
