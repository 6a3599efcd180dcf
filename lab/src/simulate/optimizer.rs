//! The server's optimizer of a plan.

use protocol::charter::Optimizer;
use serde::{Deserialize, Serialize};

use super::plan::TrainingPlan;

/// Which rule applies the sum, in the charter's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Gradient descent with the plan's momentum.
    #[default]
    Sgd,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
    /// Yogi.
    Yogi,
}

impl TrainingPlan {
    /// The charter's section.
    pub(super) fn charter_optimizer(&self) -> Optimizer {
        let Self { learning_rate, momentum, beta1, beta2, epsilon, weight_decay, .. } = *self;
        let schedule = self.schedule.clone();
        match self.optimizer {
            OptimizerKind::Sgd => Optimizer::Sgd { learning_rate, momentum, schedule },
            OptimizerKind::Adam => Optimizer::Adam { learning_rate, beta1, beta2, epsilon, schedule },
            OptimizerKind::AdamW => Optimizer::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, schedule },
            OptimizerKind::Yogi => Optimizer::Yogi { learning_rate, beta1, beta2, epsilon, schedule },
        }
    }
}
