//! Sums of independent losses, by a tilted Fourier transform.

use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use super::super::search;
use super::loss::Loss;

/// Of delta, what may be counted as infinite loss over all rounds.
const INFINITE_PART: f64 = 1e-5;
/// Variance that the grid may add, over the composed loss's.
const ADDED_VARIANCE: f64 = 5e-4;
/// The step, at most, over the composed loss's deviation: with few rounds nothing smooths what lies between two points.
const WIDEST_STEP: f64 = 0.02;
/// Points of a round's grid, at most: past it the step grows.
const MOST_POINTS: f64 = (1u64 << 19) as f64;
/// Tilted mass outside of the window, at most.
const OUTSIDE: f64 = 1e-13;
/// Points of the window, above which nothing is computed and nothing promised.
const LONGEST_WINDOW: f64 = (1u64 << 24) as f64;
/// Points of a grid that are weighted together.
const RUN: usize = 64;
/// Each refinement divides the step by this.
const FINER: f64 = 4.0;
/// An answer counts as known when the next finer step changes it by less than this part of it. The coarser answer is then
/// given: what it is above the finer one covers the rounding of `f64` many times over.
const KNOWN: f64 = 2e-3;
/// Points of the rough integrals by which tilt and step are chosen; nothing else rests on them.
const ROUGH_POINTS: usize = 1500;
/// The most tilt, over the composed loss's deviation: a Gaussian loss takes 6 at a delta of 1e-8.
const MOST_TILT: f64 = 20.0;
/// Steps of the search for the tilt.
const TILT_STEPS: u32 = 48;
/// A transform's rounding, in units of the last place and per doubling of its length: eight times what is usual.
const ROUNDING: f64 = 8.0 * f64::EPSILON;
/// Coefficients below `exp` of this are dropped: less than 1e-27 together, a part in 1e12 of the allowance for rounding.
const DROPPED: f64 = -80.0;
const ZERO: Complex<f64> = Complex::new(0.0, 0.0);

/// What will be asked: the tilt is chosen for it. Any tilt gives right answers, a near one precise ones.
#[derive(Debug, Clone, Copy)]
pub(super) enum Near {
    /// The epsilon at this delta.
    Delta(f64),
    /// The delta at this epsilon.
    Epsilon(f64),
}

/// The composed loss, tilted.
pub(super) struct Composed {
    step: f64,
    /// Index of `masses[0]`.
    first: i64,
    /// Tilted probabilities.
    masses: Vec<f64>,
    tilt: f64,
    /// ln of the moment `E[exp(tilt L)]` that the tilting divided by.
    log_moment: f64,
    /// Tilted mass that may be missing or at a wrong place.
    misplaced: f64,
    /// Probability of an infinite loss.
    infinite: f64,
}

/// What `of` says of the composed loss, on finer and finer grids until it hardly changes: each answer is an upper bound.
/// With it, how often the step of this answer was divided.
pub(super) fn refined(losses: &[(Loss, u64)], near: Near, of: impl Fn(&Composed) -> f64) -> (f64, u32) {
    let Some(plan) = Plan::new(losses, near) else { return (of(&Composed::unknown()), 0) };
    let mut last = (of(&Composed::new(losses, &plan, plan.step)), 0);
    while plan.finer(last.1) > plan.least_step {
        let finer = last.1 + 1;
        let next = of(&Composed::new(losses, &plan, plan.finer(finer))).min(last.0);
        if last.0 - next <= KNOWN * next {
            break;
        }
        last = (next, finer);
    }
    last
}

/// The same on the grid whose step is divided so often: an upper bound too.
pub(super) fn once(losses: &[(Loss, u64)], near: Near, refinements: u32, of: impl Fn(&Composed) -> f64) -> f64 {
    Plan::new(losses, near)
        .map_or_else(|| of(&Composed::unknown()), |plan| of(&Composed::new(losses, &plan, plan.finer(refinements))))
}

/// How losses are composed.
struct Plan {
    tilt: f64,
    /// The first step tried, and the least.
    step: f64,
    least_step: f64,
    /// Mass of one round that may count as infinite.
    tail: f64,
    /// The composed loss's, tilted.
    deviation: f64,
}

impl Plan {
    /// None where nothing can be promised.
    fn new(losses: &[(Loss, u64)], near: Near) -> Option<Self> {
        let rounds: f64 = losses.iter().map(|(_, count)| *count as f64).sum();
        let smallest = match near {
            Near::Delta(delta) => delta,
            Near::Epsilon(_) => 1e-12,
        };
        let tail = smallest * INFINITE_PART / rounds;
        let rough: Vec<(Rough, f64)> = losses.iter().map(|(loss, n)| (Rough::new(loss, tail), *n as f64)).collect();
        let tilt = tilt(&rough, near);
        let variance: f64 = rough.iter().map(|(one, n)| n * one.tilted_variance(tilt)).sum();
        let widest = rough.iter().map(|(one, _)| one.width()).fold(0.0, f64::max);
        let deviation = variance.sqrt();
        let step = (4.0 * ADDED_VARIANCE / rounds).sqrt().min(WIDEST_STEP) * deviation;
        // Neither a round's grid nor the window, some twenty deviations, may be too long.
        let least_step = (widest.max(20.0 * deviation)) / MOST_POINTS;
        (step.is_finite() && deviation.is_finite() && tilt.is_finite()).then_some(Self {
            tilt,
            step: step.max(least_step),
            least_step,
            tail,
            deviation,
        })
    }

    /// The step, divided so often.
    fn finer(&self, refinements: u32) -> f64 {
        (self.step / FINER.powi(refinements.min(64) as i32)).max(self.least_step)
    }
}

impl Composed {
    fn new(losses: &[(Loss, u64)], plan: &Plan, step: f64) -> Self {
        let Plan { tilt, tail, deviation, .. } = *plan;
        let grids: Vec<Tilted> = losses.iter().map(|(loss, n)| Tilted::new(loss, *n, step, tail, tilt)).collect();
        Self::compose(&grids, step, tilt, deviation)
    }

    fn compose(grids: &[Tilted], step: f64, tilt: f64, deviation: f64) -> Self {
        let (low, high) = window(grids, step, deviation);
        let points = (high - low) / step;
        if !(points.is_finite() && points < LONGEST_WINDOW) {
            return Self::unknown();
        }
        let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
        let length = ((last - first + 1) as usize).next_power_of_two().max(16);
        let mut planner = RealFftPlanner::<f64>::new();
        let (forward, inverse) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
        let mut product = vec![Complex::new(1.0, 0.0); length / 2 + 1];
        let mut rounds = 0.0;
        for grid in grids {
            let mut folded = forward.make_input_vec();
            for (mass, index) in grid.masses.iter().zip(grid.first..) {
                folded[index.rem_euclid(length as i64) as usize] += mass;
            }
            let mut spectrum = forward.make_output_vec();
            // Lengths are those that the plan made.
            if forward.process(&mut folded, &mut spectrum).is_err() {
                return Self::unknown();
            }
            rounds += grid.count;
            for (all, one) in product.iter_mut().zip(&spectrum) {
                let log = one.norm().ln() * grid.count;
                *all *= if log < DROPPED { ZERO } else { Complex::from_polar(log.exp(), one.arg() * grid.count) };
            }
        }
        // An error of one coefficient moves all masses together by at most as much; or, by Parseval and Cauchy, all masses
        // together by the root of their number times the errors' norm, which is relative to the masses' own, at most 1.
        let both_halves: f64 = product.iter().map(|one| one.norm()).sum::<f64>() * 2.0;
        let rounding = ROUNDING * (length as f64).log2() * (rounds + 1.0) * both_halves.min((length as f64).sqrt());
        // Real by symmetry, but for rounding, which the inverse refuses.
        product[0].im = 0.0;
        product[length / 2].im = 0.0;
        let mut masses = inverse.make_output_vec();
        if inverse.process(&mut product, &mut masses).is_err() {
            return Self::unknown();
        }
        let scale = 1.0 / length as f64;
        masses.iter_mut().for_each(|mass| *mass = (*mass * scale).max(0.0));
        masses.rotate_left(first.rem_euclid(length as i64) as usize);
        Self {
            step,
            first,
            masses,
            tilt,
            log_moment: grids.iter().map(|grid| grid.count * grid.log_moment).sum(),
            misplaced: 2.0 * OUTSIDE + rounding,
            infinite: grids.iter().map(|grid| grid.count * grid.infinite).sum(),
        }
    }

    /// Promises nothing.
    fn unknown() -> Self {
        Self { step: 1.0, first: 0, masses: vec![], tilt: 0.0, log_moment: 0.0, misplaced: 1.0, infinite: 1.0 }
    }

    fn loss(&self, position: usize) -> f64 {
        (self.first + position as i64) as f64 * self.step
    }

    /// ln of the factor by which tilted mass at `loss` counts.
    fn log_factor(&self, loss: f64) -> f64 {
        self.log_moment - self.tilt * loss
    }

    /// Epsilon at `delta`; infinite where the infinite losses alone are more.
    pub(super) fn epsilon(&self, delta: f64) -> f64 {
        let left = delta - self.infinite;
        if left <= 0.0 {
            return f64::INFINITY;
        }
        // Sums over the losses from the top, P's mass and exp(-loss) times it, as if the loss reached last were 0.
        let (mut upper, mut weighted) = (0.0, 0.0);
        for position in (0..self.masses.len()).rev() {
            let loss = self.loss(position);
            let shrink = (self.log_factor(loss)).exp();
            upper += self.masses[position] * shrink;
            weighted = weighted * (-self.step).exp() + self.masses[position] * shrink;
            if loss <= 0.0 {
                return 0.0;
            }
            // At the point below: every loss from here on counts, and none of the others.
            let below = (loss - self.step).max(0.0);
            let allowed = left - self.misplaced * self.log_factor(below).exp();
            if upper - weighted * (below - loss).exp() > allowed {
                // `upper - exp(e - loss) weighted` falls with e: where it comes down to what is allowed.
                return (loss + ((upper - allowed) / weighted).ln()).max(below);
            }
        }
        // Not even all losses of the window are too much: epsilon is below it.
        (self.loss(0) - self.step).max(0.0)
    }

    /// Delta at `epsilon`.
    pub(super) fn delta(&self, epsilon: f64) -> f64 {
        let above = (0..self.masses.len()).rev().take_while(|position| self.loss(*position) > epsilon);
        let sum: f64 = above
            .map(|position| {
                let loss = self.loss(position);
                self.masses[position] * self.log_factor(loss).exp() * -(epsilon - loss).exp_m1()
            })
            .sum();
        self.infinite + sum + self.misplaced * self.log_factor(epsilon).exp()
    }
}

/// A round's grid, tilted.
struct Tilted {
    first: i64,
    masses: Vec<f64>,
    count: f64,
    log_moment: f64,
    infinite: f64,
}

impl Tilted {
    fn new(loss: &Loss, count: u64, step: f64, tail: f64, tilt: f64) -> Self {
        let grid = loss.on_grid(step, tail);
        let exponents: Vec<f64> =
            grid.masses.iter().zip(grid.first..).map(|(mass, index)| mass.ln() + tilt * index as f64 * step).collect();
        let log_moment = log_sum(&exponents);
        let masses = exponents.iter().map(|exponent| (exponent - log_moment).exp()).collect();
        Self { first: grid.first, masses, count: count as f64, log_moment, infinite: grid.infinite }
    }

    /// ln of the tilted moment `E[exp(more L)]`.
    fn log_moment_of(&self, more: f64, step: f64) -> f64 {
        // Runs of points share one exponential, whose logarithm cannot overflow.
        let growth = (more * step).exp();
        let length = if (more * step).abs() * (RUN as f64) < 600.0 { RUN } else { 1 };
        let run = |(number, run): (usize, &[f64])| {
            let start = (self.first + (number * length) as i64) as f64 * step;
            let sum = run.iter().rev().fold(0.0, |sum, mass| sum * growth + mass);
            sum.ln() + more * start
        };
        let exponents: Vec<f64> = self.masses.chunks(length).enumerate().map(run).collect();
        log_sum(&exponents)
    }
}

/// Ends outside of which less than [`OUTSIDE`] of the tilted mass is, by Chernoff's bound at a few exponents.
fn window(grids: &[Tilted], step: f64, deviation: f64) -> (f64, f64) {
    let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
    for doubling in -1..6 {
        let more = f64::from(doubling).exp2() / deviation;
        let moment = |more: f64| grids.iter().map(|grid| grid.count * grid.log_moment_of(more, step)).sum::<f64>();
        high = high.min((moment(more) - OUTSIDE.ln()) / more);
        low = low.max((OUTSIDE.ln() - moment(-more)) / more);
    }
    (low, high)
}

/// A round's loss by a rough integral over the line.
struct Rough {
    /// Logarithms of the weights, and the losses.
    points: Vec<(f64, f64)>,
}

impl Rough {
    fn new(loss: &Loss, tail: f64) -> Self {
        let (left, right) = loss.reach(tail);
        let step = (right - left) / ROUGH_POINTS as f64;
        let point = |i: usize| {
            let x = left + step * (i as f64 + 0.5);
            ((loss.density(x) * step).ln(), loss.at(x))
        };
        Self { points: (0..ROUGH_POINTS).map(point).collect() }
    }

    fn width(&self) -> f64 {
        let ends = self.points.first().zip(self.points.last());
        ends.map_or(0.0, |((_, first), (_, last))| (last - first).abs())
    }

    fn log_moment(&self, tilt: f64) -> f64 {
        let exponents: Vec<f64> = self.points.iter().map(|(weight, loss)| weight + tilt * loss).collect();
        log_sum(&exponents)
    }

    fn tilted_variance(&self, tilt: f64) -> f64 {
        let log = self.log_moment(tilt);
        let (mut mean, mut square) = (0.0, 0.0);
        for (weight, loss) in &self.points {
            let mass = (weight + tilt * loss - log).exp();
            mean += mass * loss;
            square += mass * loss * loss;
        }
        (square - mean * mean).max(f64::MIN_POSITIVE)
    }
}

/// The tilt at which the bound of Canonne, Kamath, Steinke 2020, proposition 12, is best (their order is one more): a
/// golden-section search over its logarithm.
fn tilt(rough: &[(Rough, f64)], near: Near) -> f64 {
    let bound = |log_tilt: f64| {
        let tilt = log_tilt.exp();
        let moment: f64 = rough.iter().map(|(one, n)| n * one.log_moment(tilt)).sum();
        // The most that (1 - exp(-t)) exp(-tilt t) can be: small losses count for little.
        let moment = moment + tilt * (-1.0 / (1.0 + tilt)).ln_1p() - tilt.ln_1p();
        match near {
            Near::Delta(delta) => (moment - delta.ln()) / tilt,
            Near::Epsilon(epsilon) => moment - tilt * epsilon,
        }
    };
    // A loss that is bounded by little has its best tilt at infinity, where nothing is left to compute with.
    let plain: f64 = rough.iter().map(|(one, n)| n * one.tilted_variance(0.0)).sum();
    let range = (1e-3_f64.ln(), (MOST_TILT / plain.sqrt()).ln());
    search::least(bound, range, TILT_STEPS).exp()
}

fn log_sum(exponents: &[f64]) -> f64 {
    let top = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + exponents.iter().map(|exponent| (exponent - top).exp()).sum::<f64>().ln()
}
