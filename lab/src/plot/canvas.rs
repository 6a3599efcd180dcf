//! A `plotters` backend that paints at four times the size and halves it: smooth lines, twice the pixels of the SVG.
//!
//! It draws text itself. The feature of `plotters` that does would be on in every program of the workspace, and there make
//! the measuring of text fail where no font was registered.

use std::convert::Infallible;

use plotters_backend::rasterizer;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontTransform,
};

use super::PlotError;
use super::text::Face;

/// Painted pixels for each logical one, along an axis.
const SCALE: i32 = 4;
/// Painted pixels for each one of the file, along an axis.
const FOLD: usize = 2;

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// The painted pixels.
pub(super) struct Canvas {
    width: usize,
    height: usize,
    /// Red, green, blue.
    pixels: Vec<[u8; 3]>,
}

impl Canvas {
    /// A white one of this logical size.
    pub(super) fn new((width, height): (u32, u32)) -> Self {
        let (width, height) = (width as usize * SCALE as usize, height as usize * SCALE as usize);
        Self { width, height, pixels: vec![[255; 3]; width * height] }
    }

    /// The file.
    pub(super) fn encode(&self) -> Result<Vec<u8>, png::EncodingError> {
        let (width, height) = (self.width / FOLD, self.height / FOLD);
        let mut bytes = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            for x in 0..width {
                for channel in 0..3 {
                    let of = |i: usize| self.pixels[(y * FOLD + i / FOLD) * self.width + x * FOLD + i % FOLD][channel];
                    let sum: usize = (0..FOLD * FOLD).map(|i| usize::from(of(i))).sum();
                    bytes.push(u8::try_from((sum + FOLD * FOLD / 2) / (FOLD * FOLD)).unwrap_or(u8::MAX));
                }
            }
        }
        let mut file = Vec::new();
        let (width, height) = (u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0));
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&bytes)?;
        writer.finish()?;
        Ok(file)
    }

    fn blend(&mut self, x: i32, y: i32, (r, g, b): (u8, u8, u8), alpha: f64) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x >= self.width || y >= self.height {
            return;
        }
        let pixel = &mut self.pixels[y * self.width + x];
        for (old, new) in pixel.iter_mut().zip([r, g, b]) {
            *old = (f64::from(*old) + (f64::from(new) - f64::from(*old)) * alpha.clamp(0.0, 1.0)).round() as u8;
        }
    }
}

/// What `plotters` draws on, in logical pixels.
pub(super) struct Backend<'a> {
    raw: Raw<'a>,
    face: Face,
}

impl<'a> Backend<'a> {
    pub(super) fn new(canvas: &'a mut Canvas) -> Result<Self, PlotError> {
        let face = Face::load().map_err(|error| PlotError::Drawing(error.to_string()))?;
        Ok(Self { raw: Raw(canvas), face })
    }
}

impl DrawingBackend for Backend<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        let (width, height) = self.raw.get_size();
        (width / SCALE.unsigned_abs(), height / SCALE.unsigned_abs())
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Drawn {
        let (x, y) = corner(at);
        for i in 0..SCALE * SCALE {
            self.raw.draw_pixel((x + i % SCALE, y + i / SCALE), color)?;
        }
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_rect<S: BackendStyle>(&mut self, a: BackendCoord, b: BackendCoord, style: &S, fill: bool) -> Drawn {
        if fill {
            return rasterizer::draw_rect(&mut self.raw, corner(a), corner(b), &Stroke::of(style), true);
        }
        self.draw_path([a, (b.0, a.1), b, (a.0, b.1), a], style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Drawn {
        if style.color().alpha == 0.0 {
            return Ok(());
        }
        let points: Vec<_> = path.into_iter().map(middle).collect();
        let stroke = Stroke::of(style);
        let outline = rasterizer::polygonize(&points, stroke.width);
        rasterizer::fill_polygon(&mut self.raw, &outline, &stroke)
    }

    fn draw_circle<S: BackendStyle>(&mut self, at: BackendCoord, radius: u32, style: &S, fill: bool) -> Drawn {
        rasterizer::draw_circle(&mut self.raw, middle(at), radius * SCALE.unsigned_abs(), &Stroke::of(style), fill)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, points: I, style: &S) -> Drawn {
        let points: Vec<_> = points.into_iter().map(middle).collect();
        rasterizer::fill_polygon(&mut self.raw, &points, &Stroke::of(style))
    }

    fn draw_text<T: BackendTextStyle>(&mut self, text: &str, style: &T, at: BackendCoord) -> Drawn {
        let pixels = style.size() * f64::from(SCALE);
        let (width, height) = self.face.size(text, pixels);
        let left = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Right => -width,
            HPos::Center => -width / 2.0,
        };
        let top = match style.anchor().v_pos {
            VPos::Top => 0.0,
            VPos::Center => -height / 2.0,
            VPos::Bottom => -height,
        };
        let (at, turn, color) = (corner(at), style.transform(), style.color());
        let canvas = &mut *self.raw.0;
        self.face.draw(text, pixels, |x, y, covered| {
            let (x, y) = turned(&turn, x + left as i32, y + top as i32);
            canvas.blend(at.0 + x, at.1 + y, color.rgb, color.alpha * f64::from(covered));
        });
        Ok(())
    }

    fn estimate_text_size<T: BackendTextStyle>(
        &self,
        text: &str,
        style: &T,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let (width, height) = self.face.size(text, style.size());
        Ok((width.ceil() as u32, height.ceil() as u32))
    }
}

/// The painted pixels as a backend of their own: the library's rasterizer draws on it.
struct Raw<'a>(&'a mut Canvas);

impl DrawingBackend for Raw<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (u32::try_from(self.0.width).unwrap_or(0), u32::try_from(self.0.height).unwrap_or(0))
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        self.0.blend(x, y, color.rgb, color.alpha);
        Ok(())
    }
}

/// A style at the painted size.
struct Stroke {
    color: BackendColor,
    width: u32,
}

impl Stroke {
    fn of(style: &impl BackendStyle) -> Self {
        Self { color: style.color(), width: style.stroke_width() * SCALE.unsigned_abs() }
    }
}

impl BackendStyle for Stroke {
    fn color(&self) -> BackendColor {
        self.color
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

fn corner((x, y): BackendCoord) -> BackendCoord {
    (x * SCALE, y * SCALE)
}

fn middle((x, y): BackendCoord) -> BackendCoord {
    (x * SCALE + SCALE / 2, y * SCALE + SCALE / 2)
}

fn turned(turn: &FontTransform, x: i32, y: i32) -> BackendCoord {
    turn.transform(x, y)
}
