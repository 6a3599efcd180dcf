//! One whole round in one process, from the crate's public API alone: four clients, who are the committee too,
//! three of whom must answer. One client vanishes after submitting.

#![expect(clippy::unwrap_used, reason = "tests")]

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use secure_sum::{
    Accumulator, Commitments, Committee, KeyShare, Layout, MaskSeed, OneTimeKey, SealingKey, ShareSum, Values,
    check_chunk, combine, deal, encrypt, open, seal, unseal,
};

const CLIENTS: usize = 4;
const INFO: &[u8] = b"announcement digest";

/// What a client submits: chunks for the sum, and shares sealed to each member with one commitment a member.
struct Contribution {
    chunks: Vec<u8>,
    sealed: Vec<Vec<u8>>,
    commitments: Vec<u8>,
}

fn associated_data(sender: usize, receiver: usize) -> [u8; 2] {
    [sender as u8, receiver as u8]
}

#[test]
fn four_clients_sum_their_values_and_three_of_them_open() {
    let mut rng = ChaCha20Rng::seed_from_u64(2026);

    // Announce. Everybody derives the same layout; the seed is a hash over the whole announcement, and members
    // have uploaded one-time sealing keys.
    let values = Values { count: 20_000, clamp: 5_000, noise_deviation: 300.0 };
    let layout = Layout::derive(CLIENTS, values).unwrap();
    assert!(layout.failure_log2() < -64.0);
    let committee = Committee::new(4, 3).unwrap();
    let seed = MaskSeed([42; 32]);
    let members: Vec<SealingKey> = committee.indices().map(|_| SealingKey::generate(&mut rng)).collect();

    // Train. Each client has clamped integers, noise included.
    let inputs: Vec<Vec<i64>> =
        (0..CLIENTS).map(|_| (0..values.count).map(|_| rng.random_range(-5_300..=5_300)).collect()).collect();

    // Encrypt. A fresh key encrypts the values once, is shared among the committee and dropped.
    let contributions: Vec<Contribution> = inputs
        .iter()
        .enumerate()
        .map(|(client, values)| {
            let key = OneTimeKey::generate(&layout, &mut rng);
            let dealing = deal(&key, &layout, &committee, &mut rng).unwrap();
            let chunks = encrypt(&layout, &seed, key, values, &mut rng).unwrap();
            let sealed = dealing.shares.iter().zip(&members).enumerate().map(|(receiver, (share, member))| {
                let aad = associated_data(client, receiver);
                seal(&member.public(), INFO, &aad, &share.to_bytes()).unwrap()
            });
            Contribution { chunks, sealed: sealed.collect(), commitments: dealing.commitments.to_bytes() }
        })
        .collect();

    // Submit. The aggregator checks every chunk as it arrives, checks that the shares lie on polynomials, adds.
    let mut sum = Accumulator::new(&layout);
    let mut commitments = Commitments::zero(&layout, &committee);
    for contribution in &contributions {
        let chunks = contribution.chunks.chunks(layout.chunk_bytes());
        assert_eq!(chunks.len(), layout.chunk_count());
        for (index, chunk) in chunks.enumerate() {
            check_chunk(&layout, chunk).unwrap();
            sum.add_chunk(index, chunk).unwrap();
        }
        let dealt = Commitments::from_bytes(&layout, &committee, &contribution.commitments).unwrap();
        dealt.check_degree(&committee).unwrap();
        commitments.add(&dealt).unwrap();
    }

    // Open. Members 1, 2 and 4 unseal their shares of exactly this cohort, check each against its dealer's
    // commitments and answer with the sum; member 3 has vanished.
    let answers: Vec<(u8, Vec<u8>)> = [1_u8, 2, 4]
        .into_iter()
        .map(|index| {
            let receiver = usize::from(index) - 1;
            let mut answer = ShareSum::new(&layout);
            for (client, contribution) in contributions.iter().enumerate() {
                let aad = associated_data(client, receiver);
                let bytes = unseal(&members[receiver], INFO, &aad, &contribution.sealed[receiver]).unwrap();
                let share = KeyShare::from_bytes(&layout, &bytes).unwrap();
                let dealt = &contribution.commitments;
                let dealt = Commitments::from_bytes(&layout, &committee, dealt).unwrap();
                share.check(&dealt, index).unwrap();
                answer.add(&share).unwrap();
            }
            (index, answer.to_bytes().to_vec())
        })
        .collect();

    // Combine. Three answers, each checked against the summed commitments, give the summed key; it opens the
    // summed chunks, which travelled as bytes.
    let answers: Vec<(u8, ShareSum)> =
        answers.iter().map(|(index, bytes)| (*index, ShareSum::from_bytes(&layout, bytes).unwrap())).collect();
    let key = combine(&layout, &committee, &commitments, &answers, CLIENTS).unwrap();
    let sum = Accumulator::from_bytes(&layout, &sum.to_bytes()).unwrap();
    let opened = open(&layout, &seed, &sum, &key, CLIENTS).unwrap();

    // Apply. What comes out is the exact sum of what went in.
    let expected: Vec<i64> = (0..values.count).map(|at| inputs.iter().map(|values| values[at]).sum()).collect();
    assert_eq!(opened, expected);
}
