//! Loops that the compiler turns into the widest vector instructions of the machine, and what they have in common.

use burn::tensor::{Shape, TensorData};
use pulp::Arch;

use crate::extension::Cpu;

/// Sums and maxima are taken in so many lanes at once, which are put together at the end.
pub(crate) const LANES: usize = 16;

/// Runs `work` with all vector instructions of this machine; what it calls must be inlined into it.
#[inline(always)]
pub(crate) fn wide<T>(work: impl FnOnce() -> T) -> T {
    Arch::new().dispatch(work)
}

/// A tensor of these values.
pub(crate) fn tensor(values: Vec<f32>, shape: Shape) -> Cpu {
    Cpu::from_data(TensorData::new(values, shape))
}

/// The same tensor as one block of memory, row by row, and this the only handle to it where there was no other.
pub(crate) fn block(x: Cpu) -> Cpu {
    x.to_contiguous()
}

/// Applies `work` to all values of `x`, in its own memory where nobody else has it.
#[inline(always)]
pub(crate) fn in_place(x: Cpu, work: impl FnOnce(&mut [f32])) -> Cpu {
    let mut x = block(x);
    let values = x.storage_mut::<f32>();
    wide(|| work(values));
    x
}

/// `x * y`, value by value.
pub(crate) fn product(x: Cpu, y: &Cpu) -> Cpu {
    let y = y.to_contiguous();
    in_place(x, |x| x.iter_mut().zip(y.storage::<f32>()).for_each(|(x, y)| *x *= y))
}

/// The sum of what `f` gives for each place.
#[inline(always)]
pub(crate) fn sum(count: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let whole = count - count % LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    lanes.iter().sum::<f32>() + (whole..count).map(f).sum::<f32>()
}

/// The largest value; negative infinity of none.
#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Where an exponential, or a share of it in a sum of many, is still far from the smallest normal number.
const NOTHING: f32 = -80.0;

/// exp(x) for x <= 0 to 3e-7 of its value: 2^k times a Taylor polynomial on |r| <= ln(2)/2. Below [`NOTHING`] it is 0: what is smaller is no normal number in
/// f32, and processors multiply those a hundred times slower.
#[inline(always)]
pub(crate) fn exp_negative(x: f32) -> f32 {
    /// Adding and subtracting 1.5 · 2^23 rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    // Written so that what is no number stays none.
    let x = if x < NOTHING { NOTHING } else { x };
    let k = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    // ln(2) in two parts, so that the product with k loses nothing.
    let r = (x - k * 0.693_359_4) - k * -2.121_944_4e-4;
    let high = 1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)));
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * high)));
    // k + ROUND holds the whole number k in its low bits: no conversion to an integer, which would not vectorise.
    let bits = (k + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    if x <= NOTHING { 0.0 } else { p * f32::from_bits(bits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_3e_7_of_the_libraries() {
        for i in 0..8000 {
            let x = -(i as f32) / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp_negative(x)) - exact).abs() <= 3e-7 * exact, "{x}");
        }
        assert!(exp_negative(f32::NAN).is_nan());
        assert_eq!([exp_negative(-80.0), exp_negative(-1e9), exp_negative(f32::NEG_INFINITY)], [0.0; 3]);
    }

    #[test]
    fn sums_and_maxima_take_every_value_once() {
        for count in 0..70 {
            let values: Vec<f32> = (0..count).map(|i| (i * 7 % 31) as f32 - 15.0).collect();
            assert_eq!(sum(count, |i| values[i]), values.iter().sum::<f32>());
            assert_eq!(largest(&values), values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
