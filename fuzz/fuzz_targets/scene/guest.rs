//! The guest: its memory, the program of the input, and commands built from it.

use crate::qxl::command::CommandExt;
use crate::qxl::guest::GuestRange;
use crate::qxl::memslot::{MemSlot, MemSlots};
use crate::qxl::parse::Limits;
use crate::qxl::surface::SurfaceGeometry;
use spice_server::display::guest_image::decode_quic;

/// Slot group of all commands.
const GROUP: u32 = 0;
/// Where the slot number stands in an address.
const SLOT: u32 = 56;
/// Most bytes that the commands of a session take, at the beginning of the memory.
const COMMANDS: usize = 192 << 10;
/// Bytes of a surface off the screen.
const SURFACE: usize = 4096;
/// Bytes of the screen, behind the commands.
const PRIMARY: usize = 48 * 40 * 4;
/// Surfaces that the guest may make, the screen included.
pub const SURFACES: usize = 6;

pub const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    chunks: 512,
    clip_rects: 2048,
    surfaces: SURFACES as u32 + 2,
    quic: Some(decode_quic),
};

/// Bytes of the input, 0 at its end.
pub struct Input<'a> {
    bytes: &'a [u8],
}

impl Input<'_> {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    /// 0 .. `count`; a byte, so at most 256.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.u8()) % count
    }

    /// True once in so many times.
    pub fn seldom(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// Small as a rule; sometimes a number that arithmetic stumbles over.
    pub fn number(&mut self, low: i32, high: i32) -> i32 {
        const ODD: [i32; 9] =
            [i32::MIN, i32::MAX, -1, 0, 1 << 16, -(1 << 16), 1 << 28, i32::MIN + 1, i32::MAX - 40];
        let byte = self.u8();
        if byte >= 250 {
            let at = self.below(ODD.len() + 1);
            return ODD.get(at).copied().unwrap_or_else(|| self.u32().cast_signed());
        }
        low + i32::from(byte) % (high - low)
    }
}

pub struct Guest<'a> {
    pub input: Input<'a>,
    pub slots: MemSlots,
    memory: *mut [u8],
    used: usize,
    /// Where the command that was built last begins.
    begun: usize,
}

impl<'a> Guest<'a> {
    pub fn new(program: &'a [u8]) -> Self {
        let size = COMMANDS + PRIMARY + (SURFACES - 1) * SURFACE;
        // Contents that tell where they are read.
        let memory: Vec<u8> = (0..size).map(|n| (n * 31 >> 3) as u8 ^ n as u8).collect();
        let memory = Box::into_raw(memory.into_boxed_slice());
        let start = memory.cast::<u8>().expose_provenance() as u64;
        let mut slots = MemSlots::new(1, 4, 8, 8).unwrap();
        for (id, end) in [(1, size), (2, COMMANDS)] {
            // SAFETY: the memory outlives the slots.
            let slot = unsafe { MemSlot::new(GROUP, id, 0, start, start + end as u64, start) };
            slots.add(slot).unwrap();
        }
        Self { input: Input { bytes: program }, slots, memory, used: 0, begun: 0 }
    }

    /// Whether bytes of this process are the guest's.
    pub fn holds(&self, at: usize, len: usize) -> bool {
        let start = self.memory.cast::<u8>().addr();
        at >= start && at + len <= start + self.memory.len()
    }

    /// An address of the guest: slot 1 is everything.
    pub fn address(offset: usize) -> u64 {
        1 << SLOT | offset as u64
    }

    /// Puts bytes into the memory, behind what is there; at its end there is no room, and address 0.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        let offset = self.used;
        if offset + bytes.len() > COMMANDS {
            return 0;
        }
        self.used += bytes.len();
        if !bytes.is_empty() {
            self.write(offset, bytes);
        }
        Self::address(offset)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let range = self.slots.resolve(Self::address(offset), GROUP, bytes.len() as u64).unwrap();
        range.write(0, bytes).unwrap();
    }

    /// An address that leads nowhere, instead of a good one, once in a while.
    pub fn pointer(&mut self, good: u64) -> u64 {
        if !self.input.seldom(40) {
            return good;
        }
        match self.input.below(5) {
            0 => 0,
            1 => 3 << SLOT | good & 0xffff,
            2 => good | 1 << 48,
            3 => Self::address(COMMANDS + PRIMARY + (SURFACES - 1) * SURFACE - 9),
            _ => good.wrapping_add(u64::from(self.input.u8())),
        }
    }

    /// Changes bytes of the command that was just built.
    pub fn spoil(&mut self) {
        for _ in 0..self.input.below(4) {
            let length = (self.used - self.begun).max(1);
            let at = self.begun + usize::from(self.input.u16()) % length;
            let value = self.input.u8();
            if at < COMMANDS {
                self.write(at, &[value]);
            }
        }
    }

    /// The screen's memory is always the same.
    pub fn primary(&self, width: u32, height: u32) -> (SurfaceGeometry, GuestRange) {
        const XRGB: u32 = 32;
        let stride = (width * 4).cast_signed();
        let geometry = SurfaceGeometry::check(XRGB, width, height, stride).unwrap();
        let bytes = u64::from(geometry.bytes());
        (geometry, self.slots.resolve(Self::address(COMMANDS), GROUP, bytes).unwrap())
    }

    /// The next command of the program.
    pub fn command(&mut self) -> CommandExt {
        const UPDATE: u32 = 2;
        const MESSAGE: u32 = 4;
        const SURFACE: u32 = 5;
        self.begun = self.used;
        let mut flags = 0;
        let (kind, bytes) = match self.input.u8() {
            0..=219 => {
                let compat = self.input.seldom(12);
                flags = u32::from(compat) | u32::from(compat && self.input.u8() & 1 != 0) << 1;
                (1, self.drawable(compat))
            }
            220..=239 => (SURFACE, self.surface_create()),
            240..=247 => (SURFACE, self.surface_destroy()),
            248 => (UPDATE, (0..8).flat_map(|_| self.input.u32().to_le_bytes()).collect()),
            249 => (MESSAGE, b"12345678hello\0".to_vec()),
            250..=252 => (crate::CMD_CURSOR, self.cursor()),
            _ => (self.input.u32(), vec![0; 200]),
        };
        let data = self.put(&bytes);
        let data = if self.input.seldom(60) { self.pointer(data) } else { data };
        CommandExt { data, kind, group_id: GROUP, flags }
    }

    fn surface_create(&mut self) -> Vec<u8> {
        let id = self.input.below(SURFACES - 1) + 1;
        let formats = [32u32, 96, 16, 80, 8, 1];
        let format = formats[self.input.below(formats.len())];
        let (width, height) = (self.input.number(1, 31), self.input.number(1, 31));
        let bits = match format {
            1 | 8 => format.cast_signed(),
            16 | 80 => 16,
            _ => 32,
        };
        let row = width.wrapping_mul(bits).wrapping_add(31) / 32 * 4;
        let odd = self.input.u8();
        let stride = if odd & 1 != 0 { row.wrapping_neg() } else { row };
        let memory = Self::address(COMMANDS + PRIMARY + (id - 1) * SURFACE);
        let id = if odd >= 250 { self.input.u32() } else { id as u32 };
        let mut out = vec![0; 8];
        out.extend(id.to_le_bytes());
        out.push(0);
        out.extend(u32::from(odd & 2 != 0).to_le_bytes());
        out.extend(format.to_le_bytes());
        for value in [width, height, stride] {
            out.extend(value.to_le_bytes());
        }
        out.extend(memory.to_le_bytes());
        out
    }

    fn surface_destroy(&mut self) -> Vec<u8> {
        let mut out = vec![0; 41];
        out[8] = self.input.below(SURFACES + 1) as u8;
        out[12] = 1;
        out
    }

    fn cursor(&mut self) -> Vec<u8> {
        let (width, height) = (self.input.number(1, 20) as u16, self.input.number(1, 20) as u16);
        let kind = u16::from(self.input.u8() % 8);
        let mut shape = vec![0; 8];
        for value in [kind, width, height, 0, 0] {
            shape.extend(value.to_le_bytes());
        }
        let size = self.input.u16() & 2047;
        shape.extend(u32::from(size).to_le_bytes());
        shape.extend(u32::from(size).to_le_bytes());
        shape.resize(shape.len() + 16 + usize::from(size), 0);
        let shape = self.put(&shape);
        let shape = self.pointer(shape);
        let mut out = vec![0; 150];
        out[8] = self.input.u8() % 5;
        out[14..22].copy_from_slice(&shape.to_le_bytes());
        out
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw` in `new`; the slots are not used any more.
        drop(unsafe { Box::from_raw(self.memory) });
    }
}
