//! Who holds which rows: every house gets its own mix of chapters.

use std::collections::BTreeMap;

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

use crate::rows::Row;

/// The smallest share of an equal part that a house may end up with; below it the split is drawn again.
const LEAST: f64 = 0.4;

/// Splits row indices over `houses`: for each chapter the shares are drawn from a Dirichlet distribution with alpha 0.5
/// (Hsu, Qi and Brown, arXiv 1909.06335), and its rows, shuffled, are cut by them. The same seed gives the same split.
pub fn by_chapter(rows: &[Row], houses: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut chapters: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        chapters.entry(&row.label).or_default().push(index);
    }
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let least = LEAST * rows.len() as f64 / houses.max(1) as f64;
    let mut split = Vec::new();
    // One draw in a few is even enough; the bound keeps a hopeless request (more houses than rows) from going on forever.
    for _ in 0..1000 {
        split = draw(&chapters, houses, &mut rng);
        if split.iter().all(|part| part.len() as f64 >= least) {
            break;
        }
    }
    split
}

fn draw(chapters: &BTreeMap<&str, Vec<usize>>, houses: usize, rng: &mut ChaCha20Rng) -> Vec<Vec<usize>> {
    let mut split = vec![Vec::new(); houses];
    for indices in chapters.values() {
        let mut indices = indices.clone();
        shuffle(&mut indices, rng);
        let shares = dirichlet_half(houses, rng);
        let (mut start, mut reached) = (0, 0.0);
        for (house, share) in split.iter_mut().zip(shares) {
            reached += share;
            let end = ((reached * indices.len() as f64).round() as usize).clamp(start, indices.len());
            house.extend(indices.get(start..end).unwrap_or_default());
            start = end;
        }
        // Rounding may leave the last row over.
        if let Some(last) = split.last_mut() {
            last.extend(indices.get(start..).unwrap_or_default());
        }
    }
    split.iter_mut().for_each(|part| part.sort_unstable());
    split
}

/// A draw from the symmetric Dirichlet distribution with alpha 1/2: independent Gamma(1/2) variables over their sum. Half
/// the square of a standard normal variable is Gamma(1/2).
fn dirichlet_half(count: usize, rng: &mut ChaCha20Rng) -> Vec<f64> {
    let gammas: Vec<f64> = (0..count).map(|_| normal(rng).powi(2) / 2.0).collect();
    let sum: f64 = gammas.iter().sum();
    gammas.iter().map(|gamma| gamma / sum).collect()
}

/// Box and Muller's transform.
pub(crate) fn normal(rng: &mut ChaCha20Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

fn shuffle(items: &mut [usize], rng: &mut ChaCha20Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |i: usize| Row { code: format!("A{i:05}"), text: "x".to_owned(), label: format!("c{}", i % 7) };
        (0..2000).map(row).collect()
    }

    #[test]
    fn each_row_is_in_one_house_and_the_seed_decides_which() {
        let rows = rows();
        for houses in [3, 4, 10] {
            let split = by_chapter(&rows, houses, 5);
            let mut all: Vec<usize> = split.iter().flatten().copied().collect();
            all.sort_unstable();
            assert_eq!(all, (0..rows.len()).collect::<Vec<_>>(), "{houses} houses");
            assert!(split.iter().all(|part| part.len() * houses * 10 >= rows.len() * 4), "{houses} houses");
            assert_eq!(split, by_chapter(&rows, houses, 5));
            assert_ne!(split, by_chapter(&rows, houses, 6));
        }
    }

    #[test]
    fn shares_have_the_mean_and_variance_of_the_distribution() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let shares: Vec<f64> = (0..20_000).filter_map(|_| dirichlet_half(4, &mut rng).first().copied()).collect();
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        let variance = shares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / shares.len() as f64;
        // Dirichlet(1/2, four times): mean 1/4, variance (1/4)(3/4) / (4/2 + 1) = 1/16.
        assert!((mean - 0.25).abs() < 0.01 && (variance - 0.0625).abs() < 0.003, "{mean} {variance}");
    }
}
