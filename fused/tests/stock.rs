//! Each operation beside the composition of burn's own operations that it stands for: values and gradients, for random shapes.
#![expect(clippy::unwrap_used, reason = "tests")]

use burn::tensor::{Device, Int, Tensor, TensorData, activation, module};
use proptest::prelude::*;

/// The largest difference, over the largest magnitude or 1.
fn distance(ours: &[f32], stock: &[f32]) -> f32 {
    assert_eq!(ours.len(), stock.len());
    let most = stock.iter().fold(1.0f32, |most, value| most.max(value.abs()));
    ours.iter().zip(stock).fold(0.0f32, |worst, (ours, stock)| worst.max((ours - stock).abs())) / most
}

/// Values and gradients of the sum of `f`'s output times `weights`, by each of the inputs; without recording only the values.
fn run<const D: usize>(
    inputs: &[&(Vec<f32>, [usize; D])],
    weights: &[f32],
    f: impl Fn(Vec<Tensor<D>>) -> Tensor<D>,
) -> Vec<Vec<f32>> {
    let device = Device::flex();
    let tensor = |(values, shape): &(Vec<f32>, [usize; D])| {
        Tensor::<D>::from_data(TensorData::new(values.clone(), *shape), &device)
    };
    let plain = f(inputs.iter().map(|input| tensor(input)).collect());
    let tracked: Vec<_> = inputs.iter().map(|input| tensor(input).autodiff().require_grad()).collect();
    let out = f(tracked.clone());
    let shape = out.dims();
    let weights =
        Tensor::<D>::from_data(TensorData::new(weights[..out.shape().num_elements()].to_vec(), shape), &device);
    let gradients = (out.clone() * weights).sum().backward();
    let values = |tensor: Tensor<D>| tensor.into_data().try_into_vec::<f32>().unwrap();
    let mut all = vec![values(plain), values(out.inner())];
    all.extend(tracked.iter().map(|input| values(input.grad(&gradients).unwrap())));
    all
}

fn agree(ours: &[Vec<f32>], stock: &[Vec<f32>], within: f32) -> Result<(), TestCaseError> {
    for (place, (ours, stock)) in ours.iter().zip(stock).enumerate() {
        let worst = distance(ours, stock);
        prop_assert!(worst < within, "of values, recorded values, gradients the {place}-th is off by {worst}");
    }
    Ok(())
}

/// Numbers that look random, from -3 to 3.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 * 6.0 - 3.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn constant<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_packed_layer_is_the_product_and_the_sum(rows in 1usize..70, inputs in 1usize..90, outputs in 1usize..90, bias: bool, seed: u64) {
        let x = (numbers(rows * inputs, seed), [rows, inputs]);
        let (weight, bias) = (numbers(inputs * outputs, seed ^ 1), bias.then(|| numbers(outputs, seed ^ 2)));
        let weights = numbers(rows * outputs, seed ^ 3);
        let layer = fused::Linear::new(weight.clone(), [outputs, inputs], bias.clone(), &Device::flex());
        let (weight, bias) = (constant(weight, [outputs, inputs]).transpose(), bias.map(|bias| constant(bias, [outputs])));
        let ours = run(&[&x], &weights, |x| layer.forward(x[0].clone()));
        let stock = run(&[&x], &weights, |x| {
            let out = x[0].clone().matmul(weight.clone());
            match &bias {
                Some(bias) => out + bias.clone().unsqueeze(),
                None => out,
            }
        });
        agree(&ours, &stock, 3e-6)?;
    }

    #[test]
    fn gelu_is_burns(rows in 1usize..40, width in 1usize..70, scale in 0.1f32..8.0, seed: u64) {
        let x = (numbers(rows * width, seed).iter().map(|x| x * scale).collect(), [rows, width]);
        let weights = numbers(rows * width, seed ^ 1);
        let ours = run(&[&x], &weights, |x| fused::gelu(x[0].clone()));
        agree(&ours, &run(&[&x], &weights, |x| activation::gelu(x[0].clone())), 3e-6)?;
    }

    #[test]
    fn a_gate_is_silu_times_the_other(rows in 1usize..40, width in 1usize..70, scale in 0.1f32..20.0, seed: u64) {
        let gate = (numbers(rows * width, seed).iter().map(|x| x * scale).collect(), [rows, width]);
        let up = (numbers(rows * width, seed ^ 1), [rows, width]);
        let weights = numbers(rows * width, seed ^ 2);
        let ours = run(&[&gate, &up], &weights, |x| fused::gated_silu(x[0].clone(), x[1].clone()));
        let stock = run(&[&gate, &up], &weights, |x| activation::silu(x[0].clone()) * x[1].clone());
        agree(&ours, &stock, 3e-6)?;
    }

    /// Padding at the ends of encoders' texts, each its own; what a decoder's token has not seen yet, the same for all; or one mask for everything.
    #[test]
    fn weights_of_attention_are_the_masked_softmax(
        examples in 1usize..5, heads in 1usize..4, tokens in 1usize..20, kind in 0usize..3, seed: u64,
    ) {
        let shape = [examples, heads, tokens, tokens];
        let scores = (numbers(shape.iter().product(), seed), shape);
        let hidden = |hidden: bool| if hidden { -1e9 } else { 0.0 };
        let mask = match kind {
            0 => {
                let row = |example: usize| (0..tokens).map(move |token| hidden(token > 0 && token + example % tokens >= tokens));
                constant((0..examples).flat_map(row).collect(), [examples, 1, 1, tokens])
            }
            1 => {
                let row = |token: usize| (0..tokens).map(move |other| hidden(other > token));
                constant((0..tokens).flat_map(row).collect(), [1, 1, tokens, tokens])
            }
            _ => constant(numbers(tokens, seed ^ 1), [1, 1, 1, tokens]),
        };
        let weights = numbers(shape.iter().product(), seed ^ 2);
        let ours = run(&[&scores], &weights, |x| fused::attention_weights(x[0].clone(), &mask, 0.3));
        let stock = run(&[&scores], &weights, |x| activation::softmax(x[0].clone().mul_scalar(0.3) + mask.clone(), 3));
        agree(&ours, &stock, 3e-6)?;
    }

    #[test]
    fn likelihoods_are_the_log_softmax_of_the_class(rows in 1usize..30, width in 1usize..90, scale in 0.1f32..8.0, seed: u64) {
        let scores = (numbers(rows * width, seed).iter().map(|x| x * scale).collect(), [rows, width]);
        let classes: Vec<usize> = (0..rows).map(|row| (seed as usize % width + row * 7) % width).collect();
        // Some rows count for nothing, as padding does.
        let weights: Vec<f32> = numbers(rows, seed ^ 1).iter().map(|weight| weight.max(0.0)).collect();
        let ours = run(&[&scores], &weights, |x| fused::negative_log_likelihood(x[0].clone(), &classes));
        let stock = run(&[&scores], &weights, |x| {
            let indices: Vec<i64> = classes.iter().map(|class| *class as i64).collect();
            let indices = Tensor::<2, Int>::from_data(TensorData::new(indices, [rows, 1]), &Device::flex());
            activation::log_softmax(x[0].clone(), 1).gather(1, indices).neg()
        });
        // A difference of two scores, up to 48, is off by 3e-6 in f32, and so is its exponential.
        agree(&ours, &stock, 1e-5)?;
    }

    #[test]
    fn a_layer_norm_is_burns(rows in 1usize..40, width in 2usize..70, seed: u64) {
        let x = (numbers(rows * width, seed), [rows, width]);
        let (gamma, beta) = (constant(numbers(width, seed ^ 1), [width]), constant(numbers(width, seed ^ 2), [width]));
        let weights = numbers(rows * width, seed ^ 3);
        let ours = run(&[&x], &weights, |x| fused::layer_norm(x[0].clone(), &gamma, &beta, 1e-2));
        let stock = run(&[&x], &weights, |x| module::layer_norm(x[0].clone(), gamma.clone(), Some(beta.clone()), 1e-2));
        agree(&ours, &stock, 1e-5)?;
    }

    #[test]
    fn an_rms_norm_is_the_rows_over_their_root_mean_square(rows in 1usize..40, width in 1usize..70, seed: u64) {
        let x = (numbers(rows * width, seed), [rows, width]);
        let gamma = constant(numbers(width, seed ^ 1), [width]);
        let weights = numbers(rows * width, seed ^ 3);
        let ours = run(&[&x], &weights, |x| fused::rms_norm(x[0].clone(), &gamma, 1e-2));
        let stock = run(&[&x], &weights, |x| {
            let root = x[0].clone().square().mean_dim(1).add_scalar(1e-2).sqrt();
            x[0].clone() / root * gamma.clone().unsqueeze()
        });
        agree(&ours, &stock, 1e-5)?;
    }
}
