//! The privacy loss of one round, on the line and on a grid.

use std::f64::consts::SQRT_2;

/// Whose output the loss is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The data set with the unit, against the one without.
    Remove,
    /// The data set without it, against the one with.
    Add,
}

/// The loss of one Poisson-subsampled Gaussian round as a function of the output x on the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    rate: f64,
    noise: f64,
    direction: Direction,
}

/// Probabilities of P on the points `(first + i) * step`, and what is counted as an infinite loss.
pub(super) struct Grid {
    pub(super) first: i64,
    pub(super) masses: Vec<f64>,
    pub(super) infinite: f64,
}

impl Loss {
    pub(super) fn new(rate: f64, noise: f64, direction: Direction) -> Self {
        Self { rate, noise, direction }
    }

    /// The loss at x.
    pub(super) fn at(&self, x: f64) -> f64 {
        let exponent = (2.0 * x - 1.0) / (2.0 * self.noise * self.noise);
        let removed = if self.rate == 1.0 {
            exponent
        } else if exponent > 30.0 {
            exponent + self.rate.ln() + ((1.0 - self.rate) / self.rate * (-exponent).exp()).ln_1p()
        } else {
            (self.rate * exponent.exp_m1()).ln_1p()
        };
        if self.direction == Direction::Remove { removed } else { -removed }
    }

    /// Where the loss of [`Direction::Remove`] is `loss`; minus infinity where it is always larger.
    fn where_removed_is(&self, loss: f64) -> f64 {
        let variance = self.noise * self.noise;
        if self.rate == 1.0 {
            return variance * loss + 0.5;
        }
        let log = if loss > 0.0 {
            loss + (-(1.0 - self.rate) * (-loss).exp()).ln_1p()
        } else {
            let rest = loss.exp_m1() + self.rate;
            if rest <= 0.0 {
                return f64::NEG_INFINITY;
            }
            rest.ln()
        };
        variance * (log - self.rate.ln()) + 0.5
    }

    /// The ends of the line between which P has all but `2 * tail` of its mass.
    pub(super) fn reach(&self, tail: f64) -> (f64, f64) {
        // P(N > t) <= exp(-t^2 / 2) / 2.
        let deviations = (-2.0 * tail.ln()).sqrt();
        let top = if self.direction == Direction::Remove { 1.0 } else { 0.0 };
        (-deviations * self.noise, top + deviations * self.noise)
    }

    /// P's density at x.
    pub(super) fn density(&self, x: f64) -> f64 {
        let normal = |d: f64| {
            let t = d / self.noise;
            (-t * t / 2.0).exp() / (self.noise * (2.0 * std::f64::consts::PI).sqrt())
        };
        match self.direction {
            Direction::Add => normal(x),
            Direction::Remove => (1.0 - self.rate) * normal(x) + self.rate * normal(x - 1.0),
        }
    }

    /// An end of the line, with what the masses on both sides are computed from.
    fn end(&self, x: f64) -> End {
        End { without: Tail::at(x / self.noise), with: Tail::at((x - 1.0) / self.noise) }
    }

    /// P's and Q's mass between two ends.
    fn masses(&self, low: End, high: End) -> (f64, f64) {
        let without = Tail::between(low.without, high.without);
        let with = Tail::between(low.with, high.with);
        let mixture = (1.0 - self.rate) * without + self.rate * with;
        if self.direction == Direction::Remove { (mixture, without) } else { (without, mixture) }
    }

    /// On the grid of this step; `tail` of P's mass may count as infinite, and as much is rounded up to the first point.
    pub(super) fn on_grid(&self, step: f64, tail: f64) -> Grid {
        let (left, right) = self.reach(tail);
        let (mut least, mut most) = (self.at(left), self.at(right));
        if self.direction == Direction::Add {
            (least, most) = (most, least);
            if self.rate < 1.0 {
                // The loss is bounded: nothing is infinite.
                most = -(-self.rate).ln_1p();
            }
        }
        let (first, last) = ((least / step).floor() as i64, (most / step).ceil() as i64);
        let mut grid = Grid { first, masses: vec![0.0; (last - first + 1) as usize], infinite: 0.0 };
        // The end of the line that belongs to a point, in the direction of growing losses.
        let end = |index: i64| {
            let loss = index as f64 * step;
            self.end(self.where_removed_is(if self.direction == Direction::Remove { loss } else { -loss }))
        };
        let ordered = |from: End, to: End| if self.direction == Direction::Remove { (from, to) } else { (to, from) };
        let far = if self.direction == Direction::Remove { f64::NEG_INFINITY } else { f64::INFINITY };
        let mut from = end(first);
        let (low, high) = ordered(self.end(far), from);
        grid.masses[0] = self.masses(low, high).0;
        let growth = step.exp_m1();
        for i in 0..grid.masses.len() - 1 {
            let upper = first + i as i64 + 1;
            let to = end(upper);
            let (low, high) = ordered(from, to);
            let (p, q) = self.masses(low, high);
            // a + b = p, a exp(-e_i) + b exp(-e_(i+1)) = q.
            let lower = ((q * (upper as f64 * step).exp() - p) / growth).clamp(0.0, p);
            grid.masses[i] += lower;
            grid.masses[i + 1] += p - lower;
            from = to;
        }
        let (low, high) = ordered(from, self.end(-far));
        grid.infinite = self.masses(low, high).0;
        grid
    }
}

/// An end of the line under both Gaussians.
#[derive(Debug, Clone, Copy)]
struct End {
    without: Tail,
    with: Tail,
}

/// The smaller of a standard normal variable's two tails at a point.
#[derive(Debug, Clone, Copy)]
struct Tail {
    /// Whether it is the upper one.
    upper: bool,
    mass: f64,
}

impl Tail {
    fn at(t: f64) -> Self {
        Self { upper: t > 0.0, mass: 0.5 * libm::erfc(t.abs() / SQRT_2) }
    }

    /// P(low < N(0, 1) < high), from the tail that both ends are in.
    fn between(low: Self, high: Self) -> f64 {
        let mass = match (low.upper, high.upper) {
            (true, true) => low.mass - high.mass,
            (false, false) => high.mass - low.mass,
            _ => 1.0 - low.mass - high.mass,
        };
        mass.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_and_where_it_is_are_inverses() {
        for (rate, noise) in [(1.0, 0.7), (0.5, 2.0), (1e-4, 0.5)] {
            for direction in [Direction::Remove, Direction::Add] {
                let loss = Loss::new(rate, noise, direction);
                for x in [-2.0, 0.0, 0.3, 1.0, 4.0, 30.0] {
                    let removed = if direction == Direction::Remove { loss.at(x) } else { -loss.at(x) };
                    let found = loss.where_removed_is(removed);
                    // Far left the loss hardly changes with x, so x is hardly known from it.
                    let slope = rate * ((2.0 * x - 1.0) / (2.0 * noise * noise)).exp();
                    assert!(
                        (found - x).abs() <= 1e-12 * (1.0 + x.abs()) + 1e-14 / slope.min(1.0),
                        "{rate} {noise} {x}: {found}"
                    );
                }
            }
        }
    }

    /// All of P's and, weighted by exp(-loss), of Q's mass is there: nothing got lost between cells.
    #[test]
    fn both_masses_are_kept_on_the_grid() {
        for (rate, noise) in [(1.0, 1.0), (0.3, 0.8), (1e-3, 0.5), (0.01, 5.0)] {
            for direction in [Direction::Remove, Direction::Add] {
                let loss = Loss::new(rate, noise, direction);
                let step = (0.003 * rate / noise).min(1e-3);
                let grid = loss.on_grid(step, 1e-18);
                let p: f64 = grid.masses.iter().sum();
                let losses = (grid.first..).map(|index| index as f64 * step);
                let q: f64 = grid.masses.iter().zip(losses).map(|(mass, loss)| mass * (-loss).exp()).sum();
                // Each of up to a few million cells is a difference of numbers rounded to 1e-16.
                assert!((p + grid.infinite - 1.0).abs() < 1e-10, "{rate} {noise} {direction:?}: P {p}");
                assert!((q - 1.0).abs() < 1e-9, "{rate} {noise} {direction:?}: Q {q}");
            }
        }
    }
}
