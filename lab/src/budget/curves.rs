//! Epsilon over rounds and over noise, around the answer.

use privacy::accountant::Accountant;

use super::{Answer, Setting};
use crate::plot::{Chart, Line};
use crate::row;

/// Points of a line.
const POINTS: u32 = 25;
/// The lines go this far below and above the answer.
const ROUNDS_SPAN: f64 = 30.0;
const NOISE_SPAN: f64 = 5.0;
/// Epsilons above are not drawn.
const MOST_EPSILON: f64 = 1e3;

row! {
    /// One point of a curve.
    pub struct CurvePoint {
        /// The accountant.
        pub accountant: String,
        /// Which curve: `rounds` or `noise`, what it runs over.
        pub over: String,
        /// Noise multiplier.
        pub noise_multiplier: f64,
        /// Rounds.
        pub rounds: u64,
        /// Epsilon; not a number where there is none.
        pub epsilon: f64,
    }
}

/// Epsilon over rounds at the answer's noise, and over noise at its rounds, for every accountant.
#[must_use]
pub fn curve_points(answer: &Answer) -> Vec<CurvePoint> {
    let setting = &answer.question.setting;
    let mut points = Vec::new();
    // One plan, by all of them: what each would plan for itself is in the answer.
    let plan = &answer.by[0];
    for by in &answer.by {
        let mut rounds: Vec<u64> = spread(plan.rounds as f64, ROUNDS_SPAN).map(|x| x.round().max(1.0) as u64).collect();
        rounds.dedup();
        let over_rounds = rounds.into_iter().map(|rounds| ("rounds", plan.noise_multiplier, rounds));
        let over_noise = spread(plan.noise_multiplier, NOISE_SPAN).map(|noise| ("noise", noise, plan.rounds));
        points.extend(over_rounds.chain(over_noise).map(|(over, noise_multiplier, rounds)| CurvePoint {
            accountant: by.accountant.as_str().to_owned(),
            over: over.to_owned(),
            noise_multiplier,
            rounds,
            epsilon: epsilon(setting, by.accountant, noise_multiplier, rounds),
        }));
    }
    points
}

/// The two charts of these points.
#[must_use]
pub fn charts(answer: &Answer, points: &[CurvePoint]) -> [Chart; 2] {
    let first = &answer.by[0];
    let setting = &answer.question.setting;
    let mark = |x: f64| Some(((x, first.epsilon), "your plan".to_owned()));
    let line = |over: &'static str, x: fn(&CurvePoint) -> f64| {
        let of = move |accountant: &str| {
            let fits = |point: &&CurvePoint| point.over == over && point.accountant == accountant;
            let drawn = points.iter().filter(fits).filter(|point| point.epsilon < MOST_EPSILON);
            let points = drawn.map(|point| (x(point), point.epsilon)).collect();
            Line { name: accountant.to_uppercase(), points, ..Line::default() }
        };
        answer.by.iter().map(|by| of(by.accountant.as_str())).collect()
    };
    let rate = if setting.rate == 1.0 { String::new() } else { format!(", sampling rate {}", setting.rate) };
    [
        Chart {
            title: format!("Epsilon over rounds (noise multiplier {}{rate})", first.noise_multiplier),
            x: "rounds".to_owned(),
            y: format!("epsilon at delta {:e}", setting.delta),
            lines: line("rounds", |point| point.rounds as f64),
            mark: mark(first.rounds as f64),
            ..Chart::default()
        },
        Chart {
            title: format!("Epsilon over noise ({} rounds{rate})", first.rounds),
            x: "noise multiplier".to_owned(),
            y: format!("epsilon at delta {:e}", setting.delta),
            lines: line("noise", |point| point.noise_multiplier),
            mark: mark(first.noise_multiplier),
            ..Chart::default()
        },
    ]
}

/// Continuous noise: a grid that is fine for the answer may be too coarse at the ends of a curve.
fn epsilon(setting: &Setting, by: Accountant, noise_multiplier: f64, rounds: u64) -> f64 {
    let rounds = Setting { grid: None, ..setting.clone() }.rounds(noise_multiplier, rounds);
    by.epsilon(&[rounds], setting.delta).unwrap_or(f64::NAN)
}

/// Numbers around `middle`, equally far apart on a logarithmic axis.
fn spread(middle: f64, span: f64) -> impl Iterator<Item = f64> {
    (0..POINTS).map(move |i| middle * span.powf(2.0 * f64::from(i) / f64::from(POINTS - 1) - 1.0))
}
