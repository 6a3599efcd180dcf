//! Who has which rows: splits among clients, even and uneven.

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};

/// How units are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Split {
    /// At random, equally many each.
    Iid,
    /// Each label is dealt by weights drawn from a Dirichlet distribution (Hsu, Qi, Brown 2019): the smaller `alpha`, the more each
    /// client has labels of its own.
    Dirichlet {
        /// Concentration, above 0.
        alpha: f64,
    },
    /// Sorted by label, in equal pieces: most clients see one or two labels.
    Label,
    /// At random, client sizes by a power law: the k-th has a share in proportion to `1 / k^exponent`.
    Size {
        /// 0 is equal sizes, 1 a steep law.
        exponent: f64,
    },
}

/// Deals `labels.len()` units among `clients`; gives each client's positions. Every unit is dealt once, each client's in random order, and every client
/// gets one at least where there are enough.
#[must_use]
pub fn deal(split: Split, labels: &[usize], clients: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.shuffle(&mut rng);
    let mut parts: Vec<Vec<usize>> = vec![Vec::new(); clients];
    match split {
        Split::Iid => pieces(&order, &vec![1.0; clients], &mut parts),
        Split::Label => {
            order.sort_by_key(|unit| labels[*unit]);
            pieces(&order, &vec![1.0; clients], &mut parts);
        }
        Split::Size { exponent } => {
            let weights: Vec<f64> = (1..=clients).map(|k| (k as f64).powf(-exponent)).collect();
            pieces(&order, &weights, &mut parts);
        }
        Split::Dirichlet { alpha } => {
            let most = labels.iter().copied().max().map_or(0, |most| most + 1);
            for label in 0..most {
                let own: Vec<usize> = order.iter().copied().filter(|unit| labels[*unit] == label).collect();
                let weights: Vec<f64> = (0..clients).map(|_| gamma(alpha, &mut rng)).collect();
                pieces(&own, &weights, &mut parts);
            }
        }
    }
    give_to_the_empty(&mut parts);
    // Some were dealt label by label: who takes the first few of a client's units must not take one label's.
    parts.iter_mut().for_each(|part| part.shuffle(&mut rng));
    parts
}

/// Cuts `units` into pieces in proportion to `weights` and adds one to each part.
fn pieces(units: &[usize], weights: &[f64], parts: &mut [Vec<usize>]) {
    let total: f64 = weights.iter().sum();
    // All weights can round to nothing for a tiny alpha: then the first takes all.
    let (mut reached, mut from) = (0.0, 0);
    for (part, weight) in parts.iter_mut().zip(weights) {
        reached += if total > 0.0 { weight / total } else { 1.0 };
        let to = ((reached * units.len() as f64).round() as usize).clamp(from, units.len());
        part.extend_from_slice(&units[from..to]);
        from = to;
    }
    if let (Some(last), true) = (parts.last_mut(), from < units.len()) {
        last.extend_from_slice(&units[from..]);
    }
}

fn give_to_the_empty(parts: &mut [Vec<usize>]) {
    while let Some(empty) = parts.iter().position(Vec::is_empty) {
        let Some(largest) = (0..parts.len()).max_by_key(|part| parts[*part].len()) else { return };
        if parts[largest].len() < 2 {
            return;
        }
        let unit = parts[largest].pop();
        parts[empty].extend(unit);
    }
}

/// A gamma variable of this shape and scale 1 (Marsaglia, Tsang 2000; below shape 1 by their boost).
fn gamma(shape: f64, rng: &mut ChaCha20Rng) -> f64 {
    if shape < 1.0 {
        let uniform: f64 = rng.random::<f64>().max(f64::MIN_POSITIVE);
        return gamma(shape + 1.0, rng) * uniform.powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        let u: f64 = rng.random::<f64>().max(f64::MIN_POSITIVE);
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// A normal variable (Box, Muller 1958); for dealing rows, never for noise.
fn normal(rng: &mut ChaCha20Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random::<f64>().max(f64::MIN_POSITIVE), rng.random());
    (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_unit_is_dealt_once_and_nobody_stays_empty_handed(
            labels in proptest::collection::vec(0usize..5, 1..200), clients in 1usize..30, seed in any::<u64>(),
            kind in 0usize..4, amount in 0.01f64..5.0,
        ) {
            let split = [Split::Iid, Split::Label, Split::Dirichlet { alpha: amount }, Split::Size { exponent: amount }][kind];
            let parts = deal(split, &labels, clients, seed);
            prop_assert_eq!(parts.len(), clients);
            let mut all: Vec<usize> = parts.iter().flatten().copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
            prop_assert!(labels.len() < clients || parts.iter().all(|part| !part.is_empty()));
        }
    }

    /// The share of a client's most common label: near 1/4 when dealt evenly, near 1 with labels of one's own.
    #[test]
    fn a_small_alpha_gives_clients_labels_of_their_own_and_a_large_one_does_not() {
        let labels: Vec<usize> = (0..4000).map(|i| i % 4).collect();
        let purity = |split| {
            let parts = deal(split, &labels, 20, 7);
            let most = |part: &Vec<usize>| {
                let counts = (0..4).map(|label| part.iter().filter(|unit| labels[**unit] == label).count());
                counts.max().unwrap_or(0) as f64 / part.len().max(1) as f64
            };
            parts.iter().map(most).sum::<f64>() / 20.0
        };
        assert!(purity(Split::Iid) < 0.35 && purity(Split::Dirichlet { alpha: 100.0 }) < 0.35);
        assert!(purity(Split::Dirichlet { alpha: 0.05 }) > 0.75 && purity(Split::Label) > 0.95);
    }

    /// A tenth of each client's units, the first ones, as a simulation holds them out: of every label about a tenth.
    #[test]
    fn the_first_units_of_a_client_are_of_all_its_labels() {
        let labels: Vec<usize> = (0..4000).map(|i| i % 4).collect();
        for split in [Split::Iid, Split::Dirichlet { alpha: 0.5 }, Split::Size { exponent: 1.0 }] {
            let parts = deal(split, &labels, 10, 3);
            let first = parts.iter().flat_map(|part| &part[..part.len() / 10]);
            let mut counts = [0usize; 4];
            first.for_each(|unit| counts[labels[*unit]] += 1);
            // 100 of each label in the mean, deviation below 10.
            assert!(counts.iter().all(|count| count.abs_diff(100) < 50), "{split:?} {counts:?}");
        }
    }

    /// Mean and variance of a gamma variable are its shape.
    #[test]
    fn gamma_variables_have_the_mean_and_variance_of_their_shape() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        for shape in [0.3, 1.0, 4.5] {
            let n = 40_000;
            let values: Vec<f64> = (0..n).map(|_| gamma(shape, &mut rng)).collect();
            let mean = values.iter().sum::<f64>() / f64::from(n);
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / f64::from(n);
            // Five standard errors: sqrt(shape / n), and for the variance sqrt((6 shape + 2 shape^2) / n).
            assert!((mean - shape).abs() < 5.0 * (shape / f64::from(n)).sqrt());
            assert!((variance - shape).abs() < 5.0 * ((6.0 * shape + 2.0 * shape * shape) / f64::from(n)).sqrt());
        }
    }
}
