//! What an opened sum says of the held-out units.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value with noise in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value as it was opened.
    pub value: f64,
    /// Standard deviation of the noise in it, to first order. How far the held-out units themselves stand for others is not in it.
    pub deviation: f64,
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} (noise {:.3})", self.value, self.deviation)
    }
}

/// What the sum over a cohort says about the held-out units. Noise is in every number: a ratio is `None` where it drowns.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Held-out units (houses, under mode `client`), as the noised counts add up.
    pub units: Estimate,
    /// Standard deviation of the noise in one count.
    pub deviation: f64,
    /// Mean loss, each row's cut to the charter's bound; where it is four times its own deviation at least. Of a language model that of a token, and its exponential
    /// the perplexity.
    pub loss: Option<Estimate>,
    /// Share of right answers.
    pub accuracy: Option<Estimate>,
    /// Mean over the labels of the share of right answers, over labels with more units than four deviations of noise.
    pub macro_accuracy: Option<Estimate>,
    /// Mean over the labels of 2 right / (units + answers), the harmonic mean of precision and recall, over labels whose units and answers together
    /// stand out of four deviations of noise; scikit-learn's macro F1 where all do.
    pub macro_f1: Option<Estimate>,
    /// Noised counts: rows are labels, columns answers; of a language model one count of texts.
    pub confusion: Vec<Vec<f64>>,
    /// Area under the ROC curve, from the histograms: of the second class where there are two, else the mean of one
    /// against the rest.
    pub auroc: Option<Estimate>,
}

/// One line for a person: what stands out of the noise.
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "about {:.0} held-out", self.units.value.max(0.0))?;
        match self.loss {
            Some(loss) => write!(f, ", loss {loss}")?,
            None => write!(f, ", loss drowns in the noise")?,
        }
        if self.is_of_words() {
            return self.perplexity().map_or(Ok(()), |perplexity| write!(f, ", perplexity {:.2}", perplexity.value));
        }
        let shares = [
            ("accuracy", self.accuracy),
            ("macro accuracy", self.macro_accuracy),
            ("macro F1", self.macro_f1),
            ("AUROC", self.auroc),
        ];
        for (name, value) in shares {
            match value {
                Some(value) => write!(f, ", {name} {value}")?,
                None if name == "AUROC" => {}
                None => write!(f, ", {name} drowns in the noise")?,
            }
        }
        Ok(())
    }
}

impl Metrics {
    /// A language model has no labels: its texts are counted in one cell.
    fn is_of_words(&self) -> bool {
        self.confusion.len() == 1
    }

    /// Of a language model: the exponential of the loss.
    #[must_use]
    pub fn perplexity(&self) -> Option<Estimate> {
        let loss = self.loss.filter(|_| self.is_of_words())?;
        let value = loss.value.exp();
        Some(Estimate { value, deviation: value * loss.deviation })
    }
}
