//! Rotary positions: the angle of each pair of a head's values at each position.

use std::f64::consts::PI;

/// Rotary positions of one model (Su et al. 2021), with what stretches them over longer texts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rotary {
    /// Radians a position, for each pair.
    frequencies: Vec<f64>,
    /// What cosines and sines are multiplied by.
    scale: f64,
}

/// How frequencies are changed for texts longer than those of the pretraining.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scaling {
    /// As they are.
    None,
    /// Divided by a factor ("position interpolation", Chen et al. 2023).
    Linear { factor: f64 },
    /// Of Llama 3.1: long waves divided by a factor, short ones left, those between by a mean of both.
    Llama3 { factor: f64, low: f64, high: f64, original: f64 },
    /// "YaRN" (Peng, Quesnelle, Fan, Shippole 2023, section 3.2): a ramp over the pairs instead, and attention made sharper.
    Yarn { factor: f64, original: f64, beta_fast: f64, beta_slow: f64, attention_factor: f64, truncate: bool },
}

impl Rotary {
    /// Frequencies `theta^(-2 i / head_size)`, scaled.
    pub(crate) fn new(head_size: usize, theta: f64, scaling: Scaling) -> Self {
        let size = head_size as f64;
        let plain: Vec<f64> = (0..head_size / 2).map(|i| theta.powf(-2.0 * i as f64 / size)).collect();
        let mut scale = 1.0;
        let frequencies = match scaling {
            Scaling::None => plain,
            Scaling::Linear { factor } => plain.into_iter().map(|frequency| frequency / factor).collect(),
            Scaling::Llama3 { factor, low, high, original } => {
                let stretched = |frequency: f64| {
                    let turns = original * frequency / (2.0 * PI);
                    // 0 up to `low` turns over the original length, 1 from `high` turns on.
                    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                };
                plain.into_iter().map(stretched).collect()
            }
            Scaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, truncate } => {
                scale = attention_factor;
                // The pair that turns so often over the original length.
                let pair = |turns: f64| size * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
                let (mut low, mut high) = (pair(beta_fast), pair(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, high) = (low.max(0.0), high.min(size - 1.0));
                // The same small width as everybody's, where the ramp would have none.
                let width = if high == low { 1e-3 } else { high - low };
                let stretched = |(i, frequency): (usize, f64)| {
                    let interpolated = ((i as f64 - low) / width).clamp(0.0, 1.0);
                    interpolated * frequency / factor + (1.0 - interpolated) * frequency
                };
                plain.into_iter().enumerate().map(stretched).collect()
            }
        };
        Self { frequencies, scale }
    }

    /// Cosines and sines of `positions`, `[positions, head_size / 2]` each, row by row.
    pub(crate) fn table(&self, positions: impl IntoIterator<Item = usize>) -> (Vec<f32>, Vec<f32>) {
        let angles =
            positions.into_iter().flat_map(|t| self.frequencies.iter().map(move |frequency| t as f64 * frequency));
        angles.map(|angle| ((angle.cos() * self.scale) as f32, (angle.sin() * self.scale) as f32)).unzip()
    }
}

/// YaRN's attention factor where the configuration names none: `0.1 mscale ln(factor) + 1` (equation 22 has mscale 1), over
/// that of `mscale_all_dim` where both are named.
pub(crate) fn yarn_attention_factor(factor: f64, scales: Option<(f64, f64)>) -> f64 {
    let of = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
    scales.map_or_else(|| of(1.0), |(mscale, all)| of(mscale) / of(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_turn_by_powers_of_theta() {
        let rotary = Rotary::new(4, 100.0, Scaling::None);
        let (cosines, sines) = rotary.table(0..3);
        assert_eq!((cosines.len(), sines[0]), (6, 0.0));
        // Position 2: angles 2 and 2 / 10.
        let wanted = [2.0_f64.cos(), 0.2_f64.cos()];
        assert!(cosines[4..].iter().zip(wanted).all(|(found, wanted)| (f64::from(*found) - wanted).abs() < 1e-7));
    }

    #[test]
    fn llama_3_leaves_short_waves_and_divides_long_ones() {
        let of = |scaling| Rotary::new(64, 500_000.0, scaling).frequencies;
        let (plain, scaled) =
            (of(Scaling::None), of(Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 }));
        assert_eq!(plain[0], scaled[0]);
        assert!((plain[31] / scaled[31] - 8.0).abs() < 1e-12);
        assert!(plain.iter().zip(&scaled).any(|(plain, scaled)| (1.1..7.9).contains(&(plain / scaled))));
    }
}
