//! A client: surfaces of its own, drawn on from decoded messages.

use std::collections::HashMap;

use spice_server::display::canvas::draw;
use spice_server::display::canvas::target::Target;
use spice_server::display::pipe::SurfaceReader;
use spice_server::display::region::Region;
use spice_server::display::scene::Scene;
use spice_server::display::surface::Surface;

use crate::decode::{decode, flatten};
use crate::piped_region;
use crate::protocol::geometry::Rect;
use crate::protocol::message::Message;
use crate::qxl::model::{DrawOp, SurfaceFormat};

const MARK: u16 = 102;
const SURFACE_CREATE: u16 = 314;
const SURFACE_DESTROY: u16 = 315;

pub struct Client {
    surfaces: HashMap<u32, Surface>,
    composite: bool,
}

impl Client {
    pub fn new(composite: bool) -> Self {
        Self { surfaces: HashMap::new(), composite }
    }

    pub fn take(&mut self, message: &Message) {
        let bytes = flatten(message);
        let field = |n: usize| u32::from_le_bytes(bytes[4 * n..4 * n + 4].try_into().unwrap());
        match message.kind {
            SURFACE_CREATE => {
                assert_eq!(bytes.len(), 20);
                let format = SurfaceFormat::from_u32(field(3)).expect("a format");
                let target = Target::owned(format, field(1), field(2)).expect("small");
                let old = self.surfaces.insert(field(0), Surface::new(field(0), target));
                assert!(old.is_none(), "surface {} made twice", field(0));
                assert_eq!(field(4), u32::from(field(0) == 0));
            }
            SURFACE_DESTROY => {
                assert_eq!(bytes.len(), 4);
                assert!(
                    self.surfaces.remove(&field(0)).is_some(),
                    "surface {} ended twice",
                    field(0)
                );
            }
            MARK => assert!(self.surfaces.contains_key(&0), "mark without a primary"),
            _ => {
                let drawable = decode(message);
                let dest = self.surfaces.get(&drawable.surface_id).expect("a surface that exists");
                let bounds = Rect::from_size(0, 0, dest.width(), dest.height());
                assert!(bounds.contains(&drawable.bbox), "{drawable:?} outside {bounds:?}");
                assert!(self.composite || !matches!(drawable.op, DrawOp::Composite(_)));
                let piped = piped_region(&drawable, bounds);
                let mut clip = match &drawable.clip {
                    Some(clip) if !piped.exact => Region::from_rects(clip),
                    _ => piped.region,
                };
                clip.intersect_rect(&drawable.bbox);
                // The server drew it, so it can be drawn.
                draw(&mut self.surfaces, &drawable, clip.rects()).expect("a drawing");
            }
        }
    }

    /// What the client has is what the server has.
    pub fn compare(&self, server: &mut Scene) {
        for (id, surface) in &self.surfaces {
            let all = Rect::from_size(0, 0, surface.width(), surface.height());
            let info = server.info(*id).expect("a surface that the server has");
            assert_eq!((info.width, info.height), (surface.width(), surface.height()));
            assert_eq!(info.format, surface.format());
            let (theirs, _) = server.read_image(*id, &all).expect("pixels");
            let ours = surface.read_image(all).expect("pixels").bitmap;
            // The unused byte of a pixel may differ.
            let unused = if info.format == SurfaceFormat::Xrgb { 4 } else { usize::MAX };
            for (at, (a, b)) in ours.data.iter().zip(theirs.data.iter()).enumerate() {
                assert!(
                    a == b || at % unused == 3,
                    "surface {id} {:?}: byte {at} of rows of {} is {a:#x}, should be {b:#x}",
                    info.format,
                    theirs.stride
                );
            }
            assert_eq!(ours.data.len(), theirs.data.len());
        }
    }
}
