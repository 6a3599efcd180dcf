//! A frozen linear layer and its LoRA branch.

use burn::tensor::Tensor;

use crate::LoraError;
use crate::checkpoint::Tensors;

/// `x · W + b`, never trained.
pub(crate) struct Linear(fused::Linear);

/// What an adapter adds to one linear layer.
#[derive(Clone, Default)]
pub(crate) struct Added {
    pub(crate) branch: Option<Branch>,
    /// To its bias: one for all, `[1, 1, outputs]`, or one an example.
    pub(crate) bias: Option<Tensor<3>>,
}

/// `x`, `[tokens, width]`, with a bias added: one for all, `[1, 1, width]`, or one an example, `[examples, 1, width]`.
pub(crate) fn add_bias(x: Tensor<2>, bias: Tensor<3>) -> Tensor<2> {
    let ([tokens, width], [examples, ..]) = (x.dims(), bias.dims());
    (x.reshape([examples, tokens / examples, width]) + bias).reshape([tokens, width])
}

/// The low-rank branch of one linear layer, `(x · Aᵀ · Bᵀ + b) · scaling`. The product of A and B is never formed.
#[derive(Clone)]
pub(crate) struct Branch {
    /// A, in one of its two forms.
    pub(crate) down: Down,
    /// B, in one of its two forms.
    pub(crate) up: Up,
    /// What is added to the product before scaling: one for all, `[1, 1, outputs]`, or one an example.
    pub(crate) bias: Option<Tensor<3>>,
    /// What the inputs are multiplied by first, `[tokens, inputs]`: dropout, in training.
    pub(crate) dropout: Option<Tensor<2>>,
    /// `lora_alpha / r`, or `lora_alpha / sqrt(r)` with rank-stabilised LoRA.
    pub(crate) scaling: f32,
}

/// The matrix A of a branch.
#[derive(Clone)]
pub(crate) enum Down {
    /// One A for all tokens, as Aᵀ, `[inputs, r]`.
    Shared(Tensor<2>),
    /// One copy of A for each example, `[examples, r, inputs]`.
    PerExample(Tensor<3>),
}

/// The matrix B of a branch.
#[derive(Clone)]
pub(crate) enum Up {
    /// One B for all tokens, as Bᵀ, `[r, outputs]`.
    Shared(Tensor<2>),
    /// One copy of B for each example, `[examples, outputs, r]`: its gradient is one gradient an example.
    PerExample(Tensor<3>),
}

impl Linear {
    /// The layer of this full name.
    pub(crate) fn load(
        tensors: &Tensors<'_>,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Self, LoraError> {
        let bias = bias.then(|| tensors.values(&format!("{name}.bias"), &[outputs])).transpose()?;
        let weight = tensors.values(&format!("{name}.weight"), &[outputs, inputs])?;
        Ok(Self(fused::Linear::new(weight, [outputs, inputs], bias, tensors.device())))
    }

    /// The layer's output, `[tokens, outputs]`, for `x` `[tokens, inputs]`.
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward_with(x, &Added::default())
    }

    /// The same with what an adapter adds.
    pub(crate) fn forward_with(&self, x: Tensor<2>, added: &Added) -> Tensor<2> {
        let mut out = self.0.forward(x.clone());
        if let Some(bias) = &added.bias {
            out = add_bias(out, bias.clone());
        }
        match &added.branch {
            None => out,
            Some(branch) => out + branch.forward(x),
        }
    }
}

impl Branch {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = match &self.dropout {
            Some(factors) => x * factors.clone(),
            None => x,
        };
        let low = match &self.down {
            Down::Shared(down) => x.matmul(down.clone()),
            Down::PerExample(down) => {
                let [tokens, inputs] = x.dims();
                let [examples, r, _] = down.dims();
                let x = x.reshape([examples, tokens / examples, inputs]);
                x.matmul(down.clone().swap_dims(1, 2)).reshape([tokens, r])
            }
        };
        let low = low.mul_scalar(self.scaling);
        let out = match &self.up {
            Up::Shared(up) => low.matmul(up.clone()),
            Up::PerExample(up) => {
                let [tokens, r] = low.dims();
                let [examples, outputs, _] = up.dims();
                let low = low.reshape([examples, tokens / examples, r]);
                low.matmul(up.clone().swap_dims(1, 2)).reshape([tokens, outputs])
            }
        };
        match &self.bias {
            None => out,
            Some(bias) => add_bias(out, bias.clone().mul_scalar(self.scaling)),
        }
    }
}
