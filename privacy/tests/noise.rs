//! The noise against the discrete Gaussian's exact probabilities. opendp's generator cannot be seeded, so its
//! thresholds are six standard deviations: a right sampler fails once in 10^8 runs.
#![cfg(feature = "noise")]
#![expect(clippy::unwrap_used, reason = "tests")]

use privacy::accountant::{Rounds, epsilon};
use privacy::{NoiseError, NoiseShare, poisson_sample};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// Chi-square of draws over about `bins` bins of equal exact probability; returns (statistic, degrees of freedom).
fn chi_square(draws: &[i64], scale: f64, bins: usize) -> (f64, f64) {
    let reach = (12.0 * scale) as i64;
    let weight = |x: i64| (-(x as f64).powi(2) / (2.0 * scale * scale)).exp();
    let total: f64 = (-reach..=reach).map(weight).sum();
    let (mut bin_of, mut probabilities) = (Vec::new(), vec![0.0]);
    for x in -reach..=reach {
        let last = probabilities.len() - 1;
        bin_of.push(last);
        probabilities[last] += weight(x) / total;
        if probabilities[last] >= 1.0 / bins as f64 && x < reach {
            probabilities.push(0.0);
        }
    }
    let mut counts = vec![0.0; probabilities.len()];
    for draw in draws {
        counts[bin_of[(draw.clamp(&-reach, &reach) + reach) as usize]] += 1.0;
    }
    // A last bin that stayed small joins the one before it.
    let mut cells: Vec<(f64, f64)> = counts.into_iter().zip(probabilities).collect();
    let (count, probability) = cells.pop().unwrap();
    let before = cells.last_mut().unwrap();
    *before = (before.0 + count, before.1 + probability);
    let n = draws.len() as f64;
    (pearson(cells.iter().map(|(count, p)| (*count, n * p))), (cells.len() - 1) as f64)
}

/// How often a cell was found, and how often it is expected.
type Cell = (f64, f64);

/// Pearson's statistic.
fn pearson(cells: impl Iterator<Item = Cell>) -> f64 {
    cells.map(|(found, expected)| (found - expected).powi(2) / expected).sum()
}

/// Wilson and Hilferty's quantile at six standard deviations.
fn threshold(freedom: f64) -> f64 {
    let part = 2.0 / (9.0 * freedom);
    freedom * (1.0 - part + 6.0 * part.sqrt()).powi(3)
}

fn variance(draws: &[i64]) -> f64 {
    draws.iter().map(|x| (*x as f64).powi(2)).sum::<f64>() / draws.len() as f64
}

/// Draws for every chi-square.
const DRAWS: usize = 1_000_000;

fn assert_discrete_gaussian(draws: &[i64], scale: f64, bins: usize) {
    let (statistic, freedom) = chi_square(draws, scale, bins);
    println!("sigma {scale}: chi-square {statistic:.1} of {freedom}");
    assert!(statistic < threshold(freedom), "chi-square {statistic} with {freedom} degrees of freedom");
    let relative = variance(draws) / scale.powi(2) - 1.0;
    assert!(relative.abs() < 6.0 * (2.0 / draws.len() as f64).sqrt(), "variance off by {relative}");
    let mean = draws.iter().map(|x| *x as f64).sum::<f64>() / draws.len() as f64;
    assert!(mean.abs() < 6.0 * scale / (draws.len() as f64).sqrt(), "mean {mean}");
}

#[test]
fn a_million_draws_have_the_exact_probabilities_and_variance_at_four_grid_units() {
    let share = NoiseShare::local(1.0, 4).unwrap();
    assert_discrete_gaussian(&share.draw(DRAWS).unwrap(), 4.0, 1000); // a bin an integer
}

#[test]
fn a_million_draws_have_the_exact_probabilities_and_variance_at_a_rational_deviation() {
    // 0.81 * 2^15 / sqrt(3), rounded up to a multiple of 1/1024: the hospitals' share.
    let share = NoiseShare::new(0.81, 1 << 15, 4, 0, 1).unwrap();
    assert!(share.deviation() > 15_324.0 && share.deviation().fract() != 0.0);
    assert_discrete_gaussian(&share.draw(DRAWS).unwrap(), share.deviation(), 200);
}

/// What the honest shares alone put into the sum against the exact convolution of their laws, which is not a discrete
/// Gaussian's: at four grid units it comes within 1e-100 of one, so the same test serves.
#[test]
fn a_million_sums_of_three_shares_follow_the_convolution_of_their_laws() {
    let share = NoiseShare::new(1.0, 7, 4, 0, 1).unwrap();
    let lots: Vec<_> = (0..3).map(|_| share.draw(DRAWS).unwrap()).collect();
    let sums: Vec<i64> = (0..DRAWS).map(|i| lots.iter().map(|lot| lot[i]).sum()).collect();
    let reach = 80_i64;
    let weight = |x: i64| (-(x as f64).powi(2) / (2.0 * share.variance())).exp();
    let total: f64 = (-reach..=reach).map(weight).sum();
    let one: Vec<f64> = (-reach..=reach).map(|x| weight(x) / total).collect();
    let law = convolve(&convolve(&one, &one), &one);
    let centre = law.len() as i64 / 2;
    let mut counts = vec![0.0; law.len()];
    sums.iter().for_each(|sum| counts[(sum + centre) as usize] += 1.0);
    // Values with at least 20 expected draws one by one, all others together.
    let cells = counts.iter().zip(&law).map(|(found, p)| (*found, p * DRAWS as f64));
    let (singly, rare): (Vec<Cell>, Vec<Cell>) = cells.partition(|(_, expected)| *expected >= 20.0);
    let rest = rare.iter().fold((0.0, 0.0), |sum, cell| (sum.0 + cell.0, sum.1 + cell.1));
    let cells = singly.len() as f64;
    let statistic = pearson(singly.into_iter().chain([rest]));
    assert!(cells > 40.0 && statistic < threshold(cells), "chi-square {statistic} of {cells}");
}

fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        b.iter().enumerate().for_each(|(j, y)| sum[i + j] += x * y);
    }
    sum
}

/// Batches of 20 units at rate 0.05, a million units in all, with a fixed seed: sizes against the binomial law.
#[test]
fn a_million_units_join_their_batches_with_the_binomial_law() {
    let mut rng = ChaCha20Rng::seed_from_u64(20);
    let (units, rate, batches) = (20_usize, 0.05, DRAWS / 20);
    let mut counts = [0.0; 6];
    for _ in 0..batches {
        counts[poisson_sample(units, rate, &mut rng).unwrap().len().min(5)] += 1.0;
    }
    let choose = |k: i32| (0..k).map(|i| f64::from(20 - i) / f64::from(i + 1)).product::<f64>();
    let mut law: Vec<f64> = (0..5).map(|k| choose(k) * rate.powi(k) * (1.0 - rate).powi(20 - k)).collect();
    law.push(1.0 - law.iter().sum::<f64>());
    let expected = law.iter().map(|p| p * batches as f64);
    let statistic = pearson(counts.into_iter().zip(expected));
    assert!(statistic < 20.5, "5 degrees of freedom, p = 0.001: {statistic} {counts:?}");
}

/// The test above can fail: draws of a scale 3% off are rejected.
#[test]
fn the_chi_square_notices_a_scale_three_percent_off() {
    let share = NoiseShare::local(1.0, 4).unwrap();
    let (statistic, freedom) = chi_square(&share.draw(200_000).unwrap(), 4.12, 1000);
    assert!(statistic > threshold(freedom), "chi-square {statistic}");
}

#[test]
fn neighbouring_samples_are_uncorrelated() {
    let share = NoiseShare::local(1.0, 8).unwrap();
    let noise = share.draw(100_000).unwrap();
    for lag in [1, 2, 1024] {
        let products: f64 = noise.iter().zip(&noise[lag..]).map(|(a, b)| (a * b) as f64).sum();
        let correlation = products / share.variance() / noise.len() as f64;
        assert!(correlation.abs() < 6.0 / (noise.len() as f64).sqrt(), "lag {lag}: {correlation}");
    }
}

#[test]
fn the_honest_shares_alone_carry_all_the_noise() {
    // Dyadic multipliers, so that the inequality is one of integers: (1024 s)^2 h >= (1024 z D)^2.
    for (multiplier_in_1024ths, integer_norm, expected, may_vanish, colluders) in
        [(768u64, 32_768u64, 4, 0, 1), (829, 32_768, 10, 2, 1), (512, 40, 7, 1, 3), (10_240, 1 << 30, 10_000, 7, 30)]
    {
        let z = multiplier_in_1024ths as f64 / 1024.0;
        let share = NoiseShare::new(z, integer_norm, expected, may_vanish, colluders).unwrap();
        let honest = (expected - may_vanish - colluders) as u128;
        let grains = (share.deviation() * 1024.0) as u128;
        assert_eq!(grains as f64, share.deviation() * 1024.0);
        let needed = (u128::from(multiplier_in_1024ths) * u128::from(integer_norm)).pow(2);
        assert!(grains.pow(2) * honest >= needed, "too quiet");
        assert!((grains - 1).pow(2) * honest < needed, "louder than the grid forces");
        let rounds = Rounds::new(0.1, z, 5);
        assert!(epsilon(&[rounds.on_grid(share.grid(50_000))], 1e-5).is_ok());
    }
    let local = NoiseShare::local(0.5, 1024).unwrap();
    assert_eq!((local.deviation(), local.variance(), local.honest()), (512.0, 262_144.0, 1));
}

#[test]
fn the_price_against_central_noise_is_the_designs() {
    let four = NoiseShare::new(0.81, 1 << 15, 4, 0, 1).unwrap();
    let ten = NoiseShare::new(0.81, 1 << 15, 10, 0, 1).unwrap();
    let vanishing = NoiseShare::new(0.81, 1 << 15, 4, 1, 1).unwrap();
    assert!((four.factor(4) - 1.1547).abs() < 1e-4);
    assert!((ten.factor(10) - 1.0541).abs() < 1e-4);
    assert!((vanishing.factor(4) - std::f64::consts::SQRT_2).abs() < 1e-12);
    assert!((four.deviation_of_sum(4) / (0.81 * 32_768.0) - 1.1547).abs() < 1e-3);
}

#[test]
fn shares_outside_the_rules_are_refused() {
    use NoiseError as E;
    assert!(matches!(NoiseShare::new(1.0, 1 << 15, 3, 1, 1), Err(E::TooFewHonest { .. })));
    assert!(matches!(NoiseShare::new(1.0, 1 << 15, 1, 2, 0), Err(E::TooFewHonest { .. })));
    assert!(matches!(NoiseShare::new(1.0, 1 << 15, usize::MAX, 0, usize::MAX), Err(E::TooFewHonest { .. })));
    assert!(matches!(NoiseShare::new(1.0, 15, 17, 0, 1), Err(E::TooNarrow(_)))); // 15 / 4
    assert!(NoiseShare::new(1.0, 16, 17, 0, 1).is_ok());
    assert!(matches!(NoiseShare::local(1e9, 1 << 40), Err(E::TooWide(_))));
    assert!(matches!(NoiseShare::local(1.0, 0), Err(E::IntegerNorm)));
    for multiplier in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(NoiseShare::local(multiplier, 1 << 15), Err(E::Multiplier(_))));
    }
}

#[test]
fn a_share_can_be_drawn_on_another_thread() {
    let share = NoiseShare::local(1.0, 100).unwrap();
    let background = std::thread::spawn({
        let share = share.clone();
        move || share.draw(3000)
    });
    assert_eq!(share.draw(0).unwrap().len(), 0);
    assert_eq!(background.join().unwrap().unwrap().len(), 3000);
}
