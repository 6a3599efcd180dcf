//! Canaries: examples whose gradient is one coordinate of the trained weights, each its own.

use adapter::Adapter;
use training::{Learner, Outcome, Sink, TrainError};

/// A learner of canaries alone: row i of its corpus is canary i, whose gradient is `norm` at coordinate i and zero elsewhere, whatever the
/// weights are. So no two canaries, and no canary and the noise of another, touch.
pub struct Canaries {
    /// Trained weights.
    pub width: usize,
    /// A canary's gradient norm.
    pub norm: f32,
}

impl Learner for Canaries {
    fn set_adapter(&mut self, _: &Adapter) -> Result<(), TrainError> {
        Ok(())
    }

    fn set_dropout_seed(&mut self, _: u64) {}

    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError> {
        let mut gradient = vec![0.0f32; self.width];
        for (place, canary) in rows.iter().enumerate() {
            *gradient.get_mut(*canary).ok_or(TrainError::NoRow(*canary))? = self.norm;
            sink(place, 0.0, &gradient);
            gradient[*canary] = 0.0;
        }
        Ok(())
    }

    /// A canary has no text, so nothing that a model could answer.
    fn outcomes(&self, rows: &[usize]) -> Result<Vec<Outcome>, TrainError> {
        rows.first().map_or(Ok(Vec::new()), |row| Err(TrainError::NoRow(*row)))
    }
}
