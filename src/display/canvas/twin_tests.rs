//! Random commands through the canvas and through its naive twin: every pixel must agree.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::naive::{self, Plane, World};
use super::target::{Geometry, Target, pixel_bytes};
use super::{DrawError, draw};
use crate::display::surface::Surface;
use crate::protocol::geometry::{Point, Point16, Rect};
use crate::qxl::model::{
    Bitmap, BitmapFormat, Brush, Composite, DrawOp, Drawable, Glyph, GlyphDepth, Image, ImageKind,
    Mask, Palette, PathPoint, Segment, Stroke, SurfaceFormat, Text,
};

const FORMATS: [SurfaceFormat; 6] = [
    SurfaceFormat::Xrgb,
    SurfaceFormat::Argb,
    SurfaceFormat::Rgb555,
    SurfaceFormat::Rgb565,
    SurfaceFormat::A8,
    SurfaceFormat::A1,
];

/// SplitMix64: enough to scatter, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn word(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() >> 56).unwrap()
    }

    /// From `low` to `high`, both included.
    fn within(&mut self, low: i32, high: i32) -> i32 {
        let span = u64::try_from(i64::from(high) - i64::from(low) + 1).unwrap();
        let step = i64::try_from(self.next() % span).unwrap();
        i32::try_from(i64::from(low) + step).unwrap()
    }

    fn size(&mut self, high: i32) -> u32 {
        self.within(1, high).unsigned_abs()
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.next()).unwrap() % from.len()]
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.byte()).collect()
    }

    fn surface(&mut self, id: u32, format: SurfaceFormat) -> Surface {
        let (width, height) = (self.size(45), self.size(20));
        let stride = self.within(180, 200);
        let stride = if self.one_in(2) { stride } else { -stride };
        let geometry = Geometry { format, width, height, stride };
        let mut target = Target::owned_with(geometry).unwrap();
        for y in 0..height {
            let row = self.bytes(usize::try_from(width).unwrap() * pixel_bytes(format));
            target.write_row(y, 0, &row);
        }
        Surface::new(id, target)
    }

    fn bitmap(&mut self, format: BitmapFormat) -> Bitmap {
        let (width, height) = (self.size(45), self.size(20));
        let stride = (width * format.bits()).div_ceil(8) + self.size(5) - 1;
        let colors = match format.bits() {
            1 => self.within(0, 2),
            4 => self.within(0, 16),
            _ => self.within(0, 256),
        };
        let entries = (0..colors).map(|_| self.word()).collect();
        let palette = format.is_indexed().then(|| Arc::new(Palette { unique: 0, entries }));
        let data = self.bytes(usize::try_from(stride * height).unwrap());
        let top_down = self.one_in(2);
        Bitmap { format, top_down, width, height, stride, palette, data: data.into() }
    }

    fn image(&mut self) -> Image {
        let kind = if self.one_in(3) {
            ImageKind::Surface(self.pick(&[0, 1, 2]))
        } else {
            let format = BitmapFormat::from_u8(self.byte() % 10 + 1).unwrap();
            ImageKind::Bitmap(self.bitmap(format))
        };
        Image { id: 0, flags: self.pick(&[0, 0, 2]), width: 0, height: 0, kind }
    }

    fn brush(&mut self) -> Brush {
        match self.byte() % 4 {
            0 => Brush::None,
            1 => Brush::Solid(self.word()),
            _ => {
                let pos = Point { x: self.within(-60, 60), y: self.within(-60, 60) };
                Brush::Pattern { image: self.image(), pos }
            }
        }
    }

    fn mask(&mut self) -> Mask {
        if self.one_in(2) {
            return Mask::default();
        }
        let kind = if self.one_in(3) {
            ImageKind::Surface(3)
        } else {
            let format = self.pick(&[BitmapFormat::Bit1Be, BitmapFormat::Bit1Le]);
            ImageKind::Bitmap(self.bitmap(format))
        };
        let image = Some(Image { id: 0, flags: 0, width: 0, height: 0, kind });
        let pos = Point { x: self.within(-9, 20), y: self.within(-9, 9) };
        Mask { inverse: self.one_in(2), pos, image }
    }

    fn rop(&mut self) -> u16 {
        if self.one_in(3) {
            return 8;
        }
        u16::try_from(self.word() % 2048).unwrap()
    }

    fn rect(&mut self) -> Rect {
        let (left, top) = (self.within(-10, 45), self.within(-10, 20));
        Rect::from_size(left, top, self.size(50), self.size(25))
    }

    /// Cells of an uneven grid, so that none overlap.
    fn clip(&mut self) -> Vec<Rect> {
        let mut cuts = |n: usize| {
            let mut cuts: Vec<i32> = (0..n).map(|_| self.within(-5, 60)).collect();
            cuts.sort_unstable();
            cuts
        };
        let (xs, ys) = (cuts(4), cuts(4));
        let mut rects = Vec::new();
        for x in xs.windows(2) {
            for y in ys.windows(2) {
                let rect = Rect { left: x[0], right: x[1], top: y[0], bottom: y[1] };
                rects.push(rect);
            }
        }
        rects.retain(|_| !self.one_in(4));
        if self.one_in(3) { vec![Rect::from_size(0, 0, 100, 100)] } else { rects }
    }

    fn area(&mut self, bbox: &Rect) -> Rect {
        let (left, top) = (self.within(-9, 30), self.within(-9, 12));
        if self.one_in(2) {
            Rect::from_size(left, top, bbox.width(), bbox.height())
        } else {
            Rect::from_size(left, top, self.size(60), self.size(30))
        }
    }

    /// An image, or a part of the destination of this size.
    fn optional_image(
        &mut self,
        width: u32,
        height: u32,
        part: &mut Option<Rect>,
    ) -> Option<Image> {
        if !self.one_in(3) {
            return Some(self.image());
        }
        let left = self.within(0, i32::try_from(width).unwrap() - 1);
        let top = self.within(0, i32::try_from(height).unwrap() - 1);
        let (right, bottom) = (width - left.unsigned_abs(), height - top.unsigned_abs());
        let (w, h) = (self.word() % right + 1, self.word() % bottom + 1);
        *part = Some(Rect::from_size(left, top, w, h));
        None
    }

    /// Solid lines.
    fn stroke(&mut self) -> Stroke {
        let mut path = Vec::new();
        let mut begun = false;
        for _ in 0..self.size(4) {
            let flags = (self.byte() & 11) | u8::from(!begun);
            let points = (0..self.size(4))
                .map(|_| PathPoint { x: self.within(-200, 900), y: self.within(-200, 500) })
                .collect();
            begun = flags & 2 == 0;
            path.push(Segment { flags, points });
        }
        let (brush, fore_mode) = (self.brush(), self.rop());
        Stroke { path: Arc::new(path), style: None, flags: 0, brush, fore_mode, back_mode: 0 }
    }

    fn text(&mut self) -> Text {
        let depth = self.pick(&[GlyphDepth::A1, GlyphDepth::A4, GlyphDepth::A8]);
        let (mut data, mut glyphs) = (Vec::new(), Vec::new());
        for _ in 0..self.size(5) {
            let (width, height) = (self.word() % 14, self.word() % 9);
            let (width, height) = (u16::try_from(width).unwrap(), u16::try_from(height).unwrap());
            let start = data.len();
            data.extend(self.bytes(depth.row_bytes(width) * usize::from(height)));
            glyphs.push(Glyph {
                render_pos: Point { x: self.within(-5, 45), y: self.within(-5, 20) },
                origin: Point { x: self.within(-5, 5), y: self.within(-5, 5) },
                width,
                height,
                data: start..data.len(),
            });
        }
        Text {
            depth,
            top_down: self.one_in(2),
            glyphs: Arc::new(glyphs),
            data: Arc::new(data),
            back_area: if self.one_in(2) { self.rect() } else { Rect::default() },
            fore_brush: self.brush(),
            back_brush: self.brush(),
            fore_mode: self.rop(),
            back_mode: 0,
        }
    }

    /// With operators and filters that are the same in every build of pixman.
    fn composite(&mut self, src: Option<Image>) -> Composite {
        let mask = self.one_in(2).then(|| self.image());
        let mut origin = || {
            let (x, y) = (self.within(-9, 40), self.within(-9, 15));
            Point16 { x: i16::try_from(x).unwrap(), y: i16::try_from(y).unwrap() }
        };
        let (src_origin, mask_origin) = (origin(), origin());
        let mut transform = || {
            let mut factor = || self.within(-100_000, 100_000);
            let t = [factor(), factor(), factor(), factor(), factor(), factor()];
            self.one_in(2).then_some(t)
        };
        let (src_transform, mask_transform) = (transform(), transform());
        let filters = self.pick(&[0u32, 3]) << 8 | self.pick(&[0u32, 3]) << 11;
        let flags = (self.word() % 13) | filters | (self.word() & 0x0147_c000);
        Composite { flags, src, src_transform, mask, mask_transform, src_origin, mask_origin }
    }

    fn drawable(&mut self, width: u32, height: u32) -> Drawable {
        let bbox = self.rect();
        let src_area = self.area(&bbox);
        let nearest = self.one_in(2);
        let mut self_bitmap_area = None;
        let op = match self.byte() % 24 {
            0 | 1 => DrawOp::Fill { brush: self.brush(), rop: self.rop(), mask: self.mask() },
            2..=4 => DrawOp::Copy {
                src: self.image(),
                src_area,
                rop: self.rop(),
                nearest,
                mask: self.mask(),
                blend: false,
            },
            5 | 6 => {
                let src = self.optional_image(width, height, &mut self_bitmap_area);
                let (brush, rop, mask) = (self.brush(), self.rop(), self.mask());
                DrawOp::Opaque { src, src_area, brush, rop, nearest, mask }
            }
            7 => DrawOp::CopyBits {
                src: Point { x: bbox.left + self.within(-9, 9), y: bbox.top + self.within(-4, 4) },
            },
            8 => DrawOp::Invers { mask: self.mask() },
            10 | 11 => {
                let src = self.optional_image(width, height, &mut self_bitmap_area);
                let (brush, code, mask) = (self.brush(), self.byte(), self.mask());
                DrawOp::Rop3 { src, src_area, brush, code, nearest, mask }
            }
            12 => {
                let src = self.optional_image(width, height, &mut self_bitmap_area);
                let src_color = self.word();
                let true_color = self.pick(&[0, src_color, 0xff_ffff]);
                DrawOp::Transparent { src, src_area, src_color, true_color }
            }
            13 | 14 => {
                let src = self.optional_image(width, height, &mut self_bitmap_area);
                let alpha = self.byte();
                let alpha = self.pick(&[0, alpha, alpha, 255]);
                DrawOp::AlphaBlend { src, src_area, flags: self.byte() % 4, alpha }
            }
            18..=20 => DrawOp::Stroke(Box::new(self.stroke())),
            21..=23 => DrawOp::Text(Box::new(self.text())),
            15..=17 => {
                let src = self.optional_image(width, height, &mut self_bitmap_area);
                DrawOp::Composite(Box::new(self.composite(src)))
            }
            _ if self.one_in(2) => DrawOp::Blackness { mask: self.mask() },
            _ => DrawOp::Whiteness { mask: self.mask() },
        };
        Drawable {
            surface_id: 0,
            effect: 0,
            bbox,
            clip: None,
            mm_time: 0,
            self_bitmap_area,
            reads: Vec::new(),
            op,
        }
    }
}

fn plane(surface: &Surface) -> Plane {
    let bytes = pixel_bytes(surface.format());
    let mut row = vec![0; usize::try_from(surface.width()).unwrap() * bytes];
    let mut pixels = BTreeMap::new();
    for y in 0..surface.height() {
        surface.target().read_row(y, 0, &mut row);
        for (x, p) in (0..).zip(row.chunks(bytes)) {
            let v = p.iter().rev().fold(0, |v, b| v << 8 | u32::from(*b));
            pixels.insert((x, i64::from(y)), v);
        }
    }
    Plane {
        format: surface.format(),
        width: i64::from(surface.width()),
        height: i64::from(surface.height()),
        pixels,
    }
}

fn world(surfaces: &HashMap<u32, Surface>) -> World {
    surfaces.iter().map(|(id, s)| (*id, plane(s))).collect()
}

fn surfaces(dice: &mut Dice, dest: SurfaceFormat) -> HashMap<u32, Surface> {
    let formats = [dest, dice.pick(&FORMATS), dice.pick(&FORMATS), SurfaceFormat::A1];
    (0..).zip(formats).map(|(id, format)| (id, dice.surface(id, format))).collect()
}

fn compare(surfaces: &mut HashMap<u32, Surface>, d: &Drawable, clip: &[Rect], what: &str) {
    let mut expected = world(surfaces);
    naive::draw(&mut expected, d, clip);
    let drawn = draw(surfaces, d, clip);
    if matches!(d.op, DrawOp::Transparent { .. })
        && expected[&d.surface_id].format == SurfaceFormat::A1
    {
        assert!(matches!(drawn, Ok(()) | Err(DrawError::NoColors)));
        return;
    }
    drawn.unwrap();
    let got = world(surfaces);
    for (id, plane) in &expected {
        for (at, v) in &plane.pixels {
            let other = got[id].pixels[at];
            // What nobody defines: unused bits of composed pixels.
            let composed = matches!(&d.op, DrawOp::Composite(_)) && *id == d.surface_id;
            let defined = match plane.format {
                SurfaceFormat::Xrgb => 0xff_ffff,
                SurfaceFormat::Rgb555 => 0x7fff,
                _ => !0,
            };
            let defined = if composed { defined } else { !0 };
            assert_eq!(
                *v & defined,
                other & defined,
                "{what}: surface {id} {:?} pixel {at:?}: naive {v:#x}, canvas {other:#x}\n{d:#?}\n{clip:?}",
                plane.format
            );
        }
    }
}

#[test]
fn random_commands_give_the_pixels_of_the_formulas() {
    for seed in 0..6000 {
        let mut dice = Dice(seed);
        let format = dice.pick(&FORMATS);
        let mut surfaces = surfaces(&mut dice, format);
        let (width, height) = (surfaces[&0].width(), surfaces[&0].height());
        let d = dice.drawable(width, height);
        let clip = dice.clip();
        compare(&mut surfaces, &d, &clip, &format!("seed {seed}"));
    }
}

#[test]
fn every_rop_on_every_format_gives_the_pixels_of_the_formulas() {
    let mut dice = Dice(1 << 40);
    for format in FORMATS {
        // All descriptors with at most one operation; those with several mean the first, see `rop`.
        for rop in (0..2048u16).filter(|rop| (rop & 0x3f8).count_ones() <= 1) {
            let mut surfaces = surfaces(&mut dice, format);
            let (width, height) = (surfaces[&0].width(), surfaces[&0].height());
            let bbox = Rect::from_size(0, 0, width.min(5), height.min(3));
            let mut d = dice.drawable(width, height);
            d.bbox = bbox;
            let image = || ImageKind::Surface(0);
            let src = Image { id: 0, flags: 0, width: 0, height: 0, kind: image() };
            let color = dice.word();
            let mask = Mask::default;
            let ops = [
                DrawOp::Fill { brush: Brush::Solid(color), rop, mask: mask() },
                DrawOp::Copy {
                    src: src.clone(),
                    src_area: bbox,
                    rop,
                    nearest: true,
                    mask: mask(),
                    blend: true,
                },
                DrawOp::Opaque {
                    src: Some(src),
                    src_area: bbox,
                    brush: Brush::Solid(color),
                    rop,
                    nearest: true,
                    mask: mask(),
                },
            ];
            for op in ops {
                let d = Drawable { op, ..d.clone() };
                compare(&mut surfaces, &d, &[bbox], &format!("rop {rop:#x}"));
            }
        }
    }
}

/// Numbers as a hostile guest would choose them.
#[test]
fn no_number_makes_the_canvas_panic() {
    let edge =
        [i32::MIN, i32::MIN + 1, -65536, -1, 0, 1, 7, 19, 32767, 65536, i32::MAX - 1, i32::MAX];
    for seed in 0..20_000 {
        let mut dice = Dice(seed + (1 << 50));
        let format = dice.pick(&FORMATS);
        let mut surfaces = surfaces(&mut dice, format);
        let (width, height) = (surfaces[&0].width(), surfaces[&0].height());
        let mut d = dice.drawable(width, height);
        let mut spoil = |v: &mut i32| {
            if dice.one_in(3) {
                *v = dice.pick(&edge);
            }
        };
        let mut spoil_rect = |r: &mut Rect| {
            spoil(&mut r.left);
            spoil(&mut r.right);
            spoil(&mut r.top);
            spoil(&mut r.bottom);
        };
        spoil_rect(&mut d.bbox);
        if let Some(area) = &mut d.self_bitmap_area {
            spoil_rect(area);
        }
        match &mut d.op {
            DrawOp::Copy { src_area, .. }
            | DrawOp::Opaque { src_area, .. }
            | DrawOp::Rop3 { src_area, .. }
            | DrawOp::Transparent { src_area, .. }
            | DrawOp::AlphaBlend { src_area, .. } => spoil_rect(src_area),
            _ => {}
        }
        let mut clip = dice.clip();
        if let DrawOp::Composite(op) = &mut d.op {
            op.src_transform = Some(std::array::from_fn(|_| dice.pick(&edge)));
            op.mask_transform = Some(std::array::from_fn(|_| dice.pick(&edge)));
            op.flags = dice.word();
            op.src_origin = Point16 { x: i16::MIN, y: i16::MAX };
        }
        let mut spoil = |p: &mut Point| {
            p.x = dice.pick(&edge);
            p.y = dice.pick(&edge);
        };
        match &mut d.op {
            DrawOp::Text(text) => {
                for glyph in Arc::make_mut(&mut text.glyphs) {
                    spoil(&mut glyph.render_pos);
                    glyph.data.end = glyph.data.end / 2 + 900;
                }
            }
            DrawOp::Stroke(stroke) => {
                stroke.style = dice.one_in(2).then(|| vec![dice.within(0, 300), 0, 17]);
                for segment in Arc::make_mut(&mut stroke.path) {
                    segment.flags = dice.byte();
                    let mut far = || dice.pick(&[-(1 << 27), -1, 0, 160, 1 << 27]);
                    segment.points.iter_mut().for_each(|p| (p.x, p.y) = (far(), far()));
                }
            }
            DrawOp::CopyBits { src } => spoil(src),
            DrawOp::Fill { brush: Brush::Pattern { pos, .. }, .. } => spoil(pos),
            DrawOp::Invers { mask } | DrawOp::Copy { mask, .. } => spoil(&mut mask.pos),
            _ => {}
        }
        // A bitmap that promises more than it has.
        if let DrawOp::Copy { src: Image { kind: ImageKind::Bitmap(b), .. }, .. } = &mut d.op {
            match dice.byte() % 8 {
                0 => b.stride = dice.word(),
                1 => b.width = dice.word(),
                2 => b.height = dice.word(),
                3 => b.data = Vec::new().into(),
                4 => b.width = 0,
                _ => {}
            }
        }
        if let Some(rect) = clip.first_mut() {
            rect.right = dice.pick(&edge);
        }
        let _ = draw(&mut surfaces, &d, &clip);
    }
}

#[test]
fn missing_surfaces_are_refused_and_nothing_is_drawn() {
    let mut dice = Dice(3);
    let mut surfaces = surfaces(&mut dice, SurfaceFormat::Xrgb);
    let before = world(&surfaces);
    let mut d = dice.drawable(1, 1);
    d.bbox = Rect::from_size(0, 0, 9, 9);
    let kind = ImageKind::Surface(77);
    let src = Image { id: 0, flags: 0, width: 0, height: 0, kind };
    let mask = Mask { inverse: false, pos: Point::default(), image: Some(src.clone()) };
    d.op = DrawOp::Whiteness { mask };
    assert_eq!(draw(&mut surfaces, &d, &[d.bbox]), Err(DrawError::NoSurface(77)));
    let brush = Brush::Pattern { image: src, pos: Point::default() };
    d.op = DrawOp::Fill { brush, rop: 8, mask: Mask::default() };
    assert_eq!(draw(&mut surfaces, &d, &[d.bbox]), Err(DrawError::NoSurface(77)));
    d.surface_id = 5;
    assert_eq!(draw(&mut surfaces, &d, &[d.bbox]), Err(DrawError::NoSurface(5)));
    assert_eq!(world(&surfaces), before);
    assert!(surfaces.get_mut(&0).unwrap().take_dirty().is_empty());
}

#[test]
fn an_image_read_back_puts_the_same_pixels_again() {
    let mut dice = Dice(4);
    for format in FORMATS {
        for id in [0, 1] {
            let original = dice.surface(id, format);
            let all = Rect::from_size(0, 0, original.width(), original.height());
            let read = original.read_image(all).unwrap();
            let target = Target::owned(format, original.width(), original.height()).unwrap();
            let mut copies = HashMap::from([(id, Surface::new(id, target))]);
            let mut d = dice.drawable(1, 1);
            d.surface_id = id;
            d.bbox = all;
            let kind = ImageKind::Bitmap(read.bitmap);
            d.op = DrawOp::Copy {
                src: Image { id: 0, flags: read.flags, width: 0, height: 0, kind },
                src_area: all,
                rop: 8,
                nearest: false,
                mask: Mask::default(),
                blend: false,
            };
            draw(&mut copies, &d, &[all]).unwrap();
            assert_eq!(plane(&copies[&id]), plane(&original), "{format:?}");
            assert_eq!(copies.get_mut(&id).unwrap().take_dirty(), [all]);
        }
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |d: u8| u8::try_from(char::from(d).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect()
}

fn write(target: &mut Target, bytes: &[u8]) {
    let row = bytes.len() / usize::try_from(target.height()).unwrap();
    for (y, row) in (0..).zip(bytes.chunks(row)) {
        target.write_row(y, 0, row);
    }
}

#[test]
fn scaling_gives_the_bytes_that_pixman_gives() {
    let mut cases = 0;
    let text = include_str!("../../../tests/vectors/pixman-scaling.txt");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |n: usize| words[n].parse::<i32>().unwrap();
        let size = |n: usize| number(n).unsigned_abs();
        let target = |format: usize, at: usize| {
            let format = SurfaceFormat::from_u32(size(format)).unwrap();
            Target::owned(format, size(at), size(at + 1)).unwrap()
        };
        let mut source = target(0, 3);
        write(&mut source, &unhex(words[11]));
        let dest = target(1, 9);
        let mut expected = target(1, 9);
        write(&mut expected, &unhex(words[12]));
        let bbox = Rect::from_size(0, 0, size(9), size(10));
        let mut d = Dice(0).drawable(1, 1);
        d.bbox = bbox;
        d.op = DrawOp::Copy {
            src: Image { id: 0, flags: 0, width: 0, height: 0, kind: ImageKind::Surface(1) },
            src_area: Rect::from_size(number(5), number(6), size(7), size(8)),
            rop: 8,
            nearest: words[2] == "nearest",
            mask: Mask::default(),
            blend: false,
        };
        let mut surfaces =
            HashMap::from([(0, Surface::new(0, dest)), (1, Surface::new(1, source))]);
        draw(&mut surfaces, &d, &[bbox]).unwrap();
        assert_eq!(plane(&surfaces[&0]), plane(&Surface::new(0, expected)), "{line}");
        cases += 1;
    }
    assert_eq!(cases, 120);
}
