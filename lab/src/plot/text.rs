//! Text as coverage of pixels, in Noto Sans.

use ab_glyph::{Font as _, FontRef, Glyph, PxScale, ScaleFont as _, point};

/// The face of every PNG.
pub(super) struct Face(FontRef<'static>);

impl Face {
    pub(super) fn load() -> Result<Self, ab_glyph::InvalidFont> {
        FontRef::try_from_slice(notosans::REGULAR_TTF).map(Self)
    }

    /// Width of the advance and height of a line, in pixels.
    pub(super) fn size(&self, text: &str, pixels: f64) -> (f32, f32) {
        let (glyphs, width) = self.lay_out(text, pixels);
        drop(glyphs);
        (width, self.0.as_scaled(self.scale(pixels)).height())
    }

    /// Calls `ink` with a pixel, counted from the upper left corner of the line, and how much of it is covered.
    pub(super) fn draw(&self, text: &str, pixels: f64, mut ink: impl FnMut(i32, i32, f32)) {
        for glyph in self.lay_out(text, pixels).0 {
            let Some(outline) = self.0.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, covered| ink(corner.x as i32 + x as i32, corner.y as i32 + y as i32, covered));
        }
    }

    fn lay_out(&self, text: &str, pixels: f64) -> (Vec<Glyph>, f32) {
        let scale = self.scale(pixels);
        let face = self.0.as_scaled(scale);
        let (mut x, mut last) = (0.0, None);
        let mut glyphs = Vec::new();
        for letter in text.chars() {
            let id = self.0.glyph_id(letter);
            x += last.map_or(0.0, |last| face.kern(last, id));
            glyphs.push(id.with_scale_and_position(scale, point(x, face.ascent())));
            x += face.h_advance(id);
            last = Some(id);
        }
        (glyphs, x)
    }

    /// Sizes are of an em, as in CSS and SVG.
    fn scale(&self, pixels: f64) -> PxScale {
        let units = self.0.units_per_em().unwrap_or(1000.0);
        PxScale::from(pixels as f32 * self.0.height_unscaled() / units)
    }
}
