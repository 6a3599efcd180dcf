//! The optimizer that turns a mean gradient into the next weights.

use serde::{Deserialize, Serialize};

use crate::AdapterError;

/// How a round's mean gradient moves the weights: the rules of PyTorch's `SGD`, `Adam` and `AdamW`, and Yogi.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ServerOptimizer {
    /// `b = momentum b + g`, `w = w - learning_rate b`.
    Sgd {
        /// Step size.
        learning_rate: f64,
        /// Share of the last direction that is kept, 0 for none.
        #[serde(default)]
        momentum: f64,
    },
    /// Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1, with the bias corrections).
    Adam {
        /// Step size.
        learning_rate: f64,
        /// Decay of the mean gradient.
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the mean squared gradient.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the root of the mean squared gradient.
        #[serde(default = "epsilon")]
        epsilon: f64,
    },
    /// Adam, after every trained weight was cut by `learning_rate weight_decay` of itself (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2, with the
    /// decay scaled by the learning rate as `torch.optim.AdamW` does).
    AdamW {
        /// Step size.
        learning_rate: f64,
        /// Decay of the mean gradient.
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the mean squared gradient.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the root of the mean squared gradient.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Share of a weight that a step takes off it, over the step size.
        weight_decay: f64,
    },
    /// Yogi as `FedYogi` (Reddi et al. 2021, arXiv 2003.00295, algorithm 2). It differs from Adam in that the mean squared gradient v goes
    /// toward g^2 by `(1 - beta2) g^2` however far it is away, `v = v - (1 - beta2) g^2 sign(v - g^2)`, so that it falls slowly after large gradients;
    /// in that v starts at `epsilon^2`, the least that the paper allows; and in that no bias is corrected, as there and in Zaheer et al. 2018.
    Yogi {
        /// Step size.
        learning_rate: f64,
        /// Decay of the mean gradient.
        beta1: f64,
        /// Decay of the mean squared gradient.
        beta2: f64,
        /// The paper's tau: added to the root of the mean squared gradient.
        epsilon: f64,
    },
}

fn beta1() -> f64 {
    0.9
}

fn beta2() -> f64 {
    0.999
}

fn epsilon() -> f64 {
    1e-8
}

impl ServerOptimizer {
    /// Checks every value.
    ///
    /// # Errors
    /// [`AdapterError::Invalid`] naming the key.
    pub fn validate(&self) -> Result<(), AdapterError> {
        let checks: &[(&'static str, f64, bool, &'static str)] = match *self {
            Self::Sgd { learning_rate, momentum } => &[
                ("learning_rate", learning_rate, is_size(learning_rate), SIZE),
                ("momentum", momentum, is_decay(momentum), DECAY),
            ],
            Self::Adam { learning_rate, beta1, beta2, epsilon }
            | Self::Yogi { learning_rate, beta1, beta2, epsilon } => &[
                ("learning_rate", learning_rate, is_size(learning_rate), SIZE),
                ("beta1", beta1, is_decay(beta1), DECAY),
                ("beta2", beta2, is_decay(beta2), DECAY),
                ("epsilon", epsilon, is_size(epsilon), SIZE),
            ],
            Self::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay } => &[
                ("learning_rate", learning_rate, is_size(learning_rate), SIZE),
                ("beta1", beta1, is_decay(beta1), DECAY),
                ("beta2", beta2, is_decay(beta2), DECAY),
                ("epsilon", epsilon, is_size(epsilon), SIZE),
                ("weight_decay", weight_decay, is_decay(learning_rate * weight_decay), SHRINK),
            ],
        };
        match checks.iter().find(|(_, _, holds, _)| !holds) {
            Some(&(key, found, _, rule)) => Err(AdapterError::Invalid { key, found: found.to_string(), rule }),
            None => Ok(()),
        }
    }

    /// Which vectors it keeps beside the weights: a first moment, a second moment.
    pub(crate) fn keeps(&self) -> [bool; 2] {
        match *self {
            Self::Sgd { momentum, .. } => [momentum > 0.0, false],
            Self::Adam { .. } | Self::AdamW { .. } | Self::Yogi { .. } => [true, true],
        }
    }

    /// The decays whose powers the bias corrections need.
    pub(crate) fn decays(&self) -> [f64; 2] {
        match *self {
            Self::Sgd { .. } | Self::Yogi { .. } => [1.0, 1.0],
            Self::Adam { beta1, beta2, .. } | Self::AdamW { beta1, beta2, .. } => [beta1, beta2],
        }
    }

    /// What the moments are before the first step.
    pub(crate) fn first_moments(&self) -> [f32; 2] {
        match *self {
            Self::Yogi { epsilon, .. } => [0.0, (epsilon * epsilon) as f32],
            Self::Sgd { .. } | Self::Adam { .. } | Self::AdamW { .. } => [0.0, 0.0],
        }
    }

    /// Kind and values, for a digest.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, values): (u8, &[f64]) = match self {
            Self::Sgd { learning_rate, momentum } => (0, &[*learning_rate, *momentum]),
            Self::Adam { learning_rate, beta1, beta2, epsilon } => (1, &[*learning_rate, *beta1, *beta2, *epsilon]),
            Self::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay } => {
                (2, &[*learning_rate, *beta1, *beta2, *epsilon, *weight_decay])
            }
            Self::Yogi { learning_rate, beta1, beta2, epsilon } => (3, &[*learning_rate, *beta1, *beta2, *epsilon]),
        };
        std::iter::once(kind).chain(values.iter().flat_map(|value| value.to_le_bytes())).collect()
    }
}

const SIZE: &str = "above 1e-20 and at most 1e6";
const DECAY: &str = "at least 0 and below 1";
const SHRINK: &str = "at least 0 and below 1 / learning_rate";

fn is_size(value: f64) -> bool {
    value > 1e-20 && value <= 1e6
}

fn is_decay(value: f64) -> bool {
    (0.0..1.0).contains(&value)
}

/// One step's constants, rounded to 32 bits once; then the same few operations for every weight.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Sgd {
        rate: f32,
    },
    Momentum {
        rate: f32,
        momentum: f32,
    },
    /// `keep` is what weight decay leaves of a weight; 1, which changes no bit, without it.
    Adam {
        keep: f32,
        decay: [f32; 2],
        rest: [f32; 2],
        step_size: f32,
        root_correction: f32,
        epsilon: f32,
    },
    Yogi {
        rate: f32,
        decay: f32,
        rest: [f32; 2],
        epsilon: f32,
    },
}

impl Step {
    /// `powers` are the decays to the power of this step's number (the first step is 1), `fraction` is what the schedule takes of the
    /// learning rate.
    pub(crate) fn new(optimizer: &ServerOptimizer, powers: [f64; 2], fraction: f64) -> Self {
        let adam = |rate: f64, [beta1, beta2]: [f64; 2], epsilon: f64, weight_decay: f64| Self::Adam {
            keep: (1.0 - rate * weight_decay) as f32,
            decay: [beta1 as f32, beta2 as f32],
            rest: [(1.0 - beta1) as f32, (1.0 - beta2) as f32],
            step_size: (rate / (1.0 - powers[0])) as f32,
            root_correction: (1.0 - powers[1]).sqrt() as f32,
            epsilon: epsilon as f32,
        };
        match *optimizer {
            ServerOptimizer::Sgd { learning_rate, momentum } if momentum > 0.0 => {
                Self::Momentum { rate: (learning_rate * fraction) as f32, momentum: momentum as f32 }
            }
            ServerOptimizer::Sgd { learning_rate, .. } => Self::Sgd { rate: (learning_rate * fraction) as f32 },
            ServerOptimizer::Adam { learning_rate, beta1, beta2, epsilon } => {
                adam(learning_rate * fraction, [beta1, beta2], epsilon, 0.0)
            }
            ServerOptimizer::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay } => {
                adam(learning_rate * fraction, [beta1, beta2], epsilon, weight_decay)
            }
            ServerOptimizer::Yogi { learning_rate, beta1, beta2, epsilon } => Self::Yogi {
                rate: (learning_rate * fraction) as f32,
                decay: beta1 as f32,
                rest: [(1.0 - beta1) as f32, (1.0 - beta2) as f32],
                epsilon: epsilon as f32,
            },
        }
    }

    /// Moves one weight. Every operation rounds to 32 bits, in the order in which it is written.
    pub(crate) fn update(&self, weight: &mut f32, first: &mut f32, second: &mut f32, gradient: f32) {
        match *self {
            Self::Sgd { rate } => *weight -= rate * gradient,
            Self::Momentum { rate, momentum } => {
                *first = momentum * *first + gradient;
                *weight -= rate * *first;
            }
            Self::Adam { keep, decay, rest, step_size, root_correction, epsilon } => {
                *first = decay[0] * *first + rest[0] * gradient;
                *second = decay[1] * *second + rest[1] * (gradient * gradient);
                *weight = keep * *weight - step_size * (*first / (second.sqrt() / root_correction + epsilon));
            }
            Self::Yogi { rate, decay, rest, epsilon } => {
                *first = decay * *first + rest[0] * gradient;
                let square = gradient * gradient;
                if *second > square {
                    *second -= rest[1] * square;
                } else if *second < square {
                    *second += rest[1] * square;
                }
                *weight -= rate * (*first / (second.sqrt() + epsilon));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn parse(text: &str) -> Result<ServerOptimizer, String> {
        let optimizer: ServerOptimizer = toml::from_str(text).map_err(|error| error.to_string())?;
        optimizer.validate().map_err(|error| error.to_string())?;
        Ok(optimizer)
    }

    #[test]
    fn a_charter_names_the_kind_and_may_leave_out_the_usual_values() {
        let adam = ServerOptimizer::Adam { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        assert_eq!(parse("kind = 'adam'\nlearning_rate = 0.01").unwrap(), adam);
        assert_eq!(parse(&toml::to_string(&adam).unwrap()).unwrap(), adam);
        let adamw =
            ServerOptimizer::AdamW { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
        assert_eq!(parse("kind = 'adamw'\nlearning_rate = 0.01\nweight_decay = 0.1").unwrap(), adamw);
        let yogi = ServerOptimizer::Yogi { learning_rate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-3 };
        assert_eq!(parse(&toml::to_string(&yogi).unwrap()).unwrap(), yogi);
        let sgd = ServerOptimizer::Sgd { learning_rate: 0.5, momentum: 0.0 };
        assert_eq!(parse("kind = 'sgd'\nlearning_rate = 0.5").unwrap(), sgd);
    }

    #[test]
    fn unknown_keys_and_kinds_and_values_out_of_range_are_named() {
        for (text, named) in [
            ("kind = 'sgd'\nlearning_rate = 0.5\nbeta1 = 0.9", "beta1"),
            ("kind = 'lamb'\nlearning_rate = 0.5", "lamb"),
            ("kind = 'sgd'", "learning_rate"),
            ("kind = 'sgd'\nlearning_rate = 0.0", "learning_rate"),
            ("kind = 'sgd'\nlearning_rate = nan", "learning_rate"),
            ("kind = 'sgd'\nlearning_rate = 0.1\nmomentum = 1.0", "momentum"),
            ("kind = 'adam'\nlearning_rate = 0.1\nbeta1 = -0.1", "beta1"),
            ("kind = 'adam'\nlearning_rate = 0.1\nbeta2 = 1.0", "beta2"),
            ("kind = 'adam'\nlearning_rate = 0.1\nepsilon = inf", "epsilon"),
            ("kind = 'adam'\nlearning_rate = 0.1\nweight_decay = 0.1", "weight_decay"),
            ("kind = 'adamw'\nlearning_rate = 0.1\nweight_decay = -0.1", "weight_decay"),
            ("kind = 'adamw'\nlearning_rate = 0.1\nweight_decay = 10.0", "weight_decay"),
            ("kind = 'adamw'\nlearning_rate = 0.1\nweight_decay = nan", "weight_decay"),
            ("kind = 'yogi'\nlearning_rate = 0.1\nbeta1 = 0.9\nbeta2 = 0.99", "epsilon"),
            ("kind = 'yogi'\nlearning_rate = 0.1\nbeta1 = 0.9\nbeta2 = 1.0\nepsilon = 1e-3", "beta2"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
