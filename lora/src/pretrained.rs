//! A checkpoint as it was published: base model and head, without an adapter.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use crate::LoraError;
use crate::batch::{self, MicroBatch, micro_batches};
use crate::checkpoint::Tensors;
use crate::classifier::{activate, to_vec};
use crate::language::word_logits;
use crate::linear::Linear;
use crate::spec::{DenseActivation, HeadKind, Sizes, Spec};
use crate::tokenizer::Encoded;
use crate::transformer::{Additions, Input, Transformer};

/// A base model of any known family with the head that its checkpoint has: over labels, or over words.
pub struct Pretrained {
    model: Transformer,
    head: Head,
    device: Device,
}

enum Head {
    Sequence(Box<SequenceHead>),
    Words(Box<Tensor<2>>),
}

struct SequenceHead {
    dense: Linear,
    activation: DenseActivation,
    out: Linear,
}

impl Pretrained {
    /// Loads `config.json` and the checkpoint of `dir` (`model.safetensors`, or the files of an index) onto `device`.
    ///
    /// # Errors
    /// [`LoraError`] naming the file and, where there is one, the tensor at fault; an unknown family's names the known ones.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, LoraError> {
        let device = device.clone().without_autodiff();
        let (model, head) = Transformer::load(dir, &device, Head::load)?;
        Ok(Self { model, head, device })
    }

    /// The base model's sizes.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.spec().sizes()
    }

    /// Whether the head scores words, one row a token, and not labels.
    #[must_use]
    pub fn is_language_model(&self) -> bool {
        matches!(self.head, Head::Words(_))
    }

    /// The head's logits of each text: one value a label, or for a language model a row of one value a word for each token.
    ///
    /// # Errors
    /// [`LoraError`] naming the text that the model cannot take.
    pub fn logits(&self, texts: &[Encoded]) -> Result<Vec<Vec<f32>>, LoraError> {
        batch::check(texts, self.sizes())?;
        let mut out = vec![Vec::new(); texts.len()];
        for batch in micro_batches(texts) {
            for (index, row) in batch.indices().iter().zip(self.rows(&batch)?) {
                out[*index] = row;
            }
        }
        Ok(out)
    }

    fn rows(&self, batch: &MicroBatch) -> Result<Vec<Vec<f32>>, LoraError> {
        let input = Input::new(batch.ids(), batch.lengths(), batch.padded_tokens(), &self.device);
        let states = self.model.forward(&input, &Additions::none(self.spec()));
        match &self.head {
            Head::Sequence(head) => {
                let SequenceHead { dense, activation, out } = head.as_ref();
                let [examples, _, hidden] = states.dims();
                let first = states.narrow(1, 0, 1).reshape([examples, hidden]);
                let x = dense.forward(first);
                let values = to_vec("logits", out.forward(activate(*activation, x)))?;
                Ok(values.chunks_exact(values.len() / examples).map(<[f32]>::to_vec).collect())
            }
            Head::Words(words) => word_logits(states, words, batch),
        }
    }

    fn spec(&self) -> &Spec {
        self.model.spec()
    }
}

impl Head {
    fn load(model: &Transformer, tensors: &Tensors<'_>) -> Result<Self, LoraError> {
        let hidden_size = model.spec().hidden_size;
        Ok(match model.spec().head {
            HeadKind::Sequence { dense, activation, out } => {
                let labels = tensors.rows(&format!("{out}.weight"))?;
                Self::Sequence(Box::new(SequenceHead {
                    dense: Linear::load(tensors, dense, hidden_size, hidden_size, true)?,
                    activation,
                    out: Linear::load(tensors, out, hidden_size, labels, true)?,
                }))
            }
            HeadKind::Words { tied } => Self::Words(Box::new(model.word_scores(tied, tensors)?)),
        })
    }
}
