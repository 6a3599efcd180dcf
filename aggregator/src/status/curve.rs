//! Metrics of held-out units: what opened sums say, and nothing else.

use protocol::Charter;
use serde::Serialize;
use terms::{CurvePoint, MetricsRelease};

/// What opened sums say of held-out units.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// To whom the charter releases them.
    pub released: MetricsRelease,
    /// What one sees here, or why nothing.
    pub note: &'static str,
    /// One point for each applied round with an evaluation, in order. Empty where they are not released to the aggregator.
    pub points: Vec<CurvePoint>,
}

impl Curve {
    /// The points that this charter lets an aggregator know, of those that are stored.
    pub(super) fn of(charter: &Charter, stored: Vec<CurvePoint>) -> Self {
        let released = MetricsRelease::of(charter);
        let (note, points) = match released {
            MetricsRelease::Nobody => ("the charter has no evaluations: no metrics are released", Vec::new()),
            MetricsRelease::Houses => (
                "only houses open sums under the charter's release policy, so this aggregator does not know them: `plainchant-client status` shows a house its own",
                Vec::new(),
            ),
            MetricsRelease::Aggregator if stored.is_empty() => ("no round with an evaluation is applied yet", stored),
            MetricsRelease::Aggregator => (
                "noisy estimates from the opened sums, which every house's ledger is charged for; each is of the adapter that its round began with",
                stored,
            ),
        };
        Self { released, note, points }
    }
}
