//! Charts on any backend of `plotters`.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{Chart, Line, PlotError, Scale};

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
    for (part, chart) in area.split_evenly(super::arrangement(charts)).iter().zip(charts) {
        draw(part, chart)?;
    }
    area.present().map_err(failed)
}

/// The coordinates are places on an axis, logarithms or the numbers themselves, so that both axes are plain ones with ticks of our
/// own.
fn draw<B: DrawingBackend>(area: &DrawingArea<B, Shift>, chart: &Chart) -> Result<(), PlotError> {
    let [across, up] = chart.scales;
    let at = |(x, y): (f64, f64)| Some((across.place(x)?, up.place(y)?));
    let points = || chart.lines.iter().flat_map(|line| line.points.iter().filter_map(|point| at(*point)));
    let spans = || chart.lines.iter().flat_map(bars).filter_map(|(x, low, high)| Some((at((x, low))?, at((x, high))?)));
    let none = || PlotError::NoPoints(chart.title.clone());
    let xs =
        extent(points().map(|point| point.0), if across == Scale::Linear { 0.03 } else { 0.0 }).ok_or_else(none)?;
    let heights = points().map(|point| point.1).chain(spans().flat_map(|(low, high)| [low.1, high.1]));
    let ys = extent(heights, 0.06).ok_or_else(none)?;
    let corner = clear_corner(chart, &xs, &ys, &at);
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, (FONT, 20).into_font().color(&INK))
        .margin(18)
        .x_label_area_size(48)
        .y_label_area_size(62)
        .build_cartesian_2d(Axis { range: xs, scale: across }, Axis { range: ys, scale: up })
        .map_err(failed)?;
    context
        .configure_mesh()
        .x_desc(&chart.x)
        .y_desc(&chart.y)
        .x_label_formatter(&|x| across.label(*x))
        .y_label_formatter(&|y| up.label(*y))
        .label_style((FONT, 13).into_font().color(&INK))
        .axis_desc_style((FONT, 14).into_font().color(&INK))
        .axis_style(FAINT)
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(failed)?;
    for (line, color) in chart.lines.iter().zip(COLORS.iter().cycle()) {
        let stroke = color.stroke_width(3);
        let places: Vec<(f64, f64)> = line.points.iter().filter_map(|point| at(*point)).collect();
        // A point among others is seen by the line's turn; one alone would not be seen at all.
        if places.len() == 1 || !line.errors.is_empty() {
            let dots = places.iter().map(|place| Circle::new(*place, 5, color.filled()));
            context.draw_series(dots).map_err(failed)?;
        }
        for (x, low, high) in bars(line) {
            let (Some(low), Some(high)) = (at((x, low)), at((x, high))) else { continue };
            context.draw_series([PathElement::new([low, high], color.stroke_width(2))]).map_err(failed)?;
        }
        let series = context.draw_series(LineSeries::new(places, stroke)).map_err(failed)?;
        let key = move |(x, y)| PathElement::new([(x, y), (x + 22, y)], stroke);
        series.label(&line.name).legend(key);
    }
    if let Some((point, about)) = &chart.mark
        && let Some(place) = at(*point)
    {
        let dot = Circle::new(place, 6, INK.filled());
        let series = context.draw_series([dot]).map_err(failed)?;
        series.label(about).legend(|(x, y)| Circle::new((x + 11, y), 6, INK.filled()));
    }
    context
        .configure_series_labels()
        .position(corner)
        .margin(12)
        .label_font((FONT, 14).into_font().color(&INK))
        .background_style(WHITE.mix(0.9))
        .border_style(FAINT)
        .draw()
        .map_err(failed)
}

/// What a legend takes of a chart: of its width, and of its height for each line.
const LEGEND_WIDTH: f64 = 0.35;
const LEGEND_LINE: f64 = 0.06;
/// Places of a line's piece that are looked at.
const LOOKS: u32 = 8;

/// The corner whose legend covers least of the lines and bars.
fn clear_corner(
    chart: &Chart,
    xs: &Range<f64>,
    ys: &Range<f64>,
    at: &impl Fn((f64, f64)) -> Option<(f64, f64)>,
) -> SeriesLabelPosition {
    let height = (LEGEND_LINE * (chart.lines.len() + 1) as f64).min(0.5);
    let part = |(x, y): (f64, f64)| ((x - xs.start) / (xs.end - xs.start), (y - ys.start) / (ys.end - ys.start));
    let mut seen: Vec<(f64, f64)> = Vec::new();
    for line in &chart.lines {
        let places: Vec<_> = line.points.iter().filter_map(|point| at(*point)).map(part).collect();
        seen.extend(&places);
        let ends =
            bars(line).into_iter().filter_map(|(x, low, high)| Some([part(at((x, low))?), part(at((x, high))?)]));
        let pieces = places.windows(2).filter_map(|pair| pair.try_into().ok()).chain(ends);
        for [from, to] in pieces.collect::<Vec<[(f64, f64); 2]>>() {
            let between = |i: u32| f64::from(i) / f64::from(LOOKS);
            seen.extend((0..=LOOKS).map(between).map(|t| (from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1))));
        }
    }
    let covered = |right: bool, lower: bool| {
        let inside = |(x, y): &&(f64, f64)| {
            (if right { *x > 1.0 - LEGEND_WIDTH } else { *x < LEGEND_WIDTH })
                && (if lower { *y < height } else { *y > 1.0 - height })
        };
        seen.iter().filter(inside).count()
    };
    let corners = [
        (SeriesLabelPosition::UpperLeft, covered(false, false)),
        (SeriesLabelPosition::UpperRight, covered(true, false)),
        (SeriesLabelPosition::LowerRight, covered(true, true)),
        (SeriesLabelPosition::LowerLeft, covered(false, true)),
    ];
    corners.into_iter().min_by_key(|(_, covered)| *covered).map_or(SeriesLabelPosition::UpperLeft, |(corner, _)| corner)
}

fn failed(error: impl std::fmt::Display) -> PlotError {
    PlotError::Drawing(error.to_string())
}

/// Where each error bar stands, begins and ends.
fn bars(line: &Line) -> Vec<(f64, f64, f64)> {
    line.points.iter().zip(&line.errors).map(|((x, y), error)| (*x, y - error, y + error)).collect()
}

/// The smallest and the largest, with room below and above.
fn extent(values: impl Iterator<Item = f64>, room: f64) -> Option<Range<f64>> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let margin = (high - low).max(0.1) * room + if high - low < 1e-9 { 0.1 } else { 0.0 };
    (low.is_finite() && high.is_finite()).then_some(low - margin..high + margin)
}

impl Scale {
    /// Where a number stands on the axis, if anywhere.
    fn place(self, value: f64) -> Option<f64> {
        match self {
            Self::Logarithmic => (value > 0.0 && value.is_finite()).then(|| value.log10()),
            Self::Linear => value.is_finite().then_some(value),
        }
    }

    fn label(self, place: f64) -> String {
        match self {
            Self::Logarithmic => label(place),
            // Ticks are multiples of a round step; what is left of rounding is not shown.
            Self::Linear => format!("{}", (place * 1e6).round() / 1e6),
        }
    }
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

/// An axis: of logarithms with ticks where the number is 1, 2 or 5 times a power of ten, or of numbers with ticks at multiples of
/// such a step.
struct Axis {
    range: Range<f64>,
    scale: Scale,
}

impl Axis {
    fn logarithmic(&self, most: usize) -> Vec<f64> {
        let decades = self.range.start.floor() as i32..=self.range.end.ceil() as i32;
        let inside = |at: &f64| *at >= self.range.start - 1e-9 && *at <= self.range.end + 1e-9;
        let ticks = |of: &[f64]| -> Vec<f64> {
            let at = |decade: i32| of.iter().map(move |x| f64::from(decade) + x.log10());
            decades.clone().flat_map(at).filter(inside).collect()
        };
        let all = ticks(&TICKS);
        if all.len() <= most.max(8) { all } else { ticks(&TICKS[..1]) }
    }

    fn linear(&self, most: usize) -> Vec<f64> {
        let span = self.range.end - self.range.start;
        let power = 10f64.powf((span / most.max(2) as f64).log10().floor());
        let steps = TICKS.iter().chain(&[10.0]).map(|tick| tick * power);
        let step = steps.into_iter().find(|step| span / step <= most.max(2) as f64).unwrap_or(span);
        let (first, last) = ((self.range.start / step).ceil() as i64, (self.range.end / step).floor() as i64);
        (first..=last).map(|tick| tick as f64 * step).collect()
    }
}

impl Ranged for Axis {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<H: plotters::coord::ranged1d::KeyPointHint>(&self, hint: H) -> Vec<f64> {
        match self.scale {
            Scale::Logarithmic => self.logarithmic(hint.max_num_points()),
            Scale::Linear => self.linear(hint.max_num_points().min(8)),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl plotters::coord::ranged1d::ValueFormatter<f64> for Axis {
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
