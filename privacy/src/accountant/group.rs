//! Several units together: all rows of one patient, where one row is the unit.

use super::{AccountantError, Epsilon, Rounds, check_delta, check_rounds, epsilon};

/// Halvings of an interval that is a quarter of its upper end.
const CHAIN_STEPS: u32 = 24;

/// Epsilon for a group of up to `group_size` units together: the smaller of two bounds.
///
/// **Mixture.** Each round is bounded by one unit that is sampled when any of the group is, with probability
/// `1 - (1 - rate)^g`, and then moves the sum by `g` clipping norms: the mechanism is a mixture of such pairs, and the
/// divergence is jointly quasi-convex. Exact without sampling.
///
/// **Chain of neighbours.** Who is (e, d)-private for one unit is (k e, d (exp(k e) - 1) / (exp(e) - 1))-private for k
/// (Vadhan 2017, "The Complexity of Differential Privacy", lemma 2.2): the least `k e` for which the second is at most `delta`.
/// Far smaller where a unit is rarely sampled. Its order is that of the unit's own epsilon.
///
/// # Errors
/// As [`epsilon`], and [`AccountantError::Zero`] for an empty group.
pub fn group_epsilon(rounds: &[Rounds], delta: f64, group_size: u64) -> Result<Epsilon, AccountantError> {
    check_delta(delta)?;
    check_rounds(rounds)?;
    if group_size == 0 {
        return Err(AccountantError::Zero("the group's size"));
    }
    let mixed = epsilon(&rounds.iter().map(|one| mixture(one, group_size)).collect::<Vec<_>>(), delta);
    if group_size == 1 || rounds.is_empty() {
        return mixed;
    }
    let chained = chain(group_size, delta, |delta| epsilon(rounds, delta).ok());
    match (mixed, chained) {
        (Ok(mixed), Some(chained)) => Ok(if chained.epsilon < mixed.epsilon { chained } else { mixed }),
        (Err(AccountantError::NoOrder), Some(chained)) => Ok(chained),
        (mixed, _) => mixed,
    }
}

fn mixture(one: &Rounds, group_size: u64) -> Rounds {
    let size = group_size as f64;
    let rate = if group_size == 1 { one.rate } else { -f64::exp_m1(size * f64::ln_1p(-one.rate)) };
    let grid = one.grid.map(|grid| grid.for_group(group_size));
    Rounds { rate: rate.min(1.0), noise_multiplier: one.noise_multiplier / size, grid, ..*one }
}

/// The chain's bound; `of_unit` says what one unit has at a smaller delta.
fn chain(size: u64, delta: f64, of_unit: impl Fn(f64) -> Option<Epsilon>) -> Option<Epsilon> {
    let size = size as f64;
    // d for this e. What is below the smallest number is no delta.
    let log_grown = |x: f64| x + (-(-x).exp_m1()).ln(); // ln(exp(x) - 1)
    let smaller = |e: f64| (delta.ln() + log_grown(e) - log_grown(size * e)).exp();
    let holds = |e: f64| of_unit(smaller(e)).is_some_and(|unit| unit.epsilon <= e);
    let unit = of_unit(delta)?;
    let mut low = unit.epsilon;
    let mut high = low.max(1e-6);
    while !holds(high) {
        low = high;
        high *= 1.25;
        let exists = smaller(high) > 0.0;
        if !exists {
            return None;
        }
    }
    for _ in 0..CHAIN_STEPS {
        let middle = f64::midpoint(low, high);
        if holds(middle) { high = middle } else { low = middle }
    }
    Some(Epsilon { epsilon: size * high, order: unit.order })
}
