//! The rows of one privacy unit, gathered before clipping.

use crate::ClipError;

/// The summed gradients of one privacy unit's rows (a patient's notes, say), in `f64`, to be clipped as one
/// contribution by [`crate::Clip::add_clipped_unit`].
#[derive(Debug)]
pub struct UnitGradient {
    total: Vec<f64>,
    rows: u64,
}

impl UnitGradient {
    /// No rows yet, for gradients of `width` coordinates.
    pub fn new(width: usize) -> Self {
        Self { total: vec![0.0; width], rows: 0 }
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
            *total += f64::from(*value);
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
        self.total.fill(0.0);
        self.rows = 0;
    }

    pub(crate) fn total(&self) -> &[f64] {
        &self.total
    }
}
