//! Random rounds: cohorts, committees, layouts and values, against sums in i64.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use secure_sum::{
    Accumulator, CombineError, Commitments, Committee, DealingError, Layout, MaskSeed, OneTimeKey, OpenError,
    ParameterSet, SEAL_OVERHEAD, ShareError, ShareSum, Values, combine, deal, encrypt, open,
};

const SEED: MaskSeed = MaskSeed([3; 32]);

/// A submitted round: everything but the answers combined.
struct Round {
    layout: Layout,
    committee: Committee,
    sum: Accumulator,
    commitments: Commitments,
    answers: Vec<(u8, ShareSum)>,
    expected: Vec<i64>,
    clients: usize,
}

fn run(clients: usize, committee: Committee, values: Values, rng: &mut ChaCha20Rng) -> Round {
    let layout = Layout::derive(clients, values).unwrap();
    let mut round = Round {
        sum: Accumulator::new(&layout),
        commitments: Commitments::zero(&layout, &committee),
        answers: committee.indices().map(|i| (i, ShareSum::new(&layout))).collect(),
        expected: vec![0; values.count],
        layout,
        committee,
        clients,
    };
    let clamp = values.clamp as i64;
    for _ in 0..clients {
        let inputs: Vec<i64> = (0..values.count)
            // The ends of the range are as likely as all between them: sums reach their limits.
            .map(|_| match rng.next_u32() % 3 {
                0 => clamp,
                1 => -clamp,
                _ => rng.random_range(-clamp..=clamp),
            })
            .collect();
        let key = OneTimeKey::generate(&round.layout, rng);
        let dealing = deal(&key, &round.layout, &committee, rng).unwrap();
        let body = encrypt(&round.layout, &SEED, key, &inputs, rng).unwrap();
        let shares: usize = dealing.shares.iter().map(|share| share.to_bytes().len() + SEAL_OVERHEAD).sum();
        let sent = body.len() + shares + dealing.commitments.to_bytes().len();
        assert_eq!(round.layout.sent_bytes(&committee), sent);
        round.sum.add(&body).unwrap();
        dealing.commitments.check_degree(&committee).unwrap();
        round.commitments.add(&dealing.commitments).unwrap();
        for ((_, answer), share) in round.answers.iter_mut().zip(&dealing.shares) {
            answer.add(share).unwrap();
        }
        round.expected.iter_mut().zip(&inputs).for_each(|(sum, x)| *sum += x);
    }
    round
}

impl Round {
    /// Copies of the answers of these members, through their encoding.
    fn answers_of(&self, indices: &[u8]) -> Vec<(u8, ShareSum)> {
        let copy = |index: &u8| {
            let (_, answer) = &self.answers[usize::from(*index) - 1];
            (*index, ShareSum::from_bytes(&self.layout, &answer.to_bytes()).unwrap())
        };
        indices.iter().map(copy).collect()
    }

    fn combine(&self, answers: &[(u8, ShareSum)]) -> Result<Vec<i64>, CombineError> {
        let key = combine(&self.layout, &self.committee, &self.commitments, answers, self.clients)?;
        Ok(open(&self.layout, &SEED, &self.sum, &key, self.clients).unwrap())
    }
}

/// Members of a committee in a random order.
fn shuffled(committee: Committee, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut indices: Vec<u8> = committee.indices().collect();
    for at in (1..indices.len()).rev() {
        indices.swap(at, rng.random_range(0..=at));
    }
    indices
}

fn any_committee() -> impl Strategy<Value = Committee> {
    (1..9_u8)
        .prop_flat_map(|members| (members / 2 + 1..=members).prop_map(move |t| Committee::new(members, t).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sum_is_exact_for_any_quorum(
        clients in 3..8_usize,
        committee in any_committee(),
        count in 1..9_000_usize,
        clamp_log2 in 0..50_u32,
        noise_deviation in prop_oneof![Just(0.0), 4.0..1e6],
        seed in any::<u64>(),
    ) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let values = Values { count, clamp: 1 << clamp_log2, noise_deviation };
        let round = run(clients, committee, values, &mut rng);
        let quorum = shuffled(committee, &mut rng);
        let quorum = &quorum[..usize::from(committee.threshold())];
        prop_assert_eq!(round.combine(&round.answers_of(quorum)), Ok(round.expected.clone()));

        let fewer = &quorum[1..];
        prop_assert_eq!(
            round.combine(&round.answers_of(fewer)),
            Err(CombineError::TooFew { needed: quorum.len(), found: fewer.len() })
        );
    }

    #[test]
    fn false_answer_is_named_and_the_others_still_open(
        position in 0..4_usize, scalar in 0..20_usize, seed in any::<u64>(),
    ) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let committee = Committee::new(4, 3).unwrap();
        let values = Values { count: 100, clamp: 50, noise_deviation: 0.0 };
        let round = run(3, committee, values, &mut rng);
        let mut answers = round.answers_of(&shuffled(committee, &mut rng));
        let index = answers[position].0;
        let mut bytes = answers[position].1.to_bytes();
        bytes[1 + 32 * scalar] ^= 1;
        answers[position].1 = ShareSum::from_bytes(&round.layout, &bytes).unwrap();
        prop_assert_eq!(
            answers[position].1.check(&round.commitments, index),
            Err(ShareError::Commitment { index })
        );
        prop_assert_eq!(round.combine(&answers), Err(CombineError::FalseAnswer { index }));
        answers.remove(position);
        prop_assert_eq!(round.combine(&answers), Ok(round.expected.clone()));
    }

    #[test]
    fn dealer_off_the_polynomial_is_caught(
        members in 2..12_u8, victim in any::<prop::sample::Index>(), seed in any::<u64>(),
    ) {
        // With t = k any shares lie on a polynomial: nothing can be off it.
        let committee = Committee::new(members, members / 2 + 1).unwrap();
        prop_assume!(committee.threshold() < members);
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let values = Values { count: 1, clamp: 1, noise_deviation: 0.0 };
        let layout = Layout::derive(3, values).unwrap();
        let [one, two] = [(); 2].map(|()| {
            let key = OneTimeKey::generate(&layout, &mut rng);
            deal(&key, &layout, &committee, &mut rng).unwrap()
        });
        // One member's commitment comes from another dealing.
        let mut bytes = one.commitments.to_bytes();
        let at = 4 + 32 * victim.index(usize::from(members));
        bytes[at..at + 32].copy_from_slice(&two.commitments.to_bytes()[at..at + 32]);
        let mixed = Commitments::from_bytes(&layout, &committee, &bytes).unwrap();
        prop_assert_eq!(mixed.check_degree(&committee), Err(DealingError::Degree));
        prop_assert_eq!(one.commitments.check_degree(&committee), Ok(()));
        // Sums of dealings lie on polynomials as well.
        let mut both = one.commitments.clone();
        both.add(&two.commitments).unwrap();
        prop_assert_eq!(both.check_degree(&committee), Ok(()));
    }
}

/// All ten quorums of three of five open the same sum.
#[test]
fn every_quorum_of_three_of_five_opens() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let values = Values { count: 3_000, clamp: 100, noise_deviation: 9.0 };
    let round = run(3, Committee::new(5, 3).unwrap(), values, &mut rng);
    for a in 1..=5 {
        for b in a + 1..=5 {
            for c in b + 1..=5 {
                assert_eq!(round.combine(&round.answers_of(&[a, b, c])).as_ref(), Ok(&round.expected));
            }
        }
    }
}

/// Both sets, with one field up to seven, take part above; this fixes that each of them is derived somewhere.
#[test]
fn both_parameter_sets_are_derived() {
    let set = |clamp| {
        let values = Values { count: 1 << 20, clamp, noise_deviation: 0.0 };
        Layout::derive(10, values).unwrap().set()
    };
    assert_eq!(set(32_767), ParameterSet::P50);
    assert_eq!(set(127), ParameterSet::P100);
    assert_eq!(set(1 << 45), ParameterSet::P100);
}

#[test]
fn key_of_another_cohort_opens_nothing() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let committee = Committee::new(3, 2).unwrap();
    let values = Values { count: 5_000, clamp: 1_000, noise_deviation: 0.0 };
    let round = run(4, committee, values, &mut rng);
    let other = run(4, committee, values, &mut rng);
    let answers = other.answers_of(&[1, 2]);
    let key = combine(&other.layout, &committee, &other.commitments, &answers, 4).unwrap();
    let opened = open(&round.layout, &SEED, &round.sum, &key, 4);
    match opened {
        // A wrong key leaves at least 33 |U| sigma^2 (design), here far more than the limit of 4 |U| sigma^2.
        Err(OpenError::Residual { mean_square, limit, .. }) => assert!(mean_square > 8.0 * limit),
        other => panic!("a foreign key opened the sum: {other:?}"),
    }
    // Answers of another cohort do not open this cohort's commitments.
    assert_eq!(round.combine(&answers), Err(CombineError::FalseAnswer { index: 1 }));
}

#[test]
fn dealt_keys_that_are_not_small_void_the_round() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let committee = Committee::new(3, 2).unwrap();
    let values = Values { count: 10, clamp: 1, noise_deviation: 0.0 };
    let mut round = run(3, committee, values, &mut rng);
    // The first client's dealing counted 17 times: consistent shares of a key that is 17 times too large.
    let key = OneTimeKey::generate(&round.layout, &mut rng);
    let dealing = deal(&key, &round.layout, &committee, &mut rng).unwrap();
    for _ in 0..17 {
        round.commitments.add(&dealing.commitments).unwrap();
        for ((_, answer), share) in round.answers.iter_mut().zip(&dealing.shares) {
            answer.add(share).unwrap();
        }
    }
    assert_eq!(round.combine(&round.answers_of(&[3, 1])), Err(CombineError::KeyNotSmall { cohort: 3 }));
}
