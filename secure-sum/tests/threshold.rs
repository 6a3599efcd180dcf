//! Below the threshold there is nothing: any t - 1 shares together with every ciphertext fit every key alike.

#![expect(clippy::unwrap_used, reason = "tests")]

mod rounds;

use curve25519_dalek::Scalar;
use rand::RngExt;
use rounds::{Failure, Round, SEED, interpolate, scalars, weight};
use secure_sum::{CombineError, Committee, OneTimeKey, ParameterSet, Values, combine_unchecked, glwe};
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
            // Nor by force: taken for enough, they give no sum of keys. Repeated or nobody's, they give nothing either.
            let mut nobodys = round.answers(&[a, b, b]);
            nobodys[2].0 = 0;
            for forced in [round.answers(&[a, b]), round.answers(&[a, a, b]), nobodys] {
                assert!(combine_unchecked(&round.layout, &forced, 3).is_none(), "{a} {b}");
            }
            for c in b + 1..=5 {
                let answers = round.answers(&[a, b, c]);
                assert!(combine_unchecked(&round.layout, &answers, 3).is_some());
                assert_eq!(round.open(&answers), Ok(round.expected()));
                triples += 1;
            }
        }
    }
    assert_eq!(triples, 10);
}

/// No ramp: c colluders who answer two sets and k - t who may be absent make t - 1, and the polynomials that are really
/// dealt have degree t - 1 exactly, every scalar its own, so t - 1 shares leave their value at zero open.
#[test]
fn what_is_dealt_has_degree_t_minus_one_exactly_scalar_by_scalar() {
    for (k, t) in [(3, 3), (4, 3), (5, 3), (10, 7), (7, 4)] {
        let committee = Committee::new(k, t).unwrap();
        assert_eq!(committee.colluders_tolerated() + k - t, t - 1);
        let round = Round::new(3, committee, values(500), u64::from(k));
        for client in &round.clients {
            let shares: Vec<Vec<Scalar>> =
                client.dealing.shares.iter().map(|share| scalars(&share.to_bytes())).collect();
            assert_eq!(leading(&shares, usize::from(t)), Ok(()), "{t} of {k}");
        }
    }
}

/// The control: a ramp, a lower degree, shares that are the secret, and one polynomial for two scalars are each found.
#[test]
fn dealers_of_a_lower_degree_or_of_one_polynomial_twice_are_told_apart() {
    let (t, k) = (4, 6);
    let mut rng = <rand_chacha::ChaCha20Rng as rand::SeedableRng>::seed_from_u64(3);
    let mut deal = |degrees: &[usize]| {
        let polynomials: Vec<Vec<Scalar>> = degrees
            .iter()
            .map(|degree| (0..=*degree).map(|_| Scalar::from_bytes_mod_order(rng.random())).collect())
            .collect();
        let at = |x: u8| {
            let value = |f: &Vec<Scalar>| f.iter().rev().fold(Scalar::ZERO, |sum, c| sum * Scalar::from(x) + c);
            polynomials.iter().map(value).collect::<Vec<_>>()
        };
        (1..=k).map(at).collect::<Vec<_>>()
    };
    assert_eq!(leading(&deal(&[3, 3, 3]), t), Ok(()));
    assert_eq!(leading(&deal(&[3, 2, 3]), t), Err("degree below t - 1"));
    assert_eq!(leading(&deal(&[3, 3, 0]), t), Err("degree below t - 1"));
    assert_eq!(leading(&deal(&[3, 4, 3]), t), Err("degree above t - 1"));
    let mut twice = deal(&[3, 3]);
    // The same but for the secret: the difference of two scalars is in every share.
    twice.iter_mut().for_each(|share| share[1] = share[0] + Scalar::ONE);
    assert_eq!(leading(&twice, t), Err("one polynomial twice"));
}

/// Whether the shares of all members have degree t - 1 exactly, with leading coefficients all different.
fn leading(shares: &[Vec<Scalar>], t: usize) -> Result<(), &'static str> {
    let mut seen = std::collections::BTreeSet::new();
    for j in 0..shares[0].len() {
        let points: Vec<_> = (1_u64..).zip(shares).map(|(x, share)| (Scalar::from(x), share[j])).collect();
        let windows: Vec<Scalar> = points.windows(t).map(divided_difference).collect();
        if windows.iter().any(|leading| *leading != windows[0]) {
            return Err("degree above t - 1");
        }
        for window in points.windows(t) {
            let all = interpolate(window, Scalar::ZERO);
            if interpolate(&window[1..], Scalar::ZERO) == all || interpolate(&window[..t - 1], Scalar::ZERO) == all {
                return Err("degree below t - 1");
            }
        }
        if !seen.insert(windows[0].to_bytes()) {
            return Err("one polynomial twice");
        }
    }
    Ok(())
}

/// The coefficient of x^(n-1) of the polynomial through n points.
fn divided_difference(points: &[(Scalar, Scalar)]) -> Scalar {
    let others = |at: Scalar| points.iter().filter(move |(x, _)| *x != at).map(move |(x, _)| at - x);
    points.iter().map(|(x, value)| value * others(*x).product::<Scalar>().invert()).sum()
}

/// What t - 1 members see of two different keys is distributed alike, and uniformly: bytes of fixed combinations of
/// their share scalars, among them the one that would be the secret if the degree were lower.
#[test]
fn shares_of_t_minus_one_members_have_one_distribution_whatever_the_key() {
    for (k, t) in [(3, 3), (4, 3), (10, 7)] {
        let known: Vec<Scalar> = (1..t).map(Scalar::from).collect();
        let weights: Vec<Vec<Scalar>> = vec![
            known.iter().map(|x| weight(known.iter().copied(), *x, Scalar::ZERO)).collect(),
            known.iter().map(|_| Scalar::ONE).collect(),
            known.iter().map(|x| x * x).collect(),
            known.iter().map(|x| if *x == Scalar::ONE { Scalar::ONE } else { Scalar::ZERO }).collect(),
        ];
        let mut round = Round::new(3, Committee::new(k, t).unwrap(), values(500), 7);
        let [a, b] = [(); 2].map(|()| round.key());
        let (a, b) = (seen(&mut round, &a, &weights), seen(&mut round, &b, &weights));
        for (a, b) in a.iter().zip(&b) {
            assert!(uniform(a) < CHI_SQUARE_255, "{t} of {k}: {}", uniform(a));
            assert!(uniform(b) < CHI_SQUARE_255, "{t} of {k}: {}", uniform(b));
            // Two samples of one size: sum (a - b)^2 / (a + b).
            let both = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2) / f64::from(a + b));
            let statistic: f64 = both.sum();
            assert!(statistic < CHI_SQUARE_255, "{t} of {k}: {statistic}");
        }
    }
}

/// How often each high and each low byte occurs in these combinations of the first members' shares of a key.
fn seen(round: &mut Round, key: &OneTimeKey, weights: &[Vec<Scalar>]) -> Vec<[u32; 256]> {
    const DEALINGS: usize = 60;
    let mut counts = vec![[0; 256]; 2 * weights.len()];
    for _ in 0..DEALINGS {
        let dealing = round.deal(key);
        let members = weights[0].len();
        let shares: Vec<Vec<Scalar>> =
            dealing.shares[..members].iter().map(|share| scalars(&share.to_bytes())).collect();
        for j in 0..shares[0].len() {
            for (weights, counts) in weights.iter().zip(counts.as_chunks_mut::<2>().0) {
                let sum: Scalar = weights.iter().zip(&shares).map(|(weight, share)| weight * share[j]).sum();
                // Below 2^252 all but 2^-127 of the scalars lie, so bits 244 to 251 are uniform.
                let bytes = sum.to_bytes();
                counts[0][usize::from(bytes[31] << 4 | bytes[30] >> 4)] += 1;
                counts[1][usize::from(bytes[0])] += 1;
            }
        }
    }
    counts
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
