//! How a round's sum is applied: the section `[optimizer]`.

use serde::{Deserialize, Serialize};

/// How a round's sum is applied to the adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam on the averaged update.
    Adam {
        /// The step size.
        learning_rate: f64,
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        epsilon: f64,
        /// How the step size goes over the run; the same in every round when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedule: Option<Schedule>,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// The step size.
        learning_rate: f64,
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        epsilon: f64,
        /// Share of every trained weight that a step takes off it, over the step size.
        weight_decay: f64,
        /// How the step size goes over the run; the same in every round when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedule: Option<Schedule>,
    },
    /// Yogi: Adam whose second moment changes by the square of the gradient, however far it is away.
    Yogi {
        /// The step size.
        learning_rate: f64,
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        epsilon: f64,
        /// How the step size goes over the run; the same in every round when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedule: Option<Schedule>,
    },
    /// Gradient descent with momentum.
    Sgd {
        /// The step size.
        learning_rate: f64,
        /// 0 for none.
        momentum: f64,
        /// How the step size goes over the run; the same in every round when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedule: Option<Schedule>,
    },
}

impl Optimizer {
    /// How the step size goes over the run; the same in every round when left out.
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Adam { schedule, .. }
            | Self::AdamW { schedule, .. }
            | Self::Yogi { schedule, .. }
            | Self::Sgd { schedule, .. } => schedule.as_ref(),
        }
    }
}

/// How the step size goes over `rounds.count` rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Rounds in which it grows, on a line from 0.
    #[serde(default)]
    pub warmup_rounds: u32,
    /// What follows.
    #[serde(default)]
    pub decay: Decay,
    /// The share of the learning rate at which a decay ends.
    #[serde(default)]
    pub final_fraction: f64,
}

/// How the step size falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// On a line.
    Linear,
    /// On half a cosine.
    Cosine,
}
