//! From text to a document. Where that fails, everything is named that keeps it from being one: after each fault the value
//! that is to blame is taken out, or another stands in for it where one is needed, and what there is then is read again.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Document, Places};
use crate::workflow::{Fault, Faults};

/// More faults than this are not looked for.
const MOST_FAULTS: usize = 50;

/// What a text is.
pub(crate) struct Read {
    pub(crate) document: Option<Document>,
    pub(crate) places: Places,
    pub(crate) faults: Vec<Fault>,
    /// Where the document is not what was meant.
    pub(crate) torn: Option<Torn>,
}

/// A document that stands in for the one that was meant: where its ways lead is not known.
#[derive(Debug, Default)]
pub(crate) struct Torn {
    /// The steps that lack what was taken out of them.
    pub(crate) steps: BTreeSet<usize>,
}

impl Document {
    /// Reads YAML, of which JSON is a part. Faults of the text come with what document there is without them.
    pub(crate) fn read(yaml: &str) -> Result<Read, Faults> {
        // This one bounds depth and aliases; the marked reader does not.
        let value: Value =
            serde_saphyr::from_str(yaml).map_err(|e| Faults(vec![of_text("the document", &e)]))?;
        let places = Places::of(yaml);
        if let Ok(document) = serde_saphyr::from_str(yaml) {
            return Ok(Read { document: Some(document), places, faults: vec![], torn: None });
        }
        let (told, taken) = (BTreeSet::new(), BTreeSet::new());
        let mut mending = Mending { value, places: &places, faults: vec![], told, taken, stands_in: false };
        let document = mending.document();
        let (torn, faults) = (mending.torn(), mending.faults);
        if faults.is_empty() {
            // The typed reader takes less than the plain one, as with a number that is too large.
            let error = serde_saphyr::from_str::<Self>(yaml).map(|_| ());
            return Err(Faults(error.err().iter().map(|e| of_text("the document", e)).collect()));
        }
        Ok(Read { document, places, faults, torn })
    }
}

/// A text that is not YAML, or not what it should be, with its place.
pub(crate) fn of_text(what: &str, error: &serde_saphyr::Error) -> Fault {
    let error = error.without_snippet();
    let place =
        error.location().and_then(|at| Some((at.line().try_into().ok()?, at.column().try_into().ok()?)));
    Fault::new(what, format!("cannot be read: {error}")).at(place)
}

/// A value on its way to a document.
struct Mending<'p> {
    value: Value,
    places: &'p Places,
    faults: Vec<Fault>,
    /// Places whose fault is told.
    told: BTreeSet<String>,
    /// Places that were taken out and are not stood in for.
    taken: BTreeSet<String>,
    stands_in: bool,
}

impl Mending<'_> {
    /// The document; `None` where there is no end of faults, or a part of it is to blame that steps refer to.
    fn document(&mut self) -> Option<Document> {
        // What was taken out may have to be stood in for.
        for _ in 0..2 * MOST_FAULTS {
            let error = match serde_path_to_error::deserialize::<_, Document>(&self.value) {
                Ok(document) => {
                    return (!self.taken.iter().any(|place| is_referred_to(place))).then_some(document);
                }
                Err(error) => error,
            };
            let (at, message) = (pointer(error.path()), error.inner().to_string());
            let goes_on = match missing(&message) {
                Some(field) => self.stand_in(&at, field, &message),
                None => self.take_out(&at, &message),
            };
            if !goes_on || self.faults.len() >= MOST_FAULTS {
                return None;
            }
        }
        None
    }

    fn stand_in(&mut self, around: &str, field: &str, message: &str) -> bool {
        let absent = format!("{around}/{field}");
        if self.told.insert(absent.clone()) {
            self.fault(around, message, self.places.find(around));
        }
        let Some(Value::Object(map)) = self.value.pointer_mut(around) else { return false };
        map.insert(field.to_owned(), standing_in(&absent));
        self.stands_in = true;
        if is_referred_to(&absent) {
            self.taken.insert(absent);
        } else {
            self.taken.remove(&absent);
        }
        true
    }

    fn take_out(&mut self, at: &str, message: &str) -> bool {
        let unknown = message.starts_with("unknown field");
        let place = if unknown { self.places.key(at) } else { self.places.find(at) };
        self.fault(at, message, place);
        let Some(gone) = take_out(&mut self.value, at) else { return false };
        self.told.insert(gone.clone());
        if !unknown {
            self.taken.insert(gone);
        }
        true
    }

    fn fault(&mut self, at: &str, message: &str, place: Option<(u32, u32)>) {
        let fault = Fault::new(&shown(&self.value, at), format!("cannot be read: {message}"));
        self.faults.push(fault.at(place));
    }

    fn torn(&self) -> Option<Torn> {
        let steps = self.taken.iter().filter_map(|place| step_of(place)).collect();
        (self.stands_in || !self.taken.is_empty()).then_some(Torn { steps })
    }
}

/// The field that a message says to be missing.
fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

/// What a needed value may be, so that the checks have nothing to say of it.
fn standing_in(pointer: &str) -> Value {
    let field = pointer.rsplit('/').next().unwrap_or_default();
    match field {
        "version" => json!(1),
        "steps" | "branches" | "clusters" => json!([]),
        "on_success" => json!({ "end": "done" }),
        "op" => json!("remove"),
        "path" => json!("/"),
        "when" => json!("true"),
        _ => json!(step_of(pointer).map_or_else(|| "unnamed".to_owned(), |step| format!("unnamed_{step}"))),
    }
}

/// The step that a place is in.
fn step_of(pointer: &str) -> Option<usize> {
    pointer.strip_prefix("/steps/")?.split('/').next()?.parse().ok()
}

/// Whether a place is one that steps refer to, or all of them.
fn is_referred_to(pointer: &str) -> bool {
    step_of(pointer).is_none() && !matches!(pointer, "/name" | "/version" | "/goal")
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", super::places::escaped(key)),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// Takes out what stands at a place, or the list that it stands in, since what came after it would have another number; gives
/// the place that is gone.
fn take_out(value: &mut Value, pointer: &str) -> Option<String> {
    let (around, last) = pointer.rsplit_once('/')?;
    match value.pointer_mut(around)? {
        Value::Object(map) => {
            map.remove(&last.replace("~1", "/").replace("~0", "~")).map(|_| pointer.to_owned())
        }
        Value::Array(_) if around != "/steps" => take_out(value, around),
        _ => None,
    }
}

/// A place in words: the step's id, or the dotted path.
fn shown(value: &Value, pointer: &str) -> String {
    let mut parts = pointer.trim_start_matches('/').splitn(3, '/');
    let (top, index) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let id = value.pointer(&format!("/steps/{index}/id")).and_then(Value::as_str);
    match (top, id) {
        ("steps", Some(id)) => id.to_owned(),
        ("", _) => "the document".to_owned(),
        _ => pointer.trim_start_matches('/').replace('/', "."),
    }
}
