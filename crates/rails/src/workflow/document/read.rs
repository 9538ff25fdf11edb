//! From text to a document. Where that fails, everything is named that keeps it from being one: after each fault the value
//! that is to blame is taken out, and what is left is read again.

use serde_json::Value;

use super::{Document, Places};
use crate::workflow::{Fault, Faults};

/// More faults than this are not looked for.
const MOST_FAULTS: usize = 50;

/// What a text is.
pub(crate) struct Read {
    pub(crate) document: Option<Document>,
    pub(crate) places: Places,
    pub(crate) faults: Vec<Fault>,
}

impl Document {
    /// Reads YAML, of which JSON is a part. Faults of the text come with what document there is without them.
    pub(crate) fn read(yaml: &str) -> Result<Read, Faults> {
        // This one bounds depth and aliases; the marked reader does not.
        let value: Value =
            serde_saphyr::from_str(yaml).map_err(|e| Faults(vec![of_text("the document", &e)]))?;
        let places = Places::of(yaml);
        if let Ok(document) = serde_saphyr::from_str(yaml) {
            return Ok(Read { document: Some(document), places, faults: vec![] });
        }
        let (document, faults) = without_faults(value, &places);
        if faults.is_empty() {
            // The typed reader takes less than the plain one, as with a number that is too large.
            let error = serde_saphyr::from_str::<Self>(yaml).map(|_| ());
            return Err(Faults(error.err().iter().map(|e| of_text("the document", e)).collect()));
        }
        Ok(Read { document, places, faults })
    }
}

/// A text that is not YAML, or not what it should be, with its place.
pub(crate) fn of_text(what: &str, error: &serde_saphyr::Error) -> Fault {
    let error = error.without_snippet();
    let place =
        error.location().and_then(|at| Some((at.line().try_into().ok()?, at.column().try_into().ok()?)));
    Fault::new(what, format!("cannot be read: {error}")).at(place)
}

/// The document without what is wrong with it, where only keys were too many; and what is wrong.
fn without_faults(mut value: Value, places: &Places) -> (Option<Document>, Vec<Fault>) {
    let (mut faults, mut whole) = (Vec::new(), true);
    while faults.len() < MOST_FAULTS {
        let error = match serde_path_to_error::deserialize::<_, Document>(&value) {
            Ok(document) => return (whole.then_some(document), faults),
            Err(error) => error,
        };
        let pointer = pointer(error.path());
        let message = error.inner().to_string();
        let unknown = message.starts_with("unknown field");
        let place = if unknown { places.key(&pointer) } else { places.find(&pointer) };
        let shown = shown(&value, &pointer);
        faults.push(Fault::new(&shown, format!("cannot be read: {message}")).at(place));
        whole &= unknown;
        if message.starts_with("missing field") || !take_out(&mut value, &pointer) {
            break;
        }
    }
    (None, faults)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", super::places::escaped(key)),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

fn take_out(value: &mut Value, pointer: &str) -> bool {
    let Some((around, last)) = pointer.rsplit_once('/') else { return false };
    match value.pointer_mut(around) {
        Some(Value::Object(map)) => map.remove(&last.replace("~1", "/").replace("~0", "~")).is_some(),
        // What stands after it keeps its number.
        _ => false,
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
