//! LZ4 images (display channel spec, section 4): packed rows in memory order, in one block.
//!
//! The format allows several blocks that share their history; one block needs no history.
//! The block compressor is the crate `lz4_flex`; here stands the frame that SPICE puts around it.

use std::fmt;

use lz4_flex::block::{CompressTable, compress_into_with_table};

use super::Rows;

/// Bytes before the block.
const HEADER: usize = 1 /* top down */ + 1 /* format */ + 4 /* size of the block */;
/// Largest picture in bytes: clients count with 32-bit signed numbers.
const MAX_BYTES: usize = 0x7e00_0000;

/// Memory of an encoder between images.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rows without padding.
    packed: Vec<u8>,
    /// The block, which may become longer than the picture.
    block: Vec<u8>,
}

impl Scratch {
    /// Bytes that it keeps.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.packed.capacity() + self.block.capacity()
    }
}

/// Memory of an encoder of blocks between two of them.
#[derive(Default)]
pub struct BlockScratch {
    block: Vec<u8>,
    table: CompressTable,
}

impl fmt::Debug for BlockScratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockScratch").field("bytes", &self.block.len()).finish_non_exhaustive()
    }
}

/// The bytes as one block; `None` if it would have more than `limit` bytes.
#[must_use]
pub fn compress_block(bytes: &[u8], limit: usize, scratch: &mut BlockScratch) -> Option<Vec<u8>> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    let most = lz4_flex::block::get_maximum_output_size(bytes.len());
    if scratch.block.len() < most {
        scratch.block.resize(most, 0);
    }
    let len = compress_into_with_table(bytes, &mut scratch.block, &mut scratch.table).ok()?;
    scratch.block.get(..len).filter(|block| block.len() <= limit).map(<[u8]>::to_vec)
}

/// The `size` bytes of a foreign block; `None` if it is broken or has another number of bytes. The caller bounds `size`
/// and gives a buffer, whatever it holds.
#[must_use]
pub fn decompress_block(block: &[u8], size: usize, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    bytes.resize(size, 0);
    let n = lz4_flex::block::decompress_into(block, &mut bytes).ok()?;
    (n == size).then_some(bytes)
}

/// The image of a picture whose bitmap format has this number; `None` if it would have more than `limit` bytes.
#[must_use]
pub fn encode(
    picture: &Rows<'_>,
    format: u8,
    limit: usize,
    scratch: &mut Scratch,
) -> Option<Vec<u8>> {
    let bytes = picture.row_bytes().checked_mul(usize::try_from(picture.height()).ok()?)?;
    if bytes > MAX_BYTES {
        return None;
    }
    let packed = match picture.packed() {
        Some(packed) => packed,
        None => {
            scratch.packed.clear();
            picture.in_memory().for_each(|row| scratch.packed.extend_from_slice(row));
            &scratch.packed
        }
    };
    let most = lz4_flex::block::get_maximum_output_size(bytes);
    if scratch.block.len() < most {
        scratch.block.resize(most, 0);
    }
    let len = lz4_flex::block::compress_into(packed, &mut scratch.block).ok()?;
    let block = scratch.block.get(..len).filter(|_| len.saturating_add(HEADER) <= limit)?;
    let mut out = Vec::with_capacity(HEADER + len);
    out.extend_from_slice(&[u8::from(picture.top_down()), format]);
    out.extend_from_slice(&u32::try_from(len).ok()?.to_be_bytes());
    out.extend_from_slice(block);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `bits` per pixel, `stride` bytes apart, that compress somewhat.
    fn pixels(stride: usize, height: u32) -> Vec<u8> {
        let byte = |n: usize| (n / 7 % 5 * 40).to_le_bytes()[0];
        (0..stride * height as usize).map(byte).collect()
    }

    #[test]
    fn the_block_holds_the_rows_without_their_padding() {
        let mut scratch = Scratch::default();
        for (bits, format) in [(16u32, 6), (24, 7), (32, 8), (32, 9)] {
            for (width, height, extra) in [(1u32, 1u32, 0), (31, 9, 0), (31, 9, 5), (300, 300, 0)] {
                let row = (width * bits).div_ceil(8);
                let stride = (row + extra) as usize;
                let data = pixels(stride, height);
                let top_down = extra == 0;
                let rows = Rows::new(&data, width, height, bits, stride, top_down).unwrap();
                let image = encode(&rows, format, usize::MAX, &mut scratch).unwrap();
                assert_eq!(image[..2], [u8::from(top_down), format]);
                let len = u32::from_be_bytes(image[2..6].try_into().unwrap()) as usize;
                assert_eq!(image.len(), 6 + len);
                let want: Vec<u8> =
                    data.chunks(stride).flat_map(|r| &r[..row as usize]).copied().collect();
                let got = lz4_flex::block::decompress(&image[6..], want.len()).unwrap();
                assert_eq!(got, want);
            }
        }
    }

    #[test]
    fn blocks_come_back_only_at_their_size() {
        let mut scratch = BlockScratch::default();
        for bytes in [vec![], vec![7; 5000], pixels(31, 400)] {
            let block = compress_block(&bytes, usize::MAX, &mut scratch).unwrap();
            assert_eq!(decompress_block(&block, bytes.len(), vec![1; 9]), Some(bytes.clone()));
            assert_eq!(decompress_block(&block, bytes.len() + 1, Vec::new()), None);
            if let Some(less) = bytes.len().checked_sub(1) {
                assert_eq!(decompress_block(&block, less, Vec::new()), None);
                assert_eq!(
                    decompress_block(&block[..block.len() - 1], bytes.len(), Vec::new()),
                    None
                );
            }
        }
        assert!(compress_block(&[1, 2, 3], 3, &mut scratch).is_none(), "noise grows");
    }

    #[test]
    fn an_image_beyond_the_limit_is_none() {
        let data: Vec<u8> = (0..40u8).map(|n| n.wrapping_mul(167)).collect();
        let rows = Rows::new(&data, 10, 1, 32, 40, true).unwrap();
        let mut scratch = Scratch::default();
        let size = encode(&rows, 8, usize::MAX, &mut scratch).unwrap().len();
        assert!(size > 40, "noise grows");
        assert!(encode(&rows, 8, size, &mut scratch).is_some());
        assert!(encode(&rows, 8, size - 1, &mut scratch).is_none());
    }
}
