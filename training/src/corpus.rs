//! Rows as tokens, and which of them are whose.

use crate::{Texts, Units};

/// Rows as tokens with their labels. Several houses of one process may have their rows in the same corpus.
#[derive(Debug, Default)]
pub struct Corpus {
    /// The texts.
    pub texts: Texts,
    /// Each text's label, by its position in the charter's list.
    pub labels: Vec<usize>,
}

/// One house's privacy units, each the positions of its rows in a [`Corpus`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct House {
    /// Units that are trained on.
    pub units: Units,
    /// Units that are only evaluated, and never trained on.
    pub held_out: Units,
}

impl House {
    /// A house that trains on all of `units`.
    pub fn of_units(units: Units) -> Self {
        Self { units, held_out: Units::default() }
    }

    /// Rows that are trained on.
    pub fn rows(&self) -> usize {
        self.units.rows().len()
    }
}
