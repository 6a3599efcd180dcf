//! A head trained on public rows, to start a federation from: with the encoder frozen that is a softmax regression on its
//! pooled output, and the rows are encoded once.

use crate::tokenizer::Encoded;
use crate::{Classifier, LoraError};

/// How the head is trained: full-batch gradient descent with momentum on the mean cross-entropy plus a penalty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WarmUp {
    /// Steps.
    pub steps: u32,
    /// Step size.
    pub learning_rate: f32,
    /// Share of the last direction that is kept.
    pub momentum: f32,
    /// Half of this times the squared norm of the weight is added to the loss: public rows are few.
    pub weight_decay: f32,
}

impl Default for WarmUp {
    fn default() -> Self {
        Self { steps: 300, learning_rate: 2.0, momentum: 0.9, weight_decay: 1e-3 }
    }
}

impl Classifier {
    /// The head that `warm_up` finds for these public rows, starting from zero: the weight row by row, then the bias. What is attached is left alone.
    ///
    /// # Errors
    /// [`LoraError`] naming the example at fault; a head of two layers.
    pub fn warm_up_head(&self, texts: &[Encoded], labels: &[usize], warm_up: &WarmUp) -> Result<Vec<f32>, LoraError> {
        let known = self.labels();
        self.one_layer()?;
        for example in 0..texts.len() {
            self.label(example, labels)?;
        }
        let features = self.features(texts)?;
        let width = self.sizes().hidden_size;
        let mut head = vec![0.0f32; known * (width + 1)];
        let mut direction = vec![0.0f32; head.len()];
        let share = 1.0 / texts.len().max(1) as f32;
        for _ in 0..warm_up.steps {
            let mut gradient: Vec<f32> = head[..known * width].iter().map(|w| w * warm_up.weight_decay).collect();
            gradient.resize(head.len(), 0.0);
            for (feature, label) in features.iter().zip(labels) {
                for (class, error) in errors(&head, feature, *label, known).into_iter().enumerate() {
                    let row = &mut gradient[class * width..(class + 1) * width];
                    row.iter_mut().zip(feature).for_each(|(sum, x)| *sum += error * share * x);
                    gradient[known * width + class] += error * share;
                }
            }
            for ((weight, direction), gradient) in head.iter_mut().zip(&mut direction).zip(&gradient) {
                *direction = warm_up.momentum * *direction + gradient;
                *weight -= warm_up.learning_rate * *direction;
            }
        }
        Ok(head)
    }
}

/// Probability less indicator, for each class: the gradient of the cross-entropy by the logits.
fn errors(head: &[f32], feature: &[f32], label: usize, classes: usize) -> Vec<f32> {
    let width = feature.len();
    let logit = |class: usize| {
        let weight = &head[class * width..(class + 1) * width];
        weight.iter().zip(feature).map(|(w, x)| w * x).sum::<f32>() + head[classes * width + class]
    };
    let logits: Vec<f32> = (0..classes).map(logit).collect();
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().enumerate().map(|(class, power)| power / sum - f32::from(u8::from(class == label))).collect()
}
