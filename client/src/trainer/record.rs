//! DP-SGD's local half for the modes `record-shared` and `record-local`: one Poisson batch of privacy units a round, each
//! unit's gradient clipped to integers, their exact sum clamped, and the noise of this house added.
//!
//! The two modes differ in the size of the noise only. Under `none` nothing is added, which is logged every round.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use adapter::State;
use lora::{Classifier, Encoded, Tokenizer};
use privacy::{Clip, ClipError, NoiseShare, UnitGradient, clamp, poisson_sample};
use protocol::{Charter, Digest};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{RoundContext, TrainError, Trained, Trainer};
use crate::config::{DataConfig, TrainingConfig};
use crate::data::Dataset;
use crate::files::Named as _;
use crate::progress::timed;
use terms::Terms;

/// A house's rows, tokenized, and the model that learns from them.
pub struct RecordTrainer {
    classifier: Classifier,
    examples: Vec<Encoded>,
    labels: Vec<usize>,
    units: Vec<Vec<usize>>,
    clip: Clip,
}

impl RecordTrainer {
    /// Reads model and rows, and checks both against the charter.
    ///
    /// # Errors
    /// [`TrainError`] naming the file, line or field at fault.
    pub fn load(charter: &Charter, data: &DataConfig, training: &TrainingConfig) -> Result<Self, TrainError> {
        let dataset = Dataset::load(&data.file, data.format, data.columns(), &charter.model.labels)?;
        if !dataset.has_named_units() {
            tracing::warn!("no unit_column: this protects one row, not one patient");
        }
        check_weights(&training.model.join("model.safetensors"), charter.model.sha256)?;
        let tokenizer = Tokenizer::from_file(&training.model.join("tokenizer.json"))?;
        let max_tokens = charter.model.max_tokens as usize;
        let encode = |row: &crate::data::Row| tokenizer.encode(&row.text, max_tokens);
        let examples = dataset.rows().iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        let first = Terms::of(charter)?.first_state()?;
        let device = lora::device(&training.device)?;
        let labels = charter.model.labels.len();
        let mut classifier = Classifier::load(&training.model, first.adapter(), labels, &device)?;
        if let Some(threads) = training.threads {
            classifier.set_threads(threads);
        }
        Ok(Self {
            classifier,
            examples,
            labels: dataset.rows().iter().map(|row| row.label).collect(),
            units: dataset.units().to_vec(),
            clip: Clip::new(charter.privacy.clipping_norm, charter.privacy.integer_norm)?,
        })
    }

    /// The exact sum of the clipped gradients of `batch` (positions of units), and the mean loss of its rows.
    fn clipped_sum(&self, batch: &[usize], width: usize) -> Result<(Zeroizing<Vec<i64>>, Option<f64>), TrainError> {
        let rows: Vec<(usize, usize)> =
            batch.iter().flat_map(|unit| self.units[*unit].iter().map(|row| (*unit, *row))).collect();
        let examples: Vec<Encoded> = rows.iter().map(|(_, row)| self.examples[*row].clone()).collect();
        let labels: Vec<usize> = rows.iter().map(|(_, row)| self.labels[*row]).collect();
        let mut sum = UnitSum { clip: self.clip, units: &self.units, open: HashMap::new(), error: None };
        let mut values = Zeroizing::new(vec![0; width]);
        let mut losses = 0.0;
        self.classifier.for_each_gradient(&examples, &labels, |example, loss, gradient| {
            losses += f64::from(loss);
            sum.add(rows[example].0, gradient, &mut values);
        })?;
        if let Some(error) = sum.error {
            return Err(error.into());
        }
        let loss = (!rows.is_empty()).then(|| losses / rows.len() as f64);
        Ok((values, loss))
    }
}

impl Trainer for RecordTrainer {
    fn contribution(&mut self, round: &RoundContext<'_>, state: &State) -> Result<Trained, TrainError> {
        let share = round.noise_share()?;
        if share.is_none() {
            tracing::warn!("privacy mode `none`: this update is NOT differentially private");
        }
        let count = state.adapter().trainable_len();
        let batch = poisson_sample(self.units.len(), round.sampling_rate()?, &mut rand::rng())?;
        self.classifier.set_adapter(state.adapter())?;
        // Noise is drawn on another thread while the gradients are computed.
        let (sum, noise, train) = std::thread::scope(|scope| {
            let draw = |share| scope.spawn(move || timed(|| NoiseShare::draw(share, count)));
            let noise = share.as_ref().map(draw);
            let (sum, train) = timed(|| self.clipped_sum(&batch, count));
            (sum, noise.map(|thread| thread.join().map_err(|_| TrainError::Worker)).transpose(), train)
        });
        let (mut values, loss) = sum?;
        clamp(&mut values, round.charter.privacy.clamp);
        let (noise, drawing) = noise?.unwrap_or((Ok(Zeroizing::default()), Duration::ZERO));
        for (value, noise) in values.iter_mut().zip(noise?.iter()) {
            *value = value.saturating_add(*noise);
        }
        Ok(Trained { values, loss, train, noise: drawing })
    }
}

/// Clips each unit once, as soon as its last row is there. A row whose gradient is not finite counts as zero: whether a
/// round goes on must not depend on one row.
struct UnitSum<'a> {
    clip: Clip,
    units: &'a [Vec<usize>],
    /// Units with some of their rows, and how many rows are still to come.
    open: HashMap<usize, (UnitGradient, usize)>,
    error: Option<ClipError>,
}

impl UnitSum<'_> {
    fn add(&mut self, unit: usize, gradient: &[f32], values: &mut [i64]) {
        let rows = self.units[unit].len();
        let result = if rows == 1 {
            self.clip.add_clipped(gradient, values).map(drop)
        } else {
            self.add_row(unit, rows, gradient, values)
        };
        match result {
            Ok(()) => {}
            Err(ClipError::NotFinite { .. }) => tracing::debug!("a gradient is not finite and counts as zero"),
            Err(error) => self.error = Some(error),
        }
    }

    fn add_row(&mut self, unit: usize, rows: usize, gradient: &[f32], values: &mut [i64]) -> Result<(), ClipError> {
        let (sum, left) = self.open.entry(unit).or_insert_with(|| (UnitGradient::new(gradient.len()), rows));
        *left -= 1;
        let added = sum.add_row(gradient);
        if *left > 0 {
            return added;
        }
        match self.open.remove(&unit) {
            Some((sum, _)) if sum.rows() > 0 => self.clip.add_clipped_unit(&sum, values).and(added),
            _ => added,
        }
    }
}

fn check_weights(path: &Path, expected: Digest) -> Result<(), TrainError> {
    let mut file = File::open(path).at(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).at(path)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    let found = Digest::from_bytes(hash.finalize().into());
    if found == expected { Ok(()) } else { Err(TrainError::OtherModel { path: path.to_owned(), expected, found }) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A unit of two rows moves the sum by one clipped mean; the same rows as two units would move it by two.
    #[test]
    fn rows_of_one_unit_are_clipped_together() {
        let units = vec![vec![0, 1], vec![2]];
        let clip = Clip::new(1.0, 100).unwrap();
        let mut sum = UnitSum { clip, units: &units, open: HashMap::new(), error: None };
        let mut values = vec![0; 2];
        sum.add(0, &[8.0, 0.0], &mut values);
        assert_eq!(values, [0, 0]);
        sum.add(1, &[0.0, 0.5], &mut values);
        assert_eq!(values, [0, 50]);
        sum.add(0, &[2.0, 0.0], &mut values);
        assert_eq!(values, [100, 50]);
        assert!(sum.open.is_empty() && sum.error.is_none());
    }

    #[test]
    fn a_row_that_is_not_finite_counts_as_zero_and_its_unit_still_counts() {
        let units = vec![vec![0, 1], vec![2]];
        let clip = Clip::new(1.0, 100).unwrap();
        let mut sum = UnitSum { clip, units: &units, open: HashMap::new(), error: None };
        let mut values = vec![0; 1];
        sum.add(1, &[f32::NAN], &mut values);
        sum.add(0, &[0.25], &mut values);
        sum.add(0, &[f32::INFINITY], &mut values);
        assert_eq!(values, [25]);
        assert!(sum.open.is_empty() && sum.error.is_none());
    }
}
