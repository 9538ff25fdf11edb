//! What an endpoint may answer, and what is made of it.

use serde::Deserialize;

use crate::Error;
use crate::embedder::normalise;

/// Digits, sign, comma and the indentation that some servers add, for one component.
const BYTES_PER_COMPONENT: usize = 48;

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Vec<f32>,
}

/// Why an answer cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Perhaps cut off; the next may be whole.
    Unreadable(String),
    /// The endpoint serves another model than configured, or is none.
    Wrong(String),
}

impl Unusable {
    pub(crate) fn at(self, url: &str) -> Error {
        match self {
            Self::Unreadable(reason) => {
                Error::transient(format!("{url} answered what cannot be read: {reason}"))
            }
            Self::Wrong(reason) => Error::permanent(format!("{url} answered {reason}")),
        }
    }
}

/// More than a right answer can have.
pub(crate) fn max_bytes(texts: usize, dimensions: usize) -> usize {
    64 * 1024 + texts * (dimensions * BYTES_PER_COMPONENT + 1024)
}

/// The vectors in the order of the texts, normalised; the answer may have them in any order.
pub(crate) fn vectors(bytes: &[u8], texts: usize, dimensions: usize) -> Result<Vec<Vec<f32>>, Unusable> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| match error.is_data() {
        true => Unusable::Wrong(format!("JSON of another shape: {error}")),
        false => Unusable::Unreadable(error.to_string()),
    })?;
    if answer.data.len() != texts {
        return Err(Unusable::Wrong(format!("{} vectors for {texts} texts", answer.data.len())));
    }
    let mut vectors = vec![Vec::new(); texts];
    for mut item in answer.data {
        if item.embedding.len() != dimensions {
            let length = item.embedding.len();
            return Err(Unusable::Wrong(format!(
                "a vector of {length} dimensions, configured are {dimensions}"
            )));
        }
        if !normalise(&mut item.embedding) {
            return Err(Unusable::Wrong(format!("vector {} without a direction", item.index)));
        }
        match vectors.get_mut(item.index) {
            Some(place) if place.is_empty() => *place = item.embedding,
            _ => return Err(Unusable::Wrong(format!("index {} twice or out of range", item.index))),
        }
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_back_in_the_order_of_the_texts_and_normalised() {
        let answer = br#"{"data":[{"index":1,"embedding":[0,2]},{"index":0,"embedding":[3,4]}],"model":"m"}"#;
        assert_eq!(vectors(answer, 2, 2).unwrap(), [vec![0.6, 0.8], vec![0.0, 1.0]]);
    }

    #[test]
    fn a_wrong_answer_is_not_taken() {
        for (answer, what) in [
            (&br#"{"data":[{"index":0,"embedding":[1,0]}]}"#[..], "too few"),
            (br#"{"data":[{"index":0,"embedding":[1,0]},{"index":0,"embedding":[1,0]}]}"#, "an index twice"),
            (br#"{"data":[{"index":0,"embedding":[1,0]},{"index":2,"embedding":[1,0]}]}"#, "out of range"),
            (br#"{"data":[{"index":0,"embedding":[1,0]},{"index":1,"embedding":[1]}]}"#, "too short"),
            (br#"{"data":[{"index":0,"embedding":[1,0]},{"index":1,"embedding":[0,0]}]}"#, "zero"),
            (br#"{"data":[{"index":0,"embedding":"AACAPw=="}]}"#, "another encoding"),
            (br#"{"error":"quota"}"#, "no data"),
        ] {
            assert!(matches!(vectors(answer, 2, 2), Err(Unusable::Wrong(_))), "{what}");
        }
    }

    #[test]
    fn half_an_answer_may_be_whole_next_time() {
        let half = br#"{"data":[{"index":0,"embedd"#;
        assert!(matches!(vectors(half, 1, 2), Err(Unusable::Unreadable(_))));
    }
}
