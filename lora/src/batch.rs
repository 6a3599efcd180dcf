//! Micro-batches whose shapes depend on nothing but an example's own length.

use crate::LoraError;
use crate::spec::Sizes;
use crate::tokenizer::Encoded;

/// Texts are padded to the next multiple of this many tokens.
const LENGTH_STEP: usize = 8;

/// Tokens of one micro-batch, padding included: large enough for efficient products, small enough to stay in a core's cache and to
/// waste little on the dummy rows of a bucket's last micro-batch.
const TOKEN_BUDGET: usize = 256;

/// A text of so many tokens is a micro-batch of its own: it is enough for efficient products, and two of them occupy two cores.
const ALONE: usize = 128;

/// Rows of one padded length: `TOKEN_BUDGET` tokens, filled up with dummy rows; or a single long text.
///
/// The padded length is the next multiple of 8 of the example's own length, and the number of rows follows from the padded
/// length. So an example's products have the same shapes whatever else is in the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MicroBatch {
    indices: Vec<usize>,
    ids: Vec<u32>,
    lengths: Vec<usize>,
    tokens: usize,
}

impl MicroBatch {
    /// Which of the given examples are in it, in the order of its rows; dummy rows come after them.
    #[must_use]
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// Rows that are computed, dummy rows included.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// The padded length of every row, in tokens.
    #[must_use]
    pub fn padded_tokens(&self) -> usize {
        self.tokens
    }

    /// Checks the rows against the model's vocabulary and positions.
    pub(crate) fn check(&self, sizes: Sizes) -> Result<(), LoraError> {
        for (row, example) in self.indices.iter().enumerate() {
            let start = row * self.tokens;
            check_ids(*example, &self.ids[start..start + self.lengths[row]], sizes)?;
        }
        Ok(())
    }

    /// Token ids, row by row.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Real tokens of each row; a dummy row has one.
    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }
}

/// Buckets `examples` by padded length and cuts each bucket into micro-batches, shortest texts first. An example without tokens is
/// treated as a text of one padding token; [`Classifier`](crate::Classifier) refuses it.
#[must_use]
pub fn micro_batches(examples: &[Encoded]) -> Vec<MicroBatch> {
    let mut order: Vec<(usize, usize)> = examples.iter().map(|e| padded(e.ids.len())).zip(0..).collect();
    order.sort_unstable();
    order
        .chunk_by(|a, b| a.0 == b.0)
        .flat_map(|bucket| bucket.chunks(rows_of(bucket[0].0)))
        .map(|rows| fill(examples, rows))
        .collect()
}

/// The padded length of a text.
fn padded(tokens: usize) -> usize {
    tokens.max(1).next_multiple_of(LENGTH_STEP)
}

/// Rows of a micro-batch of a padded length.
fn rows_of(padded: usize) -> usize {
    if padded >= ALONE { 1 } else { TOKEN_BUDGET / padded }
}

fn fill(examples: &[Encoded], rows: &[(usize, usize)]) -> MicroBatch {
    let tokens = rows[0].0;
    let count = rows_of(tokens);
    let mut ids = Vec::with_capacity(count * tokens);
    let mut lengths = Vec::with_capacity(count);
    for (_, index) in rows {
        let row = &examples[*index].ids;
        ids.extend_from_slice(row);
        ids.resize(ids.len() + tokens - row.len(), 0);
        lengths.push(row.len().max(1));
    }
    // A dummy row has one real token, so that no softmax and no norm in it is 0/0.
    ids.resize(count * tokens, 0);
    lengths.resize(count, 1);
    MicroBatch { indices: rows.iter().map(|(_, index)| *index).collect(), ids, lengths, tokens }
}

/// Checks every example against the model's vocabulary and positions.
pub(crate) fn check<'a>(examples: impl IntoIterator<Item = &'a Encoded>, sizes: Sizes) -> Result<(), LoraError> {
    examples.into_iter().enumerate().try_for_each(|(example, encoded)| check_ids(example, &encoded.ids, sizes))
}

fn check_ids(example: usize, ids: &[u32], sizes: Sizes) -> Result<(), LoraError> {
    let tokens = ids.len();
    if tokens == 0 {
        return Err(LoraError::Empty { example });
    }
    if tokens > sizes.max_tokens {
        return Err(LoraError::TooLong { example, tokens, limit: sizes.max_tokens });
    }
    match ids.iter().find(|id| **id as usize >= sizes.vocab_size) {
        Some(id) => Err(LoraError::Token { example, id: *id, limit: sizes.vocab_size }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(len: usize) -> Encoded {
        Encoded { ids: (1..=len as u32).collect() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_example_is_in_exactly_one_micro_batch_of_its_own_bucket(lengths in prop::collection::vec(1usize..300, 0..60)) {
            let examples: Vec<_> = lengths.iter().map(|n| text(*n)).collect();
            let batches = micro_batches(&examples);
            let mut seen: Vec<usize> = batches.iter().flat_map(|b| b.indices().to_vec()).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..examples.len()).collect::<Vec<_>>());
            for batch in &batches {
                prop_assert_eq!(batch.rows(), rows_of(batch.padded_tokens()));
                prop_assert_eq!(batch.ids().len(), batch.rows() * batch.padded_tokens());
                for (row, index) in batch.indices().iter().enumerate() {
                    let start = row * batch.padded_tokens();
                    prop_assert_eq!(padded(lengths[*index]), batch.padded_tokens());
                    prop_assert_eq!(&batch.ids()[start..start + lengths[*index]], &examples[*index].ids[..]);
                    prop_assert_eq!(batch.lengths()[row], lengths[*index]);
                }
            }
        }
    }

    #[test]
    fn a_micro_batch_keeps_its_shape_with_a_single_example() {
        let alone = micro_batches(&[text(11)]);
        let many = micro_batches(&vec![text(11); 16]);
        assert_eq!((alone[0].rows(), alone[0].padded_tokens()), (16, 16));
        assert_eq!((many.len(), many[0].rows(), many[0].padded_tokens()), (1, 16, 16));
    }
}
