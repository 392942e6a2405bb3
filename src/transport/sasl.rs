//! The security layer of a SASL mechanism: packets of four bytes of length and what they hold (RFC 4422 §3.7).
//!
//! The mechanism's state goes from the door to the channel inside the layer; whoever owns the stream uses it.

use std::io;

use crate::sys::sasl::Context;

use super::layer::{Flow, Layer};
use super::outbox::Outbox;

/// Longest packet that is waited for, without its length: twice what clients are told, because some count the bytes
/// before they are wrapped.
const PACKET_MAX: u32 = 2 * Context::MAX_BUFFER;
/// Bytes wrapped into one packet at most, whatever the peer can take.
const PIECE: usize = 64 * 1024;

/// What wraps and unwraps.
pub trait Codec: Send {
    /// Wraps bytes, into one packet or several.
    ///
    /// # Errors
    /// The reason why nothing can be sent any more.
    fn encode(&mut self, plain: &[u8]) -> Result<&[u8], String>;

    /// Unwraps one packet, which has its length before it.
    ///
    /// # Errors
    /// It is not the peer's, or was changed.
    fn decode(&mut self, packet: &[u8]) -> Result<&[u8], String>;
}

impl Codec for Context {
    fn encode(&mut self, plain: &[u8]) -> Result<&[u8], String> {
        Context::encode(self, plain).map_err(|e| e.to_string())
    }

    fn decode(&mut self, packet: &[u8]) -> Result<&[u8], String> {
        Context::decode(self, packet).map_err(|e| e.to_string())
    }
}

/// The layer.
pub struct SaslLayer {
    codec: Box<dyn Codec>,
    /// Bytes that are wrapped at once.
    piece: usize,
    /// The beginning of a packet; at most [`PACKET_MAX`] and four bytes.
    packet: Vec<u8>,
    scratch: Vec<u8>,
    /// After an error nothing is taken any more: what follows has no place in the stream.
    broken: bool,
}

impl std::fmt::Debug for SaslLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaslLayer")
            .field("piece", &self.piece)
            .field("broken", &self.broken)
            .finish()
    }
}

impl SaslLayer {
    /// A layer over a mechanism that has let its peer in. `max_out`: bytes that may be wrapped at once, 0 for any number.
    #[must_use]
    pub fn new(codec: Box<dyn Codec>, max_out: u32) -> Self {
        let piece = match usize::try_from(max_out) {
            Ok(0) | Err(_) => PIECE,
            Ok(most) => most.min(PIECE),
        };
        Self { codec, piece, packet: Vec::new(), scratch: Vec::new(), broken: false }
    }

    fn unwrap_packets(&mut self, mut bytes: &[u8], above: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            let missing = match self.packet.first_chunk::<4>() {
                None => 4 - self.packet.len(),
                Some(size) => {
                    let size = u32::from_be_bytes(*size);
                    if size == 0 || size > PACKET_MAX {
                        return Err(invalid(&format!("a packet of {size} bytes")));
                    }
                    let whole = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(4);
                    whole.saturating_sub(self.packet.len())
                }
            };
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.packet.extend_from_slice(now);
            bytes = later;
            if now.len() == missing && self.packet.len() > 4 {
                let plain = self.codec.decode(&self.packet).map_err(|e| invalid(&e))?;
                above.extend_from_slice(plain);
                self.packet.clear();
            }
        }
        Ok(())
    }
}

impl Layer for SaslLayer {
    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, _: &mut Outbox) -> io::Result<Flow> {
        if self.broken {
            return Err(invalid("broken before"));
        }
        let done = self.unwrap_packets(bytes, above);
        self.broken = done.is_err();
        done.map(|()| Flow::Goes)
    }

    fn wrap(&mut self, above: &mut Outbox, below: &mut Outbox, mark: usize) -> io::Result<()> {
        while !above.is_empty() && below.len() < mark {
            if self.broken {
                return Err(invalid("broken before"));
            }
            let (scratch, piece) = (&mut self.scratch, self.piece);
            scratch.clear();
            above.drain(|slices| {
                for slice in slices {
                    let room = piece - scratch.len();
                    scratch.extend_from_slice(slice.get(..room.min(slice.len())).unwrap_or(slice));
                    if scratch.len() == piece {
                        break;
                    }
                }
                Ok::<_, io::Error>(scratch.len())
            })?;
            match self.codec.encode(&self.scratch) {
                Ok(wrapped) => below.push(wrapped),
                Err(why) => {
                    self.broken = true;
                    return Err(invalid(&why));
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut Outbox) {}
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("SASL: {why}"))
}

#[cfg(test)]
mod tests;
