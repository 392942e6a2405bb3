//! Pictures for round trips.

/// A picture of flats, gradients and noise, whose bytes come from a simple generator.
pub fn picture(seed: u32, width: usize, height: usize, stride: usize, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut data = vec![0; stride * height];
    data.fill_with(|| (random() & 0xff) as u8);
    let mut y = 0;
    while y < height {
        let (rows, kind) = (random() as usize % 9 + 1, random() % 5);
        let value = (random() & 0xff) as u8;
        for row in data.chunks_exact_mut(stride).skip(y).take(rows) {
            let mut run = value;
            for (x, pixel) in row[..width * bytes].chunks_exact_mut(bytes).enumerate() {
                match kind {
                    0 => {}
                    1 => pixel.fill(value),
                    2 => pixel.fill(x.to_le_bytes()[0]),
                    3 => {
                        if random() % 16 == 0 {
                            run = (random() & 0xff) as u8;
                        }
                        pixel.fill(run);
                    }
                    _ => pixel.fill(value.wrapping_add((random() & 3) as u8)),
                }
            }
        }
        y += rows;
    }
    data
}

/// Bytes from a simple generator.
pub fn noise(seed: u32, size: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut data = vec![0; size];
    data.fill_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[5]
    });
    data
}
