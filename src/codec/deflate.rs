//! The wrap of zlib around streams that repeat themselves.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Streams of fewer bytes are left as they are.
const SMALL: usize = 100;
/// Of longer streams so much is tried first.
const SAMPLE: usize = 64 << 10;
/// What the sample has to save of itself, in parts.
const GAIN: usize = 16;
/// Speed before size.
const LEVEL: u32 = 3;

/// The same bytes as one zlib stream (RFC 1950), if that is worth its time and is shorter.
#[must_use]
pub fn shorter(data: &[u8]) -> Option<Vec<u8>> {
    if data.len() < SMALL {
        return None;
    }
    if let Some(sample) = data.get(..SAMPLE)
        && data.len() > SAMPLE
        && deflated(sample)?.len() > SAMPLE - SAMPLE / GAIN
    {
        return None;
    }
    deflated(data).filter(|packed| packed.len() < data.len())
}

fn deflated(data: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(LEVEL));
    // A vector takes everything.
    encoder.write_all(data).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    fn inflated(packed: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        flate2::read::ZlibDecoder::new(packed).read_to_end(&mut data).unwrap();
        data
    }

    #[test]
    fn what_is_wrapped_is_shorter_and_the_same() {
        for len in [100, 5_000, SAMPLE, SAMPLE + 1, 300_000] {
            let data: Vec<u8> = (0u32..).map(|n| (n / 7).to_le_bytes()[0]).take(len).collect();
            let packed = shorter(&data).unwrap();
            assert!(packed.len() < len && inflated(&packed) == data, "{len}");
        }
    }

    #[test]
    fn what_would_not_gain_is_left_alone() {
        assert_eq!(shorter(&[7; SMALL - 1]), None);
        assert!(shorter(&[7; SMALL]).is_some());
        for len in [100, 5_000, SAMPLE + 1, 300_000] {
            assert_eq!(shorter(&noise(len)), None, "{len}");
        }
        // The beginning stands for the rest.
        let mut data = noise(SAMPLE);
        data.resize(10 * SAMPLE, 0);
        assert_eq!(shorter(&data), None);
        assert!(deflated(&data).unwrap().len() < 2 * SAMPLE);
    }
}
