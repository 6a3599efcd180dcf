//! Charts on any backend of `plotters`.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Chart, PlotError};

/// Colours that people with any colour vision tell apart (Okabe, Ito 2008).
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT: RGBColor = RGBColor(226, 229, 233);
const FONT: &str = "Noto Sans, Helvetica, Arial, sans-serif";
/// Ticks at these multiples of powers of ten.
const TICKS: [f64; 3] = [1.0, 2.0, 5.0];

/// Draws the charts from left to right.
pub(super) fn side_by_side<B: DrawingBackend>(area: &DrawingArea<B, Shift>, charts: &[Chart]) -> Result<(), PlotError> {
    area.fill(&WHITE).map_err(failed)?;
    for (part, chart) in area.split_evenly((1, charts.len().max(1))).iter().zip(charts) {
        draw(part, chart)?;
    }
    area.present().map_err(failed)
}

/// The coordinates are logarithms, so that both axes are plain ones with ticks of our own.
fn draw<B: DrawingBackend>(area: &DrawingArea<B, Shift>, chart: &Chart) -> Result<(), PlotError> {
    let seen = |&&(x, y): &&(f64, f64)| x > 0.0 && y > 0.0 && x.is_finite() && y.is_finite();
    let points = || chart.lines.iter().flat_map(|line| &line.points).filter(seen);
    let none = || PlotError::NoPoints(chart.title.clone());
    let xs = extent(points().map(|point| point.0), 0.0).ok_or_else(none)?;
    let ys = extent(points().map(|point| point.1), 0.06).ok_or_else(none)?;
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, (FONT, 20).into_font().color(&INK))
        .margin(18)
        .x_label_area_size(48)
        .y_label_area_size(62)
        .build_cartesian_2d(Log::new(xs), Log::new(ys))
        .map_err(failed)?;
    context
        .configure_mesh()
        .x_desc(&chart.x)
        .y_desc(&chart.y)
        .x_label_formatter(&|x| label(*x))
        .y_label_formatter(&|y| label(*y))
        .label_style((FONT, 13).into_font().color(&INK))
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .axis_style(FAINT)
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    for (line, color) in chart.lines.iter().zip(COLORS.iter().cycle()) {
        let stroke = color.stroke_width(3);
        let path = line.points.iter().filter(|point| seen(point)).map(|(x, y)| (x.log10(), y.log10()));
        let series = context.draw_series(LineSeries::new(path, stroke)).map_err(failed)?;
        let key = move |(x, y)| PathElement::new([(x, y), (x + 22, y)], stroke);
        series.label(&line.name).legend(key);
    }
    if let Some(((x, y), about)) = &chart.mark {
        let at = (x.log10(), y.log10());
        let dot = Circle::new(at, 6, INK.filled());
        let series = context.draw_series([dot]).map_err(failed)?;
        series.label(about).legend(|(x, y)| Circle::new((x + 11, y), 6, INK.filled()));
    }
    context
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .margin(12)
        .label_font((FONT, 14).into_font().color(&INK))
        .background_style(WHITE.mix(0.9))
        .border_style(FAINT)
        .draw()
        .map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> PlotError {
    PlotError::Drawing(error.to_string())
}

/// Logarithms of the smallest and the largest, with room above and below.
fn extent(values: impl Iterator<Item = f64>, room: f64) -> Option<Range<f64>> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let (low, high) = (low.log10(), high.log10());
    let margin = (high - low).max(0.1) * room + if high - low < 1e-9 { 0.1 } else { 0.0 };
    (low.is_finite() && high.is_finite()).then_some(low - margin..high + margin)
}

/// The number whose logarithm this is, as short as it can be.
fn label(log: f64) -> String {
    let value = 10f64.powf(log);
    if value >= 0.999_999 {
        let whole = value.round();
        return if whole >= 1e6 {
            format!("{:.0}e{:.0}", whole / 10f64.powf(log.floor()), log.floor())
        } else {
            format!("{whole}")
        };
    }
    let digits = (-log + 1e-9).ceil().max(0.0) as usize;
    format!("{value:.digits$}")
}

/// An axis of logarithms with ticks where the number is 1, 2 or 5 times a power of ten.
struct Log(Range<f64>);

impl Log {
    fn new(range: Range<f64>) -> Self {
        Self(range)
    }
}

impl Ranged for Log {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.0.start) / (self.0.end - self.0.start);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<H: plotters::coord::ranged1d::KeyPointHint>(&self, hint: H) -> Vec<f64> {
        let decades = self.0.start.floor() as i32..=self.0.end.ceil() as i32;
        let inside = |at: &f64| *at >= self.0.start - 1e-9 && *at <= self.0.end + 1e-9;
        let ticks = |of: &[f64]| -> Vec<f64> {
            let at = |decade: i32| of.iter().map(move |x| f64::from(decade) + x.log10());
            decades.clone().flat_map(at).filter(inside).collect()
        };
        let all = ticks(&TICKS);
        if all.len() <= hint.max_num_points().max(8) { all } else { ticks(&TICKS[..1]) }
    }

    fn range(&self) -> Range<f64> {
        self.0.clone()
    }
}

impl plotters::coord::ranged1d::ValueFormatter<f64> for Log {
    fn format(value: &f64) -> String {
        label(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short_numbers() {
        for (value, text) in [(1.0, "1"), (2.0, "2"), (50.0, "50"), (0.5, "0.5"), (0.02, "0.02"), (2e7, "2e7")] {
            assert_eq!(label(f64::log10(value)), text);
        }
    }
}
