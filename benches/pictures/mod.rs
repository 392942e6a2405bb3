//! Pictures for benches, made from a number: the same ones everywhere, without files or fonts.
//!
//! They are of the classes that `side_by_side/pictures.py` draws, and cost encoders about the same.

/// A generator of pictures: width, height, number.
type Make = fn(u32, u32, u64) -> Picture;

/// The classes by name.
pub const CLASSES: [(&str, Make); 4] =
    [("photo", photo), ("ui", ui), ("gradient", gradient), ("noise", noise)];

/// Rows of B, G, R and 0, the top one first.
pub struct Picture {
    pub width: u32,
    pub height: u32,
    pub data: Vec<u8>,
}

impl Picture {
    fn new(width: u32, height: u32, mut color: impl FnMut(u32, u32) -> [u8; 3]) -> Self {
        let mut data = Vec::with_capacity(width as usize * height as usize * 4);
        for y in 0..height {
            for x in 0..width {
                data.extend_from_slice(&color(x, y));
                data.push(0);
            }
        }
        Self { width, height, data }
    }

    fn fill(&mut self, left: u32, top: u32, width: u32, height: u32, color: [u8; 3]) {
        for y in top..(top + height).min(self.height) {
            for x in left..(left + width).min(self.width) {
                self.blend(x, y, color, 255);
            }
        }
    }

    /// Puts a color over a pixel, with a coverage of up to 255.
    fn blend(&mut self, x: u32, y: u32, color: [u8; 3], coverage: u32) {
        if x >= self.width || y >= self.height {
            return;
        }
        let at = (y as usize * self.width as usize + x as usize) * 4;
        for (old, new) in self.data[at..at + 3].iter_mut().zip(color) {
            let mixed = (u32::from(*old) * (255 - coverage) + u32::from(new) * coverage) / 255;
            *old = mixed.to_le_bytes()[0];
        }
    }
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::from_le_bytes(self.0.to_le_bytes()[3..7].try_into().expect("four bytes"))
    }

    fn below(&mut self, n: u32) -> u32 {
        self.next() % n.max(1)
    }

    /// From -1 to 1.
    fn unit(&mut self) -> f32 {
        f32::from(self.next().to_le_bytes()[1]) / 127.5 - 1.0
    }
}

/// A field of smooth hills of many sizes, whose fine ones are the lower ones.
fn field(width: u32, height: u32, random: &mut Random, roughness: f32) -> Vec<f32> {
    let mut out = vec![0.0; width as usize * height as usize];
    let (mut cell, mut size) = (512_u32, 1.0);
    while cell >= 2 {
        let columns = width / cell + 2;
        let corners: Vec<f32> =
            (0..columns * (height / cell + 2)).map(|_| random.unit() * size).collect();
        let corner = |x: u32, y: u32| corners[(y * columns + x) as usize];
        let part = |n: u32| f32::from(u16::try_from(n % cell).unwrap_or(0)) / cell as f32;
        for (y, row) in (0..).zip(out.chunks_exact_mut(width as usize)) {
            let (above, down) = (y / cell, part(y));
            for (x, value) in (0..).zip(row) {
                let (left, right) = (x / cell, part(x));
                let mix = |row| corner(left, row) * (1.0 - right) + corner(left + 1, row) * right;
                *value += mix(above) * (1.0 - down) + mix(above + 1) * down;
            }
        }
        cell /= 2;
        size *= roughness;
    }
    out
}

/// Hills of light and color with hard edges, and the noise of a sensor.
pub fn photo(width: u32, height: u32, seed: u64) -> Picture {
    let mut random = Random::new(seed);
    let light = field(width, height, &mut random, 0.6);
    let warm = field(width, height, &mut random, 0.45);
    let edges = field(width, height, &mut random, 0.5);
    let mut grain = move || (random.unit() + random.unit() + random.unit()) * 1.6;
    Picture::new(width, height, move |x, y| {
        let at = y as usize * width as usize + x as usize;
        let light = light[at] * 42.0 + if edges[at] > 0.3 { 38.0 } else { 0.0 };
        let channel = |value: f32, grain: f32| byte(value + grain);
        [
            channel(112.0 + light - warm[at] * 14.0, grain()),
            channel(118.0 + light, grain()),
            channel(122.0 + light + warm[at] * 12.0, grain()),
        ]
    })
}

/// The nearest value that a byte has.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "such casts saturate, which is what is wanted"
)]
fn byte(value: f32) -> u8 {
    value.round() as u8
}

/// Windows with text.
pub fn ui(width: u32, height: u32, seed: u64) -> Picture {
    const LETTERS: usize = 60;
    let mut random = Random::new(seed);
    let mut picture = Picture::new(width, height, |_, _| [222, 214, 206]);
    let letters: Vec<Letter> = (0..LETTERS).map(|_| letter(&mut random)).collect();
    for _ in 0..(width * height / 90_000).max(2) {
        let (wide, high) =
            (width / 4 + random.below(width / 2), height / 4 + random.below(height / 2));
        let (left, top) = (random.below(width - wide / 2), random.below(height - high / 2));
        let dark = random.below(3) == 0;
        let (paper, ink) = if dark { ([36, 30, 30], [210; 3]) } else { ([255; 3], [20; 3]) };
        picture.fill(left, top, wide + 2, high + 2, [90; 3]);
        picture.fill(left + 1, top + 1, wide, high, paper);
        for row in 0..18 {
            let shade = u8::try_from(80 + row * 3).unwrap_or(255);
            picture.fill(left + 1, top + 1 + row, wide, 1, [shade, shade / 2 + 60, 60]);
        }
        let mut line = top + 24;
        while line + 16 < top + high {
            let mut at = left + 6;
            let end = left + wide / 2 + random.below(wide / 2);
            while at + 8 < end {
                let length = 2 + random.below(8);
                for _ in 0..length {
                    if at + 8 < end {
                        text(&mut picture, at, line, &letters[random.below(60) as usize], ink);
                    }
                    at += 7;
                }
                at += 5;
            }
            line += 15;
        }
    }
    picture
}

/// Coverage of 7 by 11 pixels.
type Letter = [[u8; 7]; 11];

/// Some upright and level strokes with soft ends.
fn letter(random: &mut Random) -> Letter {
    let mut letter = [[0; 7]; 11];
    let soft = [70, 140, 190];
    for _ in 0..2 {
        let column = 1 + random.below(5) as usize;
        let (from, to) = (random.below(4) as usize, 7 + random.below(4) as usize);
        for row in &mut letter[from..to] {
            row[column] = 255;
            row[column - 1] = soft[random.below(3) as usize];
        }
    }
    for _ in 0..2 {
        let row = 1 + random.below(9) as usize;
        letter[row][1..6].fill(255);
        for above in &mut letter[row - 1][1..6] {
            *above = soft[random.below(3) as usize].max(*above);
        }
    }
    letter
}

fn text(picture: &mut Picture, left: u32, top: u32, letter: &Letter, ink: [u8; 3]) {
    for (y, row) in (top..).zip(letter) {
        for (x, coverage) in (left..).zip(row) {
            if *coverage > 0 {
                picture.blend(x, y, ink, u32::from(*coverage));
            }
        }
    }
}

/// A ramp for each color, in other directions.
pub fn gradient(width: u32, height: u32, seed: u64) -> Picture {
    let mut random = Random::new(seed);
    let ramps: [(f32, f32); 3] = std::array::from_fn(|_| (random.unit(), random.unit()));
    Picture::new(width, height, |x, y| {
        let (x, y) = (x as f32 / width as f32 - 0.5, y as f32 / height as f32 - 0.5);
        ramps.map(|(across, down)| byte(128.0 + (x * across + y * down) * 120.0))
    })
}

/// Bytes without any order.
pub fn noise(width: u32, height: u32, seed: u64) -> Picture {
    let mut random = Random::new(seed);
    Picture::new(width, height, |_, _| {
        let [b, g, r, _] = random.next().to_le_bytes();
        [b, g, r]
    })
}
