//! Checksums of bodies against the definition, and every way to tamper with a sum.

#![expect(clippy::unwrap_used, reason = "tests")]

use aes::cipher::{KeyIvInit, StreamCipher};
use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use secure_sum::{
    Accumulator, Challenge, Checksum, ChecksumBuilder, ChunkError, EncodingError, Layout, OtherLayout, ParameterSet,
    Values,
};
use sha2::{Digest, Sha256};

const CHALLENGE: Challenge = Challenge([9; 32]);

/// A layout of each set: three chunks of P50, two of P100.
fn layout(set: ParameterSet) -> Layout {
    let layout = match set {
        ParameterSet::P50 => Layout::derive(10, Values { count: 12_000, clamp: 32_767, noise_deviation: 0.0 }),
        ParameterSet::P100 => Layout::derive(10, Values { count: 50_000, clamp: 127, noise_deviation: 0.0 }),
    };
    let layout = layout.unwrap();
    assert_eq!(layout.set(), set);
    assert!(layout.chunk_count() >= 2);
    layout
}

/// The residues of a body, chunk after chunk and prime after prime, and their bytes.
#[derive(Clone)]
struct Body(Vec<u64>);

impl Body {
    fn random(layout: &Layout, rng: &mut impl Rng) -> Self {
        let (degree, moduli) = (layout.set().ring_degree(), layout.set().moduli());
        let count = layout.chunk_count() * degree * moduli.len();
        Self((0..count).map(|at| rng.random_range(0..moduli[at / degree % moduli.len()])).collect())
    }

    /// 50 bits a residue, bit by bit.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.0.len() * 50 / 8];
        for (at, residue) in self.0.iter().enumerate() {
            for bit in (0..50).filter(|bit| residue >> bit & 1 == 1) {
                bytes[(50 * at + bit) / 8] |= 1 << ((50 * at + bit) % 8);
            }
        }
        bytes
    }

    fn checksum(&self, layout: &Layout, challenge: &Challenge) -> Checksum {
        Checksum::of(layout, challenge, &self.to_bytes()).unwrap()
    }

    fn plus(&self, layout: &Layout, other: &Self) -> Self {
        let (degree, moduli) = (layout.set().ring_degree(), layout.set().moduli());
        let pairs = self.0.iter().zip(&other.0).enumerate();
        Self(pairs.map(|(at, (a, b))| (a + b) % moduli[at / degree % moduli.len()]).collect())
    }
}

fn total(layout: &Layout, checksums: &[Checksum]) -> Checksum {
    let mut sum = Checksum::zero(layout);
    checksums.iter().for_each(|checksum| sum.add(checksum).unwrap());
    sum
}

/// The weights as the documentation tells, word by word.
fn uniform(seed: [u8; 32], chunk: u64, prime: u8, q: u64, count: usize) -> Vec<u64> {
    let digest = Sha256::new()
        .chain_update(b"plainchant/secure-sum/mask/v1")
        .chain_update(seed)
        .chain_update(chunk.to_le_bytes())
        .chain_update([prime])
        .finalize();
    let mut stream = ctr::Ctr128BE::<aes::Aes128>::new_from_slices(&digest[..16], &digest[16..]).unwrap();
    let mut words = std::iter::from_fn(move || {
        let mut word = [0; 8];
        stream.apply_keystream(&mut word);
        Some(u64::from_le_bytes(word) % (1 << 50))
    });
    words.by_ref().filter(|&word| word < q).take(count).collect()
}

/// value_l = sum_c u_lc sum_j v_lj b_cj modulo p, every product by itself.
fn by_definition(layout: &Layout, challenge: &Challenge, body: &Body) -> Vec<u8> {
    let (degree, moduli) = (layout.set().ring_degree(), layout.set().moduli());
    let seed = |label: &[u8]| Sha256::new().chain_update(label).chain_update(challenge.0).finalize().into();
    let rows = seed(b"plainchant/secure-sum/checksum/positions/v1");
    let columns = seed(b"plainchant/secure-sum/checksum/chunks/v1");
    let mut encoded = vec![1];
    for (prime, &q) in moduli.iter().enumerate() {
        for l in 0..3 {
            let v = uniform(rows, l as u64, prime as u8, q, degree);
            let mut value = 0;
            for (c, chunk) in body.0.chunks(degree * moduli.len()).enumerate() {
                let u = uniform(columns, c as u64, prime as u8, q, 3)[l];
                for (v, b) in v.iter().zip(&chunk[prime * degree..]) {
                    let product = u128::from(u) * u128::from(*v) % u128::from(q) * u128::from(*b);
                    value = (value + product) % u128::from(q);
                }
            }
            encoded.extend((value as u64).to_le_bytes());
        }
    }
    encoded
}

#[test]
fn values_are_those_of_the_formula() {
    for set in ParameterSet::ALL {
        let layout = layout(set);
        let body = Body::random(&layout, &mut ChaCha20Rng::seed_from_u64(1));
        assert_eq!(body.checksum(&layout, &CHALLENGE).to_bytes(), by_definition(&layout, &CHALLENGE, &body));
        // The largest residues in every place: no partial sum wraps.
        let (degree, moduli) = (set.ring_degree(), set.moduli());
        let largest = Body((0..body.0.len()).map(|at| moduli[at / degree % moduli.len()] - 1).collect());
        assert_eq!(largest.checksum(&layout, &CHALLENGE).to_bytes(), by_definition(&layout, &CHALLENGE, &largest));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn checksums_of_bodies_add_up_to_the_checksum_of_their_sum(seed in any::<u64>(), clients in 1..6_usize, wide in any::<bool>()) {
        let layout = layout(if wide { ParameterSet::P100 } else { ParameterSet::P50 });
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let challenge = Challenge(rng.random());
        let bodies: Vec<Body> = (0..clients).map(|_| Body::random(&layout, &mut rng)).collect();
        let mut accumulator = Accumulator::new(&layout);
        bodies.iter().for_each(|body| accumulator.add(&body.to_bytes()).unwrap());
        let checksums: Vec<Checksum> = bodies.iter().map(|body| body.checksum(&layout, &challenge)).collect();
        let expected = Checksum::of_sum(&layout, &challenge, &accumulator).unwrap();
        prop_assert_eq!(&total(&layout, &checksums), &expected);
        let sum = bodies.iter().skip(1).fold(bodies[0].clone(), |sum, body| sum.plus(&layout, body));
        prop_assert_eq!(&sum.checksum(&layout, &challenge), &expected);
        // One body missing, and one twice.
        prop_assert_ne!(&total(&layout, &checksums[1..]), &expected);
        prop_assert_ne!(&total(&layout, &[&checksums[..], &checksums[..1]].concat()), &expected);
        prop_assert_ne!(Checksum::of_sum(&layout, &Challenge([0; 32]), &accumulator).unwrap(), expected);
    }

    #[test]
    fn chunks_give_the_same_in_any_order(seed in any::<u64>(), wide in any::<bool>()) {
        let layout = layout(if wide { ParameterSet::P100 } else { ParameterSet::P50 });
        let bytes = Body::random(&layout, &mut ChaCha20Rng::seed_from_u64(seed)).to_bytes();
        let expected = Checksum::of(&layout, &CHALLENGE, &bytes).unwrap();
        let chunks: Vec<_> = bytes.chunks(layout.chunk_bytes()).enumerate().collect();
        for turned in [false, true] {
            let mut builder = ChecksumBuilder::new(&layout, &CHALLENGE);
            let turn = |at: usize| if turned { chunks.len() - 1 - at } else { at };
            (0..chunks.len()).map(|at| chunks[turn(at)]).for_each(|(index, chunk)| builder.add_chunk(index, chunk).unwrap());
            prop_assert_eq!(builder.finish(), expected.clone());
        }
    }

    #[test]
    fn any_single_altered_residue_is_found(seed in any::<u64>(), wide in any::<bool>()) {
        let set = if wide { ParameterSet::P100 } else { ParameterSet::P50 };
        let layout = layout(set);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let body = Body::random(&layout, &mut rng);
        let at = rng.random_range(0..body.0.len());
        let q = set.moduli()[at / set.ring_degree() % set.moduli().len()];
        let mut altered = body.clone();
        altered.0[at] = (altered.0[at] + rng.random_range(1..q)) % q;
        prop_assert_ne!(altered.checksum(&layout, &CHALLENGE), body.checksum(&layout, &CHALLENGE));
    }
}

#[test]
fn moved_residues_and_added_constants_are_found() {
    for set in ParameterSet::ALL {
        let (layout, degree) = (layout(set), set.ring_degree());
        let chunk = degree * set.moduli().len();
        let body = Body::random(&layout, &mut ChaCha20Rng::seed_from_u64(2));
        let honest = body.checksum(&layout, &CHALLENGE);
        let found = |alter: &dyn Fn(&mut Vec<u64>)| {
            let mut altered = body.clone();
            alter(&mut altered.0);
            assert_ne!(altered.0, body.0);
            assert_ne!(altered.checksum(&layout, &CHALLENGE), honest);
        };
        // Two chunks change places, two positions do, all positions shift by one.
        found(&|residues| (0..chunk).for_each(|at| residues.swap(at, chunk + at)));
        found(&|residues| residues.swap(0, degree - 1));
        found(&|residues| residues[..degree].rotate_left(1));
        // The same is added at one position of each chunk, or everywhere; or to one chunk and taken from another.
        found(&|residues| {
            residues.iter_mut().step_by(chunk).for_each(|residue| *residue = (*residue + 1) % set.moduli()[0])
        });
        found(&|residues| {
            for (at, residue) in residues.iter_mut().enumerate() {
                *residue = (*residue + 5) % set.moduli()[at / degree % set.moduli().len()];
            }
        });
        found(&|residues| {
            residues[0] = (residues[0] + 7) % set.moduli()[0];
            residues[chunk] = (residues[chunk] + set.moduli()[0] - 7) % set.moduli()[0];
        });
        // All of it is replaced by zeros.
        found(&|residues| residues.fill(0));
    }
}

#[test]
fn repetitions_and_primes_have_weights_of_their_own() {
    let layout = layout(ParameterSet::P100);
    // The same small residues modulo both primes: only the weights can make a difference.
    let encoded = Body(vec![3; layout.chunk_count() * 8192]).checksum(&layout, &CHALLENGE).to_bytes();
    let mut values: Vec<&[u8]> = encoded[1..].chunks(8).collect();
    values.sort_unstable();
    values.dedup();
    assert_eq!(values.len(), 6);
}

#[test]
fn bodies_that_are_none_are_refused_like_chunks() {
    for set in ParameterSet::ALL {
        let layout = layout(set);
        let bytes = Body::random(&layout, &mut ChaCha20Rng::seed_from_u64(3)).to_bytes();
        let expected = bytes.len();
        for found in [0, 1, expected - 1, expected - layout.chunk_bytes()] {
            let refused = Checksum::of(&layout, &CHALLENGE, &bytes[..found]);
            assert_eq!(refused, Err(ChunkError::Length { expected, found }));
        }
        let mut high = bytes.clone();
        // The last residue of the second chunk becomes 2^50 - 1.
        high[2 * layout.chunk_bytes() - 7..2 * layout.chunk_bytes()].fill(0xff);
        let position = set.ring_degree() * set.moduli().len() - 1;
        assert_eq!(Checksum::of(&layout, &CHALLENGE, &high), Err(ChunkError::Coefficient { position }));
        let mut builder = ChecksumBuilder::new(&layout, &CHALLENGE);
        let count = layout.chunk_count();
        let chunk = &bytes[..layout.chunk_bytes()];
        assert_eq!(builder.add_chunk(count, chunk), Err(ChunkError::Index { index: count, count }));
        assert!(matches!(builder.add_chunk(0, &chunk[1..]), Err(ChunkError::Length { .. })));
        let second = &high[layout.chunk_bytes()..2 * layout.chunk_bytes()];
        assert_eq!(builder.add_chunk(0, second), Err(ChunkError::Coefficient { position }));
        // What was refused has left no trace.
        assert_eq!(builder.finish(), Checksum::zero(&layout));
    }
}

#[test]
fn encodings_round_trip_and_are_refused_when_not_canonical() {
    for set in ParameterSet::ALL {
        let layout = layout(set);
        let checksum = Body::random(&layout, &mut ChaCha20Rng::seed_from_u64(4)).checksum(&layout, &CHALLENGE);
        let bytes = checksum.to_bytes();
        assert_eq!(bytes.len(), 1 + 24 * set.moduli().len());
        assert_eq!(Checksum::from_bytes(&layout, &bytes).unwrap(), checksum);
        for length in 0..bytes.len() {
            let refused = Checksum::from_bytes(&layout, &bytes[..length]);
            assert!(matches!(refused, Err(EncodingError::Length { found, .. }) if found == length));
        }
        assert!(matches!(
            Checksum::from_bytes(&layout, &[&bytes[..], &[0]].concat()),
            Err(EncodingError::Length { .. })
        ));
        for version in [0, 2, 255] {
            let other = [&[version], &bytes[1..]].concat();
            assert!(
                matches!(Checksum::from_bytes(&layout, &other), Err(EncodingError::Version { found, .. }) if found == version)
            );
        }
        for position in 0..3 * set.moduli().len() {
            for value in [set.moduli()[position / 3], u64::MAX] {
                let mut other = bytes.clone();
                other[1 + 8 * position..][..8].copy_from_slice(&value.to_le_bytes());
                let refused = Checksum::from_bytes(&layout, &other);
                assert!(matches!(refused, Err(EncodingError::Element { position: at, .. }) if at == position));
            }
        }
    }
}

#[test]
fn other_layouts_are_refused() {
    let [narrow, wide] = ParameterSet::ALL.map(layout);
    assert_eq!(Checksum::zero(&narrow).add(&Checksum::zero(&wide)), Err(OtherLayout));
    assert_eq!(Checksum::of_sum(&narrow, &CHALLENGE, &Accumulator::new(&wide)), Err(OtherLayout));
    let shorter = Layout::derive(10, Values { count: 10, clamp: 32_767, noise_deviation: 0.0 }).unwrap();
    assert_eq!(Checksum::of_sum(&narrow, &CHALLENGE, &Accumulator::new(&shorter)), Err(OtherLayout));
}
