//! Drawables of the guest, in both layouts.

use crate::guest::{Guest, SURFACES};
use crate::images::Reads;

/// Bytes of the part that depends on the operation.
const BODY: usize = 68;

/// A rectangle, in the order of the fields.
fn put_rect(out: &mut Vec<u8>, (left, top, width, height): (i32, i32, i32, i32)) {
    for value in [top, left, top.wrapping_add(height), left.wrapping_add(width)] {
        out.extend(value.to_le_bytes());
    }
}

impl Guest<'_> {
    /// Left, top, width, height of a box that mostly lies on a surface.
    fn area(&mut self, width: i32, height: i32) -> (i32, i32, i32, i32) {
        let (left, top) = (self.input.number(0, width), self.input.number(0, height));
        let (wide, high) = (self.input.number(1, 24), self.input.number(1, 20));
        // As a rule cut to fit: what is refused reaches nothing.
        if self.input.seldom(24) || left < 0 || top < 0 || left >= width || top >= height {
            return (left, top, wide, high);
        }
        (left, top, wide.clamp(0, width - left), high.clamp(0, height - top))
    }

    pub fn drawable(&mut self, compat: bool) -> Vec<u8> {
        let id =
            if compat || self.input.u8() & 1 != 0 { 0 } else { self.input.below(SURFACES) as u32 };
        let (width, height) = if id == 0 { (48, 40) } else { (16, 16) };
        let mut reads = Reads::new();
        let bbox = self.area(width, height);
        let kind = self.input.u8() % 16;
        let mut self_bitmap = self.input.seldom(8);
        let body = self.operation(kind, bbox, &mut reads, &mut self_bitmap, compat);
        let own = self.area(width, height);
        let clip = self.clip();
        let effect = self.input.u8() & 7;
        let mut out = vec![0; 8];
        if compat {
            out.extend([effect, kind]);
            out.extend(u16::from(self_bitmap).to_le_bytes());
        } else {
            out.extend(id.to_le_bytes());
            out.extend([effect, kind, u8::from(self_bitmap)]);
        }
        put_rect(&mut out, own);
        put_rect(&mut out, bbox);
        out.extend(clip.0.to_le_bytes());
        out.extend(clip.1.to_le_bytes());
        out.extend(self.input.u32().to_le_bytes());
        if !compat {
            reads.truncate(3);
            for n in 0..3 {
                let id = reads.get(n).map_or(-1, |id| id.cast_signed());
                let id = if self.input.seldom(80) { self.input.number(-1, 9) } else { id };
                out.extend(id.to_le_bytes());
            }
            for _ in 0..3 {
                let area = if self.input.seldom(8) { self.area(48, 40) } else { (0, 0, 16, 16) };
                put_rect(&mut out, area);
            }
        }
        out.extend(body);
        out
    }

    fn clip(&mut self) -> (u32, u64) {
        if self.input.below(3) != 0 {
            return (0, 0);
        }
        let count = self.input.below(6) as u32;
        let mut rects = Vec::new();
        for _ in 0..count {
            let area = self.area(48, 40);
            put_rect(&mut rects, area);
        }
        let mut out =
            if self.input.seldom(40) { self.input.u32() } else { count }.to_le_bytes().to_vec();
        let chunks = self.chunks(&rects);
        out.extend(chunks);
        let address = self.put(&out);
        (1 + u32::from(self.input.seldom(60)), self.pointer(address))
    }

    /// The part that depends on the type, padded to the length of the longest.
    fn operation(
        &mut self,
        kind: u8,
        bbox: (i32, i32, i32, i32),
        reads: &mut Reads,
        own: &mut bool,
        compat: bool,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        match kind {
            1 => {
                self.brush(&mut out, reads);
                out.extend(self.rop().to_le_bytes());
                self.mask(&mut out, reads);
            }
            2 | 9 => {
                self.source(&mut out, bbox, reads, own);
                self.brush(&mut out, reads);
                if kind == 2 {
                    out.extend(self.rop().to_le_bytes());
                } else {
                    out.push(self.input.u8());
                }
                out.push(u8::from(self.input.u8() & 1 != 0) + 2 * u8::from(self.input.seldom(60)));
                self.mask(&mut out, reads);
            }
            3 | 5 => {
                *own = self.input.seldom(40);
                self.source(&mut out, bbox, reads, &mut false);
                out.extend(self.rop().to_le_bytes());
                out.push(u8::from(self.input.u8() & 1 != 0));
                self.mask(&mut out, reads);
            }
            4 => {
                for limit in [40, 34] {
                    out.extend(self.input.number(0, limit).to_le_bytes());
                }
            }
            6..=8 => self.mask(&mut out, reads),
            10 => self.stroke(&mut out, reads),
            11 => self.text(&mut out, reads),
            12 => {
                self.source(&mut out, bbox, reads, own);
                out.extend(self.input.u32().to_le_bytes());
                out.extend(u32::from(self.input.u8()).to_le_bytes());
            }
            13 => {
                if !compat {
                    out.extend(u16::from(self.input.u8() & 7).to_le_bytes());
                }
                out.push(self.input.u8());
                self.source(&mut out, bbox, reads, own);
            }
            14 => self.composite(&mut out, reads, *own),
            _ => {}
        }
        out.resize(BODY.max(out.len()), 0);
        out
    }

    /// Image and the part of it that is used.
    fn source(
        &mut self,
        out: &mut Vec<u8>,
        bbox: (i32, i32, i32, i32),
        reads: &mut Reads,
        own: &mut bool,
    ) {
        if *own {
            out.extend(0u64.to_le_bytes());
            let area = self.area(24, 20);
            return put_rect(out, area);
        }
        let image = self.image(reads);
        out.extend(image.address.to_le_bytes());
        let (_, _, width, height) = bbox;
        let fits = width >= 1 && height >= 1 && width <= image.width && height <= image.height;
        let area = if fits && self.input.below(3) != 0 {
            let left = self.input.number(0, image.width - width + 1);
            let top = self.input.number(0, image.height - height + 1);
            (left, top, width, height)
        } else {
            self.area(image.width.clamp(1, 255), image.height.clamp(1, 255))
        };
        put_rect(out, area);
    }

    fn rop(&mut self) -> u16 {
        let byte = self.input.u8();
        match byte {
            0..=127 => 8,
            128..=240 => 1 << (byte % 11),
            _ => self.input.u16(),
        }
    }

    fn brush(&mut self, out: &mut Vec<u8>, reads: &mut Reads) {
        let kind = self.input.u8();
        let kind = u32::from(if kind >= 250 { kind } else { [1, 1, 2, 0][usize::from(kind & 3)] });
        out.extend(kind.to_le_bytes());
        if kind == 2 {
            let image = self.image(reads);
            out.extend(image.address.to_le_bytes());
            for _ in 0..2 {
                out.extend(self.input.number(-20, 60).to_le_bytes());
            }
        } else {
            out.extend(self.input.u32().to_le_bytes());
            out.extend([0; 12]);
        }
    }

    fn mask(&mut self, out: &mut Vec<u8>, reads: &mut Reads) {
        if self.input.below(3) != 0 {
            return out.extend([0; 17]);
        }
        out.push(self.input.u8() & 1);
        for _ in 0..2 {
            out.extend(self.input.number(-5, 10).to_le_bytes());
        }
        let image = match self.input.below(12) {
            0 => self.image(reads),
            odd => self.bitmap(Some(1 + (odd & 1) as u8)),
        };
        out.extend(image.address.to_le_bytes());
    }

    fn stroke(&mut self, out: &mut Vec<u8>, reads: &mut Reads) {
        let mut path = Vec::new();
        for n in 0..=self.input.below(3) {
            let how = self.input.u8();
            let flags = u32::from(how & 0x1a) | u32::from(n == 0 || how & 1 != 0);
            let bezier = flags & 0x10 != 0;
            let count = if bezier {
                3 * (how as usize >> 6) + (flags & 1) as usize
            } else {
                how as usize >> 5
            };
            path.extend(flags.to_le_bytes());
            let told = if self.input.seldom(60) { self.input.u32() } else { count as u32 };
            path.extend(told.to_le_bytes());
            for _ in 0..count {
                let x = self.input.number(-4, 52).wrapping_mul(16);
                path.extend(x.wrapping_add(i32::from(how & 15)).to_le_bytes());
                path.extend((self.input.number(-4, 44).wrapping_mul(16)).to_le_bytes());
            }
        }
        let mut there = (path.len() as u32).to_le_bytes().to_vec();
        let chunks = self.chunks(&path);
        there.extend(chunks);
        let path = self.put(&there);
        out.extend(self.pointer(path).to_le_bytes());
        let how = self.input.u8();
        let dashes = how & 3;
        out.extend([how & 12, 0, 0, dashes]);
        out.extend([0; 8]);
        let mut style = Vec::new();
        for _ in 0..dashes {
            style.extend((self.input.number(0, 30).wrapping_mul(8)).to_le_bytes());
        }
        let style = self.put(&style);
        out.extend(self.pointer(style).to_le_bytes());
        self.brush(out, reads);
        out.extend(self.rop().to_le_bytes());
        out.extend(self.rop().to_le_bytes());
    }

    fn text(&mut self, out: &mut Vec<u8>, reads: &mut Reads) {
        let depth = [1u16, 2, 4][self.input.below(3)];
        let count = self.input.below(4) as u16;
        let mut glyphs = Vec::new();
        for _ in 0..count {
            for (low, high) in [(-4, 50), (-4, 44), (-4, 4), (-4, 4)] {
                glyphs.extend(self.input.number(low, high).to_le_bytes());
            }
            let (width, height) = (self.input.below(12) as u16, self.input.below(12) as u16);
            glyphs.extend(width.to_le_bytes());
            glyphs.extend(height.to_le_bytes());
            let bits = [1, 4, 8][usize::from(depth >> 1)];
            let len = (usize::from(width) * bits).div_ceil(8) * usize::from(height);
            let value = self.input.u8();
            glyphs.extend((0..len).map(|n| (n as u8).wrapping_mul(value) ^ value));
        }
        let mut there = (glyphs.len() as u32).to_le_bytes().to_vec();
        there.extend((count + u16::from(self.input.seldom(60))).to_le_bytes());
        there.extend((depth | u16::from(self.input.u8() & 8)).to_le_bytes());
        let chunks = self.chunks(&glyphs);
        there.extend(chunks);
        let string = self.put(&there);
        out.extend(self.pointer(string).to_le_bytes());
        let back = if self.input.u8() & 1 != 0 { self.area(48, 40) } else { (0, 0, 0, 0) };
        put_rect(out, back);
        self.brush(out, reads);
        self.brush(out, reads);
        out.extend(self.rop().to_le_bytes());
        out.extend(self.rop().to_le_bytes());
    }

    fn composite(&mut self, out: &mut Vec<u8>, reads: &mut Reads, own: bool) {
        let operator = self.input.u8();
        let operator = u32::from(if operator < 200 { operator % 13 } else { operator });
        let flags = operator | u32::from(self.input.u16()) << 8 & 0x3_ff00;
        // Filters that need no parameters, as a rule.
        let flags = if self.input.seldom(8) { flags } else { flags & !0x3f00 | 3 << 8 | 3 << 11 };
        out.extend(flags.to_le_bytes());
        let image = if own { 0 } else { self.image(reads).address };
        out.extend(image.to_le_bytes());
        let transform = self.transform();
        out.extend(transform.to_le_bytes());
        let mask = if self.input.u8() & 1 != 0 { self.image(reads).address } else { 0 };
        out.extend(mask.to_le_bytes());
        let transform = self.transform();
        out.extend(transform.to_le_bytes());
        for _ in 0..4 {
            out.extend((self.input.number(-8, 20) as i16).to_le_bytes());
        }
    }

    fn transform(&mut self) -> u64 {
        if self.input.below(4) != 0 {
            return 0;
        }
        let mut out = Vec::new();
        for n in 0..6 {
            let value = match n {
                0 | 4 => self.input.number(1, 40).wrapping_mul(1 << 13),
                2 | 5 => self.input.number(-8, 20).wrapping_mul(1 << 16),
                _ => self.input.number(-3, 3).wrapping_mul(1 << 13),
            };
            out.extend(value.to_le_bytes());
        }
        let address = self.put(&out);
        self.pointer(address)
    }
}
