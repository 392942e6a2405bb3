//! Pictures that a host renders with GL: messages of the display channel that name a dmabuf (spec 11, section 11).

use super::display::server;
use super::message::{Descriptors, Message};
use super::wire::WireWrite;

/// Modifier of a buffer of which nobody says how its pixels lie (`DRM_FORMAT_MOD_INVALID`).
pub const MODIFIER_INVALID: u64 = 0x00ff_ffff_ffff_ffff;
/// Modifier of one whose rows lie one behind the other (`DRM_FORMAT_MOD_LINEAR`).
pub const MODIFIER_LINEAR: u64 = 0;

/// Flag of a scanout: its first row is the top one.
const Y0_TOP: u32 = 1;

/// A plane of a dmabuf: where it begins and how far it is from row to row, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plane {
    /// First byte.
    pub offset: u32,
    /// Bytes from row to row.
    pub stride: u32,
}

/// A picture in a dmabuf that is shown instead of the primary surface; nothing is checked.
#[derive(Debug, Clone)]
pub struct GlScanout {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Layout of a pixel as DRM names it (`DRM_FORMAT_*`).
    pub fourcc: u32,
    /// How pixels lie in the planes as DRM numbers it.
    pub modifier: u64,
    /// The first row in memory is the top one.
    pub y0_top: bool,
    /// 1 to 4, as many as descriptors, which are in the same order.
    pub planes: Vec<Plane>,
    /// The dmabufs.
    pub descriptors: Descriptors,
}

impl GlScanout {
    fn flags(&self) -> u32 {
        if self.y0_top { Y0_TOP } else { 0 }
    }

    /// GL_SCANOUT_UNIX, for clients with `SPICE_DISPLAY_CAP_GL_SCANOUT`. `None` for several planes, of which it cannot tell.
    /// Offset and modifier get lost.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        let [plane] = self.planes.as_slice() else { return None };
        let mut body = Vec::with_capacity(20);
        body.put_u32(self.width).put_u32(self.height).put_u32(plane.stride);
        body.put_u32(self.fourcc).put_u32(self.flags());
        Some(self.with_descriptors(server::GL_SCANOUT_UNIX, body))
    }

    /// GL_SCANOUT2_UNIX, for clients with `SPICE_DISPLAY_CAP_GL_SCANOUT2`.
    #[must_use]
    pub fn message2(&self) -> Message {
        let mut body = Vec::with_capacity(25 + 8 * self.planes.len());
        body.put_u32(self.width).put_u32(self.height).put_u32(self.fourcc).put_u32(self.flags());
        body.put_u8(u8::try_from(self.planes.len()).unwrap_or(u8::MAX)).put_u64(self.modifier);
        for plane in &self.planes {
            body.put_u32(plane.offset).put_u32(plane.stride);
        }
        self.with_descriptors(server::GL_SCANOUT2_UNIX, body)
    }

    fn with_descriptors(&self, kind: u16, body: Vec<u8>) -> Message {
        let mut message = Message::new(kind, body);
        // Clients read the descriptor of a picture that has a format, and no other.
        message.descriptors = (self.fourcc != 0).then(|| self.descriptors.clone());
        message
    }
}

/// GL_DRAW: this part of the picture has changed. The client answers with GL_DRAW_DONE.
#[must_use]
pub fn draw(x: u32, y: u32, width: u32, height: u32) -> Message {
    let mut body = Vec::with_capacity(16);
    body.put_u32(x).put_u32(y).put_u32(width).put_u32(height);
    Message::new(server::GL_DRAW, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanout(planes: u32, fourcc: u32) -> GlScanout {
        let open = || std::fs::File::open("/dev/null").unwrap().into();
        let plane = |n: u32| Plane { offset: 16 * n, stride: 2560 };
        GlScanout {
            width: 640,
            height: 480,
            fourcc,
            modifier: MODIFIER_INVALID,
            y0_top: true,
            planes: (0..planes).map(plane).collect(),
            descriptors: Descriptors::new((0..planes).map(|_| open()).collect()).unwrap(),
        }
    }

    #[test]
    fn messages_have_the_bytes_of_the_protocol() {
        let one = scanout(1, 0x3432_5258).message().unwrap();
        let words = [640, 480, 2560, 0x3432_5258, 1].map(u32::to_le_bytes).concat();
        assert_eq!((one.kind, one.body, one.descriptors.is_some()), (320, words, true));
        let two = scanout(2, 0x3432_5258).message2();
        let mut bytes = [640, 480, 0x3432_5258, 1].map(u32::to_le_bytes).concat();
        bytes.extend([2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
        bytes.extend([0, 2560, 16, 2560].map(u32::to_le_bytes).concat());
        assert_eq!((two.kind, two.body), (323, bytes));
        assert_eq!(two.descriptors.unwrap().iter().count(), 2);
        assert_eq!(draw(1, 2, 3, 4).body, [1, 2, 3, 4].map(u32::to_le_bytes).concat());
    }

    #[test]
    fn what_the_older_message_cannot_tell_is_not_told() {
        assert!(scanout(2, 0x3432_5258).message().is_none());
        assert!(scanout(1, 0).message().unwrap().descriptors.is_none());
    }
}
