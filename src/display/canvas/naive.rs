//! A twin of the canvas for tests: one pixel at a time, straight from the formulas, no code shared with
//! the fast one, no thought of speed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::protocol::geometry::{Point16, Rect};
use crate::qxl::model::{
    Bitmap, BitmapFormat, Brush, DrawOp, Drawable, GlyphDepth, Image, ImageKind, Mask, Stroke,
    SurfaceFormat, Text,
};

/// A surface as raw pixel values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plane {
    pub(super) format: SurfaceFormat,
    pub(super) width: i64,
    pub(super) height: i64,
    pub(super) pixels: BTreeMap<(i64, i64), u32>,
}

pub(super) type World = BTreeMap<u32, Plane>;

impl Plane {
    fn get(&self, x: i64, y: i64) -> Option<u32> {
        self.pixels.get(&(x, y)).copied()
    }
}

/// What a pixel's number means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Already in the destination's format: a palette entry.
    Color,
    /// As pixels of such a surface.
    As(SurfaceFormat),
    /// Three bytes.
    Rgb24,
}

/// Any image, with the answer to: which raw number lies at (x, y)?
struct Picture<'a> {
    kind: Kind,
    width: i64,
    height: i64,
    surface: bool,
    /// The image says that its unused bytes are set.
    high: bool,
    /// It may stay in a cache.
    kept: bool,
    at: Box<dyn Fn(i64, i64) -> u32 + 'a>,
}

impl Picture<'_> {
    fn get(&self, x: i64, y: i64) -> Option<u32> {
        let inside = (0..self.width).contains(&x) && (0..self.height).contains(&y);
        inside.then(|| (self.at)(x, y))
    }
}

fn bitmap_number(b: &Bitmap, x: i64, y: i64) -> u32 {
    let row = if b.top_down { y } else { i64::from(b.height) - 1 - y };
    let byte = |n: i64| {
        let at = usize::try_from(row * i64::from(b.stride) + n).unwrap();
        u32::from(b.data[at])
    };
    let little = |first: i64, n: i64| (0..n).map(|i| byte(first + i) << (8 * i)).sum();
    match b.format {
        BitmapFormat::Bit1Le => byte(x / 8) >> (x % 8) & 1,
        BitmapFormat::Bit1Be => byte(x / 8) >> (7 - x % 8) & 1,
        BitmapFormat::Bit4Le => byte(x / 2) >> (4 * (x % 2)) & 15,
        BitmapFormat::Bit4Be => byte(x / 2) >> (4 * (1 - x % 2)) & 15,
        BitmapFormat::Bit8 | BitmapFormat::Alpha8 => byte(x),
        BitmapFormat::Bit16 => little(2 * x, 2),
        BitmapFormat::Bit24 => little(3 * x, 3),
        BitmapFormat::Bit32 | BitmapFormat::Rgba => little(4 * x, 4),
    }
}

fn picture<'a>(image: &'a Image, world: &World) -> Picture<'a> {
    match &image.kind {
        ImageKind::Surface(id) => surface_picture(world[id].clone()),
        ImageKind::Bitmap(b) => Picture {
            kind: match b.format {
                BitmapFormat::Bit16 => Kind::As(SurfaceFormat::Rgb555),
                BitmapFormat::Bit24 => Kind::Rgb24,
                BitmapFormat::Bit32 => Kind::As(SurfaceFormat::Xrgb),
                BitmapFormat::Rgba => Kind::As(SurfaceFormat::Argb),
                BitmapFormat::Alpha8 => Kind::As(SurfaceFormat::A8),
                _ => Kind::Color,
            },
            width: i64::from(b.width),
            height: i64::from(b.height),
            surface: false,
            at: Box::new(move |x, y| {
                let v = bitmap_number(b, x, y);
                if b.format.is_indexed() {
                    let index = usize::try_from(v).unwrap();
                    b.palette.as_ref().and_then(|p| p.entries.get(index).copied()).unwrap_or(0)
                } else {
                    v
                }
            }),
            high: image.flags & 2 != 0,
            kept: image.flags & 1 != 0,
        },
    }
}

fn surface_picture(plane: Plane) -> Picture<'static> {
    Picture {
        kind: Kind::As(plane.format),
        width: plane.width,
        height: plane.height,
        surface: true,
        high: false,
        kept: false,
        at: Box::new(move |x, y| plane.get(x, y).unwrap()),
    }
}

/// Alpha, red, green, blue with 8 bits each.
fn channels(kind: Kind, v: u32) -> [u32; 4] {
    let b5 = |v: u32| v % 32 * 8 + v % 32 / 4;
    match kind {
        Kind::As(SurfaceFormat::Rgb555) => [255, b5(v >> 10), b5(v >> 5), b5(v)],
        Kind::As(SurfaceFormat::Rgb565) => {
            let green = v / 32 % 64;
            [255, b5(v >> 11), green * 4 + green / 16, b5(v)]
        }
        Kind::As(SurfaceFormat::A8) => [v, 0, 0, 0],
        Kind::As(SurfaceFormat::A1) => [v * 255, 0, 0, 0],
        _ => [v >> 24, v >> 16 & 255, v >> 8 & 255, v & 255],
    }
}

fn from_channels([a, r, g, b]: [u32; 4], to: SurfaceFormat) -> u32 {
    match to {
        SurfaceFormat::A1 => a / 128,
        SurfaceFormat::A8 => a,
        SurfaceFormat::Rgb555 => r / 8 * 1024 + g / 8 * 32 + b / 8,
        SurfaceFormat::Rgb565 => r / 8 * 2048 + g / 4 * 32 + b / 8,
        SurfaceFormat::Xrgb | SurfaceFormat::Argb => a << 24 | r << 16 | g << 8 | b,
    }
}

fn all_ones(format: SurfaceFormat) -> u32 {
    u32::try_from((1u64 << format.bits()) - 1).unwrap()
}

fn alpha_only(format: SurfaceFormat) -> bool {
    matches!(format, SurfaceFormat::A1 | SurfaceFormat::A8)
}

fn no_alpha(kind: Kind) -> bool {
    matches!(kind, Kind::Rgb24 | Kind::As(SurfaceFormat::Xrgb))
}

/// A bitmap's pixel, with the byte that its flag sets.
fn loaded(p: &Picture, v: u32, to: SurfaceFormat) -> u32 {
    let v = convert(p.kind, v, to);
    let wide = matches!(to, SurfaceFormat::Xrgb | SurfaceFormat::Argb);
    let unused = no_alpha(p.kind)
        || p.kind == Kind::As(SurfaceFormat::A8) && !p.kept
        || p.kind == Kind::Color && (to == SurfaceFormat::Xrgb || !p.kept);
    if p.high && wide && unused { v | 0xff00_0000 } else { v }
}

fn convert(kind: Kind, v: u32, to: SurfaceFormat) -> u32 {
    if kind == Kind::Color || kind == Kind::As(to) {
        return v & all_ones(to);
    }
    let [a, r, g, b] = channels(kind, v);
    let a = if no_alpha(kind) && alpha_only(to) { 255 } else { a };
    from_channels([a, r, g, b], to)
}

/// Source pixel of a box pixel without scaling: `None` means not drawn.
fn unscaled(
    p: &Picture,
    d: &Drawable,
    area: &Rect,
    x: i64,
    y: i64,
    to: SurfaceFormat,
) -> Option<u32> {
    let sx = x - i64::from(d.bbox.left) + i64::from(area.left);
    let sy = y - i64::from(d.bbox.top) + i64::from(area.top);
    p.get(sx, sy).map(|v| place(p, v, to))
}

/// As `convert`, but pixels of 16 bits go from surface to surface as they are.
fn place(p: &Picture, v: u32, to: SurfaceFormat) -> u32 {
    if p.surface && short(p.kind) && short(Kind::As(to)) { v } else { loaded(p, v, to) }
}

fn short(kind: Kind) -> bool {
    matches!(kind, Kind::As(SurfaceFormat::Rgb555 | SurfaceFormat::Rgb565))
}

struct Stretch {
    plain: bool,
    /// Scaled from its corner on, the area's corner rounded to a pixel of the box.
    snapped: bool,
    nearest: bool,
    to: SurfaceFormat,
}

fn scaled(p: &Picture, d: &Drawable, area: &Rect, x: i64, y: i64, how: &Stretch) -> u32 {
    let to = match p.kind {
        Kind::As(own) if p.surface && short(p.kind) && short(Kind::As(how.to)) && !how.plain => own,
        _ => how.to,
    };
    let i = x - i64::from(d.bbox.left);
    let j = y - i64::from(d.bbox.top);
    let sx = i64::from(area.width()) * 65536 / i64::from(d.bbox.width());
    let sy = i64::from(area.height()) * 65536 / i64::from(d.bbox.height());
    let (mut left, mut top, mut i, mut j) = (area.left, area.top, i, j);
    if how.snapped {
        let round = |corner: i32, from: u32, to: u32| {
            let exact = f64::from(corner) / (f64::from(from) / f64::from(to));
            #[expect(clippy::cast_possible_truncation, reason = "small numbers in tests")]
            let rounded = (exact + 0.5).floor() as i64;
            rounded
        };
        i += round(area.left, area.width(), d.bbox.width());
        j += round(area.top, area.height(), d.bbox.height());
        (left, top) = (0, 0);
    }
    // An image without alpha is opaque to whatever has alpha, if the whole is one pixman call.
    let opaque = to == SurfaceFormat::Argb
        && how.plain
        && (no_alpha(p.kind)
            || p.kind == Kind::As(SurfaceFormat::A8) && !p.surface
            || p.kind == Kind::Color && !p.kept)
        || alpha_only(to) && p.kind == Kind::As(SurfaceFormat::Xrgb);
    if how.nearest {
        let at = |i: i64, s: i64, o: i32| {
            i64::from(o) + ((i * s + ((s * 0x8000 + 0x8000) >> 16) - 1) >> 16)
        };
        let v = p.get(at(i, sx, left), at(j, sy, top));
        let high = if opaque && to == SurfaceFormat::Argb { 0xff00_0000 } else { 0 };
        let unused = if to == SurfaceFormat::Rgb555 { 0x8000 } else { 0 };
        return v.map_or(0, |v| (loaded(p, v, to) | high) & !unused);
    }
    let at = |i: i64, s: i64, o: i32| {
        let v = ((s * (2 * i + 1) * 0x8000 + 0x8000) >> 16) + i64::from(o) * 65536 - 0x8000;
        (v >> 16, u32::try_from(((v & 0xffff) >> 9) * 2).unwrap())
    };
    let (px, wx) = at(i, sx, left);
    let (py, wy) = at(j, sy, top);
    let tap = |x: i64, y: i64| {
        let Some(v) = p.get(x, y) else { return [0; 4] };
        let mut c =
            if p.surface { channels(p.kind, v) } else { channels(Kind::As(to), loaded(p, v, to)) };
        if opaque {
            c[0] = 255;
        }
        c
    };
    let taps = [
        (tap(px, py), (256 - wx) * (256 - wy)),
        (tap(px + 1, py), wx * (256 - wy)),
        (tap(px, py + 1), (256 - wx) * wy),
        (tap(px + 1, py + 1), wx * wy),
    ];
    let sum = |n: usize| taps.iter().map(|(c, w)| c[n] * w).sum::<u32>() >> 16;
    from_channels([sum(0), sum(1), sum(2), sum(3)], to)
}

/// Pixels of a solid stroke without curves, in order.
fn walked(op: &Stroke) -> Vec<(i64, i64)> {
    let mut out = Vec::new();
    let mut line: Vec<(i64, i64)> = Vec::new();
    let whole = |v: i32| i64::from(v).div_euclid(16) + i64::from(i64::from(v).rem_euclid(16) > 8);
    let mut draw = |line: &mut Vec<(i64, i64)>| {
        for pair in line.windows(2) {
            let ((mut x, mut y), (tx, ty)) = (pair[0], pair[1]);
            let (dx, dy) = (tx - x, ty - y);
            let x_major = dx.abs() > dy.abs();
            let (long, short) = if x_major { (dx, dy) } else { (dy, dx) };
            let mut e = -long.abs() - i64::from(long < 0);
            for _ in 0..long.abs() {
                out.push((x, y));
                e += 2 * short.abs();
                let turn = e >= 0;
                e -= if turn { 2 * long.abs() } else { 0 };
                let aside = if turn { short.signum() } else { 0 };
                let (step_x, step_y) =
                    if x_major { (long.signum(), aside) } else { (aside, long.signum()) };
                (x, y) = (x + step_x, y + step_y);
            }
        }
        line.clear();
    };
    for segment in op.path.iter() {
        if segment.flags & 1 != 0 {
            draw(&mut line);
        }
        line.extend(segment.points.iter().map(|p| (whole(p.x), whole(p.y))));
        if segment.flags & 2 != 0 {
            if segment.flags & 8 != 0 {
                line.push(line[0]);
            }
            draw(&mut line);
        }
    }
    draw(&mut line);
    out
}

fn text_pixel(
    op: &Text,
    x: i64,
    y: i64,
    to: SurfaceFormat,
    old: u32,
    // Whether unused bits may be read later: the surface is not the screen.
    (world, hidden): (&World, bool),
) -> Option<u32> {
    let inside = |r: &Rect| {
        (i64::from(r.left)..i64::from(r.right)).contains(&x)
            && (i64::from(r.top)..i64::from(r.bottom)).contains(&y)
    };
    let back = inside(&op.back_area).then(|| brush(&op.back_brush, x, y, to, world));
    let left = op.glyphs.iter().map(|g| g.corner().0).min()?;
    let top = op.glyphs.iter().map(|g| g.corner().1).min()?;
    let values = op.glyphs.iter().map(|g| {
        let (column, row) = (x - g.corner().0, y - g.corner().1);
        if !(0..i64::from(g.width)).contains(&column) || !(0..i64::from(g.height)).contains(&row) {
            return (0, 0);
        }
        let data = &op.data[g.data.clone()];
        let row = usize::from(g.height) - 1 - usize::try_from(row).unwrap();
        let column = usize::try_from(column).unwrap();
        let bits = match op.depth {
            GlyphDepth::A1 => 1,
            GlyphDepth::A4 => 4,
            GlyphDepth::A8 => 8,
        };
        let stride = (usize::from(g.width) * bits).div_ceil(8);
        let at = column * bits;
        let byte = u32::from(data[row * stride + at / 8]);
        let v = byte >> (8 - bits - at % 8);
        match bits {
            1 => (v % 2 * 255, v % 2 * 255),
            4 if at % 8 == 4 => (byte * 16, v % 16 * 16),
            4 => (v % 16 * 16, v % 16 * 16),
            _ => (v % 256, v % 256),
        }
    });
    let heavier = |old, (weight, value)| if weight > old { value } else { old };
    let cover = values.fold(0, heavier);
    let below = back.unwrap_or(old) & all_ones(to);
    let color = match &op.fore_brush {
        Brush::None => return back,
        Brush::Solid(c) => {
            let mut c = channels(Kind::As(to), *c & all_ones(to));
            if alpha_only(to) {
                c = channels(Kind::As(SurfaceFormat::Xrgb), 0);
            }
            c[0] = 255;
            c
        }
        Brush::Pattern { image, pos } => {
            let p = picture(image, world);
            let column = (x - left - i64::from(pos.x)).rem_euclid(p.width);
            let row = (y - top - i64::from(pos.y)).rem_euclid(p.height);
            operand(&p, p.get(column, row).unwrap(), to)
        }
    };
    if cover == 0 {
        // Whoever composes a pixel clears its unused bits, whether or not anything is seen of it.
        let unused = match to {
            SurfaceFormat::Xrgb if matches!(op.fore_brush, Brush::Solid(_)) => 0,
            SurfaceFormat::Xrgb => 0xff00_0000,
            SurfaceFormat::Rgb555 => 0x8000,
            _ => 0,
        };
        let right = op.glyphs.iter().map(|g| g.corner().0 + i64::from(g.width)).max()?;
        let bottom = op.glyphs.iter().map(|g| g.corner().1 + i64::from(g.height)).max()?;
        let looked_at = (left..right).contains(&x) && (top..bottom).contains(&y);
        return if looked_at && hidden { Some(back.unwrap_or(old) & !unused) } else { back };
    }
    let above = color.map(|c| product(c, cover));
    let mut d = channels(Kind::As(to), below);
    for n in [3, 2, 1, 0] {
        d[n] = (above[n] + product(d[n], 255 - above[0])).min(255);
    }
    if to == SurfaceFormat::Xrgb && !matches!(op.fore_brush, Brush::Solid(_)) {
        d[0] = 0;
    }
    Some(from_channels(d, to))
}

/// Position in the image, repeated; `None` outside.
fn position(
    p: &Picture,
    at: (i64, i64),
    origin: Point16,
    t: Option<[i32; 6]>,
    repeat: u8,
) -> Option<(i64, i64)> {
    let (mut x, mut y) = (at.0 + i64::from(origin.x), at.1 + i64::from(origin.y));
    if let Some(t) = t {
        let centre = [x * 65536 + 32768, y * 65536 + 32768, 65536];
        let row = |n: usize| {
            let part = |i: usize| (i64::from(t[n + i]) * centre[i] + 32768) >> 16;
            part(0) + part(1) + part(2)
        };
        (x, y) = ((row(0) - 1) >> 16, (row(3) - 1) >> 16);
    }
    let repeated = |v: i64, size: i64| match repeat {
        0 => (0..size).contains(&v).then_some(v),
        1 => Some(v.rem_euclid(size)),
        2 => Some(v.clamp(0, size - 1)),
        _ => {
            let v = v.rem_euclid(2 * size);
            Some(if v < size { v } else { 2 * size - 1 - v })
        }
    };
    Some((repeated(x, p.width)?, repeated(y, p.height)?))
}

fn inside_of(p: &Picture, at: (i64, i64), o: Point16, t: Option<[i32; 6]>, repeat: u8) -> bool {
    position(p, at, o, t, repeat).is_some()
}

fn sampled(
    p: &Picture,
    at: (i64, i64),
    origin: Point16,
    t: Option<[i32; 6]>,
    repeat: u8,
    to: SurfaceFormat,
) -> [u32; 4] {
    let Some((x, y)) = position(p, at, origin, t, repeat) else { return [0; 4] };
    operand(p, p.get(x, y).unwrap(), to)
}

/// A pixel of an image that is composed: surfaces in their own format, bitmaps in the destination's.
fn operand(p: &Picture, v: u32, to: SurfaceFormat) -> [u32; 4] {
    let alpha = [SurfaceFormat::Argb, SurfaceFormat::A8, SurfaceFormat::A1].map(Kind::As);
    let mut c = match p.kind {
        Kind::Color if alpha_only(to) => return channels(Kind::As(to), v & all_ones(to)),
        kind if p.surface || alpha_only(to) => channels(kind, v),
        _ => channels(Kind::As(to), loaded(p, v, to)),
    };
    let transparent = match p.kind {
        Kind::Color => to == SurfaceFormat::Argb && p.kept,
        Kind::As(SurfaceFormat::A8) if to == SurfaceFormat::A1 => p.surface,
        kind if p.surface || alpha_only(to) => alpha.contains(&kind),
        kind => kind == Kind::As(SurfaceFormat::Argb) && !short(Kind::As(to)),
    };
    if !transparent {
        c[0] = 255;
    }
    c
}

/// The first thirteen operators, channel by channel.
fn composed(op: u8, src: [u32; 4], mask: [u32; 4], below: [u32; 4]) -> [u32; 4] {
    std::array::from_fn(|n| {
        let s = product(src[n], mask[n]);
        let (sa, da) = (product(src[0], mask[n]), below[0]);
        let (fa, fb) = match op {
            0 => (0, 0),
            1 => (255, 0),
            2 => (0, 255),
            3 => (255, 255 - sa),
            4 => (255 - da, 255),
            5 => (da, 0),
            6 => (0, sa),
            7 => (255 - da, 0),
            8 => (0, 255 - sa),
            9 => (da, 255 - sa),
            10 => (255 - da, sa),
            11 => (255 - da, 255 - sa),
            12 => (255, 255),
            other => panic!("operator {other}"),
        };
        (product(s, fa) + product(below[n], fb)).min(255)
    })
}

fn product(x: u32, y: u32) -> u32 {
    let t = x * y + 128;
    (t + t / 256) / 256
}

/// The pixel of an image that is blended, with its alpha; `None` outside of the image.
fn blended(
    p: &Picture,
    d: &Drawable,
    area: &Rect,
    flags: u8,
    (x, y): (i64, i64),
    to: SurfaceFormat,
) -> Option<[u32; 4]> {
    let bbox = &d.bbox;
    let same = area.width() == bbox.width() && area.height() == bbox.height();
    let at = |i: i64, from: u32, to: u32, corner: i32| {
        let s = i64::from(from) * 65536 / i64::from(to);
        let scaled = (i * s + ((s * 0x8000 + 0x8000) >> 16) - 1) >> 16;
        i64::from(corner) + if same { i } else { scaled }
    };
    let sx = at(x - i64::from(bbox.left), area.width(), bbox.width(), area.left);
    let sy = at(y - i64::from(bbox.top), area.height(), bbox.height(), area.top);
    let v = p.get(sx, sy)?;
    let mut c = match p.kind {
        Kind::Color => channels(Kind::As(to), v & all_ones(to)),
        kind => channels(kind, v),
    };
    let has_alpha = match p.kind {
        Kind::Color => to == SurfaceFormat::Argb,
        Kind::As(SurfaceFormat::Argb | SurfaceFormat::A8 | SurfaceFormat::A1) => true,
        Kind::As(SurfaceFormat::Xrgb) => p.surface && flags & 2 != 0,
        _ => false,
    };
    if !has_alpha {
        c[0] = 255;
    }
    Some(c)
}

fn rop(rop: u16, a: u32, b: u32, flag_a: u16, flag_b: u16) -> u32 {
    let x = if rop & flag_a != 0 { !a } else { a };
    let y = if rop & flag_b != 0 { !b } else { b };
    let res = |v: u32| if rop & 1024 != 0 { !v } else { v };
    for bit in 3..10 {
        if rop & (1 << bit) != 0 {
            return match bit {
                3 => res(x),
                4 => res(x | y),
                5 => res(x & y),
                6 => res(x ^ y),
                7 => 0,
                8 => !0,
                _ => !b,
            };
        }
    }
    a
}

fn is_put(r: u16) -> bool {
    // Bitwise, so two bits of each operand decide.
    rop(r, 0b0011, 0b0101, 1, 4) & 15 == 0b0011
}

fn masked(mask: &Mask, d: &Drawable, x: i64, y: i64, world: &World) -> bool {
    let Some(image) = &mask.image else { return true };
    let mx = x - i64::from(d.bbox.left) + i64::from(mask.pos.x);
    let my = y - i64::from(d.bbox.top) + i64::from(mask.pos.y);
    let bit = match &image.kind {
        ImageKind::Surface(id) => world[id].get(mx, my),
        ImageKind::Bitmap(b) => {
            let inside =
                (0..i64::from(b.width)).contains(&mx) && (0..i64::from(b.height)).contains(&my);
            inside.then(|| bitmap_number(b, mx, my))
        }
    };
    bit.is_some_and(|bit| (bit == 0) == mask.inverse)
}

fn brush(brush: &Brush, x: i64, y: i64, to: SurfaceFormat, world: &World) -> u32 {
    match brush {
        Brush::None => 0,
        Brush::Solid(c) => *c,
        Brush::Pattern { image, pos } => {
            let p = picture(image, world);
            let tx = (x - i64::from(pos.x)).rem_euclid(p.width);
            let ty = (y - i64::from(pos.y)).rem_euclid(p.height);
            place(&p, p.get(tx, ty).unwrap(), to)
        }
    }
}

/// Draws one command; the clip rectangles may reach anywhere. Panics on what the canvas refuses.
pub(super) fn draw(world: &mut World, d: &Drawable, clip: &[Rect]) {
    let before = world.clone();
    let dest = before[&d.surface_id].clone();
    let to = dest.format;
    let own = || {
        // The part of the destination that serves as the image.
        let part = d.self_bitmap_area.unwrap();
        let mut plane = dest.clone();
        plane.width = i64::from(part.width());
        plane.height = i64::from(part.height());
        let (left, top) = (i64::from(part.left), i64::from(part.top));
        plane.pixels = (0..plane.height)
            .flat_map(|y| (0..plane.width).map(move |x| (x, y)))
            .map(|(x, y)| ((x, y), dest.get(x + left, y + top).unwrap()))
            .collect();
        surface_picture(plane)
    };
    let picture_of_mask = match &d.op {
        DrawOp::Composite(op) => op.mask.as_ref().map(|mask| picture(mask, &before)),
        _ => None,
    };
    let same = |a: &Rect| a.width() == d.bbox.width() && a.height() == d.bbox.height();
    let image = match &d.op {
        DrawOp::Copy { src, .. } => Some(picture(src, &before)),
        DrawOp::Opaque { src, .. }
        | DrawOp::Rop3 { src, .. }
        | DrawOp::Transparent { src, .. }
        | DrawOp::AlphaBlend { src, .. } => {
            Some(src.as_ref().map_or_else(own, |src| picture(src, &before)))
        }
        DrawOp::Composite(op) => {
            Some(op.src.as_ref().map_or_else(own, |src| picture(src, &before)))
        }
        _ => None,
    };
    for (&(x, y), &old) in &dest.pixels {
        let inside = |r: &Rect| {
            let (cols, rows) = (r.left..r.right, r.top..r.bottom);
            cols.contains(&i32::try_from(x).unwrap()) && rows.contains(&i32::try_from(y).unwrap())
        };
        if !inside(&d.bbox) || !clip.iter().any(inside) {
            continue;
        }
        let source = |area: &Rect, nearest: bool, plain: bool| {
            let image = image.as_ref().unwrap();
            if same(area) {
                unscaled(image, d, area, x, y, to)
            } else {
                let snapped = matches!(d.op, DrawOp::Rop3 { .. });
                Some(scaled(image, d, area, x, y, &Stretch { plain, snapped, nearest, to }))
            }
        };
        let none = Mask::default();
        let (new, mask) = match &d.op {
            DrawOp::Fill { brush: b, rop: r, mask } => {
                (Some(rop(*r, brush(b, x, y, to, &before), old, 2, 4)), mask)
            }
            DrawOp::Copy { src_area, rop: r, nearest, mask, .. } => {
                (source(src_area, *nearest, is_put(*r)).map(|a| rop(*r, a, old, 1, 4)), mask)
            }
            DrawOp::Opaque { src_area, brush: b, rop: r, nearest, mask, .. } => {
                let placed = source(src_area, *nearest, true).unwrap_or(old);
                (Some(rop(*r, brush(b, x, y, to, &before), placed, 2, 1)), mask)
            }
            DrawOp::CopyBits { src } => {
                let sx = x - i64::from(d.bbox.left) + i64::from(src.x);
                let sy = y - i64::from(d.bbox.top) + i64::from(src.y);
                (dest.get(sx, sy), &none)
            }
            DrawOp::Blackness { mask } => (Some(0), mask),
            DrawOp::Whiteness { mask } => (Some(!0), mask),
            DrawOp::Invers { mask } => (Some(!old), mask),
            DrawOp::Rop3 { src_area, brush: b, code, nearest, mask, .. } => {
                let pattern = brush(b, x, y, to, &before);
                let bit = |s: u32, n: u32| {
                    let index = (pattern >> n & 1) << 2 | (s >> n & 1) << 1 | (old >> n & 1);
                    u32::from(*code) >> index & 1
                };
                let s = source(src_area, *nearest, false);
                (s.map(|s| (0..32).map(|n| bit(s, n) << n).sum()), mask)
            }
            DrawOp::Transparent { src_area, true_color, .. } => {
                let [_, r, g, b] = channels(Kind::As(SurfaceFormat::Xrgb), *true_color);
                let key = if to.bits() == 8 { 0 } else { from_channels([0, r, g, b], to) };
                let compared = if to.bits() == 32 { 0xff_ffff } else { 0xffff };
                (source(src_area, true, false).filter(|s| s & compared != key), &none)
            }
            DrawOp::AlphaBlend { src_area, flags, alpha, .. } => {
                let image = image.as_ref().unwrap();
                let above = blended(image, d, src_area, *flags, (x, y), to);
                let new = above.filter(|_| *alpha != 0).map(|above| {
                    let above = above.map(|c| product(c, u32::from(*alpha)));
                    let mut below = channels(Kind::As(to), old);
                    for n in [3, 2, 1, 0] {
                        below[n] = (above[n] + product(below[n], 255 - above[0])).min(255);
                    }
                    if flags & 1 == 0 && to == SurfaceFormat::Xrgb {
                        below[0] = 0;
                    }
                    from_channels(below, to)
                });
                (new, &none)
            }
            DrawOp::Stroke(op) => {
                let visits = walked(op).iter().filter(|p| **p == (x, y)).count();
                let paint = brush(&op.brush, x, y, to, &before);
                let all = (0..visits).fold(old, |v, _| rop(op.fore_mode, paint, v, 2, 4));
                ((visits > 0).then_some(all), &none)
            }
            DrawOp::Text(op) => {
                (text_pixel(op, x, y, to, old, (&before, d.surface_id != 0)), &none)
            }
            DrawOp::Composite(op) => {
                let at = (x - i64::from(d.bbox.left), y - i64::from(d.bbox.top));
                let src = image.as_ref().unwrap();
                let (t, repeat) = (op.src_transform, op.src_repeat());
                let mut above = sampled(src, at, op.src_origin, t, repeat, to);
                if src.surface && op.source_opaque() && src.kind == Kind::As(SurfaceFormat::Argb) {
                    above = sampled(src, at, op.src_origin, t, repeat, to);
                    let there = inside_of(src, at, op.src_origin, t, repeat);
                    above[0] = if there { 255 } else { 0 };
                }
                let mask = picture_of_mask.as_ref().map(|mask| {
                    let (t, repeat) = (op.mask_transform, op.mask_repeat());
                    let m = sampled(mask, at, op.mask_origin, t, repeat, to);
                    if op.component_alpha() { m } else { [m[0]; 4] }
                });
                let mut below = channels(Kind::As(to), old);
                let opaque = to == SurfaceFormat::Xrgb;
                if opaque {
                    below[0] = 255;
                }
                let new = composed(op.operator(), above, mask.unwrap_or([255; 4]), below);
                (Some(from_channels(new, to)), &none)
            }
        };
        if let Some(new) = new
            && masked(mask, d, x, y, &before)
        {
            let plane = world.get_mut(&d.surface_id).unwrap();
            plane.pixels.insert((x, y), new & all_ones(to));
        }
    }
}
