//! Privacy units: which rows belong together.

use std::ops::Index;

/// Lists of rows, one a unit, in two vectors: 16 bytes for a unit of one row, where a vector for each would take four times that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units {
    /// The first unit's rows, then the second's, and so on.
    rows: Vec<usize>,
    /// Where in `rows` each unit ends.
    ends: Vec<usize>,
}

impl Units {
    /// `count` units of one row each: 0, 1, and so on.
    #[must_use]
    pub fn alone(count: usize) -> Self {
        Self { rows: (0..count).collect(), ends: (1..=count).collect() }
    }

    /// `count` units: row i belongs to unit `unit_of[i]`, which is below `count`; others belong to none.
    #[must_use]
    pub fn grouped(unit_of: &[usize], count: usize) -> Self {
        // A counting sort, which keeps the rows of a unit in their order.
        let mut next = vec![0; count];
        for unit in unit_of {
            next.get_mut(*unit).into_iter().for_each(|size| *size += 1);
        }
        let mut total = 0;
        for start in &mut next {
            let size = *start;
            *start = total;
            total += size;
        }
        let mut rows = vec![0; total];
        for (row, unit) in unit_of.iter().enumerate() {
            let Some(place) = next.get_mut(*unit) else { continue };
            rows[*place] = row;
            *place += 1;
        }
        // Each start has gone on to the end of its unit.
        Self { rows, ends: next }
    }

    /// Adds a unit of these rows.
    pub fn push(&mut self, rows: &[usize]) {
        self.rows.extend_from_slice(rows);
        self.ends.push(self.rows.len());
    }

    /// How many units.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The rows of all units, unit by unit.
    #[must_use]
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Each unit's rows.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[usize]> + Clone {
        (0..self.len()).map(|unit| &self[unit])
    }

    /// Rows of the unit that has the most.
    #[must_use]
    pub fn largest(&self) -> usize {
        self.iter().map(<[usize]>::len).max().unwrap_or(0)
    }
}

/// A unit's rows; panics where there is no such unit, as a slice does.
impl Index<usize> for Units {
    type Output = [usize];

    fn index(&self, unit: usize) -> &[usize] {
        let start = if unit == 0 { 0 } else { self.ends[unit - 1] };
        &self.rows[start..self.ends[unit]]
    }
}

impl<T: AsRef<[usize]>> Extend<T> for Units {
    fn extend<I: IntoIterator<Item = T>>(&mut self, units: I) {
        units.into_iter().for_each(|unit| self.push(unit.as_ref()));
    }
}

impl<T: AsRef<[usize]>> FromIterator<T> for Units {
    fn from_iter<I: IntoIterator<Item = T>>(units: I) -> Self {
        let mut all = Self::default();
        all.extend(units);
        all
    }
}

impl From<Vec<Vec<usize>>> for Units {
    fn from(units: Vec<Vec<usize>>) -> Self {
        units.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside vectors of vectors.
        #[test]
        fn grouped_rows_are_those_of_lists(unit_of in proptest::collection::vec(0usize..9, 0..60)) {
            let mut lists = vec![Vec::new(); 9];
            unit_of.iter().enumerate().for_each(|(row, unit)| lists[*unit].push(row));
            let units = Units::grouped(&unit_of, 9);
            prop_assert!(units.iter().eq(lists.iter().map(Vec::as_slice)));
            prop_assert_eq!(units.largest(), lists.iter().map(Vec::len).max().unwrap_or(0));
            prop_assert_eq!(&units, &Units::from(lists));
            let alone: Units = (0..unit_of.len()).map(|row| [row]).collect();
            prop_assert_eq!(Units::alone(unit_of.len()), alone);
        }
    }
}
