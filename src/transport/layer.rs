//! What lies between a socket and the bytes of its connection: TLS, WebSocket frames, a SASL security layer.
//!
//! Layers know no socket: bytes in, bytes out. They stand in the [`Stream`](super::stream::Stream) and travel with it
//! from the door to its channel; whichever reactor owns the stream drives them, on its own thread.

use std::{fmt, io};

use super::outbox::Outbox;

/// Wrapped bytes that may wait for the socket before more are wrapped: what is not wrapped yet can be shared, and is
/// counted as unsent by those who hold back.
const WIRE_MARK: usize = 256 * 1024;

/// Whether more may come from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// More may come.
    Goes,
    /// The peer said in the layer's own way that it sends nothing more.
    Ended,
}

/// One layer. Owned by the thread that owns the stream.
pub trait Layer: Send + fmt::Debug {
    /// Takes all of `bytes`, which came from below, and appends what they mean to `above`. What is incomplete is kept
    /// inside, bounded. Answers of the layer itself go to `below`, also before an error: they are sent if possible.
    ///
    /// # Errors
    /// If the peer broke the layer's rules; the connection ends.
    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, below: &mut Outbox) -> io::Result<Flow>;

    /// Moves bytes from `above`, wrapped, to `below`, until `above` is empty or `below` holds `mark` bytes.
    ///
    /// Takes nothing as long as the layer's own handshake lasts; after it [`Layer::open`] has been called again.
    ///
    /// # Errors
    /// If nothing can be sent any more; the connection ends.
    fn wrap(&mut self, above: &mut Outbox, below: &mut Outbox, mark: usize) -> io::Result<()>;

    /// Nothing more will be sent: queues the layer's own word for that, if it has one.
    fn finish(&mut self, below: &mut Outbox);
}

/// The layers of one stream, the first one next to the socket.
#[derive(Debug, Default)]
pub struct Layers {
    /// Each with what it has made for the one below; the first one's is what goes out on the socket.
    list: Vec<(Box<dyn Layer>, Outbox)>,
    scratch: [Vec<u8>; 2],
}

impl Layers {
    /// True if the connection's bytes are the socket's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Puts a layer on top. `outbox` holds what is to go out without it, `unread` what came so far and is for it.
    ///
    /// # Errors
    /// As [`Layer::open`] and [`Layer::wrap`].
    pub fn push(
        &mut self,
        mut layer: Box<dyn Layer>,
        outbox: &mut Outbox,
        unread: &mut Vec<u8>,
    ) -> io::Result<Flow> {
        let mut below = Outbox::default();
        match self.list.last_mut() {
            Some((top, out)) => top.wrap(outbox, out, usize::MAX)?,
            None => below = std::mem::take(outbox),
        }
        let bytes = std::mem::take(unread);
        let opened =
            if bytes.is_empty() { Ok(Flow::Goes) } else { layer.open(&bytes, unread, &mut below) };
        self.list.push((layer, below));
        self.wrap_own();
        opened
    }

    /// Takes bytes of the socket and appends the connection's to `unread`.
    ///
    /// # Errors
    /// As [`Layer::open`]; there may be a last word in [`Layers::wire`].
    pub fn open(&mut self, wire: &[u8], unread: &mut Vec<u8>) -> io::Result<Flow> {
        let [mut below, mut above] = std::mem::take(&mut self.scratch);
        below.clear();
        below.extend_from_slice(wire);
        let mut opened = Ok(Flow::Goes);
        for (layer, out) in &mut self.list {
            above.clear();
            match layer.open(&below, &mut above, out) {
                Ok(flow) if opened.as_ref().is_ok_and(|f| *f == Flow::Goes) => opened = Ok(flow),
                Ok(_) => {}
                Err(error) => {
                    opened = Err(error);
                    above.clear();
                }
            }
            std::mem::swap(&mut below, &mut above);
            if opened.is_err() {
                break;
            }
        }
        unread.extend_from_slice(&below);
        self.scratch = [below, above];
        self.wrap_own();
        opened
    }

    /// Wraps what waits in `outbox` as far as the mark allows; what can go out is then in [`Layers::wire`].
    ///
    /// # Errors
    /// As [`Layer::wrap`].
    pub fn wrap(&mut self, outbox: &mut Outbox) -> io::Result<()> {
        self.wrap_up_to(outbox, WIRE_MARK)
    }

    /// As [`Layers::wrap`], for a socket that is given so many bytes at most now: what is not wrapped can still be
    /// replaced.
    ///
    /// # Errors
    /// As [`Layer::wrap`].
    pub fn wrap_at_most(&mut self, outbox: &mut Outbox, most: usize) -> io::Result<()> {
        self.wrap_up_to(outbox, WIRE_MARK.min(most))
    }

    fn wrap_up_to(&mut self, outbox: &mut Outbox, mark: usize) -> io::Result<()> {
        let mut above = outbox;
        for (layer, out) in self.list.iter_mut().rev() {
            if !above.is_empty() && out.len() < mark {
                layer.wrap(above, out, mark)?;
            }
            above = out;
        }
        Ok(())
    }

    /// Answers of upper layers find their way down.
    fn wrap_own(&mut self) {
        let mut nothing = Outbox::default();
        // An error here will come again when the next bytes are to be sent.
        let _ = self.wrap(&mut nothing);
    }

    /// Wraps all that waits in `outbox`, then queues the last word of every layer, from the top down.
    pub fn finish(&mut self, outbox: &mut Outbox) {
        // An error here will come again when the wrapped bytes are to be sent.
        let _ = self.wrap_up_to(outbox, usize::MAX);
        for at in (0..self.list.len()).rev() {
            if let Some((layer, out)) = self.list.get_mut(at) {
                layer.finish(out);
            }
            self.wrap_own();
        }
    }

    /// What goes out on the socket, wrapped already; `None` without layers.
    pub fn wire(&mut self) -> Option<&mut Outbox> {
        self.list.first_mut().map(|(_, out)| out)
    }

    /// True if nothing wrapped waits for the socket.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.list.iter().all(|(_, out)| out.is_empty())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every byte is exclusive-ored; begins with one byte of its own, which the peer answers.
    #[derive(Debug)]
    pub(in crate::transport) struct Masked {
        pub(in crate::transport) key: u8,
        ready: bool,
    }

    impl Masked {
        pub(in crate::transport) fn new(key: u8) -> Self {
            Self { key, ready: false }
        }
    }

    impl Layer for Masked {
        fn open(
            &mut self,
            bytes: &[u8],
            above: &mut Vec<u8>,
            below: &mut Outbox,
        ) -> io::Result<Flow> {
            let mut bytes = bytes;
            if !self.ready
                && let Some((first, rest)) = bytes.split_first()
            {
                if *first != self.key {
                    below.push(b"no");
                    return Err(io::ErrorKind::InvalidData.into());
                }
                below.push(&[self.key]);
                (self.ready, bytes) = (true, rest);
            }
            above.extend(bytes.iter().map(|b| b ^ self.key));
            Ok(if bytes.contains(&self.key) { Flow::Ended } else { Flow::Goes })
        }

        fn wrap(&mut self, above: &mut Outbox, below: &mut Outbox, mark: usize) -> io::Result<()> {
            while self.ready && !above.is_empty() && below.len() < mark {
                above.drain(|slices| {
                    let piece = slices.first().map(|s| &s[..s.len().min(1000)]).unwrap_or_default();
                    below.push(&piece.iter().map(|b| b ^ self.key).collect::<Vec<u8>>());
                    Ok::<_, io::Error>(piece.len())
                })?;
            }
            Ok(())
        }

        fn finish(&mut self, below: &mut Outbox) {
            below.push(&[self.key]);
        }
    }

    fn sent(layers: &mut Layers) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(wire) = layers.wire().filter(|w| !w.is_empty()) {
            let taken = wire.drain(|slices| {
                slices.iter().for_each(|s| all.extend_from_slice(s));
                Ok::<_, io::Error>(slices.iter().map(|s| s.len()).sum())
            });
            taken.unwrap();
        }
        all
    }

    #[test]
    fn bytes_pass_every_layer_both_ways() {
        let mut layers = Layers::default();
        let (mut outbox, mut unread) = (Outbox::default(), b"\x10\x01".to_vec());
        outbox.push(b"before");
        layers.push(Box::new(Masked::new(0x10)), &mut outbox, &mut unread).unwrap();
        assert_eq!((sent(&mut layers), unread.as_slice()), (b"before\x10".to_vec(), &[0x11][..]));
        outbox.push(b"a");
        unread.clear();
        layers.push(Box::new(Masked::new(0x03)), &mut outbox, &mut unread).unwrap();
        assert_eq!(sent(&mut layers), [b'a' ^ 0x10], "what was queued before goes without it");
        outbox.push(b"b");
        layers.wrap(&mut outbox).unwrap();
        assert!(layers.is_drained(), "the handshake lasts");
        assert_eq!(layers.open(&[0x03 ^ 0x10, b'x' ^ 0x13], &mut unread).unwrap(), Flow::Goes);
        assert_eq!(unread, b"x");
        layers.wrap(&mut outbox).unwrap();
        assert_eq!(sent(&mut layers), [0x03 ^ 0x10, b'b' ^ 0x13]);
        outbox.push(b"c");
        layers.finish(&mut outbox);
        assert_eq!(sent(&mut layers), [b'c' ^ 0x13, 0x03 ^ 0x10, 0x10], "last words are last");
        assert_eq!(layers.open(&[0x10], &mut unread).unwrap(), Flow::Ended);
    }

    #[test]
    fn the_last_word_before_an_error_is_kept() {
        let mut layers = Layers::default();
        let (mut outbox, mut unread) = (Outbox::default(), Vec::new());
        layers.push(Box::new(Masked::new(7)), &mut outbox, &mut unread).unwrap();
        assert!(layers.open(b"\x08", &mut unread).is_err());
        assert_eq!((sent(&mut layers), unread.is_empty()), (b"no".to_vec(), true));
    }

    #[test]
    fn no_more_is_wrapped_than_the_mark_says() {
        let mut layers = Layers::default();
        let (mut outbox, mut unread) = (Outbox::default(), vec![7]);
        layers.push(Box::new(Masked::new(7)), &mut outbox, &mut unread).unwrap();
        outbox.push(&vec![1; 2 * WIRE_MARK]);
        layers.wrap(&mut outbox).unwrap();
        let held = layers.wire().unwrap().len();
        assert!((WIRE_MARK..WIRE_MARK + 1000).contains(&held), "{held}");
        assert_eq!(held + outbox.len(), 2 * WIRE_MARK + 1);
    }
}
