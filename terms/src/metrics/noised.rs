//! What an opened sum says of the held-out units.

use std::fmt;

/// What the sum over a cohort says about the held-out units. Noise is in every number: a ratio is `None` where it drowns.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Held-out units (houses, under mode `client`), as the noised counts add up.
    pub units: f64,
    /// Standard deviation of the noise in one count.
    pub deviation: f64,
    /// Mean loss, each row's cut to the charter's bound; where it is four times its own deviation at least. Of a language model that of a token, and its exponential
    /// the perplexity.
    pub loss: Option<f64>,
    /// Standard deviation of the noise in the loss.
    pub loss_deviation: f64,
    /// Share of right answers.
    pub accuracy: Option<f64>,
    /// Mean over the labels of the share of right answers, over labels with more units than four deviations of noise.
    pub macro_accuracy: Option<f64>,
    /// Mean over the labels of 2 right / (units + answers), the harmonic mean of precision and recall, over labels whose units and answers together
    /// stand out of four deviations of noise; scikit-learn's macro F1 where all do.
    pub macro_f1: Option<f64>,
    /// Noised counts: rows are labels, columns answers; of a language model one count of texts.
    pub confusion: Vec<Vec<f64>>,
    /// Area under the ROC curve, from the histograms: of the second class where there are two, else the mean of one
    /// against the rest.
    pub auroc: Option<f64>,
}

/// One line for a person: what stands out of the noise.
impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "about {:.0} held-out", self.units.max(0.0))?;
        if self.confusion.len() == 1 {
            return match self.loss {
                Some(loss) => {
                    write!(f, ", loss {loss:.3} (noise {:.3}), perplexity {:.2}", self.loss_deviation, loss.exp())
                }
                None => write!(f, ", loss drowns in the noise"),
            };
        }
        match self.loss {
            Some(loss) => write!(f, ", loss {loss:.3} (noise {:.3})", self.loss_deviation)?,
            None => write!(f, ", loss drowns in the noise")?,
        }
        let shares = [
            ("accuracy", self.accuracy),
            ("macro accuracy", self.macro_accuracy),
            ("macro F1", self.macro_f1),
            ("AUROC", self.auroc),
        ];
        for (name, value) in shares {
            match value {
                Some(value) => write!(f, ", {name} {value:.3}")?,
                None if name == "AUROC" => {}
                None => write!(f, ", {name} drowns in the noise")?,
            }
        }
        Ok(())
    }
}
