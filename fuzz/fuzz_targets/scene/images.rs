//! Images, masks, palettes and chunks of the guest.

use crate::guest::{Guest, SURFACES};

/// Streams of 7x5 and 17x1 pixels that are right as they are.
const STREAMS: [(&[u8], u32, u32); 5] = [
    (include_bytes!("../../seeds/quic_decode/tiny7x5_rgb32.quic"), 7, 5),
    (include_bytes!("../../seeds/quic_decode/tiny7x5_rgba.quic"), 7, 5),
    (include_bytes!("../../seeds/quic_decode/tiny7x5_rgb16.quic"), 7, 5),
    (include_bytes!("../../seeds/quic_decode/tiny7x5_gray.quic"), 7, 5),
    (include_bytes!("../../seeds/quic_decode/tiny17x1_rgb24.quic"), 17, 1),
];

/// What a command reads, as far as it says so.
pub type Reads = Vec<u32>;

/// An image in memory: its address and the size that it has.
pub struct Placed {
    pub address: u64,
    pub width: i32,
    pub height: i32,
}

impl Guest<'_> {
    /// Bytes that look like pictures: flat parts and noise.
    fn pixels(&mut self, len: usize) -> Vec<u8> {
        let (seed, how) = (self.input.u8(), self.input.u8());
        let mut state = u32::from(seed) << 8 | 1;
        (0..len)
            .map(|n| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                match how & 3 {
                    0 => seed,
                    1 => (n as u8).wrapping_mul(how),
                    _ => (state >> 24) as u8,
                }
            })
            .collect()
    }

    /// A chain of chunks with these bytes; the first one's header and data come back, for its container.
    pub fn chunks(&mut self, bytes: &[u8]) -> Vec<u8> {
        let pieces = if self.input.seldom(4) { self.input.below(4) + 1 } else { 1 };
        let mut next = 0u64;
        let size = bytes.len().div_ceil(pieces).max(1);
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        let chunk = |data: &[u8], next: u64| {
            let mut out = (data.len() as u32).to_le_bytes().to_vec();
            out.extend(0u64.to_le_bytes());
            out.extend(next.to_le_bytes());
            out.extend(data);
            out
        };
        for piece in pieces.iter().skip(1).rev() {
            next = self.put(&chunk(piece, next));
            next = self.pointer(next);
        }
        let mut first = chunk(pieces.first().copied().unwrap_or_default(), next);
        if self.input.seldom(60) {
            // A length that lies.
            let size = self.input.number(0, 200);
            first[..4].copy_from_slice(&size.to_le_bytes());
        }
        first
    }

    /// A source or a pattern. Surfaces that it names are put on the list.
    pub fn image(&mut self, reads: &mut Reads) -> Placed {
        match self.input.below(8) {
            0..=4 => self.bitmap(None),
            5 => self.quic(),
            _ => {
                let id = self.input.below(SURFACES) as u32;
                if !self.input.seldom(20) {
                    reads.push(id);
                }
                let mut out = self.descriptor(104, 0, 0);
                out.extend(id.to_le_bytes());
                let address = self.put(&out);
                let (width, height) = if id == 0 { (48, 40) } else { (16, 16) };
                Placed { address: self.pointer(address), width, height }
            }
        }
    }

    fn descriptor(&mut self, kind: u8, width: i32, height: i32) -> Vec<u8> {
        let mut out = vec![0; 8];
        let flags = self.input.u8();
        out[0] = flags >> 2;
        out.push(if flags >= 252 { self.input.u8() } else { kind });
        out.push(flags & 3);
        out.extend(width.to_le_bytes());
        out.extend(height.to_le_bytes());
        out
    }

    /// A bitmap of any format, or of the one that is asked for.
    pub fn bitmap(&mut self, format: Option<u8>) -> Placed {
        const BITS: [i32; 11] = [32, 1, 1, 4, 4, 8, 16, 24, 32, 32, 8];
        let format = format.unwrap_or_else(|| {
            let byte = self.input.u8();
            if byte < 80 { 8 } else { byte % 11 }
        });
        let (width, height) = (self.input.number(1, 24), self.input.number(1, 20));
        let how = self.input.u8();
        let row = (width.wrapping_mul(BITS[usize::from(format)]).wrapping_add(7)) / 8;
        let mut stride = row.wrapping_add(3) & !3;
        if how & 0xc0 == 0 {
            stride = row.wrapping_add(i32::from(how & 7));
        }
        let size = i64::from(stride) * i64::from(height);
        let size = usize::try_from(size).unwrap_or(0).min(4096);
        let data = self.pixels(size);
        let palette = self.palette();
        let direct = how & 8 != 0;
        let data = if direct { data } else { self.chunks(&data) };
        let data = self.put(&data);
        let data = self.pointer(data);
        let mut out = self.descriptor(0, width, height);
        out.push(format);
        out.push(u8::from(direct) | how >> 3 & 6);
        for value in [width, height, stride] {
            out.extend(value.to_le_bytes());
        }
        out.extend(palette.to_le_bytes());
        out.extend(data.to_le_bytes());
        let address = self.put(&out);
        Placed { address: self.pointer(address), width, height }
    }

    fn palette(&mut self) -> u64 {
        let counts = [256u16, 16, 2, 1, 0, 300];
        let count = counts[self.input.below(counts.len())];
        let mut out = vec![self.input.u8() & 3];
        out.resize(8, 0);
        out.extend(count.to_le_bytes());
        let colors = self.pixels(usize::from(count) * 4);
        out.extend(colors);
        let address = self.put(&out);
        self.pointer(address)
    }

    fn quic(&mut self) -> Placed {
        let (stream, width, height) = STREAMS[self.input.below(STREAMS.len())];
        let mut stream = stream.to_vec();
        if self.input.seldom(3) {
            for _ in 0..self.input.below(4) {
                let at = self.input.below(stream.len());
                stream[at] = self.input.u8();
            }
            let len = stream.len() - self.input.below(8);
            stream.truncate(len);
        }
        let (width, height) = (width.cast_signed(), height.cast_signed());
        let mut out = self.descriptor(1, width, height);
        out.extend((stream.len() as u32).to_le_bytes());
        let chunks = self.chunks(&stream);
        out.extend(chunks);
        let address = self.put(&out);
        Placed { address: self.pointer(address), width, height }
    }
}
