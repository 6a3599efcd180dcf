//! Canaries: examples whose gradient is one coordinate of the trained weights, each its own.

use adapter::Adapter;
use training::{Learner, Sink, TrainError};

/// A learner with canaries beside its rows: row `rows + i` of its corpus is canary i, whose gradient is `norm` at coordinate i and zero
/// elsewhere, whatever the weights are. So no two canaries, and no canary and the noise of another, touch.
pub struct Canaries<'a> {
    /// The real rows; none where only canaries train.
    pub inner: Option<&'a mut dyn Learner>,
    /// How many real rows come first.
    pub rows: usize,
    /// Trained weights.
    pub width: usize,
    /// A canary's gradient norm.
    pub norm: f32,
}

impl Learner for Canaries<'_> {
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        self.inner.as_mut().map_or(Ok(()), |inner| inner.set_adapter(adapter))
    }

    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError> {
        let mut gradient = vec![0.0f32; self.width];
        let (mut real, mut places) = (Vec::new(), Vec::new());
        for (place, row) in rows.iter().enumerate() {
            let Some(canary) = row.checked_sub(self.rows) else {
                real.push(*row);
                places.push(place);
                continue;
            };
            let coordinate = gradient.get_mut(canary).ok_or(TrainError::NoRow(*row))?;
            *coordinate = self.norm;
            sink(place, 0.0, &gradient);
            gradient[canary] = 0.0;
        }
        match &self.inner {
            Some(inner) if !real.is_empty() => {
                inner.for_each_gradient(&real, &mut |at, loss, gradient| sink(places[at], loss, gradient))
            }
            _ => real.first().map_or(Ok(()), |row| Err(TrainError::NoRow(*row))),
        }
    }

    fn logits(&self, rows: &[usize]) -> Result<Vec<Vec<f32>>, TrainError> {
        match &self.inner {
            Some(inner) => inner.logits(rows),
            None => rows.first().map_or(Ok(Vec::new()), |row| Err(TrainError::NoRow(*row))),
        }
    }

    fn label(&self, row: usize) -> Option<usize> {
        self.inner.as_ref().filter(|_| row < self.rows).and_then(|inner| inner.label(row))
    }
}
