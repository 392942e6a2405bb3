//! What can happen to a session, at random.

use super::*;

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "few steps, and most are draws")]
pub(super) enum Step {
    Draw(Drawable),
    Create(u32, i32, i32),
    Destroy(u32),
    Read(usize),
    Drain,
    Reconnect,
}

pub(super) fn any_rect() -> impl Strategy<Value = Rect> {
    (0..12i32, 0..10i32, 1..9i32, 1..9i32).prop_map(|(x, y, w, h)| rect(x, y, x + w, y + h))
}

/// An image whose pixels tell where it came from.
pub(super) fn filled(width: u32, height: u32, seed: u32) -> Image {
    let pixels = (0..width * height).flat_map(|n| seed.wrapping_mul(n + 1).to_le_bytes()).collect();
    let kind = ImageKind::Bitmap(raw(width, height, pixels));
    Image { id: 1, flags: 0, width, height, kind }
}

pub(super) fn any_image() -> impl Strategy<Value = Image> {
    let bitmap = (1..8u32, 1..8u32, any::<u32>(), any::<bool>()).prop_map(|(w, h, seed, top)| {
        let mut pixels = Vec::new();
        for n in 0..w * h {
            pixels.extend_from_slice(&seed.wrapping_mul(n + 1).to_le_bytes());
        }
        let mut bitmap = raw(w, h, pixels);
        bitmap.top_down = top;
        if seed.is_multiple_of(3) {
            bitmap.format = BitmapFormat::Bit8;
            let entries = (0..256).map(|n: u32| n.wrapping_mul(seed)).collect();
            bitmap.palette = Some(Arc::new(Palette { unique: 0, entries }));
        }
        ImageKind::Bitmap(bitmap)
    });
    prop_oneof![bitmap, (0..SURFACES).prop_map(ImageKind::Surface)].prop_map(|kind| Image {
        id: 1,
        flags: 1,
        width: match &kind {
            ImageKind::Bitmap(b) => b.width,
            ImageKind::Surface(_) => 0,
        },
        height: match &kind {
            ImageKind::Bitmap(b) => b.height,
            ImageKind::Surface(_) => 0,
        },
        kind,
    })
}

pub(super) fn any_point() -> impl Strategy<Value = Point> {
    (-3..8i32, -3..8i32).prop_map(|(x, y)| point(x, y))
}

pub(super) fn any_mask() -> impl Strategy<Value = Mask> {
    let bits = (any_point(), any::<bool>(), any::<[u8; 8]>(), 1..9u32).prop_map(
        |(pos, inverse, data, height)| {
            let mut bitmap = raw(8, height, data.to_vec());
            bitmap.format = BitmapFormat::Bit1Be;
            bitmap.stride = 1;
            bitmap.top_down = true;
            let kind = ImageKind::Bitmap(bitmap);
            Mask { inverse, pos, image: Some(Image { id: 0, flags: 0, width: 8, height, kind }) }
        },
    );
    prop_oneof![6 => Just(Mask::default()), 1 => bits]
}

pub(super) fn any_rop() -> impl Strategy<Value = u16> {
    prop_oneof![6 => Just(8u16), 1 => prop::sample::select(vec![0, 16, 32, 64, 128, 256, 512])]
}

pub(super) fn any_brush() -> impl Strategy<Value = Brush> {
    prop_oneof![
        1 => Just(Brush::None),
        4 => any::<u32>().prop_map(Brush::Solid),
        2 => (any_image(), any_point()).prop_map(|(image, pos)| Brush::Pattern { image, pos }),
    ]
}

/// The part of the source: as large as the box in most cases, sometimes outside the image.
pub(super) fn source_area(bbox: &Rect, from: Point, scaled: bool) -> Rect {
    let (w, h) = if scaled { (3, 2) } else { (bbox.width(), bbox.height()) };
    Rect::from_size(from.x, from.y, w, h)
}

pub(super) fn any_draw() -> impl Strategy<Value = Drawable> {
    let op = prop_oneof![
        4 => (any_brush(), any_rop(), any_mask())
            .prop_map(|(brush, rop, mask)| DrawOp::Fill { brush, rop, mask }),
        6 => (any_image(), any_rop(), any_mask(), any::<bool>()).prop_map(
            |(src, rop, mask, blend)| DrawOp::Copy {
                src, src_area: Rect::default(), rop, nearest: true, mask, blend,
            }
        ),
        2 => (prop::option::of(any_image()), any_brush(), any_rop(), any_mask()).prop_map(
            |(src, brush, rop, mask)| DrawOp::Opaque {
                src, src_area: Rect::default(), brush, rop, nearest: true, mask,
            }
        ),
        2 => (any_image(), any_brush(), any::<u8>(), any_mask()).prop_map(
            |(src, brush, code, mask)| DrawOp::Rop3 {
                src: Some(src), src_area: Rect::default(), brush, code, nearest: true, mask,
            }
        ),
        2 => (any_image(), any::<u32>()).prop_map(|(src, true_color)| DrawOp::Transparent {
            src: Some(src), src_area: Rect::default(), src_color: 0, true_color,
        }),
        2 => (any_image(), any::<u8>(), 0..4u8).prop_map(|(src, alpha, flags)| DrawOp::AlphaBlend {
            src: Some(src), src_area: Rect::default(), flags, alpha,
        }),
        4 => any_point().prop_map(|src| DrawOp::CopyBits { src }),
        1 => any_mask().prop_map(|mask| DrawOp::Blackness { mask }),
        1 => any_mask().prop_map(|mask| DrawOp::Whiteness { mask }),
        2 => any_mask().prop_map(|mask| DrawOp::Invers { mask }),
    ];
    let clip = prop_oneof![
        3 => Just(None),
        1 => prop::collection::vec(any_rect(), 0..4).prop_map(|c| Some(Arc::new(c))),
    ];
    let dest = prop_oneof![1 => Just(0u32), 1 => 0..SURFACES];
    (dest, any_rect(), clip, op, any_point(), prop::bool::weighted(0.1), any::<Option<u32>>())
        .prop_map(|(surface_id, bbox, clip, mut op, from, scaled, fitting)| {
            if let DrawOp::Copy { src_area, .. }
            | DrawOp::Opaque { src_area, .. }
            | DrawOp::Rop3 { src_area, .. }
            | DrawOp::Transparent { src_area, .. }
            | DrawOp::AlphaBlend { src_area, .. } = &mut op
            {
                *src_area = source_area(&bbox, from, scaled);
            }
            // Half of the sources fill their box, as nearly all of a real guest do.
            if let DrawOp::Copy { src, src_area, .. }
            | DrawOp::Opaque { src: Some(src), src_area, .. }
            | DrawOp::Rop3 { src: Some(src), src_area, .. }
            | DrawOp::Transparent { src: Some(src), src_area, .. }
            | DrawOp::AlphaBlend { src: Some(src), src_area, .. } = &mut op
                && let Some(seed) = fitting
            {
                *src = filled(bbox.width(), bbox.height(), seed);
                *src_area = Rect::from_size(0, 0, src.width, src.height);
            }
            let mut reads = Vec::new();
            let mut note = |image: &Image| {
                if let ImageKind::Surface(id) = image.kind {
                    // What the guest names is not what keeps the picture right.
                    reads.push(SurfaceRead { surface_id: id, area: Rect::default() });
                }
            };
            match &op {
                DrawOp::Copy { src, .. } => note(src),
                DrawOp::Transparent { src, .. } | DrawOp::AlphaBlend { src, .. } => {
                    src.iter().for_each(&mut note);
                }
                DrawOp::Opaque { src, brush, .. } | DrawOp::Rop3 { src, brush, .. } => {
                    src.iter().for_each(&mut note);
                    if let Brush::Pattern { image, .. } = brush {
                        note(image);
                    }
                }
                DrawOp::Fill { brush: Brush::Pattern { image, .. }, .. } => note(image),
                _ => {}
            }
            Drawable {
                surface_id,
                effect: 0,
                bbox,
                clip,
                mm_time: 0,
                self_bitmap_area: None,
                reads,
                op,
            }
        })
}

pub(super) fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        24 => any_draw().prop_map(Step::Draw),
        4 => (1..SURFACES, 1..14i32, 1..12i32).prop_map(|(id, w, h)| Step::Create(id, w, h)),
        2 => (1..SURFACES).prop_map(Step::Destroy),
        1 => (8..14i32, 8..12i32).prop_map(|(w, h)| Step::Create(0, w, h)),
        8 => (1..6usize).prop_map(Step::Read),
        1 => Just(Step::Drain),
        1 => Just(Step::Reconnect),
    ]
}

pub(super) fn any_limits() -> impl Strategy<Value = Limits> {
    let bytes = prop_oneof![Just(600usize), Just(2000), Just(1 << 20)];
    let first_bytes = prop_oneof![Just(0usize), Just(1 << 20)];
    (0..12usize, bytes, 1..300usize, first_bytes, 1..8usize).prop_map(
        |(items, bytes, band_bytes, first_bytes, dirty_rects)| Limits {
            items,
            bytes,
            band_bytes,
            first_bytes,
            dirty_rects,
        },
    )
}
