//! Which texts go through the model together.

/// Tokens in one pass at most, padding included. Larger passes are no faster (measured: 7.5 ms a text of 25 tokens in
/// passes of 200 and of 800), while smaller ones spread over the cores and bound the memory of a pass: two texts of
/// 256 tokens need some 20 MB.
const MAX_TOKENS: usize = 512;

/// Splits texts of these lengths (in tokens) into passes of similar length, so that little is padded. Every index
/// occurs exactly once.
pub(crate) fn by_length(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| lengths[index]);
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for index in order {
        // Ascending, so the newest is the longest and sets what all are padded to.
        match batches.last_mut() {
            Some(batch) if (batch.len() + 1) * lengths[index] <= MAX_TOKENS => batch.push(index),
            _ => batches.push(vec![index]),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded_tokens(lengths: &[usize], batch: &[usize]) -> usize {
        batch.len() * batch.iter().map(|&i| lengths[i]).max().unwrap_or(0)
    }

    #[test]
    fn every_text_is_in_exactly_one_batch_and_no_batch_is_too_big() {
        let lengths: Vec<usize> = (0..1000).map(|i| 2 + (i * 7919) % 255).collect();
        let batches = by_length(&lengths);
        let mut seen: Vec<usize> = batches.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        for batch in &batches {
            assert!(padded_tokens(&lengths, batch) <= MAX_TOKENS);
        }
    }

    #[test]
    fn little_is_padded_when_lengths_are_mixed() {
        let lengths: Vec<usize> = (0..256).map(|i| if i % 2 == 0 { 8 } else { 256 }).collect();
        let padded: usize = by_length(&lengths).iter().map(|b| padded_tokens(&lengths, b)).sum();
        let real: usize = lengths.iter().sum();
        assert!(padded < real * 11 / 10, "{padded} padded for {real} real tokens");
    }

    #[test]
    fn no_texts_make_no_batches() {
        assert!(by_length(&[]).is_empty());
    }
}
