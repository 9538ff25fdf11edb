//! The seam between the fleet and whatever turns texts into vectors.

use futures::future::BoxFuture;

use crate::Error;

/// Turns texts into vectors.
///
/// Dyn-compatible, so that the configuration chooses the engine. An implementation does its CPU work away from the
/// async threads and bounds its own memory whatever the number and length of the texts.
pub trait Embedder: Send + Sync + std::fmt::Debug {
    /// The name that is stored with every vector. Vectors are compared only when it is the same.
    fn model(&self) -> &str;

    /// The length of every vector.
    fn dimensions(&self) -> usize;

    /// One vector per text, in the order of the texts: [`Self::dimensions`] long, finite, of Euclidean length 1.
    /// Any text is accepted, also the empty one.
    ///
    /// Cancellation safe: dropping the future loses only the result.
    ///
    /// # Errors
    ///
    /// All texts fail together. The class says whether trying again can help.
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>>;
}

/// Scales to Euclidean length 1; false, and unchanged, where the vector has no direction (zero, infinite or NaN).
pub(crate) fn normalise(vector: &mut [f32]) -> bool {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if !length.is_finite() || length <= f64::MIN_POSITIVE {
        return false;
    }
    for x in vector.iter_mut() {
        *x = (f64::from(*x) / length) as f32;
    }
    true
}

/// Runs CPU work off the async threads.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // A panic is a bug that this input triggers; a cancelled task means the runtime is shutting down.
        Err(join) if join.is_panic() => Err(Error::permanent(format!("vector work panicked: {join}"))),
        Err(join) => Err(Error::transient(format!("vector work was cancelled: {join}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalised_vector_has_length_one() {
        let mut vector = vec![3.0, 4.0];
        assert!(normalise(&mut vector));
        assert_eq!(vector, [0.6, 0.8]);
    }

    #[test]
    fn a_vector_without_direction_is_refused() {
        for bad in [vec![0.0, 0.0], vec![f32::NAN, 1.0], vec![f32::INFINITY, 1.0]] {
            assert!(!normalise(&mut bad.clone()), "{bad:?}");
        }
    }
}
