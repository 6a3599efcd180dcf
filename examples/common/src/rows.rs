//! The rows of the task: an ICD-10 code, its description, and the chapter to predict. Every row is public.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

/// One row of a data file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// The billable code; its first three characters are the category.
    pub code: String,
    /// The official description.
    pub text: String,
    /// The chapter.
    pub label: String,
}

/// Reads a tab-separated file with a header line.
///
/// # Errors
/// The file or the line that cannot be read.
pub fn load(path: &Path) -> anyhow::Result<Vec<Row>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(b'\t')
        .quoting(false)
        .from_path(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let rows: Vec<Row> =
        reader.deserialize().collect::<Result<_, _>>().with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(!rows.is_empty(), "{} holds no rows", path.display());
    Ok(rows)
}

/// Rows in the form that [`load`] reads.
///
/// # Errors
/// A row that has no such form.
pub fn table(rows: &[&Row]) -> anyhow::Result<Vec<u8>> {
    let mut writer =
        csv::WriterBuilder::new().delimiter(b'\t').quote_style(csv::QuoteStyle::Never).from_writer(Vec::new());
    rows.iter().try_for_each(|row| writer.serialize(row))?;
    Ok(writer.into_inner()?)
}

/// The folder of the rows that the examples share: `train.tsv`, `test.tsv` (categories that no training row has) and `public.tsv`.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../hospitals/data")
}

/// The labels in use, sorted: the order of the head's rows.
pub fn labels(rows: &[Row]) -> Vec<String> {
    let labels: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    labels.into_iter().map(str::to_owned).collect()
}
