//! Charts through `plotters`, as SVG and PNG. Both need no font and no library of the system.

mod canvas;
mod draw;
mod text;

use std::path::Path;

use plotters::prelude::{IntoDrawingArea as _, SVGBackend};

use crate::table::{self, TableError};

/// Width and height of one chart, in pixels of the SVG; a PNG has twice as many.
pub const SIZE: (u32, u32) = (760, 480);

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// By factors; what is not positive is left out.
    #[default]
    Logarithmic,
    /// By differences.
    Linear,
}

/// Lines over two axes.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: String,
    /// The vertical axis.
    pub y: String,
    /// How they are divided.
    pub scales: [Scale; 2],
    /// One line for each name; points with a coordinate that has no place on its axis are left out.
    pub lines: Vec<Line>,
    /// A point that matters, and what it is.
    pub mark: Option<((f64, f64), String)>,
}

/// A named line.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// How far each point may be off, up and down; empty for lines without error bars.
    pub errors: Vec<f64>,
}

/// A chart that cannot be drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// No point has positive finite coordinates.
    #[error("the plot `{0}` has no point to draw")]
    NoPoints(String),
    /// The name ends in neither.
    #[error("{0}: a plot is written to a file that ends in .svg or .png, or to a folder")]
    Ending(String),
    /// The drawing library.
    #[error("cannot draw the plot: {0}")]
    Drawing(String),
    /// The file.
    #[error(transparent)]
    File(#[from] TableError),
}

/// These charts on one page, as an SVG.
///
/// # Errors
/// [`PlotError::NoPoints`] or [`PlotError::Drawing`].
pub fn svg(charts: &[Chart]) -> Result<String, PlotError> {
    let mut text = String::new();
    draw::side_by_side(&SVGBackend::with_string(&mut text, size(charts)).into_drawing_area(), charts)?;
    Ok(text)
}

/// These charts on one page, as a PNG.
///
/// # Errors
/// [`PlotError::NoPoints`] or [`PlotError::Drawing`].
pub fn png(charts: &[Chart]) -> Result<Vec<u8>, PlotError> {
    let mut canvas = canvas::Canvas::new(size(charts));
    draw::side_by_side(&canvas::Backend::new(&mut canvas)?.into_drawing_area(), charts)?;
    canvas.encode().map_err(|error| PlotError::Drawing(error.to_string()))
}

/// Writes these charts into one file, as its ending says.
///
/// # Errors
/// As [`svg`] and [`png()`], [`PlotError::Ending`], and the file that cannot be written.
pub fn write(path: &Path, charts: &[Chart]) -> Result<(), PlotError> {
    let bytes = match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => svg(charts)?.into_bytes(),
        Some("png") => png(charts)?,
        _ => return Err(PlotError::Ending(path.display().to_string())),
    };
    Ok(table::write_file(path, &bytes)?)
}

fn size(charts: &[Chart]) -> (u32, u32) {
    let (rows, columns) = arrangement(charts);
    let count = |n: usize| u32::try_from(n.min(16)).unwrap_or(1);
    (SIZE.0 * count(columns), SIZE.1 * count(rows))
}

/// Rows and columns: up to three charts side by side, more in two columns.
fn arrangement(charts: &[Chart]) -> (usize, usize) {
    match charts.len() {
        0 => (1, 1),
        few @ 1..=3 => (1, few),
        more => (more.div_ceil(2), 2),
    }
}
