//! Vectors of one byte a component.

/// A quantised vector: its direction is that of the bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Code {
    pub(crate) bytes: Vec<i8>,
    /// 1 / Euclidean length of `bytes`, so that a cosine needs no square root.
    pub(crate) inverse_length: f32,
}

impl Code {
    /// None where the vector has no direction: all zero, or not finite.
    pub(crate) fn of(vector: &[f32]) -> Option<Self> {
        let largest = vector.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        if !(largest > 0.0 && vector.iter().all(|x| x.is_finite())) {
            return None;
        }
        // The full range for every vector: a fixed scale would leave components of ±0.05, as they are typical of 384
        // dimensions, with six steps on either side.
        let bytes: Vec<i8> = vector.iter().map(|x| (x / largest * 127.0).round() as i8).collect();
        let length = f64::from(dot(&bytes, &bytes)).sqrt();
        Some(Self { bytes, inverse_length: (1.0 / length) as f32 })
    }
}

/// The dot product. Inlined into what is compiled for each instruction set; 2¹⁷ products of ±127² fit in 32 bits.
#[inline(always)]
pub(crate) fn dot(a: &[i8], b: &[i8]) -> i32 {
    // A plain loop: `sum` may stay a function of its own, compiled for the oldest processor.
    let mut sum = 0;
    for (x, y) in a.iter().zip(b) {
        sum += i32::from(*x) * i32::from(*y);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_of_a_vector_does_not_count() {
        let a = Code::of(&[0.1, -0.2, 0.3]).unwrap();
        assert_eq!(a, Code::of(&[1.0, -2.0, 3.0]).unwrap());
    }

    #[test]
    fn a_vector_without_direction_has_no_code() {
        for bad in [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            assert_eq!(Code::of(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn extremes_do_not_overflow() {
        let bytes = vec![-127_i8; 4096];
        assert_eq!(dot(&bytes, &bytes), 127 * 127 * 4096);
    }
}
