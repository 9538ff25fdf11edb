//! What is wrong with a document, and where.

use serde::Serialize;

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where: a step's id, or the place in the document.
    pub place: String,
    /// What is wrong; where a path matters, with the path.
    pub message: String,
    /// The line of the text, from 1; absent where there is no text, as of a stored document.
    pub line: Option<u32>,
    /// The column, from 1.
    pub column: Option<u32>,
}

impl Fault {
    pub(crate) fn new(place: &str, message: impl Into<String>) -> Self {
        Self { place: place.to_owned(), message: message.into(), line: None, column: None }
    }

    pub(crate) fn at(self, place: Option<(u32, u32)>) -> Self {
        let (line, column) = place.unzip();
        Self { line, column, ..self }
    }
}

/// Everything that is wrong with a document. Permanent: a person must change it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}  ")?;
            if let (Some(line), Some(column)) = (fault.line, fault.column) {
                write!(f, "{line}:{column} ")?;
            }
            write!(f, "{}: {}", fault.place, fault.message)?;
        }
        Ok(())
    }
}
