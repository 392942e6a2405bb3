//! What one command costs in a client's pipe while ever more commands wait there: `cargo bench --bench pipe`.
//!
//! Each line is a kind of work, each column a number of waiting commands; a figure is nanoseconds per step of that
//! work, on one thread. The cost has to stay flat from column to column. The limits of real pipes (`docs/limits.md`)
//! are far below the larger numbers and are lifted here.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use spice_server::display::encode::image::RawImages;
use spice_server::display::pipe::{ClientPipe, Limits, PipedDraw, SurfaceInfo, SurfaceReader};
use spice_server::protocol::geometry::{Point, Rect};
use spice_server::qxl::model::{
    Bitmap, BitmapFormat, Brush, DrawOp, Drawable, Mask, SurfaceFormat,
};

/// Side of the screen in pixels: room for 131,072 cells of 8 by 16.
const SIDE: u32 = 4096;
const PUT: u16 = 8;
const XOR: u16 = 64;

/// Shows any surface as black.
struct Black;

impl SurfaceReader for Black {
    fn read_image(&mut self, _: u32, rect: &Rect) -> Option<(Bitmap, u8)> {
        let (width, height) = (rect.width(), rect.height());
        let data = Arc::new(vec![0; (width * height * 4) as usize]);
        let (format, stride) = (BitmapFormat::Bit32, width * 4);
        Some((
            Bitmap {
                format,
                top_down: true,
                width,
                height,
                stride,
                palette: None,
                data: data.into(),
            },
            0,
        ))
    }
}

struct Bench {
    pipe: ClientPipe,
    random: u64,
    steps: u32,
}

impl Bench {
    fn new() -> Self {
        // Small bands: the time of reading pixels is not what is asked for.
        let limits =
            Limits { bytes: usize::MAX, items: usize::MAX, band_bytes: 2048, ..Limits::default() };
        let mut bench = Self { pipe: ClientPipe::new(limits), random: 1, steps: 0 };
        bench.pipe.surface_created(surface(0, SIDE), false);
        bench.drain();
        bench
    }

    fn drain(&mut self) {
        while self.send() {}
    }

    fn send(&mut self) -> bool {
        self.pipe.next(&mut Black, &mut RawImages).is_some()
    }

    fn below(&mut self, n: u32) -> u32 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.random >> 33) % u64::from(n)) as u32
    }

    /// Each of the cells in turn, neighbours far apart.
    fn next_cell(&mut self) -> Rect {
        self.steps += 1;
        cell(self.steps.wrapping_mul(40_503) % (SIDE / 8 * (SIDE / 16)))
    }

    fn push(&mut self, surface_id: u32, bbox: Rect, op: DrawOp) {
        let side = if surface_id == 0 { SIDE } else { 64 };
        self.pipe.push_draw(Arc::new(draw(surface_id, side, bbox, op)));
    }
}

fn surface(id: u32, side: u32) -> SurfaceInfo {
    SurfaceInfo { id, format: SurfaceFormat::Xrgb, width: side, height: side, primary: id == 0 }
}

fn cell(n: u32) -> Rect {
    let columns = SIDE / 8;
    let (x, y) = (n % columns * 8, n / columns * 16);
    Rect::from_size(x.cast_signed(), y.cast_signed(), 8, 16)
}

fn draw(surface_id: u32, side: u32, bbox: Rect, op: DrawOp) -> PipedDraw {
    let drawable = Drawable {
        surface_id,
        effect: 0,
        bbox,
        clip: None,
        mm_time: 0,
        self_bitmap_area: None,
        reads: Vec::new(),
        op,
    };
    PipedDraw::new(drawable, Rect::from_size(0, 0, side, side))
}

fn fill(rop: u16) -> DrawOp {
    DrawOp::Fill { brush: Brush::Solid(0xff_00ff), rop, mask: Mask::default() }
}

/// A kind of work: its name and one step, after which as many commands wait as before.
type Work = (&'static str, fn(&mut Bench));

const WORKS: [Work; 7] = [
    ("fill, one sent", |b| {
        let cell = b.next_cell();
        b.push(0, cell, fill(PUT));
        b.send();
    }),
    ("fill over a waiting one", |b| {
        // The cells that came last are those that wait.
        let back = b.below(900);
        let cell = cell(b.steps.wrapping_sub(back).wrapping_mul(40_503) % (SIDE / 8 * (SIDE / 16)));
        b.push(0, cell, fill(PUT));
    }),
    ("xor, one sent", |b| {
        let cell = b.next_cell();
        b.push(0, cell, fill(XOR));
        b.send();
    }),
    ("fills on one spot, one sent", |b| {
        let (x, y) = (b.below(56).cast_signed(), b.below(48).cast_signed());
        b.push(0, Rect::from_size(x, y, 8, 16), fill(XOR));
        b.send();
    }),
    ("scroll of 512x512, one sent", |b| {
        let (x, y) = (b.below(3000).cast_signed(), b.below(3000).cast_signed());
        let op = DrawOp::CopyBits { src: Point { x, y: y + 16 } };
        b.push(0, Rect::from_size(x, y, 512, 512), op);
        b.send();
    }),
    ("pixels instead of a command", |b| {
        // Two fills come, one of them goes and one becomes pixels with what the client cannot draw.
        for _ in 0..2 {
            let cell = b.next_cell();
            b.push(0, cell, fill(PUT));
        }
        let at = cell(
            b.steps.wrapping_sub(b.below(900)).wrapping_mul(40_503) % (SIDE / 8 * (SIDE / 16)),
        );
        let mut draw = draw(0, SIDE, at, fill(PUT));
        draw.pixels_only = true;
        b.pipe.push_draw(Arc::new(draw));
        b.send();
        b.send();
    }),
    ("off-screen surface, used and destroyed", |b| {
        b.pipe.surface_created(surface(1, 64), false);
        b.push(1, Rect::from_size(0, 0, 64, 64), fill(PUT));
        b.pipe.surface_destroyed(1);
    }),
];

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn main() {
    const WAITING: [u32; 4] = [1_000, 4_000, 10_000, 100_000];
    const STEPS: u32 = 20_000;
    print!("{:42}", "commands that wait");
    WAITING.iter().for_each(|n| print!("{n:>9}"));
    println!();
    for (name, step) in WORKS {
        print!("{name:42}");
        for waiting in WAITING {
            let mut best = Duration::MAX;
            for _ in 0..5 {
                let mut bench = Bench::new();
                for _ in 0..waiting {
                    let cell = bench.next_cell();
                    bench.push(0, cell, fill(PUT));
                }
                let start = thread_time();
                (0..STEPS).for_each(|_| step(&mut bench));
                best = best.min(thread_time() - start);
            }
            print!("{:>6} ns", best.as_nanos() / u128::from(STEPS));
        }
        println!();
    }
}
