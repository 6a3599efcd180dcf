//! The rows of one privacy unit, gathered before clipping.

use std::fmt;

use crate::ClipError;

/// One, as rows are summed: coordinates are multiples of 2^-64.
const ONE: f64 = (1u128 << 64) as f64;
/// Larger coordinates of a row are cut to this before they are summed; so 2^32 rows stay inside an `i128`.
const LARGEST: f64 = (1u64 << 31) as f64;

/// The summed gradients of one privacy unit's rows (a patient's notes, say), to be clipped as one contribution by
/// [`crate::Clip::add_clipped_unit`].
///
/// Each row's coordinate is bounded by 2^31 and truncated to a multiple of 2^-64; those are summed exactly. A
/// floating-point sum would depend on the order of the rows, which with several workers depends on what else is in the
/// batch: one unit could then move another's integers, and the sensitivity would be more than one unit's norm.
pub struct UnitGradient {
    total: Vec<i128>,
    rows: u64,
}

/// Without the gradient and the number of rows, which are private.
impl fmt::Debug for UnitGradient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitGradient").field("width", &self.total.len()).finish_non_exhaustive()
    }
}

impl UnitGradient {
    /// No rows yet, for gradients of `width` coordinates.
    pub fn new(width: usize) -> Self {
        Self { total: vec![0; width], rows: 0 }
    }

    /// Adds one row's gradient.
    ///
    /// # Errors
    /// [`ClipError::Width`] or [`ClipError::NotFinite`]; the unit is then unchanged, so that a bad row is a row left out.
    pub fn add_row(&mut self, gradient: &[f32]) -> Result<(), ClipError> {
        if gradient.len() != self.total.len() {
            return Err(ClipError::Width { gradient: gradient.len(), sums: self.total.len() });
        }
        if let Some(coordinate) = gradient.iter().position(|value| !value.is_finite()) {
            return Err(ClipError::NotFinite { coordinate });
        }
        for (total, value) in self.total.iter_mut().zip(gradient) {
            // The product is exact and the cast truncates toward zero.
            *total = total.saturating_add((f64::from(*value).clamp(-LARGEST, LARGEST) * ONE) as i128);
        }
        self.rows += 1;
        Ok(())
    }

    /// Rows added since the last [`UnitGradient::clear`].
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Makes it empty again, for the next unit, without a new allocation.
    pub fn clear(&mut self) {
        self.total.fill(0);
        self.rows = 0;
    }

    pub(crate) fn width(&self) -> usize {
        self.total.len()
    }

    /// Coordinate `i` of the rows' mean, a function of the exact sum. There must be a row.
    pub(crate) fn mean(&self, i: usize) -> f64 {
        self.total[i] as f64 / ONE / self.rows as f64
    }
}
