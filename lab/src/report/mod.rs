//! One self-contained page about runs: what privacy costs in accuracy, how training converges, what it costs, how it serves each client, and
//! the commands that repeat it.

mod figures;
mod page;

use std::path::{Path, PathBuf};

pub use figures::figures;
pub use page::page;

use crate::plot::PlotError;
use crate::rows::{ClientRow, CurveRow, RunRow};
use crate::simulate::Finished;
use crate::table::{self, TableError};

/// A report that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The tables of a run.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A figure.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// Nothing to report.
    #[error("{}: runs.json holds no run", .0.display())]
    Empty(PathBuf),
}

/// Reads what a simulation or a sweep left in `folder`.
///
/// # Errors
/// [`ReportError`] naming the table at fault.
pub fn read(folder: &Path) -> Result<Finished, ReportError> {
    let runs: Vec<RunRow> = table::read(&folder.join("runs.json"))?;
    if runs.is_empty() {
        return Err(ReportError::Empty(folder.to_owned()));
    }
    let curve: Vec<CurveRow> = table::read(&folder.join("curve.json"))?;
    let clients: Vec<ClientRow> = table::read(&folder.join("clients.json"))?;
    Ok(Finished { runs, curve, clients })
}

/// Writes report.html into `folder`, and the figures as report.png beside it; `commands` are those that repeat it.
///
/// # Errors
/// [`ReportError`].
pub fn write(folder: &Path, finished: &Finished, commands: &[String]) -> Result<PathBuf, ReportError> {
    let path = folder.join("report.html");
    table::write_file(&path, page(finished, commands)?.as_bytes())?;
    let charts: Vec<_> = figures(finished).into_iter().map(|figure| figure.chart).collect();
    crate::plot::write(&folder.join("report.png"), &charts)?;
    Ok(path)
}
