//! Messages of the inputs channel, and how its numbers become what hosts take.

use super::common::ClientCommon;
use super::error::MessageError;
use super::message::Message;
use super::wire::{Reader, WireWrite};

/// Types that the server sends.
pub mod server {
    /// First message: the lock lights.
    pub const INIT: u16 = 101;
    /// The lock lights have changed.
    pub const KEY_MODIFIERS: u16 = 102;
    /// Some mouse messages were handled.
    pub const MOUSE_MOTION_ACK: u16 = 111;
}

/// Types that a client sends.
pub mod client {
    /// A key goes down.
    pub const KEY_DOWN: u16 = 101;
    /// A key comes up.
    pub const KEY_UP: u16 = 102;
    /// The client's lock lights.
    pub const KEY_MODIFIERS: u16 = 103;
    /// Raw scan codes.
    pub const KEY_SCANCODE: u16 = 104;
    /// Relative motion.
    pub const MOUSE_MOTION: u16 = 111;
    /// Absolute position.
    pub const MOUSE_POSITION: u16 = 112;
    /// A button goes down.
    pub const MOUSE_PRESS: u16 = 113;
    /// A button comes up.
    pub const MOUSE_RELEASE: u16 = 114;
}

/// Lock lights as they stand in messages.
pub mod modifier {
    /// Scroll lock.
    pub const SCROLL_LOCK: u16 = 1;
    /// Num lock.
    pub const NUM_LOCK: u16 = 2;
    /// Caps lock.
    pub const CAPS_LOCK: u16 = 4;
}

/// Mouse messages per MOUSE_MOTION_ACK.
pub const MOTION_ACK_BUNCH: u32 = 4;

/// Number of the button that is the wheel turned up (away from the user).
pub const BUTTON_WHEEL_UP: u8 = 4;
/// Number of the button that is the wheel turned down.
pub const BUTTON_WHEEL_DOWN: u8 = 5;

/// INIT with the lock lights of [`modifier`].
#[must_use]
pub fn init(modifiers: u16) -> Message {
    let mut body = Vec::with_capacity(2);
    body.put_u16(modifiers);
    Message::new(server::INIT, body)
}

/// KEY_MODIFIERS with the lock lights of [`modifier`].
#[must_use]
pub fn key_modifiers(modifiers: u16) -> Message {
    let mut body = Vec::with_capacity(2);
    body.put_u16(modifiers);
    Message::new(server::KEY_MODIFIERS, body)
}

/// MOUSE_MOTION_ACK: [`MOTION_ACK_BUNCH`] mouse messages were handled.
#[must_use]
pub fn mouse_motion_ack() -> Message {
    Message::new(server::MOUSE_MOTION_ACK, Vec::new())
}

/// A message of a client on the inputs channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputsRequest<'a> {
    /// One of the messages that all channels have.
    Common(ClientCommon<'a>),
    /// A key goes down; bytes of the code by [`scan_bytes`].
    KeyDown(u32),
    /// A key comes up; the code holds the release bit already.
    KeyUp(u32),
    /// The client's lock lights; bits outside [`modifier`] may be set and mean nothing.
    KeyModifiers(u16),
    /// At least one byte for the keyboard, zeros included.
    KeyScancode(&'a [u8]),
    /// Relative motion, any distance.
    MouseMotion {
        /// Columns.
        dx: i32,
        /// Rows.
        dy: i32,
        /// Buttons held, as on the wire.
        buttons: u16,
    },
    /// Absolute position, unclamped.
    MousePosition {
        /// Column.
        x: u32,
        /// Row.
        y: u32,
        /// Buttons held, as on the wire.
        buttons: u16,
        /// Display that x and y belong to.
        display_id: u8,
    },
    /// A button goes down.
    MousePress {
        /// Number of the button, any value.
        button: u8,
        /// Buttons held, as on the wire.
        buttons: u16,
    },
    /// A button comes up.
    MouseRelease {
        /// Number of the button, any value.
        button: u8,
        /// Buttons held, as on the wire.
        buttons: u16,
    },
}

impl<'a> InputsRequest<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// [`MessageError`]: unknown type, short body, scan codes without a byte. Bytes behind the
    /// last field are ignored.
    pub fn parse(kind: u16, body: &'a [u8]) -> Result<Self, MessageError> {
        let mut r = Reader::new(body);
        let short = MessageError::short(kind);
        Ok(match kind {
            client::KEY_DOWN => Self::KeyDown(r.u32().map_err(short)?),
            client::KEY_UP => Self::KeyUp(r.u32().map_err(short)?),
            client::KEY_MODIFIERS => Self::KeyModifiers(r.u16().map_err(short)?),
            client::KEY_SCANCODE if body.is_empty() => return Err(MessageError::Empty { kind }),
            client::KEY_SCANCODE => Self::KeyScancode(body),
            client::MOUSE_MOTION => Self::MouseMotion {
                dx: r.i32().map_err(&short)?,
                dy: r.i32().map_err(&short)?,
                buttons: r.u16().map_err(&short)?,
            },
            client::MOUSE_POSITION => Self::MousePosition {
                x: r.u32().map_err(&short)?,
                y: r.u32().map_err(&short)?,
                buttons: r.u16().map_err(&short)?,
                display_id: r.u8().map_err(&short)?,
            },
            client::MOUSE_PRESS => Self::MousePress {
                button: r.u8().map_err(&short)?,
                buttons: r.u16().map_err(&short)?,
            },
            client::MOUSE_RELEASE => Self::MouseRelease {
                button: r.u8().map_err(&short)?,
                buttons: r.u16().map_err(&short)?,
            },
            _ => Self::Common(ClientCommon::parse(kind, body)?),
        })
    }
}

/// The bytes of a key code for the keyboard: from the lowest, up to the first zero.
pub fn scan_bytes(code: u32) -> impl Iterator<Item = u8> {
    code.to_le_bytes().into_iter().take_while(|byte| *byte != 0)
}

/// The button mask that hosts take, from the mask on the wire.
///
/// The wire has left 1, middle 2, right 4, wheel 8 and 16, side 32, extra 64; hosts have left 1,
/// right 2, middle 4, side 64, extra 128, and are told of the wheel in another way.
#[must_use]
pub fn host_buttons(wire: u16) -> u32 {
    let w = u32::from(wire);
    (w & 1) | ((w & 0xffe2) << 1) | ((w & 4) >> 1)
}

/// The button mask of the guest agent: left 2, middle 4, right 8, wheel 16 and 32, side 64,
/// extra 128.
#[must_use]
pub fn agent_buttons(wire: u16) -> u32 {
    u32::from(wire) << 1
}

/// What the press of a wheel button adds to the agent's mask; nothing for the other buttons.
#[must_use]
pub fn agent_wheel(button: u8) -> u32 {
    match button {
        BUTTON_WHEEL_UP => 16,
        BUTTON_WHEEL_DOWN => 32,
        _ => 0,
    }
}

/// What a press of a button turns the wheel by: −1 up, 1 down, 0 for the other buttons.
#[must_use]
pub fn wheel_motion(button: u8) -> i32 {
    match button {
        BUTTON_WHEEL_UP => -1,
        BUTTON_WHEEL_DOWN => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_messages_have_the_bytes_of_the_protocol() {
        assert_eq!((init(6).kind, &init(6).body[..]), (101, &[6, 0][..]));
        assert_eq!((key_modifiers(1).kind, &key_modifiers(1).body[..]), (102, &[1, 0][..]));
        assert_eq!((mouse_motion_ack().kind, mouse_motion_ack().len()), (111, 0));
    }

    #[test]
    fn client_messages_are_read() {
        let parse = InputsRequest::parse;
        assert_eq!(parse(101, &[0x1e, 0, 0, 0]), Ok(InputsRequest::KeyDown(0x1e)));
        assert_eq!(parse(102, &[0x9e, 0, 0, 0]), Ok(InputsRequest::KeyUp(0x9e)));
        assert_eq!(parse(103, &[7, 0]), Ok(InputsRequest::KeyModifiers(7)));
        assert_eq!(parse(104, &[0]), Ok(InputsRequest::KeyScancode(&[0])));
        assert_eq!(
            parse(111, &[255, 255, 255, 255, 2, 0, 0, 0, 1, 0]),
            Ok(InputsRequest::MouseMotion { dx: -1, dy: 2, buttons: 1 })
        );
        assert_eq!(
            parse(112, &[1, 0, 0, 0, 2, 0, 0, 0x80, 1, 0, 9]),
            Ok(InputsRequest::MousePosition { x: 1, y: 0x8000_0002, buttons: 1, display_id: 9 })
        );
        assert_eq!(parse(113, &[4, 8, 0]), Ok(InputsRequest::MousePress { button: 4, buttons: 8 }));
        assert_eq!(
            parse(114, &[1, 0, 0]),
            Ok(InputsRequest::MouseRelease { button: 1, buttons: 0 })
        );
        assert_eq!(parse(2, &[]), Ok(InputsRequest::Common(ClientCommon::Ack)));
    }

    #[test]
    fn short_empty_and_unknown_messages_are_refused() {
        for (kind, full) in [(101, 4), (102, 4), (103, 2), (111, 10), (112, 11), (113, 3), (114, 3)]
        {
            for len in 0..full {
                let body = vec![0; len];
                assert!(matches!(
                    InputsRequest::parse(kind, &body),
                    Err(MessageError::Short { .. })
                ));
            }
            assert!(InputsRequest::parse(kind, &vec![0; full + 1]).is_ok());
        }
        assert_eq!(InputsRequest::parse(104, &[]), Err(MessageError::Empty { kind: 104 }));
        for kind in [0, 100, 105, 110, 115] {
            assert_eq!(InputsRequest::parse(kind, &[]), Err(MessageError::Unknown { kind }));
        }
    }

    #[test]
    fn key_codes_end_at_their_first_zero_byte() {
        for (code, bytes) in [
            (0x1e, &[0x1e][..]),
            (0x48e0, &[0xe0, 0x48]),
            (0xc8e0, &[0xe0, 0xc8]),
            (0x0045_1de1, &[0xe1, 0x1d, 0x45]),
            (0x0400_0201, &[1, 2]),
            (0, &[]),
        ] {
            assert_eq!(scan_bytes(code).collect::<Vec<_>>(), bytes);
        }
    }

    #[test]
    fn button_masks_are_those_that_hosts_know() {
        for (wire, host, agent) in [
            (0, 0, 0),
            (1, 1, 2),
            (2, 4, 4),
            (4, 2, 8),
            (8, 0, 16),
            (16, 0, 32),
            (32, 0x40, 64),
            (64, 0x80, 128),
            (0x7f, 0xc7, 0xfe),
            (0x8000, 0x1_0000, 0x1_0000),
        ] {
            assert_eq!((host_buttons(wire), agent_buttons(wire)), (host, agent), "{wire:#x}");
        }
        assert_eq!([1, 4, 5, 6].map(wheel_motion), [0, -1, 1, 0]);
        assert_eq!([1, 4, 5, 6].map(agent_wheel), [0, 16, 32, 0]);
    }
}
