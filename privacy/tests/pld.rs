//! Privacy-loss distributions against closed forms, Google's dp-accounting and the other accountants.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Setting, fixture};
use privacy::accountant::{
    Accountant, AccountantError, Grid, Rounds, epsilon, epsilon_of_renyi, pld, renyi, renyi_budget,
};
use proptest::prelude::*;

/// Above this, exp(epsilon) overflows and dp-accounting counts all of P's tail instead of P's less exp(epsilon) times Q's:
/// its value is then too large by up to a thousandth (the closed form of unsampled rounds shows it).
const OVERFLOW: f64 = 700.0;
/// dp-accounting's value is itself an upper bound, on a grid that is a fortieth of a step's deviation.
const THEIR_GRID: f64 = 1e-4;

#[test]
fn every_setting_is_within_a_hundredth_of_dp_accounting_and_not_below_it() {
    let fixture = fixture();
    assert!(fixture.settings.len() >= 60);
    let (mut over, mut under) = (0.0f64, 0.0f64);
    for setting in &fixture.settings {
        let Setting { rate, noise, steps, delta, pld: theirs, .. } = *setting;
        let got = pld::epsilon(&[Rounds::new(rate, noise, steps)], delta).unwrap();
        if theirs == 0.0 {
            assert!(got == 0.0, "{setting:?}: {got}");
            continue;
        }
        let relative = got / theirs - 1.0;
        let least = if theirs > OVERFLOW { -1.1e-3 } else { -THEIR_GRID };
        assert!(relative <= 0.01 && relative >= least, "{setting:?}: {got} is {relative:+.2e}");
        if theirs <= OVERFLOW {
            under = under.min(relative);
        }
        over = over.max(relative);
    }
    println!("{} settings: {over:+.2e} to {under:+.2e}", fixture.settings.len());
}

fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// Delta of the Gaussian mechanism with sensitivity over deviation `m`, exactly (Balle, Wang 2018, theorem 8).
fn gaussian_delta(m: f64, epsilon: f64) -> f64 {
    normal_cdf(m / 2.0 - epsilon / m) - epsilon.exp() * normal_cdf(-m / 2.0 - epsilon / m)
}

/// Many unsampled rounds are one Gaussian of sqrt(n) / z, whose delta has a closed form.
#[test]
fn without_sampling_it_is_the_analytic_gaussian_from_above_within_a_few_thousandths() {
    for (noise, rounds) in [(1.0, 1), (0.5, 1), (4.0, 16), (10.0, 1000), (2.0, 1000), (100.0, 100_000)] {
        let one = Rounds::new(1.0, noise, rounds);
        let m = (rounds as f64).sqrt() / noise;
        for delta in [1e-3, 1e-5, 1e-8, 1e-12] {
            let found = pld::epsilon(&[one], delta).unwrap();
            let at = gaussian_delta(m, found);
            assert!(at <= delta * (1.0 + 1e-6), "{noise} {rounds} {delta}: epsilon {found} is too small, delta {at}");
            let less = gaussian_delta(m, found * 0.997);
            assert!(less > delta, "{noise} {rounds} {delta}: epsilon {found} is more than 0.3% too large");
            let back = pld::delta(&[one], found).unwrap();
            assert!(back <= delta * 1.01 && back >= delta * 0.9, "{noise} {rounds}: {back} for {delta}");
        }
    }
}

/// One sampled round: delta is an integral with a closed form, in both directions.
#[test]
fn one_sampled_round_is_the_closed_form() {
    for (rate, noise) in [(0.5, 1.0), (0.01, 0.5), (0.1, 2.0), (1e-4, 0.5)] {
        for delta in [1e-5, 1e-8] {
            let found = pld::epsilon(&[Rounds::new(rate, noise, 1)], delta).unwrap();
            let exact = |epsilon: f64| {
                // P = (1-q) N(0) + q N(1) above exp(e) N(0) where x > z^2 ln((exp(e) - 1 + q) / q) + 1/2.
                let x = noise * noise * ((epsilon.exp_m1() + rate) / rate).ln() + 0.5;
                let (without, with) = (normal_cdf(-x / noise), normal_cdf((1.0 - x) / noise));
                (1.0 - rate) * without + rate * with - epsilon.exp() * without
            };
            if found == 0.0 {
                assert!(exact(0.0) <= delta);
                continue;
            }
            assert!(exact(found) <= delta * (1.0 + 1e-5), "{rate} {noise}: {found}");
            assert!(exact(found * 0.997) > delta, "{rate} {noise}: {found} is too large");
        }
    }
}

#[test]
fn sums_of_shares_on_a_grid_cost_a_little_more_and_narrow_ones_still_something() {
    let plain = Rounds::new(0.02, 0.8, 60);
    let wide = Grid { dimension: 100_000, integer_norm: 4096, shares: 3, deviation: 0.8 * 4096.0 / 3f64.sqrt() };
    let narrow = Grid { dimension: 100_000, integer_norm: 16, shares: 9, deviation: 0.8 * 16.0 / 3.0 };
    let of = |rounds| pld::epsilon(&[rounds], 1e-5).unwrap();
    let (exact, on_wide, on_narrow) = (of(plain), of(plain.on_grid(wide)), of(plain.on_grid(narrow)));
    assert!(on_wide >= exact && on_wide < exact * 1.0001, "{exact} {on_wide}");
    // 9 of the variance (0.8 * 16)^2 = 163.84 are given up: as if the noise multiplier were 2.8% smaller.
    let smaller = of(Rounds::new(0.02, 0.8 * (1.0 - 9.0 / 163.84f64).sqrt(), 60));
    assert!((on_narrow / smaller - 1.0).abs() < 1e-9, "{on_narrow} {smaller}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Tighter than Renyi divergences, and growing with rate and rounds, falling with noise and delta.
    #[test]
    fn it_is_below_the_renyi_accountant_and_monotone(
        log_rate in -4.0f64..0.0, noise in 0.6f64..8.0, log_rounds in 0.0f64..4.0, log_delta in -8.0f64..-4.0,
    ) {
        let (rate, rounds, delta) = (10f64.powf(log_rate), 10f64.powf(log_rounds) as u64, 10f64.powf(log_delta));
        let of = |rate: f64, noise, rounds, delta| pld::epsilon(&[Rounds::new(rate, noise, rounds)], delta).unwrap();
        let found = of(rate, noise, rounds, delta);
        let renyi = Accountant::Rdp.epsilon(&[Rounds::new(rate, noise, rounds)], delta).unwrap();
        prop_assert!(found <= renyi * 1.003 + 1e-9, "{} above {}", found, renyi);
        // Each is within 0.3% of the truth, so only larger changes must show.
        prop_assert!(of(rate, noise * 1.1, rounds, delta) <= found * 1.003 + 1e-9);
        prop_assert!(of(rate, noise, rounds * 2, delta) >= found * 0.997);
        prop_assert!(of((rate * 1.5).min(1.0), noise, rounds, delta) >= found * 0.997);
        prop_assert!(of(rate, noise, rounds, delta / 10.0) >= found * 0.997);
    }

    /// Rounds in any order and any grouping are the same distribution.
    #[test]
    fn the_order_of_rounds_does_not_matter(n in 1u64..50, m in 1u64..50) {
        let (a, b) = (Rounds::new(0.02, 1.0, n), Rounds::new(0.5, 3.0, m));
        let split = [Rounds { rounds: 1, ..a }, b, Rounds { rounds: n, ..a }];
        let one = pld::epsilon(&[Rounds { rounds: n + 1, ..a }, b], 1e-5).unwrap();
        let other = pld::epsilon(&split, 1e-5).unwrap();
        prop_assert!((one / other - 1.0).abs() < 1e-6);
        let reversed = pld::epsilon(&[b, Rounds { rounds: n + 1, ..a }], 1e-5).unwrap();
        prop_assert!((one / reversed - 1.0).abs() < 1e-6);
    }

    #[test]
    fn delta_and_epsilon_are_inverses(noise in 0.6f64..4.0, log_rounds in 0.0f64..3.0) {
        let one = Rounds::new(0.05, noise, 10f64.powf(log_rounds) as u64);
        let epsilon = pld::epsilon(&[one], 1e-6).unwrap();
        prop_assume!(epsilon > 1e-3);
        let back = pld::delta(&[one], epsilon).unwrap();
        prop_assert!(back < 1.02e-6 && back > 0.9e-6, "{}", back);
    }
}

/// Many unsampled rounds by zCDP: rho = n / 2 z^2, and the best order in closed form is close to 1 + sqrt(ln(1/delta) / rho).
#[test]
fn zcdp_is_the_renyi_bound_at_its_best_order_and_above_the_exact_gaussian() {
    for (noise, rounds, delta) in [(10.0, 50, 1e-5), (2.0, 1, 1e-6), (100.0, 100_000, 1e-8)] {
        let all = [Rounds::new(1.0, noise, rounds)];
        let found = Accountant::Zcdp.epsilon(&all, delta).unwrap();
        let rho = rounds as f64 / (2.0 * noise * noise);
        let at = |order: f64| rho * order + (1.0 - 1.0 / order).ln() - (delta * order).ln() / (order - 1.0);
        let best = (1..200_000).map(|i| at(1.0 + f64::from(i) * 1e-3)).fold(f64::INFINITY, f64::min);
        assert!((found / best - 1.0).abs() < 1e-6, "{found} {best}");
        assert!(found <= Accountant::Rdp.epsilon(&all, delta).unwrap() * (1.0 + 1e-12));
        assert!(gaussian_delta((rounds as f64).sqrt() / noise, found) < delta);
        let back = Accountant::Zcdp.delta(&all, found).unwrap();
        assert!((back / delta - 1.0).abs() < 1e-6, "{back}");
    }
    let sampled = Accountant::Zcdp.epsilon(&[Rounds::new(0.5, 1.0, 1)], 1e-5).unwrap_err();
    assert!(matches!(sampled, AccountantError::Sampled(rate) if rate == 0.5), "{sampled}");
}

#[test]
fn calibrations_of_every_accountant_invert_its_epsilon() {
    for (by, rate) in
        [(Accountant::Rdp, 0.02), (Accountant::Pld, 0.02), (Accountant::Pld, 1.0), (Accountant::Zcdp, 1.0)]
    {
        let (target, delta, rounds) = (2.5, 1e-5, 60);
        let noise = by.noise_for(target, delta, rate, rounds).unwrap();
        let of = |noise, rounds| by.epsilon(&[Rounds::new(rate, noise, rounds)], delta).unwrap();
        assert!(of(noise, rounds) <= target && of(noise * 0.995, rounds) > target, "{by:?} {rate}: {noise}");
        let found = by.rounds_for(target, delta, rate, noise).unwrap();
        // A part of the noise's last digit may be a round.
        assert!(found >= rounds && found <= rounds + 1, "{by:?} {rate}: {found}");
        assert!(of(noise, found) <= target);
    }
    let alone = Accountant::Pld.rounds_for(0.1, 1e-5, 1.0, 1.0).unwrap_err();
    assert!(matches!(alone, AccountantError::Unreachable { .. }), "{alone}");
}

/// Where the grid that an answer needs changes near the answer, or is not the one that the Renyi accountant's needs.
#[test]
fn calibrations_by_loss_distributions_are_tight_where_the_grid_changes() {
    for (rate, rounds, target) in [(1e-4, 10, 0.5), (1e-3, 10, 3.0), (1e-4, 1000, 0.5), (1e-4, 100_000, 0.5)] {
        let delta = 1e-6;
        let of = |noise, rounds| Accountant::Pld.epsilon(&[Rounds::new(rate, noise, rounds)], delta).unwrap();
        let noise = Accountant::Pld.noise_for(target, delta, rate, rounds).unwrap();
        assert!(of(noise, rounds) <= target && of(noise * 0.998, rounds) > target, "{rate} {rounds}: {noise}");
        let found = Accountant::Pld.rounds_for(target, delta, rate, noise).unwrap();
        let more = found + found.div_ceil(50);
        assert!(of(noise, found) <= target && of(noise, more) > target, "{rate} {rounds}: {found}");
    }
}

/// What a filter at a fixed order spends and may spend are inverses, and the best order is the accountant's own.
#[test]
fn one_renyi_order_gives_the_accountants_epsilon_and_its_budget_gives_it_back() {
    let one = Rounds::new(0.02, 0.9, 60);
    let found = epsilon(&[one], 1e-5).unwrap();
    let divergence = renyi(&one, found.order).unwrap();
    assert!((epsilon_of_renyi(divergence, found.order, 1e-5).unwrap() / found.epsilon - 1.0).abs() < 1e-12);
    assert!((renyi_budget(found.epsilon, found.order, 1e-5).unwrap() / divergence - 1.0).abs() < 1e-9);
    assert!(epsilon_of_renyi(renyi(&one, 2.0).unwrap(), 2.0, 1e-5).unwrap() > found.epsilon);
    for order in [1.0, 0.5, f64::NAN, f64::INFINITY] {
        assert!(matches!(renyi(&one, order), Err(AccountantError::Order(_))));
    }
    let delta = Accountant::Rdp.delta(&[one], found.epsilon).unwrap();
    assert!((delta / 1e-5 - 1.0).abs() < 1e-6, "{delta}");
}

#[test]
fn values_outside_their_rules_are_named() {
    let good = Rounds::new(0.5, 1.0, 3);
    assert!(matches!(pld::epsilon(&[good], 0.0), Err(AccountantError::Delta(_))));
    assert!(matches!(pld::epsilon(&[Rounds::new(0.0, 1.0, 3)], 1e-5), Err(AccountantError::Rate(_))));
    assert!(matches!(pld::epsilon(&[Rounds::new(0.5, f64::NAN, 3)], 1e-5), Err(AccountantError::NoiseMultiplier(_))));
    assert!(matches!(pld::epsilon(&[Rounds { rounds: 0, ..good }], 1e-5), Err(AccountantError::Zero(_))));
    assert!(matches!(pld::delta(&[good], -1.0), Err(AccountantError::Epsilon(_))));
    assert_eq!(pld::epsilon(&[], 1e-5).unwrap(), 0.0);
    // Hardly any noise: an epsilon that says so, or infinity, and never a panic.
    for noise in [1e-3, 1e-6, 1e-100] {
        let found = pld::epsilon(&[Rounds::new(0.5, noise, 7)], 1e-5).unwrap();
        assert!(found > 1e4, "{noise}: {found}");
    }
    assert!(pld::epsilon(&[Rounds::new(1e-9, 1e6, 1_000_000)], 1e-5).unwrap() < 1e-3);
}
