//! Messages of the cursor channel. Clients send only the messages that all channels have.

use super::geometry::Point16;
use super::message::{Bulk, Message};
use super::wire::WireWrite;

/// Types that the server sends.
pub mod server {
    /// Everything a new client has to know.
    pub const INIT: u16 = 101;
    /// Forget shape and position.
    pub const RESET: u16 = 102;
    /// A new shape.
    pub const SET: u16 = 103;
    /// A new position.
    pub const MOVE: u16 = 104;
    /// Not visible.
    pub const HIDE: u16 = 105;
    /// Pointer trails.
    pub const TRAIL: u16 = 106;
    /// One cached shape is no longer valid.
    pub const INVAL_ONE: u16 = 107;
    /// No cached shape is valid any longer.
    pub const INVAL_ALL: u16 = 108;
}

/// Flags in front of a shape.
mod flag {
    /// There is no shape.
    pub const NONE: u16 = 1;
    /// The client is to keep the shape.
    pub const CACHE_ME: u16 = 2;
    /// The client has the shape.
    pub const FROM_CACHE: u16 = 4;
}

/// What stands in front of a shape's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShapeHeader {
    /// Id in the client's cache.
    pub unique: u64,
    /// Kind of shape: 0 alpha, 1 mono, 2 to 6 colours with a mask.
    pub kind: u8,
    /// Pixels in a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// Column that points.
    pub hot_spot_x: u16,
    /// Row that points.
    pub hot_spot_y: u16,
}

/// A pointer shape as it is sent.
#[derive(Debug, Clone)]
pub enum WireCursor {
    /// No shape.
    None,
    /// A shape that the client has kept; only `unique` matters to it.
    FromCache(ShapeHeader),
    /// A shape with its bytes.
    Full {
        /// What stands in front of them.
        header: ShapeHeader,
        /// True if the client is to keep it under `header.unique`.
        cache_me: bool,
        /// Exactly the bytes that kind and size ask for: clients read that many without looking.
        data: Bulk,
    },
}

/// INIT: position, trails, visibility and shape.
#[must_use]
pub fn init(
    position: Point16,
    trail_length: u16,
    trail_frequency: u16,
    visible: bool,
    cursor: &WireCursor,
) -> Message {
    let mut body = position_of(position);
    body.put_u16(trail_length).put_u16(trail_frequency).put_u8(visible.into());
    with_shape(server::INIT, body, cursor)
}

/// SET: position, visibility and shape.
#[must_use]
pub fn set(position: Point16, visible: bool, cursor: &WireCursor) -> Message {
    let mut body = position_of(position);
    body.put_u8(visible.into());
    with_shape(server::SET, body, cursor)
}

/// RESET.
#[must_use]
pub fn reset() -> Message {
    Message::new(server::RESET, Vec::new())
}

/// MOVE.
#[must_use]
pub fn move_to(position: Point16) -> Message {
    Message::new(server::MOVE, position_of(position))
}

/// HIDE.
#[must_use]
pub fn hide() -> Message {
    Message::new(server::HIDE, Vec::new())
}

/// TRAIL.
#[must_use]
pub fn trail(length: u16, frequency: u16) -> Message {
    let mut body = Vec::with_capacity(4);
    body.put_u16(length).put_u16(frequency);
    Message::new(server::TRAIL, body)
}

/// INVAL_ONE: the shape with this id leaves the client's cache.
#[must_use]
pub fn inval_one(unique: u64) -> Message {
    Message::new(server::INVAL_ONE, unique.to_le_bytes().to_vec())
}

/// INVAL_ALL: the client's cache is empty.
#[must_use]
pub fn inval_all() -> Message {
    Message::new(server::INVAL_ALL, Vec::new())
}

fn position_of(position: Point16) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + 4 + 1 + 2 + 17);
    body.put_i16(position.x).put_i16(position.y);
    body
}

/// Ends a message with a shape. Its bytes have no length field: they run to the message's end.
fn with_shape(kind: u16, mut body: Vec<u8>, cursor: &WireCursor) -> Message {
    let (flags, header) = match cursor {
        WireCursor::None => (flag::NONE, None),
        WireCursor::FromCache(header) => (flag::FROM_CACHE, Some(header)),
        WireCursor::Full { header, cache_me: true, .. } => (flag::CACHE_ME, Some(header)),
        WireCursor::Full { header, cache_me: false, .. } => (0, Some(header)),
    };
    body.put_u16(flags);
    if let Some(h) = header {
        body.put_u64(h.unique).put_u8(h.kind).put_u16(h.width).put_u16(h.height);
        body.put_u16(h.hot_spot_x).put_u16(h.hot_spot_y);
    }
    let mut message = Message::new(kind, body);
    if let WireCursor::Full { data, .. } = cursor {
        message.bulk.push(data.clone());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const AT: Point16 = Point16 { x: -2, y: 3 };
    const SHAPE: ShapeHeader =
        ShapeHeader { unique: 9, kind: 0, width: 1, height: 2, hot_spot_x: 3, hot_spot_y: 4 };
    const HEADER: [u8; 17] = [9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0];

    #[test]
    fn init_without_a_shape_has_11_bytes() {
        let message = init(AT, 1, 2, true, &WireCursor::None);
        assert_eq!(message.kind, 101);
        assert_eq!(message.body, [0xfe, 0xff, 3, 0, 1, 0, 2, 0, 1, 1, 0]);
        assert_eq!(message.len(), 11);
    }

    #[test]
    fn shapes_run_to_the_end_of_the_message() {
        let data = Bulk::whole(Arc::new(vec![5; 8]));
        for (cache_me, flags) in [(true, 2), (false, 0)] {
            let full = WireCursor::Full { header: SHAPE, cache_me, data: data.clone() };
            let message = set(AT, false, &full);
            assert_eq!((message.kind, message.len()), (103, 7 + 17 + 8));
            assert_eq!(message.body[..7], [0xfe, 0xff, 3, 0, 0, flags, 0]);
            assert_eq!(message.body[7..], HEADER);
            assert_eq!(message.bulk[0].as_slice(), [5; 8]);
        }
        let message = set(AT, true, &WireCursor::FromCache(SHAPE));
        assert_eq!(message.body[4..7], [1, 4, 0]);
        assert_eq!((&message.body[7..], message.bulk.len()), (&HEADER[..], 0));
    }

    #[test]
    fn the_small_messages_have_the_bytes_of_the_protocol() {
        assert_eq!((reset().kind, reset().len()), (102, 0));
        assert_eq!((move_to(AT).kind, &move_to(AT).body[..]), (104, &[0xfe, 0xff, 3, 0][..]));
        assert_eq!((hide().kind, hide().len()), (105, 0));
        assert_eq!((trail(1, 2).kind, &trail(1, 2).body[..]), (106, &[1, 0, 2, 0][..]));
        assert_eq!(
            (inval_one(1).kind, &inval_one(1).body[..]),
            (107, &[1, 0, 0, 0, 0, 0, 0, 0][..])
        );
        assert_eq!((inval_all().kind, inval_all().len()), (108, 0));
    }
}
