//! The comparison as a picture: accuracy on public rows over the rounds.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::compare::Comparison;

const SIZE: (u32, u32) = (860, 520);

/// Writes an SVG with one line for each way of training.
///
/// # Errors
/// The file that cannot be written.
pub(crate) fn curves(path: &Path, rows: &[Comparison]) -> anyhow::Result<()> {
    draw(path, rows).map_err(|error| anyhow!("cannot write {}: {error}", path.display()))
}

fn draw(path: &Path, rows: &[Comparison]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let points = || rows.iter().flat_map(|row| &row.curve);
    let rounds = points().map(|point| point.round).max().unwrap_or(1);
    let top = points().map(|point| point.plain * 100.0).filter(|y| y.is_finite()).fold(10.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption("Accuracy on public rows while training", ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0..rounds, 0.0..(top * 1.08).min(100.0))?;
    chart.configure_mesh().x_desc("round").y_desc("percent right").light_line_style(WHITE).draw()?;
    for (i, row) in rows.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        let line = row.curve.iter().map(|point| (point.round, point.plain * 100.0));
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)))?
            .label(row.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.4))
        .draw()?;
    area.present()?;
    Ok(())
}
