//! Rows as tokens, and which of them are whose.

use lora::Encoded;

/// Rows as tokens with their labels. Several houses of one process may have their rows in the same corpus.
#[derive(Debug, Default)]
pub struct Corpus {
    /// The texts.
    pub examples: Vec<Encoded>,
    /// Each text's label, by its position in the charter's list.
    pub labels: Vec<usize>,
}

/// One house's privacy units, each the positions of its rows in a [`Corpus`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct House {
    /// Units that are trained on.
    pub units: Vec<Vec<usize>>,
    /// Units that are only evaluated, and never trained on.
    pub held_out: Vec<Vec<usize>>,
}

impl House {
    /// A house that trains on all of `units`.
    pub fn of_units(units: Vec<Vec<usize>>) -> Self {
        Self { units, held_out: Vec::new() }
    }

    /// Rows that are trained on.
    pub fn rows(&self) -> usize {
        self.units.iter().map(Vec::len).sum()
    }
}
