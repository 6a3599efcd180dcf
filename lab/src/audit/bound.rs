//! A lower bound on epsilon from guesses about many canaries of one run.

/// Halvings of the search for the bound.
const STEPS: u32 = 60;
/// No bound above is looked for.
const MOST: f64 = 64.0;

/// What an adversary guessed about canaries that were each included by a fair coin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guesses {
    /// Canaries.
    pub canaries: u64,
    /// Guesses made; about the others it said nothing. Their number must not hang on the answers.
    pub guesses: u64,
    /// Guesses that were right.
    pub right: u64,
}

impl Guesses {
    /// The largest epsilon that these guesses refute with a probability of error of at most `error`: were the mechanism
    /// (epsilon, `delta`)-differentially private for it, so many right guesses would be rarer than that. 0 when nothing is refuted.
    ///
    /// Steinke, Nasr, Jagielski 2023, "Privacy Auditing with One (1) Training Run", theorem 5.2 and its algorithm: the number of right guesses is
    /// dominated by a binomial variable B of `guesses` trials at `e^epsilon / (1 + e^epsilon)`, but for
    /// `2 canaries delta max_i P[right - i <= B < right] / i`.
    #[must_use]
    pub fn epsilon(&self, delta: f64, error: f64) -> f64 {
        let refuted = |epsilon| self.chance(epsilon, delta) < error;
        if !refuted(0.0) {
            return 0.0;
        }
        let (mut low, mut high) = (0.0, MOST);
        for _ in 0..STEPS {
            let middle = f64::midpoint(low, high);
            if refuted(middle) { low = middle } else { high = middle }
        }
        low
    }

    /// A bound on the chance of so many right guesses under (epsilon, delta)-differential privacy.
    #[must_use]
    pub fn chance(&self, epsilon: f64, delta: f64) -> f64 {
        let chances = binomial(self.guesses, 1.0 / (1.0 + (-epsilon).exp()));
        let right = (self.right.min(self.guesses)) as usize;
        let tail: f64 = chances[right..].iter().sum();
        let (mut sum, mut most) = (0.0, 0.0f64);
        for i in 1..=right {
            sum += chances[right - i];
            most = most.max(sum / i as f64);
        }
        (tail + 2.0 * self.canaries as f64 * delta * most).min(1.0)
    }
}

/// The chances of 0 to `trials` successes.
fn binomial(trials: u64, chance: f64) -> Vec<f64> {
    let (yes, no) = (chance.ln(), (-chance).ln_1p());
    let factorial = |n: u64| libm::lgamma(n as f64 + 1.0);
    let all = factorial(trials);
    let of = |k: u64| {
        let log = all - factorial(k) - factorial(trials - k);
        // 0 * -infinity is 0 here: a sure success never fails.
        let term = |count: u64, log: f64| if count == 0 { 0.0 } else { count as f64 * log };
        (log + term(k, yes) + term(trials - k, no)).exp()
    };
    (0..=trials).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha20Rng;

    #[test]
    fn binomial_chances_are_those_of_pascals_triangle() {
        let found = binomial(4, 0.25);
        for (found, ways) in found.iter().zip([81.0, 108.0, 54.0, 12.0, 1.0]) {
            assert!((found - ways / 256.0).abs() < 1e-14);
        }
        assert!((binomial(2000, 0.7).iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    /// By hand: all of 10 guesses right has chance q^10 at q = e^epsilon / (1 + e^epsilon); at 5% that is q = 0.7411, epsilon 1.0517.
    #[test]
    fn ten_right_guesses_of_ten_refute_what_the_binomial_law_says() {
        let all = Guesses { canaries: 10, guesses: 10, right: 10 };
        let q = 0.05f64.powf(0.1);
        assert!((all.epsilon(0.0, 0.05) - (q / (1.0 - q)).ln()).abs() < 1e-9);
        assert_eq!(Guesses { right: 5, ..all }.epsilon(0.0, 0.05), 0.0);
        // A delta of one in a hundred allows every canary to be given away: with i = 1, 2 m delta P[B = 9] alone is far above 5%.
        assert!(all.epsilon(0.01, 0.05) < all.epsilon(0.0, 0.05));
        assert_eq!(all.epsilon(0.5, 0.05), 0.0);
    }

    /// Computed with scipy's binomial distribution from the p-value of the paper's appendix D.
    #[test]
    fn bounds_at_a_delta_above_zero_are_those_of_another_program() {
        let cases = [
            (1000, 600, 600, 1e-5, 5.270399463514697),
            (40_000, 600, 440, 1e-5, 0.8352477624777586),
            (40_000, 1200, 800, 1e-5, 0.5816143337710822),
            (2000, 500, 400, 1e-3, 0.7589459226838574),
        ];
        for (canaries, guesses, right, delta, bound) in cases {
            let found = Guesses { canaries, guesses, right }.epsilon(delta, 0.05);
            assert!((found - bound).abs() < 1e-6, "{found} for {bound}");
        }
    }

    /// The bisection rests on it: what refutes an epsilon refutes all below.
    #[test]
    fn a_larger_epsilon_is_never_refuted_where_a_smaller_one_is_not() {
        for (canaries, guesses, right) in [(50, 10, 9), (10_000, 300, 210), (40_000, 1200, 760), (1000, 900, 899)] {
            for delta in [0.0, 1e-6, 1e-4, 1e-3] {
                let of = |step: i32| Guesses { canaries, guesses, right }.chance(f64::from(step) / 20.0, delta);
                let chances: Vec<f64> = (0..160).map(of).collect();
                let first = chances.iter().position(|chance| *chance >= 0.05).unwrap_or(chances.len());
                assert!(chances[first..].iter().all(|chance| *chance >= 0.05), "{canaries} {guesses} {right} {delta}");
            }
        }
    }

    /// Randomised response is the mechanism that is exactly epsilon-private: its guesses are right with exactly that chance. The bound may
    /// exceed epsilon in one run of twenty, and must come near it.
    #[test]
    fn the_bound_covers_randomised_response_and_is_tight_for_it() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (epsilon, canaries, runs) = (1.0f64, 2000u64, 400);
        let chance = 1.0 / (1.0 + (-epsilon).exp());
        let bounds: Vec<f64> = (0..runs)
            .map(|_| {
                let right = (0..canaries).filter(|_| rng.random_bool(chance)).count() as u64;
                Guesses { canaries, guesses: canaries, right }.epsilon(0.0, 0.05)
            })
            .collect();
        let above = bounds.iter().filter(|bound| **bound > epsilon).count();
        // 20 in the mean, deviation 4.4.
        assert!(above <= 20 + 18, "{above}");
        let mean = bounds.iter().sum::<f64>() / f64::from(runs);
        assert!(mean > 0.85 * epsilon && mean < epsilon, "{mean}");
    }
}
