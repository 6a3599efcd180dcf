//! Below the threshold there is nothing: any t - 1 shares together with every ciphertext fit every key alike.

#![expect(clippy::unwrap_used, reason = "tests")]

mod rounds;

use curve25519_dalek::Scalar;
use rand::RngExt;
use rounds::{Failure, Round, SEED, interpolate, scalars};
use secure_sum::{CombineError, Committee, OneTimeKey, ParameterSet, Values, glwe};
use tfhe_ntt::prime64::Plan;

/// The 1 - 10^-6 quantile of chi-square with 255 degrees of freedom is 377 (Wilson and Hilferty). Seeds are fixed.
const CHI_SQUARE_255: f64 = 377.0;

/// Wide enough for the one-prime set.
fn values(count: usize) -> Values {
    Values { count, clamp: 150_000, noise_deviation: 0.0 }
}

/// All quorums of three of five open the same sum; all pairs, nothing.
#[test]
fn every_triple_of_five_opens_and_no_pair_does() {
    let round = Round::new(3, Committee::new(5, 3).unwrap(), values(500), 1);
    let mut triples = 0;
    for a in 1..=5 {
        for b in a + 1..=5 {
            let alone = round.open(&round.answers(&[a, b]));
            assert_eq!(alone, Err(Failure::Combine(CombineError::TooFew { needed: 3, found: 2 })));
            for c in b + 1..=5 {
                assert_eq!(round.open(&round.answers(&[a, b, c])), Ok(round.expected()));
                triples += 1;
            }
        }
    }
    assert_eq!(triples, 10);
}

/// No ramp: c colluders who answer two sets and k - t who may be absent make t - 1, and t - 1 shares lie on a
/// polynomial of degree t - 1 through every secret, exactly, scalar by scalar, the blinding's too.
#[test]
fn shares_of_all_that_may_collude_or_be_absent_fit_every_other_secret() {
    for (k, t) in [(3, 3), (4, 3), (5, 3), (10, 7), (7, 4)] {
        let committee = Committee::new(k, t).unwrap();
        assert_eq!(committee.colluders_tolerated() + k - t, t - 1);
        let mut round = Round::new(3, committee, values(500), u64::from(k));
        let shares: Vec<Vec<Scalar>> =
            committee.indices().map(|index| scalars(&round.answer(index).to_bytes())).collect();
        let others: Vec<Scalar> =
            (0..shares[0].len()).map(|_| Scalar::from_bytes_mod_order(round.rng.random())).collect();
        for first in 0..=k - (t - 1) {
            let known: Vec<u8> = (first + 1..first + t).collect();
            for (j, &secret) in others.iter().enumerate() {
                let mut points: Vec<_> =
                    known.iter().map(|&x| (Scalar::from(x), shares[usize::from(x) - 1][j])).collect();
                let held = points.clone();
                points.push((Scalar::ZERO, secret));
                // t points: one polynomial of degree below t. It holds the other secret and every share known.
                assert_eq!(points.len(), usize::from(t));
                assert_eq!(interpolate(&points, Scalar::ZERO), secret);
                assert!(held.iter().all(|(x, share)| interpolate(&points, *x) == *share));
                // The t-th share alone tells the secrets apart.
                let next = committee.indices().find(|x| !known.contains(x)).unwrap();
                assert_ne!(interpolate(&points, Scalar::from(next)), shares[usize::from(next) - 1][j]);
            }
        }
    }
}

/// What two members of a committee of three see of two different keys is distributed alike, and uniformly: the
/// joint distribution of their two share scalars, over 4 of the high bits and 4 of the low bits of each.
#[test]
fn shares_of_t_minus_one_members_have_one_distribution_whatever_the_key() {
    const DEALINGS: usize = 120;
    let mut round = Round::new(3, Committee::new(3, 3).unwrap(), values(500), 7);
    let mut seen = |key: &OneTimeKey| {
        let mut counts = [[0_u32; 256]; 3];
        for _ in 0..DEALINGS {
            let dealing = round.deal(key);
            let [one, two] = [0, 1].map(|member| dealing.shares[member].to_bytes());
            for (one, two) in one[1..].as_chunks::<32>().0.iter().zip(two[1..].as_chunks::<32>().0) {
                // Below 2^252 all but 2^-127 of the scalars lie, so bits 248 to 251 are uniform.
                let [high, low] = [31, 0].map(|at| usize::from(one[at] & 15) << 4 | usize::from(two[at] & 15));
                counts[0][high] += 1;
                counts[1][low] += 1;
                // The sum of the two, as if their average were worth something.
                counts[2][usize::from(one[0].wrapping_add(two[0]))] += 1;
            }
        }
        counts
    };
    let layout = secure_sum::Layout::derive(3, values(500)).unwrap();
    let mut rng = <rand_chacha::ChaCha20Rng as rand::SeedableRng>::seed_from_u64(8);
    let [a, b] = [(); 2].map(|()| OneTimeKey::generate(&layout, &mut rng));
    for (a, b) in seen(&a).iter().zip(&seen(&b)) {
        assert!(uniform(a) < CHI_SQUARE_255, "{}", uniform(a));
        assert!(uniform(b) < CHI_SQUARE_255, "{}", uniform(b));
        // Two samples of one size: sum (a - b)^2 / (a + b).
        let both = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2) / f64::from(a + b));
        let statistic: f64 = both.sum();
        assert!(statistic < CHI_SQUARE_255, "{statistic}");
    }
}

/// A million coefficients of the sum, opened with two true answers and a guessed third, are uniform modulo q, and no
/// nearer to what the true third opens than chance; what that opens is far from uniform.
#[test]
fn a_sum_under_t_minus_one_answers_and_a_guess_is_uniform() {
    const CHUNKS: usize = 489;
    let committee = Committee::new(4, 3).unwrap();
    let mut round = Round::new(3, committee, values(2 * 2048 * CHUNKS), 9);
    assert_eq!((round.layout.set(), round.layout.chunk_count()), (ParameterSet::P50, CHUNKS));
    let known = [1, 2].map(|x| (Scalar::from(x), scalars(&round.answer(x).to_bytes())));
    let with = |third| [&known[..], &[(Scalar::from(3_u8), third)]].concat();
    let guess = (0..known[0].1.len()).map(|_| Scalar::from_bytes_mod_order(round.rng.random())).collect();
    let truth = scalars(&round.answer(3).to_bytes());
    let [guessed, opened] = [with(guess), with(truth)].map(|points| opened_with(&round, &points));

    let q = round.layout.set().moduli()[0];
    let buckets = |values: &[u64]| {
        let mut counts = [0; 256];
        values.iter().for_each(|&x| counts[(u128::from(x) * 256 / u128::from(q)) as usize] += 1);
        uniform(&counts)
    };
    assert!(buckets(&guessed) < CHI_SQUARE_255, "{}", buckets(&guessed));
    assert!(buckets(&opened) > 1e5, "{}", buckets(&opened));
    // The guess is off by a uniform element: differences are uniform as well.
    let differences: Vec<u64> = guessed.iter().zip(&opened).map(|(guess, truth)| (guess + q - truth) % q).collect();
    assert!(buckets(&differences) < CHI_SQUARE_255, "{}", buckets(&differences));
    assert_eq!(round.open(&round.answers(&[1, 2, 3])), Ok(round.expected()));
}

/// body - a S for every coefficient, under the key that these points interpolate to.
fn opened_with(round: &Round, points: &[(Scalar, Vec<Scalar>)]) -> Vec<u64> {
    let q = round.layout.set().moduli()[0];
    let plan = Plan::try_new(2048, q).unwrap();
    let key = guessed_key(round, points);
    let mut key: Vec<u64> = key.iter().map(|&c| c.rem_euclid(q as i64) as u64).collect();
    plan.fwd(&mut key);
    let sum = round.sum();
    let chunk = |chunk| {
        let ciphertext = glwe::ciphertext(&round.layout, &SEED, &sum, chunk, 0).unwrap().into_container();
        let (mask, body) = ciphertext.split_at(2048);
        let mut product = mask.to_vec();
        plan.fwd(&mut product);
        plan.mul_assign_normalize(&mut product, &key);
        plan.inv(&mut product);
        body.iter().zip(product).map(|(&body, product)| (body + q - product) % q).collect::<Vec<u64>>()
    };
    (0..round.layout.chunk_count()).flat_map(chunk).collect()
}

/// The digits of the interpolated scalars, as a member would read them, valid or not.
fn guessed_key(round: &Round, points: &[(Scalar, Vec<Scalar>)]) -> Vec<i64> {
    let bits = usize::from(*round.layout.to_bytes().last().unwrap());
    let per_scalar = 252 / bits;
    let half = 1_i64 << (bits - 1);
    let offset: Scalar =
        (0..per_scalar).fold(Scalar::ZERO, |sum, _| sum * Scalar::from(1_u64 << bits) + Scalar::from(half as u64));
    let scalar = |j: usize| {
        let points: Vec<_> = points.iter().map(|(x, values)| (*x, values[j])).collect();
        interpolate(&points, Scalar::ZERO) + offset
    };
    let digits = (0..2048_usize.div_ceil(per_scalar)).flat_map(|j| {
        let bytes = scalar(j).to_bytes();
        let bit = move |at: usize| i64::from(bytes[at / 8] >> (at % 8) & 1);
        (0..per_scalar).map(move |d| (0..bits).map(|b| bit(d * bits + b) << b).sum::<i64>() - half)
    });
    digits.take(2048).collect()
}

fn uniform(counts: &[u32; 256]) -> f64 {
    let expected = f64::from(counts.iter().sum::<u32>()) / 256.0;
    counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
}
