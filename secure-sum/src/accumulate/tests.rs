//! Folding against sums in plain arithmetic, and refusals that leave the sum alone.

#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::layout::Values;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

const CHUNKS: usize = 3;

fn layout(set: ParameterSet) -> Layout {
    let clamp = if set == ParameterSet::P50 { 32_767 } else { 1 << 45 };
    let count = Layout::derive(10, Values { count: 1, clamp, noise_deviation: 0.0 }).unwrap().values_per_chunk();
    let layout = Layout::derive(10, Values { count: CHUNKS * count, clamp, noise_deviation: 0.0 }).unwrap();
    assert_eq!((layout.set(), layout.chunk_count()), (set, CHUNKS));
    layout
}

/// Residues of a contribution, every tenth the largest of its prime, and their bytes.
fn contribution(layout: &Layout, rng: &mut ChaCha20Rng) -> (Vec<u64>, Vec<u8>) {
    let (set, mut residues) = (layout.set(), Vec::new());
    for q in (0..CHUNKS).flat_map(|_| set.moduli()) {
        residues.extend((0..set.ring_degree()).map(|_| match rng.random_range(0..10) {
            0 => q - 1,
            _ => rng.random_range(0..*q),
        }));
    }
    let mut bytes = vec![0; layout.contribution_bytes()];
    pack::pack(&residues, &mut bytes);
    (residues, bytes)
}

/// q as the residue at a position, the smallest number that is refused.
fn spoil(layout: &Layout, bytes: &mut [u8], position: usize) {
    let q = layout.set().moduli()[position % layout.set().residues() / layout.set().ring_degree()];
    for bit in 0..50 {
        let (at, one) = (50 * position + bit, (q >> bit & 1) as u8);
        bytes[at / 8] = bytes[at / 8] & !(1 << (at % 8)) | one << (at % 8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn folding_many_is_the_sum_modulo_each_prime(set in 0..2_usize, count in 1..9_usize, seed in any::<u64>()) {
        let layout = layout(ParameterSet::ALL[set]);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let all: Vec<_> = (0..count).map(|_| contribution(&layout, &mut rng)).collect();
        let bytes: Vec<&[u8]> = all.iter().map(|(_, bytes)| bytes.as_slice()).collect();
        let (degree, moduli) = (layout.set().ring_degree(), layout.set().moduli());
        let expected: Vec<u64> = (0..all[0].0.len())
            .map(|at| all.iter().map(|(residues, _)| residues[at]).sum::<u64>() % moduli[at / degree % moduli.len()])
            .collect();

        let mut folded = Accumulator::new(&layout);
        folded.add_all(&bytes).unwrap();
        prop_assert_eq!(&folded.sum, &expected);
        let mut one_by_one = Accumulator::new(&layout);
        bytes.iter().try_for_each(|bytes| one_by_one.add(bytes)).unwrap();
        prop_assert_eq!(&one_by_one.sum, &expected);
        let mut runs = Accumulator::new(&layout);
        for (first, range) in [(1, layout.chunk_bytes()..bytes[0].len()), (0, 0..layout.chunk_bytes())] {
            runs.add_chunks(first, &bytes.iter().map(|bytes| &bytes[range.clone()]).collect::<Vec<_>>()).unwrap();
        }
        prop_assert_eq!(&runs.sum, &expected);
    }

    #[test]
    fn refused_contribution_is_named_and_leaves_the_sum(
        set in 0..2_usize, bad in 0..4_usize, position in any::<prop::sample::Index>(), seed in any::<u64>(),
    ) {
        let layout = layout(ParameterSet::ALL[set]);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut all: Vec<_> = (0..4).map(|_| contribution(&layout, &mut rng).1).collect();
        let mut sum = Accumulator::new(&layout);
        sum.add(&all[0]).unwrap();
        let before = sum.sum.clone();
        let position = position.index(CHUNKS * layout.set().residues());
        spoil(&layout, &mut all[bad], position);
        let (chunk, position) = (position / layout.set().residues(), position % layout.set().residues());
        let source = ChunkError::Coefficient { position };
        let expected = FoldError { contribution: bad, chunk, source: source.clone() };

        let bytes: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(sum.add_all(&bytes), Err(expected.clone()));
        prop_assert_eq!(sum.add(bytes[bad]), Err(source));
        let one = chunk * layout.chunk_bytes()..(chunk + 1) * layout.chunk_bytes();
        let chunks: Vec<&[u8]> = bytes.iter().map(|bytes| &bytes[one.clone()]).collect();
        prop_assert_eq!(sum.add_chunks(chunk, &chunks), Err(expected));
        prop_assert_eq!(sum.sum, before);
    }
}

/// More addends than fit between two reductions, each as large as it can be.
#[test]
fn largest_residues_in_any_number_do_not_overflow() {
    let layout = layout(ParameterSet::P100);
    let mut bytes = vec![0; layout.chunk_bytes()];
    let largest = layout.set().moduli().iter().flat_map(|q| vec![q - 1; layout.set().ring_degree()]);
    pack::pack(&largest.collect::<Vec<_>>(), &mut bytes);
    for count in [ADDENDS - 1, ADDENDS, ADDENDS + 1, 2 * ADDENDS + 7] {
        let mut sum = Accumulator::new(&layout);
        sum.add_chunk(2, &bytes).unwrap();
        sum.add_chunks(2, &vec![bytes.as_slice(); count]).unwrap();
        let chunk = &sum.sum[2 * layout.set().residues()..];
        for (residues, q) in chunk.chunks(layout.set().ring_degree()).zip(layout.set().moduli()) {
            let expected = (u128::from(count as u64 + 1) * u128::from(q - 1) % u128::from(*q)) as u64;
            assert!(residues.iter().all(|&r| r == expected), "{count} addends");
        }
    }
}

#[test]
fn runs_of_a_wrong_length_or_place_are_named() {
    let layout = layout(ParameterSet::P50);
    let one = layout.chunk_bytes();
    let bytes = vec![0; layout.contribution_bytes() + one];
    let mut sum = Accumulator::new(&layout);
    let error = |contribution, chunk, source| Err(FoldError { contribution, chunk, source });
    let length = |expected, found| ChunkError::Length { expected, found };
    let whole = CHUNKS * one;
    assert_eq!(sum.add_all(&[&bytes[..whole], &bytes]), error(1, 0, length(whole, whole + one)));
    assert_eq!(sum.add_chunks(1, &[&bytes[..one], &bytes[..2 * one]]), error(1, 1, length(one, 2 * one)));
    assert_eq!(sum.add_chunks(1, &[&bytes[..one + 1]]), error(0, 1, length(2 * one, one + 1)));
    assert_eq!(sum.add_chunks(0, &[&[]]), error(0, 0, length(one, 0)));
    let index = |index| ChunkError::Index { index, count: CHUNKS };
    assert_eq!(sum.add_chunks(2, &[&bytes[..2 * one]]), error(0, 2, index(3)));
    assert_eq!(sum.add_chunks(usize::MAX, &[&bytes[..one]]), error(0, usize::MAX, index(usize::MAX)));
    assert_eq!((sum.add_all(&[]), sum.add_chunks(7, &[])), (Ok(()), Ok(())));
    assert!(sum.sum.iter().all(|&r| r == 0));
}
