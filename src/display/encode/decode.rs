//! An independent decoder of draw messages for tests, written from the tables of the
//! specification: every pointer is checked, blocks may not overlap, and nothing may be left over.

use std::sync::Arc;

use crate::protocol::geometry::{Point, Point16, Rect};
use crate::protocol::message::Message;
use crate::protocol::wire::Reader;
use crate::qxl::model::{
    Bitmap, BitmapFormat, Brush, Composite, DrawOp, Drawable, Glyph, GlyphDepth, Image, ImageKind,
    Mask, Palette, PathPoint, Segment, Stroke, Text,
};

/// All bytes of a message as the client gets them.
pub fn flatten(message: &Message) -> Vec<u8> {
    let mut bytes = message.body.clone();
    for bulk in &message.bulk {
        bytes.extend_from_slice(bulk.as_slice());
    }
    assert_eq!(bytes.len(), message.len());
    bytes
}

/// The drawable in a message; panics if the message breaks a rule.
pub fn decode(message: &Message) -> Drawable {
    let all = flatten(message);
    let mut d = Decoder { all: &all, r: Reader::new(&all), used: Vec::new() };
    let surface_id = d.r.u32().unwrap();
    let bbox = d.r.rect().unwrap();
    let clip = match d.r.u8().unwrap() {
        0 => None,
        1 => {
            let count = d.r.u32().unwrap();
            Some(Arc::new((0..count).map(|_| d.r.rect().unwrap()).collect()))
        }
        other => panic!("clip type {other}"),
    };
    let op = match message.kind {
        302 => DrawOp::Fill { brush: d.brush(), rop: d.r.u16().unwrap(), mask: d.mask() },
        303 => DrawOp::Opaque {
            src: Some(d.image().unwrap()),
            src_area: d.r.rect().unwrap(),
            brush: d.brush(),
            rop: d.r.u16().unwrap(),
            nearest: d.scale_mode(),
            mask: d.mask(),
        },
        304 | 305 => DrawOp::Copy {
            src: d.image().unwrap(),
            src_area: d.r.rect().unwrap(),
            rop: d.r.u16().unwrap(),
            nearest: d.scale_mode(),
            mask: d.mask(),
            blend: message.kind == 305,
        },
        104 => DrawOp::CopyBits { src: d.r.point().unwrap() },
        306 => DrawOp::Blackness { mask: d.mask() },
        307 => DrawOp::Whiteness { mask: d.mask() },
        308 => DrawOp::Invers { mask: d.mask() },
        309 => DrawOp::Rop3 {
            src: Some(d.image().unwrap()),
            src_area: d.r.rect().unwrap(),
            brush: d.brush(),
            code: d.r.u8().unwrap(),
            nearest: d.scale_mode(),
            mask: d.mask(),
        },
        312 => DrawOp::Transparent {
            src: Some(d.image().unwrap()),
            src_area: d.r.rect().unwrap(),
            src_color: d.r.u32().unwrap(),
            true_color: d.r.u32().unwrap(),
        },
        310 => DrawOp::Stroke(Box::new(d.stroke())),
        311 => DrawOp::Text(Box::new(d.text())),
        318 => {
            let flags = d.r.u32().unwrap();
            let has = |bit: u32| flags >> bit & 1 == 1;
            let src = Some(d.image().unwrap());
            let mask = has(19).then(|| d.image().unwrap());
            let mut transform = |bit| has(bit).then(|| std::array::from_fn(|_| d.r.i32().unwrap()));
            let (src_transform, mask_transform) = (transform(20), transform(21));
            let mut origin = || {
                let (x, y) = (d.r.i16().unwrap(), d.r.i16().unwrap());
                Point16 { x, y }
            };
            let (src_origin, mask_origin) = (origin(), origin());
            DrawOp::Composite(Box::new(Composite {
                flags,
                src,
                src_transform,
                mask,
                mask_transform,
                src_origin,
                mask_origin,
            }))
        }
        313 => {
            let (flags, alpha) = (d.r.u8().unwrap(), d.r.u8().unwrap());
            let src = Some(d.image().unwrap());
            DrawOp::AlphaBlend { src, src_area: d.r.rect().unwrap(), flags, alpha }
        }
        other => panic!("message {other}"),
    };
    d.check_layout();
    Drawable {
        surface_id,
        effect: 0,
        bbox,
        clip,
        mm_time: 0,
        self_bitmap_area: None,
        reads: Vec::new(),
        op,
    }
}

struct Decoder<'a> {
    all: &'a [u8],
    r: Reader<'a>,
    /// Start and end of every block that a pointer named.
    used: Vec<(usize, usize)>,
}

impl<'a> Decoder<'a> {
    fn at(&self, start: usize) -> Reader<'a> {
        assert!(start < self.all.len(), "pointer {start} of {}", self.all.len());
        Reader::new(&self.all[start..])
    }

    fn took(&mut self, start: usize, r: &Reader<'_>) {
        self.used.push((start, self.all.len() - r.rest().len()));
    }

    /// Fixed part and blocks fill the message without holes or overlaps.
    fn check_layout(&mut self) {
        self.used.push((0, self.all.len() - self.r.rest().len()));
        self.used.sort_unstable();
        let mut end = 0;
        for (start, stop) in &self.used {
            assert_eq!(*start, end, "blocks {:?}", self.used);
            end = *stop;
        }
        assert_eq!(end, self.all.len());
    }

    fn stroke(&mut self) -> Stroke {
        let start = self.r.u32().unwrap() as usize;
        let mut r = self.at(start);
        let segments = r.u32().unwrap();
        let mut path = Vec::new();
        for _ in 0..segments {
            let (flags, count) = (r.u8().unwrap(), r.u32().unwrap());
            let mut point = || PathPoint { x: r.i32().unwrap(), y: r.i32().unwrap() };
            path.push(Segment { flags, points: (0..count).map(|_| point()).collect() });
        }
        self.took(start, &r);
        let flags = self.r.u8().unwrap();
        let style = (flags & 8 != 0).then(|| {
            let count = self.r.u8().unwrap();
            let start = self.r.u32().unwrap() as usize;
            let mut r = self.at(start);
            let style = (0..count).map(|_| r.i32().unwrap()).collect();
            self.took(start, &r);
            style
        });
        let brush = self.brush();
        let (fore_mode, back_mode) = (self.r.u16().unwrap(), self.r.u16().unwrap());
        Stroke { path: Arc::new(path), style, flags, brush, fore_mode, back_mode }
    }

    fn text(&mut self) -> Text {
        let start = self.r.u32().unwrap() as usize;
        let mut r = self.at(start);
        let (length, flags) = (r.u16().unwrap(), r.u8().unwrap());
        let depth = match flags & 7 {
            1 => GlyphDepth::A1,
            2 => GlyphDepth::A4,
            4 => GlyphDepth::A8,
            other => panic!("glyphs {other}"),
        };
        let (all, mut glyphs) = (r.rest(), Vec::new());
        for _ in 0..length {
            let (render_pos, origin) = (r.point().unwrap(), r.point().unwrap());
            let (width, height) = (r.u16().unwrap(), r.u16().unwrap());
            let start = all.len() - r.rest().len();
            let bits = match depth {
                GlyphDepth::A1 => 1,
                GlyphDepth::A4 => 4,
                GlyphDepth::A8 => 8,
            };
            r.bytes((usize::from(width) * bits).div_ceil(8) * usize::from(height)).unwrap();
            let data = start..all.len() - r.rest().len();
            glyphs.push(Glyph { render_pos, origin, width, height, data });
        }
        let data = Arc::new(all[..all.len() - r.rest().len()].to_vec());
        self.took(start, &r);
        Text {
            depth,
            top_down: flags & 8 != 0,
            glyphs: Arc::new(glyphs),
            data,
            back_area: self.r.rect().unwrap(),
            fore_brush: self.brush(),
            back_brush: self.brush(),
            fore_mode: self.r.u16().unwrap(),
            back_mode: self.r.u16().unwrap(),
        }
    }

    fn scale_mode(&mut self) -> bool {
        match self.r.u8().unwrap() {
            0 => false,
            1 => true,
            other => panic!("scale mode {other}"),
        }
    }

    fn brush(&mut self) -> Brush {
        match self.r.u8().unwrap() {
            0 => Brush::None,
            1 => Brush::Solid(self.r.u32().unwrap()),
            2 => Brush::Pattern { image: self.image().unwrap(), pos: self.r.point().unwrap() },
            other => panic!("brush {other}"),
        }
    }

    fn mask(&mut self) -> Mask {
        let flags = self.r.u8().unwrap();
        assert!(flags < 2);
        let pos = self.r.point().unwrap();
        let image = self.image();
        if let Some(Image { kind: ImageKind::Bitmap(bitmap), .. }) = &image {
            assert!(bitmap.palette.is_none(), "mask with palette");
        }
        Mask { inverse: flags == 1, pos, image }
    }

    fn image(&mut self) -> Option<Image> {
        let start = self.r.u32().unwrap() as usize;
        if start == 0 {
            return None;
        }
        let mut r = self.at(start);
        let id = r.u64().unwrap();
        let image_type = r.u8().unwrap();
        let flags = r.u8().unwrap();
        assert_eq!(flags & !2, 0, "nothing is cached yet");
        let (width, height) = (r.u32().unwrap(), r.u32().unwrap());
        let kind = match image_type {
            0 => {
                let format = BitmapFormat::from_u8(r.u8().unwrap()).unwrap();
                let bitmap_flags = r.u8().unwrap();
                assert_eq!(bitmap_flags & !4, 0);
                assert_eq!((r.u32().unwrap(), r.u32().unwrap()), (width, height));
                let stride = r.u32().unwrap();
                let palette = r.u32().unwrap() as usize;
                let palette = (palette != 0).then(|| self.palette(palette));
                let data = r.bytes(stride as usize * height as usize).unwrap().to_vec();
                ImageKind::Bitmap(Bitmap {
                    format,
                    top_down: bitmap_flags == 4,
                    width,
                    height,
                    stride,
                    palette,
                    data: data.into(),
                })
            }
            104 => {
                assert_eq!((id, flags), (0, 0));
                ImageKind::Surface(r.u32().unwrap())
            }
            other => panic!("image type {other}"),
        };
        self.took(start, &r);
        Some(Image { id, flags, width, height, kind })
    }

    fn palette(&mut self, start: usize) -> Arc<Palette> {
        let mut r = self.at(start);
        let unique = r.u64().unwrap();
        let count = r.u16().unwrap();
        let entries = (0..count).map(|_| r.u32().unwrap()).collect();
        self.took(start, &r);
        Arc::new(Palette { unique, entries })
    }
}

/// Used by tests to name a corner.
pub fn point(x: i32, y: i32) -> Point {
    Point { x, y }
}

/// Used by tests to name a box.
pub fn rect(left: i32, top: i32, right: i32, bottom: i32) -> Rect {
    Rect { top, left, bottom, right }
}
