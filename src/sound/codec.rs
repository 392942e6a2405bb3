//! How sound stands in a DATA message: raw or as one Opus packet.

use zerocopy::IntoBytes;

use super::{FRAME_SAMPLES, Frame};
use crate::sys::opus::{self, OpusError};

/// Largest Opus packet that is made, bytes: 384 kbit/s at 48 kHz.
pub const PACKET_MAX: usize = 480;

/// Sample rates in Hz that Opus has.
const OPUS_RATES: [u32; 5] = [48_000, 24_000, 16_000, 12_000, 8_000];

/// The rate of these at which a buffer's 480 samples are no packet: 30 ms is no length that Opus has. A client may still
/// record at it, in packets of other lengths.
const NO_BUFFERS_AT: u32 = 16_000;

/// Whether buffers of this rate can be Opus packets here.
#[must_use]
pub fn encodes_at(rate: u32) -> bool {
    rate != NO_BUFFERS_AT && opus_at(rate)
}

/// Whether there is Opus of this rate here.
#[must_use]
pub fn opus_at(rate: u32) -> bool {
    OPUS_RATES.contains(&rate) && opus::available().is_ok()
}

/// What makes DATA out of buffers.
#[derive(Debug)]
pub enum Encoder {
    /// As they are.
    Raw,
    /// One packet a buffer.
    Opus(opus::Encoder),
}

impl Encoder {
    /// An Opus encoder.
    ///
    /// # Errors
    /// A rate that Opus does not have, or no library.
    pub fn opus(rate: u32) -> Result<Self, OpusError> {
        opus::Encoder::new(rate).map(Self::Opus)
    }

    /// Appends a buffer's sound to a message.
    ///
    /// # Errors
    /// What libopus says; nothing was appended then.
    pub fn append(&mut self, frame: &Frame, out: &mut Vec<u8>) -> Result<(), OpusError> {
        match self {
            // Samples are of the host's byte order, and SPICE is spoken between little-endian machines.
            Self::Raw => out.extend_from_slice(frame.as_bytes()),
            Self::Opus(encoder) => {
                let mut samples = [0; 2 * FRAME_SAMPLES];
                samples.as_mut_bytes().copy_from_slice(frame.as_bytes());
                let mut packet = [0; PACKET_MAX];
                let len = encoder.encode(&samples, &mut packet)?;
                out.extend_from_slice(packet.get(..len).unwrap_or_default());
            }
        }
        Ok(())
    }
}

/// What makes samples out of a client's DATA.
#[derive(Debug, Default)]
pub enum Decoder {
    /// They are samples. The mode of a client that said none.
    #[default]
    Raw,
    /// One packet of at most [`FRAME_SAMPLES`] each.
    Opus(opus::Decoder),
}

impl Decoder {
    /// An Opus decoder.
    ///
    /// # Errors
    /// A rate that Opus does not have, or no library.
    pub fn opus(rate: u32) -> Result<Self, OpusError> {
        opus::Decoder::new(rate).map(Self::Opus)
    }

    /// The stereo samples of a message, at most `limit`; what is over, and a piece of a sample at the end, is left out.
    /// They replace what `out` holds.
    ///
    /// # Errors
    /// A packet that is none, or holds more than [`FRAME_SAMPLES`].
    pub fn decode(
        &mut self,
        data: &[u8],
        limit: usize,
        out: &mut Vec<u32>,
    ) -> Result<(), OpusError> {
        out.clear();
        match self {
            Self::Raw => {
                let samples = data.as_chunks::<4>().0.iter().take(limit);
                out.extend(samples.map(|bytes| u32::from_ne_bytes(*bytes)));
            }
            // Nothing was recorded.
            Self::Opus(_) if data.is_empty() => {}
            Self::Opus(decoder) => {
                let mut samples = [0i16; 2 * FRAME_SAMPLES];
                let frames = decoder.decode(data, &mut samples)?;
                let mut frame: Frame = [0; FRAME_SAMPLES];
                frame.as_mut_bytes().copy_from_slice(samples.as_bytes());
                out.extend(frame.iter().take(frames.min(limit)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_is_the_bytes_and_keeps_whole_samples_only() {
        let mut frame: Frame = [0; FRAME_SAMPLES];
        frame[0] = u32::from_ne_bytes([1, 2, 3, 4]);
        let mut out = vec![9];
        Encoder::Raw.append(&frame, &mut out).unwrap();
        assert_eq!((out.len(), &out[..5]), (1921, &[9, 1, 2, 3, 4][..]));
        let mut samples = vec![7];
        Decoder::Raw.decode(&out[1..=11], 100, &mut samples).unwrap();
        assert_eq!(samples, [frame[0], 0]);
        Decoder::Raw.decode(&out, 3, &mut samples).unwrap();
        assert_eq!(samples.len(), 3);
        Decoder::Raw.decode(&[], 3, &mut samples).unwrap();
        assert!(samples.is_empty());
    }

    #[test]
    fn only_the_rates_of_opus_are_opus() {
        assert!(!opus_at(44_100) && !opus_at(0) && !opus_at(96_000) && !encodes_at(16_000));
        if opus::available().is_err() {
            eprintln!("SKIPPED 1: no libopus");
            return;
        }
        for rate in OPUS_RATES.into_iter().filter(|rate| encodes_at(*rate)) {
            let (mut encoder, mut packet) = (Encoder::opus(rate).unwrap(), Vec::new());
            encoder.append(&[0x0100_0200; FRAME_SAMPLES], &mut packet).unwrap();
            assert!((1..=PACKET_MAX).contains(&packet.len()));
            let mut samples = Vec::new();
            Decoder::opus(rate).unwrap().decode(&packet, 8192, &mut samples).unwrap();
            assert_eq!(samples.len(), FRAME_SAMPLES, "{rate}");
        }
    }
}
