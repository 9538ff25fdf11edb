//! The checks a document must pass before any run begins with it. One file is one family of faults; all are listed at once,
//! in the order of the text.

mod approvals;
mod capabilities;
mod conditions;
mod contents;
mod joins;
mod loops;
mod names;
#[cfg(test)]
mod random;
mod reach;
mod reads;
mod schemas;
mod shares;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod traps;

use super::document::{Document, Places, Torn, escaped};
use super::flow::Flow;
use super::{Catalog, Fault};

/// Of a document that is `torn` only what its ways have no part in is checked.
pub(super) fn check(
    document: &Document,
    places: &Places,
    torn: Option<&Torn>,
    catalog: &Catalog<'_>,
) -> Vec<Fault> {
    let flow = Flow::of(document);
    let mut checker = Checker { document, places, torn, catalog, flow: &flow, faults: Vec::new() };
    checker.names();
    checker.schemas();
    checker.conditions();
    checker.contents();
    if torn.is_none() {
        checker.targets();
        checker.reachable();
        checker.joins();
        checker.shares();
        checker.loops();
        checker.approvals();
        checker.reads();
        checker.capabilities();
    }
    let mut faults = checker.faults;
    faults.sort_by_key(|fault| (fault.line, fault.column));
    faults
}

struct Checker<'a> {
    document: &'a Document,
    places: &'a Places,
    torn: Option<&'a Torn>,
    catalog: &'a Catalog<'a>,
    flow: &'a Flow<'a>,
    faults: Vec<Fault>,
}

impl Checker<'_> {
    /// Notes a fault of the document's part at a JSON Pointer without its leading slash.
    fn fault(&mut self, pointer: &str, message: impl Into<String>) {
        let place = pointer.replace('/', ".");
        self.faults.push(Fault::new(&place, message).at(self.places.find(&format!("/{pointer}"))));
    }

    /// Notes a fault of a step, at one of its keys; the step itself where the key is empty. Of one that something was taken out
    /// of it is not known whether it has another.
    fn step_fault(&mut self, at: usize, key: &str, message: impl Into<String>) {
        if self.torn.is_some_and(|torn| torn.steps.contains(&at)) {
            return;
        }
        let pointer = format!("/steps/{at}/{key}");
        let place = self.places.find(pointer.trim_end_matches('/'));
        self.faults.push(Fault::new(self.flow.id(at), message).at(place));
    }
}

/// The pointer of a member below a key.
fn member(key: &str, name: &str) -> String {
    format!("{key}/{}", escaped(name))
}
