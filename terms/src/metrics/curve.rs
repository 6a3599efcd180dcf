//! One point of the curves that both programs keep and show.

use protocol::charter::ReleasePolicy;
use protocol::{Charter, RoundNumber};
use serde::{Deserialize, Serialize};

use super::noised::{Estimate, Metrics};

/// What the opened sum of one round says of held-out units: of the adapter that the round began with. What drowns in the noise is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Its round.
    pub round: u32,
    /// Houses in the sum.
    pub houses: usize,
    /// Held-out units (houses, under mode `client`), as the noised counts add up.
    pub units: Option<Estimate>,
    /// [`Metrics::loss`].
    pub loss: Option<Estimate>,
    /// [`Metrics::perplexity`], of a language model.
    pub perplexity: Option<Estimate>,
    /// [`Metrics::accuracy`].
    pub accuracy: Option<Estimate>,
    /// [`Metrics::macro_accuracy`].
    pub macro_accuracy: Option<Estimate>,
    /// [`Metrics::macro_f1`].
    pub macro_f1: Option<Estimate>,
    /// [`Metrics::auroc`].
    pub auroc: Option<Estimate>,
}

impl CurvePoint {
    /// The point of a round over so many houses.
    #[must_use]
    pub fn of(round: RoundNumber, houses: usize, metrics: &Metrics) -> Self {
        // JSON has no other numbers.
        let finite = |estimate: &Estimate| estimate.value.is_finite() && estimate.deviation.is_finite();
        Self {
            round: round.get(),
            houses,
            units: Some(metrics.units).filter(finite),
            loss: metrics.loss.filter(finite),
            perplexity: metrics.perplexity().filter(finite),
            accuracy: metrics.accuracy.filter(finite),
            macro_accuracy: metrics.macro_accuracy.filter(finite),
            macro_f1: metrics.macro_f1.filter(finite),
            auroc: metrics.auroc.filter(finite),
        }
    }

    /// What stands out of the noise, by name.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, Estimate)> {
        let all = [
            ("loss", self.loss),
            ("perplexity", self.perplexity),
            ("accuracy", self.accuracy),
            ("macro accuracy", self.macro_accuracy),
            ("macro F1", self.macro_f1),
            ("AUROC", self.auroc),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// One line for a person.
impl std::fmt::Display for CurvePoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "round {}:", self.round)?;
        let mut separator = " ";
        for (name, value) in self.values() {
            write!(f, "{separator}{name} {value}")?;
            separator = ", ";
        }
        if separator == " " { write!(f, " all drowns in the noise") } else { Ok(()) }
    }
}

/// To whom a charter releases metrics of held-out units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsRelease {
    /// To nobody: there are no evaluations.
    Nobody,
    /// To houses alone: only they open sums.
    Houses,
    /// To houses and to the aggregator.
    Aggregator,
}

impl MetricsRelease {
    /// The charter's.
    #[must_use]
    pub fn of(charter: &Charter) -> Self {
        match (&charter.evaluation, charter.release.policy) {
            (None, _) => Self::Nobody,
            (Some(_), ReleasePolicy::Clients) => Self::Houses,
            (Some(_), ReleasePolicy::Aggregator) => Self::Aggregator,
        }
    }
}
