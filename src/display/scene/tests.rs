//! Pictures that wait change nothing that anybody can see: against surfaces on which everything is drawn at once.

use super::*;
use crate::protocol::geometry::Point;
use crate::qxl::model::{BitmapFormat, Brush, DrawOp, Mask, SurfaceFormat};

const SIZE: (u32, u32) = (40, 30);

struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(n)).unwrap()
    }

    fn rect(&mut self, width: u32, height: u32) -> Rect {
        let (w, h) = (1 + self.below(width), 1 + self.below(height));
        let place = |n: u32| i32::try_from(n).unwrap();
        let (x, y) = (self.below(width - w + 1), self.below(height - h + 1));
        Rect::from_size(place(x), place(y), w, h)
    }

    fn image(&mut self, width: u32, height: u32) -> Image {
        let kind = if self.below(5) == 0 {
            ImageKind::Surface(self.below(3))
        } else {
            let format = [BitmapFormat::Bit32, BitmapFormat::Rgba][self.below(2) as usize];
            let stride = width * 4;
            let data: Vec<u8> =
                (0..stride * height).map(|_| u8::try_from(self.below(256)).unwrap()).collect();
            let data = data.into();
            let top_down = self.below(2) == 0;
            ImageKind::Bitmap(Bitmap {
                format,
                top_down,
                width,
                height,
                stride,
                palette: None,
                data,
            })
        };
        Image { id: 1, flags: 0, width, height, kind }
    }

    fn drawable(&mut self) -> Drawable {
        let bbox = self.rect(SIZE.0, SIZE.1);
        let rop = [8, 8, 8, 64][self.below(4) as usize];
        let mask = Mask::default();
        let op = match self.below(8) {
            0 => DrawOp::Fill { brush: Brush::Solid(self.below(u32::MAX)), rop, mask },
            1 => DrawOp::Whiteness { mask },
            2 => DrawOp::Invers { mask },
            3 => {
                let from = self.rect(SIZE.0, SIZE.1);
                DrawOp::CopyBits { src: Point { x: from.left, y: from.top } }
            }
            n => {
                // Sometimes scaled, sometimes a part that does not lie in the picture.
                let (w, h) = if n == 4 { (7, 5) } else { (bbox.width() + 3, bbox.height() + 2) };
                let src = self.image(w, h);
                let by = if self.below(6) == 0 { 4 } else { 1 };
                let area = Rect::from_size(by, 2, bbox.width(), bbox.height());
                let src_area = if n == 4 { Rect::from_size(0, 0, 7, 5) } else { area };
                DrawOp::Copy { src, src_area, rop, nearest: false, mask, blend: false }
            }
        };
        let clip = (self.below(3) == 0).then(|| {
            let clips: Vec<Rect> =
                (0..1 + self.below(3)).map(|_| self.rect(SIZE.0, SIZE.1)).collect();
            Arc::new(clips)
        });
        Drawable {
            surface_id: self.below(3),
            effect: 1,
            bbox,
            clip,
            mm_time: 0,
            self_bitmap_area: None,
            reads: Vec::new(),
            op,
        }
    }
}

type Surfaces = HashMap<u32, Surface, BuildHasherDefault<IdHasher>>;

fn surfaces() -> Surfaces {
    let formats = [SurfaceFormat::Xrgb, SurfaceFormat::Argb, SurfaceFormat::Rgb565];
    let target = |format| Target::owned(format, SIZE.0, SIZE.1).unwrap();
    (0..).zip(formats).map(|(id, format)| (id, Surface::new(id, target(format)))).collect()
}

fn pixels(surface: &Surface) -> Vec<u8> {
    let mut row =
        vec![0; SIZE.0 as usize * super::super::canvas::target::pixel_bytes(surface.format())];
    let mut all = Vec::new();
    for y in 0..SIZE.1 {
        surface.target().read_row(y, 0, &mut row);
        all.extend_from_slice(&row);
    }
    all
}

#[test]
fn whoever_looks_sees_everything_drawn() {
    let (mut waited, mut drawn) = (0, 0);
    for seed in 1..400 {
        let mut random = Random(seed * 0x9e37_79b9);
        let mut scene = Scene { surfaces: surfaces(), ..Scene::default() };
        let mut twin = surfaces();
        for step in 0..60 {
            let drawable = random.drawable();
            let id = drawable.surface_id;
            let bounds = Rect::from_size(0, 0, SIZE.0, SIZE.1);
            let region = PipedDraw::new(drawable.clone(), bounds).region;
            let at_once = draw(&mut twin, &drawable, region.rects());
            let done = scene.execute(drawable);
            assert_eq!(done.is_ok(), at_once.is_ok(), "seed {seed} step {step}");
            waited += usize::from(!scene.deferred.is_empty());
            drawn += 1;
            match random.below(12) {
                0 => {
                    let (id, part) = (random.below(3), random.rect(SIZE.0, SIZE.1));
                    let ours = scene.read_image(id, &part).unwrap();
                    let theirs = twin[&id].read_image(part).unwrap();
                    assert_eq!(ours.0.data.to_vec(), theirs.bitmap.data.to_vec());
                }
                1 => {
                    scene.settle(id);
                    assert_eq!(pixels(&scene.surfaces[&id]), pixels(&twin[&id]));
                }
                _ => {}
            }
        }
        scene.settle_all();
        for id in 0..3 {
            assert_eq!(pixels(&scene.surfaces[&id]), pixels(&twin[&id]), "seed {seed}");
            let dirty = |s: Option<&mut Surface>| Region::from_rects(&s.unwrap().take_dirty());
            assert_eq!(dirty(scene.surfaces.get_mut(&id)), dirty(twin.get_mut(&id)));
        }
    }
    assert!(waited > drawn / 3, "{waited} of {drawn}");
}

#[test]
fn few_pictures_wait_and_none_outlives_its_surface() {
    let mut scene = Scene { surfaces: surfaces(), ..Scene::default() };
    let mut random = Random(77);
    let mut put = |scene: &mut Scene, y: i32| {
        let mut drawable = random.drawable();
        let mut src = random.image(20, 4);
        while matches!(src.kind, ImageKind::Surface(_)) {
            src = random.image(20, 4);
        }
        (drawable.surface_id, drawable.clip) = (0, None);
        drawable.bbox = Rect::from_size(0, y, 20, 4);
        drawable.op = DrawOp::Copy {
            src,
            src_area: Rect::from_size(0, 0, 20, 4),
            rop: 8,
            nearest: false,
            mask: Mask::default(),
            blend: false,
        };
        scene.execute(drawable).unwrap()
    };
    let first = put(&mut scene, 0);
    assert_eq!(Arc::strong_count(&first), 2, "it waits");
    put(&mut scene, 0);
    assert_eq!(Arc::strong_count(&first), 1, "it is covered");
    let second = put(&mut scene, 0);
    (1..6).for_each(|n| drop(put(&mut scene, 4 * n)));
    assert_eq!(Arc::strong_count(&second), 1, "it is painted, others came");
    let last = put(&mut scene, 24);
    assert_eq!(Arc::strong_count(&last), 2);
    scene.destroy(0);
    assert_eq!(Arc::strong_count(&last), 1);
    assert!(scene.deferred.is_empty());
}

/// Moves, large and small ones, the same ones again and again, with what drivers draw on top of them.
#[test]
fn whoever_looks_sees_everything_moved() {
    let (mut behind, mut drawn) = (0, 0);
    for seed in 1..300 {
        let mut random = Random(seed * 0x517c_c1b7);
        let mut scene = Scene { surfaces: surfaces(), ..Scene::default() };
        let mut twin = surfaces();
        let mut last = random.drawable();
        for step in 0..60 {
            let mut drawable = if random.below(3) == 0 { last.clone() } else { random.drawable() };
            if random.below(2) == 0 {
                let (left, top) = (drawable.bbox.left, drawable.bbox.top);
                let by = i32::try_from(random.below(5)).unwrap() - 2;
                let src = [Point { x: left, y: top + by }, Point { x: left + by, y: top }];
                drawable.op = DrawOp::CopyBits { src: src[random.below(2) as usize] };
            }
            last = drawable.clone();
            let bounds = Rect::from_size(0, 0, SIZE.0, SIZE.1);
            let region = PipedDraw::new(drawable.clone(), bounds).region;
            let at_once = draw(&mut twin, &drawable, region.rects());
            let done = scene.execute(drawable);
            assert_eq!(done.is_ok(), at_once.is_ok(), "seed {seed} step {step}");
            behind += usize::from(scene.is_behind());
            drawn += 1;
            match random.below(10) {
                0 => {
                    let (id, part) = (random.below(3), random.rect(SIZE.0, SIZE.1));
                    let ours = scene.read_image(id, &part).unwrap();
                    let theirs = twin[&id].read_image(part).unwrap();
                    assert_eq!(
                        ours.0.data.to_vec(),
                        theirs.bitmap.data.to_vec(),
                        "seed {seed} step {step}"
                    );
                }
                1 => scene.catch_up(1),
                _ => {}
            }
        }
        scene.settle_all();
        assert!(!scene.is_behind());
        for id in 0..3 {
            assert_eq!(pixels(&scene.surfaces[&id]), pixels(&twin[&id]), "seed {seed}");
            let dirty = |s: Option<&mut Surface>| Region::from_rects(&s.unwrap().take_dirty());
            assert_eq!(dirty(scene.surfaces.get_mut(&id)), dirty(twin.get_mut(&id)));
        }
    }
    assert!(behind > drawn / 5, "{behind} of {drawn}");
}
