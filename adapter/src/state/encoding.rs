//! A state as bytes, and what of them no number of steps leaves.

use sha2::{Digest, Sha256};

use super::{BestLoss, State};
use crate::codec::{floats, hash_shape, little_endian};
use crate::config::is_a;
use crate::{Adapter, AdapterError, DecodeError, Head, LoraConfig, Model, Schedule, ServerOptimizer, Train};

/// Version byte of [`State::to_bytes`]. 3: the context holds the schedule, and the lowest loss is kept.
const VERSION: u8 = 3;
const CONTEXT_LABEL: &[u8] = b"plainchant adapter state context v2\0";
const DIGEST_LABEL: &[u8] = b"plainchant adapter state v1\0";
/// Version, context digest, step, the two powers, the clipping norm, the lowest loss and the notes since.
const HEADER_BYTES: usize = 1 + 32 + 8 + 8 + 8 + 8 + 8 + 4;
/// The powers of each turn.
const TURN_BYTES: usize = 4 * 8;

impl State {
    /// SHA-256 over a label and [`to_bytes`](Self::to_bytes).
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new_with_prefix(DIGEST_LABEL).chain_update(self.to_bytes()).finalize().into()
    }

    /// A version byte, a digest of what the state belongs to (tensors' names and shapes, scaling, optimizer, schedule), step, powers (three pairs where A and B are trained by turns: all steps', B's, A's), clipping norm (0: fixed), the lowest loss and the notes since, then
    /// all tensors' values in the order of the names and the moments; everything little-endian. The lengths follow from
    /// model, configuration and optimizer, which the charter holds with the schedule.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(context(&self.adapter, &self.optimizer, &self.schedule));
        bytes.extend(self.step.to_le_bytes());
        let turns = self.turn_powers.iter().flatten().filter(|_| self.turn().is_some());
        bytes.extend(self.powers.iter().chain(turns).flat_map(|power| power.to_le_bytes()));
        bytes.extend(self.clipping_norm.to_le_bytes());
        bytes.extend(self.best.loss.to_le_bytes());
        bytes.extend(self.best.since.to_le_bytes());
        for (_, tensor) in self.adapter.tensors() {
            bytes.extend(little_endian(&tensor.data));
        }
        for moment in &self.moments {
            bytes.extend(little_endian(moment));
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote under the same charter.
    ///
    /// # Errors
    /// [`DecodeError`]; the length is checked before anything of its size is allocated.
    pub fn from_bytes(
        model: &Model,
        config: &LoraConfig,
        optimizer: &ServerOptimizer,
        schedule: &Schedule,
        bytes: &[u8],
    ) -> Result<Self, DecodeError> {
        optimizer.validate()?;
        let found = bytes.first().copied().unwrap_or_default();
        if !bytes.is_empty() && found != VERSION {
            return Err(DecodeError::Version { found, known: VERSION });
        }
        let expected = encoded_len(model, config, optimizer)?;
        let wrong_length = || DecodeError::Length { found: bytes.len(), expected };
        if bytes.len() != expected {
            return Err(wrong_length());
        }
        let mut reader = Reader(&bytes[1..]);
        let digest: [u8; 32] = reader.array().ok_or_else(wrong_length)?;
        let step = reader.array().map(u64::from_le_bytes).ok_or_else(wrong_length)?;
        let (mut powers, mut turn_powers) = ([1.0; 2], [[1.0; 2]; 2]);
        let turns = turn_powers.iter_mut().flatten().filter(|_| config.train == Train::Alternating);
        for power in powers.iter_mut().chain(turns) {
            *power = reader.array().map(f64::from_le_bytes).ok_or_else(wrong_length)?;
        }
        let clipping_norm = reader.array().map(f64::from_le_bytes).ok_or_else(wrong_length)?;
        let loss = reader.array().map(f64::from_le_bytes).ok_or_else(wrong_length)?;
        let since = reader.array().map(u32::from_le_bytes).ok_or_else(wrong_length)?;
        let adapter = Adapter::build(model, config, |name, shape| {
            let missing = || AdapterError::MissingTensor { tensor: name.to_owned() };
            reader.floats(shape.iter().product()).ok_or_else(missing)
        })?;
        if digest != context(&adapter, optimizer, schedule) {
            return Err(DecodeError::Foreign);
        }
        let mut state = Self::scheduled(adapter, optimizer.clone(), *schedule)?;
        for moment in &mut state.moments {
            *moment = reader.floats(moment.len()).ok_or_else(wrong_length)?;
        }
        (state.step, state.powers, state.turn_powers, state.clipping_norm) = (step, powers, turn_powers, clipping_norm);
        state.best = BestLoss { loss, since };
        state.check_memory()?;
        Ok(state)
    }

    /// What no number of steps leaves: powers outside of 0 to 1 or moved before the first step, moments that are not
    /// finite, negative mean squares.
    fn check_memory(&self) -> Result<(), DecodeError> {
        let impossible = |part| Err(DecodeError::Impossible { part, step: self.step });
        let decays = self.optimizer.decays();
        let fits = |steps: u64, powers: &[f64; 2]| {
            powers.iter().zip(decays).all(|(&power, decay)| match steps {
                0 => power == 1.0,
                _ if decay == 1.0 => power == 1.0,
                _ => (0.0..=decay).contains(&power),
            })
        };
        let turns = if self.turn().is_some() { [self.step.div_ceil(2), self.step / 2] } else { [0, 0] };
        if !fits(self.step, &self.powers) || !turns.iter().zip(&self.turn_powers).all(|(steps, p)| fits(*steps, p)) {
            return impossible("powers of the decays");
        }
        if !(self.clipping_norm >= 0.0 && self.clipping_norm.is_finite()) || self.clipping_norm.is_sign_negative() {
            return impossible("clipping norm");
        }
        let BestLoss { loss, since } = self.best;
        if loss.is_nan() || loss == f64::NEG_INFINITY || (loss == f64::INFINITY && since > 0) {
            return impossible("lowest loss");
        }
        if self.step == 1 && self.turn().is_some() {
            let starts = self.moments.iter().zip(self.optimizer.first_moments());
            let moved = |(kept, start): (&Vec<f32>, f32)| {
                let places = self.adapter.trainable().into_iter().filter(|place| is_a(&place.name));
                let mut values =
                    places.filter_map(|place| kept.get(place.offset..place.offset + place.len())).flatten();
                values.any(|value| *value != start)
            };
            if starts.into_iter().any(moved) {
                return impossible("moments of A, which had no turn yet");
            }
        }
        let [first, second] = &self.moments;
        let [at_first, at_second] = self.optimizer.first_moments();
        let fits = |value: &f32, start: f32| value.is_finite() && (self.step > 0 || *value == start);
        if !first.iter().all(|value| fits(value, at_first)) {
            return impossible("first moment");
        }
        if !second.iter().all(|value| fits(value, at_second) && *value >= 0.0) {
            return impossible("second moment");
        }
        Ok(())
    }
}

/// What a state belongs to.
fn context(adapter: &Adapter, optimizer: &ServerOptimizer, schedule: &Schedule) -> [u8; 32] {
    let mut hasher = Sha256::new_with_prefix(CONTEXT_LABEL);
    hasher.update(adapter.config().scaling().to_le_bytes());
    hasher.update([adapter.config().train.code()]);
    if adapter.model().head == Head::SequenceClassification {
        // Of BERT it has the tensors of the other.
        hasher.update(b"sequence-classification");
    }
    hasher.update(optimizer.encode());
    hasher.update(schedule.encode());
    for (name, tensor) in adapter.tensors() {
        hash_shape(&mut hasher, name, &tensor.shape);
    }
    hasher.finalize().into()
}

fn encoded_len(model: &Model, config: &LoraConfig, optimizer: &ServerOptimizer) -> Result<usize, AdapterError> {
    let tensors = model.tensors(config)?;
    let size = |shape: &[usize]| shape.iter().product::<usize>();
    let all: usize = tensors.iter().map(|(_, shape)| size(shape)).sum();
    let trained: usize = tensors.iter().filter(|(name, _)| config.trains(name)).map(|(_, s)| size(s)).sum();
    let kept = optimizer.keeps().into_iter().filter(|&kept| kept).count();
    let turns = if config.train == Train::Alternating { TURN_BYTES } else { 0 };
    Ok(HEADER_BYTES + turns + 4 * (all + kept * trained))
}

/// Takes values off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn floats(&mut self, count: usize) -> Option<Vec<f32>> {
        let (head, rest) = self.0.split_at_checked(count.checked_mul(4)?)?;
        self.0 = rest;
        Some(floats(head))
    }
}
