//! Every draw message against a decoder that was written from the specification.

use std::sync::Arc;

use super::decode::{decode, flatten, point, rect};
use super::*;
use crate::protocol::geometry::Point16;
use crate::protocol::message::{Bulk, Message};
use crate::qxl::model::{BitmapFormat, Glyph, GlyphDepth, Palette, PathPoint, Segment};

fn bitmap(format: BitmapFormat, width: u32, height: u32, palette: usize) -> Bitmap {
    let stride = (width * format.bits()).div_ceil(8).next_multiple_of(4);
    let data: Vec<u8> = (0..stride * height).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let entries = (0..u32::try_from(palette).unwrap()).map(|i| i * 0x10203).collect();
    Bitmap {
        format,
        top_down: height.is_multiple_of(2),
        width,
        height,
        stride,
        palette: (palette > 0).then(|| Arc::new(Palette { unique: 77, entries })),
        data: data.into(),
    }
}

fn image(bitmap: Bitmap) -> Image {
    let (width, height) = (bitmap.width, bitmap.height);
    Image { id: 0xabc, flags: 3, width, height, kind: ImageKind::Bitmap(bitmap) }
}

fn surface(id: u32) -> Image {
    // A driver's garbage in every field that the server must not pass on.
    Image { id: 99, flags: 0xff, width: 1, height: 2, kind: ImageKind::Surface(id) }
}

fn drawable(op: DrawOp) -> Drawable {
    Drawable {
        surface_id: 3,
        effect: 1,
        bbox: rect(1, 2, 30, 40),
        clip: Some(Arc::new(vec![rect(1, 2, 3, 4), rect(5, 6, 7, 8)])),
        mm_time: 0,
        self_bitmap_area: None,
        reads: Vec::new(),
        op,
    }
}

fn sizes(id: u32) -> Option<(u32, u32)> {
    (id == 5).then_some((640, 480))
}

fn encode(drawable: &Drawable) -> Result<Message, EncodeError> {
    encode_drawable(drawable, &sizes, &mut RawImages)?.finish()
}

fn mask(bitmap: Bitmap) -> Mask {
    Mask { inverse: true, pos: point(-3, 4), image: Some(image(bitmap)) }
}

/// What a decoded drawable must look like, given what went in.
fn text(drawable: &Drawable) -> String {
    format!("{} {:?} {:?} {:?}", drawable.surface_id, drawable.bbox, drawable.clip, drawable.op)
}

/// The drawable as the wire shows it: cache flags gone, mask palettes gone, surface facts right.
fn as_sent(mut drawable: Drawable) -> Drawable {
    fn fix(image: &mut Image, is_mask: bool) {
        match &mut image.kind {
            ImageKind::Surface(_) => {
                (image.id, image.flags, image.width, image.height) = (0, 0, 640, 480);
            }
            ImageKind::Bitmap(bitmap) => {
                image.flags &= 2;
                if is_mask || !bitmap.format.is_indexed() {
                    bitmap.palette = None;
                }
            }
        }
    }
    let fix_brush = |brush: &mut Brush| {
        if let Brush::Pattern { image, .. } = brush {
            fix(image, false);
        }
    };
    let mask = match &mut drawable.op {
        DrawOp::Fill { brush, mask, .. } => {
            fix_brush(brush);
            mask
        }
        DrawOp::Opaque { src, brush, mask, .. } => {
            fix(src.as_mut().unwrap(), false);
            fix_brush(brush);
            mask
        }
        DrawOp::Copy { src, mask, .. } => {
            fix(src, false);
            mask
        }
        DrawOp::Blackness { mask } | DrawOp::Whiteness { mask } | DrawOp::Invers { mask } => mask,
        DrawOp::Rop3 { src, brush, mask, .. } => {
            fix(src.as_mut().unwrap(), false);
            fix_brush(brush);
            mask
        }
        DrawOp::Transparent { src, .. } | DrawOp::AlphaBlend { src, .. } => {
            fix(src.as_mut().unwrap(), false);
            return drawable;
        }
        DrawOp::Stroke(stroke) => {
            fix_brush(&mut stroke.brush);
            return drawable;
        }
        DrawOp::Text(text) => {
            fix_brush(&mut text.fore_brush);
            fix_brush(&mut text.back_brush);
            text.fore_mode = ROP_PUT;
            return drawable;
        }
        DrawOp::Composite(composite) => {
            composite.src.iter_mut().chain(&mut composite.mask).for_each(|i| fix(i, false));
            return drawable;
        }
        DrawOp::CopyBits { .. } => return drawable,
    };
    if let Some(image) = &mut mask.image {
        fix(image, true);
    }
    drawable
}

#[test]
fn every_operation_survives_the_wire() {
    let brushes = || {
        [
            Brush::None,
            Brush::Solid(0x0012_3456),
            Brush::Pattern {
                image: image(bitmap(BitmapFormat::Bit8, 9, 4, 256)),
                pos: point(-7, 1),
            },
            Brush::Pattern { image: surface(5), pos: point(-2, -3) },
        ]
    };
    let masks = || {
        [
            Mask::default(),
            mask(bitmap(BitmapFormat::Bit1Le, 29, 38, 2)),
            Mask { inverse: false, pos: point(0, 0), image: Some(surface(5)) },
        ]
    };
    let sources = || {
        [
            image(bitmap(BitmapFormat::Bit32, 29, 38, 0)),
            image(bitmap(BitmapFormat::Bit4Be, 29, 37, 16)),
            image(bitmap(BitmapFormat::Bit24, 2, 1, 5)),
            surface(5),
        ]
    };
    let area = rect(0, 0, 29, 38);
    let mut ops = vec![DrawOp::CopyBits { src: point(7, -8) }];
    for mask in masks() {
        ops.push(DrawOp::Blackness { mask: mask.clone() });
        ops.push(DrawOp::Whiteness { mask: mask.clone() });
        ops.push(DrawOp::Invers { mask: mask.clone() });
        for brush in brushes() {
            ops.push(DrawOp::Fill { brush: brush.clone(), rop: 64, mask: mask.clone() });
            for src in sources() {
                ops.push(DrawOp::Opaque {
                    src: Some(src),
                    src_area: area,
                    brush: brush.clone(),
                    rop: 0x402,
                    nearest: true,
                    mask: mask.clone(),
                });
            }
            for src in sources() {
                ops.push(DrawOp::Rop3 {
                    src: Some(src),
                    src_area: area,
                    brush: brush.clone(),
                    code: 0xe2,
                    nearest: false,
                    mask: mask.clone(),
                });
            }
        }
        for (n, src) in sources().into_iter().enumerate() {
            ops.push(DrawOp::Copy {
                src,
                src_area: area,
                rop: 8,
                nearest: false,
                mask: mask.clone(),
                blend: n % 2 == 0,
            });
        }
    }
    for brush in brushes() {
        let at = |x, y| PathPoint { x, y };
        let segment = |flags, points: &[PathPoint]| Segment { flags, points: points.to_vec() };
        let path = [
            segment(1, &[at(1, -2), at(i32::MAX, 3)]),
            segment(2 | 8 | 16, &[at(1, 2), at(3, 4), at(5, 6)]),
            segment(2, &[]),
        ];
        for style in [None, Some(vec![16, -3, i32::MAX])] {
            ops.push(DrawOp::Stroke(Box::new(Stroke {
                path: Arc::new(path.to_vec()),
                flags: if style.is_some() { 12 } else { 0 },
                style,
                brush: brush.clone(),
                fore_mode: 64,
                back_mode: 7,
            })));
        }
        for (depth, rows) in [(GlyphDepth::A1, 6), (GlyphDepth::A4, 15), (GlyphDepth::A8, 27)] {
            let (mut data, mut glyphs) = (Vec::new(), Vec::new());
            for _ in 0..2 {
                data.put_point(point(-1, 5)).put_point(point(2, i32::MIN)).put_u16(9).put_u16(3);
                let start = data.len();
                data.extend((0..rows).map(|n| n ^ 0x5a));
                glyphs.push(Glyph {
                    render_pos: point(-1, 5),
                    origin: point(2, i32::MIN),
                    width: 9,
                    height: 3,
                    data: start..data.len(),
                });
            }
            ops.push(DrawOp::Text(Box::new(Text {
                depth,
                top_down: rows == 15,
                glyphs: Arc::new(glyphs),
                data: Arc::new(data),
                back_area: rect(1, 2, 3, 4),
                fore_brush: brush.clone(),
                back_brush: Brush::Solid(rows.into()),
                fore_mode: 16,
                back_mode: 32,
            })));
        }
    }
    for src in sources() {
        ops.push(DrawOp::Transparent {
            src: Some(src.clone()),
            src_area: area,
            src_color: 0x0102_0304,
            true_color: 0x0506_0708,
        });
        for bits in 0..8u32 {
            let transform = |bit: u32| (bits & bit != 0).then_some([1, -2, 3, -4, 5, i32::MIN]);
            ops.push(DrawOp::Composite(Box::new(Composite {
                flags: 0x0145_4203 | bits << 19,
                src: Some(src.clone()),
                src_transform: transform(2),
                mask: (bits & 1 != 0).then(|| image(bitmap(BitmapFormat::Alpha8, 5, 3, 0))),
                mask_transform: transform(4),
                src_origin: Point16 { x: -1, y: i16::MAX },
                mask_origin: Point16 { x: 2, y: i16::MIN },
            })));
        }
        ops.push(DrawOp::AlphaBlend { src: Some(src), src_area: area, flags: 3, alpha: 0x7e });
    }
    for op in ops {
        let drawable = drawable(op);
        let message = encode(&drawable).unwrap();
        assert_eq!(text(&decode(&message)), text(&as_sent(drawable)));
    }
}

#[test]
fn patterns_of_rop3_begin_within_a_tile_of_the_box() {
    // The box begins at 1,2; the tile has 9 by 4 pixels.
    let cases = [(-1, -1, -1, -1), (1, 2, 1, 2), (2, 3, -7, -1), (900, 400, 0, 0)];
    let far = [(i32::MIN, i32::MAX), (i32::MAX, i32::MIN)].map(|(x, y)| (x, y, i32::MIN, 0));
    for (x, y, near_x, near_y) in cases.into_iter().chain(far) {
        let tile = image(bitmap(BitmapFormat::Bit32, 9, 4, 0));
        let op = DrawOp::Rop3 {
            src: Some(image(bitmap(BitmapFormat::Bit32, 29, 38, 0))),
            src_area: rect(0, 0, 29, 38),
            brush: Brush::Pattern { image: tile, pos: point(x, y) },
            code: 0xe2,
            nearest: false,
            mask: Mask::default(),
        };
        let DrawOp::Rop3 { brush: Brush::Pattern { pos, .. }, .. } =
            decode(&encode(&drawable(op)).unwrap()).op
        else {
            panic!("not a pattern")
        };
        assert!((-8..=1).contains(&pos.x) && (-1..=2).contains(&pos.y), "{pos:?}");
        let whole = |a: i32, b: i32, size: i64| (i64::from(a) - i64::from(b)) % size == 0;
        assert!(whole(pos.x, x, 9) && whole(pos.y, y, 4), "{pos:?}");
        assert!(near_x == i32::MIN || pos == point(near_x, near_y), "{pos:?}");
    }
}

#[test]
fn a_copy_has_the_bytes_of_the_specification() {
    let source = image(bitmap(BitmapFormat::Bit32, 1, 2, 0));
    let mut d = drawable(DrawOp::Copy {
        src: source,
        src_area: rect(0, 0, 1, 2),
        rop: 8,
        nearest: false,
        mask: Mask::default(),
        blend: false,
    });
    d.clip = None;
    d.bbox = rect(10, 20, 11, 22);
    let message = encode(&d).unwrap();
    assert_eq!(message.kind, 304);
    let mut want = Vec::new();
    want.put_u32(3).put_i32(20).put_i32(10).put_i32(22).put_i32(11).put_u8(0);
    // 4 surface + 16 box + 1 clip + 4 pointer + 16 area + 2 rop + 1 scale + 13 mask = 57
    want.put_u32(57).put_i32(0).put_i32(0).put_i32(2).put_i32(1).put_u16(8).put_u8(0);
    want.put_u8(0).put_u32(0).put_u32(0).put_u32(0);
    want.put_u64(0xabc).put_u8(0).put_u8(2).put_u32(1).put_u32(2);
    want.put_u8(8).put_u8(4).put_u32(1).put_u32(2).put_u32(4).put_u32(0);
    want.put_bytes(&[0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(flatten(&message), want);
}

#[test]
fn pixels_are_sent_by_reference() {
    let source = bitmap(BitmapFormat::Bit32, 64, 64, 0);
    let pattern = bitmap(BitmapFormat::Bit32, 8, 8, 0);
    let (a, b) = (source.data.clone(), pattern.data.clone());
    let message = encode(&drawable(DrawOp::Opaque {
        src: Some(image(source)),
        src_area: rect(0, 0, 64, 64),
        brush: Brush::Pattern { image: image(pattern), pos: point(0, 0) },
        rop: 8,
        nearest: false,
        mask: Mask::default(),
    }))
    .unwrap();
    let shared = |data: &Bulk| message.bulk.iter().any(|b| b.is_same(data));
    assert!(shared(&a) && shared(&b));
    assert!(message.body.len() < 250);
}

#[test]
fn what_cannot_be_sent_is_an_error_not_a_broken_message() {
    let fill = |image| DrawOp::Fill {
        brush: Brush::Pattern { image, pos: point(0, 0) },
        rop: 8,
        mask: Mask::default(),
    };
    let error = |op| encode(&drawable(op)).unwrap_err();
    assert_eq!(error(fill(surface(6))), EncodeError::UnknownSurface(6));
    let mut short = bitmap(BitmapFormat::Bit32, 4, 4, 0);
    short.data = vec![0; 63].into();
    assert_eq!(error(fill(image(short))), EncodeError::ShortBitmap { have: 63, need: 64 });
    let null = DrawOp::Opaque {
        src: None,
        src_area: rect(0, 0, 1, 1),
        brush: Brush::None,
        rop: 8,
        nearest: false,
        mask: Mask::default(),
    };
    assert_eq!(error(null), EncodeError::NullSource);
}

#[test]
fn images_of_the_server_have_ids_of_their_own_group() {
    let mut ids = ServerImageIds::default();
    let band = bitmap(BitmapFormat::Bit32, 3, 2, 0);
    let id = ids.next_id();
    assert_eq!(id, 0x1_0000_0002);
    assert_eq!(ids.next_id(), 0x2_0000_0002);
    let at = rect(5, 6, 8, 8);
    let draft = encode_image_copy(0, &at, band, 2, id, &mut RawImages).unwrap();
    let message = draft.finish().unwrap();
    let got = decode(&message);
    assert_eq!((got.surface_id, got.bbox, got.clip), (0, at, None));
    let DrawOp::Copy { src, src_area, rop, .. } = got.op else { panic!("not a copy") };
    assert_eq!((src.id, src.flags, src_area, rop), (id, 2, rect(0, 0, 3, 2), ROP_PUT));
}
