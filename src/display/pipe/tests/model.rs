//! The model: surfaces as plain numbers, one naive executor for both sides, a strict client.

use super::*;

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Canvas {
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) pixels: Vec<u32>,
}

pub(super) fn index(x: i32, y: i32, width: i32) -> usize {
    usize::try_from(y * width + x).unwrap()
}

impl Canvas {
    pub(super) fn new(width: i32, height: i32) -> Self {
        Self { width, height, pixels: vec![0; index(0, height, width)] }
    }

    pub(super) fn bounds(&self) -> Rect {
        rect(0, 0, self.width, self.height)
    }

    pub(super) fn get(&self, x: i32, y: i32) -> Option<u32> {
        self.bounds()
            .contains(&rect(x, y, x + 1, y + 1))
            .then(|| self.pixels[index(x, y, self.width)])
    }
}

#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) surfaces: BTreeMap<u32, Canvas>,
}

impl World {
    pub(super) fn load(&self, image: &Image) -> Canvas {
        match &image.kind {
            ImageKind::Surface(id) => self.surfaces[id].clone(),
            ImageKind::Bitmap(b) => {
                let size = |n: u32| i32::try_from(n).unwrap();
                let mut canvas = Canvas::new(size(b.width), size(b.height));
                for y in 0..b.height {
                    let row = if b.top_down { y } else { b.height - 1 - y } * b.stride;
                    for x in 0..b.width {
                        let byte = |n: u32| u32::from(b.data[(row + n) as usize]);
                        let value = match b.format {
                            BitmapFormat::Bit32 => (0..4).map(|n| byte(4 * x + n) << (8 * n)).sum(),
                            BitmapFormat::Bit8 => {
                                b.palette.as_ref().unwrap().entries[byte(x) as usize]
                            }
                            BitmapFormat::Bit1Be => byte(x / 8) >> (7 - x % 8) & 1,
                            other => panic!("{other:?} is not in the model"),
                        };
                        canvas.pixels[index(size(x), size(y), canvas.width)] = value;
                    }
                }
                canvas
            }
        }
    }

    pub(super) fn execute(&mut self, drawable: &Drawable) {
        let before = self.surfaces[&drawable.surface_id].clone();
        let bbox = drawable.bbox;
        let (mask, brush, rop) = match &drawable.op {
            DrawOp::Fill { mask, brush, rop } | DrawOp::Opaque { mask, brush, rop, .. } => {
                (Some(mask), Some(brush), *rop)
            }
            DrawOp::Copy { mask, rop, .. } => (Some(mask), None, *rop),
            DrawOp::Rop3 { mask, brush, .. } => (Some(mask), Some(brush), 8),
            DrawOp::Transparent { .. } | DrawOp::AlphaBlend { .. } => (None, None, 8),
            DrawOp::Blackness { mask } | DrawOp::Whiteness { mask } | DrawOp::Invers { mask } => {
                (Some(mask), None, 8)
            }
            DrawOp::CopyBits { .. } => (None, None, 8),
            DrawOp::Composite(_) | DrawOp::Stroke(_) | DrawOp::Text(_) => {
                panic!("not in the model")
            }
        };
        let masked = mask.and_then(|m| Some((m, self.load(m.image.as_ref()?))));
        let tile = match brush {
            Some(Brush::Pattern { image, pos }) => Some((self.load(image), *pos)),
            _ => None,
        };
        let source = match &drawable.op {
            DrawOp::Copy { src, src_area, .. }
            | DrawOp::Opaque { src: Some(src), src_area, .. }
            | DrawOp::Rop3 { src: Some(src), src_area, .. }
            | DrawOp::Transparent { src: Some(src), src_area, .. }
            | DrawOp::AlphaBlend { src: Some(src), src_area, .. } => {
                Some((self.load(src), *src_area))
            }
            DrawOp::Opaque { src: None, src_area, .. } => Some((before.clone(), *src_area)),
            DrawOp::CopyBits { src } => {
                let size = (bbox.width(), bbox.height());
                Some((before.clone(), Rect::from_size(src.x, src.y, size.0, size.1)))
            }
            _ => None,
        };
        let out = self.surfaces.get_mut(&drawable.surface_id).unwrap();
        let area = bbox.intersect(&before.bounds());
        for y in area.top..area.bottom {
            for x in area.left..area.right {
                let here = rect(x, y, x + 1, y + 1);
                if drawable.clip.as_ref().is_some_and(|c| !c.iter().any(|r| r.contains(&here))) {
                    continue;
                }
                if let Some((mask, bits)) = &masked {
                    let bit = bits.get(x - bbox.left + mask.pos.x, y - bbox.top + mask.pos.y);
                    if bit.is_none_or(|bit| (bit & 1 == 1) == mask.inverse) {
                        continue;
                    }
                }
                let old = before.pixels[index(x, y, before.width)];
                let paint = match (&tile, brush) {
                    (Some((tile, pos)), _) => tile
                        .get(
                            (x - pos.x).rem_euclid(tile.width),
                            (y - pos.y).rem_euclid(tile.height),
                        )
                        .unwrap(),
                    (None, Some(Brush::Solid(color))) => *color,
                    _ => 0,
                };
                let src = match &source {
                    None => None,
                    Some((image, from)) => {
                        // Nearest, good enough for both sides of a model.
                        let scale = |n: i32, from: u32, to: u32| {
                            let n = u32::try_from(n).unwrap() * from / to;
                            i32::try_from(n).unwrap()
                        };
                        let sx = from.left + scale(x - bbox.left, from.width(), bbox.width());
                        let sy = from.top + scale(y - bbox.top, from.height(), bbox.height());
                        let Some(value) = image.get(sx, sy) else { continue };
                        Some(value)
                    }
                };
                let value = match &drawable.op {
                    DrawOp::Fill { .. } => combine(rop, paint, old),
                    DrawOp::Opaque { .. } => combine(rop, paint, src.unwrap()),
                    DrawOp::Copy { .. } => combine(rop, src.unwrap(), old),
                    DrawOp::CopyBits { .. } => src.unwrap(),
                    DrawOp::Blackness { .. } => 0,
                    DrawOp::Whiteness { .. } => u32::MAX,
                    DrawOp::Invers { .. } => !old,
                    DrawOp::Composite(_) | DrawOp::Stroke(_) | DrawOp::Text(_) => unreachable!(),
                    DrawOp::Rop3 { code, .. } => {
                        let bit = |n: u32| {
                            let of = |v: u32| v >> n & 1;
                            let index = of(paint) << 2 | of(src.unwrap()) << 1 | of(old);
                            (u32::from(*code) >> index & 1) << n
                        };
                        (0..32).map(bit).sum()
                    }
                    DrawOp::Transparent { true_color, .. } => match src.unwrap() {
                        value if value == *true_color => old,
                        value => value,
                    },
                    // Any function of both will do: the point is who has seen which pixels.
                    DrawOp::AlphaBlend { alpha, .. } => {
                        src.unwrap().wrapping_mul(u32::from(*alpha)).wrapping_add(old)
                    }
                };
                out.pixels[index(x, y, before.width)] = value;
            }
        }
    }
}

pub(super) fn combine(rop: u16, a: u32, b: u32) -> u32 {
    match rop {
        0 | 8 => a,
        16 => a | b,
        32 => a & b,
        64 => a ^ b,
        128 => 0,
        256 => u32::MAX,
        512 => !b,
        other => panic!("rop {other} is not in the model"),
    }
}

impl SurfaceReader for World {
    fn read_image(&mut self, surface_id: u32, rect: &Rect) -> Option<(Bitmap, u8)> {
        let canvas = self.surfaces.get(&surface_id)?;
        assert!(!rect.is_empty() && canvas.bounds().contains(rect), "{rect:?}");
        let mut data = Vec::new();
        for y in rect.top..rect.bottom {
            for x in rect.left..rect.right {
                data.extend_from_slice(&canvas.get(x, y).unwrap().to_le_bytes());
            }
        }
        Some((raw(rect.width(), rect.height(), data), 0))
    }
}

pub(super) fn raw(width: u32, height: u32, data: Vec<u8>) -> Bitmap {
    Bitmap {
        format: BitmapFormat::Bit32,
        top_down: true,
        width,
        height,
        stride: width * 4,
        palette: None,
        data: data.into(),
    }
}

/// What the client has, and what it is sure to complain about.
#[derive(Default)]
pub(super) struct Client {
    pub(super) world: World,
    pub(super) streams: super::streams::Player,
    pub(super) messages: Vec<u16>,
}

impl Client {
    pub(super) fn take(&mut self, message: &Message) {
        self.messages.push(message.kind);
        let field =
            |n: usize| u32::from_le_bytes(message.body[4 * n..4 * n + 4].try_into().unwrap());
        match message.kind {
            314 => {
                let size = |n| i32::try_from(field(n)).unwrap();
                let old = self.world.surfaces.insert(field(0), Canvas::new(size(1), size(2)));
                assert!(old.is_none(), "surface {} created twice", field(0));
                assert_eq!((field(3), field(4)), (32, u32::from(field(0) == 0)));
                assert_eq!(message.len(), 20);
            }
            315 => {
                assert!(self.world.surfaces.remove(&field(0)).is_some());
                assert_eq!(message.len(), 4);
            }
            102 => assert!(self.world.surfaces.contains_key(&0), "mark without primary"),
            317 => {}
            122 | 123 | 124 | 125 | 316 | 319 => self.streams.take(message, &mut self.world),
            _ => {
                let drawable = decode(message);
                self.check_images(&drawable);
                self.world.execute(&drawable);
            }
        }
    }

    pub(super) fn check_images(&self, drawable: &Drawable) {
        let check = |image: &Image| {
            if let ImageKind::Surface(id) = image.kind {
                let canvas = &self.world.surfaces[&id];
                let size = (i32::try_from(image.width), i32::try_from(image.height));
                assert_eq!(size, (Ok(canvas.width), Ok(canvas.height)));
                // Stock clients read and write in any order there; patterns and masks as well.
                let own = id == drawable.surface_id;
                let covered = match &drawable.op {
                    DrawOp::Copy { src_area, .. }
                    | DrawOp::Opaque { src_area, .. }
                    | DrawOp::Rop3 { src_area, .. }
                    | DrawOp::Transparent { src_area, .. }
                    | DrawOp::AlphaBlend { src_area, .. } => Region::from_rect(*src_area),
                    _ => Region::from_rect(canvas.bounds()),
                };
                let draw = PipedDraw::new(drawable.clone(), canvas.bounds());
                assert!(!own || !draw.region.intersects(&covered));
            }
        };
        if let DrawOp::Copy { src, .. }
        | DrawOp::Opaque { src: Some(src), .. }
        | DrawOp::Rop3 { src: Some(src), .. }
        | DrawOp::Transparent { src: Some(src), .. }
        | DrawOp::AlphaBlend { src: Some(src), .. } = &drawable.op
        {
            check(src);
        }
        if let DrawOp::Fill { brush: Brush::Pattern { image, .. }, .. } = &drawable.op {
            check(image);
        }
    }
}
