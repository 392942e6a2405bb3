//! Clients that get images with losses: where the record says nothing, they have the server's pixels, and where it
//! speaks, pixels next to them.

use super::*;
use crate::display::encode::EncodeError;
use crate::display::encode::image::{ImageEncoder, Payload, Purpose};

/// Adds one to every pixel of images that may have losses: whatever combines bits with it makes more of it.
#[derive(Default)]
pub(super) struct LossyImages {
    pub(super) on: bool,
    lossy: bool,
}

impl ImageEncoder for LossyImages {
    fn image(
        &mut self,
        image: &Image,
        bitmap: &Bitmap,
        purpose: Purpose,
    ) -> Result<Payload, EncodeError> {
        let mut bitmap = bitmap.clone();
        if self.on && purpose.may_be_lossy && bitmap.format == BitmapFormat::Bit32 {
            let (pixels, _) = bitmap.data.as_chunks::<4>();
            let add = |pixel: &[u8; 4]| u32::from_le_bytes(*pixel).wrapping_add(1).to_le_bytes();
            bitmap.data = pixels.iter().flat_map(add).collect::<Vec<u8>>().into();
            self.lossy = true;
        }
        RawImages.image(image, &bitmap, purpose)
    }

    fn discard(&mut self) {
        self.lossy = false;
    }

    fn take_lossy(&mut self) -> bool {
        std::mem::take(&mut self.lossy)
    }
}

/// What a client that has read everything shows of a surface.
pub(super) fn compare(session: &Session, id: u32, shown: &Canvas) {
    let server = &session.server.surfaces[&id];
    assert_eq!((shown.width, shown.height), (server.width, server.height));
    let lossy = session.pipe.surfaces.get(&id).and_then(|s| session.pipe.losses.of(s.key()));
    for y in 0..shown.height {
        for x in 0..shown.width {
            let at = index(x, y, shown.width);
            let off = shown.pixels[at].wrapping_sub(server.pixels[at]);
            let recorded = lossy.is_some_and(|l| l.contains_rect(&rect(x, y, x + 1, y + 1)));
            let most = u32::from(recorded);
            assert!(off.wrapping_add(most) <= 2 * most, "{off:#x} at {x},{y} of {id}: {lossy:?}");
        }
    }
}

/// As with exact images; blends are left out, for the model's make anything of a difference.
fn run_lossy(limits: Limits, steps: Vec<Step>) {
    let mut session = Session::new(limits);
    session.images.on = true;
    for step in steps {
        match step {
            Step::Draw(Drawable { op: DrawOp::AlphaBlend { .. }, .. }) => {}
            Step::Draw(drawable) => session.draw(drawable),
            Step::Create(id, width, height) => session.create(id, width, height),
            Step::Destroy(id) => session.destroy(id),
            Step::Read(messages) => {
                session.read(messages);
            }
            Step::Drain => session.drain(),
            Step::Reconnect => session.reconnect(),
        }
        session.check();
        session.prune_early();
    }
    session.drain();
    // Records of surfaces that are gone are gone with them.
    let living = session.pipe.surfaces.len();
    assert!(session.pipe.losses.count() <= living);
}

/// Steps that are about losses: much is painted with them, seen by the client and used again.
fn any_step_with_losses() -> impl Strategy<Value = Step> {
    let lossy = (0..SURFACES, any_rect(), any::<u32>()).prop_map(|(surface_id, bbox, seed)| {
        let image = filled(bbox.width(), bbox.height(), seed);
        let area = Rect::from_size(0, 0, bbox.width(), bbox.height());
        Step::Draw(Drawable { surface_id, ..command(0, bbox, copy(image, area)) })
    });
    prop_oneof![
        6 => lossy,
        12 => any_draw().prop_map(Step::Draw),
        8 => Just(Step::Drain),
        2 => (1..SURFACES, 6..14i32, 6..12i32).prop_map(|(id, w, h)| Step::Create(id, w, h)),
        2 => any_step(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(),
        ..ProptestConfig::default() })]

    #[test]
    fn losses_stay_where_the_record_says_and_grow_nowhere(
        limits in prop_oneof![2 => Just(ROOMY), 1 => any_limits()],
        steps in prop::collection::vec(any_step_with_losses(), 1..60),
    ) {
        run_lossy(limits, steps);
    }
}

/// The kinds of messages that follow a lossy copy to 2,2-6,6 when this is drawn.
fn after_a_lossy_copy(draws: Vec<Drawable>) -> (Vec<u16>, Vec<Rect>) {
    let mut session = Session::new(Limits { band_bytes: 1 << 20, ..ROOMY });
    session.images.on = true;
    session.create(1, 8, 8);
    let area = rect(0, 0, 4, 4);
    session.draw(command(0, rect(2, 2, 6, 6), copy(filled(4, 4, 0x0fff_ffff), area)));
    session.drain();
    session.client.messages.clear();
    for draw in draws {
        session.draw(draw);
    }
    session.drain();
    let key = session.pipe.surfaces[&0].key();
    let left = session.pipe.losses.of(key).map_or(Vec::new(), |lossy| lossy.rects().to_vec());
    (session.client.messages, left)
}

#[test]
fn what_combines_bits_with_losses_is_sent_as_pixels() {
    let here = rect(2, 2, 6, 6);
    assert_eq!(after_a_lossy_copy(vec![]), (vec![], vec![here]));
    // A part of it, and all of that part is exact then.
    let part = rect(2, 2, 6, 4);
    let rest = vec![rect(2, 4, 6, 6)];
    assert_eq!(after_a_lossy_copy(vec![fill(part, 5, 64)]), (vec![304], rest.clone()));
    assert_eq!(after_a_lossy_copy(vec![fill(part, 5, 8)]), (vec![302], rest));
    let source = |kind: &str, id| {
        let (src, src_area) = (surface_image(id), rect(2, 2, 6, 6));
        let (nearest, mask) = (true, Mask::default());
        let to = rect(8, 2, 12, 6);
        let brush = Brush::Solid(5);
        let op = match kind {
            "copy" => DrawOp::Copy { src, src_area, rop: 8, nearest, mask, blend: false },
            "copy or" => DrawOp::Copy { src, src_area, rop: 16, nearest, mask, blend: false },
            "blend" => DrawOp::Copy { src, src_area, rop: 8, nearest, mask, blend: true },
            "opaque" => DrawOp::Opaque { src: Some(src), src_area, brush, rop: 8, nearest, mask },
            "opaque and" => {
                DrawOp::Opaque { src: Some(src), src_area, brush, rop: 32, nearest, mask }
            }
            "rop3" => DrawOp::Rop3 { src: Some(src), src_area, brush, code: 0x6a, nearest, mask },
            "transparent" => {
                DrawOp::Transparent { src: Some(src), src_area, src_color: 0, true_color: 9 }
            }
            "pattern" => {
                let brush = Brush::Pattern { image: src, pos: point(0, 0) };
                DrawOp::Fill { brush, rop: 8, mask }
            }
            other => panic!("{other}"),
        };
        let mut draw = command(0, to, op);
        draw.reads = vec![SurfaceRead { surface_id: id, area: src_area }];
        draw
    };
    // From the lossy area to a place beside it: as a command, or as pixels, which are copies.
    let gone = rect(8, 2, 12, 6);
    for (kind, message) in [("copy", 304), ("opaque", 303)] {
        let (kinds, left) = after_a_lossy_copy(vec![source(kind, 0)]);
        assert_eq!((kinds, left), (vec![message], vec![here, gone]), "{kind}");
    }
    for kind in ["copy or", "blend", "opaque and", "rop3", "transparent"] {
        let (kinds, left) = after_a_lossy_copy(vec![source(kind, 0)]);
        assert_eq!((kinds, left), (vec![304], vec![here]), "{kind}");
        // The same from a surface without losses stays what it is.
        let (kinds, left) = after_a_lossy_copy(vec![source(kind, 1)]);
        assert_eq!(
            (kinds.len(), kinds[0] == 304, left),
            (1, kind == "copy or", vec![here]),
            "{kind}"
        );
    }
    // A pattern that is no part of the screen itself.
    let mut to_other = command(1, rect(0, 0, 6, 6), copy(surface_image(0), rect(1, 1, 7, 7)));
    to_other.reads[0].surface_id = 0;
    let (kinds, left) = after_a_lossy_copy(vec![to_other, source("pattern", 1)]);
    assert_eq!((kinds, left), (vec![304, 304], vec![here]));
    // Onto the lossy area.
    let mut rop3 = source("rop3", 1);
    rop3.bbox = here;
    assert_eq!(after_a_lossy_copy(vec![rop3]), (vec![304], vec![]));
    // Beside it nothing happens, and what only inverts may stay.
    let beside = fill(rect(6, 6, 8, 8), 5, 64);
    assert_eq!(after_a_lossy_copy(vec![beside]), (vec![302], vec![here]));
    let invers = command(0, here, DrawOp::Invers { mask: Mask::default() });
    assert_eq!(after_a_lossy_copy(vec![invers]), (vec![308], vec![here]));
}

#[test]
fn moved_losses_are_where_they_were_moved_to() {
    let here = rect(2, 2, 6, 6);
    // Three columns of it go to the right by five.
    let moved = command(0, rect(6, 0, 11, 10), DrawOp::CopyBits { src: point(1, 0) });
    let (kinds, left) = after_a_lossy_copy(vec![moved]);
    assert_eq!((kinds, left), (vec![104], vec![rect(2, 2, 6, 6), rect(7, 2, 11, 6)]));
    // By way of another surface, and back to where it covers the first ones.
    let mut to_other = command(1, rect(0, 0, 6, 6), copy(surface_image(0), rect(1, 1, 7, 7)));
    to_other.reads[0].surface_id = 0;
    let back = command(0, rect(2, 2, 6, 6), copy(surface_image(1), rect(0, 0, 4, 4)));
    let (kinds, left) = after_a_lossy_copy(vec![to_other.clone(), back]);
    assert_eq!((kinds, left), (vec![304, 304], vec![rect(3, 3, 6, 6)]));
    // Scaled there is no telling, neighbours of what is shown have their part in it.
    for from in [rect(0, 0, 4, 4), rect(6, 6, 7, 7)] {
        let scaled = command(0, rect(6, 6, 8, 8), copy(surface_image(1), from));
        let (_, left) = after_a_lossy_copy(vec![to_other.clone(), scaled]);
        assert_eq!(left, [here, rect(6, 6, 8, 8)]);
    }
}
