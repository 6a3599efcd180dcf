//! What a decoder has seen: keys and values of each layer, so that a text that grows is seen once.
//!
//! Several texts grow together. Each has its own positions; a column that is padding of a shorter text is never seen by it.

use burn::tensor::{Device, Tensor, TensorData};

use crate::spec::Spec;
use crate::transformer::{Batch, UNSEEN, masks, sees};

/// Keys and values of what several texts held so far.
pub(crate) struct Cache {
    layers: Vec<Remembered>,
    /// Of each text: the position of each column; none for padding.
    columns: Vec<Vec<Option<usize>>>,
}

/// Keys and values of one layer, `[examples, kv_heads, columns, head_size]` each; keys are rotated already.
#[derive(Clone, Default)]
pub(crate) struct Remembered(Option<(Tensor<4>, Tensor<4>)>);

impl Cache {
    /// Of `examples` texts that hold nothing yet.
    pub(crate) fn new(spec: &Spec, examples: usize) -> Self {
        Self { layers: vec![Remembered::default(); spec.num_layers], columns: vec![Vec::new(); examples] }
    }

    pub(crate) fn layers(&mut self) -> &mut [Remembered] {
        &mut self.layers
    }

    /// Appends `lengths` tokens to each text, padded to `tokens`, and says how they see what is there.
    pub(crate) fn extend(&mut self, spec: &Spec, lengths: &[usize], tokens: usize, device: &Device) -> Batch {
        let old = self.columns.first().map_or(0, Vec::len);
        for (columns, length) in self.columns.iter_mut().zip(lengths) {
            let next = columns.iter().flatten().max().map_or(0, |last| last + 1);
            columns.extend((0..tokens).map(|t| (t < *length).then_some(next + t)));
        }
        let (examples, all) = (self.columns.len(), old + tokens);
        let tensor = |values, shape: [usize; 4]| Tensor::<4>::from_data(TensorData::new(values, shape), device);
        let masks = masks(&spec.attention.windows, |window| {
            let mut mask = Vec::with_capacity(examples * tokens * all);
            for columns in &self.columns {
                for at in &columns[old..] {
                    // What padding sees does not matter, so long as it is something.
                    let seen =
                        |other: &Option<usize>| at.is_none_or(|at| other.is_some_and(|other| sees(window, at, other)));
                    mask.extend(columns.iter().map(|other| if seen(other) { 0.0f32 } else { UNSEEN }));
                }
            }
            tensor(mask, [examples, 1, tokens, all])
        });
        let rotary = spec.attention.rotary.as_ref().map(|rotary| {
            let new = self.columns.iter().flat_map(|columns| &columns[old..]);
            let (cosines, sines) = rotary.table(new.map(|position| position.unwrap_or(0)));
            let shape = [examples, 1, tokens, spec.head_size / 2];
            (tensor(cosines, shape), tensor(sines, shape))
        });
        Batch { examples, tokens, masks, rotary }
    }
}

impl Remembered {
    /// Appends the keys and values of new tokens; gives all.
    pub(crate) fn add(&mut self, keys: Tensor<4>, values: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let all = match self.0.take() {
            None => (keys, values),
            Some((old_keys, old_values)) => {
                (Tensor::cat(vec![old_keys, keys], 2), Tensor::cat(vec![old_values, values], 2))
            }
        };
        self.0 = Some(all.clone());
        all
    }
}
