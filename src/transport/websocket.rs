//! WebSocket frames (RFC 6455) as a layer: what browsers put between a socket and SPICE.
//!
//! The upgrade request was answered before this layer is added (`link::http`). From then on the payload of all data
//! frames is one stream of bytes: neither frames nor messages mean anything to SPICE, so nothing is collected, and a
//! frame of any length costs no memory. As the reference does, text is taken for binary and unmasked frames are taken.

use std::io;
use std::sync::Arc;

use super::connection::Connection;
use super::layer::{Flow, Layer};
use super::outbox::Outbox;
use crate::observe::RateLimit;

mod frame;
mod mask;

use frame::{Header, Kind, Malformed};
use mask::Mask;

/// Largest payload of a frame that is sent, unless a single piece is larger: the next control frame waits for no more.
const FRAME: usize = 128 * 1024;
/// Bytes of answers to pings that may wait for the socket. Beyond it the newest ping is answered when there is room:
/// a peer need not get an answer to each (RFC 6455 §5.5.3).
const MAX_ANSWERS: usize = 4096;

/// Status of a close frame: the peer broke the protocol.
const PROTOCOL_ERROR: u16 = 1002;
/// Status of a close frame: everything was said.
const NORMAL: u16 = 1000;

static VIOLATIONS: RateLimit = RateLimit::new();

/// The layer. Owned by the thread that owns the stream.
#[derive(Debug)]
pub struct WebSocket {
    connection: Arc<Connection>,
    /// The header of the next frame, as far as it has come; 14 bytes at most.
    head: Vec<u8>,
    /// The frame whose payload is coming.
    current: Option<Current>,
    /// A message has begun and its last frame has not.
    in_message: bool,
    /// Bytes of answers that were queued since the socket had taken everything.
    answers: usize,
    /// A ping that waits for room.
    ping: Option<Vec<u8>>,
    closed: bool,
}

#[derive(Debug)]
struct Current {
    kind: Kind,
    left: u64,
    mask: Mask,
    /// Payload of a control frame, at most 125 bytes.
    control: Vec<u8>,
}

impl WebSocket {
    /// The layer for a connection that was upgraded.
    #[must_use]
    pub fn new(connection: Arc<Connection>) -> Self {
        Self {
            connection,
            head: Vec::new(),
            current: None,
            in_message: false,
            answers: 0,
            ping: None,
            closed: false,
        }
    }

    /// Takes one header, payload, or as much of them as is there; `None` once the peer has closed.
    fn step<'a>(
        &mut self,
        bytes: &'a [u8],
        above: &mut Vec<u8>,
        below: &mut Outbox,
    ) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = match &mut self.current {
            None => self.header(bytes)?,
            Some(current) => {
                let here = usize::try_from(current.left).unwrap_or(usize::MAX).min(bytes.len());
                let (payload, rest) = bytes.split_at(here);
                current.left -= here as u64;
                let to = if current.kind.is_control() { &mut current.control } else { above };
                current.mask.append(payload, to);
                rest
            }
        };
        if let Some(whole) = self.current.take_if(|current| current.left == 0) {
            match whole.kind {
                Kind::Ping => self.ping = Some(whole.control),
                Kind::Close => return Ok(None),
                Kind::Pong | Kind::Data => {}
            }
            self.answer(below);
        }
        Ok(Some(rest))
    }

    fn header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let wanted = frame::header_len(&self.head, bytes);
        let (new, rest) = bytes.split_at(wanted.saturating_sub(self.head.len()).min(bytes.len()));
        self.head.extend_from_slice(new);
        if let Some(header) = Header::read(&self.head, self.in_message)? {
            self.head.clear();
            if !header.kind.is_control() {
                self.in_message = !header.last;
            }
            self.current = Some(Current {
                kind: header.kind,
                left: header.len,
                mask: Mask::new(header.mask),
                control: Vec::new(),
            });
        }
        Ok(rest)
    }

    /// Answers the newest ping if there is room.
    fn answer(&mut self, below: &mut Outbox) {
        if below.is_empty() {
            self.answers = 0;
        }
        if self.answers < MAX_ANSWERS
            && let Some(payload) = self.ping.take()
        {
            self.answers += payload.len() + 2;
            below.push(&frame::control(frame::PONG, &payload));
        }
    }

    fn close(&mut self, below: &mut Outbox, status: Option<u16>) {
        if !std::mem::replace(&mut self.closed, true) {
            let payload = status.map(u16::to_be_bytes);
            below.push(&frame::control(
                frame::CLOSE,
                payload.as_ref().map_or(&[], |p| p.as_slice()),
            ));
        }
    }
}

impl Layer for WebSocket {
    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, below: &mut Outbox) -> io::Result<Flow> {
        let mut bytes = bytes;
        // A frame without payload ends without further bytes.
        while !bytes.is_empty() || self.current.as_ref().is_some_and(|c| c.left == 0) {
            match self.step(bytes, above, below) {
                Ok(Some(rest)) => bytes = rest,
                Ok(None) => {
                    self.close(below, None);
                    return Ok(Flow::Ended);
                }
                Err(why) => {
                    if VIOLATIONS.allow() {
                        let peer = self.connection.peer_name();
                        tracing::warn!(peer, "websocket connection ended: {why}");
                    }
                    self.close(below, Some(PROTOCOL_ERROR));
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            }
        }
        Ok(Flow::Goes)
    }

    fn wrap(&mut self, above: &mut Outbox, below: &mut Outbox, mark: usize) -> io::Result<()> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.answer(below);
        while !above.is_empty() && below.len() < mark {
            let n = above.foremost(FRAME);
            below.push(&frame::data_header(n));
            above.move_to(below, n);
        }
        Ok(())
    }

    fn finish(&mut self, below: &mut Outbox) {
        self.close(below, Some(NORMAL));
    }
}

#[cfg(test)]
mod tests;
