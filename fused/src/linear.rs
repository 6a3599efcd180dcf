//! A frozen linear layer.

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor, TensorData};

use crate::extension::Fused;
use crate::packed::Packed;

/// `x W + b`, never trained.
pub struct Linear(Kind);

enum Kind {
    Packed(Arc<Packed>),
    /// The matrix, `[inputs, outputs]`, and the bias.
    Plain(Box<(Tensor<2>, Option<Tensor<1>>)>),
}

impl Linear {
    /// A layer on `device` with this weight, `[outputs, inputs]` row by row, as checkpoints have it, and `bias`, of `outputs` values.
    ///
    /// # Panics
    /// Where `weight` has other than `inputs` times `outputs` values, or `bias` other than `outputs`.
    #[must_use]
    pub fn new(weight: Vec<f32>, [outputs, inputs]: [usize; 2], bias: Option<Vec<f32>>, device: &Device) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "values of a matrix of {outputs} times {inputs}");
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == outputs), "{outputs} values of a bias");
        if *device == Device::flex() {
            return Self(Kind::Packed(Arc::new(Packed::new(weight, [outputs, inputs], bias))));
        }
        let weight = Tensor::<2>::from_data(TensorData::new(weight, [outputs, inputs]), device).transpose();
        let bias = bias.map(|bias| Tensor::from_data(TensorData::new(bias, [outputs]), device));
        Self(Kind::Plain(Box::new((weight, bias))))
    }

    /// `[rows, outputs]` from `[rows, inputs]`.
    ///
    /// # Panics
    /// Where `x` has other than `inputs` columns.
    #[must_use]
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.0 {
            Kind::Packed(packed) => {
                assert_eq!(x.dims()[1], packed.inputs(), "columns of what a layer is given");
                Tensor::from_dispatch(<Dispatch as Fused>::linear(x.into_dispatch(), Arc::clone(packed)))
            }
            Kind::Plain(plain) => {
                let (weight, bias) = plain.as_ref();
                let out = x.matmul(weight.clone());
                match bias {
                    Some(bias) => out + bias.clone().unsqueeze(),
                    None => out,
                }
            }
        }
    }
}
