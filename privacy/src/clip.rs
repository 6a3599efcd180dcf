//! One privacy unit's gradient, clipped exactly in the integer domain.

use std::ops::Range;

use crate::UnitGradient;

/// Integer norms above this are refused: squares and sums stay far inside `u128` and `i64`.
const LARGEST_INTEGER_NORM: u64 = 1 << 40;

/// How a gradient becomes integers: scaled by `min(1, norm / |g|) * integer_norm / norm` in `f64`, truncated toward
/// zero, and then *checked*: the sum of the squares of the integers, computed exactly, is at most `integer_norm`^2.
///
/// The sensitivity of a sum of such contributions to one of them is therefore `integer_norm` grid units, whatever the
/// floating-point arithmetic before the check did. What floating point can still do is move a contribution within that
/// ball; it never depends on the other units of the batch.
///
/// In parts ([`Clip::in_parts`]; one part a layer is "per-layer clipping": McMahan, Ramage, Talwar, Zhang 2018, section 3; He et al. 2023, arXiv
/// 2212.01539) each of L parts is clipped by itself, to the L-th part of the square: the whole stays within the same ball.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    norm: f64,
    integer_norm: u64,
    /// Where each part of a gradient ends; nothing for one part of any width.
    ends: Vec<usize>,
}

/// What clipping did to one contribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clipped {
    /// The gradient's Euclidean norm before clipping, in the gradient's unit. Private: it stays in the house.
    pub norm: f64,
    /// The norm exceeded the clipping norm and the gradient was shrunk.
    pub shrunk: bool,
    /// The exact check failed and the contribution was replaced by zero. Rounding alone causes it only for integer
    /// norms above about 2^23.
    pub zeroed: bool,
}

/// Why a contribution was refused. The sums are then unchanged.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ClipError {
    /// The clipping norm is not a positive finite number.
    #[error("clipping norm {0} is not a positive finite number")]
    Norm(f64),
    /// The integer norm is zero or too large.
    #[error("integer norm {0} is not in 1..=2^40")]
    IntegerNorm(u64),
    /// A coordinate is NaN or infinite. Leave this unit out of the sum, which is a contribution of zero; do not end the
    /// round because of it, or whether a round ends tells about one record.
    #[error("coordinate {coordinate} of the gradient is NaN or infinite")]
    NotFinite {
        /// Index of the coordinate.
        coordinate: usize,
    },
    /// Parts that do not follow each other, or leave nothing to one of them.
    #[error(
        "{parts} parts of a gradient that ends at {end}: each must end after the one before, with a norm of at least one grid unit for each"
    )]
    Parts {
        /// How many.
        parts: usize,
        /// Where the last one ends.
        end: usize,
    },
    /// The gradient and the sums have different lengths.
    #[error("a gradient of {gradient} coordinates for sums of {sums}")]
    Width {
        /// Coordinates of the gradient.
        gradient: usize,
        /// Coordinates of the sums.
        sums: usize,
    },
    /// Adding would overflow an `i64`.
    #[error("coordinate {coordinate} of the sums would overflow")]
    Overflow {
        /// Index of the coordinate.
        coordinate: usize,
    },
    /// A unit without a row.
    #[error("a privacy unit without any row")]
    NoRows,
}

impl Clip {
    /// A clipping norm in the gradient's unit and the number of grid units it becomes.
    ///
    /// # Errors
    /// [`ClipError::Norm`] unless `norm` is positive and finite (and `integer_norm / norm` too),
    /// [`ClipError::IntegerNorm`] outside `1..=2^40`.
    pub fn new(norm: f64, integer_norm: u64) -> Result<Self, ClipError> {
        if !(1..=LARGEST_INTEGER_NORM).contains(&integer_norm) {
            return Err(ClipError::IntegerNorm(integer_norm));
        }
        if !(norm.is_normal() && norm > 0.0 && (integer_norm as f64 / norm).is_normal()) {
            return Err(ClipError::Norm(norm));
        }
        Ok(Self { norm, integer_norm, ends: Vec::new() })
    }

    /// The same ball, but each part of a gradient is clipped by itself; `ends` says where the parts end.
    ///
    /// # Errors
    /// [`ClipError::Parts`] unless the ends increase and each part has a norm of at least one grid unit.
    pub fn in_parts(self, ends: Vec<usize>) -> Result<Self, ClipError> {
        let (parts, end) = (ends.len(), ends.last().copied().unwrap_or(0));
        let increase = std::iter::once(&0).chain(&ends).zip(&ends).all(|(before, end)| before < end);
        let clip = Self { ends, ..self };
        if parts > 0 && increase && clip.part_norm() > 0 { Ok(clip) } else { Err(ClipError::Parts { parts, end }) }
    }

    /// The norm of one part in grid units: the squares of all parts add up to at most that of the whole.
    pub fn part_norm(&self) -> u64 {
        let square = u128::from(self.integer_norm).pow(2) / self.ends.len().max(1) as u128;
        // At most `integer_norm`.
        square.isqrt() as u64
    }

    /// The clipping norm, in the gradient's unit.
    pub fn norm(&self) -> f64 {
        self.norm
    }

    /// The clipping norm in grid units: the sensitivity of the sums.
    pub fn integer_norm(&self) -> u64 {
        self.integer_norm
    }

    /// One grid unit in the gradient's unit: `norm / integer_norm`.
    pub fn unit(&self) -> f64 {
        self.norm / self.integer_norm as f64
    }

    /// Clips one unit's gradient (one row) and adds it to the sums, in grid units.
    ///
    /// # Errors
    /// [`ClipError::Width`], [`ClipError::NotFinite`], [`ClipError::Overflow`]; the sums are then unchanged.
    pub fn add_clipped(&self, gradient: &[f32], sums: &mut [i64]) -> Result<Clipped, ClipError> {
        if let Some(coordinate) = gradient.iter().position(|value| !value.is_finite()) {
            return Err(ClipError::NotFinite { coordinate });
        }
        self.add(gradient.len(), |i| f64::from(gradient[i]), sums)
    }

    /// Clips the mean gradient of one unit's rows *once* and adds it to the sums: however many rows a unit has, it
    /// moves the sums by at most `integer_norm`.
    ///
    /// # Errors
    /// As [`Clip::add_clipped`], and [`ClipError::NoRows`].
    pub fn add_clipped_unit(&self, unit: &UnitGradient, sums: &mut [i64]) -> Result<Clipped, ClipError> {
        if unit.rows() == 0 {
            return Err(ClipError::NoRows);
        }
        self.add(unit.width(), |i| unit.mean(i), sums)
    }

    /// The coordinates are finite and below 1e39 in magnitude, so no square overflows.
    fn add(&self, width: usize, gradient: impl Fn(usize) -> f64, sums: &mut [i64]) -> Result<Clipped, ClipError> {
        if width != sums.len() || self.ends.last().is_some_and(|end| *end != width) {
            let sums = self.ends.last().copied().unwrap_or(sums.len());
            return Err(ClipError::Width { gradient: width, sums });
        }
        let part_norm = self.part_norm();
        let largest = if self.ends.is_empty() { self.norm } else { part_norm as f64 * self.unit() };
        let (mut clipped, mut all) = (Clipped { norm: 0.0, shrunk: false, zeroed: false }, 0.0);
        let mut factors = Vec::with_capacity(self.ends.len().max(1));
        for part in self.parts(width) {
            let norm = euclidean(part.clone(), &gradient);
            let shrunk = norm > largest;
            let shrink = if shrunk { largest / norm } else { 1.0 };
            let factor = shrink * (self.integer_norm as f64 / self.norm);
            let mut squares = 0u128;
            for i in part {
                let value = integer(gradient(i), factor);
                // Saturated squares of single coordinates (2^126) cannot overflow before they exceed the bound.
                squares = squares.saturating_add(u128::from(value.unsigned_abs()).pow(2));
                sums[i].checked_add(value).ok_or(ClipError::Overflow { coordinate: i })?;
            }
            clipped.zeroed |= squares > u128::from(part_norm).pow(2);
            clipped.shrunk |= shrunk;
            all += norm * norm;
            factors.push(factor);
        }
        clipped.norm = all.sqrt();
        if !clipped.zeroed {
            for (part, factor) in self.parts(width).zip(factors) {
                for i in part {
                    sums[i] += integer(gradient(i), factor);
                }
            }
        }
        Ok(clipped)
    }

    fn parts(&self, width: usize) -> impl Iterator<Item = Range<usize>> {
        let whole = self.ends.is_empty().then_some(0..width);
        let starts = std::iter::once(&0).chain(&self.ends);
        whole.into_iter().chain(starts.zip(&self.ends).map(|(start, end)| *start..*end))
    }
}

/// `as` truncates toward zero and saturates.
fn integer(value: f64, factor: f64) -> i64 {
    (value * factor) as i64
}

/// Bounds every coordinate to `-bound..=bound`. Before noise: after it, it would cut the noise's tail.
pub fn clamp(values: &mut [i64], bound: u64) {
    let bound = i64::try_from(bound).unwrap_or(i64::MAX);
    for value in values {
        *value = (*value).clamp(-bound, bound);
    }
}

/// Square root of the sum of squares, in eight lanes: faster than one, and the rounding error is an eighth.
fn euclidean(part: Range<usize>, gradient: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    for i in part {
        let value = gradient(i);
        lanes[i % 8] += value * value;
    }
    lanes.iter().sum::<f64>().sqrt()
}
